"""The contract of every prior, and the formulas of each."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch
import torch.nn.functional as F

from core.conditions import Condition, LabelConfig, SemanticConfig
from core.networks.patchify import NeighborMixing, Patches
from core.priors import (
    PRIORS,
    AutoregressiveConfig,
    DiffusionConfig,
    LatentConfig,
    MaskedConfig,
    Prior,
)
from core.priors.categorical import SEEDS, classifier_free_guidance, seeds
from core.priors.categorical import seeded as each_seeded

SMALL = {"codebook_size": 6, "grid": (3, 4), "width": 32, "layers": 2, "heads": 2}
BOTH = (SemanticConfig(classes=3, width=8), LabelConfig(classes=2))
DISCRETE = {
    "autoregressive": AutoregressiveConfig,
    "diffusion": DiffusionConfig,
    "masked": MaskedConfig,
}
KINDS = DISCRETE | {
    "diffusion in patches": partial(DiffusionConfig, patch=2),
    "masked in patches": partial(MaskedConfig, patch=2),
}


def built(kind: str, conditions=(), **settings) -> Prior:
    torch.manual_seed(0)
    prior = KINDS[kind](**SMALL | settings, conditions=conditions).build().eval()
    with torch.no_grad():  # the head of an untrained network is nearly zero
        prior.network.head.weight.normal_(std=0.5)
        for name, parameter in prior.named_parameters():
            if "modulat" in name:
                parameter.normal_(std=0.2)
    return prior


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def conditions_of(rows: int) -> Condition:
    maps = torch.arange(12).view(1, 3, 4) % 3
    return Condition(segmentation=maps, labels=torch.tensor([1])).repeat(rows)


def test_every_prior_is_covered():
    assert set(DISCRETE) | {"latent"} == set(PRIORS)


@pytest.fixture(params=KINDS)
def kind(request) -> str:
    return request.param


def test_steps_lead_to_a_complete_picture(kind):
    prior = built(kind)
    steps = list(prior.sample(n=3, generator=seeded()))
    assert [step.done for step in steps] == list(range(1, steps[0].total + 1))
    drawn = [int((step.ids >= 0).sum()) for step in steps]
    assert drawn == sorted(drawn)
    last = steps[-1].ids
    assert last.shape == (3, 3, 4)
    assert last.dtype == torch.int64
    assert 0 <= int(last.min()) <= int(last.max()) < 6
    assert torch.equal(prior.generate(n=3, generator=seeded()), last)
    assert not torch.equal(prior.generate(n=3, generator=seeded(1)), last)


def same_alone_as_among_others(prior: Prior, **how) -> None:
    """Picture i of a batch is the one that its seed draws alone; other seeds draw others."""
    known, whole = how.pop("known", None), conditions_of(4)
    given = {} if known is None else {"known": known}
    batch = prior.generate(whole, 4, generator=each_seeded(7, 4), **given, **how)
    for i in (3, 0):
        given = {} if known is None else {"known": known[i]}
        alone = prior.generate(conditions_of(1), 1, generator=each_seeded(7 + i, 1), **given, **how)
        torch.testing.assert_close(alone[0], batch[i], atol=1e-4, rtol=1e-4)
    assert len({str(picture.tolist()) for picture in batch}) == 4


def test_each_picture_has_its_own_seed(kind):
    prior = built(kind, BOTH)
    for how in ({}, {"guidance": (1.0, 3.0), "top_p": 0.9}, {"temperature": 1.3, "top_k": 5}):
        same_alone_as_among_others(prior, **how)
    # Pictures in which different cells, and different numbers of cells, are known.
    known = torch.full((4, 3, 4), -1)
    known[0, 0], known[1, 1:] = torch.tensor([1, 2, 3, 4]), 5
    known[3, 0, :2], known[3, 2, 1] = 4, 0
    same_alone_as_among_others(prior, known=known, guidance=2.0)


def test_seeds_of_pictures_are_consecutive():
    assert seeds(5, 3) == [5, 6, 7]
    assert seeds(SEEDS - 1, 2) == [SEEDS - 1, 0]


def test_too_few_generators_are_refused(kind):
    with pytest.raises(ValueError, match="one for each of the 3 pictures, got 2"):
        built(kind).sample(n=3, generator=each_seeded(0, 2))


def test_sampling_can_be_stopped_early(kind):
    prior = built(kind)
    steps = prior.sample(n=1, generator=seeded())
    next(steps)
    steps.close()
    assert torch.is_grad_enabled()
    assert list(steps) == []


def test_known_ids_are_kept(kind):
    prior = built(kind, BOTH)
    known = torch.full((2, 3, 4), -1)
    known[0, 1, 1:3] = torch.tensor([5, 0])
    known[1, 0] = 2
    for step in prior.sample(conditions_of(2), 2, known=known, guidance=2.0, generator=seeded()):
        assert torch.equal(step.ids[1, 0], known[1, 0]) or kind == "autoregressive"
    assert torch.equal(step.ids[known >= 0], known[known >= 0])
    assert int(step.ids.min()) >= 0
    whole = torch.arange(12).view(3, 4) % 6
    assert torch.equal(prior.generate(n=2, known=whole), whole.expand(2, -1, -1))
    nothing = torch.full((3, 4), -1)
    free = prior.generate(n=2, known=nothing, generator=seeded())
    assert torch.equal(free, prior.generate(n=2, generator=seeded()))


def test_known_tokens_at_the_start_count_as_drawn_ones():
    prior = built("autoregressive")
    ids = prior.generate(n=2, generator=seeded())
    known = ids.clone()
    known[:, 1:, 2:] = -1
    again = prior.generate(n=2, known=known, temperature=0.0)
    flat = known.flatten(1)
    for cell in range(12):
        logits = prior.logits(again)[:, cell]
        if int(flat[0, cell]) < 0:
            assert torch.equal(again.flatten(1)[:, cell], logits.argmax(1))


def test_other_grids(kind):
    prior = built(kind, BOTH)
    assert prior.generate(conditions_of(1), 2, grid=(4, 5)).shape == (2, 4, 5)
    assert prior.loss(torch.zeros(2, 2, 3, dtype=torch.int64), conditions_of(2))["bits"].isfinite()


def test_patches_merge_cells_and_split_them_again():
    torch.manual_seed(0)
    patches = Patches(2, 3)
    cells = torch.randn(2, 3 * 5, 3)
    positions, mixed = patches.merge(cells, (3, 5))
    assert positions.shape == (2, 2 * 3, 3)
    torch.testing.assert_close(mixed, patches.before(cells, (3, 5)))
    # The second patch of the second row: cells (2, 2) and (2, 3), and two beyond the edge.
    square = torch.zeros(2, 2, 2, 3)
    square[:, 0] = mixed.view(2, 3, 5, 3)[:, 2, 2:4]
    torch.testing.assert_close(positions[:, 4], patches.join(square.flatten(1)))
    parts = patches.part(positions).view(2, 2, 3, 2, 2, 3)  # patches, then the cells of each
    split = torch.stack([parts[:, r // 2, c // 2, r % 2, c % 2] for r in range(3)
                         for c in range(5)], 1)  # fmt: skip
    wanted = patches.norm(patches.after(mixed + split, (3, 5)))
    torch.testing.assert_close(patches.split(positions, mixed, (3, 5)), wanted)


def test_a_cell_sees_its_neighbors_only():
    torch.manual_seed(0)
    mixing = NeighborMixing(4)
    cells = torch.randn(1, 4 * 5, 4)
    moved = cells.clone()
    moved[0, 7] += 1.0  # row 1, column 2
    changed = (mixing(moved, (4, 5)) - mixing(cells, (4, 5))).abs().amax(2).view(4, 5) > 1e-6
    assert changed.nonzero().tolist() == [[r, c] for r in (0, 1, 2) for c in (1, 2, 3)]


def test_similar_codes_are_initialized_similarly():
    torch.manual_seed(0)
    network = built("masked", ()).network
    codes = torch.randn(network.codes, 6)
    codes[3] = codes[2] + 0.01
    unknown = network.embed.weight[-1].clone()
    network.init_from_codebook(codes, seeded())
    for weight in (network.embed.weight[: network.codes], network.head.weight):
        apart = torch.cdist(weight, weight) / torch.cdist(weight, weight).mean()
        assert apart[2, 3] < 0.05 < apart[2, 4]
        # Distances are those of the codes, up to the error of a random projection.
        pairs = torch.stack([apart.flatten(), torch.cdist(codes, codes).flatten()])
        assert torch.corrcoef(pairs)[0, 1] > 0.8
    assert torch.equal(network.embed.weight[-1], unknown)


def test_guidance(kind):
    prior = built(kind, BOTH)

    def run(condition, guidance, seed=0):
        return prior.generate(condition, 4, guidance=guidance, generator=seeded(seed))

    plain = prior.generate(conditions_of(4), 4, generator=seeded())
    assert torch.equal(run(conditions_of(4), 1.0), plain)
    assert torch.equal(run(conditions_of(4), 0.0), run(None, 1.0))
    assert not torch.equal(run(conditions_of(4), 3.0), plain)


def test_a_pair_of_guidances_changes_from_the_first_step_to_the_last(kind, monkeypatch):
    scales = []

    def noted(logits, scale):
        scales.append(float(torch.as_tensor(scale).flatten()[0]))
        return classifier_free_guidance(logits, scale)

    for module in ("autoregressive", "diffusion", "masked"):
        monkeypatch.setattr(f"core.priors.{module}.classifier_free_guidance", noted)
    prior = built(kind, BOTH)
    prior.generate(conditions_of(1), 1, guidance=(1.0, 3.0), generator=seeded())
    steps = len(scales)
    assert steps > 2 and scales == pytest.approx([1 + 2 * i / (steps - 1) for i in range(steps)])


def test_a_picture_can_be_extended_beyond_its_edges(kind):
    known = torch.full((6, 8), -1)
    known[2:5, 2:6] = torch.arange(12).view(3, 4) % 6
    drawn = built(kind).generate(n=2, known=known, generator=seeded())
    assert drawn.shape == (2, 6, 8) and int(drawn.min()) >= 0
    assert torch.equal(drawn[:, 2:5, 2:6], known[2:5, 2:6].expand(2, 3, 4))


def test_guided_logits_are_the_formula():
    prior = built("autoregressive", BOTH)
    ids = prior.generate(conditions_of(2), 2, guidance=2.5, temperature=0.0)
    with torch.no_grad():
        given, null = prior.logits(ids, conditions_of(2)), prior.logits(ids)
    assert torch.equal((null + 2.5 * (given - null)).argmax(2), ids.flatten(1))


def test_loss_has_a_gradient_for_every_weight(kind):
    prior = built(kind, BOTH, drop=0.5).train()
    terms = prior(torch.randint(6, (8, 3, 4)), conditions_of(8), seeded())
    assert not terms["bits"].requires_grad
    sum(value for name, value in terms.items() if name != "bits").backward()
    assert [name for name, p in prior.named_parameters() if p.grad is None] == []


def test_loss_is_repeatable_and_ignores_unused_conditions(kind):
    prior, ids = built(kind, (LabelConfig(classes=2),)).train(), torch.randint(6, (4, 3, 4))
    one = prior.loss(ids, Condition(labels=conditions_of(4).labels), seeded())
    two = prior.loss(ids, conditions_of(4), seeded())
    assert {k: v.item() for k, v in one.items()} == {k: v.item() for k, v in two.items()}


def toy(rows: int, generator: torch.Generator) -> tuple[torch.Tensor, Condition]:
    """Label 0: all cells have one of the ids 0, 1, 2; label 1: one of 3, 4, 5. Where the map is 2,
    it is the next id. The entropy is log2(3) / 12 bits per token."""
    labels = torch.randint(2, (rows,), generator=generator)
    base = torch.randint(3, (rows,), generator=generator)
    maps = torch.randint(3, (rows, 3, 4), generator=generator)
    ids = 3 * labels[:, None, None] + (base[:, None, None] + (maps == 2)) % 3
    return ids, Condition(segmentation=maps, labels=labels)


@pytest.mark.parametrize("kind", [*DISCRETE, "diffusion in patches"])
def test_learns_a_small_data_set(kind):
    settings = {"label_smoothing": 0.0} if kind == "masked" else {}
    if kind.startswith("diffusion"):
        settings = {"timesteps": 20, "alpha": (0.98, 0.001), "gamma": (0.01, 0.99)}
    torch.manual_seed(0)
    prior = KINDS[kind](**SMALL | settings, conditions=BOTH, drop=0.1).build()
    optimizer = torch.optim.AdamW(prior.parameters())
    # The masked prior is long in finding out that cells resemble one another.
    generator, rounds = seeded(), {"autoregressive": 120, "diffusion": 300}.get(kind, 420)
    for step in range(rounds):
        ids, condition = toy(64, generator)
        terms = prior.loss(ids, condition, generator)
        rate = min(1.0, (step + 1) / 10, 2 * (1 - step / rounds))
        optimizer.param_groups[0]["lr"] = 6e-3 * rate
        optimizer.zero_grad()
        sum(value for name, value in terms.items() if name != "bits").backward()
        torch.nn.utils.clip_grad_norm_(prior.parameters(), 1.0)
        optimizer.step()
    prior.eval()
    with torch.no_grad():
        ids, condition = toy(512, generator)
        bits = float(prior.loss(ids, condition, generator)["bits"])
    least = math.log2(3) / 12
    assert least - 0.05 < bits < least + (0.35 if kind.startswith("diffusion") else 0.15)
    _, condition = toy(64, generator)
    drawn = prior.generate(condition, 64, generator=generator)
    base = (drawn - 3 * condition.labels[:, None, None] - (condition.segmentation == 2).int()) % 3
    right = (base == base[:, :1, :1]) & (drawn // 3 == condition.labels[:, None, None])
    # Tokens of one patch that are drawn in one step are drawn independently.
    assert float(right.float().mean()) > (0.8 if "patches" in kind else 0.9)
    assert len(base[:, 0, 0].unique()) == 3  # not always the same


def test_bits_of_the_autoregressive_prior_are_exact():
    prior, ids = built("autoregressive", BOTH), torch.randint(6, (3, 3, 4))
    found = prior.loss(ids, conditions_of(3))
    log_p = prior.logits(ids, conditions_of(3)).double().log_softmax(2)
    nll = -log_p.gather(2, ids.flatten(1)[..., None]).mean()
    assert float(found["bits"]) == pytest.approx(float(nll) / math.log(2), rel=1e-5)
    assert float(found["nll"]) == pytest.approx(float(nll), rel=1e-5)


def test_draws_with_a_cache_equal_those_of_the_full_pass():
    prior = built("autoregressive", BOTH)
    ids = prior.generate(conditions_of(2), 2, temperature=0.0)
    assert torch.equal(prior.logits(ids, conditions_of(2)).argmax(2), ids.flatten(1))


@pytest.mark.parametrize("begin", [1, 5])
@torch.no_grad()
def test_static_steps_equal_the_plain_ones(begin):
    """The steps that a GPU replays as a graph compute the same logits as the plain ones."""
    prior = built("autoregressive", BOTH)
    network, ids = prior.network, torch.randint(6, (2, 12))
    context = network.context(conditions_of(2), 2)
    plain, static = (network.decoder(context, 2, 12, static=way) for way in (False, True))
    torch.testing.assert_close(static(ids[:, :begin]), plain(ids[:, :begin]))
    for at in range(begin, 12):
        now = ids[:, at : at + 1]
        torch.testing.assert_close(static(now), plain(now), atol=1e-5, rtol=1e-5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_cuda_graph_draws_the_same_as_the_cpu():
    prior = built("autoregressive", BOTH)
    expected = prior.generate(conditions_of(3), 3, generator=each_seeded(5, 3), guidance=2.0)
    prior = prior.cuda()
    on_gpu = conditions_of(3).to(torch.device("cuda"))
    found = prior.generate(on_gpu, 3, generator=each_seeded(5, 3), guidance=2.0)
    assert float((found.cpu() == expected).float().mean()) > 0.9  # rounding may move a draw
    again = prior.generate(on_gpu, 3, generator=each_seeded(5, 3), guidance=2.0)
    assert torch.equal(again, found)


def test_an_autoregressive_cell_depends_most_on_its_own_class():
    prior = built("autoregressive", BOTH)
    ids = torch.randint(6, (1, 3, 4))
    other = conditions_of(1)
    other.segmentation[0, 2, 1] = (other.segmentation[0, 2, 1] + 1) % 3
    change = (prior.logits(ids, conditions_of(1)) - prior.logits(ids, other)).abs().amax((0, 2))
    assert int(change.argmax()) == 9


def test_bits_of_the_masked_prior_bound_the_likelihood():
    # With a network that predicts only the share of each code, all orders give the same bound.
    prior = built("masked")
    with torch.no_grad():
        prior.network.head.weight.zero_()
        prior.network.head.bias.copy_(torch.tensor([0.5, 0.2, 0.1, 0.1, 0.05, 0.05]).log())
    ids = torch.zeros(5, 3, 4, dtype=torch.int64)
    for training in (False, True):
        prior.train(training)
        found = torch.stack([prior.loss(ids)["bits"] for _ in range(400 if training else 1)])
        assert float(found.mean()) == pytest.approx(1.0, rel=0.05 if training else 1e-5)


def test_bits_of_the_diffusion_prior_are_the_variational_bound():
    prior = built("diffusion", timesteps=6, alpha=(0.9, 0.05), gamma=(0.05, 0.8))
    ids = torch.randint(6, (1, 3, 4))
    process = prior.process
    with torch.no_grad():
        found = torch.stack([prior.loss(ids.expand(600, -1, -1))["bits"] for _ in range(4)])
        # Term by term, each with its own draws.
        total = process.prior_divergence()
        clean = ids.flatten(1).expand(800, -1)
        context = prior.network.context(None, 800)
        for t in range(1, 7):
            time = torch.full((800,), t)
            now = process.corrupt(clean, time, None)
            log_p = prior.network(now, context, time=time / 6).log_softmax(2)
            total += float(process.divergence(log_p, clean, now, time - 1, time).mean())
    assert float(found.mean()) == pytest.approx(total / math.log(2), rel=0.03)


def test_focus_gives_the_noisy_end_more_weight(monkeypatch):
    prior = built("diffusion", timesteps=2, focus=4.0, alpha=(0.9, 0.05), gamma=(0.05, 0.8))
    monkeypatch.setattr(  # a divergence of t nats
        prior.process, "divergence",
        lambda log_p, clean, now, begin, end: end[:, None].expand_as(clean).float(),
    )  # fmt: skip
    found = prior.loss(torch.zeros(2, 3, 4, dtype=torch.int64))  # both times, once each
    bound = 1 + 2
    assert float(found["variational"]) == pytest.approx((1 * 1.5 + 2 * 5) / 2)
    assert float(found["bits"]) == pytest.approx(
        (bound + prior.process.prior_divergence()) / math.log(2)
    )


def test_timesteps_are_drawn_in_proportion_to_their_losses():
    prior = built("diffusion", timesteps=5).train()
    even = prior._draw_times(40, None, torch.device("cpu"))[1]
    torch.testing.assert_close(even, torch.full((40,), 0.2))
    prior.draws.fill_(11)
    prior.squares.copy_(torch.tensor([100.0, 1.0, 4.0, 9.0, 16.0]))
    time, chance = prior._draw_times(100_000, seeded(), torch.device("cpu"))
    want = torch.tensor([1.0, 1.0, 2.0, 3.0, 4.0]) / 11  # the first as the second
    torch.testing.assert_close(chance, want[time - 1])
    torch.testing.assert_close(torch.bincount(time)[1:] / 100_000, want, atol=1e-3, rtol=0)
    prior._record(torch.tensor([2, 2, 5]), torch.tensor([1.0, 3.0, 2.0]))
    assert prior.squares.tolist() == pytest.approx([100, 0.9 + 0.1 * 5, 4, 9, 14.4 + 0.4])
    assert prior.draws.tolist() == [11, 13, 11, 11, 12]


def test_diffusion_starts_from_noise_for_any_number_of_steps():
    prior = built("diffusion", timesteps=20)
    seen = []
    hook = prior.network.register_forward_pre_hook(
        lambda _, given, named: seen.append((given[0].clone(), float(named["time"][0]))),
        with_kwargs=True,
    )
    for steps in (1, 3, 20):
        seen.clear()
        assert len(list(prior.sample(n=2, steps=steps))) == steps
        assert seen[0][1] == 1.0
        assert bool((seen[0][0] == 6).all())
        assert len(seen) == steps
    hook.remove()


def test_stay_applies_only_to_tokens_that_are_not_masked():
    plain, staying = built("diffusion"), built("diffusion", stay=20.0)
    now = torch.tensor([[0, 5, 6, 6, 3, 6, 6, 6, 1, 6, 6, 6]])
    time, context = torch.tensor([70]), plain.network.context(None, 1)
    with torch.no_grad():
        more = staying._logits(now, context, time) - plain._logits(now, context, time)
    want = torch.zeros(1, 12, 6)
    for cell, code in enumerate(now[0].tolist()):
        if code < 6:
            want[0, cell, code] = 20
    torch.testing.assert_close(more, want)
    # An untrained network would predict other codes for most visible tokens, at a high cost.
    ids = torch.randint(6, (64, 3, 4), generator=seeded())
    with torch.no_grad():
        bits = [float(prior.loss(ids, generator=seeded())["bits"]) for prior in (staying, plain)]
    assert 2 < bits[0] < 0.5 * bits[1]


def test_masked_decoding_follows_the_cosine():
    prior = built("masked")
    left = [int((s.ids < 0).sum()) for s in prior.sample(n=1, steps=4, generator=seeded())]
    assert left == [math.floor(12 * math.cos(math.pi / 2 * i / 4) + 1e-9) for i in (1, 2, 3)] + [0]
    each = [int((s.ids < 0).sum()) for s in prior.sample(n=1, steps=12, generator=seeded())]
    assert each == sorted(set(each), reverse=True)


@pytest.mark.parametrize("kind", DISCRETE)
@pytest.mark.parametrize(
    ("how", "word"),
    [
        ({"n": 0}, "n must"),
        ({"guidance": math.nan}, "guidance"),
        ({"guidance": (1.0, math.inf)}, "guidance"),
        ({"temperature": -1.0}, "temperature"),
        ({"top_k": -3}, "top_k"),
        ({"top_p": 0.0}, "top_p"),
        ({"top_p": 1.5}, "top_p"),
        ({"steps": 0}, "step"),
        ({"steps": 1_000_000}, "step"),
        ({"grid": (0, 4)}, "grid"),
        ({"grid": (4096, 4096)}, "grid"),
        ({"known": torch.full((3, 4), 6)}, "known"),
        ({"known": torch.zeros(3, 4)}, "known"),
        ({"known": torch.zeros(3, 4, dtype=torch.int64), "grid": (4, 4)}, "known"),
        ({"condition": Condition(texts=("a tree",))}, "takes no text"),
    ],
)
def test_invalid_options_are_named(kind, how, word):
    with pytest.raises(ValueError, match=word) as caught:
        built(kind).sample(**how)
    assert "\n" not in str(caught.value)


def test_ids_of_another_tokenizer_are_refused(kind):
    with pytest.raises(ValueError, match="from 0 to 5, got 0 to 6"):
        built(kind).loss(torch.tensor([[[0, 6]]]))


def test_invalid_sizes_are_named():
    for config, settings in (
        (AutoregressiveConfig, {"codebook_size": 0}),
        (MaskedConfig, {"label_smoothing": 1.0}),
        (DiffusionConfig, {"timesteps": 0}),
        (DiffusionConfig, {"stay": -1.0}),
        (DiffusionConfig, {"focus": math.nan}),
        (MaskedConfig, {"patch": 0}),
        (LatentConfig, {"grid": (6, 6)}),
        (LatentConfig, {"width": 20}),
        (LatentConfig, {"betas": (1e-4, 2e-2), "timesteps": 50}),
    ):
        with pytest.raises(ValueError, match=next(iter(settings))):
            config(**settings)


def latent_prior(prediction: str = "epsilon") -> Prior:
    pytest.importorskip("diffusers")
    torch.manual_seed(0)
    return LatentConfig(
        latent_dim=2, grid=(4, 4), width=32, factors=(1, 2), blocks=1, conditions=BOTH,
        timesteps=50, betas=(2e-3, 0.3), prediction=prediction,
    ).build()  # fmt: skip


@pytest.fixture
def latent() -> Prior:
    return latent_prior()


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_latent_diffusion_with_a_perfect_network(prediction, monkeypatch):
    prior = latent_prior(prediction).eval()
    with pytest.raises(ValueError, match="is not trained"):
        prior.sample()
    prior.mean.copy_(torch.tensor([5.0, -1.0]))
    prior.std.fill_(2.0)
    left = torch.cumprod(1 - torch.linspace(2e-3, 0.3, 50), 0)

    def knowing(noisy, time, vector, cells):
        signal = left[time][:, None, None, None].sqrt()
        size = (1 - left[time])[:, None, None, None].sqrt()
        noise = (noisy - signal * 0.3) / size  # every latent is 0.3, once scaled
        return noise if prediction == "epsilon" else signal * noise - size * 0.3

    monkeypatch.setattr(prior, "_network", knowing)
    truth = torch.tensor([5.6, -0.4])[:, None, None].expand(3, 2, 4, 4)
    assert prior.loss(truth)["denoising"].item() < 1e-8
    assert prior.loss(truth + 1)["denoising"].item() > 1e-3
    for steps in (1, 7, 50):
        seen = list(prior.sample(n=3, steps=steps, generator=seeded()))
        assert len(seen) == steps
        torch.testing.assert_close(seen[-1].ids, truth, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("steps", [1, 3, 29, 31, 37, 50])
def test_latent_diffusion_steps_lead_to_the_next_time(prediction, steps, monkeypatch):
    """The best network for Gaussian latents is known, and each step multiplies by a number. A
    network that predicts the true latents would hide the error of an earlier step."""
    prior, size = latent_prior(prediction).eval(), 0.3
    prior.std.fill_(1.0)
    left = torch.cumprod(1 - torch.linspace(2e-3, 0.3, 50, dtype=torch.float64), 0)

    def best(noisy, time, vector, cells):
        a = left[time][:, None, None, None].float()
        whole = a * size**2 + 1 - a
        noise, clean = (1 - a).sqrt() / whole * noisy, a.sqrt() * size**2 / whole * noisy
        return noise if prediction == "epsilon" else a.sqrt() * noise - (1 - a).sqrt() * clean

    monkeypatch.setattr(prior, "_network", best)
    seen = list(prior.sample(n=2, steps=steps, generator=seeded()))
    assert [(step.done, step.total) for step in seen] == [(i + 1, steps) for i in range(steps)]
    times = [50 * (steps - i) // steps - 1 for i in range(steps)]
    gain = 1.0
    for now, then in zip(times, [*times[1:], None], strict=True):
        a, b = float(left[now]), 1.0 if then is None else float(left[then])
        whole = a * size**2 + 1 - a
        gain *= (b**0.5 * a**0.5 * size**2 + (1 - b) ** 0.5 * (1 - a) ** 0.5) / whole
    start = torch.randn(2, 2, 4, 4, generator=seeded())
    torch.testing.assert_close(seen[-1].ids, gain * start, atol=1e-4, rtol=1e-3)


def test_latent_diffusion_depends_on_each_condition(latent):
    latent.eval().measure(torch.randn(8, 2, 4, 4))

    def run(condition, guidance=1.0):
        return latent.generate(condition, 2, steps=2, guidance=guidance, generator=seeded())

    plain = run(conditions_of(2))
    assert torch.equal(run(conditions_of(2)), plain)
    torch.testing.assert_close(run(conditions_of(2), 0.0), run(None), atol=1e-3, rtol=1e-2)
    label, segmentation = Condition(labels=conditions_of(2).labels), conditions_of(2).segmentation
    answers = [
        plain,
        run(conditions_of(2), 3.0),
        run(None),
        run(label),
        run(Condition(segmentation=segmentation)),
    ]
    for number, one in enumerate(answers):
        assert not any(torch.allclose(one, other) for other in answers[:number])
    terms = latent.train().loss(torch.randn(4, 2, 4, 4), conditions_of(4), seeded())
    terms["denoising"].backward()
    assert [name for name, p in latent.named_parameters() if p.grad is None] == []


def test_each_latent_has_its_own_seed(latent):
    latent.eval().measure(torch.randn(8, 2, 4, 4))
    same_alone_as_among_others(latent, steps=3, guidance=2.0)


def test_latent_diffusion_is_scaled_by_the_first_batch(latent):
    latents = 7 + 4 * torch.randn(64, 2, 4, 4)
    assert latent.loss(latents)["denoising"].item() < 3
    torch.testing.assert_close(latent.mean, latents.mean((0, 2, 3)))
    assert float(latent.std) == pytest.approx(4, rel=0.05)
    with pytest.raises(ValueError, match="takes no known"):
        latent.sample(known=torch.zeros(4, 4, dtype=torch.int64))
    with pytest.raises(ValueError, match="multiples of 2"):
        latent.sample(grid=(5, 4))
    with pytest.raises(ValueError, match="latents must be"):
        latent.loss(torch.zeros(1, 3, 4, 4))


def test_a_missing_label_is_unconditional(kind):
    prior = built(kind, (LabelConfig(classes=2),))
    missing = Condition(labels=torch.tensor([-1, -1]))
    found = prior.generate(missing, 2, generator=seeded())
    assert torch.equal(found, prior.generate(None, 2, generator=seeded()))
    assert F.one_hot(found, 6).shape[-1] == 6
