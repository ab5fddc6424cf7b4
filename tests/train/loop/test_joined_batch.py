"""Processes with a share of a batch each against one process with the joined batch.

Each process draws its own noise. The joined batch therefore takes the draws of all shares.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from core.distributed import gather_rows, mean_over_processes
from core.networks.discriminator import Discriminator, DiscriminatorConfig
from core.priors import DiffusionConfig, LatentConfig, MaskedConfig
from core.priors import masked as masked_prior
from core.quantizers import NSVQConfig, RegVQConfig
from core.quantizers.base import Quantized
from tests.helpers.processes import gathered, mean
from train.config.tokenizer import LossConfig
from train.loop.objective import Objective

LOSS = LossConfig(
    l2=0.5, perceptual=0.7, contrastive="pcl", contrastive_weight=0.3, adversarial=0.8
)
QUANTIZERS = {
    "regvq": RegVQConfig(size=12, mask_ratio=0.4, prior_weight=0.0),
    "regvq_all": RegVQConfig(size=12, mask_ratio=1.0, prior_weight=0.0, posterior="head"),
    "nsvq": NSVQConfig(size=12, mask_ratio=0.5, replacement=False),
}


class TwoMaps(nn.Module):
    """Features without weights: the pixels, and products of their averages."""

    def forward(self, images: Tensor) -> list[Tensor]:
        pooled = nn.functional.avg_pool2d(images, 2)
        return [torch.cat([images, images.square()], 1), torch.cat([pooled, pooled[:, :1] ** 3], 1)]


def whole_batch() -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(0)
    return (
        torch.rand(4, 3, 16, 16, generator=draw) * 2 - 1,
        torch.randn(4, 5, 4, 4, generator=draw),
    )


def quantized_share(name: str, z: Tensor, rank: int) -> tuple[nn.Module, Quantized]:
    torch.manual_seed(1)
    quantizer = QUANTIZERS[name].build(5).train()
    return quantizer, quantizer(z, generator=torch.Generator().manual_seed(100 + rank))


def objective(name: str, images: Tensor, parts: list[Quantized]) -> dict[str, Tensor]:
    """Return the objective's gradient, losses and adaptive weight for codes of some pictures."""
    torch.manual_seed(2)
    last = nn.Conv2d(5, 3, 1)
    discriminator = Discriminator(DiscriminatorConfig(width=8, layers=1))
    joined = Quantized(
        torch.cat([q.z for q in parts]),
        torch.cat([q.ids for q in parts]),
        {},
        torch.cat([q.mask for q in parts]),
        torch.cat([q.perturbation for q in parts]),
    )
    decoded = nn.functional.interpolate(last(joined.z), scale_factor=4, mode="bilinear").tanh()
    found = Objective(LOSS, TwoMaps())(images, decoded, joined, last.weight, discriminator, 1.0)
    return {f"{name}/gradient": found.gradient} | {
        f"{name}/{key}": value for key, value in found.losses.items()
    }


def priors(rank: int | None, world: int) -> dict[str, Tensor]:
    """Return what priors learn of all processes: the record of timesteps, the scale of latents."""
    draw = torch.Generator().manual_seed(3)
    times, losses = torch.randint(1, 6, (40,), generator=draw), torch.rand(40, generator=draw)
    latents = torch.randn(8, 2, 4, 4, generator=draw) * torch.tensor([1.0, 4.0])[:, None, None]
    if rank is not None:
        times, losses, latents = (x.chunk(world)[rank] for x in (times, losses, latents))
    small: dict[str, Any] = {"grid": (2, 2), "width": 16, "layers": 1, "heads": 2}
    diffusion = DiffusionConfig(codebook_size=6, timesteps=5, alpha=(0.9, 0.05), gamma=(0.05, 0.8),
                                **small).build()  # fmt: skip
    diffusion._record(times, losses)
    latent = LatentConfig(latent_dim=2, grid=(4, 4), width=32, factors=(1, 2), blocks=1).build()
    latent.measure(latents)
    return {
        "draws": diffusion.draws, "squares": diffusion.squares, "mean": latent.mean,
        "std": latent.std,
    }  # fmt: skip


class Joined(torch.Generator):
    """The generators of all processes: the draws of the joined batch are those of its shares."""

    def __new__(cls, world: int) -> Joined:
        return super().__new__(cls)  # which takes a device

    def __init__(self, world: int) -> None:
        self.shares = [torch.Generator().manual_seed(200 + rank) for rank in range(world)]


def joined(draw: Any) -> Any:
    """Return a function of ``core.priors.categorical`` that draws a share of a batch from each
    generator of a ``Joined`` one."""

    def drawn(shape: Any, generator: torch.Generator, *others: Any) -> Tensor:
        if not isinstance(generator, Joined):
            return draw(shape, generator, *others)
        world = len(generator.shares)
        share = shape // world if isinstance(shape, int) else (shape[0] // world, *shape[1:])
        return torch.cat([draw(share, each, *others) for each in generator.shares])

    return drawn


def masked(rank: int | None, world: int) -> dict[str, Tensor]:
    """Return the masked prior's loss, and its gradient averaged over processes as DDP does.

    Processes mask different numbers of tokens, and every token counts as much.
    """
    torch.manual_seed(4)
    prior = MaskedConfig(
        codebook_size=6, grid=(4, 4), width=16, layers=1, heads=2, dropout=0.0
    ).build()
    ids = torch.randint(6, (4, 4, 4))
    ids = ids if rank is None else ids.chunk(world)[rank]
    generator = Joined(world) if rank is None else torch.Generator().manual_seed(200 + rank)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("uniform", "spread_uniform"):
            patch.setattr(masked_prior, name, joined(getattr(masked_prior, name)))
        loss = prior.train().loss(ids, None, generator)["masked"]
    loss.backward()
    grads = [p.grad.flatten() for p in prior.parameters() if p.grad is not None]
    return {"masked": loss.detach(), "masked gradient": mean_over_processes(torch.cat(grads))}


def results(rank: int, world: int, folder: str) -> dict[str, Tensor]:
    """Return what a process computes of its share."""
    images, z = (x.chunk(world)[rank] for x in whole_batch())
    out = priors(rank, world) | masked(rank, world)
    for name in QUANTIZERS:
        found = objective(name, images, [quantized_share(name, z, rank)[1]])
        # Losses are means over the pictures of a process, so that their gradients are larger.
        out[f"{name}/gradient"] = gather_rows(found.pop(f"{name}/gradient").flatten(1)) / world
        out |= {key: mean(value, world) for key, value in found.items()}
        out[f"{name}/own weight"] = found[f"{name}/adversarial_weight"]
    return out


def alone(world: int) -> dict[str, Tensor]:
    """Return the same of one process with the joined batch."""
    images, z = whole_batch()
    out = priors(None, world) | masked(None, world)
    for name in QUANTIZERS:
        shares = enumerate(z.chunk(world))
        parts = [quantized_share(name, share, rank)[1] for rank, share in shares]
        assert all(part.mask.any() for part in parts)
        out |= objective(name, images, parts)
        out[f"{name}/gradient"] = out[f"{name}/gradient"].flatten(1)
        out[f"{name}/own weight"] = out[f"{name}/adversarial_weight"]
    return out


def check(pooled: list[dict[str, Tensor]]) -> None:
    """Assert that all processes have the objective and the priors of the joined batch.

    They are the pixel, perceptual and probabilistic contrastive losses, the adaptive weight, and
    for priors the importance of timesteps and the scale of latents.
    """
    expected = alone(len(pooled))
    assert int(expected["draws"].sum()) == 40
    for name in QUANTIZERS:
        assert expected[f"{name}/contrastive"] > 0 and expected[f"{name}/adversarial_weight"] > 0
    for found in pooled:
        for key, value in expected.items():
            torch.testing.assert_close(found[key], value, rtol=1e-4, atol=1e-6, msg=key)


def test_two_processes_have_the_objective_of_the_joined_batch(tmp_path: Path) -> None:
    """Four processes: test_four_processes.py."""
    pytest.importorskip("diffusers")
    check(gathered(results, 2, tmp_path))
