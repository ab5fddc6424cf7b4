"""Conditions: text, semantic maps and labels, alone and together."""

from __future__ import annotations

import pytest
import torch

from core.conditions import Condition, Conditioner, LabelConfig, SemanticConfig, TextConfig
from core.conditions.semantic import composition, majority
from core.data.segmentation import on_grid
from core.errors import CheckpointError
from core.paths import ROOT
from tests.helpers import fresh

TEXT = TextConfig(width=16, layers=1, heads=2, context=8, vocabulary=6)
CAPTIONS = ["a red house by a lake", "a red tree", "two birds and a tree"]
GRID = (2, 3)


def built(*configs, drop: float = 0.3) -> Conditioner:
    torch.manual_seed(0)
    conditioner = Conditioner(configs, 12, GRID, drop)
    conditioner.learn_vocabulary(CAPTIONS)
    return conditioner.eval()


def some(rows: int = 2) -> Condition:
    return Condition(
        texts=("a red tree", "two birds")[:rows],
        segmentation=torch.tensor([[[0, 1, 2], [2, 255, 0]], [[1, 1, 1], [0, 0, 2]]])[:rows],
        labels=torch.tensor([1, -1])[:rows],
    )


def test_composition_is_each_class_share_of_a_cell():
    torch.manual_seed(0)
    maps = torch.randint(0, 4, (2, 7, 9))
    maps[maps == 3] = 255
    found = composition(maps, 3, (3, 4))
    wanted = torch.zeros(2, 4, 3, 4)
    for b, y, x in torch.cartesian_prod(*(torch.arange(s) for s in maps.shape)).tolist():
        wanted[b, min(int(maps[b, y, x]), 3), y * 3 // 7, x * 4 // 9] += 1
    torch.testing.assert_close(found, wanted / wanted.sum(1, keepdim=True))


def test_majority_is_that_of_token_shards():
    maps = torch.randint(0, 3, (4, 8, 12))
    found = majority(composition(maps, 3, (4, 6)))
    wanted = torch.stack([on_grid(one, 2) for one in maps])
    assert torch.equal(found.argmax(1), wanted)
    assert torch.equal(found.sum(1), torch.ones(4, 4, 6))


def test_a_map_on_the_grid_is_unchanged_and_a_coarser_one_is_repeated():
    maps = torch.tensor([[[0, 1], [255, 1]]])
    assert torch.equal(composition(maps, 2, (2, 2)).argmax(1), torch.tensor([[[0, 1], [2, 1]]]))
    bigger = composition(maps, 2, (4, 4)).argmax(1)
    assert torch.equal(bigger[0, ::2, ::2], torch.tensor([[0, 1], [2, 1]]))


def test_a_cell_depends_most_on_its_own_class():
    conditioner = built(SemanticConfig(classes=3))
    maps = torch.zeros(1, 2, 3, dtype=torch.int64)
    before = conditioner.encode(Condition(segmentation=maps), 1).cells
    changed = maps.clone()
    changed[0, 1, 0] = 2
    change = (conditioner.encode(Condition(segmentation=changed), 1).cells - before).norm(dim=2)[0]
    assert int(change.argmax()) == 3
    assert float(change[3]) > 0


def test_maps_in_pixels_count_as_the_majority_or_in_shares():
    mixed = torch.tensor([[[0, 0, 1, 1, 2, 2], [0, 1, 1, 1, 2, 2], [2, 2, 0, 0, 1, 1], [2] * 6]])
    small = on_grid(mixed[0], 2)[None]
    conditioner = built(SemanticConfig(classes=3))
    cells = [conditioner.encode(Condition(segmentation=s), 1).cells for s in (mixed, small)]
    assert torch.equal(*cells)
    shared = built(SemanticConfig(classes=3, shares=True))
    cells = [shared.encode(Condition(segmentation=s), 1).cells for s in (mixed, small)]
    assert not torch.allclose(*cells)


def test_all_conditions_together_and_each_alone():
    conditioner = built(TEXT, SemanticConfig(classes=3), LabelConfig(classes=2))
    whole = conditioner.encode(some(), 2)
    assert whole.tokens.shape[::2] == (2, 12)
    assert whole.mask.dtype == torch.bool
    assert whole.cells.shape == (2, 6, 12)
    assert whole.vector.shape == (2, 12)
    null = conditioner.encode(None, 2)
    assert null.tokens.shape == (2, 1, 12)
    only_map = conditioner.encode(Condition(segmentation=some().segmentation), 2)
    assert torch.equal(only_map.cells, whole.cells)
    assert torch.equal(only_map.vector, null.vector)
    only_label = conditioner.encode(Condition(labels=some().labels), 2)
    assert torch.equal(only_label.vector[1], null.vector[1])  # -1: no label
    assert not torch.equal(only_label.vector[0], null.vector[0])
    assert conditioner.kinds == ("text", "semantic", "label")


def test_guided_rows_are_those_without_condition():
    conditioner = built(TEXT, SemanticConfig(classes=3), LabelConfig(classes=2))
    both = conditioner.encode(some(), 2, guided=True)
    given, null = conditioner.encode(some(), 2), conditioner.encode(None, 2)
    for part in ("cells", "vector"):
        pair = getattr(both, part)
        torch.testing.assert_close(pair[:2], getattr(given, part))
        torch.testing.assert_close(pair[2:], getattr(null, part))
    assert torch.equal(both.mask[:2], given.mask)
    assert both.mask[2:].sum(1).tolist() == [1, 1]
    torch.testing.assert_close(both.tokens[2:, :1], null.tokens)


def test_conditions_are_dropped_in_training_only():
    conditioner = built(SemanticConfig(classes=3), LabelConfig(classes=2))
    labels = torch.ones(4000, dtype=torch.int64)
    many = Condition(segmentation=torch.ones(4000, 2, 3, dtype=torch.int64), labels=labels)
    kept = conditioner.encode(many, 4000)
    assert bool((kept.vector == kept.vector[0]).all())
    conditioner.train()
    first, again, other = (
        conditioner.encode(many, 4000, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)
    )
    assert torch.equal(first.vector, again.vector)
    assert not torch.equal(first.vector, other.vector)
    lost_label = (first.vector != kept.vector).any(1)
    lost_map = (first.cells != kept.cells).flatten(1).any(1)
    # Both together with 0.3, and each alone with 0.3 of the rest.
    assert float(lost_label.float().mean()) == pytest.approx(0.51, abs=0.04)
    assert float(lost_map.float().mean()) == pytest.approx(0.51, abs=0.04)
    assert float((lost_map & lost_label).float().mean()) == pytest.approx(
        0.3 + 0.7 * 0.09, abs=0.04
    )
    assert not conditioner.encode(many, 4000).vector.equal(kept.vector)


def test_a_single_condition_is_used_for_all_rows():
    conditioner = built(TEXT, LabelConfig(classes=2))
    one, three = conditioner.encode(some(1), 3), conditioner.encode(some(1).repeat(3), 3)
    assert torch.equal(one.tokens, three.tokens)
    assert torch.equal(one.vector, three.vector)
    assert len(some(2).repeat(2)) == 4
    assert some(2).repeat(2).texts == ("a red tree", "two birds") * 2


def test_a_text_does_not_depend_on_other_texts():
    conditioner = built(TEXT)
    alone = conditioner.encode(Condition(texts=("a red tree",)), 1)
    beside = conditioner.encode(Condition(texts=("a red house by a lake", "a red tree")), 2)
    length = int(alone.mask.sum())
    assert int(beside.mask[1].sum()) == length
    torch.testing.assert_close(beside.tokens[1, :length], alone.tokens[0, :length])
    torch.testing.assert_close(beside.vector[1], alone.vector[0])
    assert not torch.allclose(beside.vector[0], alone.vector[0])


def test_an_empty_text_is_no_condition():
    conditioner = built(TEXT)
    empty, null = conditioner.encode(Condition(texts=("", " \n")), 2), conditioner.encode(None, 2)
    assert torch.equal(empty.tokens, null.tokens)
    assert torch.equal(empty.vector, null.vector)


@pytest.mark.parametrize("vocabulary", [0, 6])
def test_any_text_is_encoded(vocabulary):
    conditioner = built(TextConfig(width=16, layers=1, heads=2, context=8, vocabulary=vocabulary))
    texts = (
        "tree " * 10_000,
        "🦜🌲" * 50,
        "красный дом",
        "樹" * 5_000,
        "x" * 100_000,
        "<b>&amp;\0",
    )
    out = conditioner.encode(Condition(texts=texts), len(texts))
    assert out.tokens.shape == (6, 8, 12)
    assert bool(out.tokens.isfinite().all())
    coverage = conditioner.coverage(texts[0])
    assert coverage.kept == 6
    assert not coverage.whole
    assert conditioner.coverage("a red tree") == (3, 3, 0, True)


def test_a_small_vocabulary_has_the_most_frequent_tokens():
    conditioner = built(TextConfig(width=16, layers=1, heads=2, context=8, vocabulary=3))
    assert conditioner.coverage("a red tree").unknown == 0
    assert conditioner.coverage("a lake").unknown == 1
    assert conditioner.coverage("zebra crossing").unknown == 2
    same = [conditioner.encode(Condition(texts=(t,)), 1).vector for t in ("a lake", "a house")]
    assert torch.equal(*same)
    # The weights of a bundle contain the vocabulary.
    other = Conditioner(
        (TextConfig(width=16, layers=1, heads=2, context=8, vocabulary=3),), 12, GRID
    ).eval()
    with pytest.raises(ValueError, match="has no vocabulary yet"):
        other.check(Condition(texts=("a",)), 1)
    other.load_state_dict(conditioner.state_dict())
    assert other.coverage("a red tree").unknown == 0
    found = other.encode(Condition(texts=("a red tree",)), 1).vector
    assert torch.equal(found, conditioner.encode(Condition(texts=("a red tree",)), 1).vector)


def test_a_pretrained_tower_is_frozen_and_not_in_the_weights(tmp_path):
    open_clip = pytest.importorskip("open_clip")
    config = open_clip.get_model_config("RN50")
    config["vision_cfg"] |= {"layers": [1, 1, 1, 1], "width": 8, "image_size": 32}
    config["text_cfg"] |= {"width": 16, "heads": 2, "layers": 1}
    config["embed_dim"] = 8
    (tmp_path / "tiny-text.json").write_text(__import__("json").dumps(config))
    open_clip.add_model_config(tmp_path)
    model = open_clip.create_model("tiny-text", force_custom_text=True)
    weights = tmp_path / "weights.safetensors"
    from safetensors.torch import save_file

    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, weights)
    conditioner = Conditioner((TextConfig(pretrained=f"tiny-text/{weights}"),), 12, GRID).eval()
    assert not any("tower" in name for name in conditioner.state_dict())
    assert all(parameter.requires_grad for parameter in conditioner.parameters())
    out = conditioner.encode(Condition(texts=("a red tree", "")), 2)
    ids = open_clip.tokenize(["a red tree"])
    model.text.output_tokens = True
    pooled, tokens = model.eval().text(ids)
    encoder = conditioner.encoders["text"]
    torch.testing.assert_close(out.vector[0], encoder.to_vector(pooled)[0], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(
        out.tokens[0], encoder.to_tokens(tokens)[0, :5], atol=1e-5, rtol=1e-4
    )
    assert out.mask.sum(1).tolist() == [5, 1]


def test_a_pretrained_tower_that_cannot_be_loaded_is_named():
    with pytest.raises(CheckpointError, match=r"no-such-model/x cannot be loaded .* MODEL/PATH"):
        Conditioner((TextConfig(pretrained="no-such-model/x"),), 12, GRID)


@pytest.mark.parametrize(
    ("condition", "words"),
    [
        (Condition(segmentation=torch.tensor([[[0, 7]]])), "class 7"),
        (Condition(segmentation=torch.zeros(1, 2, 3)), "integers"),
        (Condition(segmentation=torch.zeros(1, 0, 3, dtype=torch.int64)), "empty"),
        (Condition(labels=torch.tensor([2])), "from 0 to 1"),
        (Condition(labels=torch.tensor([0, 1, 0])), "as many as the 2 pictures"),
        (Condition(texts=("a",)), "takes no text"),
    ],
)
def test_invalid_conditions_are_named(condition, words):
    with pytest.raises(ValueError, match=words):
        built(SemanticConfig(classes=3), LabelConfig(classes=2)).check(condition, 2)


def test_parts_must_agree():
    with pytest.raises(ValueError, match="differ in number"):
        Condition(texts=("a",), labels=torch.tensor([0, 1]))
    with pytest.raises(ValueError, match="tuple of strings"):
        Condition(texts="a tree")
    with pytest.raises(ValueError, match="once"):
        Conditioner((LabelConfig(), LabelConfig()), 12, GRID)


def test_open_clip_is_imported_only_for_text():
    code = (
        "import sys; from core.priors import *; from core.conditions import *;"
        "AutoregressiveConfig(width=16, layers=1, heads=1, conditions=(LabelConfig(),)).build();"
        "sys.exit('open_clip' in sys.modules or 'diffusers' in sys.modules)"
    )
    assert fresh.run(["-c", code], ROOT).returncode == 0
