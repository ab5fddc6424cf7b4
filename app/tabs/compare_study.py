"""Below the comparison: the charts of the study's results."""

from __future__ import annotations

from typing import Any

import gradio as gr

from ..services import study_results
from ..services.validation import one_of
from ..ui.component import INSTANT, html_text
from ..ui.errors import report_user_errors
from ..ui.plot import chart, no_chart, plot

HEADING = (
    '<section class="rv-study-head"><h2>The study: every quantizer at equal budget</h2>'
    '<p class="rv-note">Every quantizer is trained with the same network, pictures, steps and '
    "seeds, and tested on held-out photographs. Point at a mark to see its figures; a click in the "
    "legend hides a family, and the table holds all figures.</p></section>"
)
MOST_SWEEPS = 4


@report_user_errors
def show(across: Any, up: Any, group: Any) -> list[dict[str, Any]]:
    """Return the charts: one figure against another, the runs by rank, and the sweeps."""
    from regvq.plots import plot_bars, plot_study, plot_sweep

    view = study_results.study_view()
    if "runs" not in view:
        return [no_chart(view.get("problem") or view["empty"]), *[no_chart()] * (1 + MOST_SWEEPS)]
    known, groups = study_results.figures_of(view), study_results.groups_of(view)
    x, y = (known[one_of(axis, "axis", known)] for axis in (across, up))
    runs = study_results.runs_of(view, one_of(group, "group of runs", groups))
    trained_on = {x.key, y.key} & set(study_results.TRAINED_ON) and view["features"]
    note = f"SqueezeNet's distances: {view['features']}, on which the runs were trained."
    charts = [
        chart(plot_study(runs, x, y, list(known.values())), note=note if trained_on else ""),
        chart(plot_bars(runs, y)),
    ]
    for sweep in view["sweeps"][:MOST_SWEEPS]:
        lines = study_results.sweep_lines(view, sweep)
        figure = plot_sweep(sweep["title"], sweep["axis"], lines, y)
        charts.append(chart(figure.update_layout(title=None, margin={"t": 12})))
    return charts + [no_chart()] * (2 + MOST_SWEEPS - len(charts))


def build(tab: gr.Tab) -> None:
    """Draw the charts and add their listeners."""
    view = study_results.study_view()
    available = "runs" in view
    axes = [(axis["label"], axis["key"]) for axis in view["axes"]] if available else []
    groups = study_results.groups_of(view) if available else {}
    first = study_results.first_axes(view) if available else (None, None)
    html_text(HEADING)
    with gr.Row(elem_classes="rv-choices", visible=available):
        across = gr.Dropdown(axes, value=first[0], label="Horizontal axis", elem_id="study-x")
        up = gr.Dropdown(axes, value=first[1], label="Vertical axis", elem_id="study-y")
        group = gr.Dropdown(
            [(title, name) for name, title in groups.items()],
            value=next(iter(groups), None),
            label="Group of runs",
            elem_id="study-group",
        )
    with gr.Row(elem_classes="rv-study-charts", equal_height=False):
        with gr.Column(scale=3, min_width=320):
            charts = [plot("study", "One figure against another")]
        with gr.Column(scale=2, min_width=320):
            charts.append(plot("study-bars", "The runs by the vertical axis", "the best first"))
    with gr.Row(elem_classes="rv-study-sweeps", equal_height=False):
        for sweep in view.get("sweeps", ())[:MOST_SWEEPS]:
            with gr.Column(scale=1, min_width=300):
                charts.append(plot(f"study-{sweep['name']}", sweep["title"]))
    count, chosen = len(charts), [across, up, group]

    def shown(*axes: Any) -> list[dict[str, Any]]:
        return show(*axes)[:count]

    gr.on(
        [tab.select, *(one.input for one in chosen)],
        shown,
        chosen,
        charts,
        trigger_mode="always_last",
        **INSTANT,
    )
