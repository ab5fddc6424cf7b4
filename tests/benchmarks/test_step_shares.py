"""The parts of a training step add up to the step, and each is told apart."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import pytest

from core.paths import ROOT


@pytest.fixture
def shares(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import step_shares

    return step_shares


def test_the_clock_counts_each_moment_once(
    shares: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(shares.time, "perf_counter", lambda: now[0])
    waited: list[float] = []
    clock = shares.PartClock(lambda: waited.append(now[0]))
    now[0] = 1.0
    with clock.part("losses"):
        now[0] = 3.0
        with clock.part("features"):
            now[0] = 7.0
        now[0] = 7.5
    clock.begin("decoder", "backward")
    now[0] = 8.0
    clock.switch("encoder", "backward")
    now[0] = 9.0
    clock.end()
    assert clock.seconds == {
        (shares.REST, "forward"): 1.0, ("losses", "forward"): 2.5, ("features", "forward"): 4.0,
        ("decoder", "backward"): 0.5, ("encoder", "backward"): 1.0,
    }  # fmt: skip
    assert len(waited) == 7  # once at each border


def test_loading_and_encoding_are_parts(shares: ModuleType) -> None:
    found = shares.measure("scenes-semantic-ar", steps=1, warmup=1, tiny=True)
    parts = {row["part"]: row["forward_ms"] for row in found["parts"]}
    assert parts["data"] > 0 and parts["tokenizer"] > 0


def test_a_tokenizers_step_has_all_its_parts(
    shares: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "shares.json"
    shares.main(
        ["imagenet128-nsvq-65k", "scenes-semantic-ar", "imagenette128-nsvq-16k", "--tiny",
         "--same-batch", "--steps", "1", "--warmup", "1", "--out", str(file)]
    )  # fmt: skip
    tokenizer, prior, further = json.loads(file.read_text())
    assert further["parts"] and "data" not in {row["part"] for row in further["parts"]}
    parts = {row["part"]: row for row in tokenizer["parts"]}
    both = {"encoder", "quantizer", "decoder", "losses", "discriminator"}
    assert both | {"optimizer", "averages", "logging", "rest"} == set(parts)
    for name in both:
        assert parts[name]["forward_ms"] > 0 and parts[name]["backward_ms"] > 0, name
    for found in (tokenizer, prior):
        total = sum(row["forward_ms"] + row["backward_ms"] for row in found["parts"])
        assert total == pytest.approx(found["ms"])
        assert sum(row["share"] for row in found["parts"]) == pytest.approx(1)
        assert found["images_per_second"] == pytest.approx(1e3 * found["batch"] / found["ms"])
    parts = {row["part"]: row for row in prior["parts"]}
    assert {"network", "losses", "conditions", "optimizer"} <= set(parts)
    assert parts["network"]["backward_ms"] > 0
    said = capsys.readouterr().out
    assert "| encoder |" in said and "**scenes-semantic-ar**: 2 pictures of 32 pixels" in said
