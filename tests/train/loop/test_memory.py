"""Steps in parts, recomputed blocks and compiled networks give the step of the plain trainer."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from core.networks.autoencoder import NetworkConfig
from core.networks.transformer import Transformer
from core.networks.vqgan import VQGANConfig
from core.quantizers import NSVQConfig, VQConfig
from core.tokenizer import Tokenizer, TokenizerConfig
from tests.helpers.tiny_prior_runs import prior_run, scene_shards, tokenizer_bundle
from tests.train.loop.test_tokenizer import config, pictures
from train.cli.errors import UsageError
from train.config.tokenizer import LossConfig, OptimizerConfig, RunConfig
from train.loop import memory
from train.loop.memory import Part, mean_of, parts_of, prepare_networks
from train.loop.prior import PriorTrainer
from train.loop.tokenizer import TokenizerTrainer

__all__ = ["pictures"]  # the fixture

LOSS = LossConfig(
    l2=0.3, perceptual=0.0, adversarial=0.5, adaptive=False, discriminator_start=0.0,
    listen_after=0.0, ramp=0.0,
)  # fmt: skip
VQ = VQConfig(size=32, codebook="ema", decay=0.5)
GRADIENT = OptimizerConfig(lr=1e-3, warmup=0.0, clip=1e9)
NETWORKS = {
    "ours": NetworkConfig(widths=(8, 16), decoder_blocks=1, latent_dim=4, attention=True),
    "vqgan": VQGANConfig(
        widths=(8, 16), blocks=1, latent_dim=4, z_channels=4, groups=4, attention_levels=(1,)
    ),
}


def images(count: int = 6) -> Tensor:
    return torch.rand(count, 3, 32, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1


def after(run: RunConfig, out: Path, steps: int = 2) -> tuple[list[dict[str, Tensor]], Tokenizer]:
    trainer = TokenizerTrainer(run, out)
    return [trainer.step(images(), step) for step in range(steps)], trainer.tokenizer


def same(a: nn.Module, b: nn.Module, atol: float) -> None:
    other = b.state_dict()
    for name, value in a.state_dict().items():
        torch.testing.assert_close(value, other[name], atol=atol, rtol=1e-4, msg=name)


def test_the_parts_of_a_batch_are_all_of_it() -> None:
    for count, parts in ((6, 1), (6, 4), (2, 5), (7, 3)):
        found = list(parts_of(count, parts))
        rows = [row for part in found for row in range(count)[part.rows]]
        assert rows == list(range(count)) and len(found) == min(count, parts)
        assert sum(part.share for part in found) == pytest.approx(1)
        assert [part.last for part in found] == [False] * (len(found) - 1) + [True]


@pytest.mark.parametrize("parts", [2, 4])
def test_a_step_in_parts_is_the_step_of_the_whole_batch(
    tmp_path: Path, pictures: Path, parts: int
) -> None:
    """Losses, weights, the discriminator's too, and the codes of an EMA codebook; parts of 6
    pictures are not of one size with 4 of them."""
    run = config(pictures, VQ, precision="fp32", loss=LOSS, optimizer=GRADIENT)
    whole, alone = after(run, tmp_path / "whole")
    split, tokenizer = after(replace(run, accumulate=parts), tmp_path / "parts")
    for a, b in zip(whole, split, strict=True):
        assert a.keys() == b.keys() >= {"l1", "discriminator", "gradient_norm"}
        for name, value in a.items():
            torch.testing.assert_close(b[name], value, rtol=2e-3, atol=1e-6, msg=name)
    same(alone.quantizer, tokenizer.quantizer, 1e-4)
    # AdamW divides a gradient by its size: one that is rounding alone moves its weight freely.
    for (name, a), b in zip(alone.named_parameters(), tokenizer.parameters(), strict=True):
        assert (a - b).abs().mean() < 1e-4, name


def test_gradients_of_parts_add_up(tmp_path: Path, pictures: Path) -> None:
    """Before the optimizer: gradients of six pictures in three parts are those of all six."""
    run = config(pictures, VQ, precision="fp32", loss=LOSS, optimizer=GRADIENT)
    found = []
    for name, parts in (("whole", 1), ("parts", 3)):
        trainer = TokenizerTrainer(replace(run, accumulate=parts), tmp_path / name)
        trainer.step(images(), 0)
        modules = (trainer.tokenizer, trainer.discriminator)
        found.append([p.grad for module in modules for p in module.parameters()])
    for a, b in zip(*found, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            torch.testing.assert_close(b, a, rtol=1e-3, atol=2e-6)


def test_a_prior_learns_from_parts_what_it_learns_from_the_batch(tmp_path: Path) -> None:
    bundle = tokenizer_bundle(tmp_path / "tokenizer")
    shards = scene_shards(tmp_path / "shards", bundle)
    run = prior_run("autoregressive", bundle, tokens=shards, precision="fp32")
    run = replace(run, prior=replace(run.prior, drop=0.0))  # conditions are dropped at random
    found = []
    for parts in (1, 4):
        trainer = PriorTrainer(replace(run, accumulate=parts), tmp_path / str(parts))
        (batch,) = trainer._stream(0, 1)
        losses = trainer.step(batch, 0)
        found.append((losses, [p.grad for p in trainer.prior.parameters()]))
    (whole, a), (parts, b) = found
    for name, value in whole.items():
        torch.testing.assert_close(parts[name], value, rtol=1e-4, atol=1e-6, msg=name)
    for x, y in zip(a, b, strict=True):
        if x is not None:
            torch.testing.assert_close(y, x, rtol=1e-3, atol=1e-6)


class Saved:
    """Counts the bytes that the backward pass keeps, each tensor's storage once."""

    def __init__(self) -> None:
        self.storages: dict[int, int] = {}

    def pack(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        self.storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    @property
    def bytes(self) -> int:
        return sum(self.storages.values())


@pytest.mark.parametrize("name", NETWORKS)
def test_checkpointing_keeps_less_and_gives_the_same_gradient(name: str, pictures: Path) -> None:
    run = config(pictures, VQ)
    found = []
    for on in (False, True):
        torch.manual_seed(0)
        tokenizer = Tokenizer(TokenizerConfig(NETWORKS[name], VQ))
        for weight in tokenizer.parameters():  # the second convolutions are zeros at first
            nn.init.normal_(weight, std=0.1)
        prepare_networks(replace(run, checkpointing=on), tokenizer.encoder, tokenizer.decoder, None)
        saved = Saved()
        with torch.autograd.graph.saved_tensors_hooks(saved.pack, lambda x: x):
            decoded, _, quantized = tokenizer(images())
        (decoded.square().mean() + sum(quantized.losses.values())).backward()
        found.append((saved.bytes, decoded.detach(), [p.grad for p in tokenizer.parameters()]))
    (bytes_plain, plain, a), (bytes_kept, kept, b) = found
    assert torch.equal(plain, kept)
    assert bytes_kept < 0.6 * bytes_plain
    assert any(x is not None and x.abs().max() > 0 for x in a)
    for x, y in zip(a, b, strict=True):
        assert (x is None and y is None) or torch.equal(x, y)


@pytest.mark.parametrize("kind", ["autoregressive", "latent"])
def test_checkpointing_of_priors(tmp_path: Path, kind: str) -> None:
    """Of the transformer, and of diffusers' U-Net."""
    bundle = tokenizer_bundle(tmp_path / "tokenizer")
    found = []
    for on in (False, True):
        run = prior_run(kind, bundle, checkpointing=on, precision="fp32")
        trainer = PriorTrainer(run, tmp_path / f"{on}")
        (batch,) = trainer._stream(0, 1)
        saved = Saved()
        with torch.autograd.graph.saved_tensors_hooks(saved.pack, lambda x: x):
            losses = trainer.step(batch, 0)
        found.append((saved.bytes, losses, [p.grad for p in trainer.prior.parameters()]))
    (plain, a, first), (kept, b, second) = found
    assert kept < plain
    for name, value in a.items():
        torch.testing.assert_close(b[name], value, rtol=1e-5, atol=1e-7, msg=name)
    for x, y in zip(first, second, strict=True):
        if x is not None:
            torch.testing.assert_close(y, x, rtol=1e-4, atol=1e-7)


def test_what_is_compiled(pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The encoder, and all of the decoder but the last layer; the averaged weights never."""
    run = config(pictures, VQ, compile=True)
    for network in NETWORKS.values():
        tokenizer = Tokenizer(TokenizerConfig(network, VQ))
        prepare_networks(run, tokenizer.encoder, tokenizer.decoder, None)
        compiled = [each for each in tokenizer.modules() if each._compiled_call_impl is not None]
        assert tokenizer.encoder in compiled and tokenizer.quantizer not in compiled
        assert not any(isinstance(each, nn.ModuleList) for each in compiled)  # they have no call
        lists = [x for x in tokenizer.decoder.children() if isinstance(x, nn.ModuleList)]
        layers = [each for x in lists for each in x if any(True for _ in each.children())]
        assert all(each in compiled for each in layers)
        inside = {id(p) for each in compiled for p in each.parameters()}
        decoder = tokenizer.decoder
        assert id(decoder.last_weight) not in inside
        left = sum(p.numel() for p in decoder.parameters() if id(p) not in inside)
        assert left < 0.2 * sum(p.numel() for p in decoder.parameters())

    def missing() -> str:
        raise RuntimeError("no compiler")

    monkeypatch.setattr("torch._inductor.cpp_builder.get_cpp_compiler", missing)
    with pytest.raises(UsageError, match=r"--compile needs a C\+\+ compiler .*leave the flag out"):
        prepare_networks(run, nn.Linear(2, 2))


def test_a_prior_compiles_its_transformer(tmp_path: Path) -> None:
    trainer = PriorTrainer(
        prior_run("autoregressive", tokenizer_bundle(tmp_path / "t")), tmp_path / "r"
    )
    (found,) = memory._compiled_parts(trainer.prior)
    assert isinstance(found, Transformer)


@pytest.mark.long
@pytest.mark.parametrize("network", NETWORKS)
def test_compiled_steps_have_the_losses_of_plain_ones(
    tmp_path: Path, pictures: Path, network: str
) -> None:
    """With the adaptive weight, whose gradients of the last layer keep the graph."""
    loss = replace(LOSS, adaptive=True)
    tokenizer = TokenizerConfig(NETWORKS[network], NSVQConfig(size=32, mask_ratio=0.5))
    run = config(pictures, precision="fp32", loss=loss, tokenizer=tokenizer, optimizer=GRADIENT)
    plain, alone = after(run, tmp_path / "plain", 3)
    compiled, other = after(replace(run, compile=True), tmp_path / "compiled", 3)
    for a, b in zip(plain, compiled, strict=True):
        for name, value in a.items():
            torch.testing.assert_close(b[name], value, rtol=5e-3, atol=1e-5, msg=name)
    assert alone.state_dict().keys() == other.state_dict().keys()


def test_gradients_are_exchanged_in_the_last_part_only() -> None:
    module = nn.Linear(1, 1)
    alone = SimpleNamespace(no_sync=lambda it: nullcontext(("alone", it)))
    for last in (False, True):
        with Part(slice(0, 1), 0.5, last).unsynchronized(alone, module) as found:  # type: ignore[arg-type]
            assert found == (None if last else ("alone", module))


def test_means_of_parts_have_their_shares() -> None:
    one = {"a": torch.tensor(0.1), "b": torch.tensor(3.0)}
    assert all(mean_of([(1.0, one)])[name] is one[name] for name in one)
    found = mean_of([(0.25, one), (0.75, {"a": torch.tensor(0.5), "b": torch.tensor(-1.0)})])
    assert {name: float(x) for name, x in found.items()} == pytest.approx({"a": 0.4, "b": 0.0})
