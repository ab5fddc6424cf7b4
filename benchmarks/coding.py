"""Encoding and decoding beside diffusers' VQModel of the same number of weights.

``python benchmarks/run.py --only coding`` measures both in turns, in float32, on pictures of
several sizes: from pictures to ids, and from ids to pictures.
"""

from __future__ import annotations

from typing import Any

from clock import in_turns
from pages import table
from peer_networks import own_config, vq_model, weights

PAGE = ((64, 8), (128, 1), (128, 8), (256, 1), (512, 1))
"""Side of the pictures and pictures per call."""


def measure(tiny: bool = False) -> list[dict[str, Any]]:
    """Return a row per task, size and batch."""
    import torch

    from core.tokenizer import Tokenizer

    torch.manual_seed(0)
    ours = Tokenizer(own_config(8)).eval().requires_grad_(False)
    theirs = vq_model(8).eval().requires_grad_(False)
    sizes = {
        "weights": weights(ours.encoder, ours.decoder),
        "their_weights": weights(theirs.encoder, theirs.decoder),
    }
    rows = []
    for side, batch in ((16, 1),) if tiny else PAGE:
        images = torch.rand(batch, 3, side, side) * 2 - 1
        ids = ours.encode(images)

        def encode(images: Any = images) -> Any:
            with torch.no_grad():
                return theirs.quantize(theirs.encode(images).latents)[2][2]

        def decode(ids: Any = ids) -> Any:
            shape = (*ids.shape, theirs.config.vq_embed_dim)
            with torch.no_grad():
                codes = theirs.quantize.get_codebook_entry(ids.flatten(), shape)
                return theirs.decode(codes, force_not_quantize=True).sample

        assert encode().numel() == ids.numel()
        assert decode().shape == images.shape
        for task, own, peer in (
            ("encode", lambda x=images: ours.encode(x), encode),
            ("decode", lambda x=ids: ours.decode(x), decode),
        ):
            found = in_turns({"ours": own, "theirs": peer}, seconds=0 if tiny else 4)
            rows.append(
                {"task": task, "pixels": side, "pictures": batch, "ms": found["ours"],
                 "their_ms": found["theirs"], "times": found["theirs"] / found["ours"], **sizes}
            )  # fmt: skip
    return rows


def tables(rows: list[dict[str, Any]]) -> str:
    """Return the Markdown of the figures."""
    first = rows[0]
    columns = {
        "task": "", "pixels": "pixels", "pictures": "pictures", "ms": "ms: regvq-studio",
        "their_ms": "ms: diffusers' VQModel", "times": "times as fast",
    }  # fmt: skip
    return (
        f"{table(columns, rows)}\n\nBoth have 1,024 codes and 64 pixels per code; "
        f"{first['weights']:,} weights here, {first['their_weights']:,} in VQModel."
    )
