"""Trackers: started once, resumed in the same run, and never the end of a run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
from accelerate import tracking
from accelerate.utils import LoggerType

from tests.train.loop.test_record import board
from tests.train.loop.test_tokenizer import VQ, config, pictures
from train.cli.errors import UsageError
from train.config.tokenizer import LossConfig, RunConfig
from train.loop.tokenizer import TokenizerTrainer
from train.loop.trackers import Trackers, check_trackers

__all__ = ["pictures"]  # the fixture


class FakeTracker(tracking.GeneralTracker):
    """A service in memory: the rows of each run by its name there."""

    name = "fake"
    requires_logging_directory = False
    runs: ClassVar[dict[str, list[tuple[int, dict[str, float]]]]] = {}
    calls: ClassVar[list[Any]] = []
    failing: str = ""

    def __init__(self, project: str, id: str, resume: str) -> None:
        super().__init__()
        self.key = id
        self.runs.setdefault(id, [])
        self.calls.append(("new", project, resume))

    @property
    def tracker(self) -> list[tuple[int, dict[str, float]]]:
        return self.runs[self.key]

    def start(self) -> None:
        self._fail("start")

    def store_init_configuration(self, values: dict[str, Any]) -> None:
        self.calls.append(("settings", values))

    def log(self, values: dict[str, float], step: int | None = None, **_: Any) -> None:
        self._fail("log")
        assert step is not None
        self.tracker.append((step, values))

    def finish(self) -> None:
        self._fail("finish")
        self.calls.append(("finish",))

    def _fail(self, where: str) -> None:
        if self.failing == where:
            raise OSError("no route\nto the host")


@pytest.fixture(autouse=True)
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[FakeTracker]]:
    monkeypatch.setattr(FakeTracker, "runs", {})
    monkeypatch.setattr(FakeTracker, "calls", [])
    monkeypatch.setitem(tracking.LOGGER_TYPE_TO_CLASS, "fake", FakeTracker)
    yield FakeTracker


@pytest.fixture
def run(pictures: Path) -> RunConfig:
    loss = LossConfig(perceptual=0.0, adversarial=0.0)
    return config(pictures, VQ, loss=loss, steps=6, save_every=4, log_every=1, tracker=("fake",))


def sent() -> list[tuple[int, dict[str, float]]]:
    (rows,) = FakeTracker.runs.values()
    return rows


def logged(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


def test_a_tracker_has_the_rows_of_the_log_and_the_settings(tmp_path: Path, run: RunConfig) -> None:
    TokenizerTrainer(replace(run, tracker=("tensorboard", "fake")), tmp_path / "run").train()
    rows = logged(tmp_path / "run")
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 5, 6]
    assert [{"step": step, **figures} for step, figures in sent()] == rows
    assert sorted({step for step, _, _ in board(tmp_path / "run")}) == [1, 2, 3, 4, 5, 6]
    kinds = [call[0] for call in FakeTracker.calls]
    assert kinds == ["new", "settings", "finish"]
    assert FakeTracker.calls[0] == ("new", "regvq-studio", "allow")
    settings = FakeTracker.calls[1][1]
    assert settings["loss.l1"] == 1.0 and settings["tokenizer.network.widths"] == "[8, 16]"


def test_a_resumed_run_goes_on_in_the_same_run_without_rows_twice(
    tmp_path: Path, run: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that is killed at step 5 resumes at the saved step 4, whose rows the tracker has."""
    out, step = tmp_path / "run", TokenizerTrainer.step

    def killed(self: TokenizerTrainer, batch: Any, number: int) -> Any:
        if number == 5:
            raise KeyboardInterrupt
        return step(self, batch, number)

    monkeypatch.setattr(TokenizerTrainer, "step", killed)
    with pytest.raises(KeyboardInterrupt):
        TokenizerTrainer(run, out).train()
    assert [number for number, _ in sent()] == [1, 2, 3, 4, 5]
    monkeypatch.setattr(TokenizerTrainer, "step", step)
    TokenizerTrainer(run, out).train()
    # The row of step 5 may be incomplete in the tracker (a save adds figures), so it is sent again.
    assert [number for number, _ in sent()] == [1, 2, 3, 4, 5, 5, 6]
    assert sent()[4][1]["l1"] == sent()[5][1]["l1"]


def test_a_tracker_that_is_added_later_gets_the_earlier_rows(
    tmp_path: Path, run: RunConfig
) -> None:
    out = tmp_path / "run"
    TokenizerTrainer(replace(run, tracker=("none",), stop_after=4), out).train()
    assert not FakeTracker.runs and not (out / "tensorboard").exists()
    TokenizerTrainer(run, out).train()
    assert [step for step, _ in sent()] == [1, 2, 3, 4, 5, 6]


def test_each_tracker_is_sent_the_rows_that_it_lacks_and_nothing_after_its_end(
    tmp_path: Path,
) -> None:
    """A new one has the earlier rows without their marks; one of before goes on at the last."""
    before = [{"step": 1, "l1": 0.5}, {"step": 2, "l1": 0.4, "stopped": True}]
    for is_new in (True, False):
        found = Trackers(("fake",), tmp_path, {}, before, last=3)
        for step in (2, 3, 4):
            found.write(step, {"l1": step / 10})
        found.finish()
        found.finish()
        found.write(5, {"l1": 0.5})
        assert FakeTracker.calls.pop() == ("finish",) and ("finish",) not in FakeTracker.calls
        rows, FakeTracker.runs[next(iter(FakeTracker.runs))] = sent(), []
        if is_new:
            assert rows[:2] == [(1, {"l1": 0.5}), (2, {"l1": 0.4})]
            assert [step for step, _ in rows[2:]] == [2, 3, 4]
        else:
            assert rows == [(3, {"l1": 0.3}), (4, {"l1": 0.4})]


@pytest.mark.parametrize("where", ["log", "finish"])
def test_a_tracker_that_fails_does_not_end_the_run(
    tmp_path: Path,
    run: RunConfig,
    where: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(FakeTracker, "failing", where)
    TokenizerTrainer(run, tmp_path / "run").train()
    assert len(logged(tmp_path / "run")) == 6
    (warning,) = (x for x in capsys.readouterr().err.splitlines() if "WARNING: --tracker" in x)
    assert f"fake failed at {'step 1' if where == 'log' else 'its end'} and is left out" in warning
    assert "(no route to the host)" in warning
    assert len(sent()) == (0 if where == "log" else 6)


def test_a_tracker_that_cannot_start_is_one_sentence_before_training(
    tmp_path: Path, run: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeTracker, "failing", "start")
    with pytest.raises(UsageError) as caught:
        TokenizerTrainer(run, tmp_path / "run").train()
    said = "--tracker fake cannot start (no route to the host); correct that, or leave it out."
    assert str(caught.value) == said
    assert (
        not (tmp_path / "run" / "state").exists() and not (tmp_path / "run" / "log.jsonl").exists()
    )


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (("wandb",), "--tracker wandb needs its package: pip install wandb."),
        (("comet_ml",), "pip install comet-ml."),
        (("nothing",), "--tracker nothing is not known; available: aim, clearml, comet_ml,"),
        (("none", "tensorboard"), "--tracker none stands alone"),
    ],
)
def test_trackers_that_cannot_be_used(
    names: tuple[str, ...], words: str, run: RunConfig, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(tracking, "_available_trackers", [LoggerType.TENSORBOARD])
    with pytest.raises(UsageError) as caught:
        TokenizerTrainer(replace(run, tracker=names), tmp_path / "run")
    assert words in str(caught.value) and "\n" not in str(caught.value)
    check_trackers(("none",))
    check_trackers(("tensorboard", "fake"))


def test_each_service_gets_its_own_words_for_the_same_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The arguments with which wandb and the others resume a run, and that they are the same."""
    asked: list[tuple[str, str, dict[str, Any]]] = []

    def stand_in(service: str) -> type[tracking.GeneralTracker]:
        class Service(FakeTracker):
            def __init__(self, project: str, **how: Any) -> None:
                FakeTracker.__init__(self, project, service, "allow")
                asked.append((service, project, how))

        return Service

    names = ("wandb", "trackio", "comet_ml", "swanlab")
    for name in names:
        monkeypatch.setitem(tracking.LOGGER_TYPE_TO_CLASS, name, stand_in(name))
    monkeypatch.setenv("WANDB_PROJECT", "mine")
    for _ in range(2):
        Trackers(names, tmp_path, {}).finish()
    assert asked[:4] == asked[4:]
    how = {service: (project, words) for service, project, words in asked}
    key = how["wandb"][1]["id"]
    assert how["wandb"] == (
        "mine",
        {"id": key, "name": tmp_path.name, "resume": "allow", "dir": str(tmp_path)},
    )
    assert how["trackio"][1] == {"name": f"{tmp_path.name}-{key[:8]}", "resume": "allow"}
    assert how["comet_ml"] == ("regvq-studio", {"experiment_key": key}) and len(key) == 32
    assert how["swanlab"][1]["id"] == key


def test_a_tracker_with_a_folder_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """accelerate's own class for TensorBoard, under another name, writes below the run."""
    monkeypatch.setitem(tracking.LOGGER_TYPE_TO_CLASS, "board", tracking.TensorBoardTracker)
    from accelerate import PartialState

    PartialState()
    found = Trackers(("board",), tmp_path, {"a": {"b": 1}})
    found.write(3, {"l1": 0.25})
    found.finish()
    files = list((tmp_path / "board").rglob("*tfevents*"))
    assert files and json.loads((tmp_path / "trackers.json").read_text())["trackers"] == ["board"]
