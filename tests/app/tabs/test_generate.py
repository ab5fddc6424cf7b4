"""The page of the tab Generate, its handlers called directly, on priors with random weights."""

from __future__ import annotations

import base64
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import numpy as np
import pytest

from app.services import generation, generation_examples, priors
from app.services.errors import UserError
from app.services.generation_runs import SAMPLED
from app.tabs import generate_api
from app.tabs import generate_handlers as handlers
from core.data.scenes import CLASSES, PALETTE

PROMPT = "a lake below mountains"


def run_page(mode: str, prior: str, prompt: str = PROMPT, **given: object) -> list[tuple]:
    """Return the pairs (results, runs or None) that a run sends to the page."""
    parts = [given.get(name) for name in ("plan", "hole", "source", "runs", "label")]
    sampled = (2, 4, None, None, None, None, given.get("steps"))
    found = handlers.generate(mode, prior, prompt, *parts, *sampled)
    return [(values["results"], values.get("runs")) for values in found]


@pytest.mark.parametrize("prior", ["words", "both"])
def test_unfinished_pictures_are_shown_a_few_times(home: Path, prior: str) -> None:
    *unfinished, (last, runs) = run_page("text", prior)
    updates = [value["done"] for value, _ in unfinished]
    assert updates == sorted(updates) and 3 <= len(updates) <= generation.UPDATES + 1
    assert len(last["pictures"]) == 2 and last["figures"]["seed"] == 4
    assert runs[-1].ids.shape == (2, 4, 4)
    *_, (_, ids, _) = generation.stream_results(generation.text_request(PROMPT, prior, 2, 4))
    assert ids == runs[-1].ids.tolist()


def test_closing_a_run_lets_the_next_one_start(home: Path) -> None:
    running = handlers.generate("text", "words", PROMPT, *[None] * 5, 1, 0, *[None] * 5)
    next(running), next(running)
    running.close()
    assert run_page("text", "words")[-1][0]["pictures"]


def test_problems_are_shown_in_the_place_of_results(home: Path) -> None:
    ((value, _),) = run_page("text", "words", prompt="")
    assert "prompt is empty" in value["problem"]
    *_, (value, _) = run_page("text", "words", steps=1000)
    assert "from 1 to 20" in value["problem"]
    ((value, _),) = run_page("complete", "words")
    assert "no picture to inpaint" in value["problem"]


def test_a_drawn_map_and_an_inpainted_picture(home: Path, photograph: Path) -> None:
    canvas = handlers.on_prior_change("semantic", "planned", None, None, None)["plan"]
    assert (canvas["mode"], canvas["width"], len(canvas["classes"])) == ("map", 32, len(CLASSES))
    started = np.frombuffer(base64.b64decode(canvas["ids"]), np.uint8).reshape(32, 32)
    np.testing.assert_array_equal(started, generation_examples.scenes(32)[0][1])
    *_, (value, runs) = run_page("semantic", "planned", plan=canvas)
    assert len(value["pictures"]) == 2
    with pytest.raises(UserError, match="does not belong"):
        handlers.parse_page("semantic", "planned", "", {"ids": "AAAA"}, None, None, None, 1, 0)
    beyond = base64.b64encode(bytes([99]) * 1024).decode()
    with pytest.raises(UserError, match="does not belong"):
        handlers.parse_page("semantic", "planned", "", {"ids": beyond}, None, None, None, 1, 0)

    # One of the pictures, its first row of tokens erased.
    event = SimpleNamespace(run=runs[-1].run, index=1)
    found = handlers.inpaint_result(runs, event)
    source, hole = found["source"], found["hole"]
    assert found["prior"]["value"] == "planned"
    np.testing.assert_array_equal(source.ids, runs[-1].ids[1])
    # The prior's settings may come when a part has been erased already, which stays.
    given = "complete", "planned", None, canvas, source, hole
    settings = handlers.on_prior_change(*given, shown="semantic:planned")
    assert settings["shown"] == "complete:planned" and not {"hole", "source"} & set(settings)
    assert {"hole", "source"} < set(handlers.on_prior_change("complete", "both", *given[2:]))
    marked = np.zeros((4, 4), np.uint8)
    marked[0] = 1
    hole = {**hole, "ids": base64.b64encode(marked.tobytes()).decode()}
    *_, (value, again) = run_page("complete", "planned", hole=hole, source=source, runs=runs)
    np.testing.assert_array_equal(again[-1].ids[:, 1:], source.ids[None, 1:].repeat(2, 0))
    assert value["figures"]["tokens_repainted"] == 4 and len(again) == 2
    with pytest.raises(gr.Error, match="Only the last"):
        handlers.inpaint_result(runs, SimpleNamespace(run=10**9, index=0))


def test_the_map_of_a_two_stage_prior_is_shown_and_can_be_used(home: Path) -> None:
    *unfinished, (last, runs) = run_page("text", "sketcher", steps=20)
    drawing = [value for value, _ in unfinished if value["drawing"]]
    sketched = [value["sketch"] for value in drawing]
    assert sketched == sorted(sketched, reverse=True) and {True, False} == set(sketched)
    assert last["sketched"] and drawing[-1]["total"] == 4 + 20
    cells = runs[-1].layout
    assert cells.shape == (2, 4, 4)
    request = generation.text_request(PROMPT, "sketcher", 2, 4, *[None] * 4, 20)
    step = next(step for step in generation.shown_steps(request) if step.done == 4)
    shown = generation.preview_images(request, step)[1]
    there = cells[1] < len(CLASSES)
    np.testing.assert_array_equal(shown[5::8, 5::8][there], PALETTE[cells[1][there]])

    event = SimpleNamespace(run=runs[-1].run, index=1)
    found = handlers.use_map(runs, event)
    canvas = found["plan"]
    assert (found["prior"]["value"], found["prompt"]["value"]) == ("sketcher", PROMPT)
    taken = np.frombuffer(base64.b64decode(canvas["ids"]), np.uint8).reshape(32, 32)
    whole = np.where(there, cells[1], 0).repeat(8, 0).repeat(8, 1)
    np.testing.assert_array_equal(taken, whole)
    # The canvas belongs to the prior and stays when the mode changes.
    changed = handlers.on_prior_change("semantic", "sketcher", None, canvas, None)
    assert "plan" not in changed
    *_, (value, again) = run_page("semantic", "sketcher", plan=canvas, steps=20, runs=runs)
    assert not value["sketched"] and again[-1].layout is None
    event = SimpleNamespace(run=again[-1].run, index=0)
    with pytest.raises(gr.Error, match="generated without a map"):
        handlers.use_map(again, event)


def test_settings_of_an_earlier_run_are_restored(home: Path) -> None:
    *_, (value, runs) = run_page("text", "words")
    event = SimpleNamespace(run=value["run"], index=0)
    found = handlers.restore_run(runs, event)
    restored = found["restored"]
    mode = handlers.restored_mode(restored)
    assert (mode, found["prior"]["value"], found["prompt"]) == ("text", "words", PROMPT)
    assert [found[name] for name in SAMPLED] == [2, 4, None, None, None, None, None]
    assert not {"plan", "source", "hole"} & set(found)
    # With another mode or prior, the prior's own settings are shown.
    mine = replace(restored, sampled=(2, 4, 7.5, 0.3, 9, 0.6, 11))
    given = handlers.on_prior_change(mode, "words", None, None, None, None, mine)
    names = ("guidance", "temperature", "top_k", "top_p")
    assert (*(given[name] for name in names), given["steps"]["value"]) == (7.5, 0.3, 9, 0.6, 11)
    other = handlers.on_prior_change(mode, "both", None, None, None, None, mine)
    assert other["guidance"] != 7.5


def test_an_earlier_map_and_an_earlier_hole_are_restored(home: Path) -> None:
    canvas = handlers.on_prior_change("semantic", "planned", None, None, None)["plan"]
    *_, (value, runs) = run_page("semantic", "planned", plan=canvas)
    event = SimpleNamespace(run=value["run"], index=0)
    found = handlers.restore_run(runs, event)
    mode, plan = handlers.restored_mode(found["restored"]), found["plan"]
    chosen = found["prior"]["value"]
    assert (mode, chosen, plan["ids"]) == ("semantic", "planned", canvas["ids"])
    changed = handlers.on_prior_change(mode, "planned", None, plan, None, None, found["restored"])
    assert "plan" not in changed

    found = handlers.inpaint_result(runs, event)
    source, hole = found["source"], found["hole"]
    marked = np.zeros((4, 4), np.uint8)
    marked[1] = 1
    hole = {**hole, "ids": base64.b64encode(marked.tobytes()).decode()}
    *_, (first, runs) = run_page("complete", "planned", hole=hole, source=source, runs=runs)
    found = handlers.restore_run(runs, SimpleNamespace(run=first["run"], index=0))
    mode, source, hole = handlers.restored_mode(found["restored"]), found["source"], found["hole"]
    assert (mode, found["prior"]["value"]) == ("complete", "planned")
    changed = handlers.on_prior_change(mode, "planned", None, None, source, hole, found["restored"])
    assert not {"hole", "source"} & set(changed)  # both stay
    *_, (_, runs) = run_page("complete", "planned", hole=hole, source=source, runs=runs)
    np.testing.assert_array_equal(runs[-1].ids, runs[-2].ids)  # the same picture again


def test_what_a_visitor_has_set_and_drawn_stays_while_the_prior_does(home: Path) -> None:
    # A list reports a choice again when it loses the focus, and the tab when it is opened again.
    first = handlers.on_prior_change("text", "words", None, None, None)
    assert first["shown"] == "text:words" and first["results"] == {"empty": True}
    again = handlers.on_prior_change("text", "words", None, None, None, shown=first["shown"])
    changed = {"guidance", "temperature", "top_k", "top_p", "steps", "results"}
    assert changed <= set(first) and not changed & set(again)
    other = handlers.on_prior_change("text", "both", None, None, None, shown=first["shown"])
    assert other["shown"] == "text:both" and changed <= set(other)

    first = handlers.on_prior_change("complete", "both", None, None, None)
    source, hole = first["source"], first["hole"]
    given = ("complete", "both", None, None, source, hole, None, None)
    assert not {"source", "hole"} & set(handlers.on_prior_change(*given, first["shown"]))
    of_another = {**hole, "key": "inpaint:words:1"}
    given = ("complete", "both", None, None, source, of_another, None, None)
    assert {"source", "hole"} <= set(handlers.on_prior_change(*given, "complete:words"))
    emptied = handlers.on_prior_change(
        "complete", "both", None, None, source, {}, shown="complete:both"
    )
    assert emptied["hole"]["mode"] == "mask"


def test_the_page_knows_whose_settings_it_has_after_a_problem_too(home: Path) -> None:
    changed = handlers.on_prior_change("text", "nobody", None, None, None)
    assert changed["results"]["problem"] and changed["shown"] == "text:nobody"


def test_a_prior_that_stays_is_not_chosen_again(home: Path) -> None:
    # The answer may arrive after the user's next choice, and must not undo it.
    kept = handlers.on_mode_change("semantic", "both")["prior"]
    assert "value" not in kept and "both" in kept["choices"]
    assert handlers.on_mode_change("semantic", "words")["prior"]["value"] == "planned"


def test_every_mode_offers_the_priors_that_are_usable_in_it(home: Path) -> None:
    offered = {
        mode: handlers.on_mode_change(mode, None)["prior"]["choices"] for mode in handlers.TITLES
    }
    assert offered == {
        "text": ["words", "both", "sketcher"],
        "label": [],
        "semantic": ["planned", "both", "sketcher", "latents"],
        "complete": ["both", "sketcher", "words", "planned"],  # those that see all known tokens
    }
    ready = handlers.on_prior_change("text", "words", None, None, None)
    assert ready["guidance"] == 2.0 and ready["temperature"] == 0.9
    assert ready["steps"]["value"] == 20
    assert set(ready["prompts"]) == {caption for caption, _ in generation_examples.scenes(64)}


def test_the_tab_opens_without_loading_a_prior(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    priors._load.cache_clear()
    preloaded: list[priors.PriorHandle] = []
    monkeypatch.setattr(priors, "preload_prior", preloaded.append)
    for mode, prior in (("text", "words"), ("semantic", "planned"), ("complete", "both")):
        changed = handlers.on_prior_change(mode, prior, None, None, None)
        assert changed["results"] == {"empty": True}
    assert priors._load.cache_info().currsize == 0
    assert [each.name for each in preloaded] == ["words"]
    priors.load_text_prior(preloaded[0])
    assert priors._load.cache_info().currsize == 1
    _ = priors.open_prior("words", "text").prior
    assert priors._load.cache_info().hits == 1


def test_without_a_prior_the_page_says_how_to_get_one(
    monkeypatch: pytest.MonkeyPatch, bundles: Path
) -> None:
    monkeypatch.setenv("REGVQ_CHECKPOINTS", str(bundles))
    for mode in handlers.TITLES:
        changed = handlers.on_prior_change(mode, None, None, None, None)
        assert "Train one: python train/run.py" in changed["results"]["none"]
        assert changed["shown"] == f"{mode}:"
    with pytest.raises(gr.Error, match="no prior for this yet"):
        next(generate_api.generate_text(PROMPT))


def test_an_uploaded_picture_is_shown_for_inpainting(home: Path, photograph: Path) -> None:
    found = handlers.on_upload(str(photograph), "both")
    assert found["source"].ids.shape == (4, 4) and found["hole"]["mode"] == "mask"
    assert found["hole"]["under"].startswith("data:image/png;base64,")
    assert handlers.on_upload(None, "both") == {}
