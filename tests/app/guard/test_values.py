"""Checks of JSON: depth, size, files, and text that cannot be sent back."""

from __future__ import annotations

import json
import time

import pytest

from app.guard.answers import Refusal
from app.guard.settings import Limits
from app.guard.values import check_files, check_tool_call, is_address, lies_in, read_json

SMALL = Limits(depth=4, values=20)


def refusal(body: bytes, limits: Limits = SMALL) -> str:
    with pytest.raises(Refusal) as found:
        read_json(body, limits)
    return found.value.sentence


def test_what_is_allowed_is_read() -> None:
    assert read_json(b'{"data": [1, "a[[[[[[", {"b": [NaN]}]}', SMALL)["data"][1] == "a[[[[[["
    assert read_json('"ä\\ud83d\\ude00"'.encode(), SMALL) == "ä😀"


@pytest.mark.parametrize("opening", [b"[", b'{"a":', b'[{"a":'])
def test_a_deep_value_is_refused_before_it_is_parsed(
    opening: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json, "loads", lambda _: pytest.fail("it was parsed"))
    assert "at most 4 levels deep" in refusal(opening * 10)
    assert "at most 4 levels deep" in refusal(b'{"data": "\\"]]]]", "a": [[[[1]]]]}')


def test_a_value_of_many_parts_is_refused_before_it_is_parsed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(json, "loads", lambda _: pytest.fail("it was parsed"))
    assert "at most 20 values" in refusal(b"[" + b"0," * 30 + b"0]")
    assert "at most 20 values" in refusal(b"[" + b"[]" * 30 + b"]")


@pytest.mark.parametrize(
    "body",
    [b"{", b"[1,", b"\xff", b'"\\ud800"', b"9" * 5000, '"a"'.encode("utf-16"), b"\x00[\x001\x00]"],
)
def test_what_is_no_json_is_refused(body: bytes) -> None:
    assert refusal(body) == "The request is not valid JSON in UTF-8."


def test_the_checks_take_time_in_proportion_to_the_size() -> None:
    limits = Limits()
    for body in (b'"' * 10**6, b'"\\' * 500_000, b"\\" * 10**6, b'"a' * 500_000, b"[" * 10**6):
        begun = time.monotonic()
        with pytest.raises(Refusal):
            read_json(body, limits)
        assert time.monotonic() - begun < 5


def test_files_are_found_wherever_they_stand() -> None:
    bad = {"path": "http://example.org/a", "meta": {"_type": "gradio.FileData"}}
    for value in (bad, [bad], {"a": [{"b": bad}]}, [[[[{"x": (1, bad)}]]]], {"path": 1, "c": bad}):
        with pytest.raises(Refusal, match="fetches nothing"):
            check_files(value, lambda path: True)
    good = {"path": "/tmp/a.png", "url": "http://here/gradio_api/file=/tmp/a.png"}
    check_files([good, {"path": None, "url": None}, {"path": 3}], lambda path: path == "/tmp/a.png")
    with pytest.raises(Refusal, match="must have been uploaded"):
        check_files([good], lambda path: False)


def test_paths_are_not_addresses() -> None:
    for path in (
        "/tmp/gradio/0a/a.png",
        "C:\\Temp\\a.png",
        "C:/Temp/a.png",
        "a.png",
        "/tmp/a b:c.png",
    ):
        assert not is_address(path)
    for path in ("HTTP://a", "//a/b", "\\\\a\\b", "data:,x", "/tmp/http://a"):
        assert is_address(path)


def test_a_link_out_of_the_folder_lies_not_in_it(tmp_path) -> None:
    inside, outside = tmp_path / "in", tmp_path / "out"
    for folder in (inside, outside):
        folder.mkdir()
        (folder / "a.png").write_bytes(b"")
    (inside / "link.png").symlink_to(outside / "a.png")
    assert lies_in(str(inside / "a.png"), str(inside))
    for path in (inside / "link.png", outside / "a.png", inside, inside / "b.png"):
        assert not lies_in(str(path), str(inside))
    assert not lies_in("a.png", str(inside)) and not lies_in("\x00", str(inside))


def test_a_tool_gets_no_address() -> None:
    check_tool_call(
        {"arguments": {"prompt": "see http://example.org now", "image": "data:image/png,"}}
    )
    for address in ("http://example.org/a.png", " HTTPS://a/b ", "file:///etc/passwd"):
        with pytest.raises(Refusal, match="data:image"):
            check_tool_call({"arguments": [{"image": address}]})
