"""Fine-tuning a tokenizer with its own network, quantizer, value range and losses."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import train.loop.tokenizer
from core.bundles.bundle import find_bundle
from core.checkpoints import load_tokenizer
from core.errors import CheckpointError
from core.importing import import_tokenizer
from core.paths import ROOT
from tests.helpers.published_doubles import llamagen_state
from tests.train.loop.test_tokenizer import pictures
from train.cli.errors import UsageError
from train.config.tokenizer import LossConfig
from train.loop import adopt
from train.loop.adopt import LOSSES, adopted, bundle_to_adopt
from train.loop.tokenizer import TokenizerTrainer
from train.loop.warm_start import start_from
from train.recipes import config_of

__all__ = ["pictures"]  # the fixture


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("imported")
    torch.save({"model": llamagen_state()}, folder / "vq_ds16.pt")
    import_tokenizer(folder / "vq_ds16.pt", folder / "bundle", value_range="unit")
    return folder / "bundle"


def run_of(imported: Path, root: Path, **settings: object):
    config = config_of("finetune")
    config = replace(
        config, init=imported, batch=2, steps=2, precision="fp32",
        data=replace(config.data, root=root, size=32, workers=0),
        features=replace(config.features, name="none"),
        loss=replace(config.loss, perceptual=0.0, adversarial=0.4, **_EARLY),
        discriminator=replace(config.discriminator, width=8, layers=2),
    )  # fmt: skip
    return adopted(replace(config, **settings))


_EARLY = {"discriminator_start": 0.0, "listen_after": 0.0, "ramp": 0.0}


def test_settings_and_losses_come_from_the_bundle(imported: Path, pictures: Path) -> None:
    config = replace(config_of("finetune"), init=imported)
    found = adopted(config)
    assert found.tokenizer == load_tokenizer(imported).config
    assert found.tokenizer.value_range == "unit"
    assert found.loss == LOSSES["llamagen"] and found.loss.l2 == 1.0 and not found.loss.adaptive
    own = LossConfig(l1=0.5)
    assert adopted(replace(config, loss=own)).loss == own
    assert LOSSES["taming"].adversarial == 0.8  # VQ-GAN's weight, times the adaptive one


@pytest.mark.parametrize("train_only", ["all", "decoder"])
def test_an_imported_tokenizer_is_trained_further(
    imported: Path, pictures: Path, tmp_path: Path, train_only: str
) -> None:
    run = run_of(imported, pictures, train_only=train_only)
    trainer = TokenizerTrainer(run, tmp_path / "run")
    before = load_tokenizer(imported)
    images = torch.rand(2, 3, 32, 32) * 2 - 1
    assert torch.equal(trainer.tokenizer.eval().encode(images), before.encode(images))
    trainer.tokenizer.train()
    trainer.train()
    bundle = find_bundle(tmp_path / "run")
    after = load_tokenizer(bundle)
    assert after.config == before.config
    assert not torch.equal(
        after.decode(before.encode(images)), before.decode(before.encode(images))
    )
    same = torch.equal(after.encode(images), before.encode(images))
    moved = not torch.equal(after.latents(images), before.latents(images))
    assert (same and not moved) if train_only == "decoder" else moved
    assert "LlamaGen's tokenizer" in bundle.card and "its license: not stated" in bundle.card


def test_without_a_tokenizer_it_says_so(pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="give --init DIR"):
        adopted(config_of("finetune"))
    with pytest.raises(CheckpointError, match="does not exist"):
        adopted(replace(config_of("finetune"), init=tmp_path / "nowhere"))


def test_crops_that_do_not_fit_the_network(imported: Path) -> None:
    config = replace(config_of("finetune"), init=imported)
    with pytest.raises(UsageError, match=r"data.size must be a multiple of 4"):
        adopted(replace(config, data=replace(config.data, size=30)))


def test_another_range_is_refused(imported: Path) -> None:
    tokenizer = load_tokenizer(imported)
    tokenizer.config = replace(tokenizer.config, value_range="signed")
    with pytest.raises(CheckpointError, match="its value range is unit, the run's is signed"):
        start_from(tokenizer, imported)


def test_the_command_fine_tunes(
    imported: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "train"))
    from train.run import main

    flags = ["finetune", "--init", imported, "--data.root", pictures, "--data.size", 32,
             "--steps", 1, "--batch", 2, "--features.name", "none", "--data.workers", 0,
             "--loss.perceptual", 0, "--precision", "fp32", "--out", tmp_path / "run"]  # fmt: skip
    main([str(flag) for flag in flags])
    assert load_tokenizer(tmp_path / "run").config == load_tokenizer(imported).config
    assert sys.modules["train.loop.tokenizer"] is train.loop.tokenizer


def test_losses_of_each_family() -> None:
    """L1, L2, perceptual and adversarial weight, and True where the last one is adaptive."""
    vqgan, improved = (1.0, 0.0, 1.0, 0.8, True), (1.0, 0.0, 1.0, 0.1, False)
    wanted = dict.fromkeys(("taming", "taming-gumbel", "vqmodel", "movq", "amused"), vqgan)
    wanted |= dict.fromkeys(("simvq", "open-magvit2", "ibq"), improved)
    wanted |= {"llamagen": (0.0, 1.0, 1.0, 0.5, False), "maskgit": (0.0, 1.0, 0.1, 0.1, False)}
    found = {
        family: (loss.l1, loss.l2, loss.perceptual, loss.adversarial, loss.adaptive)
        for family, loss in LOSSES.items()
    }
    assert found == wanted
    for loss in LOSSES.values():  # the discriminator is heard soon: the tokenizer is trained
        assert (loss.discriminator_start, loss.listen_after, loss.ramp) == (0.0, 0.1, 0.1)
        assert loss.contrastive == "none"


def test_a_bundle_is_looked_for_here_and_then_beside_the_project(
    imported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(imported.parent)
    monkeypatch.setattr(adopt, "ROOT", tmp_path)
    assert bundle_to_adopt(Path(imported.name)).path.resolve() == imported.resolve()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(adopt, "ROOT", imported.parent)
    assert bundle_to_adopt(Path(imported.name)).path.resolve() == imported.resolve()
