"""Panels of figures."""

from __future__ import annotations

from app.ui.figures import reconstruction_figures, usage_figures


def test_texts_of_a_bundle_are_escaped() -> None:
    panel = usage_figures(
        {
            "used": 1,
            "total": 2,
            "utilization": 0.5,
            "perplexity": 1.0,
            "dead": 1,
            "tokens": 1,
            "source": "<script>alert(1)</script>",
        }
    )
    assert "<script>" not in panel and "&lt;script&gt;" in panel
    assert "<script" not in reconstruction_figures(None)
