"""Gradio's Blocks, with checked inputs and a sentence for every error."""

from __future__ import annotations

import re
import traceback
from pathlib import Path
from typing import Any

import gradio as gr
from gradio import processing_utils
from gradio.exceptions import ComponentProcessingError, InvalidPathError
from gradio.utils import get_upload_folder
from pydantic import ValidationError

from ..guard.answers import Refusal
from ..guard.failures import UNEXPECTED, log_failure
from ..guard.values import NOT_FETCHED, NOT_UPLOADED, check_files, lies_in
from ..services.errors import without_paths
from ..services.libraries import LIBRARIES
from .pictures import SALT

LONGEST = 600
"""Characters of an error's text: it may quote the value that it refuses."""
_INDEX = re.compile(r"component at index (\d+) ")


class Explorer(gr.Blocks):
    """Blocks whose listeners fetch nothing and never fail without a sentence.

    The inputs are checked here once more, just before Gradio would fetch a file that they name:
    whatever way a call has come, and although ``guard.gate`` has refused it already. The function
    by which Gradio fetches is replaced, so that an output cannot make it fetch, either. The number
    on which the paths of uploads depend is this process's own: Gradio keeps one in a file of its
    installation, which is empty for processes that begin while another is writing it, and paths
    could then be computed from pictures.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        processing_utils.async_ssrf_protected_get = _never_fetch
        processing_utils.hash_seed = SALT
        super().__init__(*args, **kwargs)

    async def preprocess_data(
        self, block_fn: Any, inputs: list[Any], state: Any, explicit_call: bool = False
    ) -> list[Any]:
        """Return the inputs as handlers get them. Raises gr.Error for one that is unusable."""
        folder = get_upload_folder()
        try:
            check_files(inputs, lambda path: lies_in(path, folder))
            return await super().preprocess_data(block_fn, inputs, state, explicit_call)
        except Refusal as refusal:
            raise _error(refusal.sentence) from None
        except InvalidPathError:
            raise _error(NOT_UPLOADED) from None
        except ComponentProcessingError as error:
            found = _INDEX.search(str(error))
            raise _error(_unfit(block_fn, int(found[1]) if found else None)) from None
        except ValidationError:
            raise _error(_unfit(block_fn, None)) from None

    def validate_inputs(self, block_fn: Any, inputs: list[Any]) -> None:
        """Raise gr.Error unless there is a value for each input."""
        if len(inputs) < len(block_fn.inputs):
            raise _error(f"The call needs {len(block_fn.inputs)} inputs, not {len(inputs)}.")

    async def process_api(self, block_fn: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Return what a listener yields. Raises nothing but gr.Error with a sentence."""
        await LIBRARIES.wait_in_loop()
        try:
            return await super().process_api(block_fn, *args, **kwargs)
        except gr.Error as error:
            error.print_exception = False
            error.message = _sentence(str(error.message))
            raise
        except Exception as error:
            if isinstance(error, StopAsyncIteration):
                raise
            listener = self._listener(block_fn)
            if getattr(listener, "collects_event_data", False) and _is_of_event(error):
                raise _error('The "event_data" of the call lacks what its event has.') from None
            name = getattr(listener, "api_name", None)
            log_failure(f"The listener {name}", error)
            raise _error(UNEXPECTED) from None

    def _listener(self, block_fn: Any) -> Any:
        return self.fns.get(block_fn) if isinstance(block_fn, int) else block_fn


async def _never_fetch(url: str) -> Any:
    raise _error(NOT_FETCHED)


def _error(sentence: str) -> gr.Error:
    return gr.Error(without_paths(sentence), duration=12, print_exception=False)


def _is_of_event(error: Exception) -> bool:
    """Return True if Gradio could not make its object about an event from what was sent."""
    frames = traceback.extract_tb(error.__traceback__)
    return bool(frames) and Path(frames[-1].filename).name == "events.py"


def _sentence(text: str) -> str:
    """Return an error's text, shortened and with a period: Gradio's quote whole values."""
    text = text.rstrip() if len(text) <= LONGEST else text[:LONGEST] + " …"
    return text if text.endswith((".", "!", "?", "…")) else f"{text}."


def _unfit(block_fn: Any, index: int | None) -> str:
    if index is None or index >= len(block_fn.inputs):
        return "One of the inputs has a form that its component does not take."
    label = getattr(block_fn.inputs[index], "label", None)
    named = f" ({label})" if label else ""
    return f"Input {index + 1}{named} has a form that its component does not take."
