"""An imported tokenizer with codes of 16 pixels in every tab, by the explorer's API."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from gradio_client import Client, handle_file
from PIL import Image

from app import server, shell
from app.services import checkpoints, painting, precision, reconstruction
from core.bundles import sources
from core.tokenizer import Tokenizer
from tests.helpers import local_http as http

NAME = "vq-f16"
CODES = 16_384


@pytest.fixture(scope="module")
def client(
    only_these: pytest.MonkeyPatch, bundles: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Client]:
    """The explorer with a folder of diffusers among its owner's checkpoints."""
    from diffusers import VQModel

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("models") / NAME
    model = VQModel(
        block_out_channels=(32,) * 5, down_block_types=("DownEncoderBlock2D",) * 5,
        up_block_types=("UpDecoderBlock2D",) * 5, latent_channels=8, num_vq_embeddings=CODES,
    )  # fmt: skip
    model.quantize.embedding.weight.data.normal_()
    model.save_pretrained(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REGVQ_CHECKPOINTS", f"{folder},{bundles}")
        patch.setenv("REGVQ_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setattr(sources, "_fetched", {})
        server.fetch_further()
        app = shell.build_app()
        _, address, _ = app.launch(
            server_name="127.0.0.1", prevent_thread_lock=True, quiet=True, **server.launch_options()
        )
        try:
            yield http.explorer(address, download_files=str(tmp_path_factory.mktemp("downloads")))
        finally:
            app.close(verbose=False)
            painting.PAINTER.stop()


@pytest.mark.slow
def test_every_tab_opens(client: Client, photograph: Path) -> None:
    picture = handle_file(photograph)
    assert NAME in checkpoints.names()
    assert f"{CODES:,} learned codes, one for every 16 × 16 pixels" in checkpoints.summary(NAME)
    pair, _, _, figures = client.predict(picture, NAME, 0.0, 0, api_name="/reconstruct")
    assert figures["tokens"] == 7 * 5 and Image.open(pair[1]).size == (101, 75)
    *_, usage = client.predict(NAME, "scenes", api_name="/codebook_usage")
    assert usage["total"] == CODES and 0 < usage["used"] <= 3 * 16
    *_, placed = client.predict(NAME, "pca", api_name="/code_map")
    assert placed
    code = client.predict(NAME, 5, api_name="/code_detail")
    assert code
    *_, compared = client.predict(picture, [NAME, "tiny-vq"], api_name="/compare")
    assert compared
    assert client.predict(picture, NAME, [[0, 0, CODES - 1]], api_name="/edit_tokens")


def test_a_large_decoder_computes_in_half_precision_and_ids_stay(
    monkeypatch: pytest.MonkeyPatch, tokenizer: Tokenizer, bundles: Path
) -> None:
    monkeypatch.setattr(precision, "LARGE", 1)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True, raising=False)
    half = precision.quicken(Tokenizer.from_pretrained(bundles / "tiny-regvq"))
    assert half.decoder.last_weight.dtype == torch.bfloat16
    images = torch.rand(2, 3, 40, 48) * 2 - 1
    ids = tokenizer.encode(images)
    assert torch.equal(half.encode(images), ids)
    painted, want = half.decode(ids), tokenizer.decode(ids)
    assert painted.dtype == torch.float32
    assert float((painted - want).abs().mean()) < 0.02
    assert np.isfinite(painted.numpy()).all()
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False, raising=False)
    whole = precision.quicken(Tokenizer.from_pretrained(bundles / "tiny-regvq"))
    assert torch.allclose(whole.decode(ids), want, atol=1e-5)
    assert precision.is_slow(whole) and not precision.is_slow(half)
    monkeypatch.setattr(precision, "LARGE", 10_000_000)
    assert not precision.is_slow(whole)


def test_the_tab_says_that_a_large_decoder_is_slow(
    monkeypatch: pytest.MonkeyPatch, photograph: Path, bundles: Path
) -> None:
    monkeypatch.setenv("REGVQ_CHECKPOINTS", str(bundles))
    request = reconstruction.parse_request(str(photograph), "tiny-regvq")
    assert reconstruction.first_view(request)["note"] == ""
    monkeypatch.setattr(precision, "LARGE", 1)
    assert "computes in float32" in reconstruction.first_view(request)["note"]
