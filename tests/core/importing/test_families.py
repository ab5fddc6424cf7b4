"""Each family's checkpoints read back: the same latents, ids and pictures as by its own code."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor

from core.importing import convert
from core.importing.conversion import Imported
from core.quantizers import GumbelConfig, IBQConfig, LFQConfig, SimVQConfig, VQConfig
from core.tokenizer import Tokenizer
from tests.helpers import published_doubles as doubles
from tests.helpers.peers import run_beside_peers

# What of the published formats each family has: its file, config, quantizer, and what is noted.
TORCH = {
    "taming": ("last.ckpt", "model.yaml", VQConfig, "taming"),
    "taming-legacy": ("last.ckpt", None, VQConfig, "taming"),
    "taming-half": ("half.pth", None, VQConfig, "taming"),
    "latent-diffusion": ("model.ckpt", None, VQConfig, "taming"),
    "taming-gumbel": ("last.ckpt", None, GumbelConfig, "taming-gumbel"),
    "ibq": ("imagenet256.ckpt", "ibq.yaml", IBQConfig, "ibq"),
    "open-magvit2": ("magvit2.ckpt", "magvit2.yaml", LFQConfig, "open-magvit2"),
    "simvq": ("simvq.ckpt", None, SimVQConfig, "simvq"),
}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("peers")
    run_beside_peers("write_torch_peers.py", folder)
    return folder


def equal(
    tokenizer: Tokenizer, images: Tensor, latents: Tensor, ids: Tensor, painted: Tensor
) -> None:
    """The tokenizer computes these, within 1e-5 and id for id."""
    assert (tokenizer.latents(images) - latents).abs().max() <= 1e-5 * max(1, latents.abs().max())
    assert torch.equal(tokenizer.encode(images), ids)
    assert (tokenizer.decode(ids) - painted).abs().max() <= 1e-5
    assert torch.equal(tokenizer.reconstruct(images), tokenizer.decode(ids))


def equal_at_odd_sizes(tokenizer: Tokenizer, images: Tensor) -> None:
    """A side that f does not divide is padded as everywhere in this project."""
    height, width = images.shape[-2:]
    odd = images[..., : height - 1, : width - 2]
    padded = F.pad(odd, (0, 2, 0, 1), mode="replicate")
    assert torch.equal(tokenizer.encode(odd), tokenizer.encode(padded))
    assert tokenizer.reconstruct(odd).shape == odd.shape


@pytest.mark.parametrize("name", TORCH)
@pytest.mark.slow
def test_a_torch_peer_is_read_back(written: Path, name: str) -> None:
    file, config, quantizer, family = TORCH[name]
    folder = written / name
    found = convert(folder / file, None if config is None else folder / config)
    assert found.family.name == family and type(found.tokenizer.config.quantizer) is quantizer
    assert found.half == (name == "taming-half")
    assert any("EMA" in note for note in found.notes) == (name == "ibq")
    assert found.tokenizer.config.value_range == "signed"
    reference = torch.load(folder / "reference.pt", weights_only=True)
    used = torch.cat([ids.flatten() for ids in reference["ids"]]).unique()
    assert len(used) >= 8  # else equal ids would say little
    for parts in zip(*reference.values(), strict=True):
        equal(found.tokenizer, *parts)
    equal_at_odd_sizes(found.tokenizer, reference["images"][0])


def test_ibq_without_its_yaml_asks_for_the_quantizer(written: Path) -> None:
    file = written / "ibq" / "imagenet256.ckpt"
    with pytest.raises(ValueError, match=r"may be IBQ's or taming's.*--quantizer ibq or vq"):
        convert(file)
    ids = torch.load(written / "ibq" / "reference.pt", weights_only=True)["ids"][0]
    images = torch.load(written / "ibq" / "reference.pt", weights_only=True)["images"][0]
    assert torch.equal(convert(file, quantizer="ibq").tokenizer.encode(images), ids)
    plain = convert(file, quantizer="ibq", ema=False)
    assert plain.notes == () and not torch.equal(plain.tokenizer.encode(images), ids)


@pytest.mark.slow
def test_maskgit_is_read_back(tmp_path: Path) -> None:
    run_beside_peers("write_jax_peer.py", tmp_path)
    weights = np.load(tmp_path / "weights.npz")
    state = {name: torch.from_numpy(weights[name]) for name in weights.files}
    torch.save(state, tmp_path / "maskgit-vqgan.bin")
    found = convert(tmp_path / "maskgit-vqgan.bin")
    assert found.family.name == "maskgit" and found.tokenizer.config.value_range == "unit"
    reference = np.load(tmp_path / "reference.npz")

    def nchw(name: str) -> Tensor:
        return torch.from_numpy(reference[name]).permute(0, 3, 1, 2)

    for number in range(1):
        images, painted = nchw(f"images{number}"), nchw(f"painted{number}").clamp(0, 1)
        ids = torch.from_numpy(reference[f"ids{number}"]).long()
        ids = ids.reshape(len(images), images.shape[2] // 4, images.shape[3] // 4)
        assert ids.unique().numel() >= 8
        # Outside, pictures are in [-1, 1] whatever the range inside.
        equal(found.tokenizer, images * 2 - 1, nchw(f"latents{number}"), ids, painted * 2 - 1)
        equal_at_odd_sizes(found.tokenizer, images * 2 - 1)


@pytest.mark.parametrize("container", ["model", "ema", "flat"])
def test_llamagen_is_read_back(tmp_path: Path, container: str) -> None:
    state = doubles.llamagen_state()
    other = {name: x + 1 for name, x in state.items()}
    content = {
        "model": {"model": state, "optimizer": {"state": {0: {"step": 3}}}, "steps": 7},
        "ema": {"model": other, "ema": state},
        "flat": state,
    }[container]
    torch.save(content, tmp_path / "vq_ds16_c2i.pt")
    found = convert(tmp_path / "vq_ds16_c2i.pt")
    assert found.family.name == "llamagen"
    assert found.tokenizer.config.quantizer == VQConfig(size=60, distance="cosine")
    peer = doubles.LlamaGen(state)
    for batch, height, width in ((2, 20, 36), (3, 12, 4)):
        images = torch.rand(batch, 3, height, width) * 2 - 1
        latents = peer.latents(images)
        ids = peer.ids(latents)
        assert ids.unique().numel() >= 8
        equal(found.tokenizer, images, latents, ids, peer.paint(ids))
    equal_at_odd_sizes(found.tokenizer, images)


VQMODELS = {
    "vqmodel": {},
    "amused": {"mid_block_add_attention": False},
    "movq": {"norm_type": "spatial", "vq_embed_dim": 16},
    "groups": {"norm_num_groups": 8, "vq_embed_dim": 8},
}


def vqmodel(**settings: object) -> object:
    """A small random VQModel of diffusers."""
    from diffusers import VQModel

    torch.manual_seed(0)
    defaults = {
        "block_out_channels": (32, 32, 64), "latent_channels": 16, "num_vq_embeddings": 60,
        "layers_per_block": 2,
        "down_block_types": ("DownEncoderBlock2D",) * 2 + ("AttnDownEncoderBlock2D",),
        "up_block_types": ("AttnUpDecoderBlock2D",) + ("UpDecoderBlock2D",) * 2,
    }  # fmt: skip
    model = VQModel(**(defaults | settings)).eval().requires_grad_(False)
    for parameter in model.parameters():
        parameter.add_(torch.randn_like(parameter) * 0.05)
    model.decoder.conv_out.weight.mul_(0.2)  # pictures mostly within [-1, 1]
    z = model.encode(torch.rand(4, 3, 64, 64) * 2 - 1).latents
    table = model.quantize.embedding.weight
    table.copy_(torch.randn_like(table) * z.std((0, 2, 3)) + z.mean((0, 2, 3)))
    return model


def equal_to_vqmodel(tokenizer: Tokenizer, model: object, unit: bool) -> None:
    for batch, height, width in ((2, 20, 36), (3, 12, 4)):
        images = torch.rand(batch, 3, height, width) * 2 - 1
        inside = (images + 1) / 2 if unit else images
        latents = model.encode(inside).latents
        painted = model.decode(latents).sample
        painted = (painted * 2 - 1 if unit else painted).clamp(-1, 1)
        ids = model.quantize(latents)[2][2].reshape(batch, height // 4, width // 4)
        assert ids.unique().numel() >= 3
        equal(tokenizer, images, latents, ids, painted)


@pytest.mark.parametrize("name", VQMODELS)
def test_diffusers_vqmodels_are_read_back(tmp_path: Path, name: str) -> None:
    model = vqmodel(**VQMODELS[name])
    model.save_pretrained(tmp_path)
    (tmp_path / "README.md").write_text("---\ntags: [x]\nlicense: openrail++\n---\n# A model\n")
    found = convert(tmp_path)
    assert found.family.name == ("vqmodel" if name == "groups" else name)
    assert found.license == "openrail++"
    unit = name == "amused"
    assert found.tokenizer.config.value_range == ("unit" if unit else "signed")
    equal_to_vqmodel(found.tokenizer, model, unit)


def test_old_names_of_attention_and_a_pickled_file(tmp_path: Path) -> None:
    """Files from before diffusers 0.15 have other names, and some repositories .bin files alone."""
    model = vqmodel()
    model.save_pretrained(tmp_path)
    file = tmp_path / "diffusion_pytorch_model.safetensors"
    renamed = load_file(file)
    for new, old in (
        ("to_q", "query"),
        ("to_k", "key"),
        ("to_v", "value"),
        ("to_out.0", "proj_attn"),
    ):
        renamed = {name.replace(new, old): x for name, x in renamed.items()}
    assert any(".query." in name for name in renamed)
    file.unlink()
    torch.save(renamed, tmp_path / "diffusion_pytorch_model.bin")
    equal_to_vqmodel(convert(tmp_path).tokenizer, model, unit=False)


def test_the_range_can_be_stated(tmp_path: Path) -> None:
    model = vqmodel()
    model.save_pretrained(tmp_path)
    found = convert(tmp_path, value_range="unit")
    equal_to_vqmodel(found.tokenizer, model, unit=True)


def test_large_codebooks_of_bits(tmp_path: Path) -> None:
    """Open-MAGVIT2's 2^18 codes: a code is its bits, and none of K has to be made to paint it."""
    found = big_lfq(tmp_path, 18)
    assert found.tokenizer.codebook_size == 262_144
    images = torch.rand(1, 3, 32, 32) * 2 - 1
    z = found.tokenizer.latents(images)
    ids = found.tokenizer.encode(images)
    bits = (z > 0).permute(0, 2, 3, 1)
    assert torch.equal(ids, (bits * 2 ** torch.arange(18)).sum(-1))
    assert torch.equal(found.tokenizer.quantizer.embed(ids), torch.where(z > 0, 1.0, -1.0))


def big_lfq(folder: Path, bits: int) -> Imported:
    from core.networks.vqgan import VQGANConfig
    from core.tokenizer import TokenizerConfig

    network = VQGANConfig(
        widths=(32, 32), blocks=1, decoder_blocks=1, attention_levels=(), middle_blocks=1,
        middle_attention=False, z_channels=bits, latent_dim=bits, quant_conv=False, bias=False,
        out_kernel=1, downsample="symmetric", upsample="depth_to_space", decoder_norm="adaptive",
    )  # fmt: skip
    from core.importing.names import IMPROVED

    state = Tokenizer(TokenizerConfig(network, LFQConfig(size=2**bits))).state_dict()
    theirs = {}
    for name, tensor in state.items():
        module, _, leaf = name.rpartition(".")
        if not name.startswith("quantizer."):
            theirs[f"{IMPROVED.to_theirs(module, 2)}.{leaf}"] = tensor
    save_file(theirs, folder / "magvit.safetensors")
    return convert(folder / "magvit.safetensors")
