"""Two processes with half a batch each against one process with the joined batch.

Each process draws its own noise. The joined batch therefore takes the draws of both halves.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn

from core.distributed import gather_rows, mean_over_processes
from core.networks.discriminator import Discriminator, DiscriminatorConfig
from core.priors import DiffusionConfig, LatentConfig, MaskedConfig
from core.priors import masked as masked_prior
from core.quantizers import NSVQConfig, RegVQConfig
from core.quantizers.base import Quantized
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


def halves() -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(0)
    return (
        torch.rand(4, 3, 16, 16, generator=draw) * 2 - 1,
        torch.randn(4, 5, 4, 4, generator=draw),
    )


def quantized_half(name: str, z: Tensor, rank: int) -> tuple[nn.Module, Quantized]:
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


def priors(rank: int | None) -> dict[str, Tensor]:
    """Return what priors learn of all processes: the record of timesteps, the scale of latents."""
    draw = torch.Generator().manual_seed(3)
    times, losses = torch.randint(1, 6, (40,), generator=draw), torch.rand(40, generator=draw)
    latents = torch.randn(8, 2, 4, 4, generator=draw) * torch.tensor([1.0, 4.0])[:, None, None]
    if rank is not None:
        times, losses, latents = (x.chunk(2)[rank] for x in (times, losses, latents))
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
    """The generators of both processes: the draws of the joined batch are those of its halves."""

    def __init__(self) -> None:
        super().__init__()
        self.halves = [torch.Generator().manual_seed(200 + rank) for rank in range(2)]


def joined(draw: Any) -> Any:
    """Return a function of ``core.priors.categorical`` that draws half a batch from each half of a
    ``Joined`` generator."""

    def drawn(shape: Any, generator: torch.Generator, *others: Any) -> Tensor:
        if not isinstance(generator, Joined):
            return draw(shape, generator, *others)
        half = shape // 2 if isinstance(shape, int) else (shape[0] // 2, *shape[1:])
        return torch.cat([draw(half, each, *others) for each in generator.halves])

    return drawn


def masked(rank: int | None) -> dict[str, Tensor]:
    """Return the masked prior's loss, and its gradient averaged over processes as DDP does."""
    torch.manual_seed(4)
    prior = MaskedConfig(
        codebook_size=6, grid=(4, 4), width=16, layers=1, heads=2, dropout=0.0
    ).build()
    ids = torch.randint(6, (4, 4, 4))
    ids = ids if rank is None else ids.chunk(2)[rank]
    generator = Joined() if rank is None else torch.Generator().manual_seed(200 + rank)
    loss = prior.train().loss(ids, None, generator)["masked"]
    loss.backward()
    grads = [p.grad.flatten() for p in prior.parameters() if p.grad is not None]
    return {"masked": loss.detach(), "masked gradient": mean_over_processes(torch.cat(grads))}


def process(rank: int, port: int, folder: str) -> None:
    torch.set_num_threads(1)
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    dist.init_process_group("gloo", rank=rank, world_size=2)
    images, z = (x.chunk(2)[rank] for x in halves())
    out = priors(rank) | masked(rank)
    for name in QUANTIZERS:
        found = objective(name, images, [quantized_half(name, z, rank)[1]])
        # Losses are means over the pictures of a process, so that their gradients are larger.
        out[f"{name}/gradient"] = gather_rows(found.pop(f"{name}/gradient").flatten(1)) / 2
        for key, value in found.items():
            total = value.clone()
            dist.all_reduce(total)
            out[key] = total / 2
        out[f"{name}/own weight"] = found[f"{name}/adversarial_weight"]
    torch.save(out, Path(folder) / f"{rank}.pt")
    dist.barrier()  # the store of the first process must outlive the work of the second
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def pooled(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Tensor]]:
    pytest.importorskip("diffusers")
    folder = tmp_path_factory.mktemp("processes")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    mp.spawn(process, args=(port, str(folder)), nprocs=2)
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


@pytest.mark.parametrize("name", QUANTIZERS)
def test_the_objective_is_that_of_the_joined_batch(
    pooled: list[dict[str, Tensor]], name: str
) -> None:
    """Pixel, perceptual and probabilistic contrastive losses, and the adaptive weight."""
    images, z = halves()
    parts = [quantized_half(name, half, rank)[1] for rank, half in enumerate(z.chunk(2))]
    assert all(part.mask.any() for part in parts)
    alone = objective(name, images, parts)
    alone[f"{name}/gradient"] = alone[f"{name}/gradient"].flatten(1)
    assert alone[f"{name}/contrastive"] > 0 and alone[f"{name}/adversarial_weight"] > 0
    for rank in range(2):
        for key, value in alone.items():
            torch.testing.assert_close(pooled[rank][key], value, rtol=1e-4, atol=1e-6, msg=key)
        weight = pooled[rank][f"{name}/own weight"]
        torch.testing.assert_close(weight, alone[f"{name}/adversarial_weight"], rtol=1e-4, atol=0)


def test_priors_measure_the_joined_batch(pooled: list[dict[str, Tensor]]) -> None:
    """The importance of timesteps and the scale of latents are those of all processes."""
    alone = priors(None)
    assert int(alone["draws"].sum()) == 40
    for rank in range(2):
        for key, value in alone.items():
            torch.testing.assert_close(pooled[rank][key], value, rtol=1e-5, atol=1e-7, msg=key)


def test_the_masked_loss_is_that_of_the_joined_batch(
    pooled: list[dict[str, Tensor]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Processes mask different numbers of tokens, and every token counts as much."""
    for name in ("uniform", "spread_uniform"):
        drawn = joined(getattr(masked_prior, name))
        monkeypatch.setattr(masked_prior, name, drawn)
    alone = masked(None)
    for rank in range(2):
        for key, value in alone.items():
            torch.testing.assert_close(pooled[rank][key], value, rtol=1e-5, atol=1e-7, msg=key)
