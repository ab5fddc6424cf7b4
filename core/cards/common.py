"""The parts that model cards of all kinds share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from huggingface_hub import ModelCard, ModelCardData

TEMPLATE = """\
---
{{ card_data }}
---

# {{ name }}

{{ summary }}

{% for label, fact in facts.items() if fact is not none -%}
- **{{ label }}:** {{ fact }}
{% endfor %}
{% if example -%}
```python
{{ example }}
```

{% endif -%}
## Figures

{{ figures }}
"""
"""The Markdown of a card, a Jinja template of `huggingface_hub.ModelCard`."""


class DataTerms(NamedTuple):
    """The training data of a bundle in words, the license of its weights, and the terms."""

    description: str
    license: str
    """An identifier of the Hugging Face Hub."""
    terms: str


_DRAWN = DataTerms(
    "Landscapes drawn by this project's own code (`scenes`); no photographs.",
    "apache-2.0",
    "Apache-2.0, like the code that draws the data.",
)
_OWN = DataTerms(
    "A folder of pictures of the maker of this bundle.",
    "other",
    "The terms of those pictures; assume non-commercial research only.",
)


def license_of(recipe: Mapping[str, Any]) -> DataTerms:
    """Return the description, license and terms of a recipe's data.

    The maker's own words (--note.data and --note.terms of train/evaluate.py) replace the defaults.
    """
    data = _DRAWN if recipe.get("data", {}).get("name") == "scenes" else _OWN
    if origin := recipe.get("imported"):
        data = DataTerms(
            f"That of {origin['title']}; see its source, {origin['source']}.",
            origin["license"] or "other",
            origin["license"] or "Those of its source, which the file does not state.",
        )
    description, terms = recipe.get("data_note"), recipe.get("terms_note")
    return DataTerms(description or data.description, data.license, terms or data.terms)


def render(
    name: str,
    summary: str,
    facts: Mapping[str, str | None],
    example: Sequence[str],
    figures: Sequence[str],
    *,
    license: str,
    tags: Sequence[str],
    task: str | None = None,
) -> str:
    """Return a card: Markdown with front matter. Facts that are None are left out.

    ``example``: lines of Python, or none. ``figures``: lines of Markdown. ``license`` and ``task``
    (the pipeline tag): identifiers of the Hugging Face Hub.
    """
    data = ModelCardData(
        library_name="regvq-studio",
        license=license,
        license_name="see-the-model-card" if license == "other" else None,  # the Hub demands one
        pipeline_tag=task,
        tags=list(tags),
    )
    parts = {"example": "\n".join(example), "figures": "\n".join(figures)}
    card = ModelCard.from_template(
        data, template_str=TEMPLATE, name=name, summary=summary, facts=facts, **parts
    )
    return f"{card}\n"


def table(rows: Iterable[Sequence[str]], header: Sequence[str] = ("", "")) -> list[str]:
    """Return the lines of a Markdown table."""
    lines = [
        "".join(f"| {cell} " if cell else "| " for cell in row) + "|" for row in (header, *rows)
    ]
    return [lines[0], "|" + "---|" * len(header), *lines[1:]]


def settings(values: Mapping[str, Any]) -> str:
    """Return settings as "name value, name value", without those that are None."""
    return ", ".join(f"{name} {value}" for name, value in values.items() if value is not None)


def batch_words(recipe: Mapping[str, Any], what: str) -> str:
    """Return the pictures per step of a run in words: ``what`` of one, or of several processes."""
    batch, processes = recipe.get("batch"), recipe.get("processes", 1)
    if processes == 1 or not isinstance(batch, int):
        return f"{batch} {what}"
    return f"{batch * processes} {what} ({batch} on each of {processes} processes)"


def launcher(recipe: Mapping[str, Any]) -> str:
    """Return the program that starts a run of this recipe."""
    processes = recipe.get("processes", 1)
    return "python" if processes == 1 else f"torchrun --nproc_per_node {processes}"


def origin_words(recipe: Mapping[str, Any]) -> str | None:
    """Return the versions and the hardware of a run; None if the bundle does not state them."""
    origin = recipe.get("origin")
    if not isinstance(origin, Mapping):
        return None
    commit = f" (commit {origin['commit']})" if origin.get("commit") else ""
    versions = f"Python {origin.get('python')}, PyTorch {origin.get('torch')}"
    return (
        f"RegVQ Studio {origin.get('regvq')}{commit}, {versions}, {origin.get('system')}, on "
        f"{origin.get('hardware')}"
    )
