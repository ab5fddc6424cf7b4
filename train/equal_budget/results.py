"""The study's results as one JSON, ``docs/study/results.json``, which report and explorer read.

Format 1::

    {"format": 1,
     "shared": {"budget": {...}, "features": "...", "images": 100, "tokens": 153600,
                "parameters": 1398252, "downstream": {...}},        what every run has in common
     "columns": [{"key": "psnr", "label": "PSNR, dB", "better": "high" | "low" | null,
                  "digits": 2, "percent": false}, ...],
     "groups": [{"name": "main", "title": "1,024 codes"}, ...],
     "runs": [{"name": "vqgan", "label": "VQ-GAN", "group": "main", "method": "vqgan",
               "kind": "ours" | "outside" | "combination", "note": "...", "codes": 1024, "seed": 0,
               "steps": 400, "codes_rate": 1.0, "staged": false, "contrastive": "none",
               "quantizer": {...},
               "utilization": 0.64, "perplexity": 138.6, "psnr": 20.86, "ssim": 0.489,
               "feature_distance": 0.733, "fd": 2584.5, "step_ms": 293.2, "timed": false,
               "peak_mb": null, "generation_fd": null, "training_utilization": 0.65,
               "frozen_at": null}, ...],
     "sweeps": [{"name": "mask", "title": "...", "axis": "...",
                 "series": {"regvq": [[0.0, "regvq-mask0"], ...]}}, ...],   values and names of runs
     "claims": [{"name": "...", "claim": "...", "paper": "...", "ours": "...",
                 "verdict": "confirmed" | "not confirmed" | "in part" | "open",
                 "comparisons": 5}, ...]}

``utilization`` and what follows it are of held-out pictures. ``step_ms`` is the median CPU time of
a training step during the run, or, where ``timed``, its time alone on an idle machine with the
discriminator in; ``peak_mb`` is then the memory that training adds to the process.
``training_utilization`` counts the codes of training's last 100 steps, those drawn at random
included. ``generation_fd`` is the Fréchet distance of what one and the same prior, trained on a
run's tokens, generates (train/study_prior.py); ``shared.downstream`` has that prior's settings, or
is null.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from regvq.errors import CheckpointError

from .runs import FASTER, GROUPS, LONGER, all_runs, sweeps

FORMAT = 1
COLUMNS = (
    ("utilization", "codes used", "high", 1, True),
    ("perplexity", "perplexity", "high", 0, False),
    ("psnr", "PSNR, dB", "high", 2, False),
    ("ssim", "SSIM", "high", 3, False),
    ("feature_distance", "SqueezeNet distance", "low", 3, False),
    ("fd", "SqueezeNet-FD", "low", 0, False),
    ("generation_fd", "generation FD", "low", 0, False),
    ("step_ms", "ms a step", "low", 0, False),
    ("peak_mb", "memory, MB", "low", 0, False),
)
TITLES = {
    "main": "1,024 codes",
    "large": "16,384 codes",
    "fast": f"1,024 codes, the codes at {FASTER:g} times the rate",
    "large-fast": f"16,384 codes, the codes at {FASTER:g} times the rate",
    "long": f"1,024 codes, the codes at {FASTER:g} times the rate, {LONGER} times the steps",
    "mask": "Reg-VQ's mask ratio",
    "nsvq": "NSVQ's α and τ",
    "size": "4,096 codes",
    "seeds": "other seeds",
}


def gather(out: Path) -> dict[str, Any]:
    """All results below ``out``. Raises CheckpointError if there is none, one cannot be read, or
    two were not made on the same budget."""
    order = {name: i for i, name in enumerate(all_runs())}
    found = [read_result(file) for file in out.glob("*/result.json")]
    found = sorted(
        (result for result in found if result.get("name") in order),
        key=lambda result: order[result["name"]],
    )
    if not found:
        raise CheckpointError(f"{out} holds no finished run; make some with study.py run.")
    first, budget = found[0], _budget(found[0])
    draws: dict[tuple[int, int], str] = {}  # by seed and length
    for result in found:
        for name, same in (
            ("budget", _budget(result) == budget),
            ("limit", result["limit"] == first["limit"]),
        ):
            if not same:
                raise CheckpointError(
                    f"{out / result['name']} was made with another {name} than "
                    f"{first['name']}; runs that are compared must have the same."
                )
        key = result["seed"], result["budget"]["steps"]
        if draws.setdefault(key, result["draws"]) != result["draws"]:
            raise CheckpointError(
                f"{out / result['name']} was trained on other crops than {first['name']}."
            )
        if result["parameters"]["network"] != first["parameters"]["network"]:
            raise CheckpointError(
                f"{out / result['name']} has another network than {first['name']}."
            )
    return {
        "format": FORMAT,
        "shared": {
            "downstream": _downstream(out, found),
            "budget": budget,
            "features": first["figures"].get("features", "none"),
            "images": first["figures"]["images"],
            "tokens": first["figures"]["tokens"],
            "parameters": first["parameters"]["network"],
        },
        "columns": [
            {"key": key, "label": label, "better": better, "digits": digits, "percent": percent}
            for key, label, better, digits, percent in COLUMNS
        ],
        "groups": [{"name": name, "title": TITLES[name]} for name in GROUPS],
        "runs": [_row(result, out / result["name"]) for result in found],
        "sweeps": [
            {"name": s.name, "title": s.title, "axis": s.axis, "series": _points(s.points, found)}
            for s in sweeps()
        ],
    }


def _downstream(out: Path, found: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The settings of the prior that was trained on the tokens of some runs. Raises CheckpointError
    if two of them had other ones."""
    files = [out / result["name"] / "downstream.json" for result in found]
    settings = [read_result(file).get("settings") for file in files if file.exists()]
    if any(one != settings[0] for one in settings):
        raise CheckpointError(
            f"priors below {out} were trained with different settings; runs that are compared must "
            "have the same: delete a downstream.json and make it again."
        )
    return settings[0] if settings else None


def _budget(result: dict[str, Any]) -> dict[str, Any]:
    """The budget of the study that a run belongs to: its steps are those of the runs of ordinary
    length."""
    longer = all_runs()[result["name"]].longer
    return result["budget"] | {"steps": result["budget"]["steps"] // longer}


def read_results(file: Path) -> dict[str, Any]:
    """A ``results.json``. Raises CheckpointError if it is none of this format."""
    results = read_result(file)
    if results.get("format") != FORMAT or "runs" not in results:
        raise CheckpointError(f"{file} is not the results of a study in format {FORMAT}.")
    return results


def _points(points: dict[str, list], found: list[dict]) -> dict[str, list]:
    """The points of a sweep whose runs are finished."""
    names = {result["name"] for result in found}
    return {
        method: kept
        for method, pairs in points.items()
        if (kept := [[value, name] for value, name in pairs if name in names])
    }


def _row(result: dict[str, Any], folder: Path) -> dict[str, Any]:
    figures, training = result["figures"], result["training"]
    timing, downstream = (
        read_result(file) if (file := folder / f"{name}.json").exists() else {}
        for name in ("timing", "downstream")
    )
    distance = next((k for k in figures if k.endswith("_distance")), None)
    frechet = next((k for k in figures if k.endswith("_fd")), None)
    run = all_runs()[result["name"]]  # its words are today's, its figures the result's
    return {
        "name": run.name,
        "label": run.label,
        "group": run.group,
        "method": run.method,
        "kind": run.kind,
        "note": run.note,
        **{key: result[key] for key in ("codes", "seed", "staged", "contrastive")},
        "steps": result["budget"]["steps"],
        "codes_rate": result.get("codes_rate", 1.0),
        "quantizer": result["quantizer"],
        **{key: figures[key] for key in ("utilization", "perplexity", "psnr", "ssim")},
        "feature_distance": figures.get(distance),
        "fd": figures.get(frechet),
        "step_ms": timing.get("step_ms", training["step_ms"]),
        "timed": bool(timing),
        "peak_mb": timing.get("peak_mb"),
        "generation_fd": downstream.get("generation_fd"),
        "training_utilization": training["utilization"],
        "frozen_at": training["frozen_at"],
    }


def read_result(file: Path) -> dict[str, Any]:
    """A JSON object of the study. Raises CheckpointError if the file holds none."""
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{file} cannot be read: {error}.") from None
    if not isinstance(value, dict):
        raise CheckpointError(f"{file} holds no JSON object.")
    return value
