"""A published checkpoint as a Tokenizer: its family, its sizes, its weights under our names."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import CheckpointError
from ..metrics.value_range import Range, range_warning
from ..networks.vqgan import VQGANConfig
from ..tokenizer import Tokenizer, TokenizerConfig
from .archives import open_weights
from .described import Described, read_described
from .families import IBQ, NEAREST, TAMING, Family, family_of
from .names import join_attention
from .shapes import network_of, quantizer_of
from .state import select_state

WEIGHTS = (".safetensors", ".ckpt", ".pt", ".pth", ".bin")
_PREFERRED = ("diffusion_pytorch_model", "model", "pytorch_model")


@dataclass(frozen=True)
class Imported:
    """A tokenizer read from a published checkpoint, and what its card says of it."""

    tokenizer: Tokenizer
    family: Family
    file: Path
    sha256: str
    license: str | None
    """As the folder's own README states it; None if it states none."""
    half: bool
    """True if all weights were in half precision, so that a bundle in float16 loses nothing."""
    notes: tuple[str, ...]
    """Choices that were made, and doubts, a phrase each."""


def convert(
    source: Path,
    config: Path | None = None,
    value_range: Range | None = None,
    quantizer: str | None = None,
    ema: bool | None = None,
) -> Imported:
    """Read a weights file, or a folder with one (and its ``config.json``), as a Tokenizer.

    value_range: that of the tokenizer's pixels; None: its family's. quantizer: "vq", "vq-cosine" or
    "ibq" where weights alone cannot tell. ema: see ``select_state``.
    Raises CheckpointError, one sentence, for a file that cannot be read, is of no known family,
    does not fit its config, or misses or adds weights.
    """
    file, beside = locate(source)
    given = config or beside
    described = None if given is None else read_described(given)
    weights = open_weights(file)
    leaves, notes = select_state(weights, ema)
    shapes = {name: weights.shape(leaf) for name, leaf in leaves.items()}
    family = _family(leaves, shapes, file, described, quantizer)
    if described is not None and described.impossible:
        raise CheckpointError(f"{described.file} cannot be imported: {described.impossible}.")
    renamed = _renamed(leaves, family, file)
    groups = described.groups if described is not None and described.groups else 32
    ours = {name: shapes[theirs] for name, theirs in renamed.items()}
    network = network_of(ours, family, groups, file)
    settings = quantizer_of(ours, quantizer or family.quantizer, network, file)
    if described is not None and (found := described.disagreements(network, settings.size)):
        raise CheckpointError(
            f"{described.file} describes another tokenizer than {file}: {'; '.join(found)}."
        )
    state = {name: weights.tensor(theirs, leaves[theirs]) for name, theirs in renamed.items()}
    half = all(tensor.dtype == torch.float16 for tensor in state.values())
    chosen = value_range or family.value_range
    tokenizer = _build(
        TokenizerConfig(network, settings, chosen), _ours(state, family, network, file), file
    )
    if warning := range_warning(tokenizer, chosen):
        notes.append(warning)
    return Imported(
        tokenizer, family, file, sha256_of(file), _license(file.parent), half, tuple(notes)
    )


def locate(source: Path) -> tuple[Path, Path | None]:
    """Return the weights file at ``source``, and the ``config.json`` beside it in a folder."""
    if not source.exists():
        raise CheckpointError(f"{source} does not exist; name a weights file or its folder.")
    if source.is_file():
        return source, None
    config = source / "config.json"
    files = sorted(each for each in source.iterdir() if each.suffix in WEIGHTS)
    for kind in WEIGHTS:
        for stem in _PREFERRED:
            if (source / (stem + kind)) in files:
                files = [source / (stem + kind)]
    if len(files) != 1:
        found = ", ".join(file.name for file in files[:4]) or "none"
        raise CheckpointError(f"{source} must hold one weights file, or name one (it has {found}).")
    return files[0], config if config.is_file() else None


def _family(
    leaves: Mapping[str, Any],
    shapes: Mapping[str, tuple[int, ...]],
    file: Path,
    described: Described | None,
    quantizer: str | None,
) -> Family:
    """Return the family, with the quantizer's name checked against it."""
    pattern = r"encoder\.down\.0\.block\.(\d+)\.conv1\.weight"
    found = family_of(
        leaves, shapes, file, sum(bool(re.fullmatch(pattern, name)) for name in leaves)
    )
    stated = quantizer or (described.quantizer if described is not None else None)
    if found is None and stated is None:
        raise CheckpointError(
            f"{file} may be IBQ's or taming's: their weights have the same names, and they choose "
            "codes differently; give its YAML by --config, or --quantizer ibq or vq."
        )
    if found is None or found is TAMING:
        found = IBQ if stated == "ibq" else TAMING
    if quantizer is not None and quantizer not in NEAREST:
        raise CheckpointError(
            f"--quantizer {quantizer} is unknown; available: {', '.join(NEAREST)}."
        )
    if quantizer is not None and found.quantizer not in NEAREST:
        raise CheckpointError(
            f"{file} has the quantizer {found.quantizer}, which its weights tell; leave "
            f"--quantizer {quantizer} out."
        )
    return found


def _renamed(leaves: Mapping[str, Any], family: Family, file: Path) -> dict[str, str]:
    """Return the names of the weights by our names. Raises CheckpointError for unknown ones."""
    levels = len(
        {
            hit[1]
            for name in leaves
            if (hit := re.match(r"encoder\.(?:down|down_blocks|conv_blocks)\.(\d{1,3})\.", name))
        }
    )
    renamed: dict[str, str] = {}
    unknown = []
    for name in leaves:
        module, _, leaf = name.rpartition(".")
        ours = family.table.to_ours(module, levels) if leaf in ("weight", "bias") else None
        if ours is None:
            unknown.append(name)
        elif renamed.setdefault(f"{ours}.{leaf}", name) != name:
            raise CheckpointError(f"{file} has {name[:80]} twice, by an old and a new name.")
    if unknown:
        shown = ", ".join(name[:80] for name in unknown[:3])
        raise CheckpointError(
            f"{file} looks like {family.title}, but {len(unknown)} of its weights belong to no "
            f"layer of it: {shown}."
        )
    return renamed


def _ours(
    state: Mapping[str, Tensor], family: Family, network: VQGANConfig, file: Path
) -> dict[str, Tensor]:
    """Return the tensors, float32, as our modules have them."""
    try:
        joined = join_attention({name: x.float() for name, x in state.items()})
    except RuntimeError:
        raise CheckpointError(
            f"{file} does not fit: an attention's q, k and v have different shapes."
        ) from None
    if (table := joined.pop("quantizer.codes.weight", None)) is not None:
        joined["quantizer.frozen" if family.quantizer == "simvq" else "quantizer.codes"] = table
    if (head := joined.get("quantizer.head.weight")) is not None:
        joined["quantizer.head.weight"] = head.flatten(1)
    if family.quantizer == "lfq":  # no projections: the numbers are the latent's own channels
        eye, zero = torch.eye(network.latent_dim), torch.zeros(network.latent_dim)
        for part in ("to_bits", "from_bits"):
            joined |= {f"quantizer.{part}.weight": eye, f"quantizer.{part}.bias": zero}
    if family.depth_first:
        for name, tensor in joined.items():
            if re.fullmatch(r"decoder\.levels\.\d+\.resample\.conv\.(weight|bias)", name):
                if len(tensor) % 4:
                    raise CheckpointError(f"{file} does not fit: {name} (in our names).")
                # (dy, dx, c) becomes (c, dy, dx)
                joined[name] = tensor.unflatten(0, (4, -1)).transpose(0, 1).flatten(0, 1)
    return joined


def _build(config: TokenizerConfig, state: Mapping[str, Tensor], file: Path) -> Tokenizer:
    """Return the tokenizer with its weights. Raises CheckpointError unless each fits."""
    with torch.device("meta"):
        expected = {name: tuple(x.shape) for name, x in Tokenizer(config).state_dict().items()}
    wrong = [
        f"{name} (in our names) is {state[name].shape if name in state else 'missing'!s}"
        f" and must be {shape}"
        for name, shape in expected.items()
        if name not in state or tuple(state[name].shape) != shape
    ]
    wrong += [
        f"{name} (in our names) belongs to no layer" for name in state if name not in expected
    ]
    if wrong:
        shown = "; ".join(wrong[:3]).replace("torch.Size(", "").replace("])", "]")
        more = f"; and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise CheckpointError(f"{file} does not fit: {shown}{more}.")
    if broken := [name for name, x in state.items() if not bool(torch.isfinite(x).all())]:
        raise CheckpointError(
            f"{file} has weights that are not finite: {broken[0]} (in our names)."
        )
    tokenizer = Tokenizer(config)
    tokenizer.load_state_dict(state, strict=True)
    tokenizer.requires_grad_(False).eval()
    painted = tokenizer.reconstruct(torch.linspace(-1, 1, 32).expand(1, 3, 32, 32))
    if not bool(torch.isfinite(painted).all()):
        raise CheckpointError(f"{file} was read, but paints numbers that are not finite.")
    return tokenizer


def sha256_of(file: Path) -> str:
    """Return a file's SHA-256."""
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while part := stream.read(2**20):
            digest.update(part)
    return digest.hexdigest()


def _license(folder: Path) -> str | None:
    """Return the license that a folder's README.md states in its front matter."""
    try:
        with (folder / "README.md").open(encoding="utf-8") as stream:
            head = stream.read(8192)
    except (OSError, ValueError):
        return None
    found = re.match(r"---\n(?:.*\n)*?license:[ \t]*([\w .,()/:+-]{1,80})\n", head)
    return found[1].strip() if found and "\n---" in head else None
