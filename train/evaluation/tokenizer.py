"""Evaluating a tokenizer: reconstruction, codebook usage, and codecs at equal bytes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from regvq.metrics.protocol import is_feature_distance, protocol

from ..cli.common import evenly_spaced
from ..cli.data import name_for_pictures
from ..cli.errors import UsageError
from .flags import EvaluateFlags

if TYPE_CHECKING:
    from torch import Tensor

    from regvq.bundles.bundle import Bundle
    from regvq.data import Dataset

_DIGITS = {"psnr": 2, "bytes": 0}


def report_tokenizer(flags: EvaluateFlags, bundle: Bundle, device: str) -> dict[str, Any]:
    """Evaluate a tokenizer and return the report; with ``--publish``, write it to the bundle."""
    import torch
    from tqdm import tqdm

    from regvq.data import open_dataset
    from regvq.data.contents import summary
    from regvq.data.shards.remote import redact_query
    from regvq.interop import DiffusersTokenizer, open_tokenizer
    from regvq.metrics.inception import load_inception
    from regvq.metrics.lpips import load_lpips
    from regvq.metrics.reconstruction import evaluate_tokenizer
    from regvq.metrics.value_range import range_warning
    from regvq.networks.features import load_features

    if flags.prior.clip:
        raise UsageError("--prior.clip is for priors; this checkpoint is a tokenizer")
    name = name_for_pictures(flags.data.name, flags.data.root)
    flags = replace(flags, data=replace(flags.data, name=name))
    tokenizer = open_tokenizer(bundle, device, flags.value_range)
    inside: dict[str, Any] = {}
    if isinstance(tokenizer, DiffusersTokenizer):
        inside["value_range"] = tokenizer.value_range
        if warning := range_warning(tokenizer, tokenizer.value_range):
            print(f"WARNING: {bundle.name}: {warning}")
    if flags.publish and inside:
        raise UsageError(
            "--publish writes into bundles of this project, not into a model of diffusers"
        )
    size = {} if flags.data.size is None else {"size": flags.data.size}
    data = open_dataset(flags.data.name, flags.data.root, split=flags.data.split, **size)
    print(summary(data, flags.data.split))
    features = load_features(flags.features.name, flags.features.weights)
    features = features.to(device) if features is not None else None
    lpips = inception = None
    if flags.lpips != "none":
        lpips = load_lpips(flags.lpips, flags.lpips_weights).to(device)
    if flags.fid:
        inception = load_inception(flags.fid_weights).to(device)

    chosen = evenly_spaced(len(data), flags.limit)
    skipped: list[str] = []
    code_counts = torch.zeros(tokenizer.codebook_size, dtype=torch.int64)
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
            code_counts=code_counts,
        )
    for sentence in skipped:
        print(f"skipped: {sentence}")
    # Only the folder's name: a report is published, and paths are private (as is the query of an
    # address, which may be a key).
    root = redact_query(flags.data.root.resolve().name) if flags.data.root is not None else None
    where = {"name": flags.data.name, "root": root, "split": flags.data.split}
    for key in ("size", "square"):
        if (side := getattr(flags.data, key)) is not None:
            where[key] = side
    report = {
        "checkpoint": bundle.name,
        "data": where,
        "skipped": len(skipped),
        **inside,
        **figures,
        "protocol": protocol(where, figures, len(data), len(skipped)),
    }
    if flags.publish:
        from ..export.figures import publish_figures

        publish_figures(bundle, tokenizer, report, code_counts.numpy(), asdict(flags.note))
    return report


def print_table(report: dict[str, Any]) -> None:
    """Print the report as a table: the tokenizer first, then the codecs."""
    rows = {"tokens": report, **report.get("codecs", {})}
    heads = {"psnr": "PSNR dB", "ssim": "SSIM"}
    heads |= {key: key.replace("_", " ") for key in report if is_feature_distance(key)}
    heads |= {"bytes": "bytes"} | ({"within_budget": "within budget"} if len(rows) > 1 else {})
    width = max(len(name) for name in rows) + 2
    print("\n" + " " * width + "  ".join(f"{head:>13}" for head in heads.values()))
    for name, figures in rows.items():
        cells = (_cell(key, figures.get(key)) for key in heads)
        print(f"{name.replace('_', ' '):<{width}}" + "  ".join(f"{cell:>13}" for cell in cells))
    for name, figures in rows.items():
        if exact := figures.get("exact_copies"):
            copies = "copy" if exact == 1 else "copies"
            print(f"PSNR of {name.replace('_', ' ')}: without {exact} exact {copies}")
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
    """Yield the chosen pictures; one that cannot be read is noted in ``skipped`` instead."""
    from regvq.data import center
    from regvq.errors import PictureError

    for index in chosen:
        try:
            sample = data[index]
            yield (sample if square is None else center(sample, square)).image
        except PictureError as error:
            skipped.append(str(error))


def check_flags(flags: EvaluateFlags) -> None:
    """Raise UsageError for values of flags that would fail only after the work."""
    for name, value in (
        ("batch", flags.batch),
        ("limit", flags.limit),
        ("data.square", flags.data.square),
    ):
        if value is not None and value < 1:
            raise UsageError(f"--{name} must be 1 or more, got {value}")
    if flags.lpips_weights is not None and flags.lpips == "none":
        raise UsageError("--lpips-weights needs --lpips alex, vgg or squeeze")
    if flags.fid_weights is not None and not flags.fid:
        raise UsageError("--fid-weights needs --fid")
    if flags.out.is_dir():
        raise UsageError(f"--out {flags.out} is a folder; name the JSON file to write")
    flags.out.parent.mkdir(parents=True, exist_ok=True)
