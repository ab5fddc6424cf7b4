"""The app as an API: gradio_client against a running server."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image

from app import server, shell
from app.guard.values import NOT_FETCHED, NOT_UPLOADED
from core.analysis.codes import paint_codes
from core.images import open_picture, to_pixels, to_tensor
from core.tokenizer import Tokenizer
from tests.helpers import local_http as http

NAME = "tiny-regvq"


@pytest.fixture(scope="module")
def client(bundles: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    app = shell.build_app()
    _, address, _ = app.launch(
        server_name="127.0.0.1", prevent_thread_lock=True, quiet=True, **server.launch_options()
    )
    try:
        yield http.explorer(address, download_files=str(tmp_path_factory.mktemp("downloads")))
    finally:
        app.close(verbose=False)


def pixels(path: str) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"))


def test_the_endpoints_are_those_of_the_design() -> None:
    api = shell.build_app().get_api_info()["named_endpoints"]
    inputs = {
        name: [(p["parameter_name"], p["parameter_has_default"]) for p in endpoint["parameters"]]
        for name, endpoint in api.items()
    }

    def sampled(*first: str) -> list[tuple[str, bool]]:
        names = (*first, "guidance", "temperature", "top_k", "top_p", "steps")
        return [(name, True) for name in names]

    assert inputs == {
        "/reconstruct": [
            ("image", False),
            ("checkpoint", True),
            ("mask_ratio", True),
            ("seed", True),
            ("shown_channels", True),
            ("level", True),
        ],
        "/codebook_usage": [
            ("checkpoint", True),
            ("source", True),
            ("image", True),
            ("level", True),
        ],
        "/code_detail": [
            ("checkpoint", True),
            ("code", True),
            ("image", True),
            ("source", True),
            ("level", True),
        ],
        "/edit_tokens": [("image", False), ("checkpoint", True), ("edits", True)],
        "/code_map": [
            ("checkpoint", True),
            ("method", True),
            ("colour", True),
            ("axes", True),
            ("neighbours", True),
            ("level", True),
        ],
        "/find_codes": [
            ("checkpoint", True),
            ("by", True),
            ("value", True),
            ("image", True),
        ],
        "/mask_sweep": [
            ("image", False),
            ("checkpoint", True),
            ("seed", True),
            ("temperature", True),
        ],
        "/compare": [("image", False), ("checkpoints", True)],
        "/generate_text": [("prompt", False), *sampled("prior", "n", "seed")],
        "/generate_class": [("name", False), *sampled("prior", "n", "seed")],
        "/generate_semantic": [("plan", False), *sampled("prior", "n", "seed"), ("prompt", True)],
        "/complete": [
            ("image", False),
            ("mask", False),
            *sampled("prior", "seed", "n"),
            ("prompt", True),
        ],
        "/lab_pictures": [
            ("image", False),
            *(
                (name, True)
                for name in (
                    "quantizers",
                    "codes",
                    "seed",
                    "steps",
                    "rate",
                    "prior",
                    "mask",
                    "temperature",
                    "alpha",
                )
            ),
        ],
    }
    assert [r["component"] for r in api["/reconstruct"]["returns"]] == [
        "Imageslider",
        "Image",
        "Image",
        "Json",
    ]


def test_one_model_call_at_a_time() -> None:
    every = shell.build_app().fns.values()
    functions = [f for f in every if f.concurrency_id == "model"]
    names = {f.api_name for f in functions}
    assert names >= {"reconstruct", "edit_tokens", "mask_sweep", "compare", "generate_text"}
    assert len(functions) >= 7
    assert {f.concurrency_limit for f in functions} == {1}
    # What is known already does not wait for them.
    quick = {f.api_name for f in every if f.concurrency_id == "look-up"}
    assert quick >= {"codebook_usage", "code_detail"}


def test_reconstruct(client: Client, photograph: Path, tokenizer: Tokenizer) -> None:
    pair, tokens, error, figures = client.predict(
        handle_file(photograph), NAME, 0.0, 0, api_name="/reconstruct"
    )
    original = pixels(str(photograph))
    shown = to_pixels(tokenizer.reconstruct(to_tensor(open_picture(photograph))[None]))[0]
    # Gradio may send pictures in a format of its own; they must still be these, to the pixel.
    np.testing.assert_array_equal(pixels(pair[0]), original)
    np.testing.assert_array_equal(pixels(pair[1]), shown)
    assert pixels(tokens).shape == pixels(error).shape == original.shape
    mse = np.mean((original.astype(float) - shown) ** 2)
    assert figures["psnr"] == pytest.approx(10 * math.log10(255**2 / mse), abs=1e-4)
    assert figures["tokens"] == 130
    assert figures["bytes_tokens"] == math.ceil(130 * math.log2(60) / 8)
    assert figures["bytes_png"] > figures["bytes_jpeg"] > figures["bytes_jpeg_smallest"] > 0


def test_only_the_picture_is_required(client: Client, photograph: Path) -> None:
    given = client.predict(handle_file(photograph), NAME, 0, 0, api_name="/reconstruct")
    default = client.predict(image=handle_file(photograph), api_name="/reconstruct")
    assert default[-1] == given[-1]


def test_the_seed_makes_a_draw_repeatable(client: Client, photograph: Path) -> None:
    def draw(seed: int) -> np.ndarray:
        pair, _, _, figures = client.predict(
            handle_file(photograph), NAME, 0.5, seed, api_name="/reconstruct"
        )
        assert figures["tokens_drawn"] == 65
        return pixels(pair[1])

    np.testing.assert_array_equal(draw(1), draw(1))
    assert not np.array_equal(draw(1), draw(2))


def test_mask_sweep(client: Client, photograph: Path) -> None:
    gallery, curve, figures = client.predict(handle_file(photograph), NAME, api_name="/mask_sweep")
    assert len(gallery) == 5 and pixels(curve).shape == (640, 960, 3)
    assert figures["ratio"][0] == 0 and figures["ratio"][-1] == 1 and figures["tokens"] == 130
    with pytest.raises(AppError, match="no token distribution"):
        client.predict(handle_file(photograph), "tiny-vq", api_name="/mask_sweep")


def test_code_map(client: Client) -> None:
    plot, figures = client.predict(NAME, "pca", "mean", api_name="/code_map")
    assert pixels(plot).shape == (900, 900, 3) and len(figures["x"]) == 60
    with pytest.raises(AppError, match="method must be one of"):
        client.predict(NAME, "tsne", api_name="/code_map")


def test_edit_tokens(client: Client, photograph: Path, tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode(to_tensor(open_picture(photograph))[None])
    ids[0, 3, 4] = (ids[0, 3, 4] + 9) % 60
    picture, figures = client.predict(
        handle_file(photograph), NAME, [[3, 4, int(ids[0, 3, 4])]], api_name="/edit_tokens"
    )
    expected = to_pixels(tokenizer.decode(ids)[..., :75, :101])[0]
    np.testing.assert_array_equal(pixels(picture), expected)
    assert figures["tokens_edited"] == 1
    with pytest.raises(AppError, match="row of edit 1 must be"):
        client.predict(handle_file(photograph), NAME, [[99, 0, 0]], api_name="/edit_tokens")


def test_codebook_usage(client: Client, photograph: Path, tokenizer: Tokenizer) -> None:
    heat, figures = client.predict(NAME, "bundle", api_name="/codebook_usage")
    assert {"used": 57, "total": 60, "dead": 3}.items() <= figures.items()
    assert figures["utilization"] == pytest.approx(0.95)
    share = np.array(figures["counts"]) / figures["tokens"]
    entropy = -sum(p * math.log(p) for p in share if p)
    assert figures["perplexity"] == pytest.approx(math.exp(entropy))
    picture = pixels(heat)
    assert picture.shape[0] == picture.shape[1] >= 64 and picture.std() > 10

    _, figures = client.predict(
        NAME, "picture", handle_file(photograph), api_name="/codebook_usage"
    )
    ids = tokenizer.encode(to_tensor(open_picture(photograph))[None]).numpy().ravel()
    assert figures["counts"] == np.bincount(ids, minlength=60).tolist()


def test_code_detail(client: Client, photograph: Path, tokenizer: Tokenizer) -> None:
    swatch, where, nearest, figures, patches = client.predict(
        NAME, 5, handle_file(photograph), api_name="/code_detail"
    )
    np.testing.assert_array_equal(pixels(swatch)[::16, ::16], paint_codes(tokenizer, [5])[0])
    ids = tokenizer.encode(to_tensor(open_picture(photograph))[None])
    assert figures["occurrences"] == int((ids == 5).sum())
    assert pixels(where).shape == (75, 101, 3)
    assert len(nearest) == 8
    assert not patches and figures["real_patches"] == 0  # this bundle stores none
    for entry, code in zip(nearest, figures["nearest"], strict=True):
        assert entry["caption"].startswith(f"code {code},")
        painted = paint_codes(tokenizer, [code])[0]
        np.testing.assert_array_equal(pixels(entry["image"])[::16, ::16], painted)


def test_bad_requests_get_a_sentence_and_the_app_keeps_running(
    client: Client, photograph: Path, tmp_path: Path
) -> None:
    text = tmp_path / "notes.jpg"
    text.write_text("These are notes, not a picture.")
    good = handle_file(photograph)
    cases = [
        ("/reconstruct", (handle_file(text), NAME, 0, 0), "notes.jpg is not a picture"),
        ("/reconstruct", (None, NAME, 0, 0), "no picture"),
        ("/reconstruct", (good, "nothing", 0, 0), "no checkpoint called 'nothing'"),
        ("/reconstruct", (good, "../../etc", 0, 0), "no checkpoint called"),
        ("/reconstruct", (good, NAME, 2, 0), "mask ratio must be a number from 0 to 1"),
        ("/reconstruct", (good, NAME, -1, 0), "mask ratio must be a number from 0 to 1"),
        ("/reconstruct", (good, NAME, 0, -1), "seed must be a number from 0"),
        ("/codebook_usage", (NAME, "internet"), "source must be one of"),
        ("/codebook_usage", ("nothing", "bundle"), "no checkpoint called"),
        ("/code_detail", (NAME, -1), "code must be a number from 0 to 59"),
        ("/code_detail", (NAME, 60), "code must be a number from 0 to 59"),
        ("/code_detail", (NAME, 1.5), "code must be a whole number"),
    ]
    for name, inputs, words in cases:
        with pytest.raises(AppError, match=words) as refusal:
            client.predict(*inputs, api_name=name)
        assert "Traceback" not in str(refusal.value)
    *_, figures = client.predict(good, NAME, 0, 0, api_name="/reconstruct")
    assert figures["tokens"] == 130


def test_the_server_fetches_no_address_and_opens_no_path(client: Client, tmp_path: Path) -> None:
    """Send requests that the client would never send."""
    secret = tmp_path / "secret.png"  # a good picture, but not one that was uploaded
    Image.new("RGB", (16, 16)).save(secret)
    address = f"{client.src}gradio_api/call/reconstruct"
    for path in (
        f"{client.src}theme.css",
        "http://127.0.0.1:9/a.png",
        "file:///etc/passwd",
        "/etc/passwd",
        "../app.py",
        "/proc/self/environ",
        str(secret),
    ):
        for meta in ({"_type": "gradio.FileData"}, None):
            picture = {"path": path, "orig_name": "a.png", "meta": meta}
            answer = http.post(address, json={"data": [picture, NAME, 0, 0]})
            assert answer.status_code == 400, path
            assert answer.json()["error"] in (NOT_FETCHED, NOT_UPLOADED), path
            assert "root:" not in answer.text and "PATH=" not in answer.text


def test_lab_pictures(client: Client, photograph: Path) -> None:
    given = {"image": handle_file(photograph), "quantizers": ["VQ", "Reg-VQ"], "codes": 8}
    gallery, codebooks, figures = client.predict(**given, steps=3, api_name="/lab_pictures")
    assert pixels(gallery[0]["image"]).shape == (256, 384, 3)
    assert [item["caption"] for item in codebooks] == ["VQ", "Reg-VQ"]
    assert figures["step"][-1] == 3 and len(figures["runs"]["VQ"]["psnr"]) == len(figures["step"])
    with pytest.raises(AppError, match="1 to 6 quantizers"):
        client.predict(handle_file(photograph), [], api_name="/lab_pictures")
