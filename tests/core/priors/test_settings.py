"""Priors before the first draw: limits of options and settings, initial weights, sizes of parts."""

from __future__ import annotations

import inspect
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from core.conditions import Condition, LabelConfig, SemanticConfig, TextConfig
from core.networks.transformer import TransformerConfig
from core.priors import (
    AutoregressiveConfig,
    DiffusionConfig,
    LatentConfig,
    LayoutConfig,
    MaskedConfig,
    Prior,
)
from core.priors.options import MAX_TOKENS, SamplingOptions, Step, check_grid
from tests.core.priors.small_priors import BOTH, SMALL, built, conditions_of, seeded

TINY = 1e-9
OPTIONS: list[tuple[str, list[Any], list[Any]]] = [
    ("n", [1, 7], [0, -1, 1.0, True]),
    ("guidance", [0, 0.0, 100, 1.0, (0.0, 100.0), (100, 0)],
     [-TINY, 100.1, (0.0, 100.1), (-TINY, 1.0), (1.0,), (1.0, 2.0, 3.0), math.nan, math.inf, "2"]),
    ("temperature", [0, 0.0, 100.0], [-TINY, 100.1, math.nan, math.inf, "1"]),
    ("top_k", [0, 1, 10_000], [-1, 1.5, True]),
    ("top_p", [TINY, 1, 1.0], [0, 0.0, 1 + TINY, -0.5, math.nan, "1"]),
]  # fmt: skip


@pytest.mark.parametrize(("name", "accepted", "refused"), OPTIONS, ids=[row[0] for row in OPTIONS])
def test_options_are_accepted_up_to_their_limits(
    name: str, accepted: list[Any], refused: list[Any]
) -> None:
    for value in accepted:
        assert getattr(SamplingOptions(**{name: value}), name) == value
    prior = MaskedConfig(**SMALL).build()
    for value in refused:
        with pytest.raises(ValueError, match=f"^{name} must"):
            SamplingOptions(**{name: value})
        if name != "n":
            with pytest.raises(ValueError, match=f"^{name} must"):
                prior.validate_sampling(**{name: value})


def test_checked_options_have_the_defaults_of_sampling() -> None:
    checked, drawn = (
        inspect.signature(method).parameters for method in (Prior.validate_sampling, Prior.sample)
    )
    for name in checked:
        assert name == "self" or checked[name].default == drawn[name].default


def test_guidance_of_one_alone_needs_no_second_pass() -> None:
    assert not SamplingOptions().guided
    assert not SamplingOptions(guidance=(1.0, 1.0)).guided
    for guidance in (0.0, 2.0, (1.0, 2.0), (2.0, 1.0)):
        assert SamplingOptions(guidance=guidance).guided


@pytest.mark.parametrize("steps", [0, 13, 1.5, True, -1])
def test_steps_that_a_prior_cannot_take_are_refused(steps: Any) -> None:
    prior = MaskedConfig(**SMALL).build()
    prior.validate_sampling()
    prior.validate_sampling(steps=12)  # of 3 x 4 tokens
    prior.validate_sampling(steps=1)
    with pytest.raises(ValueError, match="steps must be a whole number from 1 to 12"):
        prior.validate_sampling(steps=steps)


def test_default_steps_never_exceed_the_limit() -> None:
    assert AutoregressiveConfig(**SMALL).default_steps == 12
    assert len(list(MaskedConfig(**SMALL).build().eval().sample(grid=(2, 2)))) == 4
    assert MaskedConfig(**SMALL | {"grid": (5, 5)}).build().default_steps == 12
    steps = list(AutoregressiveConfig(**SMALL).build().eval().sample(steps=12))
    assert [step.done for step in steps] == list(range(1, 13))
    with pytest.raises(ValueError, match="here 12"):
        AutoregressiveConfig(**SMALL).build().sample(steps=11)


def test_grids() -> None:
    assert check_grid((1, MAX_TOKENS)) == (1, MAX_TOKENS) == (1, 16_384)
    for grid in ((1, MAX_TOKENS + 1), (128, 129), (0, 4), (4, 0), (4,), (2, 2, 2), (1.0, 2)):
        with pytest.raises(ValueError, match="grid must"):
            check_grid(grid)


def test_a_sketch_is_a_map_without_any_token() -> None:
    none, some = torch.full((1, 2, 2), -1), torch.tensor([[[-1, -1], [-1, 0]]])
    assert Step(none, 1, 4, layout=none).sketching
    assert not Step(some, 1, 4, layout=none).sketching
    assert not Step(none, 1, 4).sketching
    assert not Step(some, 1, 4).sketching


LIMITS: list[tuple[Any, str, list[Any], list[Any]]] = [
    (AutoregressiveConfig, "codebook_size", [1, 2], [0, -1]),
    (AutoregressiveConfig, "grid", [(1, 1), (1, 16_384)], [(0, 2), (1, 16_385)]),
    (MaskedConfig, "patch", [1, 2, 8], [0, 9, -1, 1.0, 2.5, True]),
    (DiffusionConfig, "patch", [1, 8], [0, 9, 1.0]),
    (MaskedConfig, "label_smoothing", [0.0, 1 - TINY], [-TINY, 1.0]),
    (MaskedConfig, "choice_temperature", [0.0, 50.0], [-TINY, math.nan, math.inf]),
    (DiffusionConfig, "timesteps", [1, 10_000], [0, 10_001, -1]),
    (DiffusionConfig, "stay", [0.0, 20.0], [-TINY, math.nan, math.inf]),
    (DiffusionConfig, "focus", [0.0, 4.0], [-TINY, math.nan, math.inf]),
    (DiffusionConfig, "auxiliary", [0.0, 1.0], [-TINY, math.nan, math.inf]),
    (LatentConfig, "width", [32, 64], [0, 16, 33, 48, -32]),
    (LatentConfig, "latent_dim", [1], [0]),
    (LatentConfig, "blocks", [1], [0]),
    (LatentConfig, "head_width", [1], [0]),
    (LatentConfig, "grid", [(4, 4), (4, 8)], [(2, 4), (4, 6), (6, 4), (0, 4)]),
    (LatentConfig, "factors", [(1,), (1, 2)], [()]),
    (LatentConfig, "betas", [(1e-4, 2e-2), (5e-3, 5e-3), (1e-9, 0.5)],
     [(0.0, 2e-2), (2e-2, 1e-4), (1e-4, 1.0), (-1e-4, 2e-2)]),
    (LatentConfig, "prediction", ["epsilon", "v_prediction"], ["sample"]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "name", "accepted", "refused"), LIMITS, ids=lambda part: getattr(part, "__name__", "")
)
def test_settings_are_accepted_up_to_their_limits(
    kind: Any, name: str, accepted: list[Any], refused: list[Any]
) -> None:
    for value in accepted:
        assert getattr(kind(**{name: value}), name) == value
    for value in refused:
        with pytest.raises(ValueError, match="levels halve it" if name == "factors" else name):
            kind(**{name: value})


def test_a_latent_diffusion_must_end_in_noise() -> None:
    """At most 1 % of the signal's energy, the product of 1 - beta, is left at the end."""

    def left(first: float, last: float, steps: int) -> float:
        return math.prod(
            1 - (first + (last - first) * step / max(1, steps - 1)) for step in range(steps)
        )

    for betas, steps in (((1e-4, 2e-2), 470), ((1e-3, 9e-3), 900), ((1e-4, 0.3), 30)):
        accepted = [n for n in range(steps - 60, steps + 60) if n > 0 and left(*betas, n) <= 0.01]
        for number in range(max(1, steps - 60), steps + 60):
            if number in accepted:
                LatentConfig(betas=betas, timesteps=number)
            else:
                with pytest.raises(ValueError, match="of the signal's energy"):
                    LatentConfig(betas=betas, timesteps=number)
    LatentConfig(betas=(0.995, 0.999), timesteps=1)
    with pytest.raises(ValueError, match="leave 2%"):
        LatentConfig(betas=(0.98, 0.999), timesteps=1)


# ------------------------------------------------------------------- networks


def test_the_transformer_has_the_sizes_of_the_config() -> None:
    config = MaskedConfig(**SMALL | {"dropout": 0.3, "layers": 3}).build().network
    assert config.transformer.config == TransformerConfig(
        width=32, layers=3, heads=2, dropout=0.3, causal=False, modulated=False, memory=False
    )
    for kind, conditions, causal, modulated, memory in (
        (AutoregressiveConfig, (), True, False, False),
        (DiffusionConfig, (), False, True, False),
        (MaskedConfig, (LabelConfig(classes=2),), False, True, False),
        (MaskedConfig, (TextConfig(width=32, layers=1, heads=2, vocabulary=8),), False, True, True),
    ):
        built_config = kind(**SMALL, conditions=conditions).build().network.transformer.config
        assert built_config == TransformerConfig(
            width=32, layers=2, heads=2, dropout=0.0, causal=causal, modulated=modulated,
            memory=memory,
        )  # fmt: skip


def test_a_causal_network_has_no_patches() -> None:
    config = AutoregressiveConfig(**SMALL)
    config.network(causal=True, timed=False, patch=1)
    for patch in (2, 3):
        with pytest.raises(ValueError, match="its patch must be 1"):
            config.network(causal=True, timed=False, patch=patch)
        config.network(causal=False, timed=False, patch=patch)


def test_patches_have_the_side_of_the_config(kind: str) -> None:
    patches = built(kind).network.patches
    assert (patches.side if patches else 1) == (2 if "patches" in kind else 1)


def test_initial_weights_of_tokens_and_positions() -> None:
    torch.manual_seed(0)
    config = MaskedConfig(codebook_size=900, grid=(30, 40), width=64, layers=1, heads=2)
    network = config.build().network
    assert network.embed.weight.shape == (901, 64) and network.head.weight.shape == (900, 64)
    assert network.row.shape == (30, 64) and network.column.shape == (40, 64)
    for weight in (network.embed.weight, network.head.weight, network.row, network.column):
        assert float(weight.detach().std()) == pytest.approx(0.02, rel=0.06)
        assert abs(float(weight.detach().mean())) < 0.002
    assert not network.head.bias.any()


def test_positions_start_as_waves() -> None:
    """Cosines of 1 to 4 half periods, weighted by 1 / number, in random directions of 0.05."""
    network = (
        MaskedConfig(codebook_size=6, grid=(3, 9), width=32, layers=1, heads=2).build().network
    )
    network.init_positions(seeded(5))
    draw = seeded(5)
    for embeddings, waves in ((network.row, 2), (network.column, 4)):
        count = len(embeddings)
        table = torch.tensor([
            [math.cos(math.pi * k * (i + 0.5) / count) / k for k in range(1, waves + 1)]
            for i in range(count)
        ])  # fmt: skip
        table = table / table.square().sum(1).mean().sqrt()
        wanted = 0.05 * table @ torch.randn(waves, 32, generator=draw)
        torch.testing.assert_close(embeddings.detach(), wanted, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("grid", [(1, 1), (2, 1)])
def test_positions_of_the_smallest_grids_start_with_one_wave(grid: tuple[int, int]) -> None:
    network = MaskedConfig(codebook_size=6, grid=grid, width=32, layers=1, heads=2).build().network
    network.init_positions(seeded())
    assert torch.isfinite(network.row).all() and torch.isfinite(network.column).all()


def test_embeddings_start_as_projections_of_the_codes() -> None:
    network = (
        MaskedConfig(codebook_size=6, grid=(3, 4), width=32, layers=1, heads=2).build().network
    )
    codes = 3 * torch.randn(6, 5) + 7
    network.init_from_codebook(codes, seeded(2))
    draw = seeded(2)
    centered = codes - codes.mean(0)
    centered = centered / centered.square().mean().sqrt()
    for weight, scale in ((network.embed.weight[:6], 0.1), (network.head.weight, 0.05)):
        wanted = centered @ (torch.randn(5, 32, generator=draw) * 5**-0.5 * scale)
        torch.testing.assert_close(weight.detach(), wanted, rtol=1e-4, atol=1e-6)
    network.init_from_codebook(torch.full((6, 5), 7.0))  # of equal codes, nothing is left
    assert not network.embed.weight[:6].any() and not network.head.weight.any()
    network.init_from_codebook(codes, seeded(2))
    before = network.row.detach().clone()
    network.init_positions(draw)  # the generator goes on to the positions
    torch.testing.assert_close(network.row.detach(), before)


def test_the_condition_of_a_cell_is_added_on_any_grid() -> None:
    network = built("masked", BOTH).network
    for grid in ((3, 4), (6, 8)):
        condition = conditions_of(2)
        bare = network.context(None, 2, grid=grid).cell_embedding
        cells = network.context(condition, 2, grid=grid).cell_embedding
        added = network.conditioner.encode(condition, 2, None, grid=grid).cells
        none = network.conditioner.encode(None, 2, None, grid=grid).cells
        assert added.shape == (2, grid[0] * grid[1], 32)
        torch.testing.assert_close(cells - bare, (added - none).expand_as(cells - bare))
        assert float((added - none).detach().abs().max()) > 1e-3


def test_cells_attend_to_the_tokens_of_a_text() -> None:
    """Without a text, to a learned token."""
    network = built("masked", (TextConfig(width=32, layers=1, heads=2, vocabulary=8),)).network
    context, encoded = network.context(None, 2), network.conditioner.encode(None, 2)
    assert encoded.tokens is not None and encoded.tokens.shape == (2, 1, 32)
    wanted = network.transformer.project_memory(encoded.tokens)
    torch.testing.assert_close(context.memory, wanted)
    assert context.mask is not None and torch.equal(context.mask, encoded.mask)


def test_embeddings_of_a_larger_grid_are_interpolated_by_cell_centers() -> None:
    network = built("masked").network
    with torch.no_grad():
        network.column.zero_()
        network.row.copy_(torch.tensor([0.0, 2.0, 4.0])[:, None].expand(3, 32))
    cells = network.context(None, 1, grid=(6, 1)).cell_embedding[0, :, 0]
    assert cells.tolist() == pytest.approx([0, 0.5, 1.5, 2.5, 3.5, 4])


def test_a_decoder_continues_after_the_last_of_several_tokens() -> None:
    prior = built("autoregressive")
    ids = torch.randint(6, (2, 3, 4), generator=seeded())
    wanted = prior.logits(ids)
    before = torch.cat([torch.full((2, 1), 6), ids.flatten(1)[:, :-1]], 1)
    for static in (False, True):
        for first in (1, 3, 12):
            with torch.no_grad():
                context = prior.network.context(None, 2, grid=(3, 4))
                step = prior.network.decoder(context, 2, 12, static=static)
                found = [step(before[:, :first]).clone()]
                found += [step(before[:, i : i + 1]).clone() for i in range(first, 12)]
            torch.testing.assert_close(
                torch.stack(found, 1), wanted[:, first - 1 :], rtol=1e-4, atol=1e-4
            )


# ------------------------------------------------------------------- bundles and parts


@pytest.mark.parametrize(("half", "kind"), [(None, torch.float16), (False, torch.float32)])
def test_weights_are_stored_in_half_precision_by_default(
    half: bool | None, kind: torch.dtype, tmp_path: Path
) -> None:
    prior = built("masked")
    how = {} if half is None else {"half": half}
    bundle = prior.save_pretrained(
        tmp_path / "prior", tokenizer={"name": "t", "fingerprint": "f"}, **how
    )
    held = load_file(bundle.path / "model.safetensors")
    assert {tensor.dtype for tensor in held.values()} == {kind}
    again = Prior.from_pretrained(bundle.path)
    assert again.config == prior.config and not again.draws_layout


def test_one_picture_is_drawn_by_default() -> None:
    prior = built("masked")
    assert prior.generate(generator=seeded()).shape == (1, 3, 4)
    assert list(prior.sample(generator=seeded()))[-1].ids.shape == (1, 3, 4)
    assert prior.grid == (3, 4) and prior.default_steps == 12


PLANNED = {
    "codebook_size": 6, "grid": (2, 6), "width": 32, "layers": 1, "heads": 2, "drop": 0.3,
    "conditions": (SemanticConfig(classes=3, width=8), LabelConfig(classes=2)),
    "layout": LayoutConfig(width=64, layers=2, heads=4, dropout=0.2),
}  # fmt: skip


def planned() -> Any:
    torch.manual_seed(0)
    prior = MaskedConfig(**PLANNED).build().eval()
    with torch.no_grad():
        for name, parameter in prior.named_parameters():
            if "row" not in name and "column" not in name:
                parameter.normal_(std=0.3)
    return prior


def test_the_prior_of_maps_has_its_own_sizes_and_the_other_conditions() -> None:
    prior = planned()
    assert prior.layout.prior.config == AutoregressiveConfig(
        codebook_size=4, grid=(2, 6), width=64, layers=2, heads=4, dropout=0.2,
        conditions=(LabelConfig(classes=2),), drop=0.3,
    )  # fmt: skip
    assert prior.draws_layout and prior.trained_part == "all"
    # Its positions are waves from the start: neighbors are similar.
    column = prior.layout.prior.network.column.detach()
    assert float(column.std()) == pytest.approx(0.05, rel=0.35)
    assert torch.nn.functional.cosine_similarity(column[0], column[1], dim=0) > 0.5


def test_steps_of_map_and_tokens_are_counted_together() -> None:
    prior, condition = planned(), Condition(labels=torch.tensor([1]))
    for grid in ((2, 6), (3, 4)):
        steps = list(prior.sample(condition, 2, generator=seeded(), grid=grid, steps=5))
        assert [step.done for step in steps] == list(range(1, grid[0] + 6))
        assert {step.total for step in steps} == {grid[0] + 5}
        options = prior._resolved(SamplingOptions(n=2, generator=seeded(), grid=grid))
        maps = list(prior.layout.sample(condition, options))
        assert [(step.done, step.total) for step in maps] == [
            (row, grid[0]) for row in range(1, grid[0] + 1)
        ]
        assert torch.equal(maps[-1].ids, steps[grid[0] - 1].layout)


@pytest.mark.parametrize(
    "how",
    [{}, {"guidance": 3.0}, {"guidance": (0.0, 4.0)}, {"temperature": 1.9}, {"top_p": 0.5},
     {"top_k": 1}, {"top_k": 2}],
)  # fmt: skip
def test_maps_are_drawn_with_the_options_of_the_tokens(how: dict[str, Any]) -> None:
    prior, condition = planned(), Condition(labels=torch.tensor([1]))
    whole = list(prior.sample(condition, 3, generator=seeded(3), **how))[-1].layout
    top_k = {"top_k": 1} if how.get("top_k") == 1 else {"top_k": 0}  # of classes: one or all
    alone = prior.layout.prior.generate(condition, 3, generator=seeded(3), **how | top_k)
    assert torch.equal(whole, alone.masked_fill(alone == 3, 255))
    if how:
        plain = prior.layout.prior.generate(condition, 3, generator=seeded(3))
        assert torch.equal(plain, alone) == (how.get("top_k") == 2)


def test_parts_are_trained_alone_and_evaluated_together() -> None:
    prior = planned()
    ids = torch.randint(6, (2, 2, 6), generator=seeded())
    maps = torch.randint(3, (2, 4, 12), generator=seeded())
    condition = Condition(segmentation=maps, labels=torch.tensor([0, 1]))
    everything = {"masked", "bits", "layout", "layout_bits"}
    for part, trained in (
        ("all", everything), ("layout", {"layout", "layout_bits"}), ("tokens", {"masked", "bits"}),
    ):  # fmt: skip
        prior.trained_part = part
        assert set(prior.train().loss(ids, condition, seeded())) == trained
        assert set(prior.eval().loss(ids, condition, seeded())) == everything
    found = prior.loss(ids, condition, seeded())["layout"]
    small = torch.stack([maps[:, i::2, j::2] for i in (0, 1) for j in (0, 1)], -1)
    # The most frequent class of four pixels; of equally frequent ones, the lowest.
    cells = torch.nn.functional.one_hot(small, 3).sum(-2).argmax(-1)
    wanted = prior.layout.prior.loss(cells, replace(condition, segmentation=None))["nll"]
    torch.testing.assert_close(found, wanted)


def test_ids_of_a_wrong_shape_or_kind_are_refused() -> None:
    prior = built("masked")
    for ids in (torch.zeros(3, 4).long(), torch.zeros(2, 3, 4), torch.zeros(1, 1, 3, 4).long(),
                torch.zeros(12)):  # fmt: skip
        with pytest.raises(ValueError, match=r"must be integers \(B, h, w\)"):
            prior.loss(ids)


def test_known_ids_have_a_shape_and_a_range() -> None:
    prior = built("masked")
    for known, words in (
        (torch.zeros(12).long(), "must be integers"),
        (torch.zeros(3, 3, 4).long(), "must be integers"),  # of three pictures, not of two
        (torch.zeros(3, 4), "must be integers"),
        (torch.full((3, 4), -2), "or -1 for tokens"),
        (torch.full((3, 4), 6), "or -1 for tokens"),
    ):
        with pytest.raises(ValueError, match=words):
            prior.sample(n=2, known=known)
    with pytest.raises(ValueError, match=r"known has 3 x 4 tokens, but grid is \(4, 3\)"):
        prior.sample(n=2, known=torch.zeros(3, 4).long(), grid=(4, 3))
    for known in (torch.zeros(3, 4).long(), torch.zeros(2, 3, 4).long()):
        assert not prior.generate(n=2, known=known).any()
        assert prior.generate(n=2, known=known, grid=(3, 4)).shape == (2, 3, 4)
