"""Recipes at the papers' own scale, for large GPUs: what is theirs and what is inferred.

None of them was run to its end here; each docstring gives the published figure that the recipe
aims at, where its settings come from, and which are inferred because no source states them. Ours
throughout: the perceptual loss compares VGG-19 features without LPIPS's learned weights; networks
have no middle blocks, and one attention where VQ-GAN has several; GroupNorm has 16 channels a
group, in the discriminator too; the gradient's norm is clipped at 1; weights are averaged.
"""

from __future__ import annotations

from collections.abc import Callable

from ...config.tokenizer import RunConfig
from .imagenet import (
    imagenet128_nsvq_65k,
    imagenet128_simvq_65k,
    imagenet128_vq_65k,
    imagenet256_nsvq_65k,
    imagenet256_simvq_65k,
    imagenet256_vq,
    imagenet256_vq_16k,
)
from .regvq import (
    ade20k_gumbel,
    ade20k_regvq,
    ade20k_vq,
    celebamask_regvq,
    celebamask_vq,
    coco_regvq,
    cub_gumbel,
    cub_regvq,
)

PAPERS: tuple[Callable[[], RunConfig], ...] = (
    imagenet128_simvq_65k,
    imagenet128_nsvq_65k,
    imagenet128_vq_65k,
    imagenet256_simvq_65k,
    imagenet256_nsvq_65k,
    imagenet256_vq,
    imagenet256_vq_16k,
    ade20k_regvq,
    ade20k_vq,
    ade20k_gumbel,
    celebamask_regvq,
    celebamask_vq,
    cub_regvq,
    cub_gumbel,
    coco_regvq,
)
