"""Processes with a share of a batch each compute the same as one process with the whole batch."""

from __future__ import annotations

import torch
import torch.distributed as dist

from core.distributed import gather_rows, mean_over_processes
from core.quantizers import (
    BSQConfig,
    DiVeQConfig,
    FSPConfig,
    FSQConfig,
    GumbelConfig,
    IBQConfig,
    LFQConfig,
    NSVQConfig,
    ProductConfig,
    RegVQConfig,
    ResidualConfig,
    SignalQuantizer,
    SimVQConfig,
    UsageWindow,
    VQConfig,
)
from core.quantizers.lfq import bit_entropies
from core.quantizers.tiled.soft import soft_statistics
from tests.helpers.processes import gathered, mean

REGVQ = RegVQConfig(size=24, mask_ratio=0.0, prior_weight=1.0)
VQ_EMA = VQConfig(size=24, codebook="ema", restart_below=0.6, decay=0.5)
STARTS = {start: VQConfig(size=24, start=start) for start in ("data", "kmeans")}
NSVQ = NSVQConfig(size=24, epoch=2, replacement_warmup=0)
DIVEQ = DiVeQConfig(size=24, replace_every=2, replace_below=1)
# Every quantizer, without noise, because each process draws its own.
EVERY = {
    "vq": VQConfig(size=24),
    "vq_cosine": VQConfig(size=24, distance="cosine", codebook="ema"),
    "regvq": REGVQ,
    "regvq_image": RegVQConfig(size=24, mask_ratio=0.0, prior_weight=1.0, prior_scope="image"),
    "regvq_head": RegVQConfig(size=24, mask_ratio=0.0, prior_weight=1.0, posterior="head"),
    "gumbel": GumbelConfig(size=24, mask_ratio=0.0, kl_weight=0.3),
    "simvq": SimVQConfig(size=24),
    "nsvq": NSVQ,
    "fsq": FSQConfig(levels=(4, 3, 2)),
    "lfq": LFQConfig(size=16, temperature=0.5),
    "ibq": IBQConfig(size=24, temperature=0.5),
    "bsq": BSQConfig(size=16, group=2, commitment=0.3),
    "diveq": DiVeQConfig(size=24, noise=0),
    "fsp": FSPConfig(levels=(4, 3, 2), quantize_rate=1),
    "residual": ResidualConfig(VQConfig(size=24), levels=3),
    "product": ProductConfig(VQConfig(size=24), groups=5),
}
DROPPING = ResidualConfig(VQConfig(size=24, codebook="ema", decay=0.5), levels=4, dropout=0.7)
PADDED = VQConfig(size=24, codebook="ema", start="data", restart_below=0.6, decay=0.5)
LENGTHS = torch.tensor([9, 2, 5, 7])
"""Valid places of each sequence: the processes have different numbers of them."""


def latents() -> torch.Tensor:
    return torch.randn(4, 5, 3, 3, generator=torch.Generator().manual_seed(0))


def built(config):
    torch.manual_seed(1)
    return config.build(5)


def results(z: torch.Tensor, lengths: torch.Tensor, world: int) -> dict[str, torch.Tensor]:
    """Return everything that is pooled, computed on this process's part of the batch."""
    out: dict[str, torch.Tensor] = {}
    regvq = built(REGVQ)
    leaf = z.clone().requires_grad_()
    loss = regvq(leaf).losses["prior"]
    loss.backward()
    out |= {"prior": loss.detach(), "prior_gradient": mean(regvq.codes.grad, world)}
    vq = built(VQ_EMA)
    replaced = []
    for _ in range(3):
        ids = vq(z).ids
        replaced += [] if (codes := vq.update(z, ids)) is None else codes.tolist()
    out |= {name: value.clone() for name, value in vq.state_dict().items()}
    out["replaced"] = torch.tensor(replaced)
    for start, config in STARTS.items():
        begun = built(config)
        begun(z)
        out[start] = begun.codes.detach()
    for name, config in EVERY.items():
        out |= {f"{name}/{key}": value for key, value in step(built(config), z, world).items()}
    out |= dropout_of_levels(z, dist.get_rank() if world > 1 else 0)
    signal, valid = SignalQuantizer(built(PADDED)), torch.arange(9) < lengths[:, None]
    for _ in range(3):
        signal.update(z.flatten(2), signal(z.flatten(2), valid).ids)
    out |= {f"padded/{name}": value.clone() for name, value in signal.state_dict().items()}
    out |= padded_means(z.flatten(2), valid, world)
    nsvq = built(NSVQ)
    moved = None
    for _ in range(2):
        moved = nsvq.update(z, nsvq(z).ids)
    out |= {"nsvq": nsvq.codes.detach(), "nsvq_replaced": moved}
    diveq = built(DIVEQ)
    with torch.no_grad():
        diveq.codes.copy_(nsvq.codes)
    for _ in range(2):
        moved = diveq.update(z, diveq.assign(z))
    out |= {"diveq": diveq.codes.detach(), "diveq_replaced": moved}
    window = UsageWindow(24)
    window.add(ids)
    out["usage"] = window.counts()
    x = z.mean((1, 2, 3)).mean()
    out["mean"] = mean_over_processes(x)
    return out


def padded_means(z: torch.Tensor, valid: torch.Tensor, world: int) -> dict[str, torch.Tensor]:
    """Return the losses of statistics of all valid places, and their gradients; of entropies that
    of the mean alone, as each process has the mean of its own."""
    out: dict[str, torch.Tensor] = {}
    for name in ("regvq", "regvq_head", "fsp", "lfq", "bsq", "ibq"):
        quantizer = built(EVERY[name])
        own = z.movedim(1, -1)[valid]
        losses = SignalQuantizer(quantizer)(z, valid).losses
        if name in ("lfq", "bsq"):
            numbers = quantizer.projections(own)
            temper = 4 * quantizer.scale / quantizer.config.temperature
            losses = {
                "use": quantizer._entropy(numbers) - bit_entropies(temper * numbers).sum(1).mean()
            }
        elif name == "ibq":
            each, _ = soft_statistics(own, quantizer.codes / 0.5, torch.zeros(24))
            losses = {"use": losses["entropy"] / quantizer.config.entropy_weight - each.mean()}
        losses = {key: losses[key] for key in losses if key in ("prior", "mean", "variance", "use")}
        assert losses
        sum(losses.values()).backward()
        out |= {f"means/{name}/{key}": value.detach() for key, value in losses.items()}
        for key, parameter in quantizer.named_parameters():
            if parameter.grad is not None:
                out[f"means/{name}/{key}"] = mean(parameter.grad, world)
    return out


def dropout_of_levels(z: torch.Tensor, rank: int) -> dict[str, torch.Tensor]:
    """Return the number of levels in each of 20 steps, and the codes after 6 of them."""
    quantizer = built(DROPPING).train()
    draw = torch.Generator().manual_seed(rank)  # each process has draws of its own
    counts = [int((quantizer(z, generator=draw).ids[0, :, 0, 0] >= 0).sum()) for _ in range(20)]
    draw.manual_seed(7)
    for _ in range(6):
        quantizer.update(z, quantizer(z, generator=draw).ids)
    return {
        "dropout/counts": torch.tensor(counts),
        **{f"dropout/{name}": value.clone() for name, value in quantizer.state_dict().items()},
    }


def step(quantizer, z: torch.Tensor, world: int) -> dict[str, torch.Tensor]:
    """Return ids, codes, losses and gradients of a training step of all processes."""
    leaf = z.clone().requires_grad_()
    out = quantizer(leaf)
    (out.z.square().mean() + sum(out.losses.values())).backward()
    result = {"ids": gather_rows(out.ids.flatten(1)), "z": gather_rows(out.z.flatten(1))}
    # Each loss is a mean over the positions of one process, so gradients on latents are larger.
    result["latents"] = gather_rows(leaf.grad.flatten(1)) / world
    result |= {f"loss_{key}": mean(loss.detach(), world) for key, loss in out.losses.items()}
    for key, parameter in quantizer.named_parameters():
        if parameter.grad is not None:
            result[key] = mean(parameter.grad, world)
    return result


def share_of(rank: int, world: int, folder: str) -> dict[str, torch.Tensor]:
    """Return the results of a process on its share of the latents."""
    return results(latents().chunk(world)[rank], LENGTHS.chunk(world)[rank], world)


def test_two_processes_equal_one_on_the_joined_batch(tmp_path):
    """Four processes: tests/train/loop/test_four_processes.py."""
    check(gathered(share_of, 2, tmp_path))


def check(pooled: list[dict[str, torch.Tensor]]) -> None:
    """Assert that all processes have the losses, gradients and codes of the joined batch."""
    alone = results(latents(), LENGTHS, 1)
    assert len(alone["replaced"])  # the case covers a restart
    assert set(alone["dropout/counts"].tolist()) == {1, 2, 3, 4}
    assert len(alone["nsvq_replaced"]) and len(alone["diveq_replaced"])
    for name in EVERY:
        assert {f"{name}/ids", f"{name}/latents"} <= alone.keys()
        assert name in ("fsq", "diveq") or any(key.startswith(f"{name}/loss_") for key in alone)
    learned = ("vq/codes", "nsvq/codes", "regvq/codes", "regvq_head/head.bias", "ibq/codes")
    learned += ("bsq/to_bits.weight", "diveq/codes", "fsp/to_levels.weight")
    learned += ("lfq/to_bits.weight", "simvq/projection.weight", "gumbel/head.weight")
    assert set(learned) <= alone.keys()
    for found in pooled:
        assert found.keys() >= alone.keys()
        for name, value in alone.items():
            torch.testing.assert_close(
                found[name], value, rtol=1e-5, atol=1e-6, msg=lambda m, n=name: f"{n}: {m}"
            )
    assert int(alone["usage"].sum()) == 4 * 9
