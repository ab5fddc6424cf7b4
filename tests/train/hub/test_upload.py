"""Publishing on the Hub: uploads, dry runs and refusals."""

from __future__ import annotations

import json
import re
import shutil
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.bundles.bundle import find_bundle
from core.checkpoints import fingerprint_of
from core.errors import CheckpointError
from core.judges.segmenter import Segmenter, SegmenterConfig
from tests.helpers.hub_server import Hub, ask_only, hub
from tests.helpers.tiny_prior_runs import tiny_tokenizer
from train import publish as command
from train.cli.errors import UsageError
from train.hub.upload import PublishFlags, publish

CARD = "---\nlibrary_name: regvq-studio\n---\n\n# What it is\n\nA card for the tests.\n"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the bundles "tokenizer", "other" (a second tokenizer), "prior" and "judge"."""
    from core.priors import AutoregressiveConfig

    root = tmp_path_factory.mktemp("bundles")
    figures = {"psnr": 20.0}
    for seed, name in enumerate(("tokenizer", "other")):
        tiny_tokenizer(seed).save_pretrained(
            root / name, card=CARD, metrics=figures, recipe={"data": {"name": "imagenet"}}
        )
    config = AutoregressiveConfig(codebook_size=24, grid=(4, 4), width=16, layers=1, heads=2)
    mark = fingerprint_of(find_bundle(root / "tokenizer"))
    config.build().save_pretrained(
        root / "prior",
        tokenizer={"name": "tokenizer", "fingerprint": mark},
        data={"name": "scenes"},
        card=CARD,
        metrics=figures,
    )
    judge = Segmenter(SegmenterConfig(("sky", "sea"), size=32, widths=(8, 16)))
    judge.save_pretrained(root / "judge", data={"name": "scenes"}, metrics=figures, card=CARD)
    return root


@pytest.fixture
def online(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    """A local server in place of the Hub, with a token that may write."""
    with hub() as state:
        ask_only(monkeypatch, state.address, tmp_path / "home")
        yield state


def front_matter(card: bytes) -> dict:
    import yaml

    return yaml.safe_load(card.decode().split("---\n")[1])


def test_a_bundle_is_created_and_committed(online: Hub, made: Path) -> None:
    address = publish(PublishFlags("me/tiny", (made / "tokenizer",), private=True, dry_run=False))
    assert address == f"{online.address}/me/tiny"
    (asked,) = online.created
    assert (asked["organization"], asked["name"]) == ("me", "tiny")
    assert asked.get("visibility") == "private" or asked.get("private")
    sent = {name.removeprefix("models/me/tiny/"): data for name, data in online.committed.items()}
    assert sorted(sent) == ["README.md", "config.json", "metrics.json", "model.safetensors"]
    for name in ("config.json", "metrics.json", "model.safetensors"):
        assert sent[name] == (made / "tokenizer" / name).read_bytes(), name
    said = front_matter(sent["README.md"])
    assert said["license"] == "other" and said["license_name"]
    assert said["library_name"] == "regvq-studio" and "codebook" in said["tags"]
    assert said["datasets"] == ["ILSVRC/imagenet-1k"]
    assert sent["README.md"].endswith(b"# What it is\n\nA card for the tests.\n")
    assert (made / "tokenizer" / "README.md").read_text() == CARD  # the bundle is unchanged


def test_a_judge_is_published_without_the_name_of_its_data(online: Hub, made: Path) -> None:
    publish(PublishFlags("me/judge", (made / "judge",), dry_run=False))
    said = front_matter(online.committed["models/me/judge/README.md"])
    assert said["license"] == "apache-2.0" and "datasets" not in said


def test_a_prior_is_published_with_its_tokenizer_or_not_at_all(online: Hub, made: Path) -> None:
    with pytest.raises(UsageError, match=r"of 'tokenizer' \(sha256:.*--tokenizer USER/tok"):
        publish(PublishFlags("me/prior", (made / "prior",), dry_run=False))
    flags = PublishFlags("me/prior", (made / "prior",), tokenizer="me/tok", dry_run=False)
    with pytest.raises(CheckpointError, match="me/tok cannot be fetched: the Hub has no such"):
        publish(flags)
    online.repositories["me/tok"] = made / "other"
    with pytest.raises(CheckpointError, match="me/tok is another tokenizer than that of the prior"):
        publish(flags)
    assert online.created == [] and online.committed == {}

    online.repositories["me/right"] = made / "tokenizer"
    publish(PublishFlags("me/prior", (made / "prior",), tokenizer="me/right", dry_run=False))
    card = online.committed["models/me/prior/README.md"]
    assert front_matter(card)["tokenizer"] == "me/right"
    assert fingerprint_of(find_bundle(made / "tokenizer")) in card.decode()
    with pytest.raises(UsageError, match="--tokenizer is for priors"):
        publish(PublishFlags("me/tiny", (made / "tokenizer",), tokenizer="me/right"))


def test_a_dry_run_lists_every_file_and_sends_nothing(
    online: Hub, made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = tmp_path / "kept"
    assert publish(PublishFlags("me/tiny", (made / "tokenizer",), private=True, out=kept)) is None
    said = capsys.readouterr().out
    for file in kept.iterdir():
        assert f"{file.stat().st_size:,} bytes  {file.name}\n" in said
    assert "would create the repository of the tokenizer me/tiny (private)" in said
    assert "nothing was sent" in said
    publish(PublishFlags("me/prior", (made / "prior",), tokenizer="me/tok"))
    assert "would first check that me/tok holds the tokenizer sha256:" in (capsys.readouterr().out)
    assert online.asked == []
    with pytest.raises(UsageError, match="kept is not empty"):
        publish(PublishFlags("me/tiny", (made / "tokenizer",), out=kept))


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("model.safetensors", None, "model.safetensors is missing; the bundle is incomplete"),
        ("model.safetensors", "no weights", "model.safetensors cannot be read"),
        ("README.md", None, "README.md is missing"),
        ("README.md", "---\nlicense: mit\n---\n\n", "README.md is empty"),
        ("metrics.json", "{}", "holds no figures; evaluate the bundle first"),
        ("config.json", '{"kind": "poem"}', "describes a 'poem'"),
    ],
)
def test_incomplete_bundles_are_not_published(
    made: Path, tmp_path: Path, file: str, text: str | None, said: str
) -> None:
    broken = shutil.copytree(made / "tokenizer", tmp_path / "broken")
    (broken / file).unlink()
    if text is not None:
        (broken / file).write_text(text)
    with pytest.raises(CheckpointError, match=said):
        publish(PublishFlags("me/tiny", (broken,)))


@pytest.mark.parametrize("name", ["tiny", "me/tiny/more", "me/../tiny", "me/ti ny", "/tiny", "me/"])
def test_a_bad_name_is_refused(made: Path, name: str) -> None:
    with pytest.raises(UsageError, match="is not the name of a repository; it must be USER/NAME"):
        publish(PublishFlags(name, (made / "tokenizer",)))


def test_the_space_is_the_explorer_with_its_checkpoints(online: Hub, made: Path) -> None:
    bundles = (made / "tokenizer", made / "prior")
    online.committed |= {f"spaces/me/studio/{name}": b"" for name in ("app/gone.py", "mine.txt")}
    publish(PublishFlags("me/studio", bundles, space=True, dry_run=False))
    assert [(one["type"], one["sdk"], one["name"]) for one in online.created] == [
        ("space", "gradio", "studio")
    ]
    sent = {name.removeprefix("spaces/me/studio/") for name in online.committed}
    assert {
        "app.py",
        "README.md",
        "requirements.txt",
        "LICENSE",
        "app/__init__.py",
        "app/shell.py",
        "app/static/shared/page.css",
        "core/tokenizer.py",
        "checkpoints/tokenizer/model.safetensors",
        "checkpoints/prior/config.json",
    } <= sent
    assert (
        "app/gone.py" not in sent and "mine.txt" in sent
    )  # from an earlier upload; added by the owner
    tops = {name.split("/")[0] for name in sent if "/" in name}
    assert tops <= {"app", "core", "docs", "checkpoints"}
    assert not any("__pycache__" in name or name.endswith((".pyc", ".pyi")) for name in sent)
    readme = front_matter(online.committed["spaces/me/studio/README.md"])
    assert readme["sdk"] == "gradio" and readme["app_file"] == "app.py"
    with pytest.raises(CheckpointError, match="needs its tokenizer 'tokenizer'"):
        publish(PublishFlags("me/studio", (made / "prior", made / "other"), space=True))


def test_a_space_can_install_torch_from_another_index(made: Path, tmp_path: Path) -> None:
    bundles = (made / "tokenizer", made / "prior")
    index = "https://download.pytorch.org/whl/cpu"
    for number, given in enumerate((None, index)):
        kept = tmp_path / str(number)
        publish(PublishFlags("me/studio", bundles, space=True, torch_index=given, out=kept))
        lines = (kept / "requirements.txt").read_text().splitlines()
        assert (lines[0] == f"--extra-index-url {index}") == (given is not None)
        assert sum("index-url" in line for line in lines) == (given is not None)
        assert "torch>=2.6,<3" in lines and not any("tensorboard" in line for line in lines)
    for wrong in ("http://example.org", "cpu", "https://a/b c", "https://a/x\n--no-deps"):
        with pytest.raises(UsageError, match="is not the address of a package index"):
            publish(PublishFlags("me/studio", bundles, space=True, torch_index=wrong))
    with pytest.raises(UsageError, match="are for a --space"):
        publish(PublishFlags("me/tiny", (made / "tokenizer",), torch_index=index))


def test_no_link_of_a_space_is_dead(made: Path, tmp_path: Path) -> None:
    publish(PublishFlags("me/studio", (made / "tokenizer",), space=True, out=tmp_path / "space"))
    dead, live = [], 0
    for page in (tmp_path / "space").rglob("*.md"):
        for target in re.findall(r"\]\(([^)\s#]+)[^)]*\)", page.read_text(encoding="utf-8")):
            if "://" not in target and not target.startswith("mailto:"):
                live += 1
                if not (page.parent / target).exists():
                    dead.append(f"{page.name}: {target}")
    assert dead == [] and live > 50


def test_the_license_of_a_space_is_that_of_its_weights(made: Path, tmp_path: Path) -> None:
    copies = {}
    for name, text in (("free", "apache-2.0"), ("bound", "other")):
        copies[name] = shutil.copytree(made / "tokenizer", tmp_path / name)
        (copies[name] / "README.md").write_text(f"---\nlicense: {text}\n---\n# A card\n")
    publish(PublishFlags("me/studio", (copies["free"],), space=True, out=tmp_path / "1"))
    free = front_matter((tmp_path / "1" / "README.md").read_bytes())
    assert free["license"] == "apache-2.0" and "license_name" not in free
    publish(PublishFlags("me/studio", tuple(copies.values()), space=True, out=tmp_path / "2"))
    said = front_matter((tmp_path / "2" / "README.md").read_bytes())
    assert said["license"] == "other" and said["license_name"] == "see-the-model-cards"
    assert said["sdk"] == "gradio" and said["title"] == free["title"]


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["publish.py", *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        command.main()
    return int(stop.value.code or 0)


def test_mistakes_get_one_line(
    online: Hub,
    made: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with socket.socket() as probe:  # an address without a server, once closed
        probe.bind(("127.0.0.1", 0))
        nowhere = f"http://127.0.0.1:{probe.getsockname()[1]}"
    push = ("--checkpoint", made / "tokenizer", "--repo", "me/tiny", "--no-dry-run")
    cases = [
        (("--repo", "me/tiny"), "hf_right", online.address, "--checkpoint must name one bundle"),
        (push, None, online.address, "there is no token for the Hub"),
        (push, "hf_wrong", online.address, "the token (HF_TOKEN) has no write access to it"),
        (push, "hf_right", nowhere, "the Hub cannot be reached"),
        (("--checkpoint", tmp_path / "gone", "--repo", "me/tiny"), None, nowhere, "does not exist"),
    ]
    for arguments, token, address, said in cases:
        ask_only(monkeypatch, address, tmp_path / "home", token)
        assert run(monkeypatch, *arguments) == 2, said
        error = capsys.readouterr().err
        assert error.startswith("error: ") and error.count("\n") == 1 and said in error, error
    assert online.committed == {}


def test_published_figures_are_those_of_the_bundle(online: Hub, made: Path) -> None:
    publish(PublishFlags("me/tiny", (made / "tokenizer",), datasets=("a/b",), dry_run=False))
    assert json.loads(online.committed["models/me/tiny/metrics.json"]) == {"psnr": 20.0}
    assert front_matter(online.committed["models/me/tiny/README.md"])["datasets"] == ["a/b"]
    assert online.said == ["Publish tiny"]
