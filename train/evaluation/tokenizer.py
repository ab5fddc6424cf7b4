"""Evaluating a tokenizer: reconstruction, codebook usage, and codecs at equal bytes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from itertools import zip_longest
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
    from regvq.networks.features import Features

_DIGITS = {"psnr": 2, "bytes": 0}


def report_tokenizer(flags: EvaluateFlags, bundle: Bundle, device: str) -> dict[str, Any]:
    """Evaluate a tokenizer and return the report; with ``--publish``, write it to the bundle."""
    from tqdm import tqdm

    from regvq.data import open_dataset
    from regvq.data.contents import summary
    from regvq.data.remote import redact_query
    from regvq.interop import DiffusersTokenizer, open_tokenizer
    from regvq.metrics.inception import load_inception
    from regvq.metrics.lpips import load_lpips
    from regvq.metrics.reconstruction import evaluate_tokenizer, no_counts
    from regvq.metrics.robustness import robustness
    from regvq.metrics.text_reading import load_reader, read_text
    from regvq.metrics.value_range import range_warning

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
    if flags.robustness and tokenizer.levels > 1:
        raise UsageError(
            f"--robustness replaces tokens by near codes of a single codebook, but {bundle.name} "
            f"has {tokenizer.levels} levels; leave it out"
        )
    size = {} if flags.data.size is None else {"size": flags.data.size}
    channels = tokenizer.channels
    data = open_dataset(
        flags.data.name,
        flags.data.root,
        split=flags.data.split,
        stretch=flags.data.stretch,
        channels=channels,
        columns=flags.data.columns,
        **size,
    )
    if channels != 3 and (flags.codecs or flags.text):
        raise UsageError(
            "--codecs and --text need pictures of 3 channels; those of "
            f"{bundle.name} have {channels}"
        )
    print(summary(data, flags.data.split))
    features = _features(flags, device)
    lpips = [
        load_lpips(net, weights).to(device)
        for net, weights in zip_longest(_lpips_nets(flags), flags.lpips_weights)
    ]
    inception = None
    if flags.fid:
        inception = load_inception(flags.fid_weights).to(device)

    reader = load_reader() if flags.text else None
    chosen = evenly_spaced(len(data), flags.limit)
    skipped: list[str] = []
    code_counts = no_counts(tokenizer)
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
    if reader is not None:
        figures["text"] = read_text(tokenizer, reader, device=device)
    if flags.robustness:
        print("measuring again with replaced tokens")
        figures["robustness"] = robustness(
            tokenizer,
            readable(data, _spread(chosen, flags.robustness_limit), [], flags.data.square),
            pairs={each.key: each for each in lpips},
            features=features,
            name=features.name if features is not None else "feature",
            batch=flags.batch,
            device=device,
        )
    # Only the folder's name: a report is published, and paths are private (as is the query of an
    # address, which may be a key).
    root = redact_query(flags.data.root.resolve().name) if flags.data.root is not None else None
    where = {"name": flags.data.name, "root": root, "split": flags.data.split}
    for key in ("size", "square", "stretch"):
        if value := getattr(flags.data, key):
            where[key] = value
    report = {
        "checkpoint": bundle.name,
        "data": where,
        "skipped": len(skipped),
        **inside,
        **figures,
        "protocol": protocol(where, figures, len(data), len(skipped)),
    }
    if flags.publish:
        from ..export.figures import publish_figures, publish_further

        if flags.further:
            publish_further(bundle, tokenizer, report, flags.note.pictures)
        else:
            publish_figures(bundle, tokenizer, report, code_counts.numpy(), asdict(flags.note))
    return report


def _lpips_nets(flags: EvaluateFlags) -> list[str]:
    return [net for net in flags.lpips if net != "none"]


def _spread(chosen: list[int], limit: int | None) -> list[int]:
    return [chosen[place] for place in evenly_spaced(len(chosen), limit)]


def _features(flags: EvaluateFlags, device: str) -> Features | None:
    """Load the features; print a warning and return None if no file was named and they are not
    available."""
    from regvq.errors import FeatureError
    from regvq.networks.features import load_features

    try:
        features = load_features(flags.features.name, flags.features.weights)
    except FeatureError as error:
        if flags.features.weights is not None:
            raise
        print(f"WARNING: {error}\nEvaluating without distances on these features.")
        return None
    return features.to(device) if features is not None else None


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
        f"{report['codes_used']} of {report['codebook_size'] * report.get('levels', 1)} codes used "
        f"({report['utilization']:.1%}), perplexity {report['perplexity']:.1f}"
    )
    for number, level in enumerate(report.get("per_level", ()), 1):
        print(
            f"level {number}: {level['codes_used']} of {report['codebook_size']} codes used "
            f"({level['utilization']:.1%}), perplexity {level['perplexity']:.1f}"
        )
    if "features" in report:
        print(f"distances on {report['features']}: neither LPIPS nor FID")
    for key, label in report.get("features_of", {}).items():
        print(f"{key.replace('_', ' ')}: {label}")
    if "text" in report:
        _print_text(report["text"])
    if "robustness" in report:
        _print_robustness(report["robustness"])


def _print_text(text: Mapping[str, Any]) -> None:
    """Print the shares of drawn text that are read, a row for each height of its letters."""
    print(f"\ntext read by OCR, {text['lines']} lines of each height (in brackets: the originals)")
    for row in text["rows"]:
        shares = (
            f"{name} {row[name]:4.0%} ({row[f'original_{name}']:.0%})"
            for name in ("characters", "words")
        )
        print(f"{row['height']:3} pixels  {'  '.join(shares)}")


def _print_robustness(found: Mapping[str, Any]) -> None:
    """Print the figures of reconstructions from replaced tokens, a row for each share."""
    keys = [key for key in found["rows"][0] if key not in ("share", "exact_copies")]
    print(f"\ntokens replaced by one of the {found['neighbors']} nearest codes")
    print(f"{'share':>7}" + "".join(f"  {key.replace('_', ' '):>13}" for key in keys))
    for row in found["rows"]:
        cells = "".join(f"  {_cell(key, row.get(key)):>13}" for key in keys)
        print(f"{row['share']:>7.0%}{cells}")


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
        ("robustness-limit", flags.robustness_limit),
        ("data.square", flags.data.square),
    ):
        if value is not None and value < 1:
            raise UsageError(f"--{name} must be 1 or more, got {value}")
    nets = _lpips_nets(flags)
    if flags.lpips_weights and not nets:
        raise UsageError("--lpips-weights needs --lpips alex, vgg or squeeze")
    if flags.lpips_weights and len(flags.lpips_weights) != len(nets):
        raise UsageError(
            f"--lpips-weights must name a file for each of {', '.join(nets)}, in this order; "
            f"got {len(flags.lpips_weights)}"
        )
    if len(set(nets)) < len(nets):
        raise UsageError(f"--lpips names a network twice: {' '.join(nets)}")
    if flags.robustness_limit is not None and not flags.robustness:
        raise UsageError("--robustness-limit needs --robustness")
    if flags.further and not flags.publish:
        raise UsageError("--further needs --publish")
    if flags.fid_weights is not None and not flags.fid:
        raise UsageError("--fid-weights needs --fid")
    if flags.out.is_dir():
        raise UsageError(f"--out {flags.out} is a folder; name the JSON file to write")
    flags.out.parent.mkdir(parents=True, exist_ok=True)
