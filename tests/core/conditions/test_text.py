"""Texts as token ids, and the memory that they may take."""

from __future__ import annotations

import pytest

from core.conditions import text
from core.conditions.text import encode_text


def test_words_that_were_read_are_forgotten_beyond_a_bound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """open_clip's tokenizer keeps every word that it ever saw."""
    monkeypatch.setattr(text, "_WORDS", 50)
    words = [f"{chr(97 + k // 26)}{chr(97 + k % 26)}q" for k in range(200)]
    ids = [encode_text(f"a {word} on a lake") for word in words]
    kept = text._tokenizer().cache
    assert len(kept) < 60 and "<start_of_text>" in kept
    text._caption_ids.cache_clear()
    assert [encode_text(f"a {word} on a lake") for word in words] == ids


def test_long_texts_are_not_kept() -> None:
    before = text._caption_ids.cache_info().currsize
    long = "a lake below mountains " * 50
    assert encode_text(long) == encode_text("a lake below mountains") * 50
    assert text._caption_ids.cache_info().currsize == before + 1
