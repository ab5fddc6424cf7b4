"""Methods of a tokenizer's run alone, with stand-ins for the rest of the run."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import core.data
from core.quantizers import LevelsConfig, UsageWindow, VQConfig
from core.tokenizer import TokenizerConfig
from tests.helpers.recorded_calls import recorded_calls
from tests.train.loop.test_tokenizer import NETWORK
from train.config.tokenizer import DataConfig, RunConfig
from train.loop import tokenizer as module
from train.loop.memory import Part
from train.loop.tokenizer import USAGE, TokenizerTrainer


def test_pictures_are_opened_as_the_config_says(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = recorded_calls(monkeypatch, core.data, "open_dataset")
    data = DataConfig(
        "scenes",
        Path("there"),
        size=48,
        crop=(0.6, 0.7),
        aspect=1.5,
        stretch=True,
        label_column="kind",
    )
    run: Any = SimpleNamespace(data=data, seed=23, tokenizer=SimpleNamespace(channels=1))
    module._open(run, "train", 64)
    assert opened == [
        ("scenes", Path("there"), {
            "size": 64, "seed": 23, "split": "train", "crop": (0.6, 0.7), "aspect": 1.5,
            "stretch": True,
            "channels": 1, "columns": data.columns,
        })
    ]  # fmt: skip


def test_the_bar_shows_the_losses_that_are_there_and_the_use_of_the_codes() -> None:
    run: Any = SimpleNamespace(usage=UsageWindow(8))
    run.usage.add(torch.tensor([0, 0, 1, 1]))
    figures, shown = TokenizerTrainer._figures(run, {"l1": torch.tensor(0.25)})
    assert shown == {"l1": "0.250", "used": "25%", "ppl": "2"}
    assert figures == {"l1": 0.25, "utilization": 0.25, "perplexity": pytest.approx(2)}
    losses = {name: torch.tensor(0.5) for name in ("l1", "perceptual", "gan")}
    assert TokenizerTrainer._figures(run, losses)[1] == {
        "l1": "0.500", "perceptual": "0.500", "used": "25%", "ppl": "2",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("levels", "words"), [(LevelsConfig(), ""), (LevelsConfig(residual=3), "; 3 residual levels")]
)
def test_levels_are_a_fact_only_of_runs_with_several(levels: LevelsConfig, words: str) -> None:
    tokenizer = TokenizerConfig(NETWORK, VQConfig(size=32), levels=levels)
    run: Any = SimpleNamespace(
        config=RunConfig("test", tokenizer=tokenizer, data=DataConfig("scenes", size=32)),
        data=range(1200), held_out=range(9), discriminator=None, features=None, second=None,
        tokenizer=SimpleNamespace(parameters=lambda: [torch.zeros(3, 500)], codebook_size=32),
    )  # fmt: skip
    facts = TokenizerTrainer._facts(run)
    start, _, end = facts["model"].partition("per 4x4 pixels")
    assert start == "VQ, 32 codes of 4 dimensions, one " and end.startswith(words)
    assert end.endswith("; 1,500 parameters") and end.count(";") == (2 if words else 1)
    assert facts["data"].startswith("scenes: 1,200 pictures, 9 held out; crops of 32 pixels")


@pytest.mark.parametrize("main", [True, False])
def test_the_window_of_a_saved_run_is_the_main_processs(main: bool) -> None:
    """Its counts are sums over the processes: only one of them may take them over."""
    run: Any = SimpleNamespace(
        accelerator=SimpleNamespace(is_main_process=main), device=torch.device("cpu"),
        usage=UsageWindow(3),
    )  # fmt: skip
    TokenizerTrainer._restore_further(run, {})
    assert run.usage.steps == 0
    TokenizerTrainer._restore_further(run, {USAGE: torch.tensor([[1, 0, 2], [4, 0, 0]])})
    assert run.usage.counts().tolist() == ([5, 0, 2] if main else [0, 0, 0])


@pytest.mark.parametrize("staged", [True, False])
def test_stages_watch_the_best_codes(staged: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "best_codes", lambda *given: given)
    decoded = torch.zeros(1, 3, 2, 2, requires_grad=True)
    latents = torch.ones(1, 4, 1, 1, requires_grad=True)
    quantized = SimpleNamespace(losses={"commitment": latents.sum()}, z=2 * latents, ids="ids")
    run: Any = SimpleNamespace(
        accelerator=SimpleNamespace(backward=lambda loss: loss.backward()),
        parallel=lambda images, noise: (decoded, latents, quantized), _autocast=nullcontext,
        objective=lambda *_: SimpleNamespace(losses={}, gradient=torch.ones(1, 3, 2, 2)),
        tokenizer=SimpleNamespace(quantizer="quantizer", decoder=SimpleNamespace(last_weight=None)),
        stages="stages" if staged else None, discriminator=None,
    )  # fmt: skip
    images, noise = torch.zeros(1, 3, 2, 2), torch.Generator()
    done: Any = TokenizerTrainer._backward(run, images, noise, Part(slice(1), 1.0, True), 0, None)
    assert not done.latents.requires_grad and torch.equal(done.latents, latents)
    if staged:
        assert done.codes[0] == "quantizer" and torch.equal(done.codes[1], latents)
        assert done.codes[2] is quantized
    else:
        assert torch.equal(done.codes, 2 * latents) and not done.codes.requires_grad


def test_a_bundle_gets_all_that_its_run_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    exported = recorded_calls(monkeypatch, module, "export_bundle")
    run: Any = SimpleNamespace(
        averaged=SimpleNamespace(module="averaged weights"), config="config", features="features",
        second="second", held_out="held out", broken={"a.png": "cut off", "b.png": "empty"},
        _is_due=lambda step: step == 8, processes=3, validations=lambda: {4: {"psnr": 1.5}},
    )  # fmt: skip
    for step in (8, 9):
        TokenizerTrainer._export_to(run, Path("bundle"), step, True, Path("history.npz"))
    common = {
        "tokenizer": "averaged weights", "config": "config", "features": "features",
        "second": "second", "pictures": "held out", "broken": 2, "final": True,
        "history": Path("history.npz"), "processes": 3, "validations": {4: {"psnr": 1.5}},
    }  # fmt: skip
    assert exported == [
        (Path("bundle"), {**common, "step": 8, "due": True}),
        (Path("bundle"), {**common, "step": 9, "due": False}),
    ]
