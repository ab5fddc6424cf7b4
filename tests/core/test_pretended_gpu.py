"""Quantizers, tokenizers and samplers on a pretended GPU: no tensor on the wrong device, no wait.

Nothing has a value there (``tests.helpers.pretended_gpu``), so that a read of one is an error, but
for those that a test names.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import DynamicOutputShapeException

from core.conditions import Condition, LabelConfig, SemanticConfig, TextConfig
from core.networks.autoencoder import NetworkConfig
from core.networks.vqgan import VQGANConfig
from core.priors import (
    AutoregressiveConfig,
    DiffusionConfig,
    LatentConfig,
    LayoutConfig,
    MaskedConfig,
    Prior,
    network,
)
from core.priors.options import SamplingOptions
from core.quantizers import (
    QUANTIZERS,
    BSQConfig,
    DiVeQConfig,
    FSQConfig,
    LeveledQuantizer,
    LevelsConfig,
    NSVQConfig,
    ProductConfig,
    RegVQConfig,
    ResidualConfig,
    SimVQConfig,
    VQConfig,
)
from core.quantizers.base import to_rows
from core.tokenizer import Tokenizer, TokenizerConfig
from tests.helpers.pretended_gpu import CUDA, on_gpu, pretended_gpu

SIZE, DIM = 32, 8
EMA = VQConfig(size=SIZE, codebook="ema", restart_below=0.1)
KINDS = {
    **{
        name: kind() if issubclass(kind, FSQConfig) else kind(size=SIZE)
        for name, kind in QUANTIZERS.items()
    },
    "vq, averages and restart": EMA,
    "vq, restart": VQConfig(size=SIZE, restart_below=0.1),
    "vq, cosine, k-means, rotation": VQConfig(
        size=SIZE, distance="cosine", start="kmeans", estimator="rotation"
    ),
    "simvq, rotation": SimVQConfig(size=SIZE, estimator="rotation"),
    "regvq, head, image": RegVQConfig(size=SIZE, posterior="head", prior_scope="image"),
    "regvq, gaussian": RegVQConfig(size=SIZE, prior="gaussian"),
    "nsvq, drawn": NSVQConfig(size=SIZE, mask_ratio=0.5, epoch=1000),
    "bsq, joint": BSQConfig(size=SIZE, group=5, commitment=0.25),
    "residual": ResidualConfig(EMA, levels=3),
    "residual, shared, beam": ResidualConfig(EMA, levels=3, shared=True, beam=2),
    "residual, dropout": ResidualConfig(VQConfig(size=SIZE), levels=3, dropout=0.5),
    "residual, regvq": ResidualConfig(RegVQConfig(size=SIZE), levels=2),
    "product": ProductConfig(EMA, groups=2),
    "product of residual": ProductConfig(ResidualConfig(EMA, levels=2), groups=2),
}
ONCE = {"core/quantizers/vq.py:forward": 1, "core/quantizers/vq.py:_restart": 5,
        "core/quantizers/nsvq.py:update": 5, "core/quantizers/diveq.py:update": 5}  # fmt: skip
"""Flags and counts that are read in the first step, and known from then on."""
DROPPED = {"core/quantizers/residual.py:_count": [0.9, 0.5] * 9}


def generator() -> torch.Generator:
    return torch.Generator(CUDA).manual_seed(1)


def on_cuda(*tensors: Tensor) -> bool:
    return all(x.device == CUDA for x in tensors)


@pytest.mark.parametrize("name", KINDS)
def test_a_training_step_of_a_quantizer_reads_nothing(name: str) -> None:
    with pretended_gpu(ONCE | DROPPED) as reads:
        quantizer = on_gpu(KINDS[name].build(DIM)).train()
        for step in range(3):
            quantizer.schedule(step / 3)
            z = torch.randn(2, DIM, 4, 4, device=CUDA, requires_grad=True)
            out = quantizer(z, generator=generator())
            (out.z.sum() + sum(out.losses.values())).backward()
            assert on_cuda(out.z, out.ids, z.grad, *out.losses.values())
            if name != "residual, dropout":
                quantizer.update(z.detach(), out.ids)
            if not step:
                assert set(reads.counts) <= set(ONCE)
                reads.counts.clear()
        assert not reads.counts
        learned = [p for p in quantizer.parameters() if p.requires_grad]
        assert on_cuda(*(p.grad for p in learned if p.grad is not None))


@pytest.mark.parametrize(
    "config", [NSVQConfig(size=SIZE, epoch=2), DiVeQConfig(size=SIZE, replace_every=2)]
)
def test_uses_are_copied_once_at_the_end_of_an_epoch(config: Any) -> None:
    place = f"core/quantizers/{type(config).__name__.lower().removesuffix('config')}.py:update"
    with pretended_gpu({place: 0}) as reads:
        quantizer = on_gpu(config.build(DIM)).train()
        z = torch.randn(2, DIM, 4, 4, device=CUDA)
        ids = quantizer.assign(z)
        quantizer.update(z, ids)
        reads.counts.clear()  # the number of updates, which is known now
        with pytest.raises(DynamicOutputShapeException):  # of a copy on the CPU
            quantizer.update(z, ids)
    assert reads.counts == {place: 1}


@pytest.mark.parametrize("name", KINDS)
def test_a_quantizer_in_eval_mode_reads_nothing(name: str) -> None:
    seed = {"core/quantizers/tiled/lookup.py:draw_seed": 7}  # without a generator, of the CPU's
    with pretended_gpu(DROPPED | seed) as reads:
        quantizer = on_gpu(KINDS[name].build(DIM)).eval()
        z = torch.randn(2, DIM, 4, 4, device=CUDA)
        ids = quantizer.assign(z)
        codes, out = quantizer.embed(ids), quantizer(z)
        drawn = quantizer(z, mask_ratio=0.5, generator=generator())
        assert on_cuda(ids, codes, out.z, out.ids, drawn.z, drawn.ids)
        assert codes.shape == z.shape and out.ids.shape == ids.shape
        if isinstance(quantizer, LeveledQuantizer):
            assert on_cuda(*quantizer.level_codebooks())
        else:
            assert on_cuda(quantizer.codebook(), quantizer.log_posterior(to_rows(z)))
        assert not reads.counts


@pytest.mark.parametrize("levels", [1, 3])
@pytest.mark.parametrize("network", ["ours", "vqgan"])
def test_a_tokenizer_encodes_and_decodes(network: str, levels: int) -> None:
    nets = {
        "ours": NetworkConfig(widths=(8, 16), latent_dim=DIM, attention=True, last_width=8),
        "vqgan": VQGANConfig(widths=(32, 32), latent_dim=DIM, blocks=1, attention_levels=()),
    }
    config = TokenizerConfig(nets[network], RegVQConfig(size=SIZE))
    if levels > 1:
        config = TokenizerConfig(nets[network], EMA, levels=LevelsConfig(residual=levels))
    one = "core/tokenizer.py:check_ids"
    with pretended_gpu({one: [0, 5]}) as reads, torch.autocast("cuda", torch.bfloat16):
        tokenizer = on_gpu(Tokenizer(config)).eval()
        images = torch.rand(2, 3, 22, 16, device=CUDA)
        ids = tokenizer.encode(images)
        assert on_cuda(ids, tokenizer.reconstruct(images, mask_ratio=0.5, generator=generator()))
        assert not reads.counts
        assert on_cuda(tokenizer.decode(ids))
    # One check of the ids, whose two numbers a GPU sends in one copy.
    assert reads.counts == {one: 2}


TEXT = TextConfig(width=16, layers=1, heads=2, context=12, vocabulary=30)
CONDITIONS = (TEXT, SemanticConfig(classes=4, width=8), LabelConfig(classes=3))
SMALL: dict[str, Any] = {"codebook_size": SIZE, "grid": (2, 2), "width": 16, "layers": 2,
                         "heads": 2, "conditions": CONDITIONS}  # fmt: skip
PRIORS = {
    "autoregressive": AutoregressiveConfig(**SMALL),
    "autoregressive, levels": AutoregressiveConfig(**SMALL, levels=3),
    "masked": MaskedConfig(**SMALL),
    "masked, levels": MaskedConfig(**SMALL, levels=3),
    "masked, patches": MaskedConfig(**SMALL, patch=2),
    "diffusion": DiffusionConfig(**SMALL, timesteps=3),
    "diffusion, stay": DiffusionConfig(**SMALL, timesteps=3, stay=20, focus=4),
    "planned": MaskedConfig(**SMALL, layout=LayoutConfig(16, 1, 2)),
    "latent": LatentConfig(latent_dim=DIM, grid=(2, 2), width=32, factors=(1, 2), blocks=1,
                           conditions=CONDITIONS),
    "latent, velocity": LatentConfig(latent_dim=DIM, grid=(2, 2), width=32, factors=(1,), blocks=1,
                                     prediction="v_prediction"),
}  # fmt: skip
FEWER = {"latent": ("plain", "guided, top-k"), "latent, velocity": ("plain",),
         "masked, patches": ("plain",), "diffusion, stay": ("plain",)}  # fmt: skip
"""Fewer ways to sample where they would be those of another prior, or ignored."""
WORDS = ("a lake below mountains", "a house among trees")


def built(name: str) -> Prior[Any]:
    """Return a prior with a vocabulary, built with values; its weights are moved afterwards."""
    prior = PRIORS[name].build()
    prior.learn_vocabulary(WORDS)
    for part in prior.modules():
        if hasattr(part, "_row_of_token"):
            part._row_of_token()  # read once, from weights that still have values
    return prior


def levels_of(prior: Prior[Any]) -> int:
    return getattr(prior.config, "levels", 1)


def condition_of(prior: Prior[Any]) -> Condition | None:
    if not prior.config.conditions:
        return None
    maps = torch.randint(4, (2, 2, 2), device=CUDA)
    return Condition(WORDS, maps, torch.randint(3, (2,), device=CUDA))


def tokens_of(prior: Prior[Any]) -> Tensor:
    if isinstance(prior.config, LatentConfig):
        return torch.randn(2, DIM, 2, 2, device=CUDA)
    shape = (2, 2, 2) if prior.config.levels == 1 else (2, prior.config.levels, 2, 2)
    return torch.randint(SIZE, shape, device=CUDA)


@pytest.mark.parametrize("name", PRIORS)
def test_a_training_step_of_a_prior_reads_nothing(name: str) -> None:
    prior = built(name)
    # The numbers of masked tokens are drawn on the CPU; an answer for each level.
    levels = levels_of(prior)
    answers = {"core/priors/masked.py:_loss": [2] * levels * 2, "core/priors/latent.py:forward": 1}
    with pretended_gpu(answers) as reads:
        on_gpu(prior).train()
        for step in range(2):
            with torch.autocast("cuda", torch.bfloat16):
                losses = prior(tokens_of(prior), condition_of(prior), generator())
            sum(loss for term, loss in losses.items() if not term.endswith("bits")).backward()
            assert on_cuda(*losses.values())
            if not step:  # the tables of a process, and the scale of latents
                reads.counts.clear()
    assert not reads.counts


HOW: dict[str, dict[str, Any]] = {
    "plain": {},
    "guided, top-k": {"guidance": 2.0, "top_k": 5, "temperature": 0.7},
    "top-p, a generator each": {"top_p": 0.9, "each": True},
    "greedy": {"temperature": 0.0},
}
ENDED = {"core/priors/categorical.py:check": True}
"""The logits of a sampling are looked at once, at its end."""


@pytest.mark.parametrize(
    ("name", "how"), [(name, how) for name in PRIORS for how in FEWER.get(name, HOW)]
)
def test_a_sampler_reads_one_value(name: str, how: str) -> None:
    prior, options = built(name), dict(HOW[how])
    latent, drawn_map = isinstance(prior.config, LatentConfig), prior.draws_layout
    scale = {"core/priors/latent.py:sample": 1}
    with pretended_gpu(ENDED | scale) as reads:
        on_gpu(prior).eval()
        condition = condition_of(prior)
        if condition is not None:  # checked where it comes from, not here
            condition = Condition(condition.texts, None if drawn_map else condition.segmentation)
        each = [torch.Generator().manual_seed(n) for n in range(2)]
        options["steps"] = None if name.startswith("autoregressive") else 2 + levels_of(prior)
        options["generator"] = each if options.pop("each", False) else generator()
        resolved = prior._resolved(SamplingOptions(n=2, **options))
        steps = list(prior._sample(condition, resolved))
        assert on_cuda(*(step.ids for step in steps)) and steps[-1].done == steps[-1].total
    if latent:
        assert not reads.counts
    else:
        assert reads.counts == {"core/priors/categorical.py:check": 1 + drawn_map}


@pytest.mark.parametrize(
    "name", ["autoregressive", "autoregressive, levels", "masked", "masked, levels", "diffusion"]
)
def test_known_ids_are_read_before_the_first_step(name: str) -> None:
    prior = built(name)
    levels = prior.config.levels
    answers = ENDED | {
        "core/priors/token_prior.py:_with_known": [-1, 5],
        "core/priors/autoregressive.py:sample_autoregressive": [True, False, False, False],
        "core/priors/masked.py:sample_masked": [2] * levels,
    }
    with pretended_gpu(answers) as reads:
        on_gpu(prior).eval()
        steps = prior.sample(known=tokens_of(prior)[0], n=2, generator=generator())
        next(steps)
        before = dict(reads.counts)
        assert list(steps)[-1].done
    del before["core/priors/token_prior.py:_with_known"]
    assert set(before) <= {f"core/priors/{kind}.py:sample_{kind}"
                           for kind in ("autoregressive", "masked")}  # fmt: skip
    reads.counts -= {**before, "core/priors/token_prior.py:_with_known": 2}
    assert reads.counts == {"core/priors/categorical.py:check": 1}


@pytest.mark.parametrize("plain", ["0", "1"])
def test_the_cached_decoder_runs_with_and_without_fast_paths(
    plain: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The decoder of fixed shapes, which a graph replays, and its plain twin."""
    monkeypatch.setenv("REGVQ_PLAIN", plain)
    prior, made = built("autoregressive"), []
    kinds = (network.GraphDecoder, network.IncrementalDecoder)
    for kind in kinds:
        watched = lambda *a, kind=kind, **k: made.append(kind) or kind(*a, **k)  # noqa: E731
        monkeypatch.setattr(network, kind.__name__, watched)
    with pretended_gpu(ENDED):
        on_gpu(prior).eval()
        assert on_cuda(prior.generate(n=2, generator=generator()))
    assert made == [kinds[int(plain)]]
