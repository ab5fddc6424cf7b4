# ruff: noqa: F811  (fixtures are imported and are the parameters of tests)
"""Thirty visitors at once: look-ups pass the models' line, in which everybody gets a turn.

The model waits for the test, so that nothing here depends on a clock.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import gradio as gr
import pytest
from gradio_client import Client, handle_file

from app.services import reconstruction
from app.services.examples import examples
from app.services.fair_line import FULL, REPLACED
from app.services.model_lock import LOCK
from app.tabs.reconstruct import show
from app.ui.model_line import QUEUES
from tests.app.conftest import bundles  # noqa: F401  (a fixture)
from tests.helpers import local_http as http
from tests.public.explorers import explorer  # noqa: F401  (a fixture)

NAME = "tiny-regvq"
PATIENCE = 120


class Model:
    """A model that runs one reconstruction when the test says so; it notes the seeds it served."""

    def __init__(self) -> None:
        self.served: list[int] = []
        self._may_run = threading.Semaphore(0)
        self.asked = threading.Semaphore(0)

    def run(self, request: Any) -> Any:
        self.asked.release()
        with LOCK:  # as a model that computes holds it
            assert self._may_run.acquire(timeout=PATIENCE)
            self.served.append(request.seed)
            return real_run(request)

    def first_view(self, request: Any) -> Any:
        self.run(request)
        return real_view(request)

    def serve(self, count: int) -> None:
        for _ in range(count):
            self._may_run.release()


real_run, real_view = reconstruction.run, reconstruction.first_view


@pytest.fixture
def model(explorer: gr.Blocks, monkeypatch: pytest.MonkeyPatch) -> Iterator[Model]:
    found = Model()
    visitor(explorer).predict(NAME, 5, api_name="/code_detail")  # the example is encoded now
    monkeypatch.setattr(reconstruction, "run", found.run)
    monkeypatch.setattr(reconstruction, "first_view", found.first_view)
    yield found
    found.serve(1000)


def visitor(explorer: gr.Blocks) -> Client:
    patience = {"timeout": PATIENCE}
    return Client(explorer.local_url, verbose=False, download_files=False, httpx_kwargs=patience)


def ask(client: Client, seed: int) -> Any:
    picture = handle_file(examples()[0].path)
    return client.submit(picture, NAME, 0.5, seed, api_name="/reconstruct")


def waiting(explorer: gr.Blocks) -> list[Any]:
    return list(explorer._queue.event_queue_per_concurrency_id["model"].queue)


def wait_for(explorer: gr.Blocks, count: int) -> None:
    """Wait until ``count`` requests stand in the models' line."""
    for _ in range(PATIENCE * 20):
        if len(waiting(explorer)) == count:
            return
        threading.Event().wait(0.05)
    raise AssertionError(f"{len(waiting(explorer))} requests wait, not {count}")


def test_look_ups_are_answered_while_thirty_visitors_wait(
    explorer: gr.Blocks, model: Model
) -> None:
    visitors = [visitor(explorer) for _ in range(30)]
    with ThreadPoolExecutor(30) as pool:  # they upload their pictures
        jobs = list(pool.map(ask, visitors, range(30)))
    wait_for(explorer, 29)
    looker = visitor(explorer)
    for _ in range(3):
        *_, figures, _ = looker.predict(NAME, 7, api_name="/code_detail")
        assert figures["code"] == 7
        assert looker.predict(NAME, "pca", api_name="/code_map")[1]["method"] == "pca"
        assert looker.predict(NAME, "bundle", api_name="/codebook_usage")[1]["total"] == 60
    assert model.served == [] and len(waiting(explorer)) == 29
    model.serve(30)
    for seed, job in enumerate(jobs):
        assert job.result(PATIENCE)[3]["seed"] == seed
    assert sorted(model.served) == list(range(30))


def test_a_visitors_first_job_runs_before_anothers_second(
    explorer: gr.Blocks, model: Model
) -> None:
    busy, other = visitor(explorer), visitor(explorer)
    jobs = []
    for count in range(4):
        jobs.append(ask(busy, 100 + count))
        if count == 0:  # an empty line alone does not show that the first one has arrived
            assert model.asked.acquire(timeout=PATIENCE)
        wait_for(explorer, count)
    jobs.append(ask(other, 200))
    wait_for(explorer, 4)
    model.serve(5)
    for job in jobs:
        job.result(PATIENCE)
    assert model.served == [100, 200, 101, 102, 103]


class Page:
    """A visitor's page, as far as it sends choices of the tab Reconstruct."""

    def __init__(self, explorer: gr.Blocks, name: str) -> None:
        self.address, self.session = explorer.local_url + "gradio_api", name
        self.press_of = next(one for one in explorer.fns.values() if one.fn is show)
        picture = Path(examples()[0].path)
        sent = http.post(f"{self.address}/upload", files={"files": picture.read_bytes()})
        self.picture = {
            "path": sent.raise_for_status().json()[0],
            "meta": {"_type": "gradio.FileData"},
        }

    def press(self, seed: int) -> str:
        """Choose a seed; return the request's id."""
        sent = {
            "data": [self.picture, NAME, 0.5, seed, None, None],
            "fn_index": self.press_of._id,
            "session_hash": self.session,
            "trigger_id": self.press_of.targets[0][0],
        }
        answer = http.post(f"{self.address}/queue/join", json=sent)
        return answer.raise_for_status().json()["event_id"]

    def answers(self) -> dict[str, dict[str, Any]]:
        """Return the last answer to each request, when all have been answered."""
        found = {}
        address = f"{self.address}/queue/data?session_hash={self.session}"
        with http.stream("GET", address, timeout=PATIENCE) as lines:
            for line in lines.iter_lines():
                message = json.loads(line.removeprefix("data:")) if line else {}
                if message.get("msg") == "process_completed":
                    found[message["event_id"]] = message
                if message.get("msg") == "close_stream":
                    break
        return found


def test_pressing_again_replaces_ones_own_waiting_request(
    explorer: gr.Blocks, model: Model
) -> None:
    first = ask(visitor(explorer), 300)
    assert model.asked.acquire(timeout=PATIENCE)
    page, other = Page(explorer, "one"), Page(explorer, "another")
    pressed = page.press(301)
    other.press(302)
    wait_for(explorer, 2)
    again = page.press(303)
    assert [event.data.data[3] for event in waiting(explorer)] == [303, 302]
    model.serve(3)
    first.result(PATIENCE)
    answers = page.answers()
    assert answers[pressed]["output"]["error"] == REPLACED
    # The page keeps what it shows until the newer request is answered.
    assert answers[pressed]["success"] and not any(
        "value" in one for one in answers[pressed]["output"]["data"]
    )
    assert answers[again]["success"] and "error" not in answers[again]["output"]
    other.answers()
    assert model.served == [300, 303, 302]


def test_a_program_with_many_names_shuts_nobody_out(explorer: gr.Blocks, model: Model) -> None:
    """Once, 257 calls of invented sessions filled the queue, and no page could be opened."""
    pages = [Page(explorer, "hog")]
    pages[0].press(0)
    assert model.asked.acquire(timeout=PATIENCE)
    for number in range(300):
        pages[0].session = f"hog{number}"
        pages[0].press(number)
    assert len(waiting(explorer)) == 64
    pages[0].session = "hog299"
    (answer,) = pages[0].answers().values()
    assert answer["output"]["error"] == FULL and not answer["success"]
    *_, figures, _ = visitor(explorer).predict(NAME, 7, api_name="/code_detail")
    assert figures["code"] == 7
    for listener in explorer.fns.values():
        assert not listener.queue or not listener.fn or listener.concurrency_id in LINES
    model.serve(100)
    wait_for(explorer, 0)


LINES = [options["concurrency_id"] for options in QUEUES]


def test_direct_calls_leave_threads_for_the_others(explorer: gr.Blocks, model: Model) -> None:
    """Once, a hundred of them took every thread, and a page waited half a minute."""
    address = f"{explorer.local_url}gradio_api"
    picture = Page(explorer, "direct").picture

    def call(seed: int) -> int:
        body = {"data": [picture, NAME, 0.5, seed]}
        return http.post(f"{address}/run/reconstruct", json=body, timeout=PATIENCE).status_code

    with ThreadPoolExecutor(60) as pool:
        answers = pool.map(call, range(60))
        assert model.asked.acquire(timeout=PATIENCE)
        for _ in range(10):
            assert http.get(f"{address}/app_id", timeout=PATIENCE).status_code == 200
        *_, figures, _ = visitor(explorer).predict(NAME, 7, api_name="/code_detail")
        assert figures["code"] == 7
        model.serve(200)  # one of the test before may be running still
        assert set(answers) == {200}
