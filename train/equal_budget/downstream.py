"""The downstream test: the same prior on the tokens of different tokenizers of the study.

For each run the training photographs are encoded as random crops, the same for all runs, and an
unconditional autoregressive prior is trained on them. The pictures that it generates are compared
with random crops of the held-out photographs, and so are the reconstructions of those crops.

``OUT/NAME/downstream.json``: ``generation_fd`` (generated pictures to held-out crops),
``reconstruction_fd`` (the same crops, encoded and decoded, to themselves), ``bits_per_token`` (on
held-out center squares; it is not a ranking, because a token carries more information in some
codebooks than in others), ``features`` and ``settings`` (which compared runs must share).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from regvq.batching import in_batches
from regvq.bundles.bundle import find_bundle
from regvq.bundles.storage import write_json
from regvq.checkpoints import load_prior, load_tokenizer
from regvq.data import open_dataset
from regvq.metrics.comparison import as_shown
from regvq.metrics.frechet import FrechetStatistics
from regvq.networks.features import load_features
from regvq.priors import AutoregressiveConfig

from ..config.base import AdamWConfig, PicturesConfig
from ..config.prior import PriorRunConfig
from ..encoding.encode import encode
from ..encoding.flags import DataFlags, EncodeFlags
from ..loop.prior import PriorTrainer
from .results import finished_bundle
from .runs import DownstreamConfig, Study, StudyRun

DIM = 512  # SqueezeNet's last layer, pooled
TOGETHER = 50  # pictures that are generated and decoded at once


def downstream(
    run: StudyRun, study: Study, config: DownstreamConfig, out: Path
) -> dict[str, Any] | None:
    """Train a prior on the tokens of a finished run and evaluate the pictures that it generates.

    Writes ``out/NAME/downstream.json`` and returns its contents; None if the training was stopped
    (another call resumes it). Raises CheckpointError if the run has no bundle.
    """
    folder, bundle = out / run.name, finished_bundle(out, run.name)
    pictures = run.config(study).data
    tokens = folder / "tokens"
    encode(
        EncodeFlags(
            checkpoint=bundle.path,
            data=DataFlags(
                "folder", study.root, size=study.size, crop=pictures.crop, seed=run.seed
            ),
            out=tokens,
            augmentations=config.augmentations,
        )
    )
    trained = PriorTrainer(
        PriorRunConfig(
            recipe=f"study-{run.name}-ar",
            prior=AutoregressiveConfig(
                width=config.width, layers=config.layers, heads=config.heads, dropout=0.1
            ),
            tokenizer=bundle.path,
            embeddings="random",  # as in the papers: independent of the codebook's geometry
            tokens=tokens,
            data=PicturesConfig("folder", study.root, study.size, pictures.crop, workers=0),
            optimizer=AdamWConfig(lr=2e-3, weight_decay=0.05, ema=0.99),
            steps=config.steps,
            batch=config.batch,
            seed=run.seed,
            save_every=config.steps,
        ),
        folder / "prior",
    ).train()
    prior_bundle = find_bundle(trained)
    if prior_bundle.metrics["step"] < config.steps:
        return None
    prior, tokenizer = load_prior(prior_bundle, "cpu"), load_tokenizer(bundle, "cpu")
    features = load_features("squeezenet", study.weights)
    held_out = open_dataset(
        "folder", study.root, size=study.size, seed=run.seed, split="test", crop=pictures.crop
    )
    crops = (held_out.draw(k).image for k in range(config.pictures))
    real, rebuilt, drawn = (FrechetStatistics(DIM) for _ in range(3))
    with torch.inference_mode():
        for images in in_batches(crops, TOGETHER):
            real.update(features.pooled(images))
            rebuilt.update(features.pooled(as_shown(tokenizer.decode(tokenizer.encode(images)))))
        for ids in _generated(prior, config.pictures, run.seed):
            drawn.update(features.pooled(as_shown(tokenizer.decode(ids))))
    result = {
        "generation_fd": drawn.distance(real),
        "reconstruction_fd": rebuilt.distance(real),
        "bits_per_token": prior_bundle.metrics["bits_per_token"],
        "features": features.label,
        "settings": asdict(config) | {"size": study.size, "crop": list(pictures.crop)},
    }
    write_json(folder / "downstream.json", result)
    return result


def _generated(prior: Any, count: int, seed: int) -> Iterator[Tensor]:
    noise = torch.Generator().manual_seed(seed)
    for begin in range(0, count, TOGETHER):
        yield prior.generate(None, min(TOGETHER, count - begin), generator=noise)
