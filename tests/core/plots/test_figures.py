"""The values of the figures, against computations of our own."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from core import plots
from core.analysis.history import CodebookHistory, history_of
from core.analysis.mask_sweep import Point
from core.paths import ROOT
from core.plots.priors import bits_of
from core.plots.rows import Column
from core.plots.study import Figures, Run
from core.plots.style import PALETTE, dark_pairs
from core.tokenizer import Tokenizer
from tests.helpers import fresh

BUNDLE = ROOT / "checkpoints" / "photos-regvq"
PSNR = Figures("psnr", "PSNR", "dB", better=1)
FD = Figures("fd", "Distance", better=-1, log=True)
RUNS = [
    Run("a", "A", "vq", {"psnr": 20.0, "fd": 100.0}),
    Run("b", "B", "regvq", {"psnr": 22.0, "fd": 10.0}),
    Run("c", "C", "regvq", {"fd": 50.0}),
    Run("d", "D", "simvq", {"psnr": 21.0, "fd": 70.0}, external=True),
]


def trace(figure: object, name: str) -> object:
    (found,) = [one for one in figure.data if one.name == name]
    return found


def test_importing_the_package_does_not_import_plotly() -> None:
    code = "import sys, regvq.plots; assert 'plotly' not in sys.modules; print(regvq.plots.__all__)"
    done = fresh.run(["-c", code], ROOT)
    assert done.returncode == 0, done.stderr
    assert "plot_usage" in done.stdout


def test_drift_shows_shares_of_the_codebook_and_the_selected_code() -> None:
    counts = np.array([[4, 0, 0, 0], [2, 2, 0, 0], [1, 1, 1, 1]], np.uint32)
    moved = np.arange(12, dtype=np.float32).reshape(3, 4)
    history = CodebookHistory(np.array([5, 10, 15]), counts, moved)
    figure = plots.plot_drift(history, code=1)
    np.testing.assert_allclose(trace(figure, "codes used").y, [25, 50, 100])
    np.testing.assert_allclose(trace(figure, "perplexity").y, [25, 50, 100])
    np.testing.assert_allclose(trace(figure, "distance moved, median").y, [150, 550, 950])
    line = trace(figure, "distance moved, code 1")
    np.testing.assert_allclose(line.y, [100, 500, 900])
    assert line.text[1] == "50 % of the tokens"
    known = {"history_steps": history.steps, "history_counts": counts, "history_moved": moved}
    assert history_of(known) is None  # of another codebook
    assert history_of({**known, "counts": np.zeros(4)}).perplexity[2] == pytest.approx(4)


def test_the_mask_curve_leaves_exact_pictures_out() -> None:
    points = [Point(0.0, 0.0, 0.0, float("inf")), Point(0.5, 0.5, 0.25, 21.5)]
    figure = plots.plot_mask_sweep(points, at=0.3)
    assert list(trace(figure, "PSNR, dB").y) == [None, 21.5]
    assert list(trace(figure, "Changed tokens, %").y) == [0, 25]
    assert {shape.x0 for shape in figure.layout.shapes} == {0.3}


def test_ranks_are_thinned_and_mark_even_use_and_perplexity() -> None:
    counts = np.random.default_rng(0).integers(0, 1000, 20_000)
    figure = plots.plot_ranks(counts, code=7)
    line = trace(figure, "uses")
    assert len(line.x) <= 1024 and line.x[0] == 1 and line.x[-1] == (counts > 0).sum()
    ordered = np.sort(counts)[::-1]
    np.testing.assert_array_equal(line.y, ordered[np.array(line.x) - 1])
    np.testing.assert_array_equal(counts[np.array(line.customdata)[:, 0].astype(int)], line.y)
    mark = trace(figure, "code 7")
    assert (mark.x[0], mark.y[0]) == ((counts > counts[7]).sum() + 1, counts[7])
    share = counts[counts > 0] / counts.sum()
    perplexity = np.exp(-(share * np.log(share)).sum())
    even, across = figure.layout.shapes
    assert even.y0 == pytest.approx(counts.sum() / 20_000)
    assert across.x0 == pytest.approx(perplexity)


def test_usage_of_a_bundle_as_a_heat_map() -> None:
    figure = plots.plot_usage(BUNDLE)
    atlas = np.load(BUNDLE / "atlas.npz")
    marks = trace(figure, "codes")
    rows = np.array(marks.customdata)
    codes = rows[:, 0].astype(int)
    assert sorted(codes) == list(range(len(atlas["counts"])))
    np.testing.assert_array_equal(rows[:, 1], atlas["counts"][codes])
    np.testing.assert_allclose(rows[:, 2], 100 * rows[:, 1] / atlas["counts"].sum())
    cells, columns = atlas["grid"][codes], int(atlas["grid_columns"])
    np.testing.assert_allclose(marks.x, cells % columns + 0.5)
    np.testing.assert_allclose(marks.y, -(cells // columns) - 0.5)
    assert "1,024 codes" in figure.layout.title.text
    tokenizer = Tokenizer.from_pretrained(BUNDLE)
    few = plots.plot_usage(tokenizer, [torch.zeros(3, 64, 64)])
    assert np.array(trace(few, "codes").customdata)[:, 1].sum() == 64


def test_the_study_names_its_axes_and_leaves_incomplete_runs_out() -> None:
    figure = plots.plot_study(RUNS, PSNR, FD, [PSNR, FD])
    assert list(trace(figure, "Reg-VQ").x) == [22.0] and list(trace(figure, "VQ").y) == [100.0]
    assert trace(figure, "SimVQ").marker.symbol == ("diamond-open",)
    assert figure.layout.xaxis.title.text == "PSNR, dB (higher is better)"
    assert figure.layout.yaxis.type == "log" and figure.layout.xaxis.type is None
    assert tuple(trace(figure, "VQ").customdata[0]) == ("A", 20.0, 100.0)
    bars = plots.plot_bars(RUNS, FD)
    assert [text.split("  ")[0] for text in bars.layout.yaxis.ticktext] == ["B", "C", "D", "A"]
    assert [text.split("  ")[0] for text in plots.plot_bars(RUNS, PSNR).layout.yaxis.ticktext] == [
        "B", "D", "A",
    ]  # fmt: skip


def test_the_points_of_the_study_name_their_runs() -> None:
    """By these names a page finds the same run in all charts."""
    runs = [Run(one.name, one.label, one.family, one.values, method=f"by {one.name}")
            for one in RUNS]  # fmt: skip
    lines = {"Reg-VQ": [(0.5, runs[2]), (0.1, runs[1])]}
    figures = [
        plots.plot_study(runs, PSNR, FD),
        plots.plot_bars(runs, FD),
        plots.plot_sweep("Mask", "share", lines, FD),
    ]
    for figure in figures:
        assert figure.layout.meta["linked"] == "study"
        values = {run.name: run.values["fd"] for run in runs}
        for one in figure.data:
            if "runs" in (one.meta or {}):
                along = one.x if figure is figures[1] else one.y
                assert [values[name] for name in one.meta["runs"]] == list(along)
                assert one.meta["methods"] == [f"by {name}" for name in one.meta["runs"]]
    named = [[name for one in figure.data for name in (one.meta or {}).get("runs", ())]
             for figure in figures]  # fmt: skip
    assert [sorted(names) for names in named] == [["a", "b", "d"], ["a", "b", "c", "d"], ["b", "c"]]


def test_a_sweep_has_a_line_per_method() -> None:
    lines = {"Reg-VQ": [(0.4, RUNS[1]), (0.0, RUNS[2])], "VQ": [(0.2, RUNS[0])]}
    figure = plots.plot_sweep("Mask", "share", lines, FD)
    assert list(trace(figure, "Reg-VQ").x) == [0.0, 0.4]
    assert list(trace(figure, "Reg-VQ").y) == [50.0, 10.0]
    assert figure.layout.xaxis.type == "linear"
    # Values of several magnitudes are on a logarithmic axis, and with a 0 beside one another.
    wide = plots.plot_sweep("Mask", "share", {"VQ": [(0.01, RUNS[0]), (1.0, RUNS[1])]}, FD)
    assert wide.layout.xaxis.type == "log"
    lines = {"VQ": [(0.5, RUNS[0]), (0.0, RUNS[1])], "SimVQ": [(0.01, RUNS[2])]}
    even = plots.plot_sweep("Mask", "share", lines, FD)
    assert list(even.layout.xaxis.categoryarray) == ["0", "0.01", "0.5"]
    assert [list(one.x) for one in even.data] == [["0", "0.5"], ["0.01"]]
    figure = plots.plot_rows(["A", "B"], [0, 1], [Column("PSNR", [20.0, None], "{:.1f}".format)])
    texts = [list(one.text) for one in figure.data if one.name == "PSNR"]
    assert texts == [["  20.0"], []]


def test_panels_space_the_values_of_a_setting_evenly() -> None:
    series = {"NSVQ": [(0.5, 3.0), (0.01, 1.0)], "SimVQ": [(0.1, 2.0)]}
    figure = plots.plot_panels("alpha", [("PSNR", series), ("FD", series)])
    assert [list(one.x) for one in figure.data] == [[0, 2], [1]] * 2
    assert list(figure.layout.xaxis.ticktext) == ["0.01", "0.1", "0.5"]
    assert [one.yaxis for one in figure.data] == ["y", "y", "y2", "y2"]
    assert [one.showlegend for one in figure.data] == [True, True, False, False]


def test_training_curves_of_a_log(tmp_path: Path) -> None:
    rows = [
        {
            "step": step,
            "loss": 10.0 / step,
            "codes_used": step,
            "lr": 1e-3,
            "validation_psnr": 20 + step,
        }
        for step in range(1, 41)
    ]
    rows[3]["loss"] = float("nan")
    text = "".join(json.dumps(row) + "\n" for row in rows) + '{"step": 41, "lo'
    (tmp_path / "log.jsonl").write_text(text)
    figure = plots.plot_training(tmp_path)
    # The learning rate does not change.
    assert {one.name for one in figure.data} == {
        "loss",
        "codes_used",
        "validation_psnr",
    }  # lr: constant
    line = trace(figure, "loss")
    assert list(line.x) == [step for step in range(1, 41) if step != 4]
    np.testing.assert_allclose(line.y, [10.0 / step for step in line.x])
    assert len({one.yaxis for one in figure.data}) == 3
    assert [one.name for one in plots.plot_training(tmp_path, ["lr"]).data] == ["lr"]
    (tmp_path / "log.jsonl").write_text("")
    with pytest.raises(ValueError, match="holds no figures"):
        plots.plot_training(tmp_path)


def test_a_long_log_is_thinned_by_means() -> None:
    steps = np.arange(1, 5001)
    figure = plots.plot_training({"loss": (steps, steps.astype(float))})
    line = trace(figure, "loss")
    assert len(line.x) <= 2000
    assert list(line.x[:2]) == [3, 6] and list(line.y[:2]) == [2.0, 5.0]


def test_bits_and_attributes_of_priors() -> None:
    metrics = {"worse": {"bits_per_token": 6.5}, "better": {"bits_with_map": 4.25}, "none": {}}
    assert bits_of(metrics["better"]) == 4.25 and bits_of({}) is None
    figure = plots.plot_bits(metrics, {"better": 10.0, "worse": 10.0})
    bars = trace(figure, "bits per token")
    assert list(bars.y) == ["better", "worse"] and list(bars.x) == [4.25, 6.5]
    questions = {"sun": {"drawn": 0.5, "real": 1.0}, "sea": {"drawn": 0.75, "reconstructed": 0.9}}
    figure = plots.plot_attributes({"questions": questions})
    drawn = trace(figure, "drawn by the prior")
    assert list(drawn.y) == ["sea", "sun"] and list(drawn.x) == [75.0, 50.0]
    assert list(trace(figure, "real pictures").y) == ["sun"]
    for broken in (lambda: plots.plot_bits({"none": {}}), lambda: plots.plot_attributes({})):
        with pytest.raises(ValueError):
            broken()


def test_the_lab_marks_changed_settings() -> None:
    figure = plots.plot_lab(
        [0, 15], {"VQ": [100, 50], "NSVQ": [100, 100]}, "codes", changes=[(15, "rate 1")]
    )
    assert list(trace(figure, "VQ").y) == [100, 50]
    assert figure.layout.annotations[0].text == "rate 1" and figure.layout.shapes[0].x0 == 15


def test_a_figure_for_a_dark_page_has_the_dark_colors() -> None:
    figure = plots.plot_mask_sweep([Point(0.0, 0.0, 0.0, 20.0)])
    dark = plots.in_dark(figure)
    assert figure.data[0].line.color == PALETTE["accent"][0]
    assert dark.data[0].line.color == PALETTE["accent"][1]
    assert dark.layout.template.layout.font.color == PALETTE["ink"][1]
    text = json.dumps(plots.figure_json(dark))
    assert not [light for light, other in dark_pairs().items() if light != other and light in text]


def test_figures_are_saved_by_their_suffix(tmp_path: Path) -> None:
    figure = plots.plot_bars(RUNS, PSNR)
    shown = json.loads(plots.save_figure(figure, tmp_path / "a.json").read_text())
    assert shown["data"][1]["name"] == "VQ"
    assert "Plotly.newPlot" in plots.save_figure(figure, tmp_path / "a.html").read_text()
    with pytest.raises(ValueError, match=r"must end with one of"):
        plots.save_figure(figure, tmp_path / "a.gif")
