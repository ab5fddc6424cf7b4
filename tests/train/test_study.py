"""The study: equal budgets, runs that resume, outside references, and a report from figures."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from core.bundles.bundle import find_bundle
from core.checkpoints import load_tokenizer
from core.data import open_dataset
from core.errors import CheckpointError
from core.quantizers import NSVQConfig, RegVQConfig
from tests.core.networks.test_networks import keras_like
from train.equal_budget.catalog import all_runs, chosen, sweeps
from train.equal_budget.charts import Column, Panel, dots, lines
from train.equal_budget.claims import claims, verdict
from train.equal_budget.crops import KeptDraws, keep_draws
from train.equal_budget.external import ExternalSimVQConfig, ExternalVQConfig
from train.equal_budget.results import gather
from train.equal_budget.runs import CODES, LARGE, Study, budget

study = importlib.import_module("train.study")
scheduler = importlib.import_module("train.equal_budget.scheduler")

STUDY = Study(Path("photos"))
MADE = ("vqgan", "regvq", "nsvq", "outside-simvq")


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder with train/ and test/ pictures and weights of our own making."""
    root = tmp_path_factory.mktemp("study")
    draw = np.random.default_rng(0)
    for split, count in (("train", 6), ("test", 3)):
        (root / "photos" / split).mkdir(parents=True)
        for index in range(count):
            coarse = draw.integers(0, 255, (5, 6, 3), dtype=np.uint8)
            picture = Image.fromarray(coarse).resize((64, 48), Image.Resampling.BICUBIC)
            picture.save(root / "photos" / split / f"{index}.png")
    keras_like(root)
    return root


def command(place: Path, *words: str) -> None:
    """A study of two steps, in this process."""
    shared = [
        "--study.root", str(place / "photos"), "--study.weights", str(place / "weights.npz"),
        "--study.steps", "2", "--study.batch", "2", "--study.size", "32",
        "--study.widths", "8", "16", "--study.limit", "2", "--out", str(place / "out"),
    ]  # fmt: skip
    study.main([words[0], *shared, *words[1:]])


@pytest.fixture(scope="module")
def made(place) -> Path:
    """The folder of a study in which some runs are finished."""
    command(place, "run", "--jobs", "0", "--only", *MADE)
    return place / "out"


def result(out: Path, name: str) -> dict:
    return json.loads((out / name / "result.json").read_text(encoding="utf-8"))


def test_a_study_of_two_steps(made):
    results = [result(made, name) for name in MADE]
    assert len({r["draws"] for r in results}) == 1
    assert len({r["parameters"]["network"] for r in results}) == 1
    assert all(r["budget"] == results[0]["budget"] for r in results)
    for name, found in zip(MADE, results, strict=True):
        figures = found["figures"]
        assert figures["images"] == 2 and figures["tokens"] == 2 * 12 * 16
        assert np.isfinite([figures[k] for k in ("psnr", "ssim", "squeezenet_fd")]).all()
        counts = np.load(made / name / "counts.npy")
        assert counts.sum() == figures["tokens"]
        assert (counts > 0).sum() == figures["codes_used"]
    assert result(made, "nsvq")["training"]["frozen_at"] == 2
    assert result(made, "regvq")["training"]["frozen_at"] is None


def test_what_is_finished_is_not_made_again(made, place, monkeypatch, capsys):
    def never(*_: object) -> None:
        raise AssertionError("it was trained again")

    monkeypatch.setattr(scheduler, "_execute", never)
    command(place, "run", "--jobs", "0", "--only", *MADE)
    with pytest.raises(AssertionError, match="trained again"):
        command(place, "run", "--jobs", "0", "--only", "fsq")
    capsys.readouterr()
    command(place, "run", "--list", "--group", "main")
    lines_ = capsys.readouterr().out.splitlines()
    assert [line.split()[-1] for line in lines_ if line.startswith("done")] == list(MADE)


def test_another_study_in_the_same_folder_is_refused(made, place, capsys):
    with pytest.raises(SystemExit) as stop:
        command(place, "run", "--jobs", "0", "--only", "vqgan", "--study.steps", "3")
    assert stop.value.code == 2
    said = capsys.readouterr().err.strip()
    assert said.startswith("error: ") and "another budget" in said and len(said.splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--only", "vqgam"], "vqgam"),
        (["--jobs", "-1"], "--jobs"),
        (["--study.steps", "0"], "steps"),
    ],
)
def test_mistakes_are_one_sentence(place, words, named, capsys):
    with pytest.raises(SystemExit) as stop:
        command(place, "run", *words)
    assert stop.value.code == 2
    said = capsys.readouterr().err.strip()
    assert said.startswith("error: ") and named in said and len(said.splitlines()) == 1


def test_a_run_that_another_process_makes_is_left_to_it(tmp_path):
    folder = tmp_path / "run"
    with scheduler.claimed(folder) as first:
        assert first
        with scheduler.claimed(folder) as second:
            assert not second
    with scheduler.claimed(folder) as again:
        assert again
    (folder / "claim").write_text("999999999")  # left by a process that was killed
    with scheduler.claimed(folder) as after:
        assert after and (folder / "claim").read_text() == str(os.getpid())
    assert not (folder / "claim").exists()


def test_every_run_has_the_same_budget():
    budgets = set()
    for run in all_runs().values():
        shared = budget(run.config(STUDY))
        assert shared["steps"] == STUDY.steps * run.longer
        assert (run.longer == 1) == (run.group != "long")
        assert run.config(STUDY).codes_rate == run.codes_rate
        budgets.add(json.dumps(shared | {"steps": STUDY.steps}, sort_keys=True))
    assert len(budgets) == 1
    shared = json.loads(budgets.pop())
    assert shared["steps"] == STUDY.steps and shared["loss"]["perceptual"] > 0
    assert not any("contrastive" in key for key in shared["loss"])
    for run in all_runs().values():
        config = run.config(STUDY)
        assert config.seed == run.seed
        assert (config.stages is not None) == run.staged
        assert config.loss.contrastive == run.contrastive


def test_codebooks_are_of_their_groups_size():
    near = {"large": LARGE, "large-fast": LARGE, "size": 4096}
    for run in all_runs().values():
        size = run.config(STUDY).tokenizer.quantizer.size
        wanted = near.get(run.group, CODES)
        assert size == wanted or (run.method == "fsq" and 0.9 * wanted < size < wanted)


def test_an_epoch_of_nsvq_can_tell_used_codes_from_dead_ones():
    for name in ("nsvq", "nsvq-4k", "nsvq-16k"):
        config = all_runs()[name].config(STUDY)
        quantizer = config.tokenizer.quantizer
        assert quantizer.epoch * STUDY.tokens >= 2 * quantizer.size
        first = quantizer.epoch * (quantizer.replacement_warmup + 1)
        assert first <= config.stages.latest * STUDY.steps  # replacement happens before the freeze


def test_sweeps_are_of_runs_that_exist_and_vary_what_they_say():
    runs = all_runs()
    for sweep in sweeps():
        for points in sweep.points.values():
            for value, name in points:
                if sweep.name == "steps":
                    assert runs[name].longer == value
                    continue
                settings = runs[name].quantizer
                key = "mask_ratio" if sweep.name == "mask" else sweep.name
                assert getattr(settings, key) == pytest.approx(value)
    assert [run.name for run in chosen(runs, ["mask"], ["regvq-mask0"])] == ["regvq-mask0"]


def test_kept_draws_are_the_draws(place, tmp_path):
    data = open_dataset("folder", place / "photos", size=32, seed=3, crop=(0.0, 0.6))
    file = keep_draws(data, 5, tmp_path / "draws.npy")
    kept = KeptDraws(file)
    for k in range(5):
        assert torch.equal(kept.draw(k).image, data.draw(k).image)
    other = open_dataset("folder", place / "photos", size=32, seed=4, crop=(0.0, 0.6))
    assert KeptDraws(keep_draws(other, 5, tmp_path / "other.npy")).digest() != kept.digest()


@pytest.mark.parametrize(
    "config",
    [
        ExternalVQConfig(size=12),
        ExternalVQConfig(size=12, kmeans=True, restart=2.0),
        ExternalSimVQConfig(size=12),
    ],
)
def test_outside_references_show_the_quantizers_face(config):
    quantizer = config.build(6)
    z = torch.randn(3, 6, 4, 5, requires_grad=True)
    before = quantizer.codebook().detach().clone()
    out = quantizer(z)
    (out.z.square().sum() + sum(out.losses.values())).backward()
    assert z.grad.abs().sum() > 0
    assert out.ids.shape == (3, 4, 5) and out.z.shape == z.shape
    if isinstance(config, ExternalVQConfig):  # its moving averages follow in forward
        assert not torch.equal(quantizer.codebook(), before)
    else:
        assert quantizer.module.code_transform.weight.grad.abs().sum() > 0
    quantizer.eval()
    with torch.no_grad():
        out = quantizer(z)
        assert torch.equal(out.z, quantizer.embed(quantizer.assign(z)))
        theirs, ids, _ = quantizer.module(z.flatten(2).transpose(1, 2))
    assert torch.equal(out.ids.flatten(1), ids)
    torch.testing.assert_close(out.z.flatten(2).transpose(1, 2), theirs, rtol=1e-5, atol=1e-6)


# --- the report ---


def fixture(tmp_path: Path, made: Path, **changes: dict) -> Path:
    """Results of every run, made of one that was measured, with figures of our own."""
    base, out = result(made, "vqgan"), tmp_path / "runs"
    from train.equal_budget.execute import described

    for number, run in enumerate(all_runs().values()):
        figures = base["figures"] | {"psnr": 20 + number / 100, "squeezenet_fd": 2000.0 + number}
        figures |= {"utilization": 0.5, "perplexity": 100.0}
        figures |= changes.get(run.name, {})
        found = base | described(run, STUDY) | {"figures": figures}
        (out / run.name).mkdir(parents=True)
        (out / run.name / "result.json").write_text(json.dumps(found), encoding="utf-8")
    return out


def test_the_report_has_the_figures(made, tmp_path):
    out = fixture(tmp_path, made, regvq={"squeezenet_fd": 1234.4, "psnr": 17.77})
    timing = {"name": "regvq", "step_ms": 321.0, "peak_mb": 456.0, "threads": 1}
    (out / "regvq" / "timing.json").write_text(json.dumps(timing), encoding="utf-8")
    study.main(["report", "--out", str(out), "--to", str(tmp_path / "to")])
    text = (tmp_path / "to" / "RESULTS.md").read_text(encoding="utf-8")
    row = next(line for line in text.splitlines() if line.startswith("| Reg-VQ (prior, mask, PCL)"))
    for figure in ("50.0%", "17.77", "**1,234**", "321", "456"):
        assert figure in row
    charts = tmp_path / "to" / "docs" / "study"
    for name in ("main", "large", "fast", "long", "steps", "mask", "alpha", "tau", "size"):
        assert f"docs/study/{name}.svg" in text
        ElementTree.parse(charts / f"{name}.svg")
    written = json.loads((charts / "results.json").read_text(encoding="utf-8"))
    assert len(written["runs"]) == len(all_runs())
    # The same report from the JSON alone.
    study.main(["report", "--results", str(charts / "results.json"), "--to", str(tmp_path / "b")])
    assert (tmp_path / "b" / "RESULTS.md").read_text(encoding="utf-8") == text
    assert str(tmp_path) not in text + json.dumps(written)


def test_the_report_says_what_is_missing(made, tmp_path):
    study.main(["report", "--out", str(made), "--to", str(tmp_path)])
    text = (tmp_path / "RESULTS.md").read_text(encoding="utf-8")
    assert f"{len(all_runs()) - len(MADE)} of {len(all_runs())} runs" in text
    assert "`gumbel`" in text and "`vqgan`" not in text
    assert "⬜ open" in text


def verdict_of(name: str, out: Path) -> str:
    return {claim.name: claim.verdict for claim in claims(gather(out)["runs"])}[name]


def test_verdicts_follow_the_figures(made, tmp_path):
    pairs = ("", "-fast", "-seed1", "-seed2", "-long", "-4k", "-16k", "-16k-fast")
    better = {f"regvq{s}": {"squeezenet_fd": 1.0} for s in pairs}
    a = fixture(tmp_path / "a", made, **better)
    assert verdict_of("regvq-fid-vqgan", a) == "confirmed"
    b = fixture(tmp_path / "b", made, **{f"regvq{s}": {"squeezenet_fd": 9e9} for s in pairs})
    assert verdict_of("regvq-fid-vqgan", b) == "not confirmed"
    c = fixture(tmp_path / "c", made, **better, **{"vqgan-4k": {"squeezenet_fd": 0.5}})
    assert verdict_of("regvq-fid-vqgan", c) == "in part"
    used = {"utilization": 1.0}
    full = {f"nsvq{s}": used | {"squeezenet_fd": 1.0} for s in pairs}
    full |= {f"simvq{s}": used for s in ("", "-16k", "-fast", "-16k-fast", "-long")}
    full |= {f"{name}-16k": {"utilization": 0.01} for name in ("vqgan", "vqgan-uniform")}
    d = fixture(tmp_path / "d", made, **full)
    for name in ("nsvq-fid", "nsvq-usage", "collapse", "nsvq-alpha", "nsvq-tau"):
        assert verdict_of(name, d) == "confirmed"
    ratios = {0: 25.0, 20: 24.0, 40: 23.0, 60: 22.0, 80: 21.0, 100: 20.0}
    names = {r: "regvq-fast" if r == 40 else f"regvq-mask{r}" for r in ratios}
    falling = {names[r]: {"psnr": value} for r, value in ratios.items()}
    assert verdict_of("mask", fixture(tmp_path / "e", made, **falling)) == "confirmed"
    rising = {name: {"psnr": -v["psnr"]} for name, v in falling.items()}
    assert verdict_of("mask", fixture(tmp_path / "f", made, **rising)) == "not confirmed"
    assert verdict([]) == "open"
    assert verdict_of("generation-regvq", a) == "open"
    for name, distance in (("regvq", 9.0), ("vqgan", 10.0)):
        file = a / name / "downstream.json"
        file.write_text(json.dumps({"generation_fd": distance}), encoding="utf-8")
    assert verdict_of("generation-regvq", a) == "confirmed"
    assert verdict_of("generation-nsvq", a) == "open"


def test_runs_of_different_budgets_are_not_compared(made, tmp_path):
    out = fixture(tmp_path, made)
    file = out / "simvq" / "result.json"
    found = json.loads(file.read_text(encoding="utf-8"))
    for key, value in (
        ("budget", found["budget"] | {"steps": 999}),
        ("draws", "other"),
        ("parameters", {"network": 1, "quantizer": 1}),
    ):
        file.write_text(json.dumps(found | {key: value}), encoding="utf-8")
        with pytest.raises(CheckpointError, match="simvq"):
            gather(out)
    file.write_text(json.dumps(found), encoding="utf-8")
    assert len(gather(out)["runs"]) == len(all_runs())


def test_a_longer_run_belongs_to_the_same_study(made, place, tmp_path):
    command(place, "run", "--jobs", "0", "--only", "vqgan-long")
    found = result(made, "vqgan-long")
    assert found["budget"]["steps"] == 4 * 2
    short, long = (sorted((made / "draws").glob(f"*-{n}.npy")) for n in (4, 16))
    assert np.array_equal(np.load(short[0]), np.load(long[0])[:4])
    gathered = gather(made)
    assert gathered["shared"]["budget"]["steps"] == 2
    row = next(row for row in gathered["runs"] if row["name"] == "vqgan-long")
    assert row["group"] == "long" and row["steps"] == 4 * 2
    assert row["codes_rate"] == 10 and result(made, "vqgan")["codes_rate"] == 1
    shutil.rmtree(made / "vqgan-long")


def test_the_downstream_test_judges_what_a_prior_generates(made, place, tmp_path):
    words = ("--prior.width", "16", "--prior.layers", "1", "--prior.heads", "2", "--prior.steps",
             "2", "--prior.batch", "4", "--prior.augmentations", "2", "--prior.pictures",
             "6")  # fmt: skip
    command(place, "downstream", "--only", "vqgan", "regvq", *words)
    files = {name: made / name / "downstream.json" for name in ("vqgan", "regvq")}
    found = {name: json.loads(file.read_text(encoding="utf-8")) for name, file in files.items()}
    for one in found.values():
        assert np.isfinite([one["generation_fd"], one["reconstruction_fd"]]).all()
        assert one["generation_fd"] > 0 and 0 < one["bits_per_token"] < 20
    rows = {row["name"]: row for row in gather(made)["runs"]}
    assert rows["regvq"]["generation_fd"] == found["regvq"]["generation_fd"]
    better = found["regvq"]["generation_fd"] < found["vqgan"]["generation_fd"]
    assert verdict_of("generation-regvq", made) == ("confirmed" if better else "not confirmed")
    study.main(["report", "--out", str(made), "--to", str(tmp_path)])
    text = (tmp_path / "RESULTS.md").read_text(encoding="utf-8")
    assert "1 layers of 16" in text and "2 steps of 4 crops" in text
    # Priors of different budgets are not compared.
    found["vqgan"]["settings"]["steps"] = 3
    files["vqgan"].write_text(json.dumps(found["vqgan"]), encoding="utf-8")
    with pytest.raises(CheckpointError, match="different settings"):
        gather(made)
    for file in files.values():
        file.unlink()


def test_the_downstream_test_needs_a_tokenizer(place, capsys):
    with pytest.raises(SystemExit) as stop:
        command(place, "downstream", "--only", "simvq-16k")
    assert stop.value.code == 2 and "study.py run --only simvq-16k" in capsys.readouterr().err


def test_studies_on_other_pictures_have_tables_of_their_own(made, tmp_path):
    other = tmp_path / "streets"
    for name, distance in (("vqgan", 200.0), ("regvq", 150.0)):
        found = result(made, name)
        found["figures"] |= {"squeezenet_fd": distance, "psnr": 12.34}
        (other / name).mkdir(parents=True)
        (other / name / "result.json").write_text(json.dumps(found), encoding="utf-8")
    study.main(["report", "--out", str(made), "--more", str(other), "--to", str(tmp_path)])
    text = (tmp_path / "RESULTS.md").read_text(encoding="utf-8")
    part = text[text.index("## On other pictures: streets") :]
    assert "12.34" in part and "SqueezeNet-FD 0.75 times, PSNR +0.00 dB" in part
    results = tmp_path / "docs" / "study" / "results.json"
    study.main(["report", "--results", str(results), "--to", str(tmp_path / "again")])
    assert (tmp_path / "again" / "RESULTS.md").read_text(encoding="utf-8") == text


def test_charts_place_figures_in_order():
    chart = ElementTree.fromstring(
        dots(["a<b", "c"], [0, 1], [Column("x", [1.0, 3.0], "{:.1f}".format, zero=True)])
    )
    name = "{http://www.w3.org/2000/svg}"
    left, right = (float(c.get("cx")) for c in chart.iter(f"{name}circle"))
    start = float(next(chart.iter(f"{name}line")).get("x1"))
    assert (right - start) == pytest.approx(3 * (left - start), rel=0.01)
    assert "a<b" in [t.text for t in chart.iter(f"{name}text")]
    series = {"m": [(0.0, 5.0), (0.4, 1.0), (1.0, 3.0)]}
    shown = ElementTree.fromstring(
        lines([Panel("p", "axis", series, "{:.0f}".format, "{:g}".format)])
    )
    heights = [float(c.get("cy")) for c in shown.iter(f"{name}circle")]
    assert heights[0] < heights[2] < heights[1]  # SVG counts downwards


# --- bundles and timings ---


def test_shipped_tokenizers_are_the_ones_that_were_measured(made, place, tmp_path):
    study.main([
        "ship", "--only", "regvq", "--out", str(made), "--to", str(tmp_path),
        "--data", "six drawn pictures", "--terms", "as you like",
    ])  # fmt: skip
    bundle = find_bundle(tmp_path / "study-regvq")
    assert isinstance(load_tokenizer(bundle).config.quantizer, RegVQConfig)
    assert bundle.metrics["psnr"] == result(made, "regvq")["figures"]["psnr"]
    assert bundle.atlas["counts"].sum() == bundle.metrics["tokens"]
    for said in ("six drawn pictures", "as you like", "study.py run", "--only regvq"):
        assert said in bundle.card
    assert str(place) not in bundle.card + json.dumps(bundle.config)


@pytest.mark.parametrize(("name", "said"), [("outside-simvq", "another"), ("fsq", "fsq"),
                                            ("vqgam", "not a run")])  # fmt: skip
def test_what_cannot_be_shipped_is_refused(made, tmp_path, name, said, capsys):
    with pytest.raises(SystemExit) as stop:
        study.main(["ship", "--only", name, "--out", str(made), "--to", str(tmp_path)])
    assert stop.value.code == 2 and said in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_timing_writes_what_the_report_reads(made, place, monkeypatch):
    monkeypatch.setattr("train.equal_budget.execute.TIMED", 2)
    monkeypatch.setattr("train.equal_budget.execute.UNSTEADY", 1)

    def peak(train):  # in this process the tests before have left memory that a step may take
        train()
        return 7e6

    monkeypatch.setattr("train.equal_budget.execute.extra_peak", peak)
    command(place, "timing", "--jobs", "0", "--only", "vqgan")
    found = json.loads((made / "vqgan" / "timing.json").read_text(encoding="utf-8"))
    assert found["step_ms"] > 0 and found["peak_mb"] == 7
    row = next(row for row in gather(made)["runs"] if row["name"] == "vqgan")
    assert row["timed"] and row["step_ms"] == found["step_ms"]
    (made / "vqgan" / "timing.json").unlink()


def test_combinations_are_marked_and_built_of_their_parts():
    runs = all_runs()
    assert runs["nsvq-mask"].quantizer == NSVQConfig(size=CODES, mask_ratio=0.4)
    assert runs["regvq-stages"].config(STUDY).stages is not None
    assert runs["regvq-stages"].contrastive == runs["regvq"].contrastive == "pcl"
    assert {r.kind for r in runs.values() if r.method.startswith("outside")} == {"outside"}
