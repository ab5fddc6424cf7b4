"""The worked example of the tab Generate: the pictures of its prompt, made once."""

from __future__ import annotations

import base64
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from app.services import generation, gpu, priors, sampling, worked_example
from app.services.generation_examples import example_prompts
from app.tabs import generate_handlers as handlers


@pytest.fixture(autouse=True)
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGVQ_CACHE", str(tmp_path))
    monkeypatch.setattr(worked_example, "_worked", {})
    monkeypatch.setattr("app.services.idle.QUIET", 0.0)


def test_the_example_is_what_its_prompt_generates(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    handle = priors.open_prior("words", "text")
    assert handlers.on_prior_change("text", "words", None, None, None)["results"] == {"empty": True}
    worked_example.prepare(handle)
    request = generation.text_request(example_prompts(handle)[0], "words", 4, 0)
    *_, step = generation.shown_steps(request)
    result = generation.finish(request, step, 0.0)
    shown = handlers.on_prior_change("text", "words", None, None, None)["results"]
    assert shown["example"] and shown["shape"] == [4, 4, 4]
    for file, picture in zip(shown["pictures"], result.pictures, strict=True):
        np.testing.assert_array_equal(np.asarray(Image.open(file["path"])), np.asarray(picture))
    ids = np.frombuffer(base64.b64decode(shown["ids"]), "<u4").reshape(4, 4, 4)
    np.testing.assert_array_equal(ids, result.ids)
    assert shown["figures"]["prompt"] == request.prompt and "seconds" not in shown["figures"]
    # Other modes, and priors without an example, begin empty.
    for mode, name in (("semantic", "planned"), ("text", "both")):
        view = handlers.on_prior_change(mode, name, None, None, None)["results"]
        assert view == {"empty": True}

    # The next start reads it.
    def fails(*_: object) -> None:
        raise AssertionError("it is generated again")

    monkeypatch.setattr(worked_example, "_worked", {})
    monkeypatch.setattr(sampling, "sample", fails)
    worked_example.prepare(handle)
    assert handlers.on_prior_change("text", "words", None, None, None)["results"]["example"]


def test_no_lent_gpu_is_used_for_it(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "LENT", True)
    handle = priors.open_prior("words", "text")
    worked_example.prepare(handle)
    assert worked_example.example_view(handle) is None
    worked_example.prepare(priors.open_prior("planned", "semantic"))  # takes no text
