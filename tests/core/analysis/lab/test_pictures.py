"""The collapse lab on small pictures: real tokenizers, very small."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from core.analysis.lab.pictures import (
    SIDE,
    SmallPictures,
    TinyConfig,
    TinyRun,
    patches,
    scenes,
    sheet_of,
    tiny_quantizers,
)
from core.quantizers import RegVQConfig, VQConfig


@pytest.fixture(scope="module")
def drawn() -> SmallPictures:
    return scenes(train=24, test=8)


def trained(name: str, pictures: SmallPictures, steps: int, size: int = 48) -> TinyRun:
    run = TinyRun(TinyConfig(tiny_quantizers(size)[name], batch=8), pictures)
    for _ in range(steps):
        run.train()
    return run


@pytest.mark.parametrize("name", list(tiny_quantizers()))
def test_every_quantizer_learns_to_reconstruct(name: str, drawn: SmallPictures) -> None:
    run = trained(name, drawn, 0, size=16)
    start = run.look()
    for _ in range(25):
        run.train()
    frame = run.look()
    assert (start.step, frame.step) == (0, 25) and frame.psnr > start.psnr + 3
    assert frame.sheet.shape == (2 * SIDE, 3 * SIDE, 3) and frame.sheet.dtype == np.uint8
    assert frame.paints.shape == (16, 4, 4, 3) and frame.ids.shape == (16, 24)
    # The figures equal those of the test pictures encoded and decoded by the tokenizer itself.
    ids = run.tokenizer.eval().encode(drawn.test)
    counts = np.bincount(ids.numpy().ravel(), minlength=16)
    np.testing.assert_array_equal(frame.counts, counts)
    share = counts[counts > 0] / counts.sum()
    assert frame.usage.utilization == pytest.approx((counts > 0).mean())
    assert frame.usage.perplexity == pytest.approx(math.exp(-(share * np.log(share)).sum()))
    error = (run.tokenizer.decode(ids) - drawn.test).double() / 2
    quality = -10 * np.log10((error**2).mean(dim=(1, 2, 3)).numpy())
    assert frame.psnr == pytest.approx(quality.mean(), abs=1e-4)


def test_plain_vq_collapses_and_regvq_does_not(drawn: SmallPictures) -> None:
    used = {name: trained(name, drawn, 80).look().usage for name in ("VQ", "Reg-VQ")}
    assert used["VQ"].utilization < 0.5 < 0.8 < used["Reg-VQ"].utilization
    assert used["VQ"].perplexity < 0.5 * used["Reg-VQ"].perplexity


def test_runs_side_by_side_differ_only_in_the_quantizer(drawn: SmallPictures) -> None:
    runs = [trained(name, drawn, 0) for name in tiny_quantizers()]
    for run in runs[1:]:
        for part in ("encoder", "decoder"):
            ours = getattr(run.tokenizer, part).state_dict()
            for key, value in getattr(runs[0].tokenizer, part).state_dict().items():
                assert torch.equal(ours[key], value), key
    for name, run in zip(tiny_quantizers(), runs, strict=True):
        if name in ("BSQ", "FSP"):  # no codes are learned
            assert not hasattr(run.quantizer, "codes") and not hasattr(run.quantizer, "frozen")
            continue
        part = "frozen" if hasattr(run.quantizer, "frozen") else "codes"
        assert torch.equal(getattr(run.quantizer, part), runs[0].quantizer.codes)


def test_a_reset_reproduces_and_another_seed_does_not(drawn: SmallPictures) -> None:
    before = torch.random.get_rng_state()
    config = TinyConfig(RegVQConfig(size=16), batch=4)
    one, same, other = (
        TinyRun(settings, drawn)
        for settings in (config, config, TinyConfig(config.quantizer, batch=4, seed=1))
    )
    for run in (one, same, other):
        for _ in range(5):
            run.train()
    assert torch.equal(before, torch.random.get_rng_state())
    np.testing.assert_array_equal(one.look().sheet, same.look().sheet)
    assert not np.array_equal(one.look().sheet, other.look().sheet)


@pytest.mark.parametrize(
    "change",
    [{"prior_weight": 1.0}, {"mask_ratio": 1.0}, {"rate": 3e-4}, {"temperature": 0.2}],
)
def test_changes_take_effect_from_the_next_step(
    change: dict[str, float], drawn: SmallPictures
) -> None:
    def run(changed_at: int | None) -> tuple[np.ndarray, np.ndarray]:
        live = TinyRun(TinyConfig(RegVQConfig(size=16), batch=4), drawn)
        seen = []
        for step in range(4):
            if step == changed_at:
                live.change(**change)
            live.train()
            seen.append(torch.cat([w.detach().flatten() for w in live.tokenizer.parameters()]))
        return seen[1].numpy(), seen[2].numpy()

    (before, after), (same, other) = run(None), run(2)
    np.testing.assert_array_equal(before, same)
    assert not np.array_equal(after, other)


def test_a_picture_is_cut_into_patches() -> None:
    ramp = torch.linspace(-1, 1, 300).expand(3, 200, 300)
    found = patches(ramp)
    assert found.watched.shape == (1, 3, 64, 96) and found.test.shape == (30, 3, SIDE, SIDE)
    assert found.train.shape == (92, 3, SIDE, SIDE)
    torch.testing.assert_close(found.test[-6], found.watched[0, :, :32, :32])
    torch.testing.assert_close(found.test[-1], found.watched[0, :, 32:, 64:])
    assert sheet_of(found.watched).shape == (64, 96, 3)
    # From left to right it increases as the picture does, for any size and shape.
    row = found.watched[0, 0, 10].numpy()
    assert (np.diff(row) > 0).all() and abs(row).max() <= 1
    for size in ((1, 1), (7, 900), (900, 7)):
        extreme = patches(torch.zeros(3, *size))
        assert extreme.watched.shape == (1, 3, 64, 96) and bool((extreme.train == 0).all())
    run = TinyRun(TinyConfig(VQConfig(size=8), batch=4), found)
    run.train()
    assert run.look().sheet.shape == (64, 96, 3) and run.look().ids.shape == (16, 24)


def test_wrong_settings_are_refused() -> None:
    for wrong in ({"batch": 0}, {"rate": 0.0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            TinyConfig(VQConfig(size=4), **wrong)
