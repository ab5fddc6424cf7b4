"""FID's Inception features and LPIPS on random weights, compared with their definitions."""

from __future__ import annotations

import hashlib
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch
import torchmetrics.functional.image.lpips as heads
from safetensors.torch import save_file
from torch import Tensor, nn
from torchmetrics.image.fid import FrechetInceptionDistance
from torchvision.models import alexnet, squeezenet1_1

from core.errors import FeatureError
from core.metrics import inception as inception_module
from core.metrics import lpips as lpips_module
from core.metrics.frechet import FrechetStatistics
from core.metrics.inception import load_inception
from core.metrics.lpips import load_lpips
from core.networks.pretrained import half_digest
from core.paths import ROOT
from tests.helpers import pretrained_weights

PERCEPTUAL = ROOT.parent / "shared" / "data" / "perceptual"


@pytest.fixture(scope="module")
def inception_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("weights") / "random.pth"


@pytest.fixture(scope="module")
def random_inception(inception_file: Path) -> pretrained_weights.RandomInception:
    return pretrained_weights.inception(inception_file)


@pytest.fixture
def images() -> Tensor:
    return torch.rand(2, 3, 40, 48, generator=torch.Generator().manual_seed(2)) * 2 - 1


def test_inception_features_equal_those_of_torch_fidelity(
    random_inception: pretrained_weights.RandomInception,
    inception_file: Path,
    images: Tensor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    inception = load_inception(inception_file)
    features = inception(images)
    assert features.shape == (2, 2048) and features.dtype == torch.float32
    pixels = ((images + 1) * 127.5).round().byte()
    (expected,) = random_inception(pixels)  # with its own resize
    # Random weights give tiny features, so that an absolute tolerance would accept zeros.
    assert torch.allclose(features, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))
    size = float(expected.abs().mean())
    assert float(expected.std()) > 0.1 * size
    smoothed = nn.functional.interpolate(
        pixels.float(), (299, 299), mode="bilinear", antialias=True
    )
    wrong = {
        "another resize": smoothed.round().byte(),
        "a wrong range": ((images + 1) * 63.75).round().byte(),
        "BGR": pixels.flip(1),
        "black": torch.zeros_like(pixels),
        "another picture": pixels.flip(0),
    }
    for name, other in wrong.items():
        (found,) = random_inception(other)
        assert float((found - features).abs().mean()) > 2e-3 * size, name
    # On random weights the distance is not FID and must not be called so.
    assert inception.key == "inception_fd" and "random.pth, not the published" in inception.label
    digest = hashlib.sha256(inception_file.read_bytes()).hexdigest()
    monkeypatch.setattr(inception_module, "_PREFIX", digest[:8])
    assert load_inception(inception_file).key == "fid"


class Pixels(nn.Module):
    """Twelve features of a picture, for torchmetrics and for this library."""

    num_features = 12

    def forward(self, images: Tensor) -> Tensor:
        grid = nn.functional.adaptive_avg_pool2d(images.double() / 255, (2, 2))
        return grid.flatten(1)


def test_frechet_distance_equals_torchmetrics_on_the_same_features() -> None:
    draw = torch.Generator().manual_seed(0)
    real = torch.randint(0, 256, (70, 3, 8, 8), generator=draw, dtype=torch.uint8)
    fake = torch.randint(30, 200, (50, 3, 8, 8), generator=draw, dtype=torch.uint8)
    theirs = FrechetInceptionDistance(feature=Pixels(), input_img_size=(3, 8, 8)).set_dtype(
        torch.float64
    )
    ours = FrechetStatistics(12), FrechetStatistics(12)
    for images, statistics, is_real in ((real, ours[0], True), (fake, ours[1], False)):
        for part in images.split(16):
            theirs.update(part, real=is_real)
            statistics.update(Pixels()(part))
    assert ours[0].distance(ours[1]) == pytest.approx(float(theirs.compute()), rel=1e-6)


def backbone(net: str) -> nn.Module:
    torch.manual_seed(3)
    return {"alex": alexnet, "squeeze": squeezenet1_1}[net](weights=None).features


@pytest.mark.parametrize(("net", "taps"), [("alex", (1, 4, 7, 9, 11)),
                                           ("squeeze", (1, 4, 7, 9, 10, 11, 12))])  # fmt: skip
def test_lpips_equals_its_definition(
    net: str, taps: tuple[int, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layers = backbone(net)
    weights = tmp_path / "random.safetensors"
    save_file({f"features.{key}": value for key, value in layers.state_dict().items()}, weights)
    lpips = load_lpips(net, weights)
    a, b = torch.rand(2, 2, 3, 64, 80, generator=torch.Generator().manual_seed(4)) * 2 - 1
    file = Path(heads.__file__).parent / "lpips_models" / f"{net}.pth"
    fitted = torch.load(file, map_location="cpu")
    mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)  # ImageNet's, on [0, 1]
    deviation = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    expected = np.zeros(2)
    x, y = (((image + 1) / 2 - mean) / deviation for image in (a, b))
    with torch.no_grad():
        for index, layer in enumerate(layers):
            x, y = layer(x), layer(y)
            if index in taps:
                weight = fitted[f"lin{taps.index(index)}.model.1.weight"].double()
                u, v = (z.double() / z.double().norm(dim=1, keepdim=True) for z in (x, y))
                expected += (weight * (u - v).square()).sum(1).mean((1, 2)).numpy()
    assert lpips(a, b).tolist() == pytest.approx(expected.tolist(), rel=2e-3)
    assert lpips(a, a).tolist() == [0, 0]
    assert lpips(a[:, :, :20, :20], b[:, :, :20, :20]).shape == (2,)  # below the minimum
    assert lpips.key == f"{net}_weighted_distance" and "not torchvision's" in lpips.label
    monkeypatch.setattr(lpips_module, "verified", lambda file, prefix: True)
    assert load_lpips(net, weights).key == f"lpips_{net}"
    with pytest.raises(ValueError, match="one shape"):
        lpips(a, b[:1])


def test_missing_weights_are_named_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def offline(*arguments: object, **settings: object) -> None:
        raise URLError("no network")

    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    for load, name, flag in (
        (load_inception, "weights-inception-2015-12-05-6726825d.pth", "--fid-weights FILE"),
        (lambda: load_lpips("vgg"), "vgg16-397923af.pth", "--lpips-weights FILE"),
    ):
        with pytest.raises(FeatureError) as mistake:
            load()
        said = str(mistake.value)
        assert name in said and str(tmp_path / "checkpoints") in said and flag in said
        assert "no network" in said and "http" not in said
    with pytest.raises(FeatureError, match="'resnet'"):
        load_lpips("resnet")


@pytest.mark.parametrize("load", [load_inception, lambda file: load_lpips("alex", file)])
def test_files_with_other_content_are_refused_by_name(load, tmp_path: Path) -> None:
    other, text, pickled = (tmp_path / name for name in ("other.pth", "text.pth", "pickled.pth"))
    torch.save({"features.0.weight": torch.zeros(2)}, other)
    text.write_text("no weights at all")
    torch.save(nn.Linear(1, 1), pickled)
    for file, said in (
        (other, "does not hold"),
        (text, "cannot be read"),
        (pickled, "cannot be read"),
        (tmp_path / "gone.pth", "does not exist"),
    ):
        with pytest.raises(FeatureError, match=f"{file.name}.*{said}"):
            load(file)


def test_converted_weights_are_recognized_by_their_values(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In any format and precision, with or without a classifier; not with one other weight."""
    state = {f"features.{key}": value for key, value in backbone("alex").state_dict().items()}
    digest = half_digest(state, "features.")
    monkeypatch.setitem(lpips_module._HALF_DIGESTS, "alex", digest[:16])
    half, whole, other = (tmp_path / name for name in ("half.safetensors", "all.pth", "other.npz"))
    save_file({key: value.half() for key, value in state.items()}, half)
    torch.save(state | {"classifier.1.weight": torch.zeros(2)}, whole)
    changed = {key: value.numpy().copy() for key, value in state.items()}
    changed["features.3.bias"][0] += 0.01
    np.savez(other, **changed)
    for file, key in (
        (half, "lpips_alex"),
        (whole, "lpips_alex"),
        (other, "alex_weighted_distance"),
    ):
        assert load_lpips("alex", file).key == key, file.name


@pytest.mark.skipif(not PERCEPTUAL.is_dir(), reason="the shared pretrained features are missing")
@pytest.mark.parametrize(("net", "name"), [("alex", "alexnet"), ("vgg", "vgg16")])
def test_torchvisions_weights_in_float16_give_lpips(net: str, name: str) -> None:
    lpips = load_lpips(net, PERCEPTUAL / f"{name}_features_fp16.safetensors")
    assert lpips.key == f"lpips_{net}" and "torchvision's" in lpips.label


def test_networks_move_to_another_device() -> None:
    """The device "meta" has no memory, so that every machine has it."""
    for made in (
        lpips_module.Lpips(nn.Linear(2, 2), "alex", False, "a file"),
        inception_module.Inception(nn.Linear(2, 2), False, "a file"),
    ):
        net = made._model if isinstance(made, lpips_module.Lpips) else made._net
        assert made.to("meta") is made
        assert net.weight.device.type == "meta"


class Looks(nn.Module):
    """A network that keeps what it is given and returns zeros."""

    def forward(self, *given: Tensor) -> Tensor:
        self.given = given
        return torch.zeros(len(given[0]))


def test_inception_gets_bytes_of_the_whole_range() -> None:
    net = Looks()
    values = torch.tensor([-1.5, -1.0, 0.0, 0.999, 1.0, 1.5]).view(1, 1, 1, 6).expand(1, 3, 2, 6)
    inception_module.Inception(net, False, "a file")(values)
    (pixels,) = net.given
    assert pixels.dtype == torch.uint8 and pixels.shape == (1, 3, 2, 6)
    assert pixels[0, 2, 1].tolist() == [0, 0, 128, 255, 255, 255]


@pytest.mark.parametrize(("height", "width"), [(32, 40), (20, 40), (32, 31), (5, 7)])
def test_small_pictures_are_padded_with_their_edges(height: int, width: int) -> None:
    net = Looks()
    a, b = torch.rand(2, 2, 3, height, width) * 2 - 1
    lpips_module.Lpips(net, "alex", False, "a file")(a, b)
    rows, columns = max(height, 32), max(width, 32)
    for given, image in zip(net.given, (a, b), strict=True):
        assert given.shape == (2, 3, rows, columns)
        for row in range(rows):
            wanted = image[:, :, min(row, height - 1)]
            assert torch.equal(given[:, :, row, :width], wanted)
            assert (given[:, :, row, width:] == wanted[..., -1:]).all()


def test_networks_of_measures_are_not_trained(
    random_inception: pretrained_weights.RandomInception, inception_file: Path, tmp_path: Path
) -> None:
    pretrained_weights.alex(tmp_path / "alex.safetensors")
    for net in (
        load_inception(inception_file)._net,
        load_lpips("alex", tmp_path / "alex.safetensors")._model,
    ):
        assert not any(weight.requires_grad for weight in net.parameters())
