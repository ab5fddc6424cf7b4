"""The list of recipes: its groups and lines, what it imports, and settings the recipes share."""

from __future__ import annotations

import inspect
import subprocess
import sys
from dataclasses import replace

import pytest

from core.paths import ROOT
from train.cli.errors import UsageError
from train.config.tokenizer import RunConfig
from train.export.recipe_flags import recipe_flags
from train.recipes import GROUPS, NAMES, config_of, recipe_of, summary_of
from train.recipes.command_line import parse_run, recipe_list

RUN = ROOT / "train" / "run.py"
TOKENIZERS = [name for name in NAMES if isinstance(config_of(name), RunConfig)]


def test_every_recipe_is_in_one_group_and_has_its_name() -> None:
    assert len(NAMES) == len(set(NAMES)) == 50
    for name in NAMES:
        assert config_of(name).recipe == name
        assert recipe_of(name).__name__ == name.replace("-", "_")


def test_every_function_of_a_module_of_recipes_is_in_the_list() -> None:
    for module in {group.module for group in GROUPS}:
        names = {name for group in GROUPS if group.module == module for name in group.names}
        functions = vars(sys.modules[recipe_of(min(names)).__module__])
        public = {
            key.replace("_", "-")
            for key, value in functions.items()
            if inspect.isfunction(value)
            and value.__module__.endswith(f"recipes.{module}")
            and not key.startswith("_")
        }
        assert public == names


def test_the_list_has_a_line_per_recipe_below_its_group() -> None:
    lines = recipe_list().splitlines()
    group = None
    found = {}
    for line in lines:
        if line and not line.startswith(" "):
            group = line
        elif line:
            found[line.split()[0]] = group, line
    assert found.keys() == set(NAMES)
    for each in GROUPS:
        for name in each.names:
            title, line = found[name]
            assert title == each.title and len(line) <= 125
            assert line.endswith(summary_of(name)) and summary_of(name).endswith(".")
            assert summary_of(name) == (recipe_of(name).__doc__ or "").splitlines()[0]


def test_the_list_is_fast_and_imports_neither_torch_nor_tyro() -> None:
    code = (
        "import sys, runpy; sys.argv = ['run.py', '--help']; sys.path[0] = {folder!r}\n"
        "before = set(sys.modules)\n"
        "try:\n    runpy.run_path({file!r}, run_name='__main__')\n"
        "finally:\n"
        "    print([name for name in ('torch', 'tyro', 'numpy') if name in sys.modules])\n"
        "    print(len(set(sys.modules) - before))"
    ).format(folder=str(ROOT / "train"), file=str(RUN))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    *_, heavy, modules = done.stdout.splitlines()
    assert heavy == "[]" and "photos-regvq" in done.stdout
    assert int(modules) < 200  # torch alone has a thousand; a duration would depend on the machine


def test_only_the_named_recipe_is_imported() -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "from train.recipes.command_line import parse_run\n"
        "parse_run(['scenes-vq', '--steps', '3'], 'run')\n"
        "print(sorted(name for name in sys.modules if name.startswith('train.recipes.')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(
        ["train.recipes.command_line", "train.recipes.own_file", "train.recipes.scenes"]
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "name a recipe: run RECIPE"),
        (["--steps", "3"], "name a recipe"),
        (["--recipe"], "name a recipe"),
        (["photos-mq"], "unknown recipe 'photos-mq'; similar names: photos-vq"),
        (["--recipe", "nothing-like-it"], "unknown recipe 'nothing-like-it' (run --help"),
    ],
)
def test_a_missing_or_unknown_recipe_gets_one_sentence(arguments: list[str], words: str) -> None:
    with pytest.raises(UsageError) as error:
        parse_run(arguments, "run")
    assert words in str(error.value) and "run --help lists the recipes" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_recipe_can_be_named_by_its_flag_at_any_place() -> None:
    wanted = parse_run(["scenes-vq", "--steps", "3"], "run")
    assert parse_run(["--steps", "3", "--recipe", "scenes-vq"], "run") == wanted
    assert parse_run(["--recipe=scenes-vq", "--steps", "3"], "run") == wanted


@pytest.mark.parametrize("name", TOKENIZERS)
def test_recipes_have_docstrings_and_the_shared_sizes(name: str) -> None:
    config = config_of(name)
    assert config.recipe == name
    if name.startswith(("photos", "scenes")) or name.startswith("imagenette128"):
        codes = 16_384 if name.endswith("16k") else 1000 if name == "photos-fsq" else 1024
        assert config.tokenizer.quantizer.size == codes
        of_photos = 16 if name == "photos-vqgan" else 8
        step = 4 if name.startswith("scenes") else of_photos
        assert config.tokenizer.network.downsampling == step
    assert recipe_of(name).__doc__


@pytest.mark.parametrize("name", ["vq", "vqvae", "simvq", "nsvq", "gumbel", "fsq", "lfq", "ibq"])
def test_photo_recipes_have_one_network_and_budget(name: str) -> None:
    regvq, other = config_of("photos-regvq"), config_of(f"photos-{name}")
    assert regvq.tokenizer.network == other.tokenizer.network
    for part in ("data", "optimizer", "steps", "batch", "discriminator", "init", "train_only"):
        assert getattr(regvq, part) == getattr(other, part)
    if name != "vqvae":
        assert regvq.loss.adversarial == other.loss.adversarial
        assert regvq.features == other.features


@pytest.mark.parametrize(
    "name",
    [
        "photos-regvq-last",
        "photos-regvq-16k",
        "imagenette128-nsvq-16k",
        "imagenette128-simvq-16k",
        "birds-facades-regvq",
    ],
)
def test_recipes_that_continue_photos_regvq_fit_it(name: str) -> None:
    """They have its network, or --init would be refused; VGG-16's distance is added."""
    first, last = config_of("photos-regvq"), config_of(name)
    assert last.tokenizer.network == first.tokenizer.network
    assert (last.features.name, last.second_features.name) == ("alexnet", "vgg16")
    assert last.loss.lpips and last.seed != first.seed  # other draws of the same pictures
    assert (last.codes_from == "latents") == name.endswith("16k")
    assert (last.init is None) == (name == "photos-regvq-last")
    # SimVQ's layer moves all codes at once, so it learns at the network's rate.
    assert last.codes_rate == (1.0 if "simvq" in name else first.codes_rate)


def test_both_last_parts_have_one_budget() -> None:
    regvq, vq = config_of("photos-regvq-last"), config_of("photos-vq-last")
    same = replace(vq, recipe=regvq.recipe, tokenizer=regvq.tokenizer)
    assert same == regvq and vq.tokenizer.network == regvq.tokenizer.network


def test_vqvae_has_only_the_squared_error() -> None:
    loss = config_of("photos-vqvae").loss
    assert (loss.l1, loss.l2, loss.perceptual, loss.adversarial) == (0.0, 1.0, 0.0, 0.0)
    assert loss.contrastive == "none"


def epochs(*flags: str) -> tuple[int, int]:
    """Return the stages' and the quantizer's epoch of photos-nsvq, in steps."""
    config = parse_run(["photos-nsvq", *flags], "run")
    assert config.stages.latest == 50 / 70
    return config.stages.epoch, config.tokenizer.quantizer.epoch


def test_settings_that_follow_from_the_steps_follow_the_flag() -> None:
    assert epochs() == (10_000 // 70,) * 2
    assert epochs("--steps", "7000", "--batch", "8") == (100, 100)
    assert epochs("--steps", "7") == (1, 1)
    assert epochs("--steps", "7000", "--stages.epoch", "5") == (5, 100)
    changed = parse_run(["photos-nsvq", "--steps", "7000", "--batch", "8"], "run")
    assert (changed.steps, changed.batch) == (7000, 8)
    assert recipe_flags(changed) == "--batch 8"  # the card's flags need not repeat it
