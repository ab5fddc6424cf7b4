"""The flags of a run: their names, order and values."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace

import pytest

from train.cli.config_flags import EVERYDAY, parse_config
from train.cli.errors import UsageError
from train.recipes import NAMES, config_of
from train.recipes.command_line import parse_run

PROGRAM = "python train/run.py"
# The names of flags are an interface: a published name keeps working.
ALL = """batch data.crop data.name data.root data.size data.workers init log-every optimizer.betas
optimizer.clip optimizer.ema optimizer.lr optimizer.schedule optimizer.warmup optimizer.weight-decay
out precision save-every seed steps stop-after train-only validate-every"""
TOKENIZER = """codes-rate data.last-share data.last-size discriminator.layers discriminator.width
features.name features.weights loss.adaptive loss.adversarial loss.contrastive
loss.contrastive-weight loss.discriminator-start loss.l1 loss.l2 loss.listen-after loss.no-adaptive
loss.perceptual loss.ramp optimizer.discriminator-betas optimizer.discriminator-lr
tokenizer.network.attention tokenizer.network.decoder-blocks tokenizer.network.encoder-blocks
tokenizer.network.latent-dim tokenizer.network.no-attention tokenizer.network.stem
tokenizer.network.widths tokenizer.quantizer.size"""
# The papers' recipes have VQ-GAN's own network, whose settings are others.
OURS_ALONE = "attention", "encoder-blocks", "no-attention", "stem"
VQGAN = (
    " ".join(
        flag
        for flag in TOKENIZER.split()
        if flag not in {f"tokenizer.network.{name}" for name in OURS_ALONE}
    )
    + """ tokenizer.network.blocks tokenizer.network.attention-levels tokenizer.network.groups
tokenizer.network.middle-blocks tokenizer.network.z-channels tokenizer.network.downsample
tokenizer.network.upsample tokenizer.network.decoder-norm tokenizer.value-range"""
)
PRIOR = """embeddings prior.drop prior.dropout prior.grid prior.width sampling.guidance
sampling.steps sampling.temperature sampling.top-k sampling.top-p tokenizer tokens"""
TOKENS = "prior.codebook-size prior.heads prior.layers"
TEXT = """prior.conditions.0.context prior.conditions.0.heads prior.conditions.0.layers
prior.conditions.0.pretrained prior.conditions.0.vocabulary prior.conditions.0.width"""
MAP = """prior.conditions.1.classes prior.conditions.1.no-shares prior.conditions.1.shares
prior.conditions.1.width"""
DIFFUSION = """prior.alpha prior.auxiliary prior.focus prior.gamma prior.patch prior.stay
prior.timesteps"""
LATENT = """prior.betas prior.blocks prior.factors prior.head-width prior.latent-dim
prior.prediction prior.timesteps"""
OF_RECIPES = {
    "photos-regvq": f"""{TOKENIZER} tokenizer.quantizer.commitment tokenizer.quantizer.mask-ratio
        tokenizer.quantizer.posterior tokenizer.quantizer.prior tokenizer.quantizer.prior-file
        tokenizer.quantizer.prior-scope tokenizer.quantizer.prior-spread
        tokenizer.quantizer.prior-weight tokenizer.quantizer.temperature""",
    "photos-nsvq": f"""{TOKENIZER} stages.earliest stages.epoch stages.latest stages.patience
        stages.ramp stages.warmup tokenizer.quantizer.alpha tokenizer.quantizer.beta
        tokenizer.quantizer.epoch tokenizer.quantizer.mask-ratio
        tokenizer.quantizer.no-replacement tokenizer.quantizer.replacement
        tokenizer.quantizer.replacement-noise tokenizer.quantizer.replacement-warmup
        tokenizer.quantizer.tau""",
    "imagenet256-vq": f"""{VQGAN} tokenizer.quantizer.beta tokenizer.quantizer.codebook
        tokenizer.quantizer.decay tokenizer.quantizer.distance tokenizer.quantizer.estimator
        tokenizer.quantizer.restart-below tokenizer.quantizer.start""",
    "photos-simvq": f"{TOKENIZER} tokenizer.quantizer.beta tokenizer.quantizer.estimator",
    "cub-gumbel": f"""{VQGAN} tokenizer.quantizer.kl-weight tokenizer.quantizer.mask-ratio
        tokenizer.quantizer.last-temperature tokenizer.quantizer.temperature""",
    "photos-fsq": f"{TOKENIZER} tokenizer.quantizer.levels",
    "photos-lfq": f"""{TOKENIZER} tokenizer.quantizer.commitment
        tokenizer.quantizer.entropy-weight tokenizer.quantizer.temperature""",
    "photos-ibq": f"""{TOKENIZER} tokenizer.quantizer.beta tokenizer.quantizer.entropy-weight
        tokenizer.quantizer.temperature""",
    "scenes-text-diffusion": f"""{PRIOR} {TOKENS} {TEXT} {MAP} {DIFFUSION} prior.layout.dropout
        prior.layout.heads prior.layout.layers prior.layout.width""",
    "scenes-semantic-ar": f"{PRIOR} {TOKENS} {MAP.replace('.1.', '.0.')}",
    "scenes-masked": f"""{PRIOR} {TOKENS} {TEXT} {MAP} prior.choice-temperature
        prior.label-smoothing prior.patch""",
    "scenes-latent": f"{PRIOR} {TEXT} {LATENT}",
    "cub-text-diffusion": f"{PRIOR} {TOKENS} {TEXT} {DIFFUSION}",
    "imagenet128-latent": f"{PRIOR} {LATENT}",
}


def help_of(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as stop:
        parse_run([*arguments, "--help"], PROGRAM)
    assert stop.value.code in (0, None)
    return capsys.readouterr().out


@pytest.mark.parametrize("recipe", OF_RECIPES)
def test_no_flag_has_disappeared(recipe: str, capsys: pytest.CaptureFixture[str]) -> None:
    named = set(re.findall(r"--[a-z0-9.-]+", help_of(capsys, recipe)))
    wanted = {f"--{flag}" for flag in f"{ALL} {OF_RECIPES[recipe]}".split()}
    assert wanted <= named
    assert "--recipe" not in named


@pytest.mark.parametrize("recipe", ["photos-regvq", "scenes-text-diffusion"])
def test_everyday_settings_come_first_and_the_others_under_one_heading(
    recipe: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    text = help_of(capsys, recipe)
    headings = re.findall(r"(?m)^\W*([a-z. -]*options)\W*$", text)
    assert headings == ["options", "other options"]
    first, rest = text.split("other options")
    flags = re.findall(r"(?m)^\W*--([a-z][a-z.-]+)", first)
    every = re.findall(r"--([a-z][a-z0-9.-]+)", text)
    present = [flag for path in EVERYDAY if (flag := path.replace("_", "-")) in every]
    assert flags == present and {"steps", "seed", "batch", "out", "data.root", "init"} <= set(flags)
    assert "--optimizer.lr" in rest and "--stop-after" in rest
    assert "Optimizer steps of the whole run. (default:" in " ".join(first.split())


def test_flags_change_settings_at_every_depth() -> None:
    words = ["scenes-text-diffusion", "--prior.width", "96", "--prior.conditions.0.layers=3",
             "--prior.conditions.1.classes", "30", "--prior.layout.heads", "2", "--log_every", "7",
             "--data.crop", "0.1", "0.5", "--sampling.steps", "None"]  # fmt: skip
    config, usual = parse_run(words, PROGRAM), config_of("scenes-text-diffusion")
    text, semantic = usual.prior.conditions
    prior = replace(
        usual.prior,
        width=96,
        conditions=(replace(text, layers=3), replace(semantic, classes=30)),
        layout=replace(usual.prior.layout, heads=2),
    )
    assert config == replace(
        usual,
        prior=prior,
        log_every=7,
        data=replace(usual.data, crop=(0.1, 0.5)),
        sampling=replace(usual.sampling, steps=None),
    )


def test_levels_of_fsq_need_no_size() -> None:
    words = ["photos-fsq", "--tokenizer.quantizer.levels", "4", "8", "4"]
    quantizer = parse_run(words, PROGRAM).tokenizer.quantizer
    assert (quantizer.levels, quantizer.size) == ((4, 8, 4), 128)
    assert parse_run([*words, "--tokenizer.quantizer.size", "128"], PROGRAM).tokenizer.quantizer
    with pytest.raises(UsageError, match=r"quantizer\.size must be 128, the product of"):
        parse_run([*words, "--tokenizer.quantizer.size", "100"], PROGRAM)


@pytest.mark.parametrize("recipe", NAMES)
def test_without_flags_a_recipe_is_unchanged(recipe: str) -> None:
    assert parse_run([recipe], PROGRAM) == config_of(recipe)


@dataclass(frozen=True)
class Inner:
    """Settings outside this project's packages."""

    size: int = 3
    """A number with a docstring
    of two lines."""

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError(f"size must be at least 1, got {self.size}")


@dataclass(frozen=True)
class Outer:
    """Settings with nested ones."""

    recipe: str = "mine"
    steps: int = 5
    """The length."""
    inner: Inner = field(default_factory=Inner)
    missing: Inner | None = None


def test_any_dataclass_can_be_nested(capsys: pytest.CaptureFixture[str]) -> None:
    def parse(*words: str) -> Outer:
        return parse_config(Outer(), words, program="a command", description="")

    assert parse("--inner.size", "4") == Outer(inner=Inner(4))
    with pytest.raises(SystemExit):
        parse("--help")
    said = " ".join(capsys.readouterr().out.split())
    assert "A number with a docstring of two lines. (default: 3)" in said
    assert "--missing" not in said and "--recipe" not in said
    with pytest.raises(UsageError, match=r"size must be at least 1, got 0 \(all flags: a command"):
        parse("--inner.size", "0")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("--optimizer.lr nan", "optimizer.lr must be a finite number, got nan"),
        ("--optimizer.lr inf", "optimizer.lr must be a finite number, got inf"),
        ("--optimizer.lr -1", "optimizer.lr must be a number above 0, got -1.0"),
        ("--optimizer.lr 0", "optimizer.lr must be a number above 0, got 0.0"),
        ("--optimizer.betas 0.9 nan", "optimizer.betas must be a finite number"),
        ("--optimizer.betas 0.9 1", "optimizer.betas must be from 0 to below 1, got 1.0"),
        ("--optimizer.ema 1.5", "optimizer.ema must be from 0 to below 1, got 1.5"),
        ("--optimizer.warmup -0.1", "optimizer.warmup must be from 0 to 1, got -0.1"),
        ("--optimizer.weight-decay -1", "optimizer.weight_decay must be from 0 on, got -1.0"),
        ("--optimizer.clip 0", "optimizer.clip must be a number above 0, got 0.0"),
        ("--optimizer.discriminator-lr -1", "optimizer.discriminator_lr must be a number above 0"),
        ("--loss.l1 nan", "loss.l1 must be a finite number, got nan"),
        ("--loss.ramp 2", "loss.ramp must be from 0 to 1, got 2.0"),
        ("--codes-rate inf", "codes_rate must be a finite number, got inf"),
        ("--data.workers -1", "data.workers must be 0 or more, got -1"),
        ("--data.crop 0.8 0.2", "data.crop must be two increasing fractions"),
        ("--tokenizer.quantizer.prior-weight nan", "prior_weight must be a finite number"),
        ("--stop-after 0", "stop_after must be at least 1, got 0"),
        ("--validate-every -1", "validate_every must be 0 or more, got -1"),
    ],
)
def test_a_value_that_no_run_can_have_is_refused(flags, words):
    with pytest.raises(UsageError, match=re.escape(words)):
        parse_run(["photos-regvq", *flags.split()], PROGRAM)
