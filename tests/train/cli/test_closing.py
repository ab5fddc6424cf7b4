"""The commands that a finished run names: they open the data set that the run was trained on."""

from __future__ import annotations

from pathlib import Path

from train.cli.closing import closing_lines
from train.config.tokenizer import DataConfig, RunConfig


def test_the_next_commands_name_the_data_as_the_run_did() -> None:
    place = Path("hf:/datasets/owner/name")
    data = DataConfig("parquet", place, image_column="the photo", subset="small")
    lines = closing_lines(RunConfig(data=data), Path("runs/a"), None)
    flags = "--data.image-column 'the photo' --data.subset small"
    assert sum(f"--data.name parquet --data.root {place} {flags}" in line for line in lines) == 2
    plain = closing_lines(RunConfig(), Path("runs/a"), None)
    assert not any("column" in line or "subset" in line for line in plain)


def test_tensorboard_is_named_if_it_has_the_log() -> None:
    for trackers, named in ((("tensorboard", "wandb"), True), (("none",), False)):
        lines = closing_lines(RunConfig(tracker=trackers), Path("runs/a"), None)
        assert any("tensorboard --logdir runs/a" in line for line in lines) is named
