"""The page about the API, compared with the app's schema."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from app import shell
from app.access import VARIABLE
from core.bundles import bundle
from core.paths import ROOT

PAGE = (ROOT / "docs" / "explorer-api.md").read_text(encoding="utf-8")
TYPES = {"Image": "picture", "Textbox": "text", "Number": "number", "Json": "JSON"}
RETURNED = {**TYPES, "Gallery": "gallery", "Imageslider": "two pictures"}


@pytest.fixture(scope="module")
def schema(checkpoints: Path) -> dict:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bundle, "CHECKPOINTS", checkpoints)
        patch.delenv(VARIABLE, raising=False)
        return shell.build_app().get_api_info()["named_endpoints"]


def sections() -> dict[str, str]:
    _, *parts = re.split(r"^## ", PAGE, flags=re.MULTILINE)
    return {part.split("`")[1]: part for part in parts}


def rows(section: str, heading: str) -> list[list[str]]:
    """Return the rows of the table that begins with ``heading``, without it and its line."""
    table = next(part for part in section.split("\n\n") if part.startswith(f"| {heading} |"))
    lines = [
        [cell.strip() for cell in line.strip("| \n").split("|")] for line in table.splitlines()
    ]
    return [[cell.strip("`") for cell in line] for line in lines[2:]]


def test_every_endpoint_is_described(schema: dict) -> None:
    assert list(sections()) == list(schema)


def test_parameters_are_those_of_the_schema(schema: dict) -> None:
    for name, section in sections().items():
        found = [row[:3] for row in rows(section, "parameter")]
        wanted = []
        for one in schema[name]["parameters"]:
            default = one.get("parameter_default")
            words = {"": '""'}.get(default, str(default)) if not isinstance(default, list) else None
            if one["parameter_name"] == "checkpoint":
                words = "first checkpoint"
            elif one["parameter_name"] == "prior" and one["component"] == "Textbox":
                words = "first prior"
            elif one["parameter_name"] == "quantizers":
                words = "the first six without variants"
                assert len(default) == 6 and all(each in section for each in default)
            elif default == []:
                words = "[]"
            if not one["parameter_has_default"]:
                words = ""
            wanted.append([one["parameter_name"], TYPES[one["component"]], words])
        assert found == wanted, name


def test_returns_are_those_of_the_schema(schema: dict) -> None:
    for name, section in sections().items():
        found = [row[:2] for row in rows(section, "returns")]
        wanted = [[one["label"], RETURNED[one["component"]]] for one in schema[name]["returns"]]
        assert found == wanted, name
        assert all(row[2] for row in rows(section, "returns"))
