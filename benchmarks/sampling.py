"""Time to sample tokens, beside transformers' GPT-2, sampling without a cache, and diffusers.

``python benchmarks/sampling.py`` samples four rows of 256 tokens from this project's autoregressive
prior and from a GPT-2 of the same size, by ``generate`` with its cache, at the same precision and
in turns, and once from the prior without its cache. It prints the tokens per second beside the
bound that reading the weights alone would allow. Then it times a step of discrete diffusion
(without the network) and the same step of diffusers' ``VQDiffusionScheduler``, and tests that both
sample from the same distribution. It prints Markdown tables. Weights are random, which does not
change the time. Projects that are not installed are left out.

``python benchmarks/sampling.py --shipped`` measures the waiting time of a visitor of the explorer
instead: see ``first_picture.py``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from core.threads import wait_passively

wait_passively()

ROWS = 4


def main() -> None:
    """Run the requested measurements and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--layers", type=int, default=8, help="layers (default: 8)")
    parser.add_argument("--width", type=int, default=512, help="width (default: 512)")
    parser.add_argument("--side", type=int, default=16, help="tokens along a side (default: 16)")
    parser.add_argument("--codes", type=int, default=1024, help="codes (default: 1,024)")
    parser.add_argument(
        "--diffusion-codes",
        type=int,
        default=16_384,
        help="codes of the diffusion step (16,384)",
    )
    parser.add_argument(
        "--precisions",
        nargs="+",
        default=["float32", "bfloat16"],
        choices=["float32", "bfloat16"],
    )
    parser.add_argument("--repeats", type=int, default=3, help="the fastest counts (default: 3)")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="CPU threads")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: cpu)")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="also write the figures: as JSON, or as Markdown if FILE ends with .md",
    )
    parser.add_argument(
        "--shipped",
        action="store_true",
        help="measure the first picture of each shipped prior instead, as in the explorer",
    )
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

    import torch

    torch.set_num_threads(flags.threads)
    figures: list[dict] = []
    for precision in flags.precisions:
        figures += autoregressive(flags, getattr(torch, precision))
        print(table(figures[-3:]), flush=True)
    figures += diffusion(flags)
    print(table([row for row in figures if row["task"] == "diffusion step"]), flush=True)
    if flags.out is not None:
        machine = {
            "processor": platform.processor() or platform.machine(),
            "torch": torch.__version__,
            "threads": flags.threads,
            "device": flags.device,
        }
        if flags.out.suffix == ".md":
            described = ", ".join(f"{name} {value}" for name, value in machine.items())
            text = f"{described}\n{table(figures)}\n"
        else:
            text = json.dumps({"machine": machine, "figures": figures}, indent=2) + "\n"
        flags.out.write_text(text, encoding="utf-8")


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

    calls: dict[str, Callable[[], torch.Tensor]] = {"regvq-studio": ours}
    sizes = {"regvq-studio": _parameters(prior)}
    notes = {}
    try:
        calls["transformers GPT-2"], sizes["transformers GPT-2"] = gpt2(flags, dtype)
    except ImportError:
        notes["transformers GPT-2"] = "not installed"
    for call in calls.values():
        call()  # the first call loads modules that are imported late
    seconds = {name: [] for name in calls}
    for _ in range(flags.repeats):  # in turns, so that other load affects all alike
        for name, call in calls.items():
            seconds[name].append(_seconds(call, flags.device))
    drawn = {}

    def uncached() -> None:
        drawn["ids"] = without_cache(prior, tokens)

    seconds["without a cache"] = [_seconds(uncached, flags.device)]
    sizes["without a cache"] = sizes["regvq-studio"]
    same = float((ours().flatten(1) == drawn["ids"]).float().mean())
    notes["without a cache"] = f"{same:.0%} of the tokens are the same as with the cache"
    best = min(seconds["regvq-studio"])
    rate = bandwidth(flags.device)
    notes["regvq-studio"] = (
        f"{ROWS * tokens / best:,.0f} tokens/s; {floor(prior, ROWS, rate):,.0f} if only the "
        f"weights were read, at {rate / 1e9:,.0f} GB/s"
    )
    found = []
    for name in ("regvq-studio", "transformers GPT-2", "without a cache"):
        row = {
            "task": f"autoregressive, {flags.layers} layers x {flags.width}, {tokens} tokens, "
            f"batch {ROWS}, {flags.codes:,} codes, {str(dtype).removeprefix('torch.')}",
            "method": name,
        }
        if name in seconds:
            row |= {
                "parameters": sizes[name],
                "ms": 1e3 * min(seconds[name]),
                "ours_over_it": best / min(seconds[name]),
            }
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


def diffusion(flags: argparse.Namespace) -> list[dict]:
    """Time a reverse step on 256 tokens, and test that it samples as diffusers' step does."""
    import torch

    from core.priors.mask_and_replace import MaskAndReplace

    codes, device = flags.diffusion_codes, torch.device(flags.device)
    process = MaskAndReplace(codes, 100, (0.99999, 0.000009), (0.000009, 0.99999))
    torch.manual_seed(0)
    logits = 3 * torch.randn(ROWS, 256, codes, device=device)
    masked = torch.full((ROWS, 256), codes, device=device)
    half = torch.where(torch.rand(ROWS, 256, device=device) < 0.5, masked, masked % codes)
    cases = {
        "half of the tokens masked, step 50": (half, 50),
        "all masked, step 2, at which nearly all are sampled": (masked, 2),
    }
    try:
        from diffusers import VQDiffusionScheduler
    except ImportError:
        scheduler = None
    else:
        scheduler = VQDiffusionScheduler(num_vec_classes=codes + 1)
        scheduler.set_timesteps(100, device=device)
        # Theirs takes log-probabilities with the codes in the middle: computed before, not timed.
        log_p = logits.log_softmax(2).transpose(1, 2).contiguous()
    found = []
    for name, (now, time_) in cases.items():
        calls = {"regvq-studio": lambda now=now, t=time_: process.step_back(logits, now, t - 1, t)}
        if scheduler is not None:
            calls["diffusers"] = lambda now=now, t=time_: scheduler.step(log_p, t - 1, now)
        seconds = {}
        for method, call in calls.items():
            call()
            seconds[method] = min(_seconds(call, flags.device) for _ in range(flags.repeats))
        for method, best in seconds.items():
            found.append(
                {
                    "task": "diffusion step",
                    "method": method,
                    "ms": 1e3 * best,
                    "ours_over_it": seconds["regvq-studio"] / best,
                    "note": f"{ROWS} x 256 tokens, {codes:,} codes, {name}",
                }
            )
    if scheduler is not None:
        alike = same_distribution(process, scheduler, logits[0, 0])
        for row in found:
            if row["method"] == "regvq-studio" and "all masked" in row["note"]:
                row["note"] += f"; {alike}"
    return found


def same_distribution(process, scheduler, logits) -> str:
    """Return the result of a chi-squared test that both sample masked tokens alike.

    ``logits`` (K,). The step samples some of the tokens and leaves others masked.
    """
    import torch
    from scipy.stats import chi2_contingency

    codes, count, time_ = process.codes, 256, 3
    now = torch.full((1, count), codes, device=logits.device)
    many = logits.expand(1, count, codes)
    log_p = many.log_softmax(2).transpose(1, 2).contiguous()
    kinds = min(32, codes)
    # Codes are counted in groups of about equal weight; the mask is a group of its own.
    order = logits.argsort()
    weight = logits.softmax(0)[order].cumsum(0)
    group = torch.empty_like(order)
    group[order] = (weight * kinds).long().clamp(max=kinds - 1)
    group = torch.cat([group, group.new_tensor([kinds])])
    counts = torch.zeros(2, kinds + 1, dtype=torch.int64)
    for _ in range(16):
        drawn = process.step_back(many, now, time_ - 1, time_)
        theirs = scheduler.step(log_p, time_ - 1, now).prev_sample
        for row, ids in enumerate((drawn, theirs)):
            counts[row] += torch.bincount(group[ids[0]].cpu(), minlength=kinds + 1)
    counts = counts[:, counts.sum(0) > 0]
    p = chi2_contingency(counts.numpy()).pvalue
    return (
        f"masked tokens are sampled like diffusers' (chi-squared test of {16 * count:,} samples "
        f"each at step {time_}: p = {p:.2f})"
    )


def table(rows: list[dict]) -> str:
    """Return rows of figures as Markdown, one table per task."""
    lines: list[str] = []
    for number, row in enumerate(rows):
        if not number or rows[number - 1]["task"] != row["task"]:
            lines += ["", f"**{row['task']}**", ""]
            lines += ["| | ms | ours / it | parameters | |", "|---|---|---|---|---|"]
        size = f"{row['parameters'] / 1e6:.1f} M" if "parameters" in row else ""
        figures = f"{row['ms']:,.1f} | {row['ours_over_it']:.3f}" if "ms" in row else " | "
        lines.append(f"| {row['method']} | {figures} | {size} | {row['note']} |")
    return "\n".join(lines)


def _parameters(model) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def _seconds(call: Callable, device: str) -> float:
    import torch

    started = time.perf_counter()
    call()
    if device != "cpu":
        torch.cuda.synchronize()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
