"""Checks of a call: which listener it names, and whether it may be called in that way.

A listener is public if it is an endpoint of the API. All others are private: the page calls them by
their number, in its session and for the component that they listen to. They have no name that a
client could call.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from inspect import signature
from typing import TYPE_CHECKING, Any

from .answers import Refusal

if TYPE_CHECKING:
    from gradio.block_function import BlockFunction
    from gradio.blocks import Blocks

_ROUTE = re.compile(
    r"/gradio_api/(?:(?P<kind>run|api|call/v2|call)/(?P<name>[^/]*)|(?P<join>queue/join))/?"
)
_SESSION = re.compile(r"[\w-]{1,64}")


def check_call(blocks: Blocks, path: str, body: Any) -> bool:
    """Raise Refusal if the request of ``body`` to ``path`` is a call that cannot be made.

    Of a call by name, the last inputs may be left out if they have defaults: so an endpoint may get
    further inputs, and the calls that were written before it had them go on. Returns True if
    defaults were added to ``body``.
    """
    route = _ROUTE.fullmatch(path)
    if route is None:
        return False
    if not isinstance(body, dict):
        raise Refusal(400, "The body of a call must be a JSON object.")
    kind = route["kind"] or "join"
    if kind == "call/v2":  # its body is the parameters by name
        _public(blocks, route["name"])
        return False
    if not isinstance(body.get("data"), list):
        raise Refusal(400, 'The body of a call must hold "data", a list of the inputs.')
    session = body.get("session_hash")
    if session is not None:
        check_session(session)
    if body.get("batched"):
        raise Refusal(400, "No endpoint takes batches.")
    number = body.get("fn_index")
    if kind == "call" or (number is None and kind != "join"):
        listener = _public(blocks, route["name"])
        added = _add_defaults(listener, body["data"])
        _check_inputs(listener, body["data"], named=True)
        return added
    listener = _by_number(blocks, number)
    _check_inputs(listener, body["data"])
    if listener.api_visibility != "public":
        _check_page(listener, body)
    if listener.collects_event_data and not isinstance(body.get("event_data"), dict):
        raise Refusal(400, 'This call needs "event_data", a JSON object about the event.')
    return False


def runs_directly(blocks: Blocks, path: str, body: Mapping[str, Any]) -> bool | None:
    """Return whether a checked call goes around the line in which its listener's calls wait; None
    if it does not run before its answer."""
    route = _ROUTE.fullmatch(path)
    if route is None or route["kind"] not in ("run", "api"):
        return None
    number = body.get("fn_index")
    listener = _public(blocks, route["name"]) if number is None else _by_number(blocks, number)
    return bool(listener.queue)


def check_session(session: Any) -> None:
    """Raise Refusal unless ``session`` is a name that a page gives its session."""
    if not (isinstance(session, str) and _SESSION.fullmatch(session)):
        raise Refusal(400, "The session must be named by 1 to 64 letters and digits.")


def check_query(path: str, query: Mapping[str, str]) -> None:
    """Raise Refusal if a query names a session or an upload in a form that no page uses."""
    for name in ("session_hash", "upload_id"):
        if name in query:
            check_session(query[name])
    if path.startswith("/gradio_api/heartbeat/"):
        check_session(path.removeprefix("/gradio_api/heartbeat/"))


def check_event(blocks: Blocks, path: str) -> None:
    """Raise Refusal if ``path`` asks for the answer of a call that is not known."""
    route = re.fullmatch(r"/gradio_api/call/(?:v2/)?[^/]*/(?P<event>[^/]+)", path)
    if route is None:
        return
    queue, event = blocks._queue, route["event"]
    waiting = queue.pending_event_ids_session
    if event not in queue.event_ids_to_events and not any(event in ids for ids in waiting.values()):
        raise Refusal(404, "This call is not known, or its answer was fetched already.")


UNKNOWN_SESSION = {
    "msg": "unexpected_error",
    "message": "This session is not known, or has ended; reload the page.",
    "session_not_found": True,
    "success": False,
}
"""The message that ends the stream of a session; Gradio's page knows its keys."""


def knows_session(blocks: Blocks, session: str) -> bool:
    """Return True if a call of ``session`` is waiting, running, or not fetched yet."""
    return session in blocks._queue.pending_messages_per_session


def _public(blocks: Blocks, name: str) -> BlockFunction:
    for listener in blocks.fns.values():
        if listener.api_visibility == "public" and listener.api_name == name:
            return listener
    raise Refusal(404, "There is no endpoint of this name; client.view_api() lists them.")


def _by_number(blocks: Blocks, number: Any) -> BlockFunction:
    known = isinstance(number, int) and not isinstance(number, bool)
    listener = blocks.fns.get(number) if known else None
    if listener is None or listener.fn is None:
        raise Refusal(404, "There is no listener of this number; reload the page.")
    return listener


def _check_page(listener: BlockFunction, body: Mapping[str, Any]) -> None:
    """Raise Refusal unless the call has the form in which the page calls its own listener."""
    heard = {target for target, _ in listener.targets}
    trigger = body.get("trigger_id")
    right = trigger is None or (isinstance(trigger, int) and not isinstance(trigger, bool))
    chained = None in heard  # it follows another listener, whose trigger is sent
    if body.get("session_hash") is None or not right or not (chained or trigger in heard):
        raise Refusal(404, "This listener is private to the page.")


def _add_defaults(listener: BlockFunction, data: list[Any]) -> bool:
    """Add the defaults of missing last inputs to ``data``, as Gradio's clients do, if all of them
    have one; nothing where states may be left out. Return True if some were added."""
    inputs = listener.inputs
    missing = len(inputs) - len(data)
    if missing <= 0 or listener.fn is None or any(block.skip_api for block in inputs):
        return False
    parameters = list(signature(listener.fn).parameters.values())[: len(inputs)]
    found = [getattr(block, "value", None) for block in inputs]
    optional = [
        value is not None or parameter.default is None
        for value, parameter in zip(found, parameters, strict=True)
    ]
    if not all(optional[-missing:]):
        return False
    data.extend(found[-missing:])
    return True


def _check_inputs(listener: BlockFunction, data: list[Any], named: bool = False) -> None:
    """Raise Refusal unless ``data`` has one value per input. By name, states may be left out."""
    wanted = {len(listener.inputs)}
    if named:
        wanted.add(sum(not block.skip_api for block in listener.inputs))
    if len(data) not in wanted:
        number = min(wanted)
        raise Refusal(400, f"The call needs {number} input{'s' * (number != 1)}, not {len(data)}.")
