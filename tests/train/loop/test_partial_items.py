"""Priors on data of which only some items have captions, maps or labels; and on others' tokens."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from core.conditions import LabelConfig
from core.data.token_shards import TokenShards
from core.errors import DataError
from tests.helpers import published_layouts as made
from tests.helpers.tiny_prior_runs import PRIORS, SIZE, prior_run, tokenizer_bundle
from train.cli.data import data_lines
from train.config.base import PicturesConfig
from train.config.prior import PriorRunConfig
from train.encode import main as encode
from train.loop.prior import PriorTrainer

ITEMS = 12


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tokenizer_bundle(tmp_path_factory.mktemp("bundles") / "tiny-tokens")


@pytest.fixture(autouse=True)
def few_held_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("train.loop.prior.HELD_OUT", 6)
    monkeypatch.setattr("train.loop.prior.READ", 20)


def partial(root: Path, having: set[int], parts: tuple[str, ...] = ("txt", "seg.png")) -> Path:
    """Write a tar of ITEMS pictures; those in ``having`` have the parts, the others nothing."""
    members = []
    for number in range(ITEMS):
        members.append((f"{number:02d}.png", made.encoded(made.picture(number))))
        files = {"txt": f"number {number}".encode(), "cls": b"3",
                 "seg.png": made.encoded(made.halves(5, 6))}  # fmt: skip
        members += [(f"{number:02d}.{part}", files[part]) for part in parts if number in having]
    made.tar(root / "a.tar", members)
    return root


def encoded(root: Path, tokenizer: Path, out: Path, *more: object) -> Path:
    arguments = ["--checkpoint", tokenizer, "--out", out, "--data.name", "shards", "--data.root",
                 root, "--data.size", SIZE, "--device", "cpu", *more]  # fmt: skip
    encode([*map(str, arguments)])
    return out


def run(kind: str, tokenizer: Path, root: Path, tokens: Path | None = None) -> PriorRunConfig:
    data = PicturesConfig("shards", root=root, size=SIZE, workers=0)
    return prior_run(kind, tokenizer, data=data, tokens=tokens, steps=8)


@pytest.mark.parametrize(("having", "seed"), [({11}, 0), ({2, 5, 8}, 1), (set(range(11)), 2)])
def test_tokens_hold_what_any_item_has(
    having: set[int], seed: int, tmp_path: Path, tokenizer: Path
) -> None:
    root = partial(tmp_path / "data", having, ("txt", "seg.png", "cls"))
    out = encoded(root, tokenizer, tmp_path / "out", "--data.seed", seed, "--shard", 5)
    header = json.loads((out / "header.json").read_text())
    assert header["captions"] and header["segmentation"]
    assert header["found"] == dict.fromkeys(("captions", "maps", "labels"), len(having))
    shards = TokenShards(out)
    read = shards.draws(range(ITEMS))
    assert sum(map(bool, read.captions)) == len(having)
    assert int((read.labels >= 0).sum()) == len(having)
    assert int((read.segmentation != 255).flatten(1).any(1).sum()) == len(having)
    said = shards.summary()
    assert f"captions of {len(having)}, maps of {len(having)}, labels of {len(having)}" in said


@pytest.mark.parametrize("kind", PRIORS)
@pytest.mark.parametrize("on_tokens", [False, True])
def test_training_to_the_end(kind: str, on_tokens: bool, tmp_path: Path, tokenizer: Path) -> None:
    if kind == "latent" and on_tokens:
        return  # refused: a latent prior learns latents
    root = partial(tmp_path / "data", {2, 11})
    tokens = encoded(root, tokenizer, tmp_path / "tokens") if on_tokens else None
    bundle = PriorTrainer(run(kind, tokenizer, root, tokens), tmp_path / "run").train()
    assert (bundle / "model.safetensors").exists() and (bundle / "README.md").exists()


@pytest.mark.parametrize("kind", PRIORS)
@pytest.mark.parametrize("on_tokens", [False, True])
def test_data_without_a_part_are_refused_before_the_first_step(
    kind: str, on_tokens: bool, tmp_path: Path, tokenizer: Path
) -> None:
    root = partial(tmp_path / "data", set())
    if kind == "latent" and on_tokens:
        return
    tokens = encoded(root, tokenizer, tmp_path / "tokens") if on_tokens else None
    with pytest.raises(DataError, match=r"conditioned on (text|semantic maps), but .* have no"):
        PriorTrainer(run(kind, tokenizer, root, tokens), tmp_path / "run")


@pytest.mark.parametrize("on_tokens", [False, True])
def test_labels_of_some_items(on_tokens: bool, tmp_path: Path, tokenizer: Path) -> None:
    root = partial(tmp_path / "data", {4, 9}, ("cls",))
    tokens = encoded(root, tokenizer, tmp_path / "tokens") if on_tokens else None
    config = run("autoregressive", tokenizer, root, tokens)
    labeled = replace(config, prior=replace(config.prior, conditions=(LabelConfig(classes=4),)))
    assert PriorTrainer(labeled, tmp_path / "run").train().exists()
    few = replace(config, prior=replace(config.prior, conditions=(LabelConfig(classes=3),)))
    with pytest.raises(DataError, match="has the label 3, but the prior knows 0 to 2"):
        PriorTrainer(few, tmp_path / "few").train()


def test_tokens_of_other_data_are_refused(tmp_path: Path, tokenizer: Path) -> None:
    root = partial(tmp_path / "data", {1})
    tokens = encoded(root, tokenizer, tmp_path / "tokens")
    scenes = prior_run("autoregressive", tokenizer, tokens=tokens)
    with pytest.raises(DataError, match=r"tokens of the data set 'shards', but the run is on 'sce"):
        PriorTrainer(scenes, tmp_path / "run")
    arguments = ["--checkpoint", tokenizer, "--out", tmp_path / "held", "--data.name", "scenes",
                 "--data.size", SIZE, "--limit", 8, "--data.split", "test",
                 "--device", "cpu"]  # fmt: skip
    encode([*map(str, arguments)])
    held = prior_run("autoregressive", tokenizer, tokens=tmp_path / "held")
    with pytest.raises(DataError, match=r"tokens of the split 'test', whose pictures are held out"):
        PriorTrainer(held, tmp_path / "run")


def test_the_line_states_tokens_of_other_pictures(tmp_path: Path, tokenizer: Path) -> None:
    root = partial(tmp_path / "data", {1, 2})
    tokens = encoded(root, tokenizer, tmp_path / "tokens")
    config = run("autoregressive", tokenizer, root, tokens)
    training, held_out = data_lines(PriorTrainer(config, tmp_path / "run"))
    assert training.startswith("training on tokens of shards, train: 12 pictures in ")
    assert "captions of 2, maps of 2, no labels" in training and "other" not in training
    assert held_out.startswith(f"held out: shards, test: 12 items in {root}; captions of 2, maps")
    partial(root, {1, 2, 3}, ("txt", "seg.png", "cls"))
    training, _ = data_lines(PriorTrainer(config, tmp_path / "run"))
    assert training.endswith("; other pictures than those of --data.root")


def test_a_card_states_that_nothing_is_held_out(tmp_path: Path, tokenizer: Path) -> None:
    root = partial(tmp_path / "data", {1, 2})
    bundle = PriorTrainer(run("diffusion", tokenizer, root), tmp_path / "run").train()
    card = (bundle / "README.md").read_text()
    assert "NOT held-out" in card


@pytest.mark.parametrize("broken", [{11}, {8, 9, 10, 11}])
def test_shards_of_which_no_picture_was_read(
    broken: set[int], tmp_path: Path, tokenizer: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.data.picture_dataset.MAX_BROKEN", 1.0)
    root = tmp_path / "data"
    for number in range(ITEMS):
        made.save(root / f"{number:02d}.png", made.picture(number))
        if number in broken:
            (root / f"{number:02d}.png").write_bytes(b"")
    out = tmp_path / "out"
    size = len(broken)
    arguments = ["--checkpoint", tokenizer, "--out", out, "--data.name", "folder", "--data.root",
                 root, "--data.size", SIZE, "--device", "cpu", "--shard", size]  # fmt: skip
    encode([*map(str, arguments)])
    header = json.loads((out / "header.json").read_text())
    if 0 in header["rows"]:
        assert sum(header["rows"]) == ITEMS - size
    shards = TokenShards(out)
    assert len(shards) == ITEMS - size
    assert len({shards[row].ids.numpy().tobytes() for row in range(len(shards))}) > 1
    assert shards.draws(range(2 * len(shards))).ids.shape == (2 * len(shards), 4, 4)
