"""Contrastive loss and probabilistic contrastive loss of Reg-VQ (arXiv 2303.06424, Eq. 2 and 3).

Features at the same position of the original and the reconstruction attract, those of other
positions of the same picture repel. The probabilistic form lets go where the stochastic mask has
disturbed the token much: there a faithful reconstruction cannot be asked for.

Notation: y (B, L, C) are features of the original, the anchors; z (B, L, C) those of the
reconstruction, the candidates; both of unit length. Positions L are those of the token grid.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def contrastive_loss(y: Tensor, z: Tensor, tau: float = 0.07) -> Tensor:
    """Eq. 2: -1/L sum_i log softmax_j(y_i.z_j / tau)[i], averaged over the batch; a scalar.

    tau is not given in the paper; 0.07 is MoNCE's, by the same second author (inferred).
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
    """Eq. 3, with the positive pair weighted by the perturbation of its token; a scalar.

    Multiplied through by L, a term of Eq. 3 is Eq. 2's with log(L w'_i) added to the positive
    logit, where w' is ``perturbation`` (B, L) normalized to sum to one: a larger perturbation
    means a weaker pull. Inferred, as the paper is silent: ``eps`` keeps the logarithm finite where
    the drawn code is the best one (w = 0); only positions of ``mask`` (B, L) count, those whose
    code was drawn, or all if it is None; ``mean`` over positions instead of Eq. 3's ``sum``, so
    that the scale does not depend on the picture's size. ``sum`` with ``eps=0`` and no mask is Eq.
    3 to the letter, averaged over the batch.
    """
    logits = _similarity(y, z, tau)
    weights = perturbation.detach().to(logits.dtype)
    total = weights.sum(1, keepdim=True)
    # No token was disturbed: every weight counts the same, and Eq. 3 becomes Eq. 2.
    even = torch.full_like(weights, 1 / weights.shape[1])
    weights = torch.where(total > 0, weights / total.clamp_min(1e-30), even)
    boost = (weights.shape[1] * weights + eps).log()
    losses = -(logits + torch.diag_embed(boost)).log_softmax(-1).diagonal(dim1=1, dim2=2)
    if reduction == "sum":
        return losses.sum(1).mean() if mask is None else (losses * mask).sum(1).mean()
    if mask is None:
        return losses.mean()
    return (losses * mask).sum() / mask.sum().clamp_min(1)


def on_token_grid(maps: list[Tensor], height: int, width: int) -> list[Tensor]:
    """Feature maps as unit vectors on the token grid: a list of float32 (B, h*w, C).

    The paper does not say how tokens and features of different grids meet; finer maps are averaged
    over each token's area, and maps of less than half the grid's resolution are left out, since
    their neighbours are the same feature and no negatives (inferred).
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
    with torch.autocast(y.device.type, enabled=False):  # divided by tau, bfloat16 is too coarse
        return torch.bmm(y.detach(), z.transpose(1, 2)) / tau
