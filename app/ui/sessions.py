"""Small sessions: what the server keeps of a visitor is ids and settings.

For its deep links, which this app does not offer, Gradio keeps the configuration of every component
per session, with the last value of each: 0.3 MB and more, of up to 10,000 sessions.
"""

from __future__ import annotations

from copy import copy
from typing import Any

import gradio as gr
from gradio import state_holder


class _Forgotten(dict[Any, Any]):
    """A dictionary that keeps nothing."""

    def __setitem__(self, key: Any, value: Any) -> None:
        pass


class SmallSession(state_holder.SessionState):
    """Gradio's state of a session without the copy of the page."""

    def __init__(self, blocks: gr.Blocks) -> None:
        # Not super().__init__: it makes the copy.
        self.blocks_config = copy(blocks.default_config)
        self.config_values = _Forgotten()
        self.state_data: dict[int, Any] = {}
        self._state_ttl: dict[int, Any] = {}
        self.is_closed = False
        self.STATE_TTL_WHEN_CLOSED = 900

    def _update_config(self, key: int) -> None:
        pass

    def _update_value_in_config(self, key: int, value: Any) -> None:
        pass


def keep_sessions_small() -> None:
    """Let Gradio make small sessions from now on."""
    state_holder.SessionState = SmallSession  # type: ignore[misc]
