"""Where a run begins other than at random: the weights of a bundle, and which of them stay.

The authors of Reg-VQ name as a limitation that encoder and decoder share one objective, although
only the decoder needs realism (appendix C). With ``train_only decoder`` a run keeps encoder and
codes as the bundle has them, so that pictures keep their tokens, and trains the decoder alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from regvq.bundles.bundle import Bundle, find_bundle
from regvq.checkpoints import fingerprint_of, load_prior, load_tokenizer
from regvq.errors import CheckpointError
from regvq.paths import ROOT
from regvq.priors import LatentPrior, PlannedPrior, Prior, TokenPrior, kind_of
from regvq.tokenizer import Tokenizer

DISCRETE = (TokenPrior, PlannedPrior)


def start_from(tokenizer: Tokenizer, source: Path) -> None:
    """Copy the weights of the bundle (or run folder) ``source`` into ``tokenizer``.

    A relative path that is not there is looked for in the project, too. Settings that shape no
    weight (loss weights, mask ratio, ...) may differ. Raises ``CheckpointError`` if there is no
    such bundle, or with the first part that does not fit.
    """
    bundle = _found(source)
    loaded = load_tokenizer(bundle)
    mine, theirs = type(tokenizer.quantizer), type(loaded.quantizer)
    if mine is not theirs:
        raise CheckpointError(
            f"{bundle.path} does not fit this run: its quantizer is a {theirs.__name__}, the "
            f"run's a {mine.__name__}; choose that quantizer's recipe, or another --init."
        )
    have = loaded.state_dict()
    remedy = "give the run the bundle's --tokenizer settings (its config.json has them)"
    _check_shapes(bundle, have, tokenizer.state_dict(), remedy)
    tokenizer.load_state_dict(have)


def prior_from(prior: Prior, source: Path, tokenizer: Bundle) -> str | None:
    """Copy the weights of the prior's bundle (or run folder) ``source`` into ``prior``, which is to
    be trained on the tokens of ``tokenizer``.

    With the weights come its vocabulary and what it remembers of its losses. Of another kind of
    token prior, or of one that is told less, what the two have in common is taken (``_borrow``). If
    the source drew another tokenizer's tokens, that one's name is returned, else None: codes then
    have new meanings, which a retrained tokenizer's mostly have not, and the rest of the network
    knows what pictures are made of. Raises ``CheckpointError`` as ``start_from``.
    """
    bundle = _found(source)
    loaded = load_prior(bundle)
    mine, theirs = kind_of(prior.config), kind_of(loaded.config)
    have = loaded.state_dict()
    remedy = "sizes, conditions, grid and number of codes must be those of its config.json"
    if mine == theirs and not _told_more(prior, loaded):
        _check_shapes(bundle, have, prior.state_dict(), remedy)
        prior.load_state_dict(have)
    elif isinstance(prior, DISCRETE) and isinstance(loaded, DISCRETE):
        _borrow(prior, loaded, bundle)
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
            prior.std.zero_()  # the other tokenizer's latents are measured anew
    return str(about.get("name"))


def _told_more(prior: Prior, loaded: Prior) -> bool:
    """Whether a prior is told what the one it is to begin with is not, or draws a map first."""
    if not isinstance(prior, DISCRETE):
        return False
    planned = isinstance(prior, PlannedPrior) and not isinstance(loaded, PlannedPrior)
    return planned or set(prior.conditioner.kinds) > set(loaded.conditioner.kinds)


@torch.no_grad()
def _borrow(
    prior: TokenPrior | PlannedPrior, loaded: TokenPrior | PlannedPrior, bundle: Bundle
) -> None:
    """Take over what a prior of another kind knows of tokens and of how they stand together: its
    embeddings, as many layers as both have, its output weights, and each condition of its that is
    told this one, too; and how it draws a map, if both do.

    So a diffusion prior begins with an autoregressive one, which learns several times as fast, as
    language models were adapted (arXiv 2410.17891). INFERRED: how; there the masks of attention are
    opened little by little and outputs stay shifted by a token, here neither is.
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
        # A layer that comes without gates was trained with them open; new ones begin closed.
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
    """Keep encoder and quantizer as they are: no gradient, and no rule that moves codes."""
    frozen: tuple[nn.Module, ...] = (tokenizer.encoder, tokenizer.quantizer)
    for part in frozen:
        part.requires_grad_(False)
    tokenizer.quantizer.encoder_frozen = True
