"""The benchmarks of samplers run, and what they compare samples alike."""

from __future__ import annotations

import argparse
import json
import re
import sys

import pytest
import torch

from core.paths import ROOT

BENCHMARKS = ROOT / "benchmarks"


@pytest.fixture
def sampling(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import sampling

    return sampling


def test_sampling_is_measured_without_peers(sampling, monkeypatch, tmp_path, capsys):
    # GPT-2 and diffusers take seconds to import, and are not tested here.
    monkeypatch.setitem(sys.modules, "transformers", None)
    monkeypatch.setitem(sys.modules, "diffusers", None)
    out = tmp_path / "figures.json"
    small = "--layers 1 --width 64 --side 3 --codes 20 --diffusion-codes 40 --repeats 1"
    small += " --company 1"
    arguments = [*small.split(), "--precisions", "float32", "--threads", "1", "--out", str(out)]
    monkeypatch.setattr(sys, "argv", ["sampling.py", *arguments])
    sampling.main()
    said = capsys.readouterr().out
    assert "| | ms | ours / it | ms, in company | ours / it, in company | parameters | |" in said
    assert re.search(r"\| regvq-studio \| [\d.]+ \| 1.000 \| [\d.]+ \| 1.000 \| [\d,]+ \|", said)
    ours, theirs, uncached, *steps = json.loads(out.read_text())["figures"]
    assert ours["ms"] > 0 and ours["company_ms"] > 0 and "company_ms" not in uncached
    assert ours["share"] == pytest.approx(100 * ours["tokens_per_second"] / ours["bound"])
    assert re.search(r"[\d,]+ tokens/s, \d+ % of the [\d,]+ if only the weights", ours["note"])
    assert theirs["note"] == "not installed"
    assert uncached["note"].startswith("100%")  # the cache does not change the tokens
    assert len(steps) == 2 and all(step["company_ms"] > 0 for step in steps)


def test_the_bound_is_the_time_of_reading_the_weights_once(sampling):
    from bandwidth import bandwidth, floor

    model = torch.nn.ModuleList([torch.nn.Embedding(100, 8), torch.nn.Linear(8, 16)]).bfloat16()
    assert floor(model, rows=3, rate=2 * (8 * 16 + 16) * 10) == pytest.approx(30)
    assert bandwidth("cpu") > 1e6


def test_the_first_picture_of_a_prior_is_timed(sampling, monkeypatch, tmp_path):
    import first_picture

    from core.bundles import bundle
    from tests.helpers.tiny_priors import prior_bundles, tiny_tokenizer

    root = prior_bundles(tmp_path / "home", tiny_tokenizer(tmp_path / "tiny"), ("words", "planned"))
    for place in ("CHECKPOINTS", "RUNS"):
        monkeypatch.setattr(bundle, place, tmp_path / "none")
    monkeypatch.setenv("REGVQ_CHECKPOINTS", str(root))
    rows = [first_picture.measure(name, torch.get_num_threads()) for name in ("words", "planned")]
    assert [row["way"] for row in rows] == ["text", "semantic"]
    for row in rows:
        assert 0 < row["first"]["first_step"] < row["first"]["finished"]
    said = first_picture.table(rows)
    whole = rows[0]["loading"] + rows[0]["first"]["finished"]
    assert f"| {whole:.2f} |" in said and "| planned |" in said
    with pytest.raises(SystemExit, match="no prior called gone"):
        first_picture.measure("gone", torch.get_num_threads())


def test_a_diffusion_step_samples_like_diffusers(sampling):
    scheduling = pytest.importorskip("diffusers.schedulers.scheduling_vq_diffusion")
    from core.priors.mask_and_replace import MaskAndReplace

    process = MaskAndReplace(50, 100, (0.99999, 0.000009), (0.000009, 0.99999))
    scheduler = scheduling.VQDiffusionScheduler(num_vec_classes=51)
    import diffusion_step

    said = diffusion_step.same_distribution(process, scheduler, 2 * torch.randn(50))
    assert float(said.split("p = ")[1].rstrip(")")) > 0.001


def test_gpt2_samples_as_many_tokens(sampling):
    pytest.importorskip("transformers")
    flags = argparse.Namespace(side=2, codes=12, width=64, layers=1, device="cpu")
    call, parameters = sampling.gpt2(flags, torch.float32)
    assert call().shape == (4, 4)
    assert parameters > 12 * 64 * 64
