"""Codes by color, by class, and by a latent, against slow computations of our own."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from core.analysis.code_search import codes_by_color, codes_of_class, likely_codes, oklab
from core.quantizers import RegVQConfig, VQConfig
from tests.app.conftest import tiny


def test_oklab_of_known_colors() -> None:
    # Björn Ottosson's own table of sRGB's primaries; gray has no chroma.
    colors = np.array([[255, 255, 255], [0, 0, 0], [255, 0, 0], [0, 255, 0], [0, 0, 255]], np.uint8)
    known = [
        [1, 0, 0], [0, 0, 0], [0.62796, 0.22486, 0.12585], [0.86644, -0.23389, 0.17950],
        [0.45201, -0.03246, -0.31153],
    ]  # fmt: skip
    np.testing.assert_allclose(oklab(colors), known, atol=2e-4)
    gray = oklab(np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1))
    assert np.abs(gray[:, 1:]).max() < 1e-3 and (np.diff(gray[:, 0]) > 0).all()


def test_codes_by_color_are_the_nearest_ones() -> None:
    colors = np.random.default_rng(2).integers(0, 256, (40, 3)).astype(np.uint8)
    codes, distances = codes_by_color(colors, tuple(colors[7].tolist()), 5)
    assert codes[0] == 7 and distances[0] < 1e-9 and len(codes) == 5
    apart = [float(np.sqrt(((oklab(colors[k : k + 1]) - oklab(colors[7:8])) ** 2).sum()))
             for k in range(40)]  # fmt: skip
    assert codes.tolist() == sorted(range(40), key=lambda k: apart[k])[:5]
    np.testing.assert_allclose(distances, sorted(apart)[:5], rtol=1e-5, atol=1e-9)
    # Codes that are not painted are not searched.
    known = np.ones(40, bool)
    known[7] = False
    assert (
        codes_by_color(colors, tuple(colors[7].tolist()), 4, known)[0].tolist()
        == [code for code in sorted(range(40), key=lambda k: apart[k]) if code != 7][:4]
    )


def test_codes_of_a_class_are_those_that_cover_it() -> None:
    counts = np.array([[6, 0, 0], [2, 2, 0], [0, 8, 0], [2, 0, 0]])
    codes, of_class, of_code = codes_of_class(counts, 0, 2)
    assert codes.tolist() == [0, 1]  # of equal ones the smaller number
    np.testing.assert_allclose(of_class, [0.6, 0.2])
    np.testing.assert_allclose(of_code, [1.0, 0.5])
    assert codes_of_class(counts, 1)[0].tolist() == [2, 1]
    assert [len(each) for each in codes_of_class(counts, 2)] == [0, 0, 0]
    with pytest.raises(ValueError, match="classes are 0 to 2, got 3"):
        codes_of_class(counts, 3)


@pytest.mark.parametrize("quantizer", [RegVQConfig(size=60), VQConfig(size=60)])
def test_the_assigned_code_is_the_likeliest(quantizer: RegVQConfig | VQConfig) -> None:
    tokenizer = tiny(quantizer, seed=4)
    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1)) * 2 - 1
    latents, ids = tokenizer.latents(image), tokenizer.encode(image)
    codebook = tokenizer.quantizer.codebook()
    for row, column in ((0, 0), (3, 5), (7, 7)):
        latent = latents[0, :, row, column]
        codes, shares, distances = likely_codes(tokenizer, latent, 6)
        assert codes[0] == ids[0, row, column] and len(set(codes.tolist())) == 6
        assert (np.diff(shares) <= 0).all() and 0 < shares.sum() <= 1 + 1e-5
        wanted = [float((codebook[int(code)] - latent).norm()) for code in codes]
        np.testing.assert_allclose(distances, wanted, rtol=1e-4)
