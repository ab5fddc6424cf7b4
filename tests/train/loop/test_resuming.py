"""The start of a run in a folder that holds one: other places, other processes, damaged files."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from core.bundles.storage import write_sealed
from core.errors import CheckpointError
from tests.helpers.real_runs import TINY, RealRun
from tests.helpers.tiny_prior_runs import prior_run, tokenizer_bundle
from tests.train.loop.test_tokenizer import config, pictures, state
from train.cli.errors import UsageError
from train.config.tokenizer import RunConfig
from train.loop import processes
from train.loop.base import NonFiniteLoss
from train.loop.contents import pictures_identity
from train.loop.prior import PriorTrainer
from train.loop.resuming import check_no_state_is_missing, resumed
from train.loop.settings import read_settings, remember_settings
from train.loop.tokenizer import TokenizerTrainer

__all__ = ["pictures"]


def start(run: RunConfig, out: Path) -> TokenizerTrainer:
    """Start a run as ``train/run.py`` does, and return its trainer."""
    trainer = TokenizerTrainer(run, out)
    remember_settings(run, out, trainer.contents(), trainer.processes)
    trainer.train()
    return trainer


def moved(run: RunConfig, root: Path) -> RunConfig:
    return replace(run, data=replace(run.data, root=root))


def test_a_folder_of_pictures_may_move(tmp_path, pictures):
    run, out = config(pictures), tmp_path / "run"
    start(replace(run, stop_after=3), out)
    shutil.move(pictures, tmp_path / "elsewhere")
    start(moved(run, tmp_path / "elsewhere"), out)
    shutil.copytree(tmp_path / "elsewhere", pictures)
    start(run, tmp_path / "whole")
    one, two = state(out), state(tmp_path / "whole")
    assert all(torch.equal(one[name], two[name]) for name in two)
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    contents = pictures_identity(TokenizerTrainer(run, out).data)
    remember_settings(moved(run, tmp_path / "link"), out, contents)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda p: (p / "03.png").unlink(), "holds 11 pictures, but the run was started with 12"),
        (lambda p: (p / "03.png").rename(p / "3.png"), "other ones (names or sizes)"),
        (lambda p: shutil.copy(p / "04.png", p / "03.png"), "other ones (names or sizes)"),
    ],
)
def test_other_pictures_are_noticed(tmp_path, pictures, change, words):
    run, out = config(pictures), tmp_path / "run"
    start(replace(run, stop_after=1), out)
    change(pictures)
    with pytest.raises(CheckpointError) as error:
        start(run, out)
    assert words in str(error.value) and str(pictures) in str(error.value)
    assert f"--init {out}" in str(error.value)


def test_a_run_of_an_earlier_version_notes_its_pictures_now(tmp_path, pictures, capsys):
    run, out = config(pictures), tmp_path / "run"
    start(replace(run, stop_after=1), out)
    settings = json.loads((out / "run.json").read_text())
    del settings["contents"], settings["processes"]
    (out / "run.json").write_text(json.dumps(settings))
    start(replace(run, stop_after=2), out)
    assert "is a run of an earlier version, which did not note its pictures" in (
        capsys.readouterr().out
    )
    assert read_settings(out)["contents"]["pictures"] == 12


@pytest.mark.parametrize("text", ["", '{"recipe": "te', "[]", "{}", "[" * 100_000, '"x"'])
def test_damaged_settings_get_a_sentence(tmp_path, pictures, text):
    out = tmp_path / "run"
    start(config(pictures, steps=1), out)
    (out / "run.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"run\.json.*choose another --out"):
        start(config(pictures, steps=2), out)


@pytest.mark.parametrize(
    "numbers",
    [{}, {"step": "3"}, {"step": -1}, {"step": True}, {"step": 1, "fixed": 3},
     {"step": 1, "broken": 3}, {"step": 1, "processes": 0}],
)  # fmt: skip
def test_a_damaged_state_gets_a_sentence(tmp_path, pictures, numbers):
    out = tmp_path / "run"
    start(config(pictures, steps=1), out)
    write_sealed(out / "state/state.json", numbers)
    with pytest.raises(CheckpointError, match=r"state.*choose another --out"):
        start(config(pictures, steps=2), out)
    (out / "state/state.json").write_text("[]")
    with pytest.raises(CheckpointError, match=r"state.*choose another --out"):
        start(config(pictures, steps=2), out)


def test_a_missing_state_is_not_step_one(tmp_path, pictures):
    out = tmp_path / "run"
    start(config(pictures, steps=2), out)
    shutil.rmtree(out / "state")
    with pytest.raises(CheckpointError, match="but no state from which it could resume; restore"):
        start(config(pictures, steps=4), out)
    assert len((out / "log.jsonl").read_text().splitlines()) == 1


def test_half_of_what_a_run_leaves_is_not_a_run_without_its_state(tmp_path):
    check_no_state_is_missing(tmp_path)
    (tmp_path / "log.jsonl").write_text("")  # of a run that was killed before its first save
    check_no_state_is_missing(tmp_path)
    (tmp_path / "bundle").mkdir()
    with pytest.raises(CheckpointError, match="no state from which it could resume"):
        check_no_state_is_missing(tmp_path)
    (tmp_path / "log.jsonl").unlink()
    check_no_state_is_missing(tmp_path)


def test_a_run_that_is_done_may_be_started_again(tmp_path, pictures):
    run, numbers = config(pictures, steps=8, stop_after=4), {"step": 4, "processes": 2}
    assert resumed(numbers, run, tmp_path, {}, 1) == (4, 2, {})
    whole = replace(run, stop_after=None)
    assert resumed(numbers | {"step": 8}, whole, tmp_path, {}, 1).step == 8
    with pytest.raises(CheckpointError, match="has reached step 5, which is after --stop-after 4"):
        resumed(numbers | {"step": 5}, run, tmp_path, {}, 1)


def test_fewer_steps_than_are_done_get_a_sentence(tmp_path, pictures):
    out = tmp_path / "run"
    start(config(pictures, steps=4), out)
    before = (out / "bundle/README.md").read_text()
    with pytest.raises(
        CheckpointError, match="has reached step 4, which is after --steps 2; raise"
    ):
        start(config(pictures, steps=2), out)
    with pytest.raises(CheckpointError, match="after --stop-after 3"):
        start(config(pictures, steps=6, stop_after=3), out)
    assert (out / "bundle/README.md").read_text() == before and "4 of 4 steps" in before
    with pytest.raises(ValueError, match="stop_after must be at least 1, got 0"):
        config(pictures, stop_after=0)


def test_advice_after_a_diverged_loss_can_be_followed(tmp_path, pictures, monkeypatch):
    out, run = tmp_path / "run", config(pictures, steps=8, save_every=2)
    step = TokenizerTrainer.step

    def poisoned(self, images, number):
        return step(self, images * (float("nan") if number == 3 else 1), number)

    monkeypatch.setattr(TokenizerTrainer, "step", poisoned)
    with pytest.raises(NonFiniteLoss) as error:
        start(run, out)
    assert str(error.value).endswith(
        f"the state of step 2 is kept in {out}/state. Start another run: another --out, a lower "
        "--optimizer.lr than 0.0004 or a lower weight of that term, --init "
        f"{out} to continue from its weights."
    )
    monkeypatch.setattr(TokenizerTrainer, "step", step)
    lower = replace(run, init=out, optimizer=replace(run.optimizer, lr=1e-4), steps=2)
    start(lower, tmp_path / "other")
    with pytest.raises(NonFiniteLoss, match="no state was saved yet"):
        monkeypatch.setattr(TokenizerTrainer, "step", lambda s, i, n: step(s, i * float("nan"), n))
        start(run, tmp_path / "third")


def test_a_prior_resumes_with_its_tokenizer_only(tmp_path, monkeypatch):
    monkeypatch.setattr("train.loop.prior.READ", 8)
    monkeypatch.setattr("train.loop.prior.HELD_OUT", 8)
    source = tokenizer_bundle(tmp_path / "tokenizer")
    run = replace(prior_run("masked", source), steps=2, stop_after=1)
    out = tmp_path / "run"
    PriorTrainer(run, out).train()
    shutil.copytree(source, tmp_path / "moved")
    whole = replace(run, stop_after=None)
    PriorTrainer(replace(whole, tokenizer=tmp_path / "moved"), out).train()
    other = tokenizer_bundle(tmp_path / "other", seed=9)
    with pytest.raises(CheckpointError, match="with tokenizer 'sha256:"):
        PriorTrainer(replace(whole, tokenizer=other, steps=3), out).train()
    # The state of an earlier version did not state it; the bundle did.
    numbers = json.loads((out / "state/state.json").read_text())
    write_sealed(out / "state/state.json", numbers | {"fixed": {}})
    with pytest.raises(CheckpointError, match="holds other weights than the tokenizer with which"):
        PriorTrainer(replace(whole, tokenizer=other, steps=3), out).train()


def test_two_processes_go_on_as_one_with_the_same_draws(tmp_path, pictures, monkeypatch):
    """Half of the batch is one process's; the sum is the run's, whoever takes it."""
    run = config(pictures, steps=6)
    drawn: dict[str, list[int]] = {}

    def numbers(name: str, started: int, now: int, first: int, last: int) -> None:
        for rank in range(now):
            trainer = TokenizerTrainer(run, tmp_path / "none")
            trainer.processes = started
            monkeypatch.setattr(type(trainer.accelerator), "num_processes", property(lambda _: now))
            monkeypatch.setattr(
                type(trainer.accelerator), "process_index", property(lambda _, rank=rank: rank)
            )
            draw, found = trainer.data.draw, drawn.setdefault(name, [])
            monkeypatch.setattr(
                trainer.data, "draw", lambda k, d=draw, f=found: (f.append(k), d(k))[1]
            )
            list(trainer._stream(first, last))
            monkeypatch.undo()

    numbers("whole", 2, 2, 0, 3)
    numbers("parts", 2, 2, 0, 1)
    numbers("parts", 2, 1, 1, 3)
    assert sorted(drawn["whole"]) == sorted(drawn["parts"]) == list(range(24))
    trainer = TokenizerTrainer(run, tmp_path / "none")
    trainer.processes = 2
    monkeypatch.setattr(type(trainer.accelerator), "num_processes", property(lambda _: 3))
    with pytest.raises(CheckpointError, match="takes 8 pictures per step, which 3 processes"):
        next(trainer._stream(0, 1))


@pytest.mark.slow
def test_a_run_of_two_processes_goes_on_in_one(tmp_path):
    flags = ("--steps", 6, "--save-every", 100, "--data.workers", 0)
    with RealRun(tmp_path / "run", *flags, "--stop-after", 3, ranks=2) as run:
        assert run.ended(120) == 0, run.said
    first = run.rows()
    assert json.loads((tmp_path / "run/run.json").read_text())["processes"] == 2
    with RealRun(tmp_path / "run", *flags) as run:
        assert run.ended(120) == 0, run.said
    card = (tmp_path / "run/bundle/README.md").read_text()
    assert "6 of 6 steps of 4 crops (2 on each of 2 processes)" in card
    assert [row["step"] for row in run.rows()] == [1, 2, 3, 4, 5, 6] and len(first) == 3


@pytest.mark.long
def test_processes_that_cannot_share_the_pictures_of_a_run_are_refused(tmp_path):
    flags = ("--steps", 6, "--save-every", 100, "--data.workers", 0)
    with RealRun(tmp_path / "run", *flags, "--stop-after", 3, ranks=2) as run:
        assert run.ended(120) == 0, run.said
    with RealRun(tmp_path / "run", *flags, "--steps", 8, ranks=3) as run:
        assert run.ended(120) != 0
    assert "takes 4 pictures per step, which 3 processes cannot share equally" in run.said


@pytest.mark.parametrize("until", [("--steps", "2"), ("--steps", "4", "--stop-after", "2")])
def test_a_run_that_has_ended_has_no_connections_to_other_processes(tmp_path, until):
    """A connection left to the interpreter can abort a process whose run is whole."""
    from train.run import main

    meeting = f"file://{tmp_path / 'meeting'}"
    torch.distributed.init_process_group("gloo", init_method=meeting, rank=0, world_size=1)
    try:
        main(["scenes-vq", *TINY, "--data.workers", "0", "--out", str(tmp_path / "run"), *until])
        assert not torch.distributed.is_initialized()
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()


def test_one_process_instead_of_two_is_refused_with_the_command_that_works():
    environment = {"ACCELERATE_MIXED_PRECISION": "no", "MASTER_ADDR": "127.0.0.1"}
    with pytest.MonkeyPatch.context() as patch:
        for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE"):
            patch.delenv(name, raising=False)
        for name, value in environment.items():
            patch.setenv(name, value)
        patch.setattr(processes, "_asked_of_accelerate", lambda: "2")
        patch.setattr("sys.argv", ["train/run.py", "scenes-vq", "--steps", "2"])
        with pytest.raises(UsageError) as error:
            processes.accelerator()
    command = "torchrun --nproc_per_node 2 train/run.py scenes-vq --steps 2"
    assert str(error.value).endswith(f"for several use `{command}`.")
