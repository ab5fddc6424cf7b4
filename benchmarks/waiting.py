"""The wait of threads before they sleep: ``python benchmarks/run.py --only waiting``.

The same small calls in processes whose OpenMP is set differently: threads that sleep at once, that
look for work a number of times first (``core.threads``), and OpenMP's own way, which looks for
milliseconds.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from apart import call_apart
from clock import alone_and_in_company
from company import CORES
from pages import table

from core.threads import LOOKS, POLICY, SPINS

SETTINGS: dict[str, dict[str, str]] = {
    "sleeps at once": {POLICY: "PASSIVE", SPINS: "0"},
    "300 looks": {POLICY: "PASSIVE", SPINS: "300"},
    f"{LOOKS:,} looks (ours)": {POLICY: "PASSIVE", SPINS: str(LOOKS)},
    "4,000 looks": {POLICY: "PASSIVE", SPINS: "4000"},
    "OpenMP's own": {},
}


def measure(tiny: bool = False) -> list[dict[str, Any]]:
    """Return a row per case: milliseconds alone and in company with each setting."""
    found: dict[str, dict[str, Any]] = {}
    for number, setting in enumerate(SETTINGS.values()):
        with _environment(setting):
            for case, (alone, busy) in call_apart("waiting:times", not tiny, tiny=tiny).items():
                row = found.setdefault(case, {"case": case})
                row |= {f"alone_{number}": alone, f"company_{number}": busy}
    return list(found.values())


@contextmanager
def _environment(setting: dict[str, str]) -> Iterator[None]:
    """Give the processes that are started a setting of OpenMP."""
    with patch.dict(os.environ):
        for name in (POLICY, SPINS):
            os.environ.pop(name, None)
        os.environ.update(setting)
        yield


def times(tiny: bool) -> dict[str, tuple[float, float]]:
    """Return the milliseconds of each case, alone and in company, in this process."""
    import torch

    from core.priors import AutoregressiveConfig
    from core.quantizers.tiled.lookup import nearest_code
    from core.tokenizer import Tokenizer, TokenizerConfig

    torch.set_num_threads(1 if tiny else CORES)
    torch.manual_seed(0)
    side = 16 if tiny else 128
    image = torch.rand(1, 3, side, side) * 2 - 1
    tokenizer = Tokenizer(TokenizerConfig()).eval().requires_grad_(False)
    ids = tokenizer.encode(image)
    latents, codes = torch.randn(64 if tiny else 2048, 32), torch.randn(65_536, 32)
    small = {"grid": (3, 3), "width": 16, "layers": 1, "heads": 2} if tiny else {}
    prior = AutoregressiveConfig(**small).build().eval().requires_grad_(False)
    cases = {
        f"encode a picture of {side} pixels": lambda: tokenizer.encode(image),
        f"decode a picture of {side} pixels": lambda: tokenizer.decode(ids),
        "nearest of 65,536 codes": lambda: nearest_code(latents, codes),
        "draw 4 grids of tokens, one by one": lambda: prior.generate(
            n=4, generator=torch.Generator().manual_seed(0)
        ),
    }
    alone, busy = alone_and_in_company(cases, *((1, 1) if tiny else (9, CORES)))
    return {case: (1e3 * alone[case], 1e3 * busy[case]) for case in cases}


def tables(rows: list[dict[str, Any]]) -> str:
    """Return the Markdown of the figures: a table alone, and one in company."""
    found = []
    for key, words in (("alone", "ms, alone"), ("company", "ms, in company")):
        columns = {f"{key}_{number}.1": name for number, name in enumerate(SETTINGS)}
        found.append(table({"case": words, **columns}, rows))
    return "\n\n".join(found)
