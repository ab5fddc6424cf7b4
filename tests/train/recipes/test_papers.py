"""Recipes at the papers' scale: the published sizes, and one step of each on a tiny data set."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch

import core.networks.features as features
import train.loop.tokenizer
from core.bundles.bundle import find_bundle
from core.networks.discriminator import Discriminator
from core.networks.features import Features, load_features
from core.quantizers import GumbelConfig, NSVQConfig, RegVQConfig, SimVQConfig, VQConfig
from core.tokenizer import Tokenizer
from tests.helpers import published_layouts as made
from train.loop.tokenizer import TokenizerTrainer
from train.recipes import GROUPS, config_of, recipe_of

NAMES = [
    name
    for group in GROUPS
    if group.module in ("papers.regvq", "papers.imagenet")
    for name in group.names
]
QUANTIZERS = {
    "regvq": RegVQConfig, "vq": VQConfig, "gumbel": GumbelConfig, "simvq": SimVQConfig,
    "nsvq": NSVQConfig,
}  # fmt: skip
CODES = {"65k": 65_536, "16k": 16_384}
ONE_STEP = (
    "ade20k-regvq", "cub-gumbel", "celebamask-vq", "coco-regvq", "imagenet128-simvq-65k",
    "imagenet128-nsvq-65k", "imagenet256-vq",
)  # fmt: skip
"""Each data set and each quantizer once; `make test-all` trains a step of every recipe."""


def convolutions(widths: tuple[int, ...], blocks: int, latent: int, of_vqgan: bool) -> int:
    """Count the weights of the kernels of an encoder or a decoder by formula.

    ``widths`` are in the order of the levels: each level changes the width in its first block, with
    a 1x1 shortcut.
    """
    coarse = max(widths)
    total = 3 * 128 * 9  # to or from pixels
    before = (widths[0], *widths)  # the width that comes to each level
    for a, b in pairwise(before):
        total += 9 * (a * b + b * b) + (a * b if a != b else 0)
        total += (blocks - 1) * 2 * 9 * b * b
    total += 2 * 2 * 9 * coarse**2  # two middle blocks
    if of_vqgan:
        attentions = blocks + 1  # after each block of the coarsest level, and in the middle
        return total + attentions * 4 * coarse**2 + 9 * coarse * latent + latent * latent
    return total


@pytest.mark.parametrize("name", NAMES)
def test_sizes_are_those_of_the_papers(name: str) -> None:
    config = config_of(name)
    data, quantizer, *rest = name.split("-")
    pixels = 128 if data == "imagenet128" else 256
    step = 8 if data == "imagenet128" else 16
    assert config.data.name == ("imagenet" if data.startswith("imagenet") else data)
    assert config.data.size == pixels and config.features.name == "vgg19"
    assert type(config.tokenizer.quantizer) is QUANTIZERS[quantizer]
    with torch.device("meta"):
        tokenizer = Tokenizer(config.tokenizer)
        judge = Discriminator(config.discriminator)
    assert tokenizer.downsampling == step
    assert (pixels // step) ** 2 == 256  # tokens per picture in all three papers
    assert tokenizer.codebook_size == (CODES[rest[0]] if rest else 1024)
    network = config.tokenizer.network
    of_vqgan = not rest or (quantizer == "vq" and data == "imagenet256")
    assert network.latent_dim == (256 if of_vqgan else 128)
    for part, blocks in ((tokenizer.encoder, 2), (tokenizer.decoder, 3 if of_vqgan else 2)):
        count = sum(p.numel() for p in part.parameters() if p.ndim > 1)
        encodes = part is tokenizer.encoder
        widths = network.widths if encodes else network.widths[::-1]
        want = convolutions(widths, blocks, network.latent_dim, of_vqgan)
        latent, halvings = network.latent_dim, widths[:-1]
        if of_vqgan:  # a 3x3 kernel at each halving or doubling, of one width
            want += sum(9 * w * w for w in halvings)
        else:  # doubling goes through four times the width; the encoder's end is 1x1
            want += sum(9 * w * w * (1 if encodes else 4) for w in halvings)
            want += (1 if encodes else 9) * latent * widths[-1 if encodes else 0]
        assert count == want
    # PatchGAN of 64 channels and 3 halvings: 64, 128, 256, 512, 1.
    kernels = 16 * (3 * 64 + 64 * 128 + 128 * 256 + 256 * 512 + 512)
    assert sum(p.numel() for p in judge.parameters() if p.ndim > 1) == kernels


@pytest.mark.parametrize("name", NAMES)
def test_docstrings_give_figure_source_and_inferred_settings(name: str) -> None:
    words = recipe_of(name).__doc__ or ""
    assert "arXiv" in words or "taming-transformers" in words
    assert "nferred" in words
    assert "rFID" in words


def test_epochs() -> None:
    simvq, nsvq = config_of("imagenet128-simvq-65k"), config_of("imagenet128-nsvq-65k")
    assert simvq.steps == 250_250 and simvq.batch * 4 * 250_250 / 50 == pytest.approx(
        1_281_167, rel=1e-3
    )
    assert nsvq.steps == 700_700 == 70 * nsvq.stages.epoch
    assert nsvq.batch * 4 * nsvq.stages.epoch == pytest.approx(1_281_167, rel=1e-3)
    assert nsvq.tokenizer.quantizer == NSVQConfig(
        size=65_536,
        alpha=0.1,
        tau=0.35,
        beta=0.25,
        epoch=nsvq.stages.epoch,
        replacement_warmup=5,
        replacement_noise=0.001,
    )
    for run in (simvq, nsvq):
        assert run.optimizer.lr == 1e-4 and run.optimizer.schedule == "constant"
    vqgan = config_of("imagenet256-vq")
    assert vqgan.loss.discriminator_start * vqgan.steps == pytest.approx(250_001)
    assert vqgan.optimizer.lr == pytest.approx(8 * 12 * 4.5e-6)


@pytest.mark.parametrize("data", ["ade20k", "celebamask", "cub", "coco"])
def test_regvq_has_the_papers_regularizers(data: str) -> None:
    config = config_of(f"{data}-regvq")
    assert config.tokenizer.quantizer.posterior == "head"
    assert config.tokenizer.quantizer.mask_ratio == 0.4
    assert config.loss.contrastive == "pcl" and config.loss.perceptual > 0


@pytest.mark.parametrize(("one", "other"), [("ade20k-vq", "ade20k-gumbel"),
                                            ("ade20k-vq", "ade20k-regvq"),
                                            ("celebamask-vq", "celebamask-regvq"),
                                            ("cub-gumbel", "cub-regvq")])  # fmt: skip
def test_baselines_differ_only_in_the_quantizer_and_its_losses(one: str, other: str) -> None:
    base, run = config_of(one), config_of(other)
    assert base.tokenizer.network == run.tokenizer.network
    for part in ("data", "optimizer", "steps", "batch", "discriminator", "features", "stages"):
        assert getattr(base, part) == getattr(run, part)
    assert replace(run.loss, contrastive="none") == base.loss


@pytest.fixture(scope="module")
def vgg() -> Features:
    """VGG-19 with random weights."""
    from torchvision.models import vgg19

    with torch.device("meta"):
        shapes = {name: x.shape for name, x in vgg19().features.state_dict().items()}
    torch.manual_seed(0)
    state = {
        name: torch.randn(shape) * (2 / shape[1:].numel()) ** 0.5
        if len(shape) > 1
        else torch.zeros(shape)
        for name, shape in shapes.items()
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(features, "_torchvision_weights", lambda name: state)
        return load_features("vgg19")


@pytest.mark.parametrize(
    "name",
    [name if name in ONE_STEP else pytest.param(name, marks=pytest.mark.long) for name in NAMES],
)
@pytest.mark.slow
def test_one_step_on_the_published_layout(
    name: str, tmp_path: Path, vgg: Features, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One step of the recipe with smaller sizes computes every loss, the discriminator's too."""
    monkeypatch.setattr(train.loop.tokenizer, "load_features", lambda name, weights: vgg)
    config = config_of(name)
    network = replace(
        config.tokenizer.network,
        widths=(8,) * len(config.tokenizer.network.widths),
        groups=4,
        blocks=1,
        decoder_blocks=1,
        latent_dim=8,
        z_channels=8,
    )
    quantizer = replace(config.tokenizer.quantizer, size=64)
    root = made.LAYOUTS[config.data.name](tmp_path / "data")
    for file in root.glob("CelebA-HQ-img/*.jpg"):  # a run is evaluated on whole pictures
        made.save(file, made.picture(0, (64, 64)))
    config = replace(
        config,
        tokenizer=replace(config.tokenizer, network=network, quantizer=quantizer),
        data=replace(config.data, root=root, size=32, workers=0),
        loss=replace(config.loss, discriminator_start=0.0, listen_after=0.0, ramp=0.0),
        discriminator=replace(config.discriminator, width=8, layers=2),
        batch=2,
        steps=1,
        precision="fp32",
    )
    trainer = TokenizerTrainer(config, tmp_path / "run")
    before = {name: p.detach().clone() for name, p in trainer.tokenizer.named_parameters()}
    trainer.train()
    moved = {
        name.partition(".")[0]
        for name, p in trainer.tokenizer.named_parameters()
        if not torch.equal(p, before[name])
    }
    assert moved == {"encoder", "quantizer", "decoder"}
    (line,) = (tmp_path / "run" / "log.jsonl").read_text().splitlines()
    losses = json.loads(line)
    wanted = {"l1", "perceptual", "adversarial", "discriminator"}
    wanted |= {"contrastive"} if name.endswith("regvq") else set()
    assert wanted <= set(losses)
    assert all(losses[term] == losses[term] for term in wanted)  # none is NaN
    bundle = find_bundle(tmp_path / "run")
    assert bundle.config["recipe"]["name"] == name and bundle.metrics["step"] == 1
