"""Training a tokenizer beside a plain loop of diffusers and vector-quantize-pytorch.

``python benchmarks/run.py --only tokenizers`` trains this project's tokenizer by its trainer, and
diffusers' VQModel with vector-quantize-pytorch's quantizer by a plain loop, each in its own
process: the same drawn scenes of 64 pixels in batches of 32, about the same number of weights, the
same losses (absolute and squared error, codebook and commitment), AdamW at the same rate, the same
precision. It states pictures per second and memory, and after equal minutes PSNR and LPIPS on
held-out scenes. Then it trains ours with perceptual features, as plain code computes them and as
the trainer does.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from apart import call_apart
from company import CORES
from pages import table
from peer_networks import CODES, DIM, own_config, vq_model, weights

OURS, PEER = "regvq-studio", "VQModel + vector-quantize-pytorch"
SIDE, BATCH, HELD_OUT = 64, 32, 64
MINUTES, SPEED_SECONDS = 0.5, 3.0
PERCEPTUAL = Path(__file__).resolve().parents[2] / "shared" / "data" / "perceptual"
WEIGHTS = {
    "squeezenet": "squeezenet1_1_features.npz",
    "alexnet": "alexnet_features_fp16.safetensors",
    "vgg16": "vgg16_features_fp16.safetensors",
}
"""Files of features beside the project, where they are; else torchvision's own are loaded."""
VARIANTS = {
    "plain": "plainly: float32, contiguous, all maps kept",
    "trainer": "by the trainer: no gradient for real pictures, bfloat16, channels last",
    "every 4th": "by the trainer, on every 4th step",
}


def weights_file(name: str) -> Path | None:
    """Return the file of a network's features beside the project, if it is there."""
    file = PERCEPTUAL / WEIGHTS[name]
    return file if file.exists() else None


def pictures(split: str, count: int, side: int) -> Any:
    """Return drawn scenes, float32 (count, 3, side, side) in [-1, 1]."""
    import torch

    from core.data import open_dataset

    drawn = open_dataset("scenes", size=side, split=split)
    return torch.stack([drawn[index].image for index in range(count)])


def own_step(precision: str, features: str, variant: str, out: Path, side: int) -> tuple[Any, ...]:
    """Return the trainer's step (images, number) -> None, its tokenizer, and the evaluated one."""
    from train.config.tokenizer import (
        DataConfig,
        FeatureConfig,
        LossConfig,
        OptimizerConfig,
        RunConfig,
    )
    from train.loop.tokenizer import TokenizerTrainer

    every = 4 if variant == "every 4th" else 1
    perceptual = 0.0 if features == "none" else 1.0
    loss = LossConfig(l1=1.0, l2=1.0, perceptual=perceptual, lpips=perceptual > 0,
                      perceptual_every=every)  # fmt: skip
    file = None if features == "none" else weights_file(features)
    trainer = TokenizerTrainer(
        RunConfig(
            tokenizer=own_config(4),
            data=DataConfig(size=side, workers=0),
            features=FeatureConfig(features, file),
            loss=loss,
            optimizer=OptimizerConfig(schedule="constant", warmup=0.0),
            precision=precision,
        ),
        out,
    )
    if variant == "plain":
        trainer.objective.features = _Plain(trainer.features)
    return (lambda images, step: trainer.step(images, step)), trainer.tokenizer, trainer


class _Plain:
    """Features as plain code computes them: float32, contiguous, with a graph for all pictures."""

    def __init__(self, features: Any) -> None:
        import torch

        self.features = features.float().to(memory_format=torch.contiguous_format)
        self.mean, self.name = features.mean, features.name

    def __call__(self, images: Any) -> list[Any]:
        import torch

        with torch.enable_grad(), torch.autocast("cpu", enabled=False):
            plain = images.float().contiguous()
            if not plain.requires_grad:  # as pictures do where nothing turns the gradient off
                plain = plain.detach().requires_grad_()
            return self.features(plain)


def peer_step(precision: str) -> tuple[Callable[[Any, int], None], Any, Callable[[Any], Any]]:
    """Return a plain loop's step, its weights, and a reconstruction of images."""
    import torch
    import torch.nn.functional as F
    from kinds import peer_module

    model = vq_model(4)
    model.quantize = torch.nn.Identity()  # the quantizer is vector-quantize-pytorch's
    quantizer = peer_module("vq", DIM, CODES)
    every = torch.nn.ModuleList([model, quantizer])
    optimizer = torch.optim.AdamW(every.parameters(), lr=4e-4, betas=(0.9, 0.95), weight_decay=1e-4)

    def forward(images: Any) -> tuple[Any, Any]:
        latents = model.encode(images).latents
        rows, _, commitment = quantizer(latents.float().flatten(2).transpose(1, 2))
        codes = rows.transpose(1, 2).reshape(latents.shape)
        return model.decode(codes, force_not_quantize=True).sample, commitment.sum()

    def step(images: Any, number: int) -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            decoded, loss = forward(images)
        decoded = decoded.float()
        loss = loss + F.l1_loss(decoded, images) + F.mse_loss(decoded, images)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    @torch.no_grad()
    def reconstruct(images: Any) -> Any:
        every.eval()
        decoded = forward(images)[0].clamp(-1, 1)
        every.train()
        return decoded

    return step, every, reconstruct


def train(
    maker: str,
    precision: str,
    seconds: float,
    features: str = "none",
    variant: str = "trainer",
    quality: bool = False,
    side: int = SIDE,
    batch: int = BATCH,
    threads: int = CORES,
) -> dict[str, Any]:
    """Train for ``seconds``; return pictures per second, memory, and PSNR and LPIPS if asked."""
    import torch

    from train.cli.common import extra_peak

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    pool = pictures("train", (32 if quality else 6) * batch, side).split(batch)
    with tempfile.TemporaryDirectory() as folder:
        if maker == OURS:
            step, module, trainer = own_step(precision, features, variant, Path(folder), side)
            reconstruct = lambda x: trainer.averaged.module.reconstruct(x)  # noqa: E731
            count = weights(module.encoder, module.decoder)
        else:
            step, module, reconstruct = peer_step(precision)
            count = weights(module[0])
        step(pool[0], 0)
        memory = extra_peak(lambda: step(pool[1], 1)) / 1e6
        times: list[float] = []
        while not times or sum(times) < seconds:
            started = time.perf_counter()
            step(pool[(2 + len(times)) % len(pool)], 2 + len(times))
            times.append(time.perf_counter() - started)
        # Steps with and without the features alternate, and the mean counts both.
        one = sum(times) / len(times) if variant == "every 4th" else median(times)
        found = {"maker": maker, "precision": precision, "features": features, "variant": variant,
                 "weights": count, "pictures_per_second": batch / one, "mb": memory,
                 "steps": len(times), "seconds": sum(times)}  # fmt: skip
        if quality:
            found |= _quality(reconstruct, pictures("test", HELD_OUT if side > 16 else 2, side))
    return found


def _quality(reconstruct: Callable[[Any], Any], images: Any) -> dict[str, float]:
    """Return PSNR and, where AlexNet's weights are, LPIPS on held-out pictures."""
    import torch

    from core.errors import FeatureError
    from core.metrics.lpips import load_lpips
    from core.metrics.psnr_ssim import psnr

    back = torch.cat([reconstruct(some) for some in images.split(16)])
    found = {"psnr": float(psnr(images, back).mean())}
    try:
        lpips = load_lpips("alex", weights_file("alexnet"))
    except FeatureError:
        return found
    return found | {"lpips": float(lpips(images, back).mean())}


def matrix_peak(threads: int = CORES, side: int = 2048, repeats: int = 12) -> dict[str, Any]:
    """Return the machine's TFLOP/s in products of square matrices, the fastest of some."""
    import torch

    torch.set_num_threads(threads)
    found: dict[str, Any] = {"maker": "peak"}
    for name, dtype in (("bf16", torch.bfloat16), ("fp32", torch.float32)):
        a, b = torch.randn(2, side, side).to(dtype)
        times = []
        for _ in range(repeats):
            started = time.perf_counter()
            a @ b
            times.append(time.perf_counter() - started)
        found[f"{name}_tflops"] = 2e-12 * side**3 / min(times)
    return found


def step_tflop(side: int = SIDE, batch: int = BATCH) -> float:
    """Return the TFLOP of convolutions and products of a step of ours, forward and backward."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    with tempfile.TemporaryDirectory() as folder:
        step, _, _ = own_step("fp32", "none", "trainer", Path(folder), side)
        with FlopCounterMode(display=False) as counter:
            step(torch.zeros(batch, 3, side, side), 0)
    return counter.get_total_flops() / 1e12


def measure(tiny: bool = False) -> list[dict[str, Any]]:
    """Return a row per run, and the machine's peak."""
    small = {"side": 16, "batch": 2, "threads": 1} if tiny else {}
    seconds = 0.0 if tiny else SPEED_SECONDS
    minutes = 0.0 if tiny else 60 * MINUTES
    peak = call_apart("tokenizer_training:matrix_peak", not tiny,
                      **({"threads": 1, "side": 64, "repeats": 1} if tiny else {}))  # fmt: skip
    tflop = call_apart("tokenizer_training:step_tflop", not tiny,
                       **({"side": 16, "batch": 2} if tiny else {}))  # fmt: skip
    rows = [peak | {"step_tflop": tflop}]

    def run(maker: str, precision: str, seconds: float, **more: Any) -> dict[str, Any]:
        row = call_apart("tokenizer_training:train", not tiny, maker=maker, precision=precision,
                         seconds=seconds, **more, **small)  # fmt: skip
        share = row["pictures_per_second"] / small.get("batch", BATCH) * tflop
        row["peak_share"] = 100 * share / peak[f"{precision}_tflops"]
        rows.append(row)
        return row

    for precision in ("bf16", "fp32"):
        length = minutes if precision == "bf16" else seconds
        pair = [run(m, precision, length, quality=precision == "bf16") for m in (OURS, PEER)]
        pair[0]["times"] = pair[0]["pictures_per_second"] / pair[1]["pictures_per_second"]
    for features in ("squeezenet",) if tiny else ("alexnet", "vgg16"):
        for variant in VARIANTS:
            if tiny and weights_file(features) is None:  # nothing is downloaded by a test
                continue
            run(OURS, "bf16", seconds, features=features, variant=variant)
    return rows


def tables(rows: list[dict[str, Any]]) -> str:
    """Return the Markdown of the figures."""
    peak, *runs = rows
    columns = {
        "maker": "", "precision": "precision", "weights": "weights",
        "pictures_per_second": "pictures/s", "times": "times as fast", "mb.0": "MB of a step",
        "steps": "steps", "seconds.0": "seconds", "psnr.2": "PSNR then", "lpips.4": "LPIPS then",
    }  # fmt: skip
    plain = [row for row in runs if row["features"] == "none"]
    with_features = [
        row | {"words": VARIANTS[row["variant"]]} for row in runs if row["features"] != "none"
    ]
    (ours,) = (row for row in plain if row["maker"] == OURS and row["precision"] == "bf16")
    return "\n\n".join(
        [
            table(columns, plain),
            f"torch multiplies matrices at {peak['bf16_tflops']:.2f} TFLOP/s in bfloat16 here. A "
            f"step of ours takes {peak['step_tflop']:.3f} TFLOP, at "
            f"{ours['peak_share']:.0f} % of that.",
            table(
                {
                    "features": "features",
                    "words": "computed",
                    "pictures_per_second": "pictures/s",
                    "mb.0": "MB of a step",
                },
                with_features,
            ),
        ]
    )
