"""The figures of a tokenizer, computed again from its reconstructions."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from core.batching import in_batches
from core.errors import DataError
from core.images import to_pixels
from core.metrics import reconstruction
from core.metrics.comparison import ReconstructionMetrics, as_shown
from core.metrics.image_codecs import smallest
from core.metrics.reconstruction import TOKENS, evaluate_tokenizer
from core.networks.autoencoder import NetworkConfig
from core.quantizers import VQConfig
from core.tokenizer import Tokenizer, TokenizerConfig


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    torch.manual_seed(0)
    network = NetworkConfig(widths=(8, 8), encoder_blocks=1, decoder_blocks=1, latent_dim=4)
    return Tokenizer(TokenizerConfig(network, VQConfig(size=20))).eval()


@pytest.fixture(scope="module")
def pictures() -> list[Tensor]:
    """Return smooth pictures of two sizes; 4 divides neither side of the second."""
    generator = torch.Generator().manual_seed(1)
    coarse = [torch.rand(1, 3, 3, 4, generator=generator) for _ in range(4)]
    sizes = [(24, 32), (18, 30), (24, 32), (24, 32)]
    return [
        as_shown(torch.nn.functional.interpolate(small, size, mode="bicubic") * 1.6 - 0.8)[0]
        for small, size in zip(coarse, sizes, strict=True)
    ]


class TwoMaps:
    """Features that stand for pretrained ones."""

    name = "standin"
    label = "Stand-in (no weights)"

    def __call__(self, images: Tensor) -> list[Tensor]:
        coarse = torch.nn.functional.avg_pool2d(images, 4)
        return [images + 1.1, torch.cat([coarse, coarse.square()], dim=1)]


def decoded_again(tokenizer: Tokenizer, picture: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Return a picture's ids and its reconstruction as 8-bit pixels, by `reconstruct`."""
    ids = tokenizer.encode(picture[None])[0].numpy()
    return ids, to_pixels(tokenizer.reconstruct(picture[None]))[0]


def test_figures_equal_those_of_single_pictures(
    tokenizer: Tokenizer, pictures: list[Tensor]
) -> None:
    figures = evaluate_tokenizer(tokenizer, iter(pictures))
    ids, psnrs = [], []
    for picture in pictures:
        codes, pixels = decoded_again(tokenizer, picture)
        ids.append(codes.ravel())
        error = (pixels.astype(float) - to_pixels(picture)) / 255
        psnrs.append(10 * math.log10(1 / np.mean(error**2)))
    counts = np.bincount(np.concatenate(ids), minlength=20)
    share = counts[counts > 0] / counts.sum()
    assert figures["images"] == 4
    assert figures["tokens"] == 3 * 6 * 8 + 5 * 8 == counts.sum()
    assert figures["psnr"] == pytest.approx(np.mean(psnrs), abs=1e-4)
    assert figures["codebook_size"] == 20
    assert figures["codes_used"] == len(share)
    assert figures["dead_codes"] == 20 - len(share)
    assert figures["utilization"] == pytest.approx(len(share) / 20)
    assert figures["perplexity"] == pytest.approx(math.exp(-np.sum(share * np.log(share))))
    assert figures["bits_per_token"] == pytest.approx(math.log2(20))
    pixels = 3 * 24 * 32 + 18 * 30
    assert figures["bits_per_pixel"] == pytest.approx(counts.sum() * math.log2(20) / pixels)
    # whole bytes: 48 tokens take 207.5 bits = 26 bytes, 40 take 172.9 = 22
    assert figures["bytes"] == pytest.approx((3 * 26 + 22) / 4)
    assert "codecs" not in figures and "features" not in figures


def test_batches_change_nothing(tokenizer: Tokenizer, pictures: list[Tensor]) -> None:
    features = TwoMaps()
    done: list[int] = []
    one = evaluate_tokenizer(tokenizer, pictures, features=features)
    many = evaluate_tokenizer(tokenizer, pictures, features=features, batch=8, progress=done.append)
    assert done == [1, 2, 4]
    assert many.pop("features") == one.pop("features")
    assert many == pytest.approx(one, rel=1e-4)


def test_distances_are_named_after_the_features(
    tokenizer: Tokenizer, pictures: list[Tensor]
) -> None:
    figures = evaluate_tokenizer(tokenizer, pictures, features=TwoMaps())
    assert figures["features"] == "Stand-in (no weights)"
    original, painted = [], []
    for picture in pictures:
        shown = torch.from_numpy(decoded_again(tokenizer, picture)[1]).permute(2, 0, 1)
        original.append(TwoMaps()(picture[None])[1].mean(dim=(2, 3))[0].double().numpy())
        painted.append(TwoMaps()(shown[None] / 127.5 - 1)[1].mean(dim=(2, 3))[0].double().numpy())
    x, y = (np.array(rows) for rows in (original, painted))
    # Four samples in six dimensions: by singular values (see test_frechet).
    cx, cy = ((rows - rows.mean(axis=0)) / math.sqrt(3) for rows in (x, y))
    root = np.linalg.svd(cx @ cy.T, compute_uv=False).sum()
    apart = np.square(x.mean(axis=0) - y.mean(axis=0)).sum()
    expected = apart + np.square(cx).sum() + np.square(cy).sum() - 2 * root
    assert figures["standin_fd"] == pytest.approx(expected, rel=1e-3)
    assert figures["standin_distance"] > 0.01


def test_one_picture_has_no_frechet_distance(tokenizer: Tokenizer, pictures: list[Tensor]) -> None:
    figures = evaluate_tokenizer(tokenizer, pictures[:1], features=TwoMaps())
    assert "standin_distance" in figures and "standin_fd" not in figures


def test_codecs_are_measured_on_the_same_pictures_with_their_bytes(
    tokenizer: Tokenizer, pictures: list[Tensor]
) -> None:
    codecs = evaluate_tokenizer(tokenizer, pictures, codecs=True)["codecs"]
    sizes, psnrs = [], []
    for picture in pictures:
        pixels = to_pixels(picture)
        files = []
        for progressive in (False, True):
            buffer = io.BytesIO()
            Image.fromarray(pixels).save(
                buffer, "JPEG", quality=1, optimize=True, subsampling=2, progressive=progressive
            )
            files.append(buffer.getvalue())
        best = min(files, key=len)
        error = (np.asarray(Image.open(io.BytesIO(best)), float) - pixels) / 255
        sizes.append(len(best))
        psnrs.append(10 * math.log10(1 / np.mean(error**2)))
    assert codecs["jpeg_smallest"]["bytes"] == pytest.approx(np.mean(sizes))
    assert codecs["jpeg_smallest"]["psnr"] == pytest.approx(np.mean(psnrs), abs=1e-4)
    # A JPEG header does not fit into 26 bytes: every codec exceeds the budget at this size.
    assert {row["within_budget"] for row in codecs.values()} == {0}
    assert codecs["jpeg"]["bytes"] == codecs["jpeg_smallest"]["bytes"]
    assert {"jpeg", "webp"} <= set(codecs)
    json.dumps(codecs)


def test_no_picture_is_an_error(tokenizer: Tokenizer) -> None:
    with pytest.raises(DataError, match="no picture"):
        evaluate_tokenizer(tokenizer, [])


def test_as_shown_equals_the_content_of_a_file() -> None:
    images = torch.tensor([-3.0, -1.0, -0.5, 0.001, 0.7, 2.0, float("nan")]).view(1, 1, 1, 7)
    images = images.expand(1, 3, 1, 7)
    expected = torch.from_numpy(to_pixels(images)).permute(0, 3, 1, 2) / 127.5 - 1
    assert torch.allclose(as_shown(images), expected, atol=1e-6)


def test_quality_without_features_measures_pictures_only(pictures: list[Tensor]) -> None:
    quality = ReconstructionMetrics()
    quality.update(pictures[0][None], {"worse": -pictures[0][None]})
    assert set(quality.figures("worse")) == {"psnr", "ssim"}
    with pytest.raises(KeyError):
        quality.figures("never given")


def test_batches_hold_one_size_each_in_order() -> None:
    sizes = [2, 2, 2, 3, 2, 2]
    pictures = [torch.full((3, size, 2), float(i)) for i, size in enumerate(sizes)]
    taken: list[int] = []

    def reading(source: list[Tensor]) -> Iterator[Tensor]:
        for i, picture in enumerate(source):
            taken.append(i)
            yield picture

    batches = in_batches(reading(pictures), 2)
    first = next(batches)
    assert first.shape == (2, 3, 2, 2) and len(taken) == 3  # it reads no further than needed
    rest = list(batches)
    assert [len(batch) for batch in [first, *rest]] == [2, 1, 1, 2]
    assert torch.cat([batch[:, 0, 0, 0] for batch in [first, *rest]]).tolist() == [0, 1, 2, 3, 4, 5]
    with pytest.raises(ValueError, match="1 picture"):
        next(in_batches(pictures, 0))


def test_originals_come_first_and_the_deepest_layer_is_compared(pictures: list[Tensor]) -> None:
    """A distance that is not symmetric, three layers, and two pictures."""
    originals = torch.stack([pictures[0], pictures[2]])
    worse = as_shown(0.5 * originals - 0.2)

    def layers(images: Tensor) -> list[Tensor]:
        return [images, images.square(), images[:, :2] ** 3]

    quality = ReconstructionMetrics(
        layers, "three", pairs={"gap": lambda a, b: (a - 2 * b).mean((1, 2, 3))}
    )
    quality.update(originals, {"worse": worse})
    figures = quality.figures("worse")
    assert figures["gap"] == pytest.approx(float((originals - 2 * worse).mean()), rel=1e-5)
    deep = [layers(images)[2].mean((2, 3)).double() for images in (originals, worse)]
    means = (deep[0].mean(0) - deep[1].mean(0)).square().sum()
    # of two samples, each covariance is half an outer product of their difference
    a, b = ((rows[0] - rows[1]) / 2**0.5 for rows in deep)
    wanted = float(means + a @ a + b @ b - 2 * (a @ b).abs())
    assert figures["three_fd"] == pytest.approx(wanted, rel=1e-4)
    assert not as_shown(originals.clone().requires_grad_()).requires_grad


def test_uses_of_codes_are_added_to_those_before(
    tokenizer: Tokenizer, pictures: list[Tensor]
) -> None:
    counts = torch.full((20,), 5, dtype=torch.int64)
    evaluate_tokenizer(tokenizer, pictures, code_counts=counts)
    ids = torch.cat([tokenizer.encode(picture[None]).flatten() for picture in pictures])
    assert torch.equal(counts, 5 + torch.bincount(ids, minlength=20))


def test_the_number_of_exact_copies_is_told_from_the_first_on(pictures: list[Tensor]) -> None:
    images = torch.stack([pictures[0][:, :8, :8], pictures[1][:, :8, :8]])
    quality = ReconstructionMetrics()
    quality.update(images, {TOKENS: torch.stack([images[0], -images[1]])})
    assert quality.figures(TOKENS)["exact_copies"] == 1


class _Zeros:
    key, label = "nothing", "a distance of 0"

    def __call__(self, a: Tensor, b: Tensor) -> Tensor:
        return torch.zeros(len(a))


def test_the_features_of_a_distance_alone_are_told(
    tokenizer: Tokenizer, pictures: list[Tensor]
) -> None:
    figures = evaluate_tokenizer(tokenizer, pictures, lpips=_Zeros())  # type: ignore[arg-type]
    assert figures["nothing"] == 0 and figures["features_of"] == {"nothing": "a distance of 0"}


def test_a_file_of_as_many_bytes_as_the_tokens_is_within_the_budget(
    tokenizer: Tokenizer, pictures: list[Tensor], monkeypatch
) -> None:
    def coded(picture: object, codec: str, budget: int) -> object:
        exact = smallest(picture, "jpeg")
        return replace(exact, bytes=budget + (codec == "webp"))

    monkeypatch.setattr(reconstruction, "within", coded)
    codecs = evaluate_tokenizer(tokenizer, pictures[:1], codecs=True)["codecs"]
    assert (codecs["jpeg"]["within_budget"], codecs["webp"]["within_budget"]) == (1, 0)
