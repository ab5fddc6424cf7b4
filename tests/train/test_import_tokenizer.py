"""train/import_tokenizer.py and train/export_tokenizer.py, as a user runs them."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import torch
import yaml

from core.bundles.bundle import find_bundle
from core.checkpoints import fingerprint_of, load_tokenizer
from core.importing.names import TAMING, split_attention
from core.networks.vqgan import VQGANConfig
from core.paths import ROOT
from core.quantizers import VQConfig
from core.tokenizer import Tokenizer, TokenizerConfig
from tests.helpers.published_doubles import llamagen_state

NETWORK = VQGANConfig(
    widths=(32, 64), blocks=1, decoder_blocks=2, attention_levels=(1,), z_channels=8, latent_dim=4
)
YAML = {
    "model": {
        "target": "taming.models.vqgan.VQModel",
        "params": {
            "embed_dim": 4,
            "n_embed": 24,
            "ddconfig": {
                "double_z": False, "z_channels": 8, "resolution": 32, "ch": 32, "ch_mult": [1, 2],
                "num_res_blocks": 1, "attn_resolutions": [16],
            },
        },
    }
}  # fmt: skip
Run = Callable[..., tuple[int, str, str]]


def taming_state() -> dict[str, torch.Tensor]:
    """A tokenizer's weights by taming's names."""
    torch.manual_seed(0)
    tokenizer = Tokenizer(TokenizerConfig(NETWORK, VQConfig(size=24)))
    state = {}
    for name, tensor in split_attention(tokenizer.state_dict()).items():
        module, _, leaf = name.rpartition(".")
        if name == "quantizer.codes":
            state["quantize.embedding.weight"] = tensor.detach()
            continue
        linear = ".attention" in module and leaf == "weight" and tensor.ndim == 2
        found = tensor.detach().reshape(*tensor.shape, 1, 1) if linear else tensor.detach()
        state[f"{TAMING.to_theirs(module, 2)}.{leaf}"] = found.clone()
    return state


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command in this process: exit code, output, errors."""
    monkeypatch.syspath_prepend(str(ROOT / "train"))
    from train import export_tokenizer, import_tokenizer

    def call(command: str, *arguments: object) -> tuple[int, str, str]:
        main = {"import": import_tokenizer.main, "export": export_tokenizer.main}[command]
        code = 0
        try:
            main([str(each) for each in arguments])
        except SystemExit as stop:
            code = int(stop.code or 0)
        return code, *capsys.readouterr()

    return call


def saved(folder: Path, content: object, name: str = "last.ckpt") -> Path:
    torch.save(content, folder / name)
    return folder / name


def test_a_checkpoint_and_its_yaml_become_a_bundle(run: Run, tmp_path: Path) -> None:
    file = saved(tmp_path, {"state_dict": taming_state() | {"loss.logvar": torch.ones(1)}})
    (tmp_path / "model.yaml").write_text(yaml.safe_dump(YAML))
    out = tmp_path / "bundle"
    code, said, errors = run("import", file, "--config", tmp_path / "model.yaml", "--out", out)
    assert (code, errors) == (0, "") and "24 codes, range signed; the bundle is" in said
    bundle = find_bundle(out)
    origin = bundle.config["recipe"]["imported"]
    assert origin["family"] == "taming" and len(origin["sha256"]) == 64
    for words in (origin["sha256"], "last.ckpt", "taming-transformers", "signed", "not stated"):
        assert words in bundle.card
    assert bundle.config["tokenizer"]["network"]["kind"] == "vqgan"
    first = fingerprint_of(bundle)
    assert run("import", file, "--out", out)[0] == 0 and fingerprint_of(find_bundle(out)) == first
    code, _, errors = run("import", out, "--out", tmp_path / "again")
    assert code == 2 and "is a bundle already" in errors


def other_yaml() -> dict:
    described = json.loads(json.dumps(YAML))
    described["model"]["params"]["n_embed"] = 1024
    described["model"]["params"]["ddconfig"]["attn_resolutions"] = []
    return described


def test_a_yaml_of_another_model_lists_every_disagreement(run: Run, tmp_path: Path) -> None:
    file = saved(tmp_path, taming_state())
    (tmp_path / "other.yaml").write_text(yaml.safe_dump(other_yaml()))
    arguments = (file, "--config", tmp_path / "other.yaml", "--out", tmp_path / "out")
    code, _, errors = run("import", *arguments)
    assert code == 2 and "describes another tokenizer" in errors
    assert "codes is 1024 there and 24 in the weights" in errors
    assert "attention_levels is [] there and [1] in the weights" in errors
    assert not (tmp_path / "out").exists()


def damaged(change: Callable[[dict[str, torch.Tensor]], object]) -> dict[str, torch.Tensor]:
    state = taming_state()
    change(state)
    return state


VAR = {"quantize.quant_resi.qresi_ls.0.weight": torch.ones(1)}
TITOK = {"latent_tokens": torch.ones(1), "encoder.x.weight": torch.ones(1)}
SEVERAL = {"encoder.conv_in.weight": torch.ones(1), "quantizer.codebooks.0.weight": torch.ones(1)}
WRONG = {
    "missing": (
        damaged(lambda s: s.pop("decoder.mid.block_1.conv1.weight")),
        r"decoder.middle.blocks.0.conv1.weight \(in our names\) is missing",
    ),
    "shape": (
        damaged(lambda s: s.update({"quant_conv.bias": torch.ones(7)})),
        r"encoder.quant_conv.bias \(in our names\) is \[7\] and must be \(4,\)",
    ),
    "attention": (
        damaged(lambda s: s.update({"encoder.mid.attn_1.k.weight": torch.ones(7, 7, 1, 1)})),
        "q, k and v have different shapes",
    ),
    "unknown": (
        damaged(lambda s: s.update({"encoder.down.0.block.0.temb_proj.weight": torch.ones(2)})),
        "1 of its weights belong to no layer",
    ),
    "codes": (
        damaged(lambda s: s.update({"quantize.embedding.weight": torch.ones(24, 5)})),
        "its codebook has the shape",
    ),
    "nan": (
        damaged(lambda s: s["post_quant_conv.bias"].fill_(float("nan"))),
        "has weights that are not finite: decoder.post_quant_conv.bias",
    ),
    "remapped": (
        damaged(lambda s: s.update({"quantize.used": torch.arange(3)})),
        "remapped to a part of the codebook",
    ),
    "continuous": (
        damaged(lambda s: s.pop("quantize.embedding.weight")), "it has no codebook",
    ),
    "var": (VAR, "VAR's tokenizer"),
    "titok": (TITOK, "1-D tokens"),
    "several": (SEVERAL, "several codebooks"),
    "ema": (
        {f"model_ema.{name.replace('.', '')}": x for name, x in taming_state().items()},
        "averaged weights alone",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_imported_is_one_line(run: Run, tmp_path: Path, name: str) -> None:
    state, said = WRONG[name]
    file = saved(tmp_path, {"state_dict": state})
    code, output, errors = run("import", file, "--out", tmp_path / "out")
    assert code == 2 and output == "" and errors.count("\n") == 1
    assert errors.startswith("error: ") and str(file) in errors and re.search(said, errors)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["last.ckpt"]


def test_flags_that_do_not_fit(run: Run, tmp_path: Path) -> None:
    file = saved(tmp_path, {"model": llamagen_state()}, "vq.pt")
    out = tmp_path / "out"
    for flags, said in (
        (("--ema",), "holds no averaged weights"),
        (("--ema", "--no-ema"), "exclude each other"),
        (("--range", "both"), "range"),
        (("--config", tmp_path / "none.yaml"), "cannot be read as a config"),
        (("--config", file), "cannot be read as a config|too large for a config"),
    ):
        code, _, errors = run("import", file, *flags, "--out", out)
        assert code == 2 and re.search(said, errors) and not out.exists()
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "thesis.tex").write_text("x")
    code, _, errors = run("import", file, "--out", tmp_path / "kept")
    assert code == 2 and "is not empty and no bundle" in errors
    code, _, errors = run("import", tmp_path / "kept", "--out", out)
    assert code == 2 and "must hold one weights file" in errors


def test_a_full_disk_leaves_no_half_bundle(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = saved(tmp_path, {"model": llamagen_state()}, "vq.pt")
    out = tmp_path / "out"
    assert run("import", file, "--out", out)[0] == 0
    before = {each.name: each.read_bytes() for each in out.iterdir()}
    save = safetensors.torch.save_file

    def full(state: dict, path: Path, *rest: object, **named: object) -> None:
        save(state, path, *rest, **named)
        os.truncate(path, 100)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(safetensors.torch, "save_file", full)
    code, _, errors = run("import", file, "--range", "unit", "--out", out)
    assert code == 2 and "cannot be written" in errors and "No space left" in errors
    assert sorted(each.name for each in tmp_path.iterdir()) == ["out", "vq.pt"]
    assert before == {each.name: each.read_bytes() for each in out.iterdir()}


def test_half_precision_is_kept_and_float32_is_not_rounded(run: Run, tmp_path: Path) -> None:
    state = llamagen_state()
    half = saved(tmp_path, {name: x.half() for name, x in state.items()}, "half.pt")
    whole = saved(tmp_path, state, "whole.pt")
    for file in (half, whole):
        assert run("import", file, "--out", tmp_path / file.stem)[0] == 0
    sizes = [(tmp_path / n / "model.safetensors").stat().st_size for n in ("half", "whole")]
    assert sizes[0] < 0.6 * sizes[1]
    ours = load_tokenizer(tmp_path / "whole").state_dict()
    assert torch.equal(ours["encoder.conv_in.weight"], state["encoder.conv_in.weight"])


def test_there_and_back_by_the_commands(run: Run, tmp_path: Path) -> None:
    file = saved(tmp_path, taming_state(), "model.pth")
    assert run("import", file, "--out", tmp_path / "bundle")[0] == 0
    code, said, _ = run("export", tmp_path / "bundle", "--to", "diffusers", "--out", tmp_path / "d")
    assert code == 0 and "its pixels are in [-1, 1] there" in said
    assert run("import", tmp_path / "d", "--out", tmp_path / "again")[0] == 0
    first, again = (load_tokenizer(tmp_path / name) for name in ("bundle", "again"))
    assert again.fingerprint == first.fingerprint
    code, _, errors = run(
        "export", tmp_path / "bundle", "--to", "diffusers", "--out", tmp_path / "d"
    )
    assert code == 2 and "is not empty" in errors
    code, _, errors = run("export", tmp_path / "d", "--to", "onnx", "--out", tmp_path / "o")
    assert code == 2 and errors.startswith("error: ")


def test_other_commands_take_an_imported_bundle(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """evaluate, with --publish, and encode, and the card keeps where the tokenizer comes from."""
    from train import encode, evaluate

    file = saved(tmp_path, {"model": llamagen_state()}, "vq.pt")
    bundle = tmp_path / "bundle"
    assert run("import", file, "--out", bundle)[0] == 0
    before = fingerprint_of(find_bundle(bundle))
    data = ["--data.name", "scenes", "--data.size", "32", "--limit", "2", "--device", "cpu"]
    evaluate.main(
        ["--checkpoint", str(bundle), *data, "--features.name", "none", "--publish",
         "--out", str(tmp_path / "report.json")]
    )  # fmt: skip
    found = find_bundle(bundle)
    assert fingerprint_of(found) == before and found.metrics["codebook_size"] == 60
    assert "LlamaGen" in found.card and "PSNR" in found.card and len(found.atlas["counts"]) == 60
    encode.main(["--checkpoint", str(bundle), *data, "--out", str(tmp_path / "tokens")])
    assert any((tmp_path / "tokens").iterdir())


def test_imported_and_own_configs_are_told_apart(tmp_path: Path) -> None:
    config = TokenizerConfig(NETWORK, VQConfig(size=24))
    assert TokenizerConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    unit = replace(config, value_range="unit")
    assert TokenizerConfig.from_dict(unit.to_dict()) == unit
    torch.manual_seed(0)
    one = Tokenizer(config)
    other = Tokenizer(unit)
    other.load_state_dict(one.state_dict())
    assert one.fingerprint != other.fingerprint
    described = config.to_dict()
    described["network"]["kind"] = "unet"
    with pytest.raises(ValueError, match="unknown name 'unet'"):
        TokenizerConfig.from_dict(described)
