"""VQ-GAN's network: its sizes, the config's checks, and the details that families differ in."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from core.networks.vqgan import VQGANConfig
from core.networks.vqgan_layers import AdaptiveNorm, Downsample, GroupNorm, ResidualBlock

SMALL = VQGANConfig(
    widths=(32, 32, 64), blocks=1, decoder_blocks=2, attention_levels=(2,), z_channels=16,
    latent_dim=8,
)  # fmt: skip


def test_taming_f16_has_its_published_size() -> None:
    with torch.device("meta"):
        encoder, decoder = VQGANConfig().build_encoder(), VQGANConfig().build_decoder()
    # taming's Encoder(**ddconfig) has 29,298,176 parameters, quant_conv 65,792; its Decoder
    # 42,449,795, post_quant_conv 65,792.
    assert sum(p.numel() for p in encoder.parameters()) == 29_298_176 + 65_792
    assert sum(p.numel() for p in decoder.parameters()) == 42_449_795 + 65_792
    assert VQGANConfig().downsampling == 16


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"downsample": "symmetric", "upsample": "depth_to_space", "decoder_norm": "adaptive"},
        {"downsample": "average", "skip": "output", "bias": False, "out_kernel": 1},
        {"decoder_norm": "spatial", "attention_levels": (0, 1, 2)},
        {"middle_blocks": 0, "middle_attention": False, "quant_conv": False, "z_channels": 8},
    ],
)
def test_shapes_and_gradients(changes: dict) -> None:
    config = replace(SMALL, **changes)
    encoder, decoder = config.build_encoder(), config.build_decoder()
    images = torch.rand(2, 3, 12, 20)
    z = encoder(images)
    assert z.shape == (2, 8, 3, 5)
    painted = decoder(z)
    assert painted.shape == images.shape
    painted.square().sum().backward()
    for part in (encoder, decoder):
        assert all(p.grad is not None and p.grad.isfinite().all() for p in part.parameters())
    assert decoder.last_weight is decoder.conv_out.weight


def test_asymmetric_padding_is_on_the_right_and_below() -> None:
    x = torch.rand(1, 4, 6, 6)
    down = Downsample("asymmetric", 4)
    want = F.conv2d(F.pad(x, (0, 1, 0, 1)), down.conv.weight, down.conv.bias, stride=2)
    assert torch.equal(down(x), want)
    assert not torch.equal(want, F.conv2d(x, down.conv.weight, down.conv.bias, stride=2, padding=1))
    assert torch.equal(Downsample("average", 4)(x), F.avg_pool2d(x, 2))


def test_maskgits_skip_starts_at_the_output() -> None:
    block = ResidualBlock(lambda width: GroupNorm(4, width), 8, 16, skip="output")
    x = torch.rand(1, 8, 5, 5)
    h = block.conv1(F.silu(block.norm1(x)))
    h = block.conv2(F.silu(block.norm2(h)))
    assert torch.equal(block(x), block.skip(h) + h)


def test_adaptive_norm_has_the_unbiased_variance_and_no_nan_of_one_token() -> None:
    norm = AdaptiveNorm(4, 8, 3)
    x, codes = torch.rand(2, 8, 4, 4), torch.rand(2, 3, 2, 2)
    deviation = (codes.flatten(2).var(-1) + 1e-6).sqrt()
    scale, shift = norm.scale(deviation), norm.shift(codes.mean((2, 3)))
    want = F.group_norm(x, 4, eps=1e-6) * scale[..., None, None] + shift[..., None, None]
    assert torch.allclose(norm(x, codes), want, atol=1e-6)
    assert norm(x, codes[..., :1, :1]).isfinite().all()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"widths": ()}, "network.widths"),
        ({"widths": (48,)}, "multiples of 32, got 48"),
        ({"blocks": 0}, "network.blocks"),
        ({"attention_levels": (3,)}, "from 0 to 2"),
        ({"middle_blocks": 0}, "needs a middle block"),
        ({"quant_conv": False}, "must be network.latent_dim 8"),
        ({"upsample": "linear"}, "network.upsample must be one of"),
    ],
)
def test_impossible_settings_are_named(changes: dict, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        replace(SMALL, **changes)
