"""The study's results in one JSON file, ``docs/study/results.json``, for report and explorer.

Format 1::

    {"format": 1,
     "shared": {"budget": {...}, "features": "...", "images": 100, "tokens": 153600,
                "parameters": 1398252, "downstream": {...},         shared by all runs
                "draws": {"0": "f3a1..."}},      fingerprints of the training crops by seed
     "columns": [{"key": "psnr", "label": "PSNR, dB", "better": "high" | "low" | null,
                  "digits": 2, "percent": false}, ...],
     "groups": [{"name": "main", "title": "1,024 codes"}, ...],
     "runs": [{"name": "vqgan", "label": "VQ-GAN", "group": "main", "method": "vqgan",
               "kind": "ours" | "outside" | "combination", "note": "...", "codes": 1024, "seed": 0,
               "steps": 400, "codes_rate": 1.0, "staged": false, "contrastive": "none",
               "quantizer": {...}, "levels": {...},     only with residual or product codes
               "utilization": 0.64, "perplexity": 138.6, "psnr": 20.86, "ssim": 0.489,
               "feature_distance": 0.733, "fd": 2584.5, "lpips_alex": null, "lpips_vgg": null,
               "alexnet_fd": null, "step_ms": 293.2, "timed": false,
               "peak_mb": null, "generation_fd": null, "training_utilization": 0.65,
               "frozen_at": null}, ...],
     "sweeps": [{"name": "mask", "title": "...", "axis": "...",
                 "series": {"regvq": [[0.0, "regvq-mask0"], ...]}}, ...],   values and names of runs
     "claims": [{"name": "...", "claim": "...", "paper": "...", "ours": "...",
                 "verdict": "confirmed" | "not confirmed" | "in part" | "undecided" | "open",
                 "comparisons": 5, "decided": 4, "distance": true}, ...],
     "claims_elsewhere": [...]}     the claims with "distance" again, judged by alexnet_fd

``utilization`` and the figures after it are those of held-out pictures. ``step_ms`` is the median
CPU time of a training step during the run; if ``timed``, it is the time of a step alone on an idle
machine, discriminator included, and ``peak_mb`` is the memory that training adds to the process.
``training_utilization`` counts the codes of the last 100 training steps, including those drawn at
random. ``generation_fd`` is the Fréchet distance of the pictures that the same prior, trained on a
run's tokens, generates (train/equal_budget/downstream.py); ``shared.downstream`` has that prior's
settings, or is null. ``lpips_alex``, ``lpips_vgg`` and ``alexnet_fd`` are on features that no run
trained on (train/equal_budget/judge.py), null where they were not measured.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from regvq.bundles.bundle import Bundle, find_bundle
from regvq.errors import CheckpointError

from .catalog import all_runs, sweeps
from .runs import FASTER, GROUPS, Study, StudyRun, budget

FORMAT = 1
COLUMNS = (
    ("utilization", "codes used", "high", 1, True),
    ("perplexity", "perplexity", "high", 0, False),
    ("psnr", "PSNR, dB", "high", 2, False),
    ("ssim", "SSIM", "high", 3, False),
    ("feature_distance", "SqueezeNet distance", "low", 3, False),
    ("fd", "SqueezeNet-FD", "low", 0, False),
    ("lpips_alex", "LPIPS (AlexNet)", "low", 3, False),
    ("lpips_vgg", "LPIPS (VGG-16)", "low", 3, False),
    ("alexnet_fd", "AlexNet-FD", "low", 1, False),
    ("generation_fd", "generation FD", "low", 0, False),
    ("step_ms", "ms per step", "low", 0, False),
    ("peak_mb", "memory, MB", "low", 0, False),
)
TITLES = {
    "main": "1,024 codes",
    "large": "16,384 codes",
    "fast": f"1,024 codes, with {FASTER:g} times the learning rate for the codes",
    "large-fast": f"16,384 codes, with {FASTER:g} times the learning rate for the codes",
    "mask": "Reg-VQ's mask ratio",
    "nsvq": "NSVQ's α and τ",
    "size": "4,096 codes",
    "seeds": "other seeds",
    "levels": "16 bits per position: one codebook, residual and product codes, with "
    f"{FASTER:g} times the learning rate for the codes",
}


def gather(out: Path) -> dict[str, Any]:
    """Return all results below ``out``.

    Raises CheckpointError if there is none, one cannot be read, or two have different budgets or
    were judged differently.
    """
    order = {name: i for i, name in enumerate(all_runs())}
    found = [read_result(file) for file in out.glob("*/result.json")]
    found = sorted(
        (result for result in found if result.get("name") in order),
        key=lambda result: order[result["name"]],
    )
    if not found:
        raise CheckpointError(f"{out} holds no finished run; train some with study.py run.")
    first = found[0]
    draws: dict[int, str] = {}  # by seed
    for result in found:
        for name, same in (
            ("budget", _filled(result["budget"]) == _filled(first["budget"])),
            ("limit", result["limit"] == first["limit"]),
        ):
            if not same:
                raise CheckpointError(
                    f"{out / result['name']} has another {name} than {first['name']}; runs that "
                    "are compared must have the same."
                )
        if draws.setdefault(result["seed"], result["draws"]) != result["draws"]:
            raise CheckpointError(
                f"{out / result['name']} was trained on other crops than {first['name']}."
            )
        if result["parameters"]["network"] != first["parameters"]["network"]:
            raise CheckpointError(
                f"{out / result['name']} has another network than {first['name']}."
            )
    _check_judged(out, found)
    return {
        "format": FORMAT,
        "shared": {
            "downstream": _downstream(out, found),
            "budget": first["budget"],
            "features": first["figures"].get("features", "none"),
            "images": first["figures"]["images"],
            "tokens": first["figures"]["tokens"],
            "parameters": first["parameters"]["network"],
            "draws": {str(seed): digest for seed, digest in draws.items()},
        },
        "columns": _columns(),
        "groups": _groups(),
        "runs": [_row(result, out / result["name"]) for result in found],
        "sweeps": _sweeps(found),
    }


def _check_judged(out: Path, found: list[dict[str, Any]]) -> None:
    """Raise CheckpointError for figures of other pictures, or of other networks, than the rest."""
    networks: dict[str, str] = {}
    for result in found:
        file = out / result["name"] / "judged.json"
        if not file.exists():
            continue
        judged, images = read_result(file), result["figures"]["images"]
        for key, label in judged.get("labels", {}).items():
            if networks.setdefault(key, label) != label:
                raise CheckpointError(
                    f"{file} was made with {label}, others with {networks[key]}; delete it and "
                    "call study.py judge again."
                )
        if judged.get("images", images) != images:
            raise CheckpointError(
                f"{file} has figures of {judged['images']} pictures, its run those of {images}; "
                "delete it and call study.py judge again."
            )


def joined(found: dict[str, Any], earlier: dict[str, Any]) -> dict[str, Any]:
    """Return the results ``found`` with the rows of ``earlier`` results that they do not have.

    Raises CheckpointError if the two have different pictures, features, networks or budgets.
    """
    new, old = found["shared"], earlier["shared"]
    same = {key: new[key] == old[key] for key in ("features", "images", "tokens", "parameters")}
    same["budget"] = _filled(new["budget"]) == _filled(old["budget"])
    crops = old.get("draws", {})
    same["draws"] = all(new["draws"].get(seed, digest) == digest for seed, digest in crops.items())
    if differing := [name for name, equal in same.items() if not equal]:
        raise CheckpointError(
            f"the earlier results are of a study with another {', '.join(differing)}; runs that "
            "are compared must have the same."
        )
    known = all_runs()
    before = {row["name"]: row for row in earlier["runs"]}
    newer = [_completed(row, before.get(row["name"])) for row in found["runs"]]
    rows = {row["name"]: row for row in (*before.values(), *newer) if row["name"] in known}
    rows = [rows[name] for name in known if name in rows]
    shared = new | {
        "draws": crops | new["draws"],
        "downstream": new["downstream"] or old["downstream"],
    }
    return earlier | found | {"shared": shared, "runs": rows, "sweeps": _sweeps(rows)}


def _completed(row: dict[str, Any], earlier: dict[str, Any] | None) -> dict[str, Any]:
    """Return the row of a run that was made again, with what only its earlier row has: time and
    memory of a step alone, and, if it is the same tokenizer, what a prior generates from its
    tokens and what other features see."""
    if earlier is None:
        return row
    kept: tuple[str, ...] = ()
    if earlier["timed"] and not row["timed"]:
        kept = ("step_ms", "peak_mb", "timed")
    if row["psnr"] == earlier["psnr"]:
        more = ("generation_fd", "lpips_alex", "lpips_vgg", "alexnet_fd")
        kept += tuple(key for key in more if row.get(key) is None)
    return row | {key: earlier.get(key) for key in kept}


def _filled(settings: dict[str, Any]) -> dict[str, Any]:
    """Return a budget with the defaults of settings that are newer than it."""
    default = budget(next(iter(all_runs().values())).config(Study(Path())))
    return {
        key: default[key] | value if isinstance(value, dict) else value
        for key, value in settings.items()
    }


def _sweeps(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the sweeps with the runs that are finished; a run is a dict with its ``name``."""
    return [
        {"name": s.name, "title": s.title, "axis": s.axis, "series": _points(s.points, found)}
        for s in sweeps()
    ]


def _columns() -> list[dict[str, Any]]:
    keys = ("key", "label", "better", "digits", "percent")
    return [dict(zip(keys, column, strict=True)) for column in COLUMNS]


def _groups() -> list[dict[str, str]]:
    return [{"name": name, "title": TITLES[name]} for name in GROUPS]


def _downstream(out: Path, found: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Return the settings of the prior of the downstream test; None if no run has the test.

    Raises CheckpointError if the settings of two runs differ.
    """
    files = [out / result["name"] / "downstream.json" for result in found]
    settings = [read_result(file).get("settings") for file in files if file.exists()]
    if any(one != settings[0] for one in settings):
        raise CheckpointError(
            f"priors below {out} were trained with different settings; runs that are compared must "
            "have the same: delete one downstream.json and run the test again."
        )
    return settings[0] if settings else None


def read_results(file: Path) -> dict[str, Any]:
    """Return the contents of a ``results.json``, with the present wording of titles and labels.

    Raises CheckpointError for a file of another format.
    """
    results = read_result(file)
    if results.get("format") != FORMAT or "runs" not in results:
        raise CheckpointError(f"{file} is not the results of a study in format {FORMAT}.")
    known, titles = all_runs(), {sweep.name: (sweep.title, sweep.axis) for sweep in sweeps()}
    for study in (results, *results.get("elsewhere", ())):
        study["runs"] = [
            row | _words(known[row["name"]]) if row["name"] in known else row
            for row in study["runs"]
        ]
    for sweep in results.get("sweeps", ()):
        sweep["title"], sweep["axis"] = titles.get(sweep["name"], (sweep["title"], sweep["axis"]))
    return results | {"columns": _columns(), "groups": _groups()}


def _words(run: StudyRun) -> dict[str, str]:
    """Return the texts about a run, and its place in the report."""
    return {key: getattr(run, key) for key in ("label", "group", "method", "kind", "note")}


def _points(points: dict[str, list], found: list[dict]) -> dict[str, list]:
    """Return the points of a sweep whose runs are finished."""
    names = {result["name"] for result in found}
    return {
        method: kept
        for method, pairs in points.items()
        if (kept := [[value, name] for value, name in pairs if name in names])
    }


def _row(result: dict[str, Any], folder: Path) -> dict[str, Any]:
    figures, training = result["figures"], result["training"]
    timing, downstream, judged = (
        read_result(file) if (file := folder / f"{name}.json").exists() else {}
        for name in ("timing", "downstream", "judged")
    )
    distance = next((k for k in figures if k.endswith("_distance")), None)
    frechet = next((k for k in figures if k.endswith("_fd")), None)
    return {
        "name": result["name"],
        **_words(all_runs()[result["name"]]),
        **{key: result[key] for key in ("codes", "seed", "staged", "contrastive")},
        "steps": result["budget"]["steps"],
        "codes_rate": result.get("codes_rate", 1.0),
        "quantizer": result["quantizer"],
        **({"levels": result["levels"]} if "levels" in result else {}),
        **{key: figures[key] for key in ("utilization", "perplexity", "psnr", "ssim")},
        "feature_distance": figures.get(distance),
        "fd": figures.get(frechet),
        **{key: judged.get(key) for key in ("lpips_alex", "lpips_vgg", "alexnet_fd")},
        "step_ms": timing.get("step_ms", training["step_ms"]),
        "timed": bool(timing),
        "peak_mb": timing.get("peak_mb"),
        "generation_fd": downstream.get("generation_fd"),
        "training_utilization": training["utilization"],
        "frozen_at": training["frozen_at"],
    }


def finished_bundle(out: Path, name: str) -> Bundle:
    """Return the bundle of a finished run. Raises CheckpointError if the run has none."""
    return find_bundle(finished(out, name, "bundle").parent)


def finished(out: Path, name: str, part: str) -> Path:
    """Return the path of what a finished run saved. Raises CheckpointError if the run has not."""
    folder = out / name
    if not (folder / "result.json").exists() or not (folder / part).exists():
        raise CheckpointError(
            f"{folder} holds no finished tokenizer of the study; train it first with study.py run "
            f"--only {name}."
        )
    return folder / part


def read_result(file: Path) -> dict[str, Any]:
    """Return a JSON object of the study. Raises CheckpointError if the file holds none."""
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{file} cannot be read: {error}.") from None
    if not isinstance(value, dict):
        raise CheckpointError(f"{file} holds no JSON object.")
    return value
