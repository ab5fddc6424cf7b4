"""diagnose: figures against definitions, and each fault that is made on purpose is named."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

import core
from core.analysis.diagnose import Diagnosis, diagnose, effective_rank, remedies_of
from core.analysis.diagnose_levels import diagnose_levels
from core.quantizers import (
    QUANTIZERS,
    FSQConfig,
    ResidualConfig,
    SignalQuantizer,
    VQConfig,
)


def latents(count: int = 4000, dim: int = 8, seed: int = 0) -> Tensor:
    return torch.randn(count, dim, generator=torch.Generator().manual_seed(seed))


def fitted(rows: Tensor, size: int = 64, **settings: object):
    """Return a quantizer whose codes are some of the latents: nothing is wrong with it."""
    quantizer = VQConfig(size=size, **settings).build(rows.shape[1])
    quantizer.initialize_codes(rows[:size])
    return quantizer


def only(found: Diagnosis, words: str) -> None:
    """Fail unless there is exactly one finding, with these words."""
    assert len(found.findings) == 1, found
    assert words in found.findings[0], found
    assert not found.healthy and f"- {found.findings[0]}" in str(found)


def test_nothing_is_found_in_a_healthy_codebook() -> None:
    rows = latents()
    found = diagnose(fitted(rows, 256), rows)
    assert found.healthy and str(found).endswith("- Nothing is wrong.")
    assert "of 256 codes used" in str(found)


def test_figures_are_those_of_their_definitions() -> None:
    rows = latents(500, 5) * torch.tensor([3.0, 1.0, 0.5, 0.2, 0.1]) + 2
    quantizer = fitted(rows, 20)
    quantizer.codes.data[3] = quantizer.codes.data[7]
    found = diagnose(quantizer, rows)
    x, codes = rows.double().numpy(), quantizer.codes.detach().double().numpy()
    distances = ((x[:, None] - codes[None]) ** 2).sum(-1)
    ids = distances.argmin(1)
    counts = np.bincount(ids, minlength=20)
    assert found.used == (counts > 0).sum() and found.utilization == found.used / 20
    share = counts[counts > 0] / 500
    assert found.perplexity == pytest.approx(math.exp(-(share * np.log(share)).sum()))
    assert found.most_frequent == pytest.approx(counts.max() / 500)
    variance = ((x - x.mean(0)) ** 2).sum(1).mean()
    assert found.explained == pytest.approx(1 - distances.min(1).mean() / variance, abs=1e-5)
    singular = np.linalg.svd(x - x.mean(0), compute_uv=False) ** 2
    spectrum = singular / singular.sum()
    assert found.latent_rank == pytest.approx(np.exp(-(spectrum * np.log(spectrum)).sum()))
    assert found.latent_norm == pytest.approx(np.sort(np.linalg.norm(x, axis=1))[249], abs=1e-5)
    assert found.copies == 2 and found.dim == 5 and found.latents == 500
    dead = [k for k in range(20) if counts[k] == 0]
    assert dead  # the copy

    def reach(some: list[int]) -> float:
        return float(torch.tensor(np.sqrt(distances[:, some].min(0))).median())

    live = [k for k in range(20) if counts[k]]
    assert found.unused_distance == pytest.approx(reach(dead) / max(reach(live), 1e-12), rel=1e-3)
    assert found.figures().keys() >= {"used", "copies", "explained"}


@pytest.mark.parametrize("rank", [1, 3, 8])
def test_effective_rank_of_equal_directions_is_their_number(rank: int) -> None:
    rows = torch.eye(8)[:rank].repeat(50, 1)
    rows = torch.cat([rows, -rows])
    assert effective_rank(rows) == pytest.approx(rank, rel=1e-5)
    assert effective_rank(torch.ones(5, 3)) == 0


def test_few_latents_are_named_instead_of_dead_codes() -> None:
    rows = latents(200)
    only(diagnose(fitted(latents(), 64), rows), "200 latents are few for 64 codes")


def test_collapse_far_codes_and_scale_are_named_with_remedies() -> None:
    rows = latents()
    quantizer = fitted(rows, 64)
    quantizer.codes.data[8:] += 40
    found = diagnose(quantizer, rows)
    text = str(found)
    assert "has collapsed: 56 of 64 codes are dead; restart unused codes (restart_below=1)" in text
    assert "Unused codes lie" in text and "initialize_codes" in text
    assert "The codes are" in text and "different scales" in text


def test_latents_that_are_longer_are_named() -> None:
    rows = latents()
    quantizer = fitted(rows / 50)
    times = float(rows.norm(dim=1).median() / quantizer.codes.norm(dim=1).median())
    assert f"The latents are {times:.1f} times as long" in str(diagnose(quantizer, rows))


def test_flat_latents_are_named() -> None:
    rows = latents()
    rows[:, 1:] *= 0.01
    only(diagnose(fitted(rows, 64), rows), "vary along 1.0 of 8 directions")


def test_copies_are_named() -> None:
    rows = latents()
    quantizer = fitted(rows, 256)
    quantizer.codes.data[200:210] = quantizer.codes.data[0]
    only(diagnose(quantizer, rows), "11 codes are copies of others")


def test_a_dominant_code_is_named() -> None:
    rows = latents()
    rows[-1200:] = rows[0]
    only(diagnose(fitted(rows, 256), rows), "One code has 3")


def test_a_large_error_is_named() -> None:
    rows = latents(4000, 32)
    only(diagnose(fitted(rows, 60), rows), "of the latents' variance; train longer")


def test_cosine_codes_are_judged_on_the_sphere() -> None:
    rows = torch.nn.functional.normalize(latents(), dim=1) * 70
    found = diagnose(fitted(rows, 512, distance="cosine"), rows)
    assert found.latent_norm == pytest.approx(1) and found.healthy, found


def test_grids_and_layouts_give_one_result() -> None:
    grid = latents(60, 8 * 4 * 5).view(60, 8, 4, 5)
    rows = grid.permute(0, 2, 3, 1).reshape(-1, 8)
    quantizer = fitted(rows, 64)
    expected = diagnose(quantizer, rows)
    assert diagnose(quantizer, grid) == expected
    assert diagnose(SignalQuantizer(quantizer), grid.flatten(2)) == expected
    assert diagnose(SignalQuantizer(quantizer, "last"), rows.view(60, 20, 8)) == expected
    assert core.diagnose is diagnose


@pytest.mark.parametrize("name", QUANTIZERS)
def test_every_quantizer_can_be_diagnosed(name: str) -> None:
    config = QUANTIZERS[name]() if name != "fsq" else FSQConfig(levels=(5, 4))
    found = diagnose(config.build(8), latents(1000))
    assert found.latents == 1000 and found.size == config.size
    for remedy in remedies_of(config):
        if remedy.setting is not None:
            assert hasattr(config, remedy.setting[0])


def test_bad_input_gets_a_sentence() -> None:
    quantizer = VQConfig(size=4).build(8)
    bad = latents(10)
    bad[2, 3] = torch.nan
    for rows, words in (
        (latents(10, 7), r"latents must be \(B, 8, h, w\) or \(N, 8\), got \(10, 7\)"),
        (latents(1), "two latents or more, all finite; got 1, of which 0"),
        (bad, "got 10, of which 1 are not finite"),
    ):
        with pytest.raises(ValueError, match=words):
            diagnose(quantizer, rows)
    with pytest.raises(ValueError, match=r"regvq\.analysis\.diagnose_levels"):
        diagnose(ResidualConfig(VQConfig(size=4)).build(8), latents(10))


def test_levels_are_judged_in_every_layout() -> None:
    torch.manual_seed(0)
    residual = ResidualConfig(VQConfig(size=8), levels=3).build(6)
    z = torch.randn(2, 6, 5, 4)
    expected = diagnose_levels(residual, z)
    assert len(expected) == 3 and expected[0].latents == 40
    rows = z.movedim(1, -1).reshape(-1, 6)
    assert diagnose_levels(residual, rows) == expected
    signal = SignalQuantizer(residual)
    assert diagnose_levels(signal, z.flatten(2)) == diagnose_levels(signal, rows) == expected
    assert diagnose_levels(SignalQuantizer(residual, "last"), rows[None]) == expected
    assert expected[0] == diagnose(residual.level_quantizer(0), z)
    with pytest.raises(ValueError, match="looks at residual or product codes; use diagnose"):
        diagnose_levels(VQConfig(size=8).build(6), z)
    with pytest.raises(ValueError, match="needs two latents or more, all finite; got 1"):
        diagnose_levels(residual, rows[:1])
    with pytest.raises(ValueError, match=r"latents must be \(B, 6, h, w\) or \(N, 6\)"):
        diagnose_levels(residual, rows.t())
