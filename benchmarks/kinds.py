"""The compared quantizers: our config of each kind, and the module of its peer that does the same.

``vq`` has learned codes, ``vq-ema``, ``residual`` and ``product`` have moving averages with the
peer's decay and commitment weight. ``bsq`` evens the use of each bit, as its authors do;
``bsq-joint`` that of all codes, as vector-quantize-pytorch does.
"""

from __future__ import annotations

from typing import Any

from textbook import GRID_LEVELS

from core.analysis.lab.training import even_levels

LEVELS = 4
"""Levels of residual codes, and groups of product codes."""


def own_config(kind: str, size: int) -> Any:
    """Return this project's config of a kind, of about ``size`` codes."""
    from core.quantizers import (
        QUANTIZERS,
        BSQConfig,
        FSPConfig,
        FSQConfig,
        LFQConfig,
        ProductConfig,
        ResidualConfig,
        VQConfig,
    )

    averages = VQConfig(size=size, codebook="ema", beta=1.0, decay=0.8)
    configs = {
        "vq-ema": lambda: averages,
        "residual": lambda: ResidualConfig(averages, levels=LEVELS),
        "product": lambda: ProductConfig(averages, groups=LEVELS),
        # Their codes are combinations of levels.
        "fsq": lambda: FSQConfig(levels=even_levels(size, GRID_LEVELS)),
        "fsp": lambda: FSPConfig(levels=even_levels(size, GRID_LEVELS)),
        "lfq": lambda: LFQConfig(size=size),
        "bsq-joint": lambda: BSQConfig(size=size, group=size.bit_length() - 1, commitment=0.25),
    }
    return configs[kind]() if kind in configs else QUANTIZERS[kind](size=size)


def peer_module(kind: str, dim: int, size: int) -> Any:
    """Return vector-quantize-pytorch's module that does the work of ``own_config``."""
    import vector_quantize_pytorch as peer

    plain = {"dim": dim, "codebook_size": size, "rotation_trick": False}
    grid = {"dim": dim, "levels": list(even_levels(size, GRID_LEVELS))}
    signs = {"dim": dim, "codebook_size": size, "commitment_loss_weight": 0.25}
    return {
        "vq": lambda: peer.VectorQuantize(learnable_codebook=True, ema_update=False, **plain),
        "vq-ema": lambda: peer.VectorQuantize(**plain),
        "simvq": lambda: peer.SimVQ(**plain),
        "diveq": lambda: peer.VectorQuantize(
            directional_reparam=True, threshold_ema_dead_code=2, **plain
        ),
        "fsq": lambda: peer.FSQ(**grid),
        "fsp": lambda: peer.FSP(**grid),
        "lfq": lambda: peer.LFQ(**signs),
        "bsq-joint": lambda: peer.LFQ(spherical=True, **signs),
        "residual": lambda: peer.ResidualVQ(num_quantizers=LEVELS, **plain),
        "product": lambda: peer.GroupedResidualVQ(num_quantizers=1, groups=LEVELS, **plain),
    }[kind]()


PEERS = (
    "vq", "vq-ema", "simvq", "fsq", "lfq", "bsq-joint", "diveq", "fsp", "residual", "product",
)  # fmt: skip
"""Kinds that vector-quantize-pytorch has, too."""
OWN = (
    "vq", "vq-ema", "regvq", "nsvq", "simvq", "gumbel", "ibq", "fsq", "lfq", "bsq", "bsq-joint",
    "diveq", "fsp", "residual", "product",
)  # fmt: skip
"""All kinds."""
