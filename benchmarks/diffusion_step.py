"""A reverse step of discrete diffusion beside the same step of diffusers, without the network."""

from __future__ import annotations

import argparse

from clock import OURS, alone_and_in_company, times_of

BATCH = 4


def diffusion(flags: argparse.Namespace) -> list[dict]:
    """Time a reverse step on 256 tokens, and test that it samples as diffusers' step does."""
    import torch

    from core.priors.mask_and_replace import MaskAndReplace

    codes, device = flags.diffusion_codes, torch.device(flags.device)
    process = MaskAndReplace(codes, 100, (0.99999, 0.000009), (0.000009, 0.99999))
    torch.manual_seed(0)
    logits = 3 * torch.randn(BATCH, 256, codes, device=device)
    masked = torch.full((BATCH, 256), codes, device=device)
    half = torch.where(torch.rand(BATCH, 256, device=device) < 0.5, masked, masked % codes)
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
        calls = {OURS: lambda now=now, t=time_: process.step_back(logits, now, t - 1, t)}
        if scheduler is not None:
            calls["diffusers"] = lambda now=now, t=time_: scheduler.step(log_p, t - 1, now)
        alone, busy = alone_and_in_company(calls, flags.repeats, flags.company, flags.device)
        for method in calls:
            found.append(
                {
                    "task": "diffusion step",
                    "method": method,
                    **times_of(method, alone, busy),
                    "note": f"{BATCH} x 256 tokens, {codes:,} codes, {name}",
                }
            )
    if scheduler is not None:
        alike = same_distribution(process, scheduler, logits[0, 0])
        for row in found:
            if row["method"] == OURS and "all masked" in row["note"]:
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
