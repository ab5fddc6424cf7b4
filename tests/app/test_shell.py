"""The shell: what is built, what it imports, how it looks, what it says."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

import gradio as gr
import numpy as np
import pytest

from app import shell
from app.services import checkpoints
from app.tabs import about
from app.ui import theme
from app.ui.errors import in_a_sentence
from app.ui.figures import reconstruction_figures, size, usage_figures
from app.ui.pictures import PictureInput
from core.paths import ROOT
from core.quantizers import RegVQConfig
from tests.app.conftest import SIZE, tiny


def test_the_apis_are_those_of_the_design() -> None:
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
            ("image", False), ("checkpoint", True), ("mask_ratio", True), ("seed", True),
        ],
        "/codebook_usage": [("checkpoint", True), ("source", True), ("image", True)],
        "/code_detail": [
            ("checkpoint", True), ("code", True), ("image", True), ("source", True),
        ],
        "/edit_tokens": [("image", False), ("checkpoint", True), ("edits", True)],
        "/code_map": [
            ("checkpoint", True), ("method", True), ("colour", True), ("axes", True),
            ("neighbours", True),
        ],
        "/mask_sweep": [
            ("image", False), ("checkpoint", True), ("seed", True), ("temperature", True),
        ],
        "/compare": [("image", False), ("checkpoints", True)],
        "/generate_text": [("prompt", False), *sampled("prior", "n", "seed")],
        "/generate_semantic": [("plan", False), *sampled("prior", "n", "seed"), ("prompt", True)],
        "/complete": [
            ("image", False), ("mask", False), *sampled("prior", "seed", "n"), ("prompt", True),
        ],
        "/lab_pictures": [
            ("image", False),
            *((name, True) for name in ("quantizers", "codes", "seed", "steps", "rate", "prior",
                                        "mask", "temperature", "alpha")),
        ],
    }  # fmt: skip
    assert [r["component"] for r in api["/reconstruct"]["returns"]] == [
        "Imageslider", "Image", "Image", "Json",
    ]  # fmt: skip


def test_one_model_call_at_a_time() -> None:
    functions = [f for f in shell.build_app().fns.values() if f.concurrency_id == "model"]
    names = {f.api_name for f in functions}
    assert names >= {"reconstruct", "codebook_usage", "code_detail", "mask_sweep"}
    assert len(functions) >= 7
    assert {f.concurrency_limit for f in functions} == {1}


def test_building_the_page_imports_nothing_heavy(bundles: Path) -> None:
    code = (
        "import sys; from app import build_app; assert 'gradio' not in sys.modules; build_app();"
        "heavy = {'torch', 'umap', 'open_clip', 'diffusers', 'sklearn', 'plotly'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_help_answers_and_tells_the_truth() -> None:
    done = subprocess.run(
        [sys.executable, "app.py", "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "--host" in done.stdout and "127.0.0.1" in done.stdout
    assert "--port" in done.stdout and "7860" in done.stdout


def test_the_sentence_is_true_of_the_checkpoint() -> None:
    assert "60 learned codes, one for every 8 × 8 pixels" in shell.header("tiny-regvq")
    assert shell.NO_CHECKPOINT in shell.header(None)


def test_without_any_checkpoint_the_page_says_how_to_get_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("REGVQ_CHECKPOINTS", str(tmp_path))
    assert shell.NO_CHECKPOINT in str(shell.build_app().config)
    with pytest.raises(gr.Error, match=r"train one with `python train/run\.py`"):
        in_a_sentence(checkpoints.bundle)("tiny-regvq")


def test_the_checkpoint_for_any_photograph_comes_first(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tokenizer = tiny(RegVQConfig(size=SIZE), seed=2)
    for name in ("a-vq", "birds-regvq", checkpoints.WELCOME, "zoo-regvq"):
        tokenizer.save_pretrained(tmp_path / name)
    monkeypatch.setenv("REGVQ_CHECKPOINTS", str(tmp_path))
    assert checkpoints.names() == [checkpoints.WELCOME, "birds-regvq", "zoo-regvq", "a-vq"]


def test_a_broken_bundle_is_not_offered(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tiny(RegVQConfig(size=SIZE), seed=2).save_pretrained(tmp_path / "good")
    for name, text in {"broken": "{", "other": '{"kind": "prior"}', "empty": ""}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(text)
    monkeypatch.setenv("REGVQ_CHECKPOINTS", str(tmp_path))
    assert checkpoints.names() == ["good"]


def test_a_bundle_without_weights_is_refused_in_a_sentence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, photograph: Path
) -> None:
    from app.tabs.reconstruct import reconstruct

    tiny(RegVQConfig(size=SIZE), seed=2).save_pretrained(tmp_path / "half")
    (tmp_path / "half" / "model.safetensors").unlink()
    monkeypatch.setenv("REGVQ_CHECKPOINTS", str(tmp_path))
    with pytest.raises(gr.Error, match="is missing; the bundle is incomplete"):
        reconstruct(str(photograph), "half")


def test_a_run_that_goes_on_training_is_loaded_anew(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("REGVQ_CHECKPOINTS", str(tmp_path))
    first, second = (tiny(RegVQConfig(size=SIZE), seed=seed) for seed in (3, 4))
    first.save_pretrained(tmp_path / "run")
    before = checkpoints.model("run")
    assert (
        checkpoints.model("run") == before
        and checkpoints.model("run").tokenizer is before.tokenizer
    )
    time.sleep(0.02)  # the clock of the file system has to move on
    second.save_pretrained(tmp_path / "run")
    after = checkpoints.model("run")
    assert after != before
    np.testing.assert_array_equal(after.tokenizer.quantizer.codebook(), second.quantizer.codebook())


def test_an_upload_is_handed_on_unread_and_an_address_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "text.jpg"
    path.write_text("no picture")
    component = PictureInput(type="filepath")
    assert component.get_block_name() == "image"
    payload = gr.FileData(path=str(path), orig_name="text.jpg")
    assert component.preprocess(payload) == str(path)
    assert component.preprocess(None) is None
    import asyncio

    with pytest.raises(gr.Error, match="uploaded, not fetched"):
        asyncio.run(component.async_move_resource_to_block_cache("http://127.0.0.1/picture.png"))


def test_the_card_is_the_bundles_own_without_its_front_matter() -> None:
    assert about.card("tiny-regvq") == "# Tiny\n\nA card for the tests."
    assert "has no model card" in about.card("tiny-vq")
    with pytest.raises(gr.Error, match="no checkpoint called"):
        about.card("../tiny-regvq")


def luminance(colour: str) -> float:
    """WCAG 2.2, "relative luminance"."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize(
    ("text", "ground"),
    [
        *((t, g) for t in ("ink", "ink-soft", "accent") for g in ("ground", "surface", "sunken")),
        ("ink", "accent-soft"),
        ("on-accent", "accent"),
        ("on-plate", "plate"),
        ("warm", "ground"),
    ],
)
def test_text_has_contrast_aa(text: str, ground: str, dark: bool) -> None:
    lights = sorted(luminance(theme.PALETTE[name][dark]) for name in (text, ground))
    assert (lights[1] + 0.05) / (lights[0] + 0.05) >= 4.5


def test_the_page_asks_nobody_for_a_font_or_a_script() -> None:
    assert theme.StudioTheme()._stylesheets == []
    everything = theme.stylesheet() + "".join(
        file.read_text(encoding="utf-8") for file in theme.STATIC.iterdir()
    )
    outside = re.findall(r"(?:https?:)?//[a-z0-9-]+\.[a-z.]+", everything.replace("www.w3.org", ""))
    assert outside == []
    assert shell.launch_options()["show_error"] is False
    assert shell.launch_options()["max_file_size"] == "20mb"


def test_templates_are_plain_html() -> None:
    for file in theme.STATIC.glob("*.html"):  # Gradio runs them through two template languages
        assert not re.search(r"`|\$\{|\{\{", file.read_text(encoding="utf-8")), file.name


def test_the_page_says_how_large_a_picture_is_taken() -> None:
    note = theme.asset("examples.html")
    assert f"{checkpoints.MAX_SIDE:,} pixels" in note
    assert shell.launch_options()["max_file_size"].upper().replace("MB", " MB") in note


def test_sizes_in_words() -> None:
    assert [size(n) for n in (0, 812, 1000, 5400, 61_123, 491_000, 2_340_000)] == [
        "0 B", "812 B", "1.0 kB", "5.4 kB", "61.1 kB", "491 kB", "2.3 MB",
    ]  # fmt: skip


def test_what_a_bundle_says_of_itself_is_escaped() -> None:
    panel = usage_figures(
        {"used": 1, "total": 2, "utilization": 0.5, "perplexity": 1.0, "dead": 1, "tokens": 1,
         "source": "<script>alert(1)</script>"}
    )  # fmt: skip
    assert "<script>" not in panel and "&lt;script&gt;" in panel
    assert "<script" not in reconstruction_figures(None)
