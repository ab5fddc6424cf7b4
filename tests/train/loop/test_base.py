"""The loop around the steps of every run: stops, errors, saves, the log and what is kept."""

from __future__ import annotations

import errno
import json
import signal
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from core.errors import CheckpointError
from tests.train.loop.test_tokenizer import VQ, config, pictures
from train.cli.stopping import stop_signals
from train.loop import base
from train.loop.base import TrainingRun
from train.loop.draws import LoaderError
from train.loop.processes import FAILED, LOADER_DIED, ProcessError
from train.loop.saving import SaveError
from train.loop.tokenizer import TokenizerTrainer

__all__ = ["pictures"]


@pytest.fixture
def trainer(tmp_path: Path, pictures: Path) -> TokenizerTrainer:
    run = config(pictures, VQ, steps=6, save_every=2, log_every=1)
    return TokenizerTrainer(replace(run, data=replace(run.data, last_size=None)), tmp_path / "run")


def log(trainer: TrainingRun) -> list[dict[str, float]]:
    return [json.loads(line) for line in (trainer.out / "log.jsonl").read_text().splitlines()]


def exports(trainer: TrainingRun, monkeypatch) -> list[tuple[int, bool]]:
    """Return a list that gets step and ``final`` of each export of the last bundle."""
    found: list[tuple[int, bool]] = []
    monkeypatch.setattr(trainer, "_export", lambda _, step, final: found.append((step, final)))
    return found


def test_a_whole_run_exports_its_last_bundle_as_final(trainer, monkeypatch, capsys) -> None:
    found = exports(trainer, monkeypatch)
    trainer.train()
    assert found == [(2, False), (4, False), (6, True)]
    assert trainer.stopped_by is None and trainer.reached == trainer.saved == 6
    assert "6/6" in capsys.readouterr().err  # the main process shows its progress


def test_a_signal_stops_before_the_next_step_and_saves(trainer, monkeypatch) -> None:
    found, step = exports(trainer, monkeypatch), trainer.step

    def stopped(images, number):
        if number == 2:
            stop_signals.number = signal.SIGTERM
        return step(images, number)

    monkeypatch.setattr(trainer, "step", stopped)
    try:
        trainer.train()
    finally:
        stop_signals.number = None
    assert trainer.stopped_by == signal.SIGTERM
    assert trainer.reached == trainer.saved == 3 and found == [(2, False), (3, False)]
    assert "go on with the same command" in trainer._kept()


def test_each_step_is_progress_and_loaders_are_ended(trainer, monkeypatch) -> None:
    """Otherwise a signal of a long run would count as one of a run that is stuck."""
    calls, ended = [], []
    monkeypatch.setattr(stop_signals, "progress", lambda: calls.append(trainer.reached))
    monkeypatch.setattr(base, "end_loaders", lambda: ended.append(trainer.reached))
    trainer.train()
    assert set(range(1, 7)) <= set(calls) and ended == [6]


def test_an_interrupted_save_is_repaired_before_the_state_is_read(trainer, monkeypatch) -> None:
    order: list[object] = []
    load = trainer._load
    monkeypatch.setattr(base, "repair_state", order.append)
    monkeypatch.setattr(trainer, "_load", lambda: order.append("loaded") or load())
    trainer.train()
    assert order == [trainer.state_folder, "loaded"]


@pytest.mark.parametrize("where", ["the record", "a row", "the state"])
def test_a_full_disk_is_one_sentence_wherever_it_is_met(trainer, monkeypatch, where) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(trainer.out / "file"))

    if where == "the record":
        monkeypatch.setattr(base, "RunRecord", full)
    elif where == "a row":
        monkeypatch.setattr(base.RunRecord, "write", full)
    else:
        monkeypatch.setattr(base, "save_state", full)
    with pytest.raises(SaveError, match="file cannot be written at step") as error:
        trainer.train()
    step = {"the record": 0, "a row": 1, "the state": 2}[where]
    assert f"at step {step} (No space left on device); no state was saved so far" in str(
        error.value
    )


def test_errors_of_a_step_are_told_from_the_loss_of_a_process(trainer, monkeypatch) -> None:
    def fails(*_: object) -> None:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(trainer, "step", fails)
    with pytest.raises(RuntimeError, match=r"^out of memory$"):
        trainer.train()
    monkeypatch.setattr(base, "lost_connection", lambda _: True)
    with pytest.raises(
        ProcessError, match="another of the 1 processes of this run ended; no state"
    ):
        trainer.train()


def test_what_a_process_says_of_an_error_before_a_step(trainer) -> None:
    assert trainer._agree(stop_signals, LoaderError("died")) == LOADER_DIED
    assert trainer._agree(stop_signals, None) == 0
    with pytest.raises(OSError, match="gone"):
        trainer._agree(stop_signals, OSError("gone"))
    assert stop_signals.number is None


def test_an_error_in_another_process_ends_this_one(trainer, monkeypatch) -> None:
    monkeypatch.setattr(base, "agreed", lambda code, _: FAILED)
    with pytest.raises(ProcessError, match="another process of this run ended with an error"):
        trainer._agree(stop_signals, None)


@pytest.mark.parametrize("own", [True, False])
def test_a_loader_that_dies_here_or_elsewhere_saves_and_says_so(trainer, monkeypatch, own) -> None:
    words = "the own loader died" if own else "a process that loads pictures for another one died"
    stream, agreed = trainer._stream, base.agreed

    def dying(step: int, last: int):
        for index, batch in enumerate(stream(step, last)):
            if own and index == 3:
                raise LoaderError("the own loader died")
            yield batch

    monkeypatch.setattr(trainer, "_stream", dying)
    if not own:
        died = lambda code, device: LOADER_DIED if trainer.reached == 3 else agreed(code, device)  # noqa: E731
        monkeypatch.setattr(base, "agreed", died)
    with pytest.raises(LoaderError) as error:
        trainer.train()
    assert str(error.value).startswith(f"{words}; the state of step 3 is kept in")
    assert trainer.saved == 3


def test_a_run_without_a_state_says_that_the_command_starts_it_again(trainer) -> None:
    assert trainer._kept().startswith("no state was saved yet")


def test_the_speed_leaves_out_the_time_of_saving(trainer, monkeypatch) -> None:
    """A step takes 1 s and a save 100 s on this clock."""
    clock = [0.0]
    step, save = trainer.step, trainer._save
    monkeypatch.setattr(base.time, "perf_counter", lambda: clock[0])

    def slow_step(*arguments):
        clock[0] += 1
        return step(*arguments)

    def slow_save(*arguments, **named):
        clock[0] += 100
        return save(*arguments, **named)

    monkeypatch.setattr(trainer, "step", slow_step)
    monkeypatch.setattr(trainer, "_save", slow_save)
    trainer.train()
    speeds = [row["images_per_second"] for row in log(trainer) if "images_per_second" in row]
    assert speeds == pytest.approx([4.0] * 6)


def test_broken_pictures_found_so_far_are_known_at_every_save(
    tmp_path: Path, pictures: Path, monkeypatch
) -> None:
    (pictures / "05.png").write_bytes(b"no picture")
    run = config(pictures, VQ, steps=40, save_every=12, log_every=100)
    trainer = TokenizerTrainer(replace(run, data=replace(run.data, last_size=None)), tmp_path / "r")
    monkeypatch.setattr("core.data.picture_dataset.MAX_BROKEN", 1.0)
    found, save = [], trainer._save

    def noted(step: int, final: bool = True) -> Path:
        found.append((step, sorted(path.name for path in trainer.broken)))
        return save(step, final)

    monkeypatch.setattr(trainer, "_save", noted)
    trainer.train()
    assert found[0] == (12, ["05.png"])  # four pictures per step: all of the twelve were drawn


@pytest.mark.parametrize(("save", "every"), [(1, 2), (2, 3), (2, 4), (3, 2), (5, 7), (4, 4)])
def test_the_first_save_after_each_multiple_is_validated(trainer, save: int, every: int) -> None:
    trainer.config = replace(trainer.config, steps=29, save_every=save, validate_every=every)
    saves = [step for step in range(1, 30) if step % save == 0 or step == 29]
    expected = [
        step
        for before, step in zip([0, *saves], saves, strict=False)
        if any(before < multiple <= step for multiple in range(every, 30, every))
    ]
    assert [step for step in range(1, 30) if trainer._is_validated(step)] == expected
    trainer.config = replace(trainer.config, validate_every=0)
    assert not any(trainer._is_validated(step) for step in range(1, 30))


def test_a_run_that_lost_its_state_does_not_begin_anew(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").touch()
    (tmp_path / "bundle").mkdir()
    run: Any = SimpleNamespace(state_folder=tmp_path / "state", parts={}, out=tmp_path)
    with pytest.raises(CheckpointError, match="no state from which it could resume"):
        TrainingRun._load(run)


def test_a_save_looks_at_the_losses_first_and_others_wait_for_its_end(tmp_path: Path) -> None:
    done: list[str] = []
    run: Any = SimpleNamespace(
        out=tmp_path, saved=3, record=None,
        _check_finite=lambda: done.append("losses"),
        _further_state=lambda: done.append("state"),
        accelerator=SimpleNamespace(wait_for_everyone=lambda: done.append("wait")),
    )  # fmt: skip
    assert TrainingRun._save(run, 3) == tmp_path / "bundle"
    assert done == ["losses", "state", "wait"]


def test_a_run_that_is_made_by_code_announces_nothing(trainer) -> None:
    assert not trainer.announces
