"""A quantizer of regvq inside your own PyTorch network and training loop.

    python examples/tokenizer_in_your_trainer.py
    python examples/tokenizer_in_your_trainer.py --quantizer vq --steps 400

Nothing but the quantizer comes from the library. The pictures are disks of random position, size
and color on a random ground.
"""

from __future__ import annotations

import argparse

from regvq.threads import wait_passively

wait_passively()  # before torch is imported: its idle threads sleep

import torch
from torch import Tensor, nn

from regvq.metrics.codebook_usage import usage_of
from regvq.quantizers import FSQConfig, RegVQConfig, SimVQConfig, UsageWindow, VQConfig

SIDE, DIM = 32, 16
QUANTIZERS = {
    "regvq": RegVQConfig(size=256),
    "simvq": SimVQConfig(size=256),
    "fsq": FSQConfig(levels=(8, 6, 5)),
    "vq": VQConfig(size=256),  # VQ-GAN's initialization: the codebook that collapses
}


def disks(count: int, generator: torch.Generator) -> Tensor:
    """Return pictures float32 (count, 3, SIDE, SIDE) in [-1, 1]."""
    x, y, radius = (torch.rand(count, 1, 1, generator=generator) for _ in range(3))
    axis = torch.linspace(0, 1, SIDE)
    inside = ((axis - x) ** 2 + (axis[:, None] - y) ** 2) < (0.1 + 0.3 * radius) ** 2
    colors = torch.rand(2, count, 3, 1, 1, generator=generator)
    return torch.where(inside[:, None], colors[0], colors[1]) * 2 - 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quantizer", choices=QUANTIZERS, default="regvq")
    parser.add_argument("--steps", type=int, default=200)
    flags = parser.parse_args()

    torch.manual_seed(0)
    encoder = nn.Sequential(
        *(nn.Conv2d(3, 32, 4, 2, 1), nn.ReLU(), nn.Conv2d(32, 64, 4, 2, 1), nn.ReLU()),
        nn.Conv2d(64, DIM, 1),
    )
    decoder = nn.Sequential(
        *(nn.ConvTranspose2d(DIM, 64, 4, 2, 1), nn.ReLU()),
        *(nn.ConvTranspose2d(64, 32, 4, 2, 1), nn.ReLU(), nn.Conv2d(32, 3, 3, padding=1)),
    )
    quantizer = QUANTIZERS[flags.quantizer].build(DIM)
    parameters = [p for part in (encoder, quantizer, decoder) for p in part.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=3e-3)
    window = UsageWindow(quantizer.size, length=50)

    draw = torch.Generator().manual_seed(0)
    for step in range(flags.steps):
        pictures = disks(32, draw)
        quantizer.schedule(step / flags.steps)  # temperatures that change over the run
        latents = encoder(pictures)
        quantized = quantizer(latents, generator=draw)
        pixels = nn.functional.mse_loss(decoder(quantized.z), pictures)
        loss = pixels + sum(quantized.losses.values())  # their weights are included
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        quantizer.update(latents, quantized.ids)  # rules that are not gradients: EMA, restart
        window.add(quantized.ids)
        if (step + 1) % 50 == 0 or step + 1 == flags.steps:
            usage = usage_of(window.counts())
            print(
                f"step {step + 1}: squared error {pixels.item():.4f}, "
                f"utilization {usage.utilization:.1%}, perplexity {usage.perplexity:.1f}"
            )

    for part in (encoder, quantizer, decoder):
        part.eval()
    with torch.no_grad():
        pictures = disks(64, draw)
        ids = quantizer.assign(encoder(pictures))  # int64 (64, 8, 8), by argmax
        error = nn.functional.mse_loss(decoder(quantizer.embed(ids)), pictures)
    print(f"new pictures from {len(ids.unique())} codes: squared error {error.item():.4f}")


if __name__ == "__main__":
    main()
