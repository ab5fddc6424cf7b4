"""Contrastive loss and probabilistic contrastive loss of Reg-VQ (arXiv 2303.06424, Eq. 2 and 3).

Features at the same position of the original and of the reconstruction attract each other; those
at different positions of the same picture repel each other. In the probabilistic form, the pull is
weaker where the stochastic mask replaced a token by a very different one, because a faithful
reconstruction is not possible there.

Notation: y (B, L, C) are features of the original, the anchors; z (B, L, C) those of the
reconstruction, the candidates; both have unit length. The L positions are those of the token grid.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def contrastive_loss(y: Tensor, z: Tensor, tau: float = 0.07) -> Tensor:
    """Return Eq. 2, -1/L sum_i log softmax_j(y_i.z_j / tau)[i], averaged over the batch.

    INFERRED: tau is not stated in the paper; 0.07 is that of MoNCE, by the same second author.
    """
    return -_similarity(y, z, tau).log_softmax(-1).diagonal(dim1=1, dim2=2).mean()


def probabilistic_contrastive_loss(
    y: Tensor,
    z: Tensor,
    perturbation: Tensor,
    mask: Tensor | None = None,
    tau: float = 0.07,
    eps: float = 1e-2,
    reduction: str = "mean",
) -> Tensor:
    """Return Eq. 3, in which the perturbation of a token weights its positive pair; a scalar.

    With numerator and denominator multiplied by L, a term of Eq. 3 is that of Eq. 2 with
    log(L w'_i) added to the positive logit, where w' is ``perturbation`` (B, L) normalized to sum
    to one: a larger perturbation gives a weaker pull.

    In a picture without replaced tokens all weights are equal, and a term is that of Eq. 2.

    INFERRED, because the paper does not state it: ``eps`` keeps the logarithm finite where the
    drawn code is the best one (w = 0); only the positions in ``mask`` (B, L), whose code was drawn,
    count (None: all; all as well if nothing was drawn, as at a mask ratio of 0); the ``mean`` over
    positions instead of Eq. 3's ``sum``, so that the scale does not depend on the size of the
    picture. Every picture has as many drawn positions (``quantizers.ops.stochastic_mask``), so that
    the mean over processes with equal batches is that of the joined batch. ``reduction="sum"`` with
    ``eps=0`` and no mask is exactly Eq. 3, averaged over the batch.
    """
    logits = _similarity(y, z, tau)
    weights = perturbation.detach().to(logits.dtype)
    total = weights.sum(1, keepdim=True)
    counted = torch.ones_like(weights, dtype=torch.bool) if mask is None else mask | ~mask.any()
    boost = (weights.shape[1] * weights / total.clamp_min(1e-30) + eps).log()
    replaced = total > 0 if mask is None else (total > 0) & mask.any()
    boost = torch.where(replaced, boost, 0.0)
    losses = -(logits + torch.diag_embed(boost)).log_softmax(-1).diagonal(dim1=1, dim2=2)
    if reduction == "sum":
        return (losses * counted).sum(1).mean()
    return (losses * counted).sum() / counted.sum()


def on_token_grid(maps: list[Tensor], height: int, width: int) -> list[Tensor]:
    """Return feature maps as unit vectors on the token grid, a list of float32 (B, h*w, C).

    INFERRED, because the paper does not state how features and tokens of different grids are
    matched: finer maps are averaged over the area of each token, and maps of less than half the
    grid's resolution are left out, because neighboring tokens would have the same feature there.
    """
    fine = [x for x in maps if x.shape[-2] * 2 > height and x.shape[-1] * 2 > width]
    return [
        F.normalize(_resize(x.float(), height, width).flatten(2).transpose(1, 2), dim=-1)
        for x in fine
    ]


def _resize(x: Tensor, height: int, width: int) -> Tensor:
    if x.shape[-2] >= height and x.shape[-1] >= width:
        return F.adaptive_avg_pool2d(x, (height, width))
    return F.interpolate(x, (height, width), mode="bilinear", align_corners=False)


def _similarity(y: Tensor, z: Tensor, tau: float) -> Tensor:
    with torch.autocast(y.device.type, enabled=False):  # bfloat16 is too coarse to divide by tau
        return torch.bmm(y.detach(), z.transpose(1, 2)) / tau
