"""A list whose choices follow the checkpoint."""

from __future__ import annotations

from typing import Any

import gradio as gr

from .pictures import NoStubFile


class FollowingChoice(gr.Dropdown, metaclass=NoStubFile):
    """A dropdown that passes on whatever the page sends; handlers check it.

    ``gr.Dropdown`` refuses a value that is not among the newest choices: a call that the page sent
    before it got them would end in an error.
    """

    is_template = True  # the page draws it as a gr.Dropdown

    def preprocess(self, payload: Any) -> Any:
        """Return the value."""
        return payload
