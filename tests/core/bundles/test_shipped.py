"""Every bundle in checkpoints/ loads and gives a result of the right shape."""

from __future__ import annotations

import pytest
import torch
from safetensors import safe_open

from core import Condition, Prior, Tokenizer
from core.bundles.bundle import Bundle, list_bundles
from core.checkpoints import fingerprint_of, prior_tokenizer
from core.judges import AttributeClassifier, Judge, LabelClassifier, Segmenter, WordJudge
from core.paths import ROOT
from core.priors import PlannedPrior, prior_config

SHIPPED = list_bundles(ROOT / "checkpoints")
JUDGES: dict[str, type[Judge]] = {
    kind.kind: kind for kind in (Segmenter, AttributeClassifier, LabelClassifier, WordJudge)
}
GRID = (2, 3)


def bundles(kind: str) -> pytest.MarkDecorator:
    chosen = [bundle for bundle in SHIPPED if bundle.kind == kind]
    assert chosen
    return pytest.mark.parametrize("bundle", chosen, ids=lambda bundle: bundle.name)


def images() -> torch.Tensor:
    return torch.rand(2, 3, 30, 44) * 2 - 1


def test_every_folder_is_a_bundle_of_a_known_kind():
    folders = sorted(path.name for path in (ROOT / "checkpoints").iterdir() if path.is_dir())
    assert [bundle.name for bundle in SHIPPED] == folders
    assert {bundle.kind for bundle in SHIPPED} == {"tokenizer", "prior", "judge"}


@bundles("tokenizer")
def test_tokenizers(bundle: Bundle):
    tokenizer = Tokenizer.from_pretrained(bundle.path)
    f = tokenizer.downsampling
    ids = tokenizer.encode(images())
    assert ids.shape == (2, -(-30 // f), -(-44 // f)) and ids.dtype == torch.int64
    assert 0 <= int(ids.min()) <= int(ids.max()) < tokenizer.codebook_size
    decoded = tokenizer.decode(ids)
    assert decoded.shape == (2, 3, f * ids.shape[1], f * ids.shape[2])
    assert decoded.dtype == torch.float32 and float(decoded.abs().max()) <= 1
    assert tokenizer.fingerprint == fingerprint_of(bundle)


@bundles("prior")
def test_priors(bundle: Bundle):
    prior = Prior.from_pretrained(bundle.path)
    kinds = prior.conditioner.kinds
    condition = Condition(
        texts=("a red bird",) if "text" in kinds else None,
        segmentation=torch.zeros(1, *GRID, dtype=torch.int64) if kinds == ("semantic",) else None,
    )
    steps = None if bundle.config["prior"]["name"] == "autoregressive" else 2
    last = list(prior.sample(condition, 2, grid=GRID, steps=steps))[-1]
    assert last.done == last.total
    assert last.ids.shape == (2, *GRID) and last.ids.dtype == torch.int64
    tokenizer = Tokenizer.from_pretrained(prior_tokenizer(bundle, ROOT / "checkpoints"))
    assert 0 <= int(last.ids.min()) <= int(last.ids.max()) < tokenizer.codebook_size
    f = tokenizer.downsampling
    assert tokenizer.decode(last.ids).shape == (2, 3, f * GRID[0], f * GRID[1])
    if isinstance(prior, PlannedPrior):
        assert last.layout is not None and last.layout.shape == (2, *GRID)


@bundles("judge")
def test_judges(bundle: Bundle):
    kind = JUDGES[bundle.config["judge"]["name"]]
    judge = kind.from_pretrained(bundle.path)
    if isinstance(judge, AttributeClassifier):
        assert judge.answer(images()).shape == (2, len(judge.config.questions))
    elif isinstance(judge, LabelClassifier):
        described = torch.rand(2, judge.config.width)
        assert judge(described).shape == (2, len(judge.config.classes))
    elif isinstance(judge, WordJudge):
        described = torch.rand(2, judge.config.width)
        assert judge(described).shape == (2, len(judge.config.words))
    else:
        classes = judge.segment(images())
        assert classes.shape == (2, 30, 44)
        assert 0 <= int(classes.min()) <= int(classes.max()) < len(judge.config.classes)


def test_a_planned_prior_has_the_published_weight_names():
    bundle = next(each for each in SHIPPED if each.name == "scenes-text-diffusion")
    with safe_open(bundle.path / "model.safetensors", "pt") as file:
        published = set(file.keys())
    prior = prior_config(bundle.config["prior"]).build()
    assert isinstance(prior, PlannedPrior)
    assert set(prior.state_dict()) == published
    assert {name.partition(".")[0] for name in published} == {
        "network",
        "layout",
        "squares",
        "draws",
    }
    # The names of the token prior are those of a token prior alone.
    alone = {name for name in published if not name.startswith("layout.")}
    assert set(prior.tokens.state_dict()) == alone
    assert all(name.startswith("layout.prior.network.") for name in published - alone)
