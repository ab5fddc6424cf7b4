"""The models' line: Gradio's queue for everything that runs a model, in a fair order.

Gradio serves a queue first come, first served: one visitor's ten requests delay everybody's. Here
its waiting events stand in a ``FairLine``; Gradio shows a visitor the place in it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

import gradio as gr
from gradio.queueing import Event, EventQueue, Queue
from gradio.server_messages import ProcessCompletedMessage

from ..guard.addresses import visitor
from ..guard.settings import limits
from ..services.fair_line import REPLACED, FairLine
from .component import LAB_QUEUE, LOOKUP_QUEUE, MAP_QUEUE, MODEL_QUEUE
from .mailboxes import Mailboxes

QUEUES = (MODEL_QUEUE, LOOKUP_QUEUE, MAP_QUEUE, LAB_QUEUE)
PLACES = 256
"""Calls that may wait in each queue; those of one address may take a quarter of them."""

H = TypeVar("H", bound=Callable[..., Any])

_NEWEST = "newest_only"


def newest_only(handler: H) -> H:
    """Mark a handler of the page: a newer request replaces the visitor's own waiting one.

    Only for a handler that shows the page's current choices, of which the newest ones are wanted;
    not for one whose every call counts.
    """
    setattr(handler, _NEWEST, True)
    return handler


def serve_fairly(app: gr.Blocks) -> gr.Blocks:
    """Let the app's visitors take turns, at the models and in the other queues, none of which
    refuses a call because another one is full; after ``app.queue``. Return the app."""
    queue: Queue = app._queue
    proxies = limits().proxies
    queue.max_size = len(QUEUES) * PLACES
    queue.pending_messages_per_session = Mailboxes(queue)
    for options in QUEUES:
        name = options["concurrency_id"]
        line = EventQueue(name, options["concurrency_limit"])
        line.queue = FairLine(
            lambda event: _visitor(event, proxies),
            _shown,
            lambda event, words: _answer(queue, event, words),
            address=lambda event: _address(event, proxies),
            places=PLACES,
        )
        queue.event_queue_per_concurrency_id[name] = line
    return app


def _visitor(event: Event, proxies: int) -> str:
    """Return a page's or a client's session; the address of a program without a session."""
    if event.session_hash != event._id:
        return event.session_hash
    return f"address {_address(event, proxies)}"


def _address(event: Event, proxies: int) -> str:
    scope = getattr(event.request, "scope", None)
    return event._id if scope is None else visitor(scope, proxies)


def _shown(event: Event) -> tuple[int, ...] | None:
    """Return the components that the event fills in, if a newer event replaces it."""
    if not getattr(event.fn.fn, _NEWEST, False):
        return None
    return tuple(block._id for block in event.fn.outputs)


def _answer(queue: Queue, event: Event, words: str) -> None:
    """Answer an event that will not be served with a sentence."""
    queue.event_ids_to_events.pop(event._id, None)
    replaced = words == REPLACED
    title = "Not served"
    output: dict[str, Any] = {"error": words, "title": title, "duration": 6}
    if replaced:
        # The page keeps what it shows; it is told again the place of the newer request.
        output["data"] = [gr.skip() for _ in event.fn.outputs]
        with suppress(RuntimeError):  # there is no loop in a test
            asyncio.get_running_loop().call_soon(queue.broadcast_estimations, event.concurrency_id)
    queue.send_message(event, ProcessCompletedMessage(output=output, title=title, success=replaced))
