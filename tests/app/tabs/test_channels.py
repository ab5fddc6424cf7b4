"""Checkpoints of other than three channels on the tabs: pictures, shown channels, and refusals."""

from __future__ import annotations

import shutil
import zlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import numpy as np
import pytest
import torch
from gradio.utils import get_upload_folder
from PIL import Image, PngImagePlugin

from app.services import array_preview, channels, code_details, generation
from app.services.checkpoints import open_tokenizer
from app.services.code_atlas import CodeAtlas
from app.services.errors import UserError
from app.services.examples import examples
from app.tabs import code_map, codebook, compare, mask_ratio, reconstruct, reconstruct_token
from core.analysis.atlas import build_atlas
from core.arrays import array_to_tensor
from core.images import open_picture, to_pixels
from core.metrics.psnr_ssim import psnr, ssim
from core.networks.autoencoder import NetworkConfig
from core.quantizers import RegVQConfig
from core.tokenizer import Tokenizer, TokenizerConfig

NETWORK = NetworkConfig(widths=(8, 12), latent_dim=8)
GRAY, DEEP, BARE = "tiny-gray", "tiny-deep", "tiny-bare"
SEEN = (3, 2, 1)


@pytest.fixture(scope="module", autouse=True)
def deep_bundles(tmp_path_factory: pytest.TempPathFactory, bundles: Path) -> Any:
    """Let the app see "tiny-gray" of one channel and "tiny-deep" and "tiny-bare" of four, too; the
    last one has no atlas."""
    root = tmp_path_factory.mktemp("deep")
    for name, number, seen in ((GRAY, 1, None), (DEEP, 4, SEEN), (BARE, 4, None)):
        torch.manual_seed(number)
        config = TokenizerConfig(NETWORK, RegVQConfig(size=24), "signed", number, seen)
        tokenizer = Tokenizer(config).eval().requires_grad_(False)
        atlas = None
        if name != BARE:
            atlas = build_atlas(tokenizer, counts=np.arange(24), source="a test")
        tokenizer.save_pretrained(root / name, half=False, atlas=atlas)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REGVQ_CHECKPOINTS", f"{bundles}:{root}")
        yield


@pytest.fixture(scope="module")
def fields(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A .npy picture of four channels in 16 bits."""
    y, x = np.mgrid[:44, :52] / 44
    waves = [np.sin(5 * x * k + 2) * np.cos(3 * y + k) * 0.45 + 0.5 for k in range(1, 5)]
    file = tmp_path_factory.mktemp("fields") / "fields.npy"
    np.save(file, np.rint(np.stack(waves, axis=2) * 65535).astype(np.uint16))
    return file


def pixels(file: str) -> np.ndarray:
    return np.asarray(Image.open(file).convert("RGB"))


def last(*settings: Any) -> dict[str, Any]:
    return list(reconstruct.show(*settings))[-1][0]


def test_an_array_is_reconstructed_in_all_its_channels(fields: Path) -> None:
    (original, painted), _, error, figures = reconstruct.reconstruct(str(fields), DEEP)
    tokenizer = open_tokenizer(DEEP).tokenizer
    image = array_to_tensor(np.load(fields))[None]
    decoded = tokenizer.reconstruct(image)
    np.testing.assert_array_equal(pixels(original), to_pixels(image[:, [2, 1, 0]])[0])
    np.testing.assert_array_equal(pixels(painted), to_pixels(decoded[:, [2, 1, 0]])[0])
    assert figures["psnr"] == pytest.approx(float(psnr(image, decoded)), abs=1e-4)
    assert figures["ssim"] == pytest.approx(float(ssim(image, decoded)), abs=1e-4)
    assert (figures["channels"], figures["shown_channels"]) == (4, [3, 2, 1])
    assert pixels(error).shape == (44, 52, 3)


def test_chosen_channels_are_shown(fields: Path) -> None:
    image = array_to_tensor(np.load(fields))[None]
    whole = reconstruct.reconstruct(str(fields), DEEP)[3]
    for given, places in (("4", [3, 3, 3]), ("1, 2 4", [0, 1, 3]), ([2], [1, 1, 1])):
        given = given if isinstance(given, str) else " ".join(map(str, given))
        (original, painted), _, _, figures = reconstruct.reconstruct(str(fields), DEEP, 0, 0, given)
        np.testing.assert_array_equal(pixels(original), to_pixels(image[:, places])[0])
        decoded = open_tokenizer(DEEP).tokenizer.reconstruct(image)
        np.testing.assert_array_equal(pixels(painted), to_pixels(decoded[:, places])[0])
        assert figures["psnr"] == whole["psnr"]  # of all channels, whatever is shown
    for wrong in ("5", "0", "1 2", "red", "1 2 3 4"):
        with pytest.raises(gr.Error, match="shown channels must be one or three numbers from 1 to"):
            reconstruct.reconstruct(str(fields), DEEP, 0, 0, wrong)
    with pytest.raises(gr.Error, match="only where a checkpoint has not three"):
        reconstruct.reconstruct(examples()[0].path, "tiny-vq", 0, 0, "1")


def test_the_page_offers_the_channels_of_the_checkpoint(fields: Path) -> None:
    hidden, button = reconstruct.show_choices("tiny-vq", "4")
    assert not button["visible"]
    assert (hidden["visible"], hidden["choices"], hidden["value"]) == (False, [], None)
    hidden, button = reconstruct.show_choices(GRAY, None)
    assert (hidden["visible"], button["visible"]) == (False, True)
    offered, button = reconstruct.show_choices(DEEP, "4")
    assert button["visible"]
    assert (offered["visible"], offered["value"]) == (True, "4")
    assert offered["choices"][0] == ("Channels 3, 2, 1 as color", "")
    assert offered["choices"][4] == ("Channel 4, gray", "4")
    assert reconstruct.show_choices(DEEP, "9")[0]["value"] == ""
    shown = last(str(fields), DEEP, 0, 0, None, "4")
    assert shown["note"].startswith("Of 4 channels, channel 4 as gray: PSNR, SSIM and the error")
    stale = last(str(fields), DEEP, 0, 0, None, "9")  # a choice of another checkpoint
    assert stale["note"].startswith("Of 4 channels, channels 3, 2, 1 as color")


def test_a_picture_is_converted_to_gray(photograph: Path) -> None:
    (original, painted), _, _, figures = reconstruct.reconstruct(str(photograph), GRAY)
    gray = np.asarray(open_picture(photograph).convert("L"))
    np.testing.assert_array_equal(pixels(original), np.repeat(gray[:, :, None], 3, axis=2))
    decoded = open_tokenizer(GRAY).tokenizer.reconstruct(array_to_tensor(gray)[None])
    np.testing.assert_array_equal(
        pixels(painted)[..., 0], to_pixels(decoded.expand(1, 3, 75, 101))[0, ..., 0]
    )
    assert figures["psnr"] == pytest.approx(
        float(psnr(array_to_tensor(gray)[None], decoded)), abs=1e-4
    )
    assert "converted to gray" in last(str(photograph), GRAY, 0, 0)["note"]


def test_tiffs_keep_16_bits_and_pages(tmp_path: Path, fields: Path) -> None:
    array = np.load(fields)
    first, *rest = (Image.fromarray(array[:, :, k]) for k in range(4))
    first.save(tmp_path / "gray.tif")
    first.save(tmp_path / "pages.tif", save_all=True, append_images=rest)
    gray = reconstruct.reconstruct(str(tmp_path / "gray.tif"), GRAY)[3]
    image = array_to_tensor(array[:, :, 0])[None]
    decoded = open_tokenizer(GRAY).tokenizer.reconstruct(image)
    assert gray["psnr"] == pytest.approx(float(psnr(image, decoded)), abs=1e-5)
    pages = reconstruct.reconstruct(str(tmp_path / "pages.tif"), DEEP)[3]
    assert pages["psnr"] == reconstruct.reconstruct(str(fields), DEEP)[3]["psnr"]


def test_large_arrays_are_shrunk(tmp_path: Path) -> None:
    np.save(tmp_path / "large.npy", np.zeros((100, 2048, 4), np.uint8))
    figures = reconstruct.reconstruct(str(tmp_path / "large.npy"), DEEP)[3]
    assert (figures["width"], figures["height"]) == (1024, 50)
    assert (figures["uploaded_width"], figures["uploaded_height"]) == (2048, 100)


def test_an_uploaded_array_becomes_a_picture_that_holds_it(fields: Path) -> None:
    folder = Path(get_upload_folder()) / "an-upload"
    folder.mkdir(parents=True, exist_ok=True)
    upload = Path(shutil.copy(fields, folder / "fields.npy"))
    shown = reconstruct.upload_array(str(upload), DEEP)
    image = array_to_tensor(np.load(fields))[None]
    np.testing.assert_array_equal(pixels(shown), to_pixels(image[:, [2, 1, 0]])[0])
    assert Path(shown).name == "fields.png"
    kept = channels.picture_for(open_tokenizer(DEEP), shown).array
    np.testing.assert_array_equal(kept, np.load(fields))
    figures = reconstruct.reconstruct(shown, DEEP)[3]
    assert figures["psnr"] == reconstruct.reconstruct(str(fields), DEEP)[3]["psnr"]
    assert reconstruct.reconstruct(shown, "tiny-vq")[3]["channels"] == 3  # it is a picture, too
    with pytest.raises(gr.Error, match="must have been uploaded"):
        reconstruct.upload_array(str(fields), DEEP)


@pytest.mark.parametrize("data", [b"no zlib", zlib.compress(b"no array"), zlib.compress(bytes(99))])
def test_a_broken_chunk_is_refused_in_a_sentence(tmp_path: Path, data: bytes) -> None:
    info = PngImagePlugin.PngInfo()
    info.add(array_preview.CHUNK, data)
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png", pnginfo=info)
    with pytest.raises(gr.Error, match=r"a\.png (has 3: upload|is no \.npy file)"):
        reconstruct.reconstruct(str(tmp_path / "a.png"), DEEP)


def test_a_chunk_that_unpacks_to_too_much_is_left_out(tmp_path: Path) -> None:
    info = PngImagePlugin.PngInfo()
    info.add(array_preview.CHUNK, zlib.compress(bytes(array_preview.LARGEST + 1)))
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png", pnginfo=info)
    assert array_preview.hidden_array(str(tmp_path / "a.png")) is None


def test_examples_stand_in_with_their_colors_repeated() -> None:
    path = examples()[0].path
    picture = channels.picture_for(open_tokenizer(DEEP), path)
    rgb = np.asarray(open_picture(path))
    np.testing.assert_array_equal(picture.array, rgb[:, :, [0, 1, 2, 0]])
    assert "The example repeats its colors" in last(path, DEEP, 0, 0)["note"]


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((8, 8, 3), np.uint8), "bad.npy has 3: upload a .npy array (H, W, 4) or a TIFF"),
        (np.full((8, 8, 4), np.nan), "bad.npy holds NaN or infinite values; replace them."),
        (np.zeros((8, 8, 17), np.uint8), "which is 17 channels; give (H, W, C) of at most 16."),
        (np.array([[{}]]), "bad.npy holds Python objects, which are never loaded"),
    ],
)
def test_an_unusable_array_is_refused_in_a_sentence(
    tmp_path: Path, array: np.ndarray, words: str
) -> None:
    np.save(tmp_path / "bad.npy", array, allow_pickle=True)
    with pytest.raises(gr.Error) as caught:
        reconstruct.reconstruct(str(tmp_path / "bad.npy"), DEEP)
    assert words in str(caught.value)
    assert words in last(str(tmp_path / "bad.npy"), DEEP, 0, 0)["problem"]


def test_a_picture_of_other_channels_is_refused_in_a_sentence(photograph: Path) -> None:
    words = f"{DEEP} takes pictures of 4 channels, and {photograph.name} has 3: upload a .npy"
    assert last(str(photograph), DEEP, 0, 0)["problem"].startswith(words)
    assert mask_ratio.show(str(photograph), DEEP, 0.4, 1, 0)["stage"]["sentence"].startswith(words)
    shown = list(compare.show(str(photograph), ["tiny-vq", DEEP]))
    assert shown[-1]["problem"].startswith(words)
    with pytest.raises(gr.Error, match="takes pictures of 4 channels"):
        codebook.codebook_usage(DEEP, "picture", str(photograph))


def test_other_tabs_take_such_checkpoints(fields: Path, photograph: Path) -> None:
    for name, file in ((DEEP, fields), (GRAY, photograph)):
        shown = mask_ratio.show(str(file), name, 0.4, 1, 0)
        assert shown["stage"]["codes"] == 24
        card, _ = reconstruct_token.show_token(
            str(file), name, 0, 0, None, None, SimpleNamespace(row=1, column=1)
        )
        assert card["codes"] == 24
        found = code_details.code_card(name, 3, str(file), "bundle")
        assert found["uses"] == 3
        assert code_details.current_code(name, None, None) < 24
        with pytest.raises(gr.Error, match="and the drawn scenes have 3: choose another source"):
            codebook.codebook_usage(name, "scenes", None)
        assert code_map.code_map(name, "pca", "usage")
    # A photograph that the checkpoint does not take: its codes are shown on an example.
    assert code_details.code_card(DEEP, 3, str(photograph), "bundle")["picture_tokens"] > 0
    assert code_details.current_code(DEEP, None, str(photograph)) < 24


def test_without_an_atlas_nothing_is_counted_and_all_codes_are_painted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The drawn scenes have three channels, so that this tokenizer cannot encode them."""
    monkeypatch.setenv("REGVQ_CACHE", str(tmp_path))
    handle = open_tokenizer(BARE)
    _, figures = codebook.codebook_usage(BARE, "bundle")
    assert (figures["used"], figures["tokens"]) == (0, 0)
    assert figures["source"] == (
        "no pictures: tiny-bare takes pictures of 4 channels, and the drawn scenes have 3"
    )
    known = CodeAtlas(handle)
    while not known.finished:
        known.work()
    assert known.progress()["painted"] == 24 and known.tiles.any()
    assert code_map.code_map(BARE, "pca", "usage")
    with pytest.raises(gr.Error, match="scenes have 3: the classes of its codes are not known"):
        code_map.code_map(BARE, "pca", "class")


def test_priors_of_such_checkpoints(photograph: Path) -> None:
    for name, words in ((DEEP, "draws pictures of 4 channels"), (GRAY, "of 1 channel, and a")):
        handle: Any = SimpleNamespace(name="a prior", tokenizer_handle=open_tokenizer(name))
        ids = torch.arange(8).view(1, 2, 4)
        (drawn,) = generation.decode_tokens(handle, ids)
        tokenizer = handle.tokenizer_handle.tokenizer
        wanted = to_pixels(tokenizer.visible(tokenizer.decode(ids)))[0]
        np.testing.assert_array_equal(np.asarray(drawn), wanted)
        with pytest.raises(UserError, match=words):
            generation.encode_picture(str(photograph), handle)


def test_compare_takes_each_picture_with_the_channels_of_each_checkpoint(
    fields: Path, photograph: Path
) -> None:
    shown = list(compare.show(str(photograph), [GRAY, "tiny-vq"]))[-1]
    assert [row["checkpoint"] for row in shown["rows"]] == [GRAY, "tiny-vq"]
    assert shown["rows"][0]["psnr"] == reconstruct.reconstruct(str(photograph), GRAY)[3]["psnr"]
    np.testing.assert_array_equal(
        pixels(shown["original"]["path"]), np.asarray(open_picture(photograph))
    )
    folder = Path(get_upload_folder()) / "compared"
    folder.mkdir(parents=True, exist_ok=True)
    upload = shutil.copy(fields, folder / "fields.npy")
    page = reconstruct.upload_array(str(upload), DEEP)
    _, figures = compare.compare(page, [DEEP, "tiny-vq"])
    deep, color = figures["table"]
    assert deep["psnr"] == reconstruct.reconstruct(page, DEEP)[3]["psnr"]
    assert color["psnr"] == reconstruct.reconstruct(page, "tiny-vq")[3]["psnr"]
