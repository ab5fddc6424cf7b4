"""The history of a run's codes, with and without interruptions."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from train.export.drift_history import MOST, remember


def test_drift_is_measured_in_lengths_of_the_codes(tmp_path: Path) -> None:
    file = tmp_path / "run" / "history.npz"
    first = np.array([[3.0, 4.0], [0.0, 5.0]])
    remember(file, 10, first, np.array([7, 0]))
    second = np.array([[3.0, 4.0], [3.0, 1.0]])
    found = remember(file, 20, second, np.array([4, 5]))
    assert found["history_steps"].tolist() == [10, 20]
    assert found["history_counts"].tolist() == [[7, 0], [4, 5]]
    length = np.sqrt((25 + 10) / 2)
    np.testing.assert_allclose(found["history_moved"], [[0, 0], [0, 5 / length]], rtol=1e-3)


def test_a_run_resumed_from_an_earlier_step_drops_later_saves(tmp_path: Path) -> None:
    file, codes = tmp_path / "history.npz", np.eye(3)
    for step in (10, 20, 30):
        remember(file, step, codes * step, np.full(3, step))
    found = remember(file, 20, codes, np.full(3, 99))
    assert found["history_steps"].tolist() == [10, 20]
    assert found["history_counts"][-1].tolist() == [99, 99, 99]
    assert not found["history_moved"][-1].any()  # the codes of step 10 are no longer known


def test_many_saves_are_thinned_and_their_drift_adds_up(tmp_path: Path) -> None:
    file, walked = tmp_path / "history.npz", 0.0
    code = np.array([[1.0, 0.0], [0.0, 1.0]])
    for step in range(1, 101):
        turn = 0.01 * step
        turned = code @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
        found = remember(file, step, turned, np.array([step, 1]))
    walked = 2 * np.sin(0.005) * 99  # chords of the unit circle, from save 1 to save 100
    steps = found["history_steps"]
    assert MOST / 2 <= len(steps) <= MOST and steps[0] == 1 and steps[-1] == 100
    assert found["history_counts"][:, 0].tolist() == steps.tolist()
    np.testing.assert_allclose(found["history_moved"].sum(0, dtype=float), walked, rtol=0.01)


def test_a_large_codebook_keeps_fewer_saves(tmp_path: Path) -> None:
    for step in range(1, 13):
        found = remember(tmp_path / "h.npz", step, np.ones((65_536, 1)), np.ones(65_536))
    assert len(found["history_steps"]) <= 8


def test_a_file_that_does_not_fit_or_is_broken_is_replaced(tmp_path: Path) -> None:
    file = tmp_path / "history.npz"
    remember(file, 5, np.eye(4), np.ones(4))
    assert remember(file, 9, np.eye(3), np.ones(3))["history_steps"].tolist() == [9]
    file.write_bytes(b"PK broken")
    assert remember(file, 11, np.eye(3), np.ones(3))["history_steps"].tolist() == [11]
