"""Properties of several levels as a whole, and of each of their parts."""

from __future__ import annotations

import copy
import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from core.quantizers import (
    FSQConfig,
    NSVQConfig,
    ProductConfig,
    RegVQConfig,
    ResidualConfig,
    VQConfig,
)
from core.quantizers.levels import DROPPED, replaced_in
from core.quantizers.levels_config import LevelsConfig

DIM = 6
# Every epoch of one update replaces the codes that no position used.
REPLACING = NSVQConfig(size=16, replacement=True, epoch=1, replacement_warmup=0)


def latents(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def nested(base: object = VQConfig(size=16), **settings: bool):
    """Return two groups of three residual levels each."""
    torch.manual_seed(1)
    return ProductConfig(ResidualConfig(base, levels=3, **settings), groups=2).build(DIM)


def test_sizes_and_bits_are_those_of_the_levels() -> None:
    quantizer = ResidualConfig(VQConfig(size=1000), levels=3).build(DIM)
    assert (quantizer.size, quantizer.sizes, quantizer.levels) == (1000, (1000,) * 3, 3)
    assert quantizer.bits == pytest.approx(3 * math.log2(1000), rel=1e-12)
    assert nested().sizes == (16,) * 6


def test_a_frozen_encoder_is_one_of_every_part() -> None:
    quantizer = ResidualConfig(REPLACING, levels=2).build(DIM)
    assert not quantizer.encoder_frozen
    quantizer.encoder_frozen = True
    assert quantizer.encoder_frozen and all(part.encoder_frozen for part in quantizer.quantizers)


def test_the_schedule_reaches_every_part() -> None:
    base = RegVQConfig(size=16, mask_ratio=0.4, mask_fall=(0.5, 1.0))
    quantizer = ResidualConfig(base, levels=2).build(DIM)
    quantizer.schedule(1.0)
    assert [part.mask_ratio for part in quantizer.quantizers] == [0, 0]


@pytest.mark.parametrize("level", range(6))
def test_a_level_alone_adds_what_it_adds_to_the_others(level: int) -> None:
    quantizer = nested()
    ids = quantizer.assign(latents(2, DIM, 3, 4))
    without = ids.clone()
    without[:, level] = DROPPED
    difference = quantizer.embed(ids) - quantizer.embed(without)
    alone = quantizer.embed_level(ids[:, level], level)
    torch.testing.assert_close(alone, difference, rtol=1e-5, atol=1e-6)
    assert alone.abs().sum() > 0


def test_each_level_of_each_group_meets_what_is_left() -> None:
    quantizer, z = nested(), latents(2, DIM, 3, 4)
    ids = quantizer.assign(z)
    parts = quantizer.level_parts(z.double(), ids)
    assert len(parts) == 6
    for level, (part, met) in enumerate(parts):
        assert part is quantizer.level_quantizer(level)
        assert torch.equal(part.assign(met), ids[:, level])
    groups = ProductConfig(VQConfig(size=16)).build(DIM)
    for (_, met), channels in zip(
        groups.level_parts(z.double(), groups.assign(z)), z.chunk(2, 1), strict=True
    ):
        assert met.dtype == torch.float32 and torch.equal(met, channels)


@pytest.mark.parametrize("shared", [False, True])
def test_replaced_codes_are_named_by_their_quantizer(shared: bool) -> None:
    torch.manual_seed(2)
    quantizer = ResidualConfig(REPLACING, levels=2, shared=shared).build(DIM).train()
    z = latents(1, DIM, 1, 3)  # three positions: most of 16 codes are unused
    before = [part.codebook().clone() for part in quantizer.quantizers]
    ids = quantizer(z).ids
    replaced = quantizer.update(z, ids)
    count = 1 if shared else 2
    assert list(replaced) == [f"quantizers.{part}" for part in range(count)]
    for part, (path, codes) in enumerate(replaced.items()):
        met = ids.unique() if shared else ids[:, part].unique()
        unused = [code for code in range(16) if code not in met.tolist()]
        assert codes.tolist() == unused
        changed = (quantizer.get_submodule(path).codebook() != before[part]).any(1)
        assert changed.nonzero().flatten().tolist() == unused
    both = nested(REPLACING).train()
    z = latents(1, DIM, 1, 3)
    paths = [f"quantizers.{group}.quantizers.{part}" for group in range(2) for part in range(3)]
    assert list(both.update(z, both(z).ids)) == paths


def test_paths_of_replaced_codes() -> None:
    ids = torch.tensor([3])
    assert replaced_in(None, "a") == {} and replaced_in(ids) == {"": ids}
    assert replaced_in({"b": ids}, "a") == {"a.b": ids} and replaced_in({"b": ids}) == {"b": ids}


def test_masks_of_groups_are_drawn_by_the_generator_given() -> None:
    quantizer = ProductConfig(RegVQConfig(size=16, mask_ratio=0.5)).build(DIM).train()
    z = latents(3, DIM, 4, 4)
    found = []
    for state in (1, 2):
        torch.manual_seed(state)
        found.append(quantizer(z, generator=torch.Generator().manual_seed(7)))
    assert torch.equal(found[0].ids, found[1].ids) and torch.equal(found[0].mask, found[1].mask)
    assert not torch.equal(found[0].mask[:, 0], found[0].mask[:, 1])


@pytest.mark.parametrize("name", ["level_parts", "update"])
def test_latents_of_another_length_are_refused(name: str) -> None:
    ids = torch.zeros(2, 2, 3, 3, dtype=torch.int64)
    for config in (ResidualConfig(VQConfig(size=16), levels=2), ProductConfig(VQConfig(size=16))):
        with pytest.raises(ValueError, match=r"latents must be \(B, 6, h, w\), got \(2, 8, 3, 3\)"):
            getattr(config.build(DIM), name)(latents(2, 8, 3, 3), ids)


def test_a_dropped_level_lets_the_others_be_updated() -> None:
    """Of the pictures, those whose level is dropped do not reach that level's averages."""
    base = VQConfig(size=16, codebook="ema", decay=0.5)
    quantizer = ResidualConfig(base, levels=2).build(DIM).train()
    z = latents(2, DIM, 3, 3)
    ids = quantizer.assign(z)
    ids[0, 1] = DROPPED
    other = copy.deepcopy(quantizer)
    quantizer.update(z, ids)
    other.update(z[1:], ids[1:])
    first, second = (one.level_codebooks() for one in (quantizer, other))
    assert torch.equal(first[1], second[1]) and not torch.equal(first[0], second[0])


def test_levels_in_words() -> None:
    said = {
        "one code": LevelsConfig(),
        "2 residual levels": LevelsConfig(residual=2),
        "2 groups of channels": LevelsConfig(groups=2),
        "3 groups of channels": LevelsConfig(groups=3),
        "2 residual levels in each of 3 groups of channels": LevelsConfig(residual=2, groups=3),
        "2 residual levels, one codebook for all": LevelsConfig(residual=2, shared=True),
    }
    assert {config.words(): config for config in said.values()} == said


def test_settings_of_residual_codes_need_residual_codes() -> None:
    for settings in ({"dropout": 0.1}, {"beam": 2}):
        with pytest.raises(ValueError, match=r"belong to residual codes: set levels.residual 2"):
            LevelsConfig(groups=2, **settings)
        LevelsConfig(residual=2, **settings)
    for name in ("residual", "groups", "beam"):
        with pytest.raises(ValueError, match=f"levels.{name} must be 1 or more, got 0"):
            LevelsConfig(**{"residual": 2, name: 0})
    for share in (0.0, 1.0):
        assert replace(LevelsConfig(residual=2), dropout=share).dropout == share
    for share in (-0.1, 1.1):
        with pytest.raises(ValueError, match=rf"dropout must be in \[0, 1\], got {share}"):
            LevelsConfig(residual=2, dropout=share)


def test_levels_are_built_over_the_base() -> None:
    base = FSQConfig(levels=(4, 4))
    assert type(LevelsConfig().build(base, DIM)) is type(base.build(DIM))
    both = LevelsConfig(residual=2, groups=3, shared=True, dropout=0.5, beam=1).build(base, DIM)
    assert len(both.quantizers) == 1 and both.levels == LevelsConfig(2, 3).count == 6
    inner = both.quantizers[0]
    assert (inner.config.levels, inner.config.shared, inner.config.dropout) == (2, True, 0.5)
    assert inner.dim == DIM // 3 and len(inner.quantizers) == 1


def test_a_shared_codebook_knows_that_the_encoder_is_frozen() -> None:
    quantizer = ResidualConfig(REPLACING, levels=2, shared=True).build(DIM)
    assert not quantizer.encoder_frozen
    quantizer.encoder_frozen = True
    assert quantizer.encoder_frozen


def test_drawn_codes_of_levels_follow_the_generator_alone() -> None:
    quantizer = ResidualConfig(RegVQConfig(size=16), levels=2).build(DIM)
    found = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        draw = torch.Generator().manual_seed(3)
        found.append(quantizer(latents(2, DIM, 4, 4), mask_ratio=0.7, generator=draw).ids)
    assert torch.equal(*found)


def test_a_picture_with_dropped_places_leaves_the_averages_of_a_level_alone() -> None:
    """As one does whose level is dropped whole: what is left of it is not the level's input."""
    base = VQConfig(size=8, codebook="ema", decay=0.5)
    torch.manual_seed(0)
    one = ResidualConfig(base, levels=2).build(DIM).train()
    other = copy.deepcopy(one)
    z = latents(2, DIM, 3, 3)
    ids = one.assign(z)
    part, whole = ids.clone(), ids.clone()
    part[0, 1, 0, 0] = DROPPED
    whole[0, 1] = DROPPED
    one.update(z, part)
    other.update(z, whole)
    for mine, theirs in zip(one.quantizers, other.quantizers, strict=True):
        assert torch.equal(mine.codes, theirs.codes)


def test_a_beam_refuses_latents_of_another_length() -> None:
    quantizer = ResidualConfig(VQConfig(size=16), levels=2, beam=3).build(DIM).eval()
    with pytest.raises(ValueError, match=r"\(2, 5, 3, 3\)"):
        quantizer.assign(latents(2, DIM - 1, 3, 3))
