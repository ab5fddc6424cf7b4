"""Tokenizers of the study as bundles with figures, atlas and card."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from regvq.analysis.atlas import build_atlas
from regvq.bundles.bundle import find_bundle
from regvq.cards.tokenizer import model_card
from regvq.checkpoints import load_tokenizer
from regvq.errors import CheckpointError

from .catalog import all_runs
from .results import read_result


def ship(
    names: Iterable[str], out: Path, to: Path, data: str, terms: str, pictures: str
) -> list[Path]:
    """Write the runs ``names`` of ``out`` to ``to``/study-NAME and return the folders.

    ``data``, ``terms`` and ``pictures`` are texts for the cards. Raises CheckpointError for a run
    that is not finished, is unknown, or has another project's quantizer.
    """
    written = []
    for name in names:
        folder, run = out / name, all_runs().get(name)
        if run is None:
            raise CheckpointError(
                f"{name} is not a run of the study; study.py run --list names them."
            )
        if run.kind == "outside":
            raise CheckpointError(f"{name} has another project's quantizer, which is not shipped.")
        result = read_result(folder / "result.json")
        bundle = find_bundle(folder)
        tokenizer = load_tokenizer(bundle)
        recipe: dict[str, Any] = dict(bundle.config["recipe"])
        recipe |= {key: note for key, note in (("data_note", data), ("terms_note", terms)) if note}
        recipe["codes_rate"] = run.codes_rate
        recipe["command"] = (
            "python train/study.py run --study.root DIR "
            f"--study.steps {recipe['steps']} --only {name}"
        )
        metrics = {
            "step": recipe["steps"],
            "data": {"name": "folder", "held_out": True, "described": pictures},
            **result["figures"],
        }
        path = to / f"study-{name}"
        tokenizer.save_pretrained(
            path,
            card=model_card(path.name, tokenizer.config, recipe, metrics),
            metrics=metrics,
            # An atlas is that of a single codebook.
            atlas=None
            if tokenizer.levels > 1
            else build_atlas(
                tokenizer,
                source=f"{result['figures']['images']} {pictures}",
                counts=np.load(folder / "counts.npy"),
            ),
            recipe=recipe,
        )
        size = sum(file.stat().st_size for file in path.iterdir()) / 1e6
        print(f"{path}: {size:.1f} MB")
        written.append(path)
    return written
