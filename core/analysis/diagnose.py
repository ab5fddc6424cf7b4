"""The health of a codebook in figures and words: what is wrong, and what to try.

```python
from regvq import diagnose

print(diagnose(quantizer, latents))
```
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields, replace

import torch
from torch import Tensor

from ..metrics.codebook_usage import usage_of
from ..quantizers import (
    BSQConfig,
    DiVeQConfig,
    FSPConfig,
    GumbelConfig,
    IBQConfig,
    LeveledQuantizer,
    LFQConfig,
    NSVQConfig,
    Quantizer,
    RegVQConfig,
    SignalQuantizer,
    SimVQConfig,
    VQConfig,
)
from ..quantizers.base import to_rows
from ..quantizers.tiled.lookup import nearest_code

# Thresholds are our choice; the shipped tokenizers of photographs are far from all of them.
FEW_LATENTS = 4
"""Latents per code below which a code may be unused by chance."""
LEAST_USED = 0.5
"""Utilization below which a codebook counts as collapsed."""
MOST_FREQUENT = 0.2
"""Share of the latents above which one code counts as dominant."""
FAR = 3.0
"""Times the usual distance to the next latent beyond which unused codes count as out of reach."""
NORMS = 3.0
"""Ratio of the norms of latents and codes beyond which they count as of different scale."""
LEAST_RANK = 0.25
"""Effective rank, as a share of D, below which latents count as flat."""
LEAST_EXPLAINED = 0.5
"""Share of the latents' variance that codes should explain."""
COPY = 1e-3
"""Distance, as a share of the usual one between neighbors, below which codes count as copies."""
SAMPLE = 16_384
"""Rows that are compared with each other at most."""


@dataclass(frozen=True)
class Remedy:
    """Something to try: words, and the setting of the quantizer's config that does it, if any."""

    words: str
    setting: tuple[str, object] | None = None


_FASTER = Remedy("let the codes learn at ten times the network's rate")
_REMEDIES: dict[type, tuple[Remedy, ...]] = {
    VQConfig: (
        Remedy("restart unused codes", ("restart_below", 1)),
        Remedy("start from data", ("start", "data")),
        _FASTER,
    ),
    RegVQConfig: (Remedy("raise the weight of the prior", ("prior_weight", None)), _FASTER),
    NSVQConfig: (
        Remedy("turn the replacement on", ("replacement", True)),
        Remedy("raise the weight of the dense loss", ("alpha", None)),
    ),
    SimVQConfig: (Remedy("lower the learning rate"), _FASTER),
    GumbelConfig: (Remedy("raise the weight of the divergence", ("kl_weight", None)),),
    LFQConfig: (Remedy("raise the weight of the entropy", ("entropy_weight", None)),),
    IBQConfig: (Remedy("raise the weight of the entropy", ("entropy_weight", None)), _FASTER),
    BSQConfig: (
        Remedy("raise the weight of the entropy", ("entropy_weight", None)),
        Remedy("raise the weight of even use", ("diversity", None)),
    ),
    DiVeQConfig: (Remedy("replace unused codes more often", ("replace_every", None)), _FASTER),
    FSPConfig: (Remedy("raise the weight of the variance", ("variance_weight", None)),),
}


def remedies_of(config: object) -> tuple[Remedy, ...]:
    """Return what to try against the collapse of a quantizer with this config."""
    other = (Remedy("lower the learning rate"), Remedy("choose a smaller codebook"))
    return _REMEDIES.get(type(config), other)


@dataclass(frozen=True)
class Diagnosis:
    """The figures of a codebook on some latents, and findings in words. ``str`` gives all."""

    latents: int
    """N, the number of latents."""
    size: int
    """K, the number of codes."""
    used: int
    """Codes that at least one latent is assigned to."""
    utilization: float
    """used / size, in [0, 1]."""
    perplexity: float
    """exp of the entropy (nats) of the codes' use: 1 to K."""
    most_frequent: float
    """Share of the latents with the most frequent code, in [0, 1]."""
    explained: float
    """1 minus the mean squared distance to the code, divided by the latents' variance; at most 1,
    and below 0 where a single code at their mean would be nearer."""
    latent_norm: float
    """Median norm of the latents."""
    code_norm: float
    """Median norm of the codes."""
    latent_rank: float
    """Effective rank of the latents, 1 to D: exp of the entropy of their covariance's spectrum (Roy
    and Vetterli 2007)."""
    code_rank: float
    """Effective rank of the codes."""
    dim: int
    """D, the length of a latent."""
    copies: int
    """Codes that have (nearly) the place of another code."""
    unused_distance: float
    """Median distance of an unused code to the next latent, divided by that of a used code; nan
    without unused codes."""
    findings: tuple[str, ...] = field(default=())
    """Faults with what to try, a sentence each; empty if nothing was found."""

    @property
    def healthy(self) -> bool:
        """True if nothing was found."""
        return not self.findings

    def figures(self) -> dict[str, float]:
        """Return the figures by name."""
        named = {each.name: getattr(self, each.name) for each in fields(self)}
        del named["findings"]
        return named

    def __str__(self) -> str:
        head = (
            f"{self.used:,} of {self.size:,} codes used ({self.utilization:.0%}) over "
            f"{self.latents:,} latents, perplexity {self.perplexity:.1f}; codes explain "
            f"{self.explained:.0%} of the variance. Norms: latents {self.latent_norm:.3g}, codes "
            f"{self.code_norm:.3g}. Effective rank: latents {self.latent_rank:.1f}, codes "
            f"{self.code_rank:.1f} of {self.dim}."
        )
        return "\n".join([head, *(f"- {each}" for each in self.findings or ("Nothing is wrong.",))])


@torch.no_grad()
def diagnose(quantizer: Quantizer | SignalQuantizer, latents: Tensor) -> Diagnosis:
    """Return what is wrong with a codebook on ``latents``, and what to try.

    ``latents``: (B, D, h, w) or rows (N, D); for a ``SignalQuantizer`` in its layout. They are what
    the encoder gives the quantizer, of as many pictures as possible: 4 latents per code or more.
    Works for every quantizer; where codes are not learned (FSQ, LFQ, BSQ, FSP) only use, rank and
    error are judged. Raises ValueError for latents of another shape, for fewer than two, or not
    finite ones, and for residual and product codes (``diagnose_levels``).
    """
    rows, inner = rows_of(quantizer, latents)
    if isinstance(inner, LeveledQuantizer):
        raise ValueError(
            "diagnose looks at one codebook; for the levels of residual or product codes use "
            "regvq.analysis.diagnose_levels"
        )
    check_rows(rows)
    ids = inner.assign(rows.t()[None, :, :, None]).flatten()
    counts = torch.bincount(ids, minlength=inner.size)
    usage = usage_of(counts)
    codes = inner.codebook().float()
    seen = rows
    config = getattr(inner, "config", None)
    if getattr(config, "distance", None) == "cosine":  # codes and latents are compared on a sphere
        seen = torch.nn.functional.normalize(rows, dim=1)
    variance = (seen - seen.mean(0)).square().sum(1).mean()
    error = (seen - codes[ids]).square().sum(1).mean()
    found = Diagnosis(
        latents=len(rows),
        size=inner.size,
        used=usage.used,
        utilization=usage.utilization,
        perplexity=usage.perplexity,
        most_frequent=float(counts.max() / len(rows)),
        explained=float(1 - error / variance) if variance > 0 else float(error == 0),
        latent_norm=float(seen.norm(dim=1).median()),
        code_norm=float(codes.norm(dim=1).median()),
        latent_rank=effective_rank(seen),
        code_rank=effective_rank(codes),
        dim=rows.shape[1],
        copies=_copies(codes),
        unused_distance=_unused_distance(codes, counts, seen),
    )
    learned = getattr(inner, "codes", None) is not None
    return _with_findings(found, remedies_of(config), learned)


def effective_rank(rows: Tensor) -> float:
    """Return exp of the entropy of the normalized spectrum of the covariance of rows (N, D).

    It is 1 if all rows lie on a line, and D if they spread equally in all directions; 0 if all are
    equal (Roy and Vetterli 2007).
    """
    centered = (rows - rows.mean(0)).double()
    spectrum = torch.linalg.eigvalsh(centered.t() @ centered).clamp_min(0)
    if float(spectrum.sum()) <= 0:
        return 0.0
    share = spectrum / spectrum.sum()
    return math.exp(-float(torch.xlogy(share, share).sum()))


def rows_of(
    quantizer: Quantizer | LeveledQuantizer | SignalQuantizer, latents: Tensor
) -> tuple[Tensor, Quantizer | LeveledQuantizer]:
    """Return latents as rows float32 (N, D) on the quantizer's device, and the quantizer itself,
    without ``SignalQuantizer``. Raises ValueError for latents of another shape."""
    if isinstance(quantizer, SignalQuantizer):
        last = latents.movedim(1, -1) if quantizer.channels == "first" else latents
        rows, inner = last.reshape(-1, last.shape[-1]).float(), quantizer.quantizer
    else:
        rows, inner = to_rows(latents) if latents.ndim == 4 else latents.float(), quantizer
    if rows.ndim != 2 or rows.shape[1] != inner.dim:
        raise ValueError(
            f"latents must be (B, {inner.dim}, h, w) or (N, {inner.dim}), "
            f"got {tuple(latents.shape)}"
        )
    return rows.to(next(inner.parameters(), rows).device), inner


def check_rows(rows: Tensor) -> None:
    """Raise ValueError unless there are two rows or more, all finite."""
    if len(rows) < 2 or not bool(rows.isfinite().all()):
        raise ValueError(
            f"diagnose needs two latents or more, all finite; got {len(rows)}, of which "
            f"{int((~rows.isfinite()).any(1).sum())} are not finite"
        )


def _some(rows: Tensor) -> Tensor:
    """Return at most ``SAMPLE`` of the rows, evenly spaced."""
    return rows[:: -(-len(rows) // SAMPLE)]


def _copies(codes: Tensor) -> int:
    """Return how many codes have another code at (nearly) the same place."""
    if len(codes) < 2:
        return 0
    some = _some(codes)
    nearest = []
    for part in torch.arange(len(some), device=codes.device).split(1024):
        distances = torch.cdist(some[part], some, compute_mode="donot_use_mm_for_euclid_dist")
        distances[torch.arange(len(part)), part] = torch.inf
        nearest.append(distances.amin(1))
    found = torch.cat(nearest)
    usual = (some - some.mean(0)).norm(dim=1).median()
    share = float((found <= COPY * usual).double().mean())
    return round(share * len(codes))


def _unused_distance(codes: Tensor, counts: Tensor, rows: Tensor) -> float:
    unused, used = codes[counts == 0], codes[counts > 0]
    if not len(unused):
        return math.nan
    some = _some(rows)

    def median(part: Tensor) -> float:
        part = _some(part)
        return float((part - some[nearest_code(part, some)]).norm(dim=1).median())

    return median(unused) / max(median(used), 1e-12)


def _with_findings(found: Diagnosis, remedies: tuple[Remedy, ...], learned: bool) -> Diagnosis:
    words = []
    try_this = " or ".join(map(_words, remedies))
    if found.latents < FEW_LATENTS * found.size:
        words.append(
            f"{found.latents:,} latents are few for {found.size:,} codes: a code that is unused "
            f"here may be used elsewhere; give {FEW_LATENTS * found.size:,} or more."
        )
    elif found.utilization < LEAST_USED:
        words.append(
            f"The codebook has collapsed: {found.size - found.used:,} of {found.size:,} codes are "
            f"dead; {try_this}."
        )
    if found.most_frequent > MOST_FREQUENT and found.size > 1 / MOST_FREQUENT:
        words.append(
            f"One code has {found.most_frequent:.0%} of the latents: most of them look alike to "
            "the quantizer; look at its patches, or give it more varied pictures."
        )
    if learned and found.unused_distance > FAR:
        words.append(
            f"Unused codes lie {found.unused_distance:.1f} times as far from the latents as used "
            "ones, where no gradient reaches them; initialize the codes from latents "
            "(initialize_codes)."
        )
    low, high = sorted((max(found.latent_norm, 1e-12), max(found.code_norm, 1e-12)))
    if learned and high > NORMS * low:
        longer = "latents" if found.latent_norm > found.code_norm else "codes"
        words.append(
            f"The {longer} are {high / low:.1f} times as long: latents and codes have different "
            "scales; normalize the latents before the quantizer, or initialize the codes from them."
        )
    if found.latent_rank < LEAST_RANK * found.dim:
        words.append(
            f"The latents vary along {found.latent_rank:.1f} of {found.dim} directions: the "
            "encoder has collapsed, or D is too large; choose a smaller latent dimension, or lower "
            "the commitment weight."
        )
    if found.copies > 0.01 * found.size:
        words.append(
            f"{found.copies:,} codes are copies of others, of which only one is ever chosen; "
            "add noise to copies (replacement_noise, or fewer restarts per step)."
        )
    if found.explained < LEAST_EXPLAINED:
        words.append(
            f"Codes explain {max(found.explained, 0):.0%} of the latents' variance; train longer, "
            "raise the commitment weight, or use more codes."
        )
    return replace(found, findings=tuple(words))


def _words(remedy: Remedy) -> str:
    if remedy.setting is None:
        return remedy.words
    name, value = remedy.setting
    return f"{remedy.words} ({name}{'' if value is None else f'={value!r}'})"
