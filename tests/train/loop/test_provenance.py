"""The origin of a run: the commit of the source tree, and the machine."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from train.loop import provenance


def git(folder: Path, *words: str) -> None:
    who = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", "-C", str(folder), *who, *words], check=True, capture_output=True)


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a source tree with one commit and a tag."""
    git(tmp_path, "init", "--quiet")
    (tmp_path / "file.py").write_text("1")
    git(tmp_path, "add", "file.py")
    git(tmp_path, "commit", "--quiet", "--message", "one")
    git(tmp_path, "tag", "--annotate", "v9", "--message", "nine")
    monkeypatch.setattr(provenance, "ROOT", tmp_path)
    monkeypatch.setattr(provenance, "IN_TREE", True)
    return tmp_path


def head(folder: Path) -> str:
    words = ["git", "-C", str(folder), "rev-parse", "HEAD"]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()


def test_the_commit_is_named_without_tags_and_with_changes(tree: Path) -> None:
    assert provenance._commit() == head(tree)[:12]
    (tree / "file.py").write_text("2")
    assert provenance._commit() == head(tree)[:12] + "-dirty"


def test_outside_of_a_tree_no_commit_is_named(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "IN_TREE", False)
    assert provenance._commit() is None
    monkeypatch.setattr(provenance, "IN_TREE", True)
    monkeypatch.setattr(provenance, "ROOT", tree / "none")
    assert provenance._commit() is None


def test_a_git_that_fails_or_is_missing_names_no_commit(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict] = []

    def failing(words: list[str], **how: object) -> subprocess.CompletedProcess[str]:
        asked.append(how)
        return subprocess.CompletedProcess(words, 128, "words of an error\n", "")

    monkeypatch.setattr(provenance.subprocess, "run", failing)
    assert provenance._commit() is None
    assert asked[0]["timeout"] == 10  # a hanging git must not hold up a run
    for error in (FileNotFoundError(), subprocess.TimeoutExpired("git", 10)):

        def raising(*_: object, error: Exception = error, **__: object) -> None:
            raise error

        monkeypatch.setattr(provenance.subprocess, "run", raising)
        assert provenance._commit() is None


def test_the_origin_has_a_commit_only_if_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for commit in ("abc", None):
        monkeypatch.setattr(provenance, "_commit", lambda commit=commit: commit)
        found = provenance.origin.__wrapped__()
        assert found.get("commit") == commit and ("commit" in found) == (commit is not None)
        assert {"regvq", "torch", "python", "system", "hardware"} <= set(found)


def test_the_processor_is_read_from_the_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "cpuinfo"
    file.write_text("processor\t: 0\nmodel\t\t: 85\nmodel name\t: Ada 3: fast\nmodel name\t: B\n")
    monkeypatch.setattr(provenance, "Path", lambda _: file)
    monkeypatch.setattr(provenance.torch.cuda, "is_available", lambda: False)
    assert provenance.hardware.__wrapped__().startswith("Ada 3: fast, ")


def test_the_command_holds_no_keys_of_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["train/run.py", "scenes-vq", "--data.root", "https://a:b@host/{0..1}.tar?key=secret"]
    monkeypatch.setattr("sys.argv", words)
    said = provenance.started()["command"]
    assert said.endswith("train/run.py scenes-vq --data.root 'https://host/{0..1}.tar'")
