"""The warning that codes die, at every limit of its rule."""

from __future__ import annotations

from dataclasses import replace

import pytest

from core.quantizers import FSQConfig, VQConfig
from train.config.tokenizer import DataConfig, RunConfig
from train.loop.health import dying_codes, dying_level


def run(steps: int = 1000, batch: int = 4, size: int = 64) -> RunConfig:
    """Return a run whose window of 100 steps holds 100 * batch * (size / 8)^2 tokens."""
    default = RunConfig()
    network = replace(default.tokenizer.network, widths=(8, 8, 8), stem=2)
    tokenizer = replace(default.tokenizer, network=network, quantizer=VQConfig(size=64))
    assert network.downsampling == 8
    return replace(
        default, steps=steps, batch=batch, tokenizer=tokenizer, data=DataConfig(size=size)
    )


def warns(
    config: RunConfig | None = None, *, codes: int = 1000, used: float = 0.3,
    perplexity: float = 500.0, most: float = 0.3, step: int = 500,
) -> bool:  # fmt: skip
    words = dying_codes(config or run(), codes, used, perplexity, most, step)
    return words is not None


@pytest.mark.parametrize(
    ("steps", "first"), [(10, 100), (500, 100), (600, 120), (10_000, 2000), (10**6, 2000)]
)
def test_a_run_is_judged_after_a_fifth_of_its_steps(steps: int, first: int) -> None:
    assert not warns(run(steps), step=first - 1)
    assert warns(run(steps), step=first)


def test_a_window_needs_four_tokens_per_code() -> None:
    tokens = 100 * 4 * 8 * 8
    assert warns(codes=tokens // 4, perplexity=10**6)
    assert not warns(codes=tokens // 4 + 1, perplexity=10**6)
    assert warns(run(size=32), codes=tokens // 16, perplexity=10**6)
    assert not warns(run(size=32), codes=tokens // 16 + 1, perplexity=10**6)
    assert warns(run(batch=2), codes=tokens // 8, perplexity=10**6)
    assert not warns(run(batch=2), codes=tokens // 8 + 1, perplexity=10**6)


def test_half_of_the_codes_is_enough_without_a_fall() -> None:
    assert warns(used=0.499, most=0.5)
    assert not warns(used=0.5, most=0.5)


def test_a_perplexity_of_three_hundredths_is_enough() -> None:
    assert warns(used=0.9, most=0.9, perplexity=29.9)
    assert not warns(used=0.9, most=0.9, perplexity=30.0)


def test_a_fall_below_seven_tenths_of_the_most_is_dying() -> None:
    assert not warns(used=0.75, most=1.0)
    assert not warns(used=0.7, most=1.0)
    assert warns(used=0.699, most=1.0)
    assert not warns(used=0.7, most=0.7)


def test_the_most_is_named_only_after_a_fall() -> None:
    same = dying_codes(run(), 1000, 0.3, 500.0, 0.3, 500)
    assert same is not None and "used 30% of 1,000 codes, with a perplexity of 500" in same
    fallen = dying_codes(run(), 1000, 0.3, 500.0, 0.4, 500)
    assert fallen is not None and "of 1,000 codes (at most 40% before), with" in fallen


def test_another_quantizer_gets_the_general_remedy() -> None:
    config = run()
    config = replace(
        config, tokenizer=replace(config.tokenizer, quantizer=FSQConfig(levels=(4, 4)))
    )
    words = dying_codes(config, 16, 0.3, 5.0, 0.3, 500)
    assert words is not None and (
        "lower the learning rate (--optimizer.lr) or choose a smaller codebook" in words
    )


def test_levels_are_judged_and_named_one_by_one() -> None:
    fine, dead = {"utilization": 0.9, "perplexity": 500.0}, {"utilization": 0.01, "perplexity": 2.0}
    most = [0.3, 0.3]
    figures = {f"{name}_level_1": value for name, value in fine.items()}
    figures |= {f"{name}_level_2": value for name, value in dead.items()}
    words = dying_level(run(), 1000, figures, most, 500)
    assert words is not None and "of level 2 of 2" in words
    assert most == [0.9, 0.3]
    alone = dying_level(run(), 1000, dead, [0.3], 500)
    assert alone is not None and "level" not in alone
    assert dying_level(run(), 1000, fine, [0.3], 500) is None
