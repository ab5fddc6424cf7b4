"""Weights that a prior takes from another prior, tensor by tensor, without any training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from core.bundles.bundle import find_bundle
from core.checkpoints import fingerprint_of
from core.errors import CheckpointError
from core.priors import LatentConfig, LayoutConfig, Prior
from tests.helpers.tiny_prior_runs import PRIORS, SEMANTIC, TEXT, tokenizer_bundle
from train.loop.warm_start import prior_from

GRID = {"grid": (4, 4), "codebook_size": 24}
LAYOUT = LayoutConfig(width=16, layers=1, heads=2)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return find_bundle(tokenizer_bundle(tmp_path_factory.mktemp("bundles") / "tokens"))


def built(kind: str, seed: int = 0, **changes: Any) -> Prior:
    settings = {"grid": (4, 4), "latent_dim": 4} if kind == "latent" else GRID
    torch.manual_seed(seed)
    prior = replace(PRIORS[kind], **settings, **changes).build()
    with torch.no_grad():
        for parameter in prior.parameters():
            parameter.normal_(std=0.1)
    return prior


def saved(prior: Prior, folder: Path, tokenizer: Any = None) -> Path:
    about = {"name": "older", "fingerprint": "another"}
    if tokenizer is not None:
        about = {"name": tokenizer.path.name, "fingerprint": fingerprint_of(tokenizer)}
    return prior.save_pretrained(folder, tokenizer=about, half=False).path


def state(prior: Prior) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in prior.state_dict().items()}


@pytest.mark.parametrize("kind", PRIORS)
def test_a_prior_of_the_same_kind_is_copied_whole(
    kind: str, tokenizer: Any, tmp_path: Path
) -> None:
    theirs, mine = built(kind, 1), built(kind, 2)
    if kind == "latent":
        theirs.mean.fill_(0.5)
        theirs.std.fill_(2.0)
    same = saved(theirs, tmp_path / "same", tokenizer)
    assert prior_from(mine, same, tokenizer) is None
    assert all(torch.equal(value, theirs.state_dict()[name]) for name, value in state(mine).items())
    other = saved(theirs, tmp_path / "other")
    assert prior_from(mine, other, tokenizer) == "older"
    if kind == "latent":  # measured again, on the latents of this tokenizer
        assert not mine.std.any() and torch.equal(mine.mean, theirs.mean)


@pytest.mark.parametrize(
    ("source", "target", "changes"),
    [
        ("autoregressive", "diffusion", {"layers": 3}),
        ("autoregressive", "masked", {}),
        ("diffusion", "autoregressive", {"layers": 2, "conditions": (TEXT,)}),
        ("masked", "diffusion", {}),
        ("diffusion", "masked", {"layers": 2}),
    ],
)
def test_a_prior_of_another_kind_gives_what_both_have(
    source: str, target: str, changes: dict[str, Any], tokenizer: Any, tmp_path: Path
) -> None:
    theirs, mine = built(source, 1), built(target, 2, **changes)
    before = state(mine)
    prior_from(mine, saved(theirs, tmp_path / "source", tokenizer), tokenizer)
    have, now = theirs.state_dict(), state(mine)
    open_gates = (
        mine.network.transformer.config.modulated
        and not theirs.network.transformer.config.modulated
    )
    layers = min(len(p.network.transformer.blocks) for p in (mine, theirs))
    gates = {f"network.transformer.blocks.{i}.modulation" for i in range(layers)}
    for name, value in now.items():
        if open_gates and name in gates:
            wanted = before[name].clone()
            wanted[[2, 5]] = 1  # the gates after attention and after the feed-forward layer
            assert torch.equal(value, wanted), name
        else:
            assert torch.equal(value, have.get(name, before[name])), name
    shared = before.keys() & have.keys()
    assert {"network.embed.weight", "network.row", "network.head.bias"} <= shared
    assert before.keys() - shared


def test_more_conditions_or_a_prior_of_maps_take_what_fits(tokenizer: Any, tmp_path: Path) -> None:
    theirs = built("diffusion", 1)
    source = saved(theirs, tmp_path / "source", tokenizer)
    for changes in ({"conditions": (TEXT, SEMANTIC)},
                    {"conditions": (TEXT, SEMANTIC), "layout": LAYOUT}):  # fmt: skip
        mine = built("diffusion", 2, **changes)
        before = state(mine)
        prior_from(mine, source, tokenizer)
        have = theirs.state_dict()
        assert have.keys() < before.keys()
        for name, value in state(mine).items():
            assert torch.equal(value, have.get(name, before[name])), name
    # A prior with fewer conditions does not take those of more.
    with pytest.raises(CheckpointError, match="none here; sizes, conditions"):
        prior_from(built("diffusion", 2, conditions=()), source, tokenizer)


def test_parts_of_other_sizes_are_refused(tokenizer: Any, tmp_path: Path) -> None:
    source = saved(built("masked", 1), tmp_path / "source", tokenizer)
    latent = replace(LatentConfig(grid=(4, 4)), **vars(PRIORS["latent"]) | {"grid": (4, 4)})
    for mine, words in (
        (built("autoregressive", heads=1), "fit this run: width, heads, grid, patch, number of"),
        (built("autoregressive", width=32), r"fit this run: .* is \(.*16.*\) there and \(.*32.*\)"),
        (built("masked", width=32), "sizes, conditions, grid and number of codes must be those"),
        (built("masked", layers=2), "none there"),
        (latent.build(), "its kind is masked, the run's is latent"),
    ):
        before = state(mine)
        with pytest.raises(CheckpointError, match=words):
            prior_from(mine, source, tokenizer)
        assert all(torch.equal(value, before[name]) for name, value in state(mine).items())
