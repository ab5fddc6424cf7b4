"""Encoder, decoder, pretrained features, and the tokenizer around them."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torchvision.models import alexnet, squeezenet1_1, vgg16

from core import Tokenizer, TokenizerConfig
from core.errors import FeatureError
from core.losses.perceptual import layer_distance
from core.metrics.lpips import NET_OF_FEATURES, fitted_heads, load_lpips
from core.networks.autoencoder import Decoder, Encoder, NetworkConfig
from core.networks.features import load_features
from core.quantizers import RegVQConfig, VQConfig

SMALL = NetworkConfig(widths=(8, 16), encoder_blocks=1, decoder_blocks=1, latent_dim=4)


def small(quantizer=None) -> Tokenizer:
    torch.manual_seed(0)
    return Tokenizer(TokenizerConfig(SMALL, quantizer or RegVQConfig(size=16))).eval()


@pytest.mark.parametrize(
    ("config", "f"),
    [
        (NetworkConfig(), 8),
        (SMALL, 4),
        (NetworkConfig(widths=(8, 8, 8), stem=4, attention=True), 16),
        (NetworkConfig(widths=(10,), stem=2, latent_dim=3), 2),
    ],
)
def test_shapes(config, f):
    assert config.downsampling == f
    z = Encoder(config)(torch.randn(2, 3, 2 * f, 3 * f))
    assert z.shape == (2, config.latent_dim, 2, 3)
    assert Decoder(config)(z).shape == (2, 3, 2 * f, 3 * f)


@pytest.mark.parametrize("settings", [{"widths": ()}, {"stem": 0}, {"latent_dim": 0}])
def test_impossible_networks_are_refused(settings):
    with pytest.raises(ValueError, match="network"):
        NetworkConfig(**settings)


@pytest.mark.parametrize("size", [(1, 1), (4, 4), (5, 9), (17, 40)])
def test_images_of_any_size_keep_their_size(size):
    tokenizer = small()
    images = torch.rand(2, 3, *size) * 2 - 1
    ids = tokenizer.encode(images)
    assert ids.shape == (2, -(-size[0] // 4), -(-size[1] // 4))
    reconstruction = tokenizer.reconstruct(images)
    assert reconstruction.shape == images.shape
    assert reconstruction.abs().max() <= 1
    assert torch.equal(reconstruction, tokenizer.decode(ids)[..., : size[0], : size[1]])


def test_padding_repeats_the_edge():
    tokenizer = small()
    image = torch.rand(1, 3, 6, 8) * 2 - 1
    padded = torch.cat([image, image[..., -1:, :], image[..., -1:, :]], dim=2)
    assert torch.equal(tokenizer.encode(image), tokenizer.encode(padded))


def test_mask_ratio_is_repeatable_and_grows():
    tokenizer = small(RegVQConfig(size=64))
    image = torch.rand(1, 3, 64, 64) * 2 - 1
    exact = tokenizer.encode(image)

    def changed(ratio: float, seed: int = 0) -> int:
        out = tokenizer.quantize(image, ratio, torch.Generator().manual_seed(seed))
        return int((out.ids != exact).sum())

    assert changed(0.0) == 0
    assert 0 < changed(0.3) < changed(1.0)
    assert torch.equal(
        *(tokenizer.reconstruct(image, 0.5, torch.Generator().manual_seed(4)) for _ in range(2))
    )
    with pytest.raises(ValueError, match="mask_ratio"):
        tokenizer.reconstruct(image, 1.2)


@pytest.mark.parametrize("quantizer", [RegVQConfig(size=16), VQConfig(size=16)])
def test_log_posterior_peaks_at_the_ids(quantizer):
    tokenizer = small(quantizer)
    image = torch.rand(1, 3, 12, 16) * 2 - 1
    log_posterior = tokenizer.log_posterior(image)
    assert log_posterior.shape == (1, 3, 4, 16)
    assert torch.equal(log_posterior.argmax(-1), tokenizer.encode(image))


def test_wrong_ids_and_shapes_are_named():
    tokenizer = small()
    with pytest.raises(ValueError, match="from 0 to 15"):
        tokenizer.decode(torch.full((1, 2, 2), 16))
    with pytest.raises(ValueError, match="from 0 to 15"):
        tokenizer.decode(torch.full((1, 2, 2), -1))
    with pytest.raises(ValueError, match="B, h, w"):
        tokenizer.decode(torch.zeros(2, 2, dtype=torch.int64))
    with pytest.raises(ValueError, match="B, 3, H, W"):
        tokenizer.encode(torch.zeros(3, 8, 8))


def keras_like(tmp_path, seed: int = 0):
    """Write random SqueezeNet weights in the two conventions of weight files."""
    torch.manual_seed(seed)
    state = squeezenet1_1(weights=None).features.state_dict()
    npz, safe = tmp_path / "weights.npz", tmp_path / "weights.safetensors"
    np.savez(npz, **{f"features.{k}": v.numpy() for k, v in state.items()})
    save_file({f"features.{k}": v.contiguous() for k, v in state.items()}, safe)
    return state, npz, safe


def test_squeezenet_features_from_files(tmp_path):
    state, npz, safe = keras_like(tmp_path)
    images = torch.rand(2, 3, 64, 64) * 2 - 1
    reference = squeezenet1_1(weights=None).features
    reference.load_state_dict(state)
    pixels = (images + 1) / 2
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    wanted = reference((pixels - mean.view(3, 1, 1)) / std.view(3, 1, 1))
    features = load_features("squeezenet", safe)
    torch.testing.assert_close(features(images)[-1], wanted, rtol=1e-3, atol=1e-4)
    assert features.label == "SqueezeNet 1.1 (weights file weights.safetensors)"
    assert [x.shape[1] for x in features(images)] == [64, 128, 256, 384, 384, 512, 512]

    # the .npz convention: BGR, 0 to 255, minus the channel means, no incomplete windows
    shifted = pixels.flip(1) * 255 - torch.tensor([103.939, 116.779, 123.68]).view(3, 1, 1)
    for layer in reference:
        if isinstance(layer, torch.nn.MaxPool2d):
            layer.ceil_mode = False
    torch.testing.assert_close(
        load_features("squeezenet", npz)(images)[-1], reference(shifted), rtol=1e-3, atol=1e-2
    )


def test_features_stay_in_eval_mode_without_gradients(tmp_path):
    features = load_features("squeezenet", keras_like(tmp_path)[2]).train()
    assert not features.training
    assert not any(p.requires_grad for p in features.parameters())
    images = (torch.rand(1, 3, 40, 40) * 2 - 1).requires_grad_()
    sum(x.sum() for x in features(images)).backward()
    assert images.grad.abs().sum() > 0
    assert all(torch.isfinite(x).all() for x in features(torch.zeros(1, 3, 3, 5)))  # a tiny picture


def test_weights_that_do_not_fit_are_named(tmp_path):
    broken = tmp_path / "broken.npz"
    broken.write_bytes(b"not a zip")
    _, npz, _ = keras_like(tmp_path)
    for file, words in (
        (tmp_path / "none.npz", "does not exist"),
        (broken, "cannot be read"),
    ):
        with pytest.raises(FeatureError, match=words):
            load_features("squeezenet", file)
    with pytest.raises(FeatureError, match=r"lacks 10\.bias: it does not hold VGG-19"):
        load_features("vgg19", npz)
    other = tmp_path / "other.safetensors"  # the same names, another network
    state = alexnet(weights=None).features.state_dict()
    save_file(state | {"3.weight": state["3.weight"][:7].contiguous()}, other)
    said = "weights file other.safetensors does not hold AlexNet: 3.weight is 7 x 64 x 5 x 5 there"
    with pytest.raises(FeatureError, match=f"^{said}, not 192 x 64 x 5 x 5.$"):
        load_features("alexnet", other)
    with pytest.raises(FeatureError, match=r"features.3.weight is 7 x 64 x 5 x 5 there"):
        save_file({f"features.{key}": value for key, value in load_file(other).items()}, other)
        load_lpips("alex", other)
    with pytest.raises(FeatureError, match="available: squeezenet, alexnet, vgg16, vgg19, none"):
        load_features("resnet", npz)
    assert load_features("none") is None


@pytest.mark.parametrize("name", ["alexnet", "vgg16"])
def test_lpips_features_and_heads_give_lpips_and_a_gradient(name, tmp_path):
    torch.manual_seed(1)
    layers = {"alexnet": alexnet, "vgg16": vgg16}[name](weights=None).features
    file = tmp_path / "weights.safetensors"
    # in float16, as such files are shared
    save_file({f"features.{k}": v.half() for k, v in layers.state_dict().items()}, file)
    features, net = load_features(name, file), NET_OF_FEATURES[name]
    real, fake = torch.rand(2, 2, 3, 64, 48, generator=torch.Generator().manual_seed(2)) * 2 - 1
    fake.requires_grad_()
    with torch.no_grad():
        reference = features(real)
    distance = layer_distance(reference, features(fake), fitted_heads(net))
    torch.testing.assert_close(
        distance, load_lpips(net, file)(real, fake.detach()), rtol=1e-3, atol=1e-6
    )
    distance.sum().backward()
    assert fake.grad.abs().sum() > 0 and torch.isfinite(fake.grad).all()
    assert float(layer_distance(reference, reference, fitted_heads(net)).sum()) == 0


def test_decoder_widths_and_the_last_convolution():
    config = NetworkConfig(
        widths=(8, 16), decoder_widths=(4, 24), latent_dim=4, last_width=6, norm="position"
    )
    decoder = Decoder(config)
    assert decoder.layers[0].weight.shape == (24, 4, 3, 3)
    assert decoder.to_pixels.weight.shape == (6 * 4, 4, 3, 3)
    assert decoder.last_weight.shape == (3, 6, 3, 3)
    assert decoder(torch.randn(1, 4, 3, 2)).shape == (1, 3, 12, 8)
    for words in ("decoder [4, 24]", "6 channels behind the pixel shuffle", "norm per position"):
        assert words in config.summary
    # Without these settings there are no further weights, so that older bundles fit.
    assert not any(name.startswith("last") for name in Decoder(SMALL).state_dict())
    described = TokenizerConfig(config, RegVQConfig(size=16)).to_dict()
    assert TokenizerConfig.from_dict(json.loads(json.dumps(described))).network == config


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"decoder_widths": (8,)}, "decoder_widths"),
        ({"decoder_widths": (8, 0)}, "decoder_widths"),
        ({"last_width": -1}, "last_width"),
        ({"norm": "batch"}, "norm"),
    ],
)
def test_impossible_decoders_are_refused(settings, word):
    with pytest.raises(ValueError, match=f"network.{word}"):
        NetworkConfig(widths=(8, 16), **settings)


@pytest.mark.parametrize("norm", ["group", "position"])
def test_position_norm_sees_no_other_position(norm):
    """With it a latent depends on the pixels that convolutions reach, and on no others."""
    torch.manual_seed(0)
    encoder = Encoder(NetworkConfig(widths=(8,), latent_dim=4, norm=norm))
    images = torch.rand(1, 3, 32, 32) * 2 - 1
    other = images.clone()
    other[..., 24:, 24:] *= -1
    corner, again = (encoder(x)[..., :4, :4] for x in (images, other))
    assert torch.equal(corner, again) == (norm == "position")


def test_pictures_are_encoded_channels_last_to_the_same_ids():
    torch.manual_seed(0)
    network = NetworkConfig(widths=(16, 32), attention=True)
    tokenizer = Tokenizer(TokenizerConfig(network, VQConfig(size=64))).eval()
    images = torch.rand(2, 3, 40, 24) * 2 - 1
    with torch.no_grad():
        plain = tokenizer.encoder.layers(images)
    seen = []
    tokenizer.encoder.layers.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    ids = tokenizer.encode(images)
    assert seen[0].is_contiguous(memory_format=torch.channels_last)
    assert not seen[0].is_contiguous() and images.is_contiguous()
    torch.testing.assert_close(tokenizer.latents(images), plain, rtol=1e-4, atol=1e-5)
    assert torch.equal(ids, tokenizer.quantizer.assign(plain))
