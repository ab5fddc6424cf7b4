"""The benchmark page: every part runs to its end, and every number on the page is in the JSON."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from core.paths import ROOT
from core.priors import PRIORS

BENCHMARKS, PAGE = ROOT / "benchmarks", ROOT / "docs" / "performance.md"


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    threads = torch.get_num_threads()
    import run

    yield run
    torch.set_num_threads(threads)


class Peer(torch.nn.Module):
    """A network with the methods of diffusers' VQModel that are measured: 8 times smaller."""

    def __init__(self, downsampling: int = 4) -> None:
        super().__init__()
        self.config = SimpleNamespace(vq_embed_dim=32)
        self.encoder = torch.nn.Conv2d(3, 32, downsampling, downsampling)
        self.decoder = torch.nn.ConvTranspose2d(32, 3, downsampling, downsampling)

    def encode(self, images: torch.Tensor) -> SimpleNamespace:
        return SimpleNamespace(latents=self.encoder(images))

    def quantize(self, latents: torch.Tensor) -> tuple[Any, ...]:
        return latents, None, (None, None, latents[:, 0].long().flatten())

    def decode(self, codes: torch.Tensor, force_not_quantize: bool) -> SimpleNamespace:
        return SimpleNamespace(sample=self.decoder(codes))


Peer.quantize.get_codebook_entry = lambda ids, shape: torch.zeros(shape).permute(0, 3, 1, 2)


@pytest.fixture
def quick(run: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither import diffusers, transformers and UMAP nor start the app: seconds each."""
    import coding
    import prior_kinds
    import startup
    import tokenizer_training

    from core.analysis import embedding

    for name in ("transformers", "diffusers"):
        monkeypatch.setitem(sys.modules, name, None)
    for module in (coding, tokenizer_training):
        monkeypatch.setattr(module, "vq_model", Peer)
    monkeypatch.setattr(startup, "seconds_to_page", lambda: 4.5)
    monkeypatch.setattr(startup, "seconds_of", lambda words: (0.125, "False"))
    monkeypatch.setattr(embedding, "umap_map", lambda codes, uses: np.zeros((len(codes), 2)))
    every = prior_kinds.kinds(True)
    assert len(every) == len(PRIORS)
    del every["latent diffusion"]  # its network is diffusers'
    monkeypatch.setattr(prior_kinds, "kinds", lambda tiny: every)


def numbers_in(value: Any) -> Iterator[float]:
    """Yield the numbers of a record, and those that its words hold."""
    if isinstance(value, dict):
        value = [*value.keys(), *value.values()]
    if isinstance(value, list):
        for one in value:
            yield from numbers_in(one)
    elif isinstance(value, str):
        yield from (float(found.replace(",", "")) for found in re.findall(r"\d[\d,]*\.?\d*", value))
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield float(value)


def unknown(text: str, record: dict[str, Any], said: set[float]) -> list[str]:
    """Return the numbers of a text that are neither figures of the record, rounded, nor ``said`` by
    the headings."""
    known = [*numbers_in(record), *said]
    written = re.findall(r"(?<![\w.])\d[\d,]*(?:\.\d+)?(?![\w])", text)
    found = []
    for number in written:
        number = number.rstrip(",")
        places = len(number.partition(".")[2])
        if number not in {f"{value:,.{places}f}" for value in known} | {
            f"{v:.{places}f}" for v in known
        }:
            found.append(number)
    return found


SAID = {"coding": {1024, 64}, "waiting": {300, 1000, 4000}}
"""Numbers in the words around the tables."""


def check_every_part(run: ModuleType, folder: Path) -> list[str]:
    """Run all parts at tiny sizes, and check page and figures; return the settings."""
    import pages

    page, out = folder / "page.md", folder / "results"
    page.write_text(PAGE.read_text("utf-8"), "utf-8")
    before = {name: pages.part(page.read_text("utf-8"), name) for name in run.PARTS}
    settings = ["--tiny", "--out", str(out), "--page", str(page)]
    run.main(settings)
    text = page.read_text("utf-8")
    for name in run.PARTS:
        record, part = json.loads((out / f"{name}.json").read_text("utf-8")), pages.part(text, name)
        assert record["rows"] and f"--only {name} --tiny" in record["command"]
        assert part == run.text_of(name, record)
        assert not unknown(part, record, SAID.get(name, set())), name
        assert part.count("|---") >= 1
        text = pages.replaced(text, name, before[name])
    assert text.split() == PAGE.read_text("utf-8").split()  # what was written by hand is as before
    return settings


def test_every_part_runs_to_its_end_and_is_not_measured_twice(
    run: ModuleType, quick: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = check_every_part(run, tmp_path)
    monkeypatch.setattr(run, "_measured", lambda name, tiny: pytest.fail(f"{name} again"))
    run.main(settings)
    (tmp_path / "results" / "codes.json").unlink()
    with pytest.raises(pytest.fail.Exception, match="codes again"):
        run.main(settings)
    with pytest.raises(pytest.fail.Exception, match="start again"):
        run.main(["--only", "start", *settings])


@pytest.mark.long
def test_every_part_runs_to_its_end_with_the_peers(run: ModuleType, tmp_path: Path) -> None:
    pytest.importorskip("diffusers")
    check_every_part(run, tmp_path)
    coding = json.loads((tmp_path / "results" / "coding.json").read_text("utf-8"))["rows"]
    assert coding[0]["their_weights"] == pytest.approx(coding[0]["weights"], rel=0.02)


def test_numbers_that_no_record_has_are_noticed() -> None:
    record = {"rows": [{"ms": 1234.56, "note": "at 14 GB/s"}]}
    assert unknown("| 1,234.6 | 1235 | 14 |", record, set()) == []
    assert unknown("| 1,234.5 | 15 |", record, {3.0}) == ["1,234.5", "15"]


def test_figures_of_another_machine_are_measured_again(run: ModuleType, tmp_path: Path) -> None:
    here, file = run.machine(), tmp_path / "one.json"
    assert not run._is_there(file, here)
    file.write_text(json.dumps({"machine": here | {"date": "2020-01-01"}}))
    assert run._is_there(file, here)
    file.write_text(json.dumps({"machine": here | {"processor": "another"}}))
    assert not run._is_there(file, here)


def test_the_page_shows_the_figures_that_are_there(run: ModuleType) -> None:
    import pages

    text = PAGE.read_text("utf-8")
    files = {file.stem: file for file in (BENCHMARKS / "results").glob("*.json")}
    assert files and set(files) <= set(run.PARTS)
    for name in run.PARTS:
        if name not in files:  # not measured yet: the page says so and has no figures
            assert pages.part(text, name) == pages.MISSING.format(name)
            continue
        record = json.loads(files[name].read_text("utf-8"))
        assert "--tiny" not in record["command"]
        assert pages.part(text, name) == run.text_of(name, record)


def test_parts_of_a_page_are_replaced_and_must_be_there(run: ModuleType) -> None:
    import pages

    text = (
        f"by hand\n{pages.begin('one')}\nold\n{pages.END}\n{pages.begin('two')}\n{pages.END}\nend\n"
    )
    found = pages.replaced(text, "one", r"new \1")
    assert pages.part(found, "one") == r"new \1" and found.startswith("by hand\n")
    assert found.endswith(f"{pages.begin('two')}\n{pages.END}\nend\n")
    with pytest.raises(ValueError, match="0 parts"):
        pages.replaced(text, "three", "new")


def test_a_table_of_rows(run: ModuleType) -> None:
    import pages

    rows = [{"name": "a", "ms": 1234.56, "count": 2000}, {"name": "b", "ms": None}]
    lines = pages.table({"name": "", "ms.1": "ms", "count": "n"}, rows).splitlines()
    assert lines == ["|  | ms | n |", "|---|---:|---:|", "| a | 1,234.6 | 2,000 |", "| b |  |  |"]


def test_calls_apart_return_their_result_or_its_error(run: ModuleType) -> None:
    from apart import call_apart

    assert call_apart("apart:_function", False, name="math:pi") == pytest.approx(3.14159, abs=1e-5)
    with pytest.raises(AttributeError):
        call_apart("math:nothing", False)


@pytest.mark.long
def test_a_process_apart_sends_its_result_or_its_error(run: ModuleType) -> None:
    from apart import call_apart

    assert call_apart("apart:_function", name="math:pi") == pytest.approx(3.14159, abs=1e-5)
    with pytest.raises(RuntimeError, match="AttributeError"):
        call_apart("apart:_function", name="math:nothing")
