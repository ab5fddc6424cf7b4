"""Sampling of each kind of prior: ``python benchmarks/run.py --only priors``.

Priors with random weights and no condition draw grids of 16 x 16 tokens, four at a time, with their
default steps: random weights take as long as trained ones. How long a visitor of the explorer waits
for the shipped priors is measured by ``sampling.py --shipped``.
"""

from __future__ import annotations

from typing import Any

from clock import alone_and_in_company
from company import CORES
from pages import table

ROWS = 4


def kinds(tiny: bool) -> dict[str, Any]:
    """Return the config of each kind."""
    from core.priors import AutoregressiveConfig, DiffusionConfig, LatentConfig, MaskedConfig

    grid = (4, 4) if tiny else (16, 16)
    sizes: dict[str, Any] = {"grid": grid}
    if tiny:
        sizes |= {"codebook_size": 16, "width": 16, "layers": 1, "heads": 2}
    latent = LatentConfig(grid=grid, **({"latent_dim": 4, "width": 32} if tiny else {}))
    return {
        "autoregressive": AutoregressiveConfig(**sizes),
        "masked": MaskedConfig(**sizes),
        "diffusion": DiffusionConfig(**sizes),
        "latent diffusion": latent,
    }


def measure(tiny: bool = False) -> list[dict[str, Any]]:
    """Return a row per kind: milliseconds alone and in company, and pictures per second."""
    import torch

    torch.set_num_threads(1 if tiny else CORES)
    rows = []
    for name, config in kinds(tiny).items():
        torch.manual_seed(0)
        prior = config.build().eval().requires_grad_(False)
        if hasattr(prior, "std"):
            prior.std.fill_(1)  # that of its latents, which training sets

        few = {"steps": 2} if tiny and name == "latent diffusion" else {}

        def draw(prior: Any = prior, few: Any = few) -> Any:
            return prior.generate(n=ROWS, generator=torch.Generator().manual_seed(0), **few)

        repeats, busy_cores = (1, 1) if tiny else (3, CORES)
        alone, busy = (
            found[name] for found in alone_and_in_company({name: draw}, repeats, busy_cores)
        )
        rows.append(
            {
                "kind": name,
                "weights": sum(parameter.numel() for parameter in prior.parameters()),
                "seconds": alone,
                "company_seconds": busy,
                "company_times": busy / alone,
                "pictures_per_second": ROWS / alone,
            }
        )
    return rows


def tables(rows: list[dict[str, Any]]) -> str:
    """Return the Markdown of the figures."""
    columns = {
        "kind": "prior",
        "weights": "weights",
        "seconds.2": "seconds",
        "company_seconds.2": "seconds, in company",
        "company_times.1": "times as long in company",
        "pictures_per_second.2": "pictures/s",
    }
    return table(columns, rows)
