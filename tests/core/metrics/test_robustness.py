"""Figures of reconstructions with replaced tokens."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from core.errors import DataError
from core.metrics.comparison import as_shown
from core.metrics.psnr_ssim import psnr
from core.metrics.reconstruction import evaluate_tokenizer
from core.metrics.robustness import near_codes, robustness
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
    generator = torch.Generator().manual_seed(1)
    sizes = [(24, 32), (18, 30), (24, 32)]
    return [as_shown(torch.rand(1, 3, *size, generator=generator) * 2 - 1)[0] for size in sizes]


class Decoded:
    """A tokenizer that keeps what it decodes."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.inner, self.decoded, self.encoded = tokenizer, [], []

    def __getattr__(self, name: str) -> object:
        return getattr(self.inner, name)

    def encode(self, images: Tensor) -> Tensor:
        self.encoded.append(self.inner.encode(images))
        return self.encoded[-1]

    def decode(self, ids: Tensor) -> Tensor:
        self.decoded.append(ids)
        return self.inner.decode(ids)


def test_near_codes_are_the_nearest_others_in_order() -> None:
    codebook = torch.tensor([0.0, 1.0, 3.0, 7.0, 7.0])[:, None]
    found = near_codes(codebook, torch.tensor([0, 2, 4]), 3)
    assert found.tolist()[:2] == [[1, 2, found[0, 2]], [1, 0, found[1, 2]]]
    assert found[2, :2].tolist() == [3, 2]  # a copy at the same place is another code
    assert not (found == torch.tensor([[0], [2], [4]])).any()


def test_near_codes_of_a_large_codebook_are_those_of_one_piece(monkeypatch) -> None:
    codebook = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
    whole = near_codes(codebook, torch.arange(50), 4)
    monkeypatch.setattr("core.metrics.robustness._CELLS", 120)  # two codes together
    assert torch.equal(near_codes(codebook, torch.arange(50), 4), whole)


def test_no_share_gives_the_figures_of_reconstructions(tokenizer, pictures) -> None:
    plain = evaluate_tokenizer(tokenizer, pictures)
    found = robustness(tokenizer, pictures, shares=(0.0,))
    assert found["images"] == 3
    for key in ("psnr", "ssim"):
        assert found["rows"][0][key] == pytest.approx(plain[key], abs=1e-9)


def test_all_tokens_become_their_only_neighbor(tokenizer, pictures) -> None:
    nearest = near_codes(tokenizer.quantizer.codebook(), torch.arange(20), 1)[:, 0]
    expected = []
    for picture in pictures:
        height, width = picture.shape[1:]
        ids = nearest[tokenizer.encode(picture[None])]
        again = as_shown(tokenizer.decode(ids)[..., :height, :width])
        expected.append(float(psnr(picture[None], again)))
    found = robustness(tokenizer, pictures, shares=(1.0,), neighbors=1)
    assert found["rows"][0]["psnr"] == pytest.approx(sum(expected) / 3, abs=1e-5)


def test_the_share_of_tokens_is_replaced_and_larger_shares_hold_the_smaller(tokenizer) -> None:
    images = [torch.rand(3, 128, 128, generator=torch.Generator().manual_seed(2)) * 2 - 1]
    spy = Decoded(tokenizer)
    found = robustness(spy, images, shares=(0.0, 0.25, 0.5), neighbors=3, seed=4)
    none, some, more = (ids != spy.encoded[0] for ids in spy.decoded)
    assert not none.any() and not (some & ~more).any()
    count = some.numel()
    assert abs(int(some.sum()) / count - 0.25) < 4 * (0.25 * 0.75 / count) ** 0.5
    assert abs(int(more.sum()) / count - 0.5) < 4 * (0.25 / count) ** 0.5
    near = near_codes(tokenizer.quantizer.codebook(), torch.arange(20), 3)
    replaced, by = spy.encoded[0][more], spy.decoded[2][more]
    rank = (near[replaced] == by[:, None]).float()
    assert (rank.sum(1) == 1).all()  # one of the three nearest ...
    assert rank.mean(0).sub(1 / 3).abs().max() < 4 * (2 / 9 / len(by)) ** 0.5  # ... equally likely
    assert [row["share"] for row in found["rows"]] == [0.0, 0.25, 0.5]
    again = Decoded(tokenizer)
    robustness(again, images, shares=(0.0, 0.25, 0.5), neighbors=3, seed=4)
    assert all(torch.equal(a, b) for a, b in zip(spy.decoded, again.decoded, strict=True))
    other = Decoded(tokenizer)
    robustness(other, images, shares=(0.0, 0.25, 0.5), neighbors=3, seed=5)
    assert not torch.equal(spy.decoded[2], other.decoded[2])


def test_shares_and_neighbors_that_are_not_given(tokenizer, pictures) -> None:
    found = robustness(tokenizer, pictures[:1])
    assert [row["share"] for row in found["rows"]] == [0.0, 0.1, 0.25, 0.5]
    assert (found["neighbors"], found["seed"]) == (10, 0)


def test_further_distances_are_rows_columns(tokenizer, pictures) -> None:
    pairs = {"l1": lambda a, b: (a - b).abs().mean(dim=(1, 2, 3))}
    found = robustness(tokenizer, pictures, shares=(0.0, 1.0), pairs=pairs)
    assert found["rows"][0]["l1"] > 0 and found["rows"][1]["l1"] != found["rows"][0]["l1"]


def test_unusable_settings_and_no_pictures_are_refused(tokenizer, pictures) -> None:
    with pytest.raises(ValueError, match=r"shares must be from 0 to 1, got \[1.5\]"):
        robustness(tokenizer, pictures, shares=(1.5,))
    with pytest.raises(ValueError, match="neighbors must be from 1 to 19"):
        robustness(tokenizer, pictures, neighbors=20)
    with pytest.raises(DataError, match="there was no picture"):
        robustness(tokenizer, [])
