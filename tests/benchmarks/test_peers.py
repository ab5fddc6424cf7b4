"""The benchmarks run, and the methods that they compare compute the same."""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys

import pytest
import torch

from core.paths import ROOT
from core.quantizers import QUANTIZERS
from core.quantizers.base import to_rows

BENCHMARKS = ROOT / "benchmarks"


@pytest.fixture
def peers(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import peers

    return peers


def test_lookup_prints_a_table_and_writes_a_file(tmp_path):
    out = tmp_path / "figures.json"
    arguments = "--cases 64x4 --rows 256 --tasks lookup --methods regvq-studio textbook --repeats 1"
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / "lookup.py"), *arguments.split(), "--out", str(out)],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert "| regvq-studio |" in done.stdout
    figures = json.loads(out.read_text())["figures"]
    assert [row["method"] for row in figures] == ["regvq-studio", "textbook"]
    assert all(row["ms"] > 0 and row["extra_mb"] >= 0 for row in figures)
    assert all(1 <= row["calls"] <= 2 for row in figures)


def test_a_report_has_ratios_and_names_failed_measurements(tmp_path):
    out = tmp_path / "lookup.md"
    arguments = "--cases 63x4 --rows 256 --tasks training --methods nsvq lfq --repeats 1"
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / "lookup.py"), *arguments.split(), "--out", str(out)],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    text = out.read_text()
    assert text.startswith(f"`python benchmarks/lookup.py {arguments}")
    assert "| textbook nsvq |" in text
    assert "nsvq: " in text
    assert "times as fast as the textbook in 1/" in text
    assert "| regvq-studio lfq | ValueError: quantizer.size must be a power of two" in text
    assert text.strip().endswith(done.stdout.strip())


def test_both_lookups_find_the_same_codes(peers):
    found = []
    for build in (peers.lookup_ours, peers.lookup_textbook):
        torch.manual_seed(0)
        found.append(build(torch.randn(2, 6, 16, 16), 300)())
    assert torch.equal(*found)


@pytest.mark.parametrize(
    "name", ["vq", "simvq", "regvq", "nsvq", "gumbel", "ibq", "lfq", "bsq", "diveq", "fsp"]
)
def test_training_steps_run(peers, name):
    assert name in peers.OWN
    for build in (peers.train_ours(name), peers.train_textbook(name)):
        build(torch.randn(1, 6, 16, 16), 64)()


@pytest.mark.parametrize(
    "name", ["vq", "simvq", "nsvq", "ibq", "lfq", "bsq"]
)  # those without noise
def test_textbook_and_own_training_steps_are_equal(peers, name):
    """Values and gradients on the latents are the same: the compared methods do the same work."""
    import textbook

    z = torch.randn(2, 6, 4, 4, requires_grad=True)
    ours, theirs = QUANTIZERS[name](size=64).build(6), textbook.build(name, 64, 6, "cpu")
    with torch.no_grad():
        if name in ("lfq", "bsq"):
            for part in ("to_bits", "from_bits"):
                getattr(theirs, part).load_state_dict(getattr(ours, part).state_dict())
        else:
            theirs.codes.copy_(ours.frozen if name == "simvq" else ours.codes)
        if name == "simvq":
            theirs.layer.load_state_dict(ours.projection.state_dict())
    out = ours(z)
    mine = sum(out.losses.values())
    seen, loss = textbook.FORMS[name](theirs, to_rows(z))
    torch.testing.assert_close(to_rows(out.z), seen, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(mine, loss, rtol=1e-4, atol=1e-5)
    for a, b in zip(
        torch.autograd.grad(out.z.square().sum() + mine, z),
        torch.autograd.grad(seen.square().sum() + loss, z),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=2e-3, atol=1e-4)


def test_textbook_and_own_steps_of_fsp_are_equal_but_for_the_noise(peers, monkeypatch):
    """With noise of 0.5, which moves nothing, values, losses and gradients are the same."""
    import textbook

    z = torch.randn(2, 6, 4, 4, requires_grad=True)
    ours, theirs = peers.own_config("fsp", 256).build(6), textbook.build("fsp", 256, 6, "cpu")
    assert ours.config.levels == tuple(theirs.levels.tolist()) == (4, 4, 4, 4)
    for part in ("to_levels", "from_levels"):
        getattr(theirs, part).load_state_dict(getattr(ours, part).state_dict())
    half = torch.full((32, 4), 0.5)
    monkeypatch.setattr(torch, "rand", lambda *shape, **how: half)
    monkeypatch.setattr(torch, "rand_like", lambda like: half)
    out = ours(z)
    mine = sum(out.losses.values())
    seen, loss = textbook.fsp(theirs, to_rows(z))
    torch.testing.assert_close(to_rows(out.z), seen, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(mine, loss, rtol=1e-4, atol=1e-5)
    for a, b in zip(
        torch.autograd.grad(out.z.square().sum() + mine, z),
        torch.autograd.grad(seen.square().sum() + loss, z),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=2e-3, atol=1e-4)


def test_peers_run(peers):
    pytest.importorskip("vector_quantize_pytorch")
    for kind in ("VectorQuantize", "SimVQ"):
        peers.train_lucidrains(kind)(torch.randn(1, 6, 16, 16), 40)()
    peers.lookup_lucidrains(torch.randn(1, 6, 16, 16), 40)()


@pytest.mark.parametrize("kind", ["residual", "product", "bsq"])
def test_compared_codes_do_the_same_work(peers, kind):
    """Both assign as many ids per place and average the same statistics in a step."""
    pytest.importorskip("vector_quantize_pytorch")
    assert kind in peers.PAIRS
    z = torch.randn(1, 8, 16, 16)
    for task in ("codes", "training-codes"):
        for maker in ("regvq-studio", "vector-quantize-pytorch"):
            peers.METHODS[task][f"{maker} {kind}"](z, 32)()
    ours = peers.codes_ours(kind)(z, 32)().ids
    theirs = peers.codes_lucidrains(kind)(z, 32)()[1]
    theirs = theirs if torch.is_tensor(theirs) else torch.stack(list(theirs))
    assert ours.numel() == theirs.numel() == 256 * (1 if kind == "bsq" else peers.LEVELS)
    step = peers._our_codes(kind, z, 32)
    assert all(
        not hasattr(part, "codes") or not part.codes.requires_grad for part in step.modules()
    )


def test_a_report_compares_codes_with_their_peer(tmp_path):
    pytest.importorskip("vector_quantize_pytorch")
    out = tmp_path / "codes.md"
    arguments = "--cases 16x4 --rows 256 --tasks codes --methods product --repeats 1"
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / "lookup.py"), *arguments.split(), "--out", str(out)],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    text = out.read_text()
    assert "| regvq-studio product |" in text and "| vector-quantize-pytorch product |" in text
    assert re.search(r"product: \d+\.\d times as fast as vector-quantize-pytorch in 1/", text)


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
    arguments = [*small.split(), "--precisions", "float32", "--threads", "1", "--out", str(out)]
    monkeypatch.setattr(sys, "argv", ["sampling.py", *arguments])
    sampling.main()
    assert "| regvq-studio |" in capsys.readouterr().out
    ours, theirs, uncached, *steps = json.loads(out.read_text())["figures"]
    assert ours["ms"] > 0
    assert re.search(r"[\d,]+ tokens/s; [\d,]+ if only the weights", ours["note"])
    assert theirs["note"] == "not installed"
    assert uncached["note"].startswith("100%")  # the cache does not change the tokens
    assert len(steps) == 2


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
    said = sampling.same_distribution(process, scheduler, 2 * torch.randn(50))
    assert float(said.split("p = ")[1].rstrip(")")) > 0.001


def test_gpt2_samples_as_many_tokens(sampling):
    pytest.importorskip("transformers")
    flags = argparse.Namespace(side=2, codes=12, width=64, layers=1, device="cpu")
    call, parameters = sampling.gpt2(flags, torch.float32)
    assert call().shape == (4, 4)
    assert parameters > 12 * 64 * 64
