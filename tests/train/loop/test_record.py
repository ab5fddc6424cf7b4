"""The record of a run: a stopped and resumed run has that of an undisturbed one, row by row."""

from __future__ import annotations

import json
import os
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from core.bundles.storage import read_arrays
from core.errors import CheckpointError
from tests.helpers.tiny_prior_runs import prior_run, scene_shards, tokenizer_bundle
from tests.train.loop.test_tokenizer import config, pictures  # noqa: F401
from train.loop.prior import PriorTrainer
from train.loop.record import SAMPLES, RunRecord, best_of, validations_of
from train.loop.saving import prepare_folder
from train.loop.tokenizer import TokenizerTrainer


def rows(out: Path) -> list[dict[str, Any]]:
    lines = (out / "log.jsonl").read_text().splitlines()
    return [
        {k: v for k, v in json.loads(line).items() if k != "images_per_second"} for line in lines
    ]


def board(out: Path) -> list[tuple[int, str, float]]:
    """Return the scalars as TensorBoard itself reads them."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (file,) = (out / "tensorboard").iterdir()
    events = EventAccumulator(str(file), size_guidance={"scalars": 0})
    events.Reload()
    return sorted(
        (event.step, tag, event.value)
        for tag in events.Tags()["scalars"]
        if tag != "images_per_second"
        for event in events.Scalars(tag)
    )


def record(out: Path) -> dict[str, Any]:
    history = out / "history.npz"
    arrays = {k: v.tolist() for k, v in read_arrays(history).items()} if history.exists() else {}
    samples = {file.name: file.read_bytes() for file in (out / "samples").iterdir()}
    return {"rows": rows(out), "board": board(out), "history": arrays, "samples": samples}


def test_a_stop_leaves_no_trace_in_the_record(tmp_path, pictures):  # noqa: F811
    """Stops between saves and between rows; the usage window spans them."""
    whole = config(pictures, steps=10, save_every=4, log_every=3)
    TokenizerTrainer(whole, tmp_path / "whole").train()
    for stop in (5, 6, 8):
        TokenizerTrainer(replace(whole, stop_after=stop), tmp_path / "parts").train()
        last = json.loads((tmp_path / "parts/log.jsonl").read_text().splitlines()[-1])
        assert last["step"] == stop and ("stopped" in last) == (stop != 6)
    TokenizerTrainer(whole, tmp_path / "parts").train()
    one, two = record(tmp_path / "whole"), record(tmp_path / "parts")
    assert [row["step"] for row in one["rows"]] == [3, 6, 9, 10]
    assert one["history"]["history_steps"] == [4, 8, 10]
    assert sorted(one["samples"]) == ["0000004.png", "0000008.png", "0000010.png"]
    assert one == two


def test_a_resumed_prior_has_each_held_out_figure_once(tmp_path, monkeypatch):
    monkeypatch.setattr("train.loop.prior.HELD_OUT", 4)
    tokenizer = tokenizer_bundle(tmp_path / "tokens")
    shards = scene_shards(tmp_path / "shards", tokenizer)
    whole = prior_run("autoregressive", tokenizer, tokens=shards, save_every=2)
    PriorTrainer(whole, tmp_path / "whole").train()
    for stop in (3, 4):
        PriorTrainer(replace(whole, stop_after=stop), tmp_path / "parts").train()
    PriorTrainer(whole, tmp_path / "parts").train()
    one, two = record(tmp_path / "whole"), record(tmp_path / "parts")
    assert [row["step"] for row in one["rows"] if "held_out_bits" in row] == [2, 4, 6]
    assert one == two


def test_the_record_ends_at_the_saved_step(tmp_path):
    """Later rows, half a row, a stop's rows and later samples are dropped; one file remains."""
    first = RunRecord(tmp_path, 0, 2)
    for step in range(1, 6):
        first.write(step, {"l1": 1 / step}, stopped=step == 3)
    (tmp_path / "samples").mkdir()
    for step in (2, 3, 4):
        (tmp_path / "samples" / f"{step:07d}.png").write_bytes(b"png")
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"step": 6, "l')
    RunRecord(tmp_path, 3, 2)
    assert [row["step"] for row in rows(tmp_path)] == [1, 2]
    assert [step for step, _, _ in board(tmp_path)] == [1, 2]
    assert [file.name for file in (tmp_path / "samples").iterdir()] == ["0000002.png"]


def test_a_run_without_a_board_has_its_log(tmp_path):
    first = RunRecord(tmp_path / "a" / "run", 0, 2, board=False)
    first.write(1, {"l1": 0.5})
    assert rows(tmp_path / "a" / "run") == first.rows() == [{"step": 1, "l1": 0.5}]
    assert [file.name for file in (tmp_path / "a" / "run").iterdir()] == ["log.jsonl"]


def test_an_edited_log_is_said(tmp_path, capsys):
    first = RunRecord(tmp_path, 0, 2)
    first.write(1, {"l1": 0.5})
    saved = first.sync()
    RunRecord(tmp_path, 1, 2, saved)
    assert capsys.readouterr().out == ""
    log = tmp_path / "log.jsonl"
    log.write_text(log.read_text().replace("0.5", "0.4"))
    RunRecord(tmp_path, 1, 2, saved)
    assert "log.jsonl is damaged or was edited" in capsys.readouterr().out


def test_samples_are_bounded_and_do_not_depend_on_stops(tmp_path):
    folder = tmp_path / "samples"
    folder.mkdir()
    kept = []
    for stops in ((), (77, 255)):
        for file in folder.iterdir():
            file.unlink()
        for step in range(1, 1001):
            if step in stops:
                RunRecord(tmp_path, step - 1, 1)
            (folder / f"{step:07d}.png").write_bytes(b"png")
            RunRecord.thin_samples(_bare(tmp_path), step)
            assert len(list(folder.iterdir())) <= SAMPLES + 1
        kept.append(sorted(file.name for file in folder.iterdir()))
    assert kept[0] == kept[1] and kept[0][-1] == "0001000.png" and len(kept[0]) > SAMPLES // 2


def _bare(out: Path) -> RunRecord:
    """Return a record without its files."""
    found = RunRecord.__new__(RunRecord)
    found.out, found.save_every = out, 1
    return found


def test_an_interrupted_export_is_made_up_for(tmp_path, pictures, monkeypatch):  # noqa: F811
    run, out = config(pictures, steps=4, save_every=2), tmp_path / "run"
    TokenizerTrainer(run, tmp_path / "whole").train()
    export = TokenizerTrainer._export

    def killed(self, *arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(TokenizerTrainer, "_export", killed)
    with pytest.raises(KeyboardInterrupt):
        TokenizerTrainer(run, out).train()
    monkeypatch.setattr(TokenizerTrainer, "_export", export)
    TokenizerTrainer(run, out).train()
    assert record(out) == record(tmp_path / "whole")


@pytest.mark.skipif(os.name != "posix", reason="modes of POSIX")
def test_files_of_a_run_have_the_mode_of_the_umask(tmp_path, pictures):  # noqa: F811
    before = os.umask(0o022)
    try:
        TokenizerTrainer(config(pictures, steps=2), tmp_path / "run").train()
    finally:
        os.umask(before)
    files = [path for path in (tmp_path / "run").rglob("*") if path.is_file()]
    assert {"state.safetensors", "model.safetensors"} <= {file.name for file in files}
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o644}


@pytest.mark.parametrize("name", ["bundle/thesis.tex", "bundle/config.json", "log.jsonl"])
def test_a_folder_with_files_of_others_is_refused(tmp_path, name):
    file = tmp_path / "run" / name
    file.parent.mkdir(parents=True)
    file.write_text("{}")
    with pytest.raises(CheckpointError, match=r"but no run\.json"):
        prepare_folder(tmp_path / "run")
    assert file.read_text() == "{}"


def test_a_bundle_of_others_beside_a_run_is_refused(tmp_path):
    (tmp_path / "run" / "bundle").mkdir(parents=True)
    (tmp_path / "run" / "run.json").write_text("{}")
    (tmp_path / "run" / "bundle" / "thesis.tex").write_text("words")
    with pytest.raises(CheckpointError, match="holds other files"):
        prepare_folder(tmp_path / "run")
    assert (tmp_path / "run" / "bundle" / "thesis.tex").read_text() == "words"


def test_the_best_of_equal_validations_is_the_first() -> None:
    rows = {2: {"x": 1.0}, 4: {"x": 3.0}, 6: {"x": 3.0}, 8: {"x": 2.0}, 10: {}}
    assert best_of(rows, lambda row: row.get("x")) == 4
    assert best_of({step: {"x": 1.0} for step in (9, 3, 5)}, lambda row: row["x"]) == 3
    assert best_of({1: {}}, lambda row: row.get("x")) is None
    assert best_of({}, lambda row: 1.0) is None


def test_only_validated_steps_have_figures_of_held_out_pictures() -> None:
    rows = [
        {"step": 1, "l1": 0.5, "validation_psnr": 9.0},
        {"step": 2, "l1": 0.4, "validation_psnr": 10.0},
        {"step": 2, "held_out_bits": 3.0, "l1": 0.4},
        {"step": 4, "l1": 0.3},
    ]
    found = validations_of(rows, lambda step: step % 2 == 0)
    assert found == {2: {"validation_psnr": 10.0, "held_out_bits": 3.0}}


def test_the_board_keeps_the_times_of_its_rows(tmp_path, monkeypatch) -> None:
    """Of a file of several kinds of rows, of one that was cut off, and of one without rows."""
    clock = [1000.0]
    monkeypatch.setattr("train.loop.record.time.time", lambda: clock[0])
    first = RunRecord(tmp_path / "a" / "run", 0, 2)
    for step in (1, 2, 3):
        clock[0] = 1000.0 + 10 * step
        first.write(step, {"l1": 1 / step, "words": "no scalar"})
    clock[0] = 5000.0
    (file,) = (tmp_path / "a" / "run" / "tensorboard").iterdir()
    whole = file.read_bytes()
    assert file.name == "events.out.tfevents.0000001000.regvq"
    assert times_of(tmp_path / "a" / "run") == {1: 1010.0, 2: 1020.0, 3: 1030.0}
    RunRecord(tmp_path / "a" / "run", 3, 2)
    assert times_of(tmp_path / "a" / "run") == {1: 1010.0, 2: 1020.0, 3: 1030.0}
    # Half of the last event is lost: its row is in the log, and gets the time of now.
    (file,) = (tmp_path / "a" / "run" / "tensorboard").iterdir()
    assert file.name == "events.out.tfevents.0000005000.regvq"
    rest = [name for name in (tmp_path / "a" / "run" / "tensorboard").iterdir() if name != file]
    assert rest == []
    file.write_bytes(whole[:-3])
    RunRecord(tmp_path / "a" / "run", 3, 2)
    assert times_of(tmp_path / "a" / "run") == {1: 1010.0, 2: 1020.0, 3: 5000.0}
    # A newer file's name is above the one before, also if the clock has not moved.
    (file,) = (tmp_path / "a" / "run" / "tensorboard").iterdir()
    assert file.name == "events.out.tfevents.0000005001.regvq"
    (tmp_path / "a" / "run" / "tensorboard" / "notes.txt").write_text("of somebody else")
    RunRecord(tmp_path / "a" / "run", 2, 2)
    names = sorted(file.name for file in (tmp_path / "a" / "run" / "tensorboard").iterdir())
    assert names == ["events.out.tfevents.0000005002.regvq", "notes.txt"]
    (tmp_path / "a" / "run" / "tensorboard" / "notes.txt").unlink()
    assert times_of(tmp_path / "a" / "run") == {1: 1010.0, 2: 1020.0}


def times_of(out: Path) -> dict[int, float]:
    """Return the time of each step's scalars as TensorBoard reads them."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (file,) = (out / "tensorboard").iterdir()
    events = EventAccumulator(str(file), size_guidance={"scalars": 0})
    events.Reload()
    assert events.Tags()["scalars"] == ["l1"]
    return {event.step: event.wall_time for event in events.Scalars("l1")}


def test_half_a_sample_is_removed(tmp_path) -> None:
    folder = tmp_path / "samples"
    folder.mkdir()
    for name in ("0000002.png", "0000004.png.new", "0000006.png", "notes.png", "12.png"):
        (folder / name).write_bytes(b"png")
    RunRecord(tmp_path, 4, 2)
    assert sorted(file.name for file in folder.iterdir()) == ["0000002.png", "12.png", "notes.png"]


@pytest.mark.parametrize(
    ("every", "step", "kept"),
    [
        (1, 40, 40),  # at most 40: all
        (1, 41, 21),  # every second one, and that of the step
        (1, 80, 40),
        (1, 81, 41),
        (1, 82, 21),  # every fourth one
        (5, 200, 40),
        (5, 205, 21),
    ],
)
def test_at_most_forty_samples_remain(tmp_path, every: int, step: int, kept: int) -> None:
    folder = tmp_path / "samples"
    folder.mkdir()
    for number in range(every, step + 1, every):
        (folder / f"{number:07d}.png").write_bytes(b"png")
    record = _bare(tmp_path)
    record.save_every = every
    record.thin_samples(step)
    left = sorted(int(file.stem) for file in folder.iterdir())
    assert len(left) == kept and left[-1] == step
    stride = every * (1 if kept == step // every else 2 if step // every <= 81 else 4)
    assert all(number % stride == 0 for number in left[:-1])


def test_rows_are_on_the_disk_before_a_state_is_saved(tmp_path, monkeypatch) -> None:
    synced: list[Path] = []
    monkeypatch.setattr("train.loop.record.sync", synced.append)
    first = RunRecord(tmp_path, 0, 2)
    first.write(1, {"l1": 0.5})
    about = first.sync()
    assert synced == [tmp_path / "log.jsonl", *(tmp_path / "tensorboard").iterdir(), tmp_path]
    assert about["size"] == (tmp_path / "log.jsonl").stat().st_size
