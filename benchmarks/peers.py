"""The methods of ``lookup.py``: functions that build a method and return one call of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from train.cli.common import extra_peak

Call = Callable[[], Any]
Build = Callable[[Any, int], Call]  # (latents (B, D, 16, 16), K) -> one call


def measure(job: dict) -> dict:
    """Return the milliseconds of the fastest call, and the extra peak memory of the first in MB.

    After the first call up to ``repeats`` more follow, but none after ``seconds``.
    """
    import torch

    torch.set_num_threads(job["threads"])
    device = torch.device(job["device"])
    build = METHODS[job["task"]][job["method"]]
    for rows, size in ((256, 64), (job["rows"], job["size"])):  # the small case loads the libraries
        torch.manual_seed(0)
        z = torch.randn(rows // 256, job["dim"], 16, 16, device=device)
        call = build(z, size)
        if size == 64:
            call()
    started = time.perf_counter()
    extra = _extra_memory(call, device)
    times = [time.perf_counter() - started]
    while len(times) <= job["repeats"] and sum(times) < job["seconds"]:
        started = time.perf_counter()
        call()
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - started)
    return {"ms": 1e3 * min(times), "extra_mb": extra / 1e6, "calls": len(times)}


def _extra_memory(call: Call, device: Any) -> float:
    """Return the bytes by which a call raises the peak of memory over the use before it."""
    import torch

    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        call()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    return extra_peak(call)


# Lookup: ids of the nearest codes.


def _rows(z: Any) -> Any:
    return z.permute(0, 2, 3, 1).reshape(-1, z.shape[1])


def _codes(z: Any, size: int) -> Any:
    import torch

    return torch.randn(size, z.shape[1], device=z.device) * z.shape[1] ** -0.5


def lookup_ours(z: Any, size: int) -> Call:
    """Build ``core.quantizers.tiled.lookup.nearest_code``."""
    from core.quantizers.tiled.lookup import nearest_code

    rows, codes = _rows(z), _codes(z, size)
    return lambda: nearest_code(rows, codes)


def lookup_plain(z: Any, size: int) -> Call:
    """Build the same lookup without the Triton kernel, its reference on a GPU."""
    import torch

    from core.quantizers.tiled.lookup import plain_best_code

    rows, codes = _rows(z), _codes(z, size)

    def call() -> Any:
        with torch.no_grad():
            return plain_best_code(rows, codes, -0.5 * codes.square().sum(1))

    return call


def lookup_textbook(z: Any, size: int) -> Call:
    """Build the formula of taming-transformers and the projects derived from it."""
    import torch
    from textbook import distances

    rows, codes = _rows(z), _codes(z, size)

    def call() -> Any:
        with torch.no_grad():
            return distances(rows, codes).argmin(1)

    return call


def lookup_diffusers(z: Any, size: int) -> Call:
    """Build diffusers' VectorQuantizer, forward without gradient."""
    import torch
    from diffusers.models.autoencoders.vae import VectorQuantizer

    module = VectorQuantizer(size, z.shape[1], beta=0.25, legacy=False).to(z.device)

    def call() -> Any:
        with torch.no_grad():
            return module(z)

    return call


def lookup_lucidrains(z: Any, size: int) -> Call:
    """Build vector-quantize-pytorch's VectorQuantize in eval mode."""
    import torch
    from vector_quantize_pytorch import VectorQuantize

    module = VectorQuantize(dim=z.shape[1], codebook_size=size).to(z.device).eval()
    rows = _rows(z)[None]

    def call() -> Any:
        with torch.no_grad():
            return module(rows)

    return call


# Training: forward, backward and the quantizer's own update rules.


def _step(z: Any, module: Any, forward: Callable[[Any], tuple[Any, Any]]) -> Call:
    """Return a training step; ``forward(leaf)`` returns the decoder's input and the loss."""
    import torch

    towards = torch.randn_like(z)

    def call() -> None:
        leaf = z.clone().requires_grad_()
        for parameter in module.parameters():
            parameter.grad = None
        out, loss = forward(leaf)
        ((out * towards).sum() + loss).backward()

    return call


def own_config(name: str, size: int) -> Any:
    """Return the config of this project's quantizer ``name``, of about ``size`` codes."""
    from textbook import FSP_LEVELS

    from core.analysis.lab.training import even_levels
    from core.quantizers import QUANTIZERS, FSPConfig

    if name == "fsp":  # its codes are combinations of levels
        return FSPConfig(levels=even_levels(size, FSP_LEVELS))
    return QUANTIZERS[name](size=size)


def train_ours(name: str) -> Build:
    """Return the builder of this project's quantizer ``name``."""

    def build(z: Any, size: int) -> Call:
        module = own_config(name, size).build(z.shape[1]).to(z.device)

        def forward(leaf: Any) -> tuple[Any, Any]:
            out = module(leaf)
            module.update(leaf.detach(), out.ids)
            return out.z, sum(out.losses.values())

        return _step(z, module, forward)

    return build


def train_textbook(name: str) -> Build:
    """Return the builder of the textbook formulas of the quantizer ``name``."""

    def build(z: Any, size: int) -> Call:
        import textbook

        module = textbook.build(name, size, z.shape[1], z.device)

        def forward(leaf: Any) -> tuple[Any, Any]:
            out, loss = textbook.FORMS[name](module, _rows(leaf))
            batch, dim, height, width = leaf.shape
            return out.view(batch, height, width, dim).permute(0, 3, 1, 2), loss

        return _step(z, module, forward)

    return build


def train_diffusers(z: Any, size: int) -> Call:
    """Build diffusers' VectorQuantizer."""
    from diffusers.models.autoencoders.vae import VectorQuantizer

    module = VectorQuantizer(size, z.shape[1], beta=0.25, legacy=False).to(z.device)
    return _step(z, module, lambda leaf: module(leaf)[:2])


def train_lucidrains(kind: str) -> Build:
    """Return the builder of vector-quantize-pytorch's VectorQuantize or SimVQ."""

    def build(z: Any, size: int) -> Call:
        import vector_quantize_pytorch as peer

        module = getattr(peer, kind)(dim=z.shape[1], codebook_size=size).to(z.device)

        def forward(leaf: Any) -> tuple[Any, Any]:
            out, _, loss = module(leaf.flatten(2).transpose(1, 2))
            return out.transpose(1, 2).view(leaf.shape), loss.sum()

        return _step(z, module, forward)

    return build


# Several codes per place, and codes of signs: the same work by both libraries.

LEVELS = 4
"""Levels of residual codes, and groups of product codes."""
PAIRS = ("residual", "product", "bsq")


def _our_codes(kind: str, z: Any, size: int) -> Any:
    from core.quantizers import BSQConfig, ProductConfig, ResidualConfig, VQConfig

    base = VQConfig(size=size, codebook="ema", beta=1.0, decay=0.8)
    config = {
        "residual": lambda: ResidualConfig(base, levels=LEVELS),
        "product": lambda: ProductConfig(base, groups=LEVELS),
        # The entropy over all codes, as in vector-quantize-pytorch
        "bsq": lambda: BSQConfig(size=size, group=size.bit_length() - 1, commitment=0.25),
    }[kind]()
    return config.build(z.shape[1]).to(z.device)


def _their_codes(kind: str, z: Any, size: int) -> Any:
    import vector_quantize_pytorch as peer

    dim = z.shape[1]
    shared = {"codebook_size": size, "rotation_trick": False}
    return {
        "residual": lambda: peer.ResidualVQ(dim=dim, num_quantizers=LEVELS, **shared),
        "product": lambda: peer.GroupedResidualVQ(
            dim=dim, num_quantizers=1, groups=LEVELS, **shared
        ),
        "bsq": lambda: peer.LFQ(dim=dim, codebook_size=size, spherical=True),
    }[kind]().to(z.device)


def codes_ours(kind: str) -> Build:
    """Return the builder of our ids of residual, product or sign codes, in eval mode."""

    def build(z: Any, size: int) -> Call:
        import torch

        module = _our_codes(kind, z, size).eval()

        def call() -> Any:
            with torch.no_grad():
                return module(z)

        return call

    return build


def codes_lucidrains(kind: str) -> Build:
    """Return the builder of the same by vector-quantize-pytorch."""

    def build(z: Any, size: int) -> Call:
        import torch

        module, rows = _their_codes(kind, z, size).eval(), z.flatten(2).transpose(1, 2)

        def call() -> Any:
            with torch.no_grad():
                return module(rows)

        return call

    return build


def train_codes_ours(kind: str) -> Build:
    """Return the builder of a training step of our residual, product or sign codes."""

    def build(z: Any, size: int) -> Call:
        module = _our_codes(kind, z, size)

        def forward(leaf: Any) -> tuple[Any, Any]:
            out = module(leaf)
            module.update(leaf.detach(), out.ids)
            return out.z, sum(out.losses.values())

        return _step(z, module, forward)

    return build


def train_codes_lucidrains(kind: str) -> Build:
    """Return the builder of the same by vector-quantize-pytorch."""

    def build(z: Any, size: int) -> Call:
        module = _their_codes(kind, z, size)

        def forward(leaf: Any) -> tuple[Any, Any]:
            out, _, loss = module(leaf.flatten(2).transpose(1, 2))
            return out.transpose(1, 2).reshape(leaf.shape), loss.sum()

        return _step(z, module, forward)

    return build


def _pairs(ours: Callable[[str], Build], theirs: Callable[[str], Build]) -> dict[str, Build]:
    return {
        name: build
        for kind in PAIRS
        for name, build in (
            (f"regvq-studio {kind}", ours(kind)),
            (f"vector-quantize-pytorch {kind}", theirs(kind)),
        )
    }


OWN = ("vq", "simvq", "regvq", "nsvq", "gumbel", "ibq", "lfq", "bsq", "diveq", "fsp")
METHODS: dict[str, dict[str, Build]] = {
    "lookup": {
        "regvq-studio": lookup_ours,
        "regvq-studio, plain": lookup_plain,
        "textbook": lookup_textbook,
        "diffusers VectorQuantizer": lookup_diffusers,
        "vector-quantize-pytorch": lookup_lucidrains,
    },
    "training": {
        **{f"regvq-studio {name}": train_ours(name) for name in OWN},
        **{f"textbook {name}": train_textbook(name) for name in OWN},
        "diffusers VectorQuantizer": train_diffusers,
        "vector-quantize-pytorch VectorQuantize": train_lucidrains("VectorQuantize"),
        "vector-quantize-pytorch SimVQ": train_lucidrains("SimVQ"),
    },
    "codes": _pairs(codes_ours, codes_lucidrains),
    "training-codes": _pairs(train_codes_ours, train_codes_lucidrains),
}
