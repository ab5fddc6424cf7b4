"""The model of large runs: operations by hand, hours by hand, and the table's inputs."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from core.networks.autoencoder import NetworkConfig
from core.networks.discriminator import DiscriminatorConfig
from core.paths import ROOT
from core.quantizers import VQConfig
from core.tokenizer import TokenizerConfig
from train.config.tokenizer import DataConfig, FeatureConfig, LossConfig, RunConfig


@pytest.fixture
def scale(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    for name in ("scale", "flops", "crop_rates"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    import scale

    return scale


def small(adversarial: float) -> RunConfig:
    network = NetworkConfig(widths=(8,), encoder_blocks=1, decoder_blocks=1, stem=2, latent_dim=4)
    return RunConfig(
        tokenizer=TokenizerConfig(network, VQConfig(size=16)),
        data=DataConfig(size=16),
        features=FeatureConfig(name="none"),
        loss=LossConfig(perceptual=0.0, adversarial=adversarial, adaptive=False),
        discriminator=DiscriminatorConfig(width=8, layers=1),
    )


def conv(side: int, into: int, out: int, kernel: int) -> int:
    return 2 * side * side * into * out * kernel**2


def test_operations_of_a_step_by_hand(scale: ModuleType) -> None:
    """Convolutions twice for the backward pass, except of the first one, whose input has none."""
    cost = scale.tokenizer_cost(small(0.0))
    block = 2 * conv(8, 8, 8, 3)
    encoder = [conv(8, 12, 8, 3), block, conv(8, 8, 4, 1)]
    # latents come straight from the encoder: the quantizer has no gradient of its own
    decoder = [conv(8, 4, 8, 3), block, conv(8, 8, 12, 3)]
    search = 2 * 64 * 16 * 4
    assert cost.encode == sum(encoder) + search
    assert cost.train == 3 * (sum(encoder) + sum(decoder)) - encoder[0] + search
    assert (cost.tokens, cost.bytes_per_token) == (64, 2)
    judged = scale.tokenizer_cost(small(0.5))
    assert judged.train > cost.train and judged.parameters > cost.parameters
    plain = scale.tokenizer_cost(small(0.5), discriminator=False)
    assert plain.train == cost.train


def test_operations_of_a_transformer_by_hand(scale: ModuleType) -> None:
    width, tokens, codes = 64, 16, 32
    cost = scale.transformer_cost(width, 2, 4, tokens, codes)
    hidden = next(
        layer.down.in_features
        for layer in scale.sys.modules["flops"].Transformer(
            scale.sys.modules["flops"].TransformerConfig(width=width, layers=2, heads=4)
        ).blocks
    )  # fmt: skip
    matrices = 2 * (4 * width**2 + 3 * width * hidden) + width * codes
    linear = 3 * 2 * tokens * matrices
    assert linear <= cost.train <= linear + 2 * 20 * tokens**2 * width
    assert cost.parameters >= matrices + codes * width


def test_hours_by_hand(scale: ModuleType) -> None:
    cost = scale.StepCost(1e12, 1e11, 256, 2, 10**8)
    run = scale.Run("a", 3.6e9, cost, 100)
    given = scale.Inputs(
        peak=1000, utilization=0.5, loader=100, cores=10, picture_kb=100, storage=1, network=8,
        inside=80,
    )  # fmt: skip
    found = scale.hours(run, 1, given)
    assert found.compute == pytest.approx(3.6e9 / 500 / 3600)
    assert found.loading == pytest.approx(1000) and found.storage == pytest.approx(100)
    assert found.gradients == 0 and found.limit == "compute" and found.run == found.compute
    assert found.next == "loading (2.0x)"
    assert scale.hours(run, 1, replace(given, loader=4000)).next == "storage (20x)"
    many = scale.hours(run, 64, given)
    assert many.compute == pytest.approx(found.compute / 64)
    assert many.storage == pytest.approx(100 / 8)  # a machine of 8 GPUs has it once
    steps, sent = 3.6e7, 2 * 63 / 64 * 4e8
    assert many.gradients == pytest.approx(steps * sent / 8e9 / 3600) and many.limit == "gradients"
    assert scale.hours(run, 8, given).gradients == pytest.approx(
        steps * 2 * 7 / 8 * 4e8 / 80e9 / 3600
    )
    tokens = scale.hours(run._replace(tokens=True), 1, given)
    assert tokens.loading == 0 and tokens.storage == pytest.approx(3.6e9 * 512 / 1e9 / 3600)


def test_the_tables_follow_the_inputs(
    scale: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = scale.main(["--peak", "400", "--item-bytes", "1000", "--out", str(tmp_path / "a.md")])
    assert (tmp_path / "a.md").read_text() == text + "\n"
    assert "| peak | 400 |" in text and "| 100,000,000 | 11,540 | 11,540 | 25.60 G |" in text
    rows = [line for line in text.splitlines() if line.startswith("| imagenet")]
    assert len(rows) == 3 * len(scale.RECIPES)
    usual = scale.document(scale.Inputs())
    assert usual != text and "holds the index of" in usual
    stored = (ROOT / "benchmarks" / "scale.md").read_text(encoding="utf-8")
    assert usual + "\n" == stored, "run python benchmarks/scale.py --out benchmarks/scale.md"
    page = (ROOT / "docs" / "scale.md").read_text(encoding="utf-8")
    copied = [line for line in page.splitlines() if line.startswith(("| imagenet", "| tokenizer,"))]
    assert len(copied) > 10 and all(line in stored for line in copied)
    capsys.readouterr()
    for wrong in (["--peak", "0"], ["--cores", "-1"]):
        with pytest.raises(SystemExit) as stop:
            scale.main(wrong)
        assert stop.value.code == 2
    assert "must be above 0" in capsys.readouterr().err


def test_loading_is_measured(scale: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every layout gives crops of pictures of the stated size; an index grows with its items."""
    import crop_rates

    monkeypatch.setattr(crop_rates, "COUNT", 3)
    crop_rates.pictures.cache_clear()
    assert all(data[:3] == b"\xff\xd8\xff" and len(data) > 20_000 for data in crop_rates.pictures())
    for kind in ("folder", "shards", "parquet"):
        assert crop_rates.pictures_per_second(32, kind, seconds=0.05) > 0
    assert 100 < crop_rates.bytes_per_item(500) < 5000


def test_flags_are_measured_in_turns(
    scale: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delitem(sys.modules, "flags", raising=False)
    import flags

    found = flags.seconds("scenes-regvq", ["none", "both"], 16, 2, 2)
    assert found.keys() == {"none", "both"}
    assert all(least > 0 and first > 0 for first, least in found.values())
    step = flags.Steps("scenes-regvq", "both", 16, 2, tmp_path)
    assert step.trainer.config.accumulate == 4 and step.trainer.config.checkpointing
    assert flags._words("both") == "`--accumulate 4 --checkpointing`"
