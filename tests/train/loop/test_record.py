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
from train.loop.record import SAMPLES, RunRecord
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
