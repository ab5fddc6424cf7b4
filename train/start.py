"""Where a run begins other than at random: the weights of a bundle, and which of them stay.

The authors of Reg-VQ name as a limitation that encoder and decoder share one objective, although
only the decoder needs realism (appendix C). With ``train_only decoder`` a run keeps encoder and
codes as the bundle has them, so that pictures keep their tokens, and trains the decoder alone.
"""

from __future__ import annotations

from pathlib import Path

from torch import nn

from core.checkpoints import ROOT, CheckpointError, find_bundle, load_tokenizer
from core.tokenizer import Tokenizer


def start_from(tokenizer: Tokenizer, source: Path) -> None:
    """Copy the weights of the bundle (or run folder) ``source`` into ``tokenizer``.

    A relative path that is not there is looked for in the project too. Settings that shape no
    weight (loss weights, mask ratio, ...) may differ. Raises ``CheckpointError`` if there is no
    such bundle, or with the first part that does not fit.
    """
    bundle = find_bundle(source if source.exists() else ROOT / source)
    loaded = load_tokenizer(bundle)
    mine, theirs = type(tokenizer.quantizer), type(loaded.quantizer)
    if mine is not theirs:
        raise CheckpointError(
            f"{bundle.path} does not fit this run: its quantizer is a {theirs.__name__}, the "
            f"run's a {mine.__name__}; choose that quantizer's recipe, or another --init."
        )
    have, want = loaded.state_dict(), tokenizer.state_dict()
    for name in [*want, *have]:
        there, here = (
            tuple(state[name].shape) if name in state else "none" for state in (have, want)
        )
        if there != here:
            raise CheckpointError(
                f"{bundle.path} does not fit this run: {name} is {there} there and {here} here; "
                "give the run the bundle's --tokenizer settings (its config.json has them)."
            )
    tokenizer.load_state_dict(have)


def freeze_tokens(tokenizer: Tokenizer) -> None:
    """Keep encoder and quantizer as they are: no gradient, and no rule that moves codes."""
    frozen: tuple[nn.Module, ...] = (tokenizer.encoder, tokenizer.quantizer)
    for part in frozen:
        part.requires_grad_(False)
    tokenizer.quantizer.encoder_frozen = True
