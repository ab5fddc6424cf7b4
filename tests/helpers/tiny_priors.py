"""Small real priors for the app's tests: random weights, on one of the tests' tokenizers."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch

from core.checkpoints import load_tokenizer
from core.conditions import LabelConfig, SemanticConfig, TextConfig
from core.data.datasets.facades import CLASSES as PARTS
from core.data.datasets.facades import Facades
from core.data.scenes import CLASSES, PALETTE
from core.priors import (
    AutoregressiveConfig,
    DiffusionConfig,
    LatentConfig,
    LayoutConfig,
    MaskedConfig,
)
from core.quantizers import RegVQConfig
from tests.app.conftest import NETWORK, SIZE, tiny

GRID = (4, 4)
SMALL = {"codebook_size": SIZE, "grid": GRID, "width": 16, "layers": 1, "heads": 2}
TEXT = TextConfig(width=16, layers=1, heads=2, context=12, vocabulary=30)
SEMANTIC = SemanticConfig(classes=len(CLASSES), width=8)
CONFIGS = {
    "words": DiffusionConfig(**SMALL, conditions=(TEXT,), timesteps=20),
    "planned": AutoregressiveConfig(**SMALL, conditions=(SEMANTIC,)),
    "both": MaskedConfig(**SMALL, conditions=(TEXT, SEMANTIC)),
    "sketcher": DiffusionConfig(
        **SMALL, conditions=(TEXT, SEMANTIC), layout=LayoutConfig(16, 1, 2), timesteps=20
    ),
    "latents": LatentConfig(
        latent_dim=NETWORK.latent_dim, grid=GRID, width=32, factors=(1, 2), blocks=1,
        conditions=(SEMANTIC,), timesteps=10, betas=(0.05, 0.8),
    ),
    "classes": MaskedConfig(**SMALL, conditions=(LabelConfig(classes=3),)),
    "numbers": AutoregressiveConfig(**SMALL, conditions=(LabelConfig(classes=3),)),
    "birds-text-diffusion": DiffusionConfig(**SMALL, conditions=(TEXT,), timesteps=6),
    "facades-semantic-ar": AutoregressiveConfig(
        **SMALL, conditions=(SemanticConfig(classes=len(PARTS), width=8),)
    ),
}  # fmt: skip
# What they say that they were trained on, where it is not the drawn scenes.
DATA = {
    "classes": {"name": "imagenet", "labels": ["tench", "Golden Retriever", "church"]},
    "numbers": {"name": "imagenet", "classes": [], "palette": []},  # of a bundle without names
    "birds-text-diffusion": {"name": "captions", "classes": [], "palette": []},
    "facades-semantic-ar": {
        "name": "facades", "classes": list(PARTS), "palette": Facades.palette.tolist(),
    },
}  # fmt: skip
BIRDS = (
    "this small bird has a yellow belly and a short pointed beak",
    "a bird with black wings and a red head",
)
KNOWN = ("a lake below mountains at sunset", "a house among trees", "the moon above the sea")


def tiny_tokenizer(folder: Path) -> Path:
    """A tokenizer's bundle, for tests that have none yet."""
    return tiny(RegVQConfig(size=SIZE), seed=0).save_pretrained(folder).path


def prior_bundles(root: Path, tokenizer: Path, names: tuple[str, ...] = ("words",)) -> Path:
    """``root`` with a copy of the bundle ``tokenizer`` and the priors ``names`` of CONFIGS."""
    home = root / tokenizer.name
    shutil.copytree(tokenizer, home)  # root is made, too
    mark = load_tokenizer(home).fingerprint
    data = {"name": "scenes", "classes": list(CLASSES), "palette": PALETTE.tolist()}
    for name in names:
        with torch.random.fork_rng():
            torch.manual_seed(5)
            prior = CONFIGS[name].build().eval()
            for parameter in prior.parameters():  # outputs begin at zero: let conditions matter
                torch.nn.init.normal_(parameter, std=0.3)
            if name == "latents":
                prior.measure(torch.randn(4, NETWORK.latent_dim, *GRID))
        prior.learn_vocabulary(BIRDS if name.startswith("birds") else KNOWN)
        prior.save_pretrained(
            root / name,
            tokenizer={"name": tokenizer.name, "fingerprint": mark},
            data=DATA.get(name, data),
            sampling={"guidance": 2.0, "temperature": 0.9},
        )
    return root
