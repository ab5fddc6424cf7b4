"""Steps after a choice: JavaScript by which the open tab learns of it.

A choice made by a person (``input``, ``release``, ``pick``) starts work. A component that the
server sets starts none; the handler that sets it calls the following step by ``then``. For what all
tabs share, that step is one of these scripts: the component ``app/static/changed`` then lets the
open tab ask, and no other tab.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

_DISPATCH = 'document.dispatchEvent(new CustomEvent("rv-changed", {detail: %s}))'

CHECKPOINT_CHOSEN: dict[str, Any] = {"js": f"(checkpoint) => {{ {_DISPATCH % '{checkpoint}'}; }}"}
"""Options of a listener without a function whose input is the checkpoint, after it was chosen."""
PICTURE_CHOSEN: dict[str, Any] = {"js": f"() => {{ {_DISPATCH % '{}'}; }}"}
"""Options of a listener without a function or inputs, after the picture was chosen."""
TAB_OPENED: dict[str, Any] = {
    # The panel becomes visible after the event.
    "js": f"() => {{ setTimeout(() => {_DISPATCH % '{tab: true}'}, 0); }}"
}
"""Options of the listener of the tabs."""


def page_opened(titles: Mapping[str, str]) -> dict[str, Any]:
    """Return the options of the listener, with the checkpoint as its input, that opens the tab of
    the page's link and lets it ask. ``titles`` are the tabs' titles by their names in a link."""
    # A tab that the server selects is shown but gets no event and stays empty; it must be clicked.
    return {
        "js": f"""(checkpoint) => {{
  const title = ({json.dumps(dict(titles))})[new URL(window.location).searchParams.get("tab")];
  const tabs = [...document.querySelectorAll(".tab-container[role=tablist] button")];
  const tab = tabs.find((button) => button.innerText.trim() === title);
  if (tab && tab.getAttribute("aria-selected") !== "true") tab.click();
  setTimeout(() => {_DISPATCH % "{checkpoint, opened: true}"}, 0);
  // The row of tabs may be wider than the window, and is laid out once more.
  if (tab) setTimeout(() => tab.scrollIntoView({{ inline: "center", block: "nearest" }}), 400);
}}"""
    }
