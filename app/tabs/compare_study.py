"""Below the comparison: the charts of the study's results."""

from __future__ import annotations

from typing import Any

from ..services import study_results
from ..ui.errors import report_user_errors


@report_user_errors
def show() -> dict[str, Any]:
    """Return what the charts draw, or a sentence without results."""
    return study_results.study_view()
