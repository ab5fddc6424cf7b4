"""Training the judges: a pool of pictures in memory, and a loop that both kinds share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from ..cli.errors import UsageError


@dataclass(frozen=True)
class JudgeRun:
    """What both commands have in common."""

    out: Path
    """The bundle's folder."""
    steps: int = 1500
    """Optimizer steps."""
    batch: int = 32
    """Pictures a step."""
    pool: int = 8000
    """Training pictures that are drawn first and kept in memory; steps choose among them."""
    judged: int = 1000
    """Held-out pictures for its own score."""
    size: int = 64
    """Side of the pictures, in pixels."""
    lr: float = 2e-3
    """Largest learning rate; 3 % of the steps rise to it, the others fall from it on a cosine."""
    seed: int = 0
    device: str = "auto"
    """Where to compute: cpu, cuda, cuda:1, mps, or auto (a GPU if there is one)."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """auto: bfloat16 autocast where the processor or GPU computes in it."""

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "pool", "judged", "size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.size % 16:  # both kinds of judge halve it up to four times
            raise ValueError(f"size must be a multiple of 16, got {self.size}")
        if self.seed < 0 or not self.lr > 0:
            raise ValueError(f"seed must be 0 or more and lr above 0, got {self.seed}, {self.lr}")


def check_out(out: Path) -> None:
    """Refuses a folder that holds something else, before the work. Raises UsageError."""
    taken = out.is_file() or (
        out.is_dir() and any(out.iterdir()) and not (out / "config.json").is_file()
    )
    if taken:
        raise UsageError(f"--out {out} holds something else; name a new folder")
    out.parent.mkdir(parents=True, exist_ok=True)


def train_judge(
    judge: nn.Module,
    run: JudgeRun,
    device: str,
    images: Tensor,
    loss_of: Callable[[Tensor, Tensor, Tensor], Tensor],
) -> None:
    """Trains ``judge`` in place on ``images`` uint8 (N, 3, S, S).

    ``loss_of(images, chosen, mirrored)``: the loss on a batch of images (B, 3, S, S) in [-1, 1],
    with the indices int64 (B,) of the pool that were chosen and which of them are mirrored, bool
    (B,). AdamW; a function of the seed.
    """
    from ..loop.base import learning_rate, set_rate, use_bf16  # slow to import, so not for --help

    half = use_bf16(run.precision)
    optimizer = torch.optim.AdamW(judge.parameters(), lr=run.lr, weight_decay=0.01, fused=True)
    draw = torch.Generator().manual_seed(run.seed)
    judge.train()
    shown = tqdm(range(run.steps), unit="step", desc="training", dynamic_ncols=True)
    for step in shown:
        set_rate(optimizer, run.lr * learning_rate(step, run.steps, 0.03))
        chosen = torch.randint(len(images), (run.batch,), generator=draw)
        mirrored = torch.rand(run.batch, generator=draw) < 0.5
        batch = images[chosen].float().div_(127.5).sub_(1)
        batch = torch.where(mirrored[:, None, None, None], batch.flip(3), batch)
        batch = _worn(batch, draw).to(device, memory_format=torch.channels_last)
        with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=half):
            loss = loss_of(batch, chosen, mirrored)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(judge.parameters(), 1.0)
        optimizer.step()
        if step % 20 == 0:
            shown.set_postfix(loss=f"{float(loss.detach()):.3f}")
    judge.eval()


def _worn(images: Tensor, draw: torch.Generator) -> Tensor:
    """Half of the batch a little blurred, noisy and off in brightness.

    What a judge will see comes out of a tokenizer's decoder, not out of the data set. How much is
    our choice.
    """
    half = len(images) // 2
    if not half:
        return images
    size = images.shape[-1]
    share = 0.55 + 0.45 * float(torch.rand((), generator=draw))
    small = F.interpolate(images[:half], round(size * share), mode="bilinear", antialias=True)
    worn = F.interpolate(small, size, mode="bilinear")
    gain, shift, spread = torch.rand(3, half, 1, 1, 1, generator=draw)
    worn = worn * (0.9 + 0.2 * gain) + 0.1 * (shift - 0.5)
    worn = worn + 0.06 * spread * torch.randn(worn.shape, generator=draw)
    return torch.cat([worn.clamp(-1, 1), images[half:]])


def recipe_of(run: JudgeRun, command: str) -> dict[str, Any]:
    """The run as JSON, without any path."""
    local = ("out", "device", "begin")
    settings = {key: value for key, value in asdict(run).items() if key not in local}
    if "data" in settings:
        settings["data"].pop("root")
    return {"command": command, **settings}


def card_of(
    run: JudgeRun,
    data: str,
    command: str,
    what: str,
    scores: Mapping[str, float],
    pictures: int,
) -> str:
    """A judge's card: what it is, the command that trained it, and its own scores (shares)."""
    lines = [
        "---",
        "library_name: regvq-studio",
        "---",
        "",
        f"# {run.out.name}",
        "",
        f"A judge of RegVQ Studio, trained on the data set `{data}`. {what} It measures generated "
        "pictures and is no model of its subject.",
        "",
        f"- **Command:** `python train/judge.py {command} --steps {run.steps} --pool {run.pool} "
        f"--size {run.size} --lr {run.lr:g} --seed {run.seed}`",
        f"- **Its own score**, on {pictures} held-out pictures of {run.size} pixels:",
        "",
        "| | |",
        "|---|---|",
        *(f"| {label} | {value:.1%} |" for label, value in scores.items()),
    ]
    return "\n".join(lines) + "\n"
