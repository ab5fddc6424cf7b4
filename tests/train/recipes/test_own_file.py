"""Recipes of one's own: a file with a quantizer and a data set, trained, resumed and evaluated."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from core import extensions
from core.bundles.bundle import find_bundle
from core.checkpoints import load_tokenizer
from core.data import registry
from core.errors import CheckpointError
from core.paths import ROOT
from core.quantizers import QUANTIZERS
from tests.helpers import fresh
from train.cli.errors import UsageError
from train.recipes.command_line import parse_run
from train.recipes.own_file import default_folder

SOURCE = '''
"""A quantizer, a data set and recipes in a user's file."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import nn

from regvq.data import Sample, register_dataset
from regvq.networks.autoencoder import NetworkConfig
from regvq.quantizers import Quantized, Quantizer, register_quantizer
from regvq.tokenizer import TokenizerConfig
from regvq_train.config import DataConfig, FeatureConfig, LossConfig, RunConfig
from regvq_train.recipes import config_of


@dataclass(frozen=True)
class RoundConfig:
    """A codebook of random codes that are learned by the codebook loss alone."""

    size: int = 16
    """K."""
    weight: float = 1.0
    """Weight of the codebook loss."""

    def build(self, dim: int) -> RoundQuantizer:
        return RoundQuantizer(self, dim)


class RoundQuantizer(Quantizer):
    def __init__(self, config: RoundConfig, dim: int) -> None:
        super().__init__(config.size, dim)
        self.config = config
        self.codes = nn.Parameter(torch.randn(config.size, dim))

    def codebook(self):
        return self.codes.float()

    def logits(self, rows):
        return -torch.cdist(rows, self.codebook())

    def assign_rows(self, rows):
        return self.logits(rows).argmax(1)

    def forward(self, z, *, mask_ratio=None, generator=None):
        z = z.float()
        ids = self.assign(z)
        chosen = self.embed(ids)
        if not self.training:
            return Quantized(chosen, ids, {})
        loss = self.config.weight * (chosen - z.detach()).square().mean()
        return Quantized(z + (chosen - z).detach(), ids, {"codebook": loss})


register_quantizer("round", RoundConfig)


class Stripes:
    """Computed pictures of stripes."""

    name = "stripes"

    def __init__(self, count: int, size: int) -> None:
        self.count, self.size = count, size

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        if not 0 <= index < self.count:
            raise IndexError(index)
        at = torch.arange(self.size) / self.size * (2 + index % 5)
        return Sample(torch.sin(6.28 * at).expand(3, self.size, -1).contiguous())

    def draw(self, k):
        return self[k % self.count]


def open_stripes(root, split, *, size, seed, crop):
    return Stripes(40 if split == "train" else 6, size)


register_dataset("stripes", open_stripes)


def tiny():
    """Round codes on stripes: two small resolutions."""
    network = NetworkConfig(widths=(8, 8), encoder_blocks=1, decoder_blocks=1, latent_dim=4)
    return RunConfig(
        tokenizer=TokenizerConfig(network, RoundConfig()),
        data=DataConfig(name="stripes", size=16),
        features=FeatureConfig(name="none"),
        loss=LossConfig(perceptual=0.0),
        steps=4,
        batch=4,
        save_every=100,
    )


def a_prior():
    return replace(config_of("scenes-masked"), steps=1)


def _hidden():
    return tiny()


def needs(a, b=1, *, c):
    return tiny()


def fails():
    return tiny().no_such_setting


def refused():
    return replace(tiny(), steps=0)


def other_thing():
    return {"steps": 3}


def nothing():
    pass


def unregistered():
    @dataclass(frozen=True)
    class Elsewhere(RoundConfig):
        pass

    return replace(tiny(), tokenizer=TokenizerConfig(NetworkConfig(), Elsewhere()))


def unspeakable():
    config = RoundConfig(weight={1.0})
    return replace(tiny(), tokenizer=TokenizerConfig(NetworkConfig(), config))


number = 7
'''


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    """Undo, after each test, what its file registered."""
    known, path = dict(QUANTIZERS), list(sys.path)
    modules, sets = set(sys.modules), dict(registry._REGISTERED)
    yield
    QUANTIZERS.clear()
    QUANTIZERS.update(known)
    registry._REGISTERED.clear()
    registry._REGISTERED.update(sets)
    extensions._loaded.clear()
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        file = getattr(sys.modules[name], "__file__", None) or ""
        if "pytest-" in file:  # a test's own file
            del sys.modules[name]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "own" / "my_recipes.py"
    path.parent.mkdir()
    path.write_text(SOURCE, encoding="utf-8")
    return path


def command(script: str, folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    return fresh.run([ROOT / "train" / script, *arguments], folder)


@pytest.mark.slow
def test_an_own_quantizer_is_trained_resumed_evaluated_and_encoded(
    tmp_path: Path,
    file: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from train.encode import main as encode
    from train.evaluate import main as evaluate
    from train.run import main as run

    out = tmp_path / "run"
    flags = ["--recipe", f"{file}:tiny", "--out", str(out), "--data.workers", "1"]
    done = command("run.py", tmp_path, *flags, "--stop-after", 2)  # in a process of its own
    assert done.returncode == 0, done.stderr
    run([*flags, "--tokenizer.quantizer.weight", "1.0"])
    bundle = find_bundle(out)
    assert bundle.metrics["step"] == 4 and bundle.metrics["data"]["held_out"] is True
    assert bundle.config["tokenizer"]["quantizer"] == {"name": "round", "size": 16, "weight": 1.0}
    # The file's name and its function are in the run and on the card, the folder is not.
    name = "my_recipes.py:tiny"
    assert json.loads((out / "run.json").read_text())["recipe"] == name
    assert bundle.config["recipe"]["name"] == name
    assert f"python train/run.py {name} --steps 4" in bundle.card and "`round`" in bundle.card
    assert str(tmp_path) not in json.dumps(bundle.config) + bundle.card
    # Other settings are refused, as for any recipe.
    with pytest.raises(SystemExit) as stop:
        run([*flags, "--tokenizer.quantizer.weight", "2.0"])
    assert stop.value.code == 2
    assert "another tokenizer.quantizer.weight" in capsys.readouterr().err

    report = tmp_path / "report.json"
    asked = ["--checkpoint", str(out), "--data.name", "stripes", "--data.size", "16",
             "--device", "cpu"]  # fmt: skip
    figures = [*asked, "--features.name", "none", "--out", str(report)]
    done = command("evaluate.py", tmp_path, *figures, "--recipe", file)
    assert done.returncode == 0, done.stderr
    assert json.loads(report.read_text())["images"] == 6

    # Without the file, one sentence names the quantizer.
    forget("my_recipes", "round", "stripes")
    with pytest.raises(SystemExit) as stop:
        evaluate(figures)
    said = capsys.readouterr().err
    assert stop.value.code == 2 and said.startswith("error: ") and said.count("\n") == 1
    assert "unknown quantizer 'round'; available: vq, " in said and "REGVQ_EXTENSIONS" in said
    with pytest.raises(SystemExit) as stop:
        encode(
            [
                "--checkpoint",
                str(ROOT / "checkpoints/scenes-regvq"),
                "--data.name",
                "stripes",
                "--out",
                str(tmp_path / "tokens"),
            ]
        )
    assert "unknown data set 'stripes'" in capsys.readouterr().err

    monkeypatch.setenv("REGVQ_EXTENSIONS", str(file))
    encode([*asked, "--out", str(tmp_path / "tokens")])
    assert json.loads((tmp_path / "tokens/header.json").read_text())["rows"] == [40]


def forget(module: str, quantizer: str, dataset: str) -> None:
    """Undo what a file registered, as in a process that has not imported it."""
    del sys.modules[module], QUANTIZERS[quantizer], registry._REGISTERED[dataset]


def test_a_bundle_needs_the_file_of_its_quantizer(
    tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from core.tokenizer import Tokenizer

    config = parse_run([f"{file}:tiny"], "run")
    Tokenizer(config.tokenizer).save_pretrained(tmp_path / "bundle")
    del QUANTIZERS["round"]
    with pytest.raises(CheckpointError, match=r"config\.json .* unknown quantizer 'round'; avail"):
        load_tokenizer(tmp_path / "bundle")
    del sys.modules["my_recipes"]
    monkeypatch.setenv("REGVQ_EXTENSIONS", str(file))
    assert load_tokenizer(tmp_path / "bundle").codebook_size == 16
    with pytest.raises(CheckpointError, match="RoundConfig is not a registered quantizer"):
        config.tokenizer.to_dict()  # its module was unloaded


def test_help_shows_its_flags_and_its_docstring(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        parse_run(["--recipe", f"{file}:tiny", "--help"], "run")
    assert stop.value.code in (0, None)
    said = " ".join(capsys.readouterr().out.split())
    assert "Round codes on stripes: two small resolutions." in said
    assert "--tokenizer.quantizer.weight FLOAT Weight of the codebook loss. (default: 1.0)" in said


def test_a_prior_and_a_recipe_without_the_flag(file: Path) -> None:
    config = parse_run([f"{file}:a_prior", "--batch", "3"], "run")
    assert (config.recipe, config.steps, config.batch) == ("my_recipes.py:a_prior", 1, 3)
    assert parse_run([f"{file}:_hidden"], "run").recipe == "my_recipes.py:_hidden"
    assert default_folder(config.recipe) == "my_recipes-a_prior"
    assert default_folder("scenes-vq") == "scenes-vq"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{own}/gone.py:tiny", "gone.py does not exist; name a file that ends with .py"),
        ("{own}:tiny", "unknown recipe"),
        ("{own}/folder.py:tiny", "folder.py is not a Python file"),
        ("{own}/my_recipes.py", "must also name a function, {own}/my_recipes.py:NAME; functions"),
        ("{own}/my_recipes.py:", "must also name a function"),
        ("{own}/my_recipes.py:gone", "has no 'gone'; functions in it: open_stripes, tiny, a_prior"),
        ("{own}/my_recipes.py:number", "my_recipes.py:number is not a function"),
        ("{own}/my_recipes.py:needs", "must take no arguments, but it needs a, c"),
        ("{own}/my_recipes.py:fails", "fails raised an error: my_recipes.py, line "),
        ("{own}/my_recipes.py:fails", "AttributeError: 'RunConfig' object has no attribute"),
        ("{own}/my_recipes.py:refused", "ValueError: steps must be at least 1, got 0"),
        ("{own}/my_recipes.py:other_thing", "return a RunConfig or a PriorRunConfig, but it "
                                            "returns a dict"),
        ("{own}/my_recipes.py:nothing", "but it returns None"),
        ("{own}/my_recipes.py:unregistered", "uses Elsewhere, which is not a registered"),
        ("{own}/my_recipes.py:unspeakable", "that JSON cannot hold: {1.0} is a set"),
        ("{own}/syntax.py:tiny", "syntax.py, line 2: "),
        ("{own}/raising.py:tiny", "raising.py, line 3: ZeroDivisionError: division by zero"),
        ("{own}/importing.py:tiny", "ModuleNotFoundError: No module named 'no_such_package'"),
        ("{own}/leaving.py:tiny", "leaving.py, line 1: SystemExit: 3"),
        ("{own}/taken.py:tiny", "taken.py, line 2: ExtensionError: the quantizer name 'vq' is"),
        ("{own}/json.py:tiny", "json.py cannot be imported as 'json', which is the name of anoth"),
        ("{own}/my recipes.py:tiny", "cannot be imported as 'my recipes'"),
        ("{own}/zeros.py:tiny", "zeros.py"),
    ],
)  # fmt: skip
def test_mistakes_get_one_line(
    file: Path, text: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from train.run import main

    own = file.parent
    (own / "folder.py").mkdir()
    for name, source in {
        "syntax": "def tiny():\n    return (\n",
        "raising": "\n\n1 / 0\n",
        "importing": "import no_such_package\n",
        "leaving": "raise SystemExit(3)\n",
        "taken": "from regvq.quantizers import FSQConfig, register_quantizer\n"
        "register_quantizer('vq', FSQConfig)\n",
        "json": "def tiny(): pass\n",
        "my recipes": "def tiny(): pass\n",
        "zeros": "def tiny(): pass\0\n",
    }.items():
        (own / f"{name}.py").write_text(source, encoding="utf-8")
    with pytest.raises(SystemExit) as stop:
        main(["--recipe", text.format(own=own), "--out", str(own / "out")])
    said = capsys.readouterr().err
    assert stop.value.code == 2
    assert said.startswith("error: ") and said.count("\n") == 1, said
    assert words.replace("{own}", str(own)) in said
    assert not (own / "out").exists()


def test_a_file_that_is_not_python_is_refused_by_the_other_commands(tmp_path: Path) -> None:
    from train.recipes.own_file import load_own_file

    load_own_file(None)
    with pytest.raises(UsageError, match=r"--recipe photos-vq must name a Python file, FILE\.py"):
        load_own_file("photos-vq")
    with pytest.raises(UsageError, match=r"--recipe .*gone\.py does not exist"):
        load_own_file(str(tmp_path / "gone.py"))
