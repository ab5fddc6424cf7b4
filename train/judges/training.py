"""Training judges: their settings, a pool of pictures in memory, and the loop of both kinds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ..cli.errors import UsageError

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn


@dataclass(frozen=True)
class JudgeRun:
    """The settings that both kinds of judge have."""

    out: Path
    """The bundle's folder."""
    steps: int = 1500
    """Optimizer steps."""
    batch: int = 32
    """Pictures per step."""
    pool: int = 8000
    """Training pictures that are drawn first and kept in memory; steps choose among them."""
    judged: int = 1000
    """Held-out pictures for the judge's own score."""
    size: int = 64
    """Side of the pictures, in pixels."""
    lr: float = 2e-3
    """Largest learning rate; it rises in 3 % of the steps, then falls along a cosine."""
    seed: int = 0
    """Seed of weights, draws and augmentations."""
    device: str = "auto"
    """Device: cpu, cuda, cuda:1, mps, or auto (a GPU if there is one)."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """auto: bfloat16 autocast if the processor or GPU computes in it."""

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "pool", "judged", "size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.size % 16:  # both kinds of judge halve it up to four times
            raise ValueError(f"size must be a multiple of 16, got {self.size}")
        if self.seed < 0 or not self.lr > 0:
            raise ValueError(f"seed must be 0 or more and lr above 0, got {self.seed}, {self.lr}")


def check_out(out: Path) -> None:
    """Raise UsageError, before the work, if ``out`` holds anything but a bundle."""
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
    """Train ``judge`` in place on ``images`` uint8 (N, 3, S, S), by AdamW.

    ``loss_of(images, chosen, mirrored)`` returns the loss on a batch of images (B, 3, S, S) in
    [-1, 1]; ``chosen`` int64 (B,) are their indices in the pool, ``mirrored`` bool (B,) tells which
    of them are mirrored. The result is a function of the seed.
    """
    import torch
    from torch import nn
    from tqdm import tqdm

    from ..loop.optim import lr_scale, set_lr, use_bf16

    half = use_bf16(run.precision)
    optimizer = torch.optim.AdamW(judge.parameters(), lr=run.lr, weight_decay=0.01, fused=True)
    draw = torch.Generator().manual_seed(run.seed)
    judge.train()
    bar = tqdm(range(run.steps), unit="step", desc="training", dynamic_ncols=True)
    for step in bar:
        set_lr(optimizer, run.lr * lr_scale(step, run.steps, 0.03))
        chosen = torch.randint(len(images), (run.batch,), generator=draw)
        mirrored = torch.rand(run.batch, generator=draw) < 0.5
        batch = images[chosen].float().div_(127.5).sub_(1)
        batch = torch.where(mirrored[:, None, None, None], batch.flip(3), batch)
        batch = degrade_like_decoder(batch, draw).to(device, memory_format=torch.channels_last)
        with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=half):
            loss = loss_of(batch, chosen, mirrored)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(judge.parameters(), 1.0)
        optimizer.step()
        if step % 20 == 0:
            bar.set_postfix(loss=f"{float(loss.detach()):.3f}")
    judge.eval()


def degrade_like_decoder(images: Tensor, draw: torch.Generator) -> Tensor:
    """Return images with the first half slightly blurred, noisy and changed in brightness.

    A judge will see the output of a tokenizer's decoder, not pictures of the data set. The amounts
    are our choice.
    """
    import torch
    import torch.nn.functional as F

    half = len(images) // 2
    if not half:
        return images
    size = images.shape[-1]
    share = 0.55 + 0.45 * float(torch.rand((), generator=draw))
    small = F.interpolate(images[:half], round(size * share), mode="bilinear", antialias=True)
    degraded = F.interpolate(small, size, mode="bilinear")
    gain, shift, spread = torch.rand(3, half, 1, 1, 1, generator=draw)
    degraded = degraded * (0.9 + 0.2 * gain) + 0.1 * (shift - 0.5)
    degraded = degraded + 0.06 * spread * torch.randn(degraded.shape, generator=draw)
    return torch.cat([degraded.clamp(-1, 1), images[half:]])


def recipe_of(run: Any, command: str) -> dict[str, Any]:
    """Return the run as JSON, without any path."""
    local = ("out", "device", "begin")
    settings = {key: value for key, value in asdict(run).items() if key not in local}
    if "data" in settings:
        settings["data"].pop("root")
    return {"command": command, **settings}


def progress(items: Iterable[int], description: str) -> Iterator[int]:
    """Return ``items`` with a progress bar of pictures."""
    from tqdm import tqdm

    return tqdm(items, unit="picture", desc=description)


def to_bytes(image: Tensor) -> Tensor:
    """Return an image in [-1, 1] as uint8."""
    return ((image + 1) * 127.5).round().clamp(0, 255).byte()
