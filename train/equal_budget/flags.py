"""Flags of ``train/study.py``, one class per command."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from regvq.paths import ROOT

from .runs import DownstreamConfig, Group, Study
from .spread import METHODS

OUT = ROOT / "runs" / "study"
COMPARED = tuple(f"{method}-fast" for method in METHODS)
"""The four methods with faster codes: those whose tokens priors are trained on."""
SHIPPED = ("vqgan-uniform", *COMPARED)


@dataclass(frozen=True)
class RunFlags:
    """Train and evaluate."""

    study: Study
    group: tuple[Group, ...] = ()
    """Only these groups; none: all."""
    only: tuple[str, ...] = ()
    """Only the runs with these names."""
    out: Path = OUT
    """The folder of the runs' folders."""
    jobs: int = 1
    """Processes at a time; 0: one run after the other, in this process."""
    list: bool = False
    """Print the runs and whether each is finished, and do nothing else."""


@dataclass(frozen=True)
class TimingFlags:
    """Measure time and memory of a training step, each run alone in its own process."""

    study: Study
    group: tuple[Group, ...] = ("main", "large")
    """Only these groups; none: all."""
    only: tuple[str, ...] = ()
    """Only the runs with these names."""
    out: Path = OUT
    """The folder of the runs' folders."""
    jobs: Literal[0, 1] = 1
    """1: each run in its own process; 0: in this process."""


@dataclass(frozen=True)
class DownstreamFlags:
    """Train the same prior on the tokens of finished runs and evaluate its pictures."""

    study: Study
    prior: DownstreamConfig = field(default_factory=DownstreamConfig)
    only: tuple[str, ...] = COMPARED
    """The runs with these names."""
    out: Path = OUT
    """The folder of the runs' folders."""


@dataclass(frozen=True)
class JudgeFlags:
    """Measure finished runs on features that no run trained on: LPIPS and a Fréchet distance."""

    study: Study
    alexnet: Path | None = None
    """A file of torchvision's AlexNet weights; without one, torchvision's cache, then a
    download."""
    vgg16: Path | None = None
    """The same of VGG-16."""
    only: tuple[str, ...] = ()
    """Only the runs with these names; none: all that are finished and saved their tokenizer."""
    out: Path = OUT
    """The folder of the runs' folders."""


@dataclass(frozen=True)
class ReportFlags:
    """Write the report from the available results."""

    out: Path = OUT
    """The folder of the runs' folders."""
    results: Path | None = None
    """Read a docs/study/results.json instead of the runs' folders."""
    earlier: Path | None = None
    """An earlier docs/study/results.json, whose rows stay where --out has no such run."""
    more: tuple[Path, ...] = ()
    """--out of studies on other pictures; each gets a table, under its folder's name."""
    to: Path = ROOT
    """The folder in which RESULTS.md and docs/study/ are written."""


@dataclass(frozen=True)
class ShipFlags:
    """Write tokenizers of the study as bundles."""

    only: tuple[str, ...] = SHIPPED
    """The runs with these names."""
    out: Path = OUT
    """The folder of the runs' folders."""
    to: Path = ROOT / "checkpoints"
    """The folder in which bundles study-NAME are written."""
    data: str = ""
    """A description of the training pictures, for the card."""
    terms: str = ""
    """The terms under which the weights may be used, given those of the pictures."""
    pictures: str = "photographs of the study"
    """A description of the pictures of the evaluation, for the card."""
