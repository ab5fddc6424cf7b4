"""The collapse lab on points of a plane: real quantizers."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from core.analysis.lab.points import DATA, LabConfig, PointsRun
from core.analysis.lab.training import default_quantizers, even_levels
from core.quantizers import NSVQConfig, RegVQConfig, VQConfig


@pytest.mark.parametrize("name", list(default_quantizers()))
def test_every_quantizer_learns(name: str) -> None:
    run = PointsRun(LabConfig(default_quantizers(24)[name], batch=128), watched=200)
    size = {"BSQ": 16}.get(name, 24)
    frames = list(run.frames(90, every=45))
    assert [frame.step for frame in frames] == [0, 45, 90]
    assert frames[-1].loss < 0.75 * frames[0].loss
    for frame in frames:
        assert frame.latents.shape == (200, 2) and frame.codes.shape == (size, 2)
        assert np.isfinite(frame.latents).all() and np.isfinite(frame.codes).all()
        counts = np.bincount(frame.ids, minlength=size)
        share = counts[counts > 0] / 200
        assert frame.used == pytest.approx((counts > 0).mean())
        assert frame.perplexity == pytest.approx(math.exp(-(share * np.log(share)).sum()))


@pytest.mark.parametrize(
    ("size", "count", "levels"),
    [(8, 2, (2, 4)), (8, 3, (2, 2, 2)), (64, 2, (8, 8)), (64, 3, (4, 4, 4)), (256, 3, (6, 6, 7)),
     (24, 2, (4, 6)), (72, 3, (4, 4, 4))],
)  # fmt: skip
def test_levels_of_a_size(size: int, count: int, levels: tuple[int, ...]) -> None:
    assert even_levels(size, count) == levels and math.prod(levels) <= size


def test_plain_vq_collapses_and_others_do_not() -> None:
    def used(name: str) -> float:
        return PointsRun(LabConfig(default_quantizers(48)[name], batch=128)).advance(100).used

    assert used("VQ") < 0.35
    assert used("Reg-VQ") > 0.5 and used("SimVQ") > 0.45


def test_runs_side_by_side_start_equal_and_get_the_same_data() -> None:
    one, other = (PointsRun(LabConfig(default_quantizers(16)[name])) for name in ("VQ", "Reg-VQ"))
    for part in ("encoder", "decoder"):
        pairs = zip(getattr(one, part).parameters(), getattr(other, part).parameters(), strict=True)
        assert all(torch.equal(*pair) for pair in pairs), part
    for run in (one, other):
        run.advance(3)  # Reg-VQ has drawn a mask by now, VQ nothing
    assert torch.equal(one.data_draw.get_state(), other.data_draw.get_state())
    assert not torch.equal(one.draw.get_state(), other.draw.get_state())


def test_a_run_is_reproducible_and_keeps_the_global_generator() -> None:
    config = LabConfig(RegVQConfig(size=16), data="spiral", seed=4)
    before = torch.random.get_rng_state()
    one, same = (PointsRun(config, watched=50).advance(20) for _ in range(2))
    assert torch.equal(before, torch.random.get_rng_state())
    np.testing.assert_array_equal(one.codes, same.codes)
    np.testing.assert_array_equal(one.ids, same.ids)
    reseeded = LabConfig(RegVQConfig(size=16), data="spiral", seed=5)
    other = PointsRun(reseeded, watched=50).advance(20)
    assert not np.array_equal(one.codes, other.codes)


def test_settings_change_during_a_run() -> None:
    config = LabConfig(RegVQConfig(size=16, prior_weight=0.0))
    still, changed = PointsRun(config), PointsRun(config)
    for run in (still, changed):
        run.advance(10)
    changed.change(prior_weight=0.5)
    assert changed.config.quantizer.prior_weight == 0.5
    assert not np.array_equal(still.advance(10).codes, changed.advance(10).codes)
    still.change(rate=1e-6)
    before = still.encoder[0].weight.detach().clone()
    still.advance(5)
    assert float((still.encoder[0].weight - before).abs().max()) < 1e-4
    with pytest.raises(ValueError, match="rate"):
        still.change(rate=0.0)
    with pytest.raises(ValueError, match="mask_ratio"):
        changed.change(mask_ratio=2.0)
    with pytest.raises(ValueError, match="keeps its size"):
        changed.change(size=32)
    with pytest.raises(TypeError):
        changed.change(taste=1.0)


def test_replaced_codes_have_no_optimizer_state() -> None:
    run = PointsRun(LabConfig(NSVQConfig(size=32, epoch=5, replacement_warmup=1)))
    run.advance(9)
    before = run.quantizer.codebook().detach().clone()
    dead = np.setdiff1d(np.arange(32), run.look().ids)
    assert len(dead)
    run.advance(1)  # the tenth step replaces codes that were unused for five steps
    moved = (run.quantizer.codebook() - before).norm(dim=1)
    memory = run.optimizer.state[run.quantizer.codes]["exp_avg_sq"]
    assert (moved > 0.1).any() and (memory.sum(1) == 0).any()


def test_data_and_settings() -> None:
    for name, draw in DATA.items():
        points = draw(500, torch.Generator().manual_seed(0))
        assert points.shape == (500, 2) and float(points.abs().max()) < 2.5, name
        assert float(points.std(0).min()) > 0.2
    for wrong in ({"data": "circle"}, {"batch": 0}, {"rate": 0.0}, {"width": 0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            LabConfig(VQConfig(size=4), **wrong)
