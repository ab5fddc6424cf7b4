"""Evaluate a checkpoint: ``python train/evaluate.py --checkpoint DIR --data.name NAME --out FILE``.

Prints a table and writes a JSON report; ``--help`` lists the flags. A tokenizer is judged on whole
pictures, argmax; a prior by what it draws when told what held-out pictures show.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

if not __package__:  # run as a file: python train/evaluate.py
    import _bootstrap

    __package__ = _bootstrap.PACKAGE

from regvq.metrics.protocol import is_feature_distance, protocol

from .cli.common import pick_device, spread_over
from .cli.data import name_for_pictures
from .cli.errors import UsageError, one_line_errors, parse_flags
from .evaluation.prior import PriorFlags, print_prior_table, report_prior

if TYPE_CHECKING:
    from torch import Tensor

    from regvq.data import Dataset


_DIGITS = {"psnr": 2, "bytes": 0}


@dataclass(frozen=True)
class DataFlags:
    """Which pictures."""

    name: str
    """The data set: scenes (drawn by the code), folder (any folder of pictures), captions, shards,
    imagenet, ade20k, celebamask, cub, coco, camvid, facades or flickr8k (as published)."""
    root: Path | None = None
    """The folder, for data sets that are read from files."""
    size: int | None = None
    """Side in pixels of pictures that are drawn; pictures from files keep their own size."""
    split: Literal["train", "val", "test"] = "test"
    """Which part, where the data set has parts."""
    square: int | None = None
    """Evaluate the centre square of every picture, resized to so many pixels a side, as papers do
    (256 for ImageNet); without it, whole pictures at their own size."""


@dataclass(frozen=True)
class FeatureFlags:
    """What the feature distances are measured on."""

    name: Literal["squeezenet", "vgg19", "none"] = "squeezenet"
    """The network; none leaves the distances out (the Fréchet distance of a prior's pictures is
    then on the features of this project's own judge, where there is one)."""
    weights: Path | None = None
    """A file of its weights; without one, torchvision looks in its cache, then downloads."""


@dataclass(frozen=True)
class NoteFlags:
    """What only its maker can say on a card that --publish writes."""

    data: str | None = None
    """What the bundle was trained on."""
    terms: str | None = None
    """Under which terms the bundle may be used, given those of its data."""
    pictures: str | None = None
    """What the pictures are that it is evaluated on."""


@dataclass(frozen=True)
class EvaluateFlags:
    """Flags of the command."""

    checkpoint: Path
    """A bundle of a tokenizer or a prior, a run's folder, or the folder of a VQModel of
    diffusers."""
    data: DataFlags
    out: Path
    """The JSON report to write."""
    value_range: Annotated[Literal["signed", "unit"] | None, tyro.conf.arg(name="range")] = None
    """Of a VQModel of diffusers: whether its pixels are in [-1, 1] (signed) or [0, 1] (unit). If
    not given, it is unit for models without attention in the middle, as aMUSEd's, else signed."""
    features: FeatureFlags = field(default_factory=FeatureFlags)
    lpips: Literal["alex", "vgg", "squeeze", "none"] = "none"
    """Also LPIPS on this network."""
    lpips_weights: Path | None = None
    """A file of torchvision's weights of it; without one, torch's cache, then a download."""
    fid: bool = False
    """Also rFID: the Fréchet Inception distance between pictures and reconstructions."""
    fid_weights: Path | None = None
    """A file of torch-fidelity's Inception weights; without one, the cache, then a download."""
    codecs: bool = False
    """Also code every picture as JPEG, WebP and AVIF at as many bytes as its tokens take."""
    batch: int = 1
    """At most so many consecutive pictures of one size go through together."""
    limit: int | None = None
    """Only so many pictures, spread evenly over the data set; for a prior 500 if not given."""
    publish: bool = False
    """Also write the figures into the bundle: its metrics.json, its card, its atlas's counts."""
    note: NoteFlags = field(default_factory=NoteFlags)
    prior: PriorFlags = field(default_factory=PriorFlags)
    device: str = "auto"
    """Where to compute: cpu, cuda, cuda:1, mps, or auto (a GPU if there is one)."""


def evaluate(flags: EvaluateFlags) -> dict[str, Any]:
    """Runs the evaluation and returns the report that goes into the JSON file."""
    import torch
    from tqdm import tqdm

    from regvq.bundles.bundle import find_bundle
    from regvq.data import open_dataset
    from regvq.data.shards.remote import redact_query
    from regvq.interop import DiffusersTokenizer, open_tokenizer
    from regvq.metrics.inception import load_inception
    from regvq.metrics.lpips import load_lpips
    from regvq.metrics.reconstruction import evaluate_tokenizer
    from regvq.metrics.value_range import range_warning
    from regvq.networks.features import load_features

    _check(flags)
    device = pick_device(flags.device)
    bundle = find_bundle(flags.checkpoint)
    if bundle.kind == "prior":
        return report_prior(flags, bundle, device)
    name = name_for_pictures(flags.data.name, flags.data.root)
    flags = replace(flags, data=replace(flags.data, name=name))
    tokenizer = open_tokenizer(bundle, device, flags.value_range)
    peer = isinstance(tokenizer, DiffusersTokenizer)
    if peer and (warning := range_warning(tokenizer, tokenizer.value_range)):
        print(f"WARNING: {bundle.name}: {warning}")
    if flags.publish and peer:
        raise UsageError("--publish writes into bundles of this project, not into a peer's model")
    drawn = {} if flags.data.size is None else {"size": flags.data.size}
    data = open_dataset(flags.data.name, flags.data.root, split=flags.data.split, **drawn)
    features = load_features(flags.features.name, flags.features.weights)
    features = features.to(device) if features is not None else None
    lpips = inception = None
    if flags.lpips != "none":
        lpips = load_lpips(flags.lpips, flags.lpips_weights).to(device)
    if flags.fid:
        inception = load_inception(flags.fid_weights).to(device)

    chosen = spread_over(len(data), flags.limit)
    skipped: list[str] = []
    tally = torch.zeros(tokenizer.codebook_size, dtype=torch.int64)
    with tqdm(total=len(chosen), unit="picture", desc="evaluating") as bar:
        figures = evaluate_tokenizer(
            tokenizer,
            readable(data, chosen, skipped, flags.data.square),
            features=features,
            lpips=lpips,
            inception=inception,
            codecs=flags.codecs,
            batch=flags.batch,
            device=device,
            progress=lambda done: bar.update(done - bar.n),
            tally=tally,
        )
    for sentence in skipped:
        print(f"skipped: {sentence}")
    # Only the folder's name: a report is published, and the path is this machine's affair (as is
    # the query of an address, which may be a key).
    root = redact_query(flags.data.root.resolve().name) if flags.data.root is not None else None
    where = {"name": flags.data.name, "root": root, "split": flags.data.split}
    for key in ("size", "square"):
        if (side := getattr(flags.data, key)) is not None:
            where[key] = side
    report = {
        "checkpoint": bundle.name,
        "data": where,
        "skipped": len(skipped),
        **({"value_range": tokenizer.value_range} if peer else {}),
        **figures,
        "protocol": protocol(where, figures, len(data), len(skipped)),
    }
    if flags.publish:
        from .export.figures import publish_figures

        publish_figures(bundle, tokenizer, report, tally.numpy(), asdict(flags.note))
    return report


def print_table(report: dict[str, Any]) -> None:
    """The report as a table: the tokenizer first, then the codecs."""
    rows = {"tokens": report, **report.get("codecs", {})}
    heads = {"psnr": "PSNR dB", "ssim": "SSIM"}
    heads |= {key: key.replace("_", " ") for key in report if is_feature_distance(key)}
    heads |= {"bytes": "bytes"} | ({"within_budget": "within budget"} if len(rows) > 1 else {})
    width = max(len(name) for name in rows) + 2
    print("\n" + " " * width + "  ".join(f"{head:>13}" for head in heads.values()))
    for name, figures in rows.items():
        cells = (_cell(key, figures.get(key)) for key in heads)
        print(f"{name.replace('_', ' '):<{width}}" + "  ".join(f"{cell:>13}" for cell in cells))
    print(
        f"\n{report['images']} pictures, {report['tokens']} tokens, "
        f"{report['bits_per_pixel']:.3f} bits per pixel; "
        f"{report['codes_used']} of {report['codebook_size']} codes used "
        f"({report['utilization']:.1%}), perplexity {report['perplexity']:.1f}"
    )
    if "features" in report:
        print(f"distances on {report['features']}: neither LPIPS nor FID")
    for key, label in report.get("features_of", {}).items():
        print(f"{key.replace('_', ' ')}: {label}")


def _cell(key: str, value: float | None) -> str:
    if value is None:
        return "-"
    if key == "within_budget":
        return f"{value:.0%}"
    return f"{value:.{_DIGITS.get(key, 4)}f}"


def readable(
    data: Dataset, chosen: list[int], skipped: list[str], square: int | None
) -> Iterator[Tensor]:
    """The chosen pictures; one that cannot be read is noted in ``skipped`` and left out."""
    from regvq.data import center
    from regvq.errors import PictureError

    for index in chosen:
        try:
            sample = data[index]
            yield (sample if square is None else center(sample, square)).image
        except PictureError as error:
            skipped.append(str(error))


def _check(flags: EvaluateFlags) -> None:
    """Finds what would only fail after the work was done, before it begins."""
    for name, value in (
        ("batch", flags.batch), ("limit", flags.limit), ("data.square", flags.data.square)
    ):  # fmt: skip
        if value is not None and value < 1:
            raise UsageError(f"--{name} must be 1 or more, got {value}")
    if flags.lpips_weights is not None and flags.lpips == "none":
        raise UsageError("--lpips-weights needs --lpips alex, vgg or squeeze")
    if flags.fid_weights is not None and not flags.fid:
        raise UsageError("--fid-weights needs --fid")
    if flags.out.is_dir():
        raise UsageError(f"--out {flags.out} is a folder; name the JSON file to write")
    flags.out.parent.mkdir(parents=True, exist_ok=True)


def main() -> None:
    """The command."""
    flags = parse_flags(
        EvaluateFlags,
        program="python train/evaluate.py",
        description="Evaluate a tokenizer (reconstruction, codebook usage, codecs at equal bytes) "
        "or a prior (what it draws when told what held-out pictures show).",
    )
    from regvq.bundles.storage import write_json
    from regvq.errors import CheckpointError, DataError, FeatureError, PictureError

    with one_line_errors(UsageError, CheckpointError, DataError, PictureError, FeatureError):
        report = evaluate(flags)
        (print_prior_table if "pictures" in report else print_table)(report)
        write_json(flags.out, report)
    print(f"written to {flags.out}")


if __name__ == "__main__":
    main()
