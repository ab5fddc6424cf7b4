"""The shell: the page that is built, its header, and the links that open it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import gradio as gr
import pytest

from app import shell
from app.services import checkpoints, examples, links, priors
from app.ui.errors import report_user_errors
from core.paths import ROOT

NAME = "tiny-regvq"
NO_CHECKPOINT = (
    "No checkpoint is available yet. Train one (python train/run.py photos-regvq), or name a "
    "folder or a repository of the Hugging Face Hub in REGVQ_CHECKPOINTS and start again."
)


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


def test_the_header_describes_the_checkpoint() -> None:
    assert "60 learned codes, one for every 8 × 8 pixels" in shell.header("tiny-regvq")
    assert NO_CHECKPOINT in shell.header(None)


def test_without_any_checkpoint_the_page_says_how_to_get_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("REGVQ_CHECKPOINTS", str(tmp_path))
    assert NO_CHECKPOINT in str(shell.build_app().config)
    with pytest.raises(gr.Error, match=re.escape(NO_CHECKPOINT)):
        report_user_errors(checkpoints.bundle)("tiny-regvq")


def test_the_page_opens_where_the_link_leads(warned: list[str]) -> None:
    opened = shell.open_page("?tab=codemap&checkpoint=tiny-vq&code=17&seed=x")
    assert opened["checkpoint"]["value"] == "tiny-vq"
    assert opened["here"] == "Code map" and opened["code"] == 17
    assert opened["picture"] == examples.examples()[0].path
    assert len(warned) == 1 and "The seed of the link is ignored." in warned[0]
    # What the link does not mention keeps its value.
    assert not {"mask_ratio", "seed", "prior", "prompt", "prompt_seed"} & set(opened)
    assert "value" not in shell.open_page("", "tiny-vq")["checkpoint"]
    assert list(links.TABS) == [tab.id for tab in _tabs()]
    assert list(links.TABS.values()) == [tab.label for tab in _tabs()]


def _tabs() -> list[gr.Tab]:
    return [block for block in shell.build_app().blocks.values() if isinstance(block, gr.Tab)]


def test_a_users_picture_is_never_in_the_link(photograph: Path, tmp_path: Path) -> None:
    example = examples.examples()[-1].path
    cached = shutil.copy(example, tmp_path)  # as Gradio's cache has it
    rest = (17, 0.0, 0, "words", "my secret", 3)
    own = shell.copy_link("Codebook", NAME, str(photograph), *rest)
    assert own["own"] and own["query"] == f"tab=codebook&checkpoint={NAME}&code=17"
    found = shell.copy_link("Codebook", NAME, cached, *rest)
    assert not found["own"] and f"example={Path(example).stem}" in found["query"]
    # An upload with the file name of an example is still the user's own picture.
    forged = tmp_path / "own" / Path(example).name
    forged.parent.mkdir()
    shutil.copy(photograph, forged)
    assert shell.copy_link("Codebook", NAME, str(forged), *rest)["own"]
    assert "example" not in shell.copy_link("Codebook", NAME, str(forged), *rest)["query"]
    generating = shell.copy_link("Generate", NAME, cached, *rest)["query"]
    assert "prompt=my+secret" in generating and "prompt-seed=3" in generating


def test_what_a_link_refuses_is_not_copied_into_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A prior of another condition, and a prompt of several lines, as the page may have them."""
    monkeypatch.setattr(priors, "names", lambda mode: ["of-texts"] if mode == "text" else [])
    for prior in ("of-texts", "of-maps", None):
        query = shell.copy_link(
            "Generate", NAME, None, 0, 0.0, 0, prior, " a lake\nbelow\tmountains ", 5
        )["query"]
        found = links.parse_query(query)
        assert found.ignored == [] and found.prompt == "a lake below mountains"
        assert found.prior == (prior if prior == "of-texts" else None) and found.prompt_seed == 5


def test_no_listener_follows_what_the_server_sets() -> None:
    """Gradio fires "change" for what a handler sets, and whenever a call that has the component as
    an input begins or ends: listeners that set each other's components would never come to rest."""
    app = shell.build_app()
    fired = [target for one in app.fns.values() for target in one.targets]
    assert ("change" not in {event for _, event in fired}) and len(fired) > 60
    # A tab that is not open does no work: the views follow the event that names their tab.
    changed = next(one for one in app.blocks.values() if one.elem_id == "changed")
    asking = {event for source, event in fired if source == changed._id}
    assert asking == {"checkpoint", "reconstruct", "codebook", "codemap", "masks", "about"}
