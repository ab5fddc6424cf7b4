"""Atlas and maps of large codebooks: ``python benchmarks/run.py --only codes``.

Tokenizers with random weights and 1,024, 16,384 and 65,536 codes of 32 numbers: the atlas that a
bundle ships, the map by PCA, and the map by UMAP, which is compiled before it is measured.
"""

from __future__ import annotations

from typing import Any

from clock import seconds_of
from pages import table

SIZES = (1024, 16_384, 65_536)


def tokenizer_of(size: int) -> Any:
    """Return a small tokenizer with ``size`` random codes in 64 clusters."""
    import torch

    from core.networks.autoencoder import NetworkConfig
    from core.quantizers import VQConfig
    from core.tokenizer import Tokenizer, TokenizerConfig

    torch.manual_seed(0)
    network = NetworkConfig(widths=(16, 32, 48), encoder_blocks=1, decoder_blocks=1, latent_dim=32)
    tokenizer = Tokenizer(TokenizerConfig(network, VQConfig(size=size))).eval()
    tokenizer.requires_grad_(False)
    centers = torch.randn(64, 32)
    tokenizer.quantizer.codes.copy_(centers[torch.arange(size) % 64] + 0.3 * torch.randn(size, 32))
    return tokenizer


def measure(tiny: bool = False) -> list[dict[str, Any]]:
    """Return a row per size."""
    import numpy as np

    from core.analysis import atlas, embedding

    if not tiny:
        embedding.umap_map(np.random.default_rng(0).normal(size=(100, 32)), epochs=5)
    rows = []
    for size in (40,) if tiny else SIZES:
        tokenizer = tokenizer_of(size)
        codes = tokenizer.quantizer.codebook().numpy()
        counts = np.random.default_rng(0).integers(0, 9, size)

        def build(tokenizer: Any = tokenizer, counts: Any = counts) -> Any:
            return atlas.build_atlas(tokenizer, counts=counts, source="random numbers")

        rows.append(
            {
                "codes": size,
                "atlas": seconds_of(build),
                "pca": seconds_of(lambda codes=codes: embedding.pca_map(codes)),
                "umap": seconds_of(
                    lambda codes=codes, uses=counts: embedding.umap_map(codes, uses=uses)
                ),
            }
        )
    return rows


def tables(rows: list[dict[str, Any]]) -> str:
    """Return the Markdown of the figures."""
    columns = {
        "codes": "codes",
        "atlas.2": "atlas, seconds",
        "pca.2": "map by PCA, seconds",
        "umap.1": "map by UMAP, seconds",
    }
    return table(columns, rows)
