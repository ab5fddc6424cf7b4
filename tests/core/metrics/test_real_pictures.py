"""Figures of real photographs compared with other libraries', and with those of wrong inputs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
from torchmetrics.functional.image import peak_signal_noise_ratio as torchmetrics_psnr

from core.images import to_tensor
from core.metrics.comparison import ReconstructionMetrics, as_shown
from core.metrics.inception import load_inception
from core.metrics.lpips import load_lpips
from core.metrics.psnr_ssim import psnr, ssim
from tests.helpers import pretrained_weights

NAMES = ("103029.jpg", "140006.jpg", "189096.jpg", "247012.jpg", "335088.jpg", "49024.jpg")
BACKBONES = {"alex": "alexnet_features_fp16", "vgg": "vgg16_features_fp16"}

# Of lpips 0.1.4 (version "0.1", its own heads) with the backbones of ../shared/data/perceptual:
# each photograph against its mosaic, and the first photograph against each of the others.
LPIPS_OF_MOSAICS = {
    "alex": (0.423863, 0.115556, 0.410633, 0.396444, 0.479993, 0.172868),
    "vgg": (0.431860, 0.240892, 0.517960, 0.492312, 0.531614, 0.332322),
}
LPIPS_OF_OTHERS = {
    "alex": (0.749241, 0.804104, 0.617226, 0.622922, 0.595992),
    "vgg": (0.592960, 0.922147, 0.646833, 0.687535, 0.531048),
}


@pytest.fixture(scope="module")
def photographs(shared_data: Path | None) -> list[np.ndarray]:
    """Return the upper left corners of photographs, uint8 (128, 160, 3)."""
    if shared_data is None:
        pytest.skip("needs the photographs of ../shared/data")
    folder = shared_data / "photos" / "test" / "bsds500"
    return [np.asarray(Image.open(folder / name).convert("RGB"))[:128, :160] for name in NAMES]


def mosaic(picture: np.ndarray) -> np.ndarray:
    """Return a picture of 4 x 4 blocks, each in the color of its first pixel."""
    return picture[::4, ::4].repeat(4, axis=0).repeat(4, axis=1)


def images_of(pictures: list[np.ndarray]) -> Tensor:
    return torch.stack([to_tensor(Image.fromarray(picture)) for picture in pictures])


Measured = Callable[[Tensor, Tensor], list[float]]


def mistakes(a: Tensor, b: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
    """Return wrong inputs of a distance between pictures, by name."""
    resized = torch.nn.functional.interpolate(b[..., :-8, :-8], b.shape[-2:], mode="bilinear")
    return {
        "zeros": (a, torch.zeros_like(b)),
        "another resize": (a, resized),
        "a wrong range": ((a + 1) / 2, (b + 1) / 2),
        "one in a wrong range": (a, (b + 1) / 2),
        "8-bit values": (a, (b + 1) * 127.5),
        "swapped pair": (a, b.roll(1, 0)),
        "transposed": (a.transpose(2, 3), b),
        "nothing changed": (a, a),
    }


def assert_mistakes_show(measure: Measured, a: Tensor, b: Tensor, tolerance: float) -> None:
    right = measure(a, b)
    for name, (x, y) in mistakes(a, b).items():
        if x.shape != y.shape:
            with pytest.raises(ValueError, match="shape"):
                measure(x, y)
            continue
        assert measure(x, y) != pytest.approx(right, rel=10 * tolerance), name


def test_psnr_and_ssim_equal_those_of_scikit_image(photographs: list[np.ndarray]) -> None:
    painted = [mosaic(picture) for picture in photographs]
    a, b = images_of(photographs), images_of(painted)
    pairs = list(zip(photographs, painted, strict=True))
    decibels = [peak_signal_noise_ratio(x, y, data_range=255) for x, y in pairs]
    similarities = [
        structural_similarity(
            x, y, data_range=255, channel_axis=-1, gaussian_weights=True, sigma=1.5,
            use_sample_covariance=False,
        )
        for x, y in pairs
    ]  # fmt: skip
    assert psnr(a, b).tolist() == pytest.approx(decibels, abs=1e-4)
    assert ssim(a, b).tolist() == pytest.approx(similarities, abs=1e-5)
    # a second library, which reduces each picture by itself over all but the first dimension
    theirs = torchmetrics_psnr(
        (b + 1) / 2, (a + 1) / 2, data_range=1.0, reduction="none", dim=(1, 2, 3)
    )
    assert psnr(a, b).tolist() == pytest.approx(theirs.tolist(), abs=1e-4)
    assert_mistakes_show(lambda x, y: psnr(x, y).tolist(), a, b, 1e-4)
    assert_mistakes_show(lambda x, y: ssim(x, y).tolist(), a, b, 1e-4)
    quality = ReconstructionMetrics()
    for part in (slice(0, 4), slice(4, 6)):
        quality.update(a[part], {"mosaic": as_shown(b[part]), "zeros": torch.zeros_like(a[part])})
    figures = quality.figures("mosaic")
    assert figures["psnr"] == pytest.approx(np.mean(decibels), abs=1e-4)
    assert figures["ssim"] == pytest.approx(np.mean(similarities), abs=1e-5)
    assert quality.figures("zeros")["psnr"] < figures["psnr"] - 3
    assert quality.figures("zeros")["ssim"] < figures["ssim"] - 0.1


@pytest.mark.parametrize("net", BACKBONES)
def test_lpips_equals_that_of_the_authors_library(
    net: str, photographs: list[np.ndarray], shared_data: Path
) -> None:
    lpips = load_lpips(net, shared_data / "perceptual" / f"{BACKBONES[net]}.safetensors")
    a, b = images_of(photographs), images_of([mosaic(picture) for picture in photographs])
    assert lpips(a, b).tolist() == pytest.approx(LPIPS_OF_MOSAICS[net], rel=2e-3)
    first = a[:1].expand(5, -1, -1, -1)
    assert lpips(first, a[1:]).tolist() == pytest.approx(LPIPS_OF_OTHERS[net], rel=2e-3)
    if net == "alex":  # VGG takes ten times as long and gets its inputs by the same code
        assert_mistakes_show(lambda x, y: lpips(x, y).tolist(), a[:3], b[:3], 2e-3)


def test_frechet_distance_equals_torch_fidelitys(
    photographs: list[np.ndarray], tmp_path: Path
) -> None:
    file = tmp_path / "random.pth"
    theirs, ours = pretrained_weights.inception(file), load_inception(file)
    painted = [mosaic(picture) for picture in photographs]
    a, b = images_of(photographs), images_of(painted)
    cut = torch.nn.functional.interpolate(b[..., :-8, :-8], b.shape[-2:], mode="bilinear")
    versions = {
        "painted": b,
        "zeros": torch.zeros_like(b),
        "another resize": cut,
        "a wrong range": (b + 1) / 2,
        "BGR": b.flip(1),
        "nothing changed": a,
    }
    # Of the 2048 features every 32nd: torch-fidelity's matrix root of all takes half a minute.
    quality = ReconstructionMetrics(sets={"fd": lambda images: ours(images)[:, ::32]})
    for part in (slice(0, 3), slice(3, 4)):  # batches of two sizes
        quality.update(a[:4][part], {name: one[:4][part] for name, one in versions.items()})
    found = {name: quality.figures(name)["fd"] for name in versions}

    def statistics(pictures: list[np.ndarray]) -> dict[str, np.ndarray]:
        pixels = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)
        (features,) = theirs(pixels)
        return fid_features_to_statistics(features[:, ::32])

    wanted = fid_statistics_to_metric(
        statistics(photographs[:4]), statistics(painted[:4]), verbose=False
    )["frechet_inception_distance"]
    assert found["painted"] == pytest.approx(wanted, rel=1e-3)
    for name in versions.keys() - {"painted"}:
        assert abs(found[name] / wanted - 1) > 0.02, name
    assert found["nothing changed"] < 1e-6 * wanted
