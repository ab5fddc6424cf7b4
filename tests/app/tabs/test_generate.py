"""The tab Generate and its API, on priors with random weights."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import numpy as np
import pytest
import torch
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image

from app import shell
from app.services import generation, priors, sampling, semantic_maps
from app.tabs import generate_handlers
from app.ui.errors import Refused
from core.checkpoints import load_prior, load_tokenizer
from core.conditions import Condition
from core.data.scenes import CLASSES, PALETTE
from core.images import open_picture, to_pixels, to_tensor
from core.priors import Step
from core.priors.categorical import seeded
from tests.app.test_api import pixels
from tests.helpers.tiny_priors import prior_bundles

ALL = ("words", "planned", "both", "sketcher", "latents")
PROMPT = "a lake below mountains"


@pytest.fixture(scope="module")
def home(
    bundles: Path, tmp_path_factory: pytest.TempPathFactory, only_these: pytest.MonkeyPatch
) -> Iterator[Path]:
    """A folder with the tokenizer "tiny-regvq" and priors on its tokens, which the app sees."""
    root = prior_bundles(tmp_path_factory.mktemp("priors"), bundles / "tiny-regvq", ALL)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REGVQ_CHECKPOINTS", str(root))
        patch.setattr(
            generate_handlers, "meanwhile", lambda painter: None
        )  # no test's is another's
        yield root


@pytest.fixture(scope="module")
def client(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    app = shell.build_app()
    _, address, _ = app.launch(
        server_name="127.0.0.1", prevent_thread_lock=True, quiet=True, **shell.launch_options()
    )
    try:
        yield Client(
            address, verbose=False, download_files=str(tmp_path_factory.mktemp("downloads"))
        )
    finally:
        app.close(verbose=False)


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> tuple[np.ndarray, Path]:
    """A map of sky over grass with a house, and its painting twice as large."""
    ids = np.zeros((32, 32), np.int64)
    ids[18:] = CLASSES.index("grass")
    ids[12:22, 8:16] = CLASSES.index("house")
    path = tmp_path_factory.mktemp("maps") / "plan.png"
    Image.fromarray(PALETTE[ids]).resize((64, 64), Image.Resampling.NEAREST).save(path)
    return ids, path


# ---------------------------------------------------------------- the API


def test_a_prompt_becomes_the_priors_picture(client: Client, home: Path) -> None:
    gallery, ids, figures = client.predict(PROMPT, "words", 2, 7, api_name="/generate_text")
    prior, tokenizer = load_prior(home / "words"), load_tokenizer(home / "tiny-regvq")
    expected = prior.generate(
        Condition(texts=(PROMPT,)), 2, generator=seeded(7, 2),
        guidance=2.0, temperature=0.9,
    )  # fmt: skip
    assert ids == expected.tolist()
    shown = to_pixels(tokenizer.decode(expected))
    for entry, picture in zip(gallery, shown, strict=True):
        np.testing.assert_array_equal(pixels(entry["image"]), picture)
    assert {"prior": "words", "seed": 7, "n": 2, "guidance": 2.0, "prompt": PROMPT}.items() <= (
        figures.items()
    )
    assert [entry["caption"] for entry in gallery] == ["seed 7", "seed 8"]
    again = client.predict(PROMPT, "words", 2, 7, api_name="/generate_text")[1]
    other = client.predict(PROMPT, "words", 1, 9, api_name="/generate_text")[1]
    assert again == ids and other[0] not in ids


def test_each_picture_of_a_gallery_comes_back_with_its_seed(home: Path) -> None:
    plan = np.zeros((32, 32), np.int64)
    for name in ALL:

        def order(n: int, seed: int, name: str = name) -> generation.Order:
            if name == "words":
                return generation.text_order(PROMPT, name, n, seed)
            return generation.map_order(plan, name, n, seed)

        *_, (_, many, figures) = generation.answers(order(3, 2**31 - 2))
        assert figures["seeds"] == [2**31 - 2, 2**31 - 1, 0]
        for ids, seed in zip(many, figures["seeds"], strict=True):
            *_, (_, one, _) = generation.answers(order(1, seed))
            assert one[0] == ids, name
        assert len({str(ids) for ids in many}) == 3


def test_a_map_becomes_a_picture(client: Client, home: Path, plan: tuple) -> None:
    classes, path = plan
    _, ids, figures = client.predict(
        handle_file(path), "planned", 1, 3, api_name="/generate_semantic"
    )
    expected = load_prior(home / "planned").generate(
        Condition(segmentation=torch.from_numpy(classes)[None]), 1,
        generator=seeded(3, 1), guidance=2.0, temperature=0.9,
    )  # fmt: skip
    assert ids == expected.tolist()
    assert figures["agreement"] is None  # no segmenter is here
    _, latent, _ = client.predict(handle_file(path), "latents", api_name="/generate_semantic")
    assert np.shape(latent) == (1, 4, 4)  # the codes of what was drawn


def test_completion_keeps_what_is_not_marked(
    client: Client, home: Path, photograph: Path, tmp_path: Path
) -> None:
    mask = np.zeros((75, 101), np.uint8)
    mask[:, :40] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    inputs = (handle_file(photograph), handle_file(tmp_path / "mask.png"), "both", 5)
    _, ids, figures = client.predict(*inputs, api_name="/complete")
    whole = open_picture(photograph)
    middle = whole.crop((13, 0, 88, 75)).resize((32, 32), Image.Resampling.LANCZOS)
    tokens = load_tokenizer(home / "tiny-regvq").encode(to_tensor(middle)[None])[0].numpy()
    # Of the square in the middle, columns 13 to 40 are marked: 27 of 75, 11.5 of 32 pixels.
    assert figures["tokens_repainted"] == 8
    np.testing.assert_array_equal(np.array(ids)[0][:, 2:], tokens[:, 2:])
    assert not np.array_equal(np.array(ids)[0][:, :2], tokens[:, :2])


def test_only_what_is_needed_has_to_be_named(client: Client) -> None:
    gallery, ids, figures = client.predict(PROMPT, api_name="/generate_text")
    assert len(gallery) == 1 and np.shape(ids) == (1, 4, 4)
    assert figures["prior"] == "words" and figures["seed"] == 0  # made for nothing else


def test_bad_requests_get_a_sentence_and_the_app_goes_on(
    client: Client, plan: tuple, photograph: Path, tmp_path: Path
) -> None:
    def picture(name: str, colour: int | tuple[int, int, int]) -> object:
        Image.new("RGB", (64, 64), colour).save(tmp_path / name)
        return handle_file(tmp_path / name)

    good, white = handle_file(plan[1]), picture("white.png", (255,) * 3)
    black, pink = picture("black.png", 0), picture("pink.png", (255, 0, 128))
    photo, text, painted = handle_file(photograph), "/generate_text", "/generate_semantic"
    sampling = (None, None, None, None)
    cases = [
        (text, ("", "words"), "prompt is empty"),
        (text, (" \n ", "words"), "prompt is empty"),
        (text, ("lake " * 10_000, "words"), "10,000 words.*at most 200"),
        (text, ("x" * 50_000, "words"), "50,000 letters"),
        (text, ("🦄🦄", "words"), "knows nothing of what"),
        (text, ("狐狸", "words"), "knows nothing of what"),
        (text, (PROMPT, "gone"), "no prior called 'gone'; there is words, both"),
        (text, (PROMPT, "../../etc"), "no prior called"),
        (text, (PROMPT, "planned"), "not told by words; words, both, sketcher can"),
        (text, (PROMPT, "words", 0), "number of pictures must be a number from 1 to 8"),
        (text, (PROMPT, "words", 9), "number of pictures"),
        (text, (PROMPT, "words", 1, -1), "seed must be"),
        (text, (PROMPT, "words", 1, 0, -1.0), "guidance must be"),
        (text, (PROMPT, "words", 1, 0, None, 99.0), "temperature must be"),
        (text, (PROMPT, "words", 1, 0, None, None, 1.5), "top-k must be a whole number"),
        (text, (PROMPT, "words", 1, 0, None, None, None, 0), "top-p must be above 0"),
        (text, (PROMPT, "words", 1, 0, *sampling, 0), "number of steps must be a number from 1"),
        (text, (PROMPT, "words", 1, 0, *sampling, 1_000_000), "number of steps must be"),
        (text, (PROMPT, "words", 1, 0, *sampling, 21), "Steps must be .* from 1 to 20, got 21"),
        (painted, (good, "words"), "not told by maps"),
        (painted, (good, "planned", 1, 0, *sampling, 3), "a step per token"),
        (painted, (None, "planned"), "no map yet"),
        (painted, (pink, "planned"), "#ff0080, which stands for nothing"),
        (painted, (photo, "planned"), "which stands for nothing"),
        ("/complete", (photo, black, "words"), "mask marks nothing"),
        ("/complete", (photo, white, "words"), "covers the whole picture"),
        ("/complete", (photo, None, "words"), "no mask"),
        ("/complete", (None, white, "words"), "no picture yet"),
        ("/complete", (photo, white, "latents"), "latents, not tokens"),
    ]
    for name, inputs, words in cases:
        with pytest.raises(AppError, match=words) as refusal:
            client.predict(*inputs, api_name=name)
        assert "Traceback" not in str(refusal.value), inputs
    assert len(client.predict(PROMPT, "words", api_name=text)[0]) == 1


def test_words_that_are_not_read_are_named(home: Path) -> None:
    painter = priors.painter("words", "text")
    assert priors.told_by_text(painter, f"  {PROMPT}\n") == (PROMPT, "")
    assert "unknown" in priors.told_by_text(painter, PROMPT + " 🦄")[1]
    assert "Only the first 10 tokens" in priors.told_by_text(painter, "a lake " * 30)[1]


def test_a_prior_without_its_tokenizer_is_refused(
    home: Path, bundles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = prior_bundles(tmp_path / "moved", bundles / "tiny-regvq")
    # The tokenizer of that name is another one now.
    for file in ("config.json", "model.safetensors"):
        (root / "tiny-regvq" / file).write_bytes((bundles / "tiny-vq" / file).read_bytes())
    monkeypatch.setenv("REGVQ_CHECKPOINTS", str(root))
    with pytest.raises(gr.Error, match="trained on another tokenizer"):
        next(generation.generate_text(PROMPT, "words"))


# ---------------------------------------------------------------- the page


def drawn_for_page(way: str, prior: str, prompt: str = PROMPT, **given: object) -> list[tuple]:
    parts = [given.get(name) for name in ("plan", "hole", "source", "runs")]
    how = (2, 4, None, None, None, None, given.get("steps"))
    return list(generate_handlers.show(way, prior, prompt, *parts, *how))


@pytest.mark.parametrize("prior", ["words", "both"])
def test_the_picture_grows_in_a_few_updates(home: Path, prior: str) -> None:
    *growing, (last, runs) = drawn_for_page("From words", prior)
    updates = [value["done"] for value, _ in growing]
    assert updates == sorted(updates) and 3 <= len(updates) <= generation.UPDATES + 1
    assert len(last["pictures"]) == 2 and last["figures"]["seed"] == 4
    assert runs[-1]["ids"].shape == (2, 4, 4)
    *_, (_, ids, _) = generation.answers(generation.text_order(PROMPT, prior, 2, 4))
    assert ids == runs[-1]["ids"].tolist()


def test_each_token_shows_what_its_code_paints(home: Path) -> None:
    order = generation.map_order(np.zeros((32, 32), np.int64), "planned", 1, 0)
    tiles = priors.paints(order.painter)
    ids = torch.full((1, 4, 4), -1)
    ids[0, 0, 1] = 33
    (shown,) = generation.growing(order, Step(ids, 1, 2))
    np.testing.assert_array_equal(shown[:8, 8:16], tiles[33])
    assert shown[8:].mean() < 30  # not drawn yet


def test_closing_a_run_lets_the_next_one_begin(home: Path) -> None:
    begun = generate_handlers.show("From words", "words", PROMPT, *[None] * 4, 1, 0, *[None] * 5)
    next(begun), next(begun)
    begun.close()
    assert drawn_for_page("From words", "words")[-1][0]["pictures"]


def test_what_is_wrong_is_said_on_the_easel(home: Path) -> None:
    ((value, _),) = drawn_for_page("From words", "words", prompt="")
    assert "prompt is empty" in value["problem"]
    *_, (value, _) = drawn_for_page("From words", "words", steps=1000)
    assert "from 1 to 20" in value["problem"]
    ((value, _),) = drawn_for_page("Repaint", "words")
    assert "no picture to repaint" in value["problem"]


def test_a_painted_map_and_a_repainted_picture(home: Path, photograph: Path) -> None:
    ready = generate_handlers.prepared("From a map", "planned", None, None, None)
    paper = ready[9]
    assert (paper["mode"], paper["width"], len(paper["classes"])) == ("map", 32, len(CLASSES))
    started = np.frombuffer(base64.b64decode(paper["ids"]), np.uint8).reshape(32, 32)
    np.testing.assert_array_equal(started, semantic_maps.scenes(32)[0][1])
    *_, (value, runs) = drawn_for_page("From a map", "planned", plan=paper)
    assert len(value["pictures"]) == 2
    with pytest.raises(Refused, match="does not belong"):
        generate_handlers.ordered("From a map", "planned", "", {"ids": "AAAA"}, None, None, 1, 0)
    beyond = base64.b64encode(bytes([99]) * 1024).decode()
    with pytest.raises(Refused, match="does not belong"):
        generate_handlers.ordered("From a map", "planned", "", {"ids": beyond}, None, None, 1, 0)

    # One of the pictures, its first row of tokens rubbed out.
    event = SimpleNamespace(run=runs[-1]["run"], index=1)
    choice, source, hole = generate_handlers.repaint(runs, event)
    assert choice["value"] == "planned"
    np.testing.assert_array_equal(source["ids"], runs[-1]["ids"][1])
    marked = np.zeros((4, 4), np.uint8)
    marked[0] = 1
    hole = {**hole, "ids": base64.b64encode(marked.tobytes()).decode()}
    *_, (value, again) = drawn_for_page("Repaint", "planned", hole=hole, source=source, runs=runs)
    np.testing.assert_array_equal(again[-1]["ids"][:, 1:], source["ids"][None, 1:].repeat(2, 0))
    assert value["figures"]["tokens_repainted"] == 4 and len(again) == 2
    with pytest.raises(gr.Error, match="Only the last"):
        generate_handlers.repaint(runs, SimpleNamespace(run=10**9, index=0))


def test_a_map_that_was_drawn_first_is_shown_and_can_be_painted_on(home: Path) -> None:
    *growing, (last, runs) = drawn_for_page("From words", "sketcher", steps=20)
    drawing = [value for value, _ in growing if value["drawing"]]
    sketched = [value["sketch"] for value in drawing]
    assert sketched == sorted(sketched, reverse=True) and {True, False} == set(sketched)
    assert last["sketched"] and drawing[-1]["total"] == 4 + 20
    cells = runs[-1]["layout"]
    assert cells.shape == (2, 4, 4)
    order = generation.text_order(PROMPT, "sketcher", 2, 4, *[None] * 4, 20)
    step = next(step for step in generation.steps(order) if step.done == 4)
    shown = generation.growing(order, step)[1]
    there = cells[1] < len(CLASSES)
    np.testing.assert_array_equal(shown[5::8, 5::8][there], PALETTE[cells[1][there]])

    event = SimpleNamespace(run=runs[-1]["run"], index=1)
    choice, words, paper = generate_handlers.sketch(runs, event)
    assert (choice["value"], words["value"]) == ("sketcher", PROMPT)
    taken = np.frombuffer(base64.b64decode(paper["ids"]), np.uint8).reshape(32, 32)
    whole = np.where(there, cells[1], 0).repeat(8, 0).repeat(8, 1)
    np.testing.assert_array_equal(taken, whole)
    # That paper is the prior's own, and stays when the way turns; from it a picture is drawn.
    way = "From a map"
    assert generate_handlers.prepared(way, "sketcher", None, paper, None)[9] == gr.skip()
    *_, (value, again) = drawn_for_page("From a map", "sketcher", plan=paper, steps=20, runs=runs)
    assert not value["sketched"] and again[-1]["layout"] is None
    event = SimpleNamespace(run=again[-1]["run"], index=0)
    with pytest.raises(gr.Error, match="drawn without a map"):
        generate_handlers.sketch(again, event)


def test_the_api_gives_the_maps_that_were_drawn(client: Client, home: Path) -> None:
    _, ids, figures = client.predict(PROMPT, "sketcher", 2, 4, api_name="/generate_text")
    assert np.array(figures["layout"]).shape == np.array(ids).shape == (2, 4, 4)
    assert "layout" not in client.predict(PROMPT, "words", api_name="/generate_text")[2]


def test_settings_of_an_earlier_run_come_back(home: Path) -> None:
    *_, (value, runs) = drawn_for_page("From words", "words")
    event = SimpleNamespace(run=value["run"], index=0)
    choice, prompt, plan, source, hole, *how, resumed = generate_handlers.again(runs, event)
    way = generate_handlers.way_of(resumed)
    assert (way, choice["value"], prompt) == ("From words", "words", PROMPT)
    assert how == [2, 4, None, None, None, None, None]
    assert plan == source == hole == gr.skip()
    # What comes with another way or prior would be the prior's own settings.
    mine = resumed | {"how": (2, 4, 7.5, 0.3, 9, 0.6, 11)}
    given = generate_handlers.prepared(way, "words", None, None, None, None, mine)
    assert (*given[:4], given[4]["value"]) == (7.5, 0.3, 9, 0.6, 11)
    other = generate_handlers.prepared(way, "both", None, None, None, None, mine)
    assert other[0] != 7.5


def test_an_earlier_map_and_an_earlier_hole_come_back(home: Path) -> None:
    paper = generate_handlers.prepared("From a map", "planned", None, None, None)[9]
    *_, (value, runs) = drawn_for_page("From a map", "planned", plan=paper)
    event = SimpleNamespace(run=value["run"], index=0)
    choice, _, plan, *_, resumed = generate_handlers.again(runs, event)
    way = generate_handlers.way_of(resumed)
    assert (way, choice["value"], plan["ids"]) == ("From a map", "planned", paper["ids"])
    assert (
        generate_handlers.prepared(way, "planned", None, plan, None, None, resumed)[9] == gr.skip()
    )

    *_, source, hole = generate_handlers.repaint(runs, event)
    marked = np.zeros((4, 4), np.uint8)
    marked[1] = 1
    hole = {**hole, "ids": base64.b64encode(marked.tobytes()).decode()}
    *_, (first, runs) = drawn_for_page("Repaint", "planned", hole=hole, source=source, runs=runs)
    event = SimpleNamespace(run=first["run"], index=0)
    choice, _, _, source, hole, *_, resumed = generate_handlers.again(runs, event)
    way = generate_handlers.way_of(resumed)
    assert (way, choice["value"]) == ("Repaint", "planned")
    kept = generate_handlers.prepared(way, "planned", None, None, source, hole, resumed)
    assert kept[10] == gr.skip() and kept[11] is source
    *_, (_, runs) = drawn_for_page("Repaint", "planned", hole=hole, source=source, runs=runs)
    np.testing.assert_array_equal(runs[-1]["ids"], runs[-2]["ids"])  # the same picture once more


def test_the_api_streams_and_lets_go(client: Client, home: Path) -> None:
    job = client.submit(PROMPT, "sketcher", 2, 4, api_name="/generate_text")
    last = job.result()
    seen = job.outputs()
    done = [figures["done"] for *_, figures in seen[:-1]]
    assert len(done) >= 3 and done == sorted(done) and "total" in seen[0][2]
    assert (np.array(seen[0][1]) == -1).all()  # a map grows first
    assert len(seen[0][0]) == len(last[0]) == 2 and last[1] == seen[-1][1]

    closed = []
    sample = priors.painter("words", "text").prior.sample

    def watched(*given: object, **how: object) -> Iterator[Step]:
        try:
            yield from sample(*given, **how)
        finally:
            closed.append(True)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(priors.painter("words", "text").prior, "sample", watched)
        running = generation.generate_text(PROMPT, "words")
        next(running)
        assert not closed
        running.close()
        assert closed == [True]


@pytest.mark.parametrize("value", [10**400, "1e999", float("nan"), [1], {}])
def test_what_is_no_number_is_refused(value: object) -> None:
    with pytest.raises(Refused, match="must be a"):
        sampling.settings(priors.painter("words", "text"), 1, value)


def test_half_a_letter_is_no_letter(home: Path) -> None:
    order = generation.text_order("\ud800 lake", "words")
    assert order.prompt == "? lake" and "unknown" in order.note


def test_a_prior_that_is_kept_is_not_chosen_once_more(home: Path) -> None:
    # The answer may come after the visitor's next choice, which it must not undo.
    kept = generate_handlers.turned("From a map", "both")[0]
    assert "value" not in kept and "both" in kept["choices"]
    assert generate_handlers.turned("From a map", "words")[0]["value"] == "planned"


def test_every_way_offers_the_priors_that_know_it(home: Path) -> None:
    offered = {
        way: generate_handlers.turned(way, None)[0]["choices"] for way in generate_handlers.WAYS
    }
    assert offered == {
        "From words": ["words", "both", "sketcher"],
        "From a map": ["planned", "both", "sketcher", "latents"],
        "Repaint": ["both", "sketcher", "words", "planned"],  # what sees all that is known first
    }
    ready = generate_handlers.prepared("From words", "words", None, None, None)
    assert ready[0] == 2.0 and ready[1] == 0.9 and ready[4]["value"] == 20
    assert set(ready[7]) == {caption for caption, _ in semantic_maps.scenes(64)}


def test_the_tab_opens_without_loading_a_prior(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    priors._prior.cache_clear()
    meanwhile: list[priors.Painter] = []
    monkeypatch.setattr(generate_handlers, "meanwhile", meanwhile.append)
    for way, prior in (("From words", "words"), ("From a map", "planned"), ("Repaint", "both")):
        assert generate_handlers.prepared(way, prior, None, None, None)[-1] == {"empty": True}
    assert priors._prior.cache_info().currsize == 0
    assert [each.name for each in meanwhile] == ["words"]
    generate_handlers.load(meanwhile[0])
    assert priors._prior.cache_info().currsize == 1
    _ = priors.painter("words", "text").prior
    assert priors._prior.cache_info().hits == 1


def test_without_a_prior_the_page_says_how_to_get_one(
    monkeypatch: pytest.MonkeyPatch, bundles: Path
) -> None:
    monkeypatch.setenv("REGVQ_CHECKPOINTS", str(bundles))
    for way in generate_handlers.WAYS:
        assert (
            "Train one: python train/run.py"
            in (generate_handlers.prepared(way, None, None, None, None)[-1]["none"])
        )
    with pytest.raises(gr.Error, match="no prior for this yet"):
        next(generation.generate_text(PROMPT))


# ---------------------------------------------------------------- maps and masks


def test_colours_are_snapped_to_the_palette(tmp_path: Path) -> None:
    known = semantic_maps.Legend(("red", "green"), ((255, 0, 0), (0, 255, 0)))
    drawn = np.zeros((20, 20, 3), np.uint8)
    drawn[:, :10], drawn[:, 10:] = (250, 12, 9), (9, 244, 20)
    drawn[0, 0] = (0, 0, 255)  # a stray pixel
    Image.fromarray(drawn).save(tmp_path / "map.png")
    ids = semantic_maps.read_map(str(tmp_path / "map.png"), known, (20, 20))
    assert (ids[:, 10:] == 1).all() and (ids.ravel()[1:10] == 0).all()
    drawn[:4] = (0, 0, 255)
    Image.fromarray(drawn).save(tmp_path / "map.png")
    with pytest.raises(Refused, match=r"#0000ff.*cover 20 %.*nearest known one is #ff0000, red"):
        semantic_maps.read_map(str(tmp_path / "map.png"), known, (20, 20))


def test_fronts_of_houses_are_painted_in_their_classes() -> None:
    from core.data.datasets.facades import CLASSES as PARTS
    from core.data.datasets.facades import Facades

    known = semantic_maps.Legend(PARTS, tuple(map(tuple, Facades.palette.tolist())))
    made = semantic_maps.house_fronts(known, 64, 96)
    assert len(made) == 4
    for _, ids in made:
        assert ids.shape == (96, 64)
        assert {"facade", "window", "door"} <= {PARTS[i] for i in np.unique(ids)}
    assert semantic_maps.house_fronts(semantic_maps.Legend(("sky",), ((0, 0, 0),)), 8, 8) == ()
