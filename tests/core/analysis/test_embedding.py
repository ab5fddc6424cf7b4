"""Maps of codes, and the classes under their tokens."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch

from core.analysis import embedding
from core.analysis.counts import count_classes
from core.data import Sample
from core.networks.autoencoder import NetworkConfig
from core.paths import ROOT
from core.quantizers import VQConfig
from core.tokenizer import Tokenizer, TokenizerConfig
from tests.helpers import fresh


@pytest.fixture(scope="module")
def clusters() -> np.ndarray:
    """Return three distant clusters of thirty codes in eight dimensions."""
    rng = np.random.default_rng(0)
    centers = np.repeat(10 * np.eye(3, 8), 30, axis=0)
    return (centers + rng.normal(size=(90, 8))).astype(np.float32)


def test_pca_in_three_dimensions(clusters: np.ndarray) -> None:
    found = embedding.pca_map(clusters, 3)
    centered = clusters.astype(np.float64) - clusters.mean(axis=0, dtype=np.float64)
    _, _, axes = np.linalg.svd(centered, full_matrices=False)
    expected = centered @ axes[:3].T
    np.testing.assert_allclose(np.abs(found), np.abs(expected), atol=1e-3)
    np.testing.assert_array_equal(found[:, :2], embedding.pca_map(torch.from_numpy(clusters)))
    assert embedding.pca_map(clusters[:, :2], 3)[:, 2].tolist() == [0] * 90


def test_neighbors_are_exact_and_start_with_the_code_itself(clusters: np.ndarray) -> None:
    codes = np.concatenate([clusters, clusters[:1]])  # a twin
    reported: list[float] = []
    ids, apart = embedding.neighbor_lists(codes, 6, reported.append, rows=40)
    assert ids[:, 0].tolist() == list(range(91)) and not apart[:, 0].any()
    assert ids[0, 1] == 90 and ids[90, 1] == 0
    wide = np.linalg.norm(codes[:, None].astype(float) - codes[None], axis=2)
    np.testing.assert_allclose(apart, np.sort(wide, axis=1)[:, :6], atol=2e-2)
    assert reported == [pytest.approx(40 / 91), pytest.approx(80 / 91), 1.0]
    with pytest.raises(ValueError, match="1 to 91 neighbors"):
        embedding.neighbor_lists(codes, 92)


@pytest.mark.parametrize("axes", [2, pytest.param(3, marks=pytest.mark.long)])
@pytest.mark.slow
def test_umap_keeps_clusters_apart_and_repeats_itself(clusters: np.ndarray, axes: int) -> None:
    reported: list[tuple[float, str]] = []
    found = embedding.umap_map(
        clusters, axes, 10, epochs=60, progress=lambda *news: reported.append(news)
    )
    assert found.shape == (90, axes) and found.dtype == np.float32 and np.isfinite(found).all()
    parts = found.reshape(3, 30, axes)
    within = max(np.linalg.norm(part - part.mean(0), axis=1).mean() for part in parts)
    apart = min(np.linalg.norm(a.mean(0) - b.mean(0)) for a, b in itertools.combinations(parts, 2))
    assert apart > 2 * within
    np.testing.assert_array_equal(found, embedding.umap_map(clusters, axes, 10, epochs=60))
    shares = [share for share, _ in reported]
    assert shares == sorted(shares) and shares[0] == 0 and shares[-1] == 1
    assert any(0.3 < share < 1 for share in shares)  # from the epochs of the layout


def test_umap_of_odd_codebooks() -> None:
    twins = np.zeros((20, 4), np.float32)  # a collapsed codebook
    assert np.isfinite(embedding.umap_map(twins, 2, epochs=5)).all()
    line = np.arange(12, dtype=np.float32)[:, None]
    assert np.isfinite(embedding.umap_map(line, 3, neighbors=50, epochs=5)).all()
    with pytest.raises(ValueError, match="8 codes or more"):
        embedding.umap_map(twins[:7])
    with pytest.raises(ValueError, match="2 neighbors"):
        embedding.umap_map(twins, 2, 1)


def test_umap_is_not_imported_before_it_is_used() -> None:
    code = "import sys, core.analysis.embedding; print({'umap', 'numba'} & set(sys.modules))"
    done = fresh.run(["-c", code], ROOT)
    assert done.stdout.strip() == "set()", done.stderr


def test_classes_are_counted_pixel_by_pixel() -> None:
    network = NetworkConfig(widths=(8, 8), encoder_blocks=1, decoder_blocks=1, latent_dim=4)
    tokenizer = Tokenizer(TokenizerConfig(network, VQConfig(size=9))).eval()
    samples = [
        Sample(torch.rand(3, 10, 13) * 2 - 1, segmentation=torch.randint(0, 4, (10, 13)))
        for _ in range(3)
    ]
    samples[0].segmentation[0, :5] = 255
    done: list[int] = []
    counts = count_classes(tokenizer, [*samples, Sample(samples[0].image)], 4, done.append)
    expected = np.zeros((9, 4), np.int64)
    for sample in samples:
        ids = tokenizer.encode(sample.image[None])[0]
        for row, column in itertools.product(range(10), range(13)):
            kind = int(sample.segmentation[row, column])
            if kind < 4:
                expected[ids[row // 4, column // 4], kind] += 1
    np.testing.assert_array_equal(counts, expected)
    assert counts.sum() == 3 * 130 - 5 and done == [1, 2, 3, 4]


def test_a_large_codebook_is_laid_out_by_a_sample_of_its_used_codes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(0)
    centers = 12 * np.eye(3, 6)
    kinds = np.arange(300) % 3
    codes = (centers[kinds] + rng.normal(size=(300, 6))).astype(np.float32)
    monkeypatch.setattr(embedding, "WHOLE", 300)
    monkeypatch.setattr(embedding, "SAMPLE", 120)
    laid_out: list[np.ndarray] = []
    whole = embedding._laid_out

    def remember(codes: np.ndarray, *rest: Any, **options: Any) -> Any:
        laid_out.append(codes)
        return whole(codes, *rest, **options)

    monkeypatch.setattr(embedding, "_laid_out", remember)
    uses = np.zeros(300, int)
    uses[:100] = 5
    reported: list[tuple[float, str]] = []
    places = embedding.umap_map(
        codes, 2, 10, epochs=60, uses=uses, progress=lambda *news: reported.append(news)
    )
    assert places.shape == (300, 2) and np.isfinite(places).all()
    (sample,) = laid_out
    assert len(sample) == 120
    rows = {row.tobytes() for row in sample}
    assert all(code.tobytes() in rows for code in codes[:100])  # every used code, then others
    # A code that was placed later lies among its own kind.
    middles = np.stack([places[kinds == kind].mean(axis=0) for kind in range(3)])
    nearest = np.linalg.norm(places[:, None] - middles, axis=2).argmin(axis=1)
    assert (nearest == kinds).mean() > 0.98
    shares = [share for share, _ in reported]
    assert shares == sorted(shares) and shares[0] == 0 and shares[-1] == 1
    assert "Placing the other codes" in {words for _, words in reported}
