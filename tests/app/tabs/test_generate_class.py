"""Pictures of a class: by name or number, on the page and as an endpoint."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from app.services import generation, priors, worked_example
from app.services.errors import UserError
from app.tabs import generate_api
from app.tabs import generate_handlers as handlers
from core.checkpoints import load_prior
from core.conditions import Condition
from core.priors.categorical import seeded
from tests.helpers.tiny_priors import prior_bundles


@pytest.fixture(scope="module", autouse=True)
def home(bundles: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    names = ("classes", "numbers", "words")
    root = prior_bundles(tmp_path_factory.mktemp("class"), bundles / "tiny-regvq", names)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REGVQ_CHECKPOINTS", str(root))
        yield root


def run_page(prior: str, label: Any) -> list[dict[str, Any]]:
    sampled = (2, 4, None, None, None, None, None)
    return list(handlers.generate("label", prior, "", None, None, None, None, label, *sampled))


@pytest.mark.parametrize("name", ["golden retriever", "Golden  Retriever", 1, 1.0, "1"])
def test_a_class_becomes_the_priors_pictures(home: Path, name: Any) -> None:
    *_, (gallery, ids, figures) = generate_api.generate_class(name, "classes", 2, 7)
    expected = load_prior(home / "classes").generate(
        Condition(labels=torch.tensor([1])), 2, generator=seeded(7, 2), guidance=2.0,
        temperature=0.9,
    )  # fmt: skip
    assert ids == expected.tolist() and len(gallery) == 2
    assert figures["class"] == "Golden Retriever" and figures["prior"] == "classes"
    *_, (_, other, _) = generate_api.generate_class("church", "classes", 2, 7)
    assert other != ids


def test_a_bundle_without_names_has_numbers() -> None:
    assert priors.open_prior("numbers", "label").labels == ("class 0", "class 1", "class 2")
    *_, (_, _, figures) = generate_api.generate_class("class 2", "numbers")
    assert figures["class"] == "class 2"
    assert priors.open_prior("words", "text").labels == ()


def test_what_is_no_class_is_refused_with_the_classes() -> None:
    known = "tench, Golden Retriever, church"
    for name, words in (
        ("", f"Choose a class: {known}."),
        (None, "Choose a class"),
        ("cat", f"knows no class 'cat'; its classes are: {known}."),
        (3, "knows no class '3'"),
        (-1, "knows no class '-1'"),
        (1.5, "knows no class '1.5'"),
        (True, "knows no class 'true'"),
        (["church"], "knows no class"),
        ("9" * 500, "knows no class '9"),
    ):
        with pytest.raises(UserError, match=r"(?s)") as refusal:
            generation.label_request(name, "classes")
        assert words in str(refusal.value) and len(str(refusal.value)) < 300
    with pytest.raises(UserError, match="words is not conditioned on classes; usable here: "):
        generation.label_request("church", "words")


def test_the_page_offers_the_priors_classes_and_keeps_one_that_fits() -> None:
    mode = handlers.on_mode_change("label", "words")
    assert set(mode["prior"]["choices"]) == {"classes", "numbers"}
    assert mode["label"]["visible"] and not mode["map_mode"]["visible"]
    assert not handlers.on_mode_change("text", "words")["label"]["visible"]
    ready = handlers.on_prior_change("label", "classes", None, None, None)
    assert ready["label"]["choices"] == ["tench", "Golden Retriever", "church"]
    assert ready["label"]["value"] == "tench" and not ready["prompt_column"]["visible"]
    kept = handlers.on_prior_change("label", "classes", None, None, None, label="church")
    assert "value" not in kept["label"]
    other = handlers.on_prior_change("label", "numbers", None, None, None, label="church")
    assert other["label"]["value"] == "class 0"


def test_a_run_of_the_page_is_generated_and_restored() -> None:
    *unfinished, last = run_page("classes", "church")
    assert unfinished[0]["results"]["title"] == "Class"
    runs = last["runs"]
    *_, (_, ids, _) = generate_api.generate_class("church", "classes", 2, 4)
    assert runs[-1].ids.tolist() == ids and last["results"]["figures"]["class"] == "church"
    event = SimpleNamespace(run=runs[-1].run, index=0)
    restored = handlers.restore_run(runs, event)
    assert restored["label"]["value"] == "church" and restored["restored"].mode == "label"
    ((value),) = run_page("classes", "cat")
    assert "knows no class" in value["results"]["problem"]


def test_an_example_of_a_class_is_worked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGVQ_CACHE", str(tmp_path))
    monkeypatch.setattr(worked_example, "_worked", {})
    monkeypatch.setattr("app.services.idle.QUIET", 0.0)
    handle = priors.open_prior("classes", "label")
    assert handlers.on_prior_change("label", "classes", None, None, None)["results"] == {
        "empty": True
    }
    worked_example.prepare(handle)
    view = handlers.on_prior_change("label", "classes", None, None, None)["results"]
    assert view["example"] and view["title"] == "Class" and view["figures"]["class"] == "tench"
    *_, (_, ids, _) = generate_api.generate_class("tench", "classes", 4, 0)
    found = np.asarray(worked_example._worked[handle][1])
    assert found.tolist() == ids
