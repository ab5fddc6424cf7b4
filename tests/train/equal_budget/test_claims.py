"""Verdicts on the papers' claims."""

from __future__ import annotations

import json

from tests.train.equal_budget.conftest import results_of_every_run, verdict_of
from train.equal_budget.claims import verdict


def test_verdicts_follow_the_figures(made, tmp_path):
    pairs = ("", "-fast", "-seed1", "-seed2", "-long", "-4k", "-16k", "-16k-fast")
    better = {f"regvq{s}": {"squeezenet_fd": 1.0} for s in pairs}
    a = results_of_every_run(tmp_path / "a", made, **better)
    assert verdict_of("regvq-fid-vqgan", a) == "confirmed"
    b = results_of_every_run(
        tmp_path / "b", made, **{f"regvq{s}": {"squeezenet_fd": 9e9} for s in pairs}
    )
    assert verdict_of("regvq-fid-vqgan", b) == "not confirmed"
    c = results_of_every_run(tmp_path / "c", made, **better, **{"vqgan-4k": {"squeezenet_fd": 0.5}})
    assert verdict_of("regvq-fid-vqgan", c) == "in part"
    used = {"utilization": 1.0}
    full = {f"nsvq{s}": used | {"squeezenet_fd": 1.0} for s in pairs}
    full |= {f"simvq{s}": used for s in ("", "-16k", "-fast", "-16k-fast", "-long")}
    full |= {f"{name}-16k": {"utilization": 0.01} for name in ("vqgan", "vqgan-uniform")}
    d = results_of_every_run(tmp_path / "d", made, **full)
    for name in ("nsvq-fid", "nsvq-usage", "collapse", "nsvq-alpha", "nsvq-tau"):
        assert verdict_of(name, d) == "confirmed"
    ratios = {0: 25.0, 20: 24.0, 40: 23.0, 60: 22.0, 80: 21.0, 100: 20.0}
    names = {r: "regvq-fast" if r == 40 else f"regvq-mask{r}" for r in ratios}
    falling = {names[r]: {"psnr": value} for r, value in ratios.items()}
    assert verdict_of("mask", results_of_every_run(tmp_path / "e", made, **falling)) == "confirmed"
    rising = {name: {"psnr": -v["psnr"]} for name, v in falling.items()}
    assert (
        verdict_of("mask", results_of_every_run(tmp_path / "f", made, **rising)) == "not confirmed"
    )
    assert verdict([]) == "open"
    assert verdict_of("generation-regvq", a) == "open"
    for name, distance in (("regvq", 9.0), ("vqgan", 10.0)):
        file = a / name / "downstream.json"
        file.write_text(json.dumps({"generation_fd": distance}), encoding="utf-8")
    assert verdict_of("generation-regvq", a) == "confirmed"
    assert verdict_of("generation-nsvq", a) == "open"
