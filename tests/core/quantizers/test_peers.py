"""Our quantizers beside vector-quantize-pytorch and diveq, on the same codes and latents.

Ids are equal, and losses within 1e-6. Where a loss differs, the test says what the paper has.
Residual and grouped codes over VQ are compared in ``test_levels.py``.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from core.quantizers import (
    BSQConfig,
    DiVeQConfig,
    FSPConfig,
    FSQConfig,
    LFQConfig,
    ProductConfig,
    Quantized,
    ResidualConfig,
    SimVQConfig,
    VQConfig,
)
from core.quantizers.ops import rotation_trick

DIM = 6


@pytest.fixture
def peers() -> Any:
    return pytest.importorskip("vector_quantize_pytorch")


def latents(dim: int = DIM) -> Tensor:
    return torch.randn(2, dim, 3, 4, generator=torch.Generator().manual_seed(0))


def rows_of(z: Tensor) -> Tensor:
    """Return (B, D, h, w) as their (B, N, D); ids (B, L, h, w) as (B, N, L)."""
    return z.flatten(2).transpose(1, 2)


def built(config: Any, dim: int = DIM) -> Any:
    torch.manual_seed(1)
    quantizer = config.build(dim).train()
    if hasattr(quantizer, "codes"):
        with torch.no_grad():
            quantizer.codes.normal_(0, 0.5)
    return quantizer


def summed(out: Quantized) -> float:
    return float(sum(loss.detach() for loss in out.losses.values()))


def gradients(out: Tensor, loss: Tensor, on: list[Tensor]) -> tuple[Tensor, ...]:
    pull = torch.randn(out.shape, generator=torch.Generator().manual_seed(2))
    return torch.autograd.grad((out * pull).sum() + loss, on)


def compare_steps(ours: Any, theirs: Any, z: Tensor, loss: float | None = None) -> Quantized:
    """Compare ids, values, gradients on latents and summed losses of a training step.

    ``loss``: our losses, where the peer's are others.
    """
    a, b = z.clone().requires_grad_(), z.clone().requires_grad_()
    out = ours(a)
    seen, ids, found = theirs(rows_of(b))[:3]
    assert torch.equal(out.ids.flatten(1), ids.long().view(len(z), -1))
    torch.testing.assert_close(rows_of(out.z), seen, rtol=0, atol=2e-6)
    assert summed(out) == pytest.approx(float(found.detach()) if loss is None else loss, abs=1e-6)
    if loss is None:
        mine = gradients(rows_of(out.z), sum(out.losses.values()), [a])[0]
        other = gradients(seen, found, [b])[0]
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-5)
    return out


# ------------------------------------------------------------ searched codes


@pytest.mark.parametrize("rotation", [False, True])
@pytest.mark.parametrize("cosine", [False, True])
def test_vq_with_averages(peers: Any, cosine: bool, rotation: bool) -> None:
    """Their commitment weight is 1 by default, VQ-VAE's beta 0.25: both are set to 0.25."""
    config = VQConfig(
        size=16, codebook="ema", beta=0.25, distance="cosine" if cosine else "euclidean",
        estimator="rotation" if rotation else "straight-through", decay=0.8,
    )  # fmt: skip
    ours = built(config)
    theirs = peers.VectorQuantize(
        dim=DIM, codebook_size=16, use_cosine_sim=cosine, rotation_trick=rotation,
        commitment_weight=0.25, decay=0.8,
    ).train()  # fmt: skip
    with torch.no_grad():
        ours.codes.copy_(ours.codebook())
        ours.sums.copy_(ours.codes)
    book = theirs._codebook
    book.embed.data.copy_(ours.codes[None])
    book.embed_avg.data.copy_(ours.codes[None])
    z = latents()
    out = compare_steps(ours, theirs, z)
    ours.update(z, out.ids)
    # VQ-VAE's A.1 smooths the counts as theirs does.
    torch.testing.assert_close(ours.codebook(), book.embed[0], rtol=1e-5, atol=1e-6)


def test_vq_with_a_gradient(peers: Any) -> None:
    """With learned codes, their one loss has the value of VQ-VAE's commitment, and the gradient of
    both terms: VQ-VAE's codebook term counts once more in our sum."""
    ours = built(VQConfig(size=16, beta=1.0))
    theirs = peers.VectorQuantize(
        dim=DIM, codebook_size=16, rotation_trick=False, learnable_codebook=True, ema_update=False
    ).train()
    theirs._codebook.embed.data.copy_(ours.codes[None])
    z = latents()
    a, b = z.clone().requires_grad_(), z.clone().requires_grad_()
    out = ours(a)
    seen, ids, loss = theirs(rows_of(b))
    assert torch.equal(out.ids.flatten(1), ids)
    for name in ("codebook", "commitment"):
        assert float(out.losses[name].detach()) == pytest.approx(float(loss.detach()), abs=1e-6)
    mine = gradients(rows_of(out.z), sum(out.losses.values()), [a, ours.codes])
    other = gradients(seen, loss, [b, theirs._codebook.embed])
    torch.testing.assert_close(mine[0], other[0], rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(mine[1], other[1][0], rtol=1e-4, atol=1e-6)


def test_the_rotation_trick(peers: Any) -> None:
    from vector_quantize_pytorch.vector_quantize_pytorch import rotate_to

    rows, codes = torch.randn(20, DIM, requires_grad=True), torch.randn(20, DIM)
    pull = torch.randn(20, DIM)
    mine, other = rotation_trick(rows, codes), rotate_to(rows, codes)
    torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-6)
    a, b = (torch.autograd.grad((x * pull).sum(), rows)[0] for x in (mine, other))
    torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("rotation", [False, True])
def test_simvq(peers: Any, rotation: bool) -> None:
    """Their layer has no bias; the authors' has one, which is 0 here."""
    estimator = "rotation" if rotation else "straight-through"
    ours = built(SimVQConfig(size=16, estimator=estimator))
    theirs = peers.SimVQ(dim=DIM, codebook_size=16, rotation_trick=rotation).train()
    with torch.no_grad():
        ours.projection.bias.zero_()
        theirs.frozen_codebook.copy_(ours.frozen)
        theirs.code_transform.weight.copy_(ours.projection.weight)
    compare_steps(ours, theirs, latents())


def test_diveq_of_vector_quantize_pytorch(peers: Any) -> None:
    """They add a commitment loss to DiVeQ, which the paper does without: its weight is 0 here."""
    ours = built(DiVeQConfig(size=16, noise=5e-3**0.5))
    theirs = peers.VectorQuantize(
        dim=DIM,
        codebook_size=16,
        directional_reparam=True,
        commitment_weight=0.0,
        threshold_ema_dead_code=1e-9,
    ).train()
    theirs._codebook.embed.data.copy_(ours.codes[None])
    z = latents()
    a, b = z.clone().requires_grad_(), z.clone().requires_grad_()
    torch.manual_seed(3)
    out = ours(a)
    torch.manual_seed(3)
    seen, ids, loss = theirs(rows_of(b))
    assert torch.equal(out.ids.flatten(1), ids) and float(loss.detach()) == 0 == summed(out)
    torch.testing.assert_close(rows_of(out.z), seen, rtol=0, atol=1e-6)
    mine = gradients(rows_of(out.z), torch.zeros(()), [a, ours.codes])
    other = gradients(seen, torch.zeros(()), [b, theirs._codebook.embed])
    torch.testing.assert_close(mine[0], other[0], rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(mine[1], other[1][0], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("noise", [1e-3, 0.1])
def test_diveq_of_its_authors(noise: float) -> None:
    package = pytest.importorskip("diveq")
    ours = built(DiVeQConfig(size=16, noise=noise, replace_every=3))
    theirs = package.DIVEQ(
        16, DIM, noise_var=noise, replacement_iters=3, allow_warning=False, verbose=False
    ).train()
    with torch.no_grad():
        theirs.codebook.copy_(ours.codes)
    for _ in range(3):
        z = 0.5 * torch.randn(2, DIM, 3, 4)
        a, b = z.clone().requires_grad_(), z.clone().requires_grad_()
        codes = ours.codes.detach().clone()
        torch.manual_seed(3)
        out = ours(a)
        torch.manual_seed(3)
        seen, ids, _ = theirs(rows_of(b).reshape(-1, DIM))
        assert torch.equal(out.ids.flatten(), ids)
        torch.testing.assert_close(rows_of(out.z).reshape(-1, DIM), seen, rtol=0, atol=1e-6)
        if ours.updates < 2:  # the third step of theirs has replaced the codes of its graph
            mine = gradients(rows_of(out.z).reshape(-1, DIM), torch.zeros(()), [a, ours.codes])
            other = gradients(seen, torch.zeros(()), [b, theirs.codebook])
            for x, y in zip(mine, other, strict=True):
                torch.testing.assert_close(x, y, rtol=1e-4, atol=1e-6)
        replaced = ours.update(z, out.ids)
    moved = (theirs.codebook != codes).any(1).nonzero().flatten()
    assert replaced is not None and torch.equal(replaced, moved)  # the copies are drawn at random
    for code in theirs.codebook[moved]:
        assert float((codes - code).norm(dim=1).min()) < 1e-6


# ------------------------------------------------------------ codes that are not learned


def share_projections(ours: Any, theirs: Any, names: tuple[str, str], flip: bool = False) -> None:
    """Give ``theirs`` our projections; ``flip``: their first number is our last."""
    down, up = (getattr(ours, name) for name in names)
    turned = (lambda x, axis: x.flip(axis)) if flip else (lambda x, axis: x)
    with torch.no_grad():
        theirs.project_in.weight.copy_(turned(down.weight, 0))
        theirs.project_in.bias.copy_(turned(down.bias, 0))
        theirs.project_out.weight.copy_(turned(up.weight, 1))
        theirs.project_out.bias.copy_(up.bias)


@pytest.mark.parametrize("levels", [(8, 5, 5, 5), (3, 4), (7, 5, 3)])
def test_fsq(peers: Any, levels: tuple[int, ...]) -> None:
    ours, theirs = built(FSQConfig(levels=levels)), peers.FSQ(list(levels), dim=DIM).train()
    share_projections(ours, theirs, ("to_levels", "from_levels"))
    z = 3 * latents()
    a, b = z.clone().requires_grad_(), z.clone().requires_grad_()
    out, (seen, ids) = ours(a), theirs(rows_of(b))
    assert torch.equal(out.ids.flatten(1), ids.long()) and not out.losses
    torch.testing.assert_close(rows_of(out.z), seen, rtol=0, atol=1e-6)
    zero = torch.zeros(())
    torch.testing.assert_close(
        gradients(rows_of(out.z), zero, [a])[0], gradients(seen, zero, [b])[0], rtol=1e-4, atol=1e-6
    )


@pytest.mark.parametrize("spherical", [False, True])
def test_lfq_and_bsq(peers: Any, spherical: bool) -> None:
    """Ids number the bits from the other end. Their log bounds probabilities at 1e-5 (ours adds
    1e-8, as Open-MAGVIT2), so the temperature is warm enough for neither to matter. BSQ's
    commitment is a sum over the bits in the authors' code, a mean over them in theirs."""
    kind = BSQConfig if spherical else LFQConfig
    settings = {"group": 5, "temperature": 0.5} if spherical else {"temperature": 2.0}
    weight = 0.25 / 5 if spherical else 0.25
    ours = built(kind(size=32, entropy_weight=0.1, commitment=weight, **settings))
    theirs = peers.LFQ(
        dim=DIM, codebook_size=32, spherical=spherical, entropy_loss_weight=0.1,
        commitment_loss_weight=0.25,
    ).train()  # fmt: skip
    share_projections(ours, theirs, ("to_bits", "from_bits"), flip=True)
    temperature = ours.config.temperature
    compare_steps(ours, lambda x: theirs(x, inv_temperature=1 / temperature), latents())


@pytest.mark.parametrize("rate", [0.0, 0.5, 1.0])
def test_fsp(peers: Any, rate: float) -> None:
    ours = built(FSPConfig(levels=(5, 4, 3), quantize_rate=rate))
    theirs = peers.FSP([5, 4, 3], dim=DIM, quantize_rate=rate).train()
    share_projections(ours, theirs, ("to_levels", "from_levels"))

    def seeded(call: Any) -> Any:
        def called(x: Tensor) -> Any:
            torch.manual_seed(4)
            return call(x)

        return called

    z = 2 * latents()
    compare_steps(seeded(ours), seeded(theirs), z)
    ours.eval(), theirs.eval()
    torch.testing.assert_close(rows_of(ours(z).z), theirs(rows_of(z))[0], rtol=0, atol=1e-6)


# ------------------------------------------------------------ several codes per place


def scaled(quantizer: Any, names: tuple[str, str], scales: list[Tensor]) -> None:
    """Make the projections of each level a division by its scale, and back."""
    for part, scale in zip(quantizer.quantizers, scales, strict=True):
        down, up = (getattr(part, name) for name in names)
        with torch.no_grad():
            for layer, factors in ((down, 1 / scale), (up, scale)):
                layer.weight.copy_(factors.diag())
                layer.bias.zero_()


def leveled_ids(ids: Tensor) -> Tensor:
    return ids.flatten(2).movedim(1, 2)


@pytest.mark.parametrize("groups", [1, 2])
def test_residual_fsq(peers: Any, groups: int) -> None:
    """Their levels share one projection and divide the rest by L per level; here ours do so, too.

    Theirs round to a symmetric grid, which for odd L is the paper's with its margin eps = 1e-3
    left out: an id can differ within 0.1 % of the edge of an interval.
    """
    levels, count = (5, 3, 7), 3
    base = ResidualConfig(FSQConfig(levels=levels), levels=count)
    ours = built(ProductConfig(base, groups=groups), 3 * groups)
    theirs = peers.GroupedResidualFSQ(
        dim=3 * groups, groups=groups, levels=list(levels), num_quantizers=count,
        bound_hard_clamp=False,
    ).train()  # fmt: skip
    for part in ours.quantizers:
        names = ("to_levels", "from_levels")
        scaled(part, names, [torch.tensor(levels).float() ** -n for n in range(count)])
    z = latents(3 * groups)
    out = ours(z)
    seen, ids = theirs(rows_of(z))[:2]
    assert torch.equal(leveled_ids(out.ids), torch.cat(list(ids), -1).long())
    torch.testing.assert_close(rows_of(out.z), seen, rtol=0, atol=1e-6)


@pytest.mark.parametrize("groups", [1, 2])
def test_residual_lfq(peers: Any, groups: int) -> None:
    """Their codes are +-2^-n at level n; ours are +-1 of numbers that are divided by 2^-n.

    The first level's losses are equal. At level n ours, as the paper's, are those of codes +-1: its
    commitment is 4^n times theirs, and its entropy has a temperature that is 4^n times theirs.
    """
    count, bits = 3, 4
    base = LFQConfig(size=2**bits, temperature=2.0)
    config = ResidualConfig(base, levels=count)
    ours = built(ProductConfig(config, groups=groups), bits * groups)
    theirs = peers.GroupedResidualLFQ(
        dim=bits * groups, groups=groups, codebook_size=2**bits, num_quantizers=count,
        entropy_loss_weight=0.1, commitment_loss_weight=0.25,
    ).train()  # fmt: skip
    for part in ours.quantizers:
        scaled(part, ("to_bits", "from_bits"), [torch.full((bits,), 2.0**-n) for n in range(count)])
    z = latents(bits * groups)
    out = ours(z)
    seen, ids, _ = theirs(rows_of(z))
    flipped = torch.cat(list(ids), -1).long()
    turned = sum(((flipped >> bit) & 1) << (bits - 1 - bit) for bit in range(bits))
    assert torch.equal(leveled_ids(out.ids), turned)
    torch.testing.assert_close(rows_of(out.z), seen, rtol=0, atol=1e-6)

    mine = ours.quantizers[0].quantizers[0](z[:, :bits])
    other = theirs.rvqs[0].layers[0](rows_of(z[:, :bits]), inv_temperature=0.5)
    assert summed(mine) == pytest.approx(float(other.entropy_aux_loss.detach()), abs=1e-6)

    rest = z[:, :bits] - mine.z.detach()
    second = ours.quantizers[0].quantizers[1](rest)
    gap = F.mse_loss(rest, second.z)
    assert float(second.losses["commitment"]) == pytest.approx(0.25 * 4 * float(gap), abs=1e-6)
