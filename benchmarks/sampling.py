"""Time to sample tokens, beside transformers' GPT-2, sampling without a cache, and diffusers.

``python benchmarks/sampling.py`` samples four rows of 256 tokens from this project's autoregressive
prior and from a GPT-2 of the same size, by ``generate`` with its cache, at the same precision and
in turns, and once from the prior without its cache. It prints the tokens per second beside the
bound that reading the weights alone would allow. Then it times a step of discrete diffusion
(without the network) and the same step of diffusers' ``VQDiffusionScheduler``, and tests that both
sample from the same distribution. All but sampling without a cache is measured alone, and in the
company of one busy process per core. It prints Markdown tables. Weights are random, which does not
change the time. Projects that are not installed are left out.

``python benchmarks/sampling.py --shipped`` measures the waiting time of a visitor of the explorer
instead: see ``first_picture.py``.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from clock import OURS, alone_and_in_company, machine, seconds_of, times_of
from company import CORES
from diffusion_step import diffusion

from core.threads import wait_passively

wait_passively()

ROWS = 4
GPT2, UNCACHED = "transformers GPT-2", "without a cache"
HEADINGS = ("ms", "ours / it", "ms, in company", "ours / it, in company")


def main() -> None:
    """Run the requested measurements and print the tables."""
    parser = _parser()
    flags = parser.parse_args()
    if flags.shipped:
        import first_picture

        figures = first_picture.every_shipped(flags.threads)
        print(first_picture.table(figures))
        if flags.out is not None:
            flags.out.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
        return
    if min(flags.layers, flags.side, flags.codes, flags.diffusion_codes, flags.repeats) < 1:
        parser.error("layers, side, codes and repeats must be at least 1")
    if flags.width % 64 or flags.width < 64:
        parser.error(f"--width must be a multiple of 64 (a head's width), got {flags.width}")
    described = machine(flags.threads) | {"device": flags.device}
    figures = figures_of(flags)
    print(tables(figures), flush=True)
    if flags.out is not None:
        if flags.out.suffix == ".md":
            words = ", ".join(f"{name} {value}" for name, value in described.items())
            text = f"{words}\n{tables(figures)}\n"
        else:
            text = json.dumps({"machine": described, "figures": figures}, indent=2) + "\n"
        flags.out.write_text(text, encoding="utf-8")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    add = parser.add_argument
    add("--layers", type=int, default=8, help="layers (default: 8)")
    add("--width", type=int, default=512, help="width (default: 512)")
    add("--side", type=int, default=16, help="tokens along a side (default: 16)")
    add("--codes", type=int, default=1024, help="codes (default: 1,024)")
    add("--diffusion-codes", type=int, default=16_384, help="codes of the diffusion step (16,384)")
    add("--precisions", nargs="+", default=["float32", "bfloat16"],
        choices=["float32", "bfloat16"])  # fmt: skip
    add("--repeats", type=int, default=3, help="the fastest counts (default: 3)")
    add("--threads", type=int, default=CORES, help="CPU threads (default: one per core)")
    add("--cached-only", action="store_true", help="leave sampling without a cache out")
    words = "busy processes beside the second measurement (default: one per core; 0: none)"
    add("--company", type=int, default=CORES, metavar="P", help=words)
    add("--device", default="cpu", help="cpu or cuda (default: cpu)")
    add("--out", type=Path, metavar="FILE",
        help="also write the figures: as JSON, or as Markdown if FILE ends with .md")  # fmt: skip
    words = "measure the first picture of each shipped prior instead, as in the explorer"
    add("--shipped", action="store_true", help=words)
    return parser


TINY = "--layers 1 --width 64 --side 3 --codes 20 --diffusion-codes 40 --repeats 1 --company 1"


def measure(tiny: bool = False) -> list[dict]:
    """Return the figures of the benchmark page."""
    small = [*TINY.split(), "--precisions", "float32", "--threads", "1"]
    return figures_of(_parser().parse_args(small if tiny else ["--cached-only", "--repeats", "2"]))


def figures_of(flags: argparse.Namespace) -> list[dict]:
    """Return a row per task and method."""
    import torch

    torch.set_num_threads(flags.threads)
    figures: list[dict] = []
    for precision in flags.precisions:
        figures += autoregressive(flags, getattr(torch, precision))
    return figures + diffusion(flags)


def autoregressive(flags: argparse.Namespace, dtype) -> list[dict]:
    """Time ROWS pictures by the prior, by GPT-2, and by the prior without its cache."""
    import torch
    from bandwidth import bandwidth, floor

    from core.priors import AutoregressiveConfig

    torch.manual_seed(0)
    tokens = flags.side**2
    prior = AutoregressiveConfig(
        codebook_size=flags.codes,
        grid=(flags.side, flags.side),
        width=flags.width,
        layers=flags.layers,
        heads=flags.width // 64,
    ).build()
    prior = prior.eval().to(flags.device, dtype)

    def ours() -> torch.Tensor:
        return prior.generate(n=ROWS, generator=torch.Generator().manual_seed(0))

    calls: dict[str, Callable[[], torch.Tensor]] = {OURS: ours}
    sizes = {OURS: _parameters(prior)}
    notes = {}
    try:
        calls[GPT2], sizes[GPT2] = gpt2(flags, dtype)
    except ImportError:
        notes[GPT2] = "not installed"
    alone, busy = alone_and_in_company(calls, flags.repeats, flags.company, flags.device)
    rate = bandwidth(flags.device)
    bound, speed = floor(prior, ROWS, rate), ROWS * tokens / alone[OURS]
    more: dict[str, dict] = {
        OURS: {"tokens_per_second": speed, "bound": bound, "share": 100 * speed / bound,
               "bandwidth": rate / 1e9},
    }  # fmt: skip
    notes[OURS] = (
        f"{speed:,.0f} tokens/s, {more[OURS]['share']:.0f} % of the {bound:,.0f} if only the "
        f"weights were read, at {rate / 1e9:,.0f} GB/s"
    )
    methods = [OURS, GPT2]
    if not flags.cached_only:
        methods.append(UNCACHED)
        drawn = {}

        def uncached() -> None:
            drawn["ids"] = without_cache(prior, tokens)

        alone[UNCACHED], sizes[UNCACHED] = seconds_of(uncached, flags.device), sizes[OURS]
        same = 100 * float((ours().flatten(1) == drawn["ids"]).float().mean())
        notes[UNCACHED] = f"{same:.0f}% of the tokens are the same as with the cache"
        more[UNCACHED] = {"same": same}
    found = []
    for name in methods:
        row = {
            "task": f"autoregressive, {flags.layers} layers x {flags.width}, {tokens} tokens, "
            f"batch {ROWS}, {flags.codes:,} codes, {str(dtype).removeprefix('torch.')}",
            "method": name,
        }
        if name in alone:
            row |= {"parameters": sizes[name]} | times_of(name, alone, busy) | more.get(name, {})
        found.append(row | {"note": notes.get(name, "")})
    return found


def without_cache(prior, tokens: int):
    """Return ids (ROWS, tokens), with all previous tokens computed again for each token."""
    import torch

    from core.priors.categorical import sample_categorical, uniform

    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        context = prior.network.context(None, ROWS)
        ids = torch.full((ROWS, 1), prior.codebook_size, device=prior.device)
        at = uniform((ROWS, tokens), generator, prior.device)
        for cell in range(tokens):
            logits = prior.network(ids, context, last=True)[:, 0]
            ids = torch.cat([ids, sample_categorical(logits, at=at[:, cell])[:, None]], 1)
    return ids[:, 1:]


def gpt2(flags: argparse.Namespace, dtype) -> tuple[Callable, int]:
    """Return a call that samples from a GPT-2 of the same size, and its number of parameters."""
    import torch
    import transformers

    transformers.logging.set_verbosity_error()
    tokens = flags.side**2
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        vocab_size=flags.codes + 1,
        n_positions=tokens + 1,
        n_embd=flags.width,
        n_layer=flags.layers,
        n_head=flags.width // 64,
        bos_token_id=flags.codes,
        eos_token_id=None,
        pad_token_id=flags.codes,
    )
    model = transformers.GPT2LMHeadModel(config).eval().to(flags.device, dtype)
    start = torch.full((ROWS, 1), flags.codes, device=flags.device)

    def call() -> torch.Tensor:
        with torch.no_grad():
            out = model.generate(
                start,
                attention_mask=torch.ones_like(start),
                do_sample=True,
                top_k=0,
                max_new_tokens=tokens,
                min_new_tokens=tokens,
                use_cache=True,
            )
        assert out.shape == (ROWS, tokens + 1)
        return out[:, 1:]

    return call, _parameters(model)


def tables(rows: list[dict]) -> str:
    """Return rows of figures as Markdown, one table per task."""
    lines: list[str] = []
    for number, row in enumerate(rows):
        if not number or rows[number - 1]["task"] != row["task"]:
            lines += ["", f"**{row['task']}**", "", f"| | {' | '.join(HEADINGS)} | parameters | |"]
            lines += ["|---|" + "---:|" * (len(HEADINGS) + 1) + "---|"]
        size = f"{row['parameters']:,}" if "parameters" in row else ""
        places = ("ms", 1), ("ours_over_it", 3), ("company_ms", 1), ("company_ours_over_it", 3)
        cells = [f"{row[key]:,.{digits}f}" if key in row else "" for key, digits in places]
        lines.append(f"| {' | '.join([row['method'], *cells, size, row['note']])} |")
    return "\n".join(lines).strip()


def _parameters(model) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


if __name__ == "__main__":
    main()
