"""Runs that are initialized from a bundle, and the parts of it that remain fixed.

The authors of Reg-VQ name as a limitation that encoder and decoder share one objective, although
only the decoder needs realism (appendix C). With ``train_only decoder``, encoder and codes remain
those of the bundle, so that pictures keep their tokens, and only the decoder is trained.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor, nn

from regvq.bundles.bundle import Bundle, find_bundle
from regvq.checkpoints import fingerprint_of, load_prior, load_tokenizer
from regvq.distributed import copy_of_first
from regvq.errors import CheckpointError
from regvq.paths import ROOT
from regvq.priors import LatentPrior, PlannedPrior, Prior, TokenPrior, kind_of
from regvq.quantizers.base import to_rows
from regvq.quantizers.ops import kmeans
from regvq.tokenizer import Tokenizer

DISCRETE = (TokenPrior, PlannedPrior)
LATENTS_PER_CODE = 12
"""Latents per code, on average, of which k-means makes the codes."""
KMEANS_ROUNDS = 8
"""Rounds of k-means, after which the centers hardly move."""


def start_from(tokenizer: Tokenizer, source: Path, codes: bool = True) -> None:
    """Copy the weights of the bundle (or run folder) ``source`` into ``tokenizer``; without
    ``codes``, only those of encoder and decoder.

    A relative path that does not exist is also searched in the project's folder. Settings that
    determine no weight's shape (loss weights, mask ratio, …) may differ, and those of the run hold:
    Reg-VQ's prior over codes, too, which is stored with the weights. Raises CheckpointError,
    which names the first part that does not fit, or if there is no such bundle.
    """
    bundle = _found(source)
    loaded = load_tokenizer(bundle)
    if loaded.config.value_range != tokenizer.config.value_range:
        raise CheckpointError(
            f"{bundle.path} does not fit this run: its value range is {loaded.config.value_range}, "
            f"the run's is {tokenizer.config.value_range}; use the recipe finetune, which takes "
            "the bundle's."
        )
    remedy = (
        "use the bundle's --tokenizer settings, which are in its config.json, or the recipe "
        "finetune, which takes them"
    )
    mine, theirs = type(tokenizer.quantizer), type(loaded.quantizer)
    if codes and mine is not theirs:
        raise CheckpointError(
            f"{bundle.path} does not fit this run: its quantizer is a {theirs.__name__}, the "
            f"run's is a {mine.__name__}; choose that quantizer's recipe, or another --init."
        )
    set_by_config = {f"quantizer.{name}" for name in tokenizer.quantizer.set_by_config}

    def is_own(name: str) -> bool:
        """Return True if the run keeps its own value."""
        return name in set_by_config or (not codes and name.startswith("quantizer."))

    have = {name: value for name, value in loaded.state_dict().items() if not is_own(name)}
    kept = tokenizer.state_dict()
    want = {name: value for name, value in kept.items() if not is_own(name)}
    _check_shapes(bundle, have, want, remedy)
    tokenizer.load_state_dict(kept | have)


@torch.no_grad()
def codes_from_latents(tokenizer: Tokenizer, batches: Iterator[Tensor]) -> None:
    """Set the codes to k-means centers of the latents of pictures, initialized with random latents.

    Takes as many ``batches`` (B, 3, S, S) as give ``LATENTS_PER_CODE`` latents per code. Raises
    CheckpointError for a quantizer whose codes are not points among the latents.
    """
    first = next(batches)
    size = tokenizer.codebook_size
    rows = [to_rows(tokenizer.latents(first))]
    further = -(-size * LATENTS_PER_CODE // len(rows[0])) - 1
    rows += [to_rows(tokenizer.latents(images)) for images in islice(batches, further)]
    pool = torch.cat(rows)
    picks = torch.randperm(len(pool), generator=torch.Generator().manual_seed(0))[:size]
    # As where a VQ codebook starts on latents: sums on a GPU may differ between processes.
    centers = copy_of_first(kmeans(pool, pool[picks.to(pool.device)], KMEANS_ROUNDS))
    try:
        tokenizer.quantizer.initialize_codes(centers)
    except ValueError as error:
        raise CheckpointError(f"{error}; set codes_from to init.") from None


def prior_from(prior: Prior, source: Path, tokenizer: Bundle) -> str | None:
    """Copy the weights of the prior's bundle (or run folder) ``source`` into ``prior``, which will
    be trained on the tokens of ``tokenizer``.

    The vocabulary and the statistics of the losses are copied with the weights. From another kind
    of token prior, or from one with fewer conditions, the parts that both have are copied
    (``_copy_shared``).

    Returns the name of the source's tokenizer if it is another one than ``tokenizer``, else None.
    Codes then have new meanings (mostly not, if the tokenizer was only retrained), but the rest of
    the network is still a useful initialization. Raises CheckpointError as ``start_from``.
    """
    bundle = _found(source)
    loaded = load_prior(bundle)
    mine, theirs = kind_of(prior.config), kind_of(loaded.config)
    have = loaded.state_dict()
    remedy = "sizes, conditions, grid and number of codes must be those of its config.json"
    if mine == theirs and not _has_more_conditions(prior, loaded):
        _check_shapes(bundle, have, prior.state_dict(), remedy)
        prior.load_state_dict(have)
    elif isinstance(prior, DISCRETE) and isinstance(loaded, DISCRETE):
        _copy_shared(prior, loaded, bundle)
    else:
        raise CheckpointError(
            f"{bundle.path} does not fit this run: its kind is {theirs}, the run's is {mine}; "
            "choose that kind's recipe, or another --init."
        )
    about = bundle.config.get("tokenizer", {})
    if about.get("fingerprint") == fingerprint_of(tokenizer):
        return None
    if isinstance(prior, LatentPrior):
        with torch.no_grad():
            prior.std.zero_()  # measured again, on the latents of this tokenizer
    return str(about.get("name"))


def _has_more_conditions(prior: Prior, loaded: Prior) -> bool:
    """Return True if ``prior`` has conditions that ``loaded`` lacks, or draws a map first and
    ``loaded`` does not."""
    if not isinstance(prior, DISCRETE):
        return False
    planned = isinstance(prior, PlannedPrior) and not isinstance(loaded, PlannedPrior)
    return planned or set(prior.conditioner.kinds) > set(loaded.conditioner.kinds)


@torch.no_grad()
def _copy_shared(
    prior: TokenPrior | PlannedPrior, loaded: TokenPrior | PlannedPrior, bundle: Bundle
) -> None:
    """Copy the parts that two token priors of different kinds share: embeddings, as many layers as
    both have, output weights, the conditions of both, and the part that draws maps if both have it.

    So a diffusion prior can be initialized from an autoregressive one, which learns several times
    as fast; language models were adapted in this way (arXiv 2410.17891). INFERRED: the procedure;
    in that paper the attention masks are opened gradually and outputs remain shifted by a token,
    here neither is done.
    """
    have, want = loaded.state_dict(), prior.state_dict()
    taken = {name: have[name] for name in want if name in have}
    mine, theirs = prior.network, loaded.network
    remedy = "width, heads, grid, patch, number of codes and conditions of both must be the same"
    if mine.transformer.config.heads != theirs.transformer.config.heads:
        raise CheckpointError(f"{bundle.path} does not fit this run: {remedy}.")
    _check_shapes(bundle, taken, {name: want[name] for name in taken}, remedy)
    prior.load_state_dict(want | taken)
    if mine.transformer.config.modulated and not theirs.transformer.config.modulated:
        # A layer without gates was trained as if they were open; new gates are closed at first.
        for block, _ in zip(mine.transformer.blocks, theirs.transformer.blocks, strict=False):
            block.modulation[[2, 5]] = 1


def _found(source: Path) -> Bundle:
    return find_bundle(source if source.exists() else ROOT / source)


def _check_shapes(
    bundle: Bundle, have: Mapping[str, Tensor], want: Mapping[str, Tensor], remedy: str
) -> None:
    for name in [*want, *have]:
        there, here = (
            tuple(state[name].shape) if name in state else "none" for state in (have, want)
        )
        if there != here:
            raise CheckpointError(
                f"{bundle.path} does not fit this run: {name} is {there} there and {here} here; "
                f"{remedy}."
            )


def freeze_tokens(tokenizer: Tokenizer) -> None:
    """Freeze encoder and quantizer: no gradient, and no rule that moves codes."""
    frozen: tuple[nn.Module, ...] = (tokenizer.encoder, tokenizer.quantizer)
    for part in frozen:
        part.requires_grad_(False)
    tokenizer.quantizer.encoder_frozen = True
