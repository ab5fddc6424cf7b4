"""Priors by name, and prompts for them."""

from __future__ import annotations

from pathlib import Path

from app.services import priors

PROMPT = "a lake below mountains"


def test_ignored_words_are_noted(home: Path) -> None:
    handle = priors.open_prior("words", "text")
    assert priors.clean_prompt(handle, f"  {PROMPT}\n") == (PROMPT, "")
    assert "unknown" in priors.clean_prompt(handle, PROMPT + " 🦄")[1]
    assert "Only the first 10 tokens" in priors.clean_prompt(handle, "a lake " * 30)[1]


def test_each_mode_has_its_priors(home: Path) -> None:
    assert priors.names("text") == ["words", "both", "sketcher"]
    assert priors.names("semantic") == ["planned", "both", "sketcher", "latents"]
    # For inpainting, first the priors that see all known tokens.
    assert priors.names("complete") == ["both", "sketcher", "words", "planned"]
    known = priors.open_prior("words", "text").fingerprint
    assert priors.inpainting_names(known) == priors.names("complete")
    assert priors.inpainting_names("another") == []
