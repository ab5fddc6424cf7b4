"""Left and right in the captions of mirrored pictures."""

from __future__ import annotations

import re
from collections.abc import Sequence

_SIDED = re.compile(r"\b(left|right)(?=(?:most|ward|wards|hand)?\b)", re.IGNORECASE)
_OTHER = {"left": "right", "right": "left"}


def mirrored_captions(captions: Sequence[str]) -> tuple[str, ...]:
    """Return the captions that are true of a picture once it is mirrored.

    Those that mention neither left nor right; if all do, all of them with the two words exchanged
    ("a bird, looking to the left" becomes "a bird, looking to the right"). The words are not
    understood: "the right answer" is exchanged, too, which is why captions without them come first.
    """
    neutral = tuple(caption for caption in captions if not _SIDED.search(caption))
    return neutral or tuple(_SIDED.sub(_exchanged, caption) for caption in captions)


def _exchanged(word: re.Match[str]) -> str:
    """Return the other side in the same case: Left becomes Right, and LEFT becomes RIGHT."""
    side = word[1]
    other = _OTHER[side.lower()]
    if side.isupper():
        return other.upper()
    return other.capitalize() if side[0].isupper() else other
