"""The sections of ``gpu.py`` that measure time and memory, beside what the device allows.

The limits are those of the same device in the same run: matrix products and a copy, measured by the
section "machine". FLOP are counted by torch, with a multiply and an add as two.
"""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import torch
from gpu_checks import priors
from gpu_setup import Setup, plain, row
from measured_runs import pictures, run_of
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

RECIPE = "imagenet128-nsvq-65k"
TOKENS_AHEAD = 3.0  # times the time of reading the weights
PEAK_SHARE = 0.45  # of the bf16 matrix peak


def machine(setup: Setup) -> list[dict[str, Any]]:
    """Measure the device's limits: matrix products, a copy, and the launch of a kernel."""
    from bandwidth import bandwidth

    side = setup.pick(8192, 256)
    kinds = {"bf16": torch.bfloat16, "fp16": torch.float16, "tf32": torch.float32,
             "fp32": torch.float32}  # fmt: skip
    rows = []
    for name, kind in kinds.items():
        torch.backends.cuda.matmul.allow_tf32 = name == "tf32"
        a, b = (torch.randn(side, side, device=setup.device).to(kind) for _ in range(2))
        rate = 2 * side**3 / setup.seconds(lambda a=a, b=b: a @ b, calls=10)
        setup.limits[name] = rate
        rows.append(row(f"matrix product of {side}, {name}", rate / 1e12, "TFLOP/s"))
    torch.backends.cuda.matmul.allow_tf32 = False
    rate = bandwidth(setup.device, setup.pick(2**30, 2**22))
    setup.limits["bandwidth"] = rate
    rows.append(row("copy, bytes read and written", rate / 1e9, "GB/s"))
    small = torch.zeros(16, device=setup.device)
    launch = setup.seconds(lambda: small.add_(1), calls=100)
    return [*rows, row("launch of a small kernel", 1e6 * launch, "us")]


CASES = ((2048, 65_536, 32), (8192, 65_536, 128), (65_536, 16_384, 8), (65_536, 1024, 256))


def lookup(setup: Setup) -> list[dict[str, Any]]:
    """Measure the code search beside its floor, its plain twin and the textbook's matrix.

    The floor is the larger of the times of its float32 products and of reading rows and codes.
    """
    from core.quantizers.tiled.lookup import best_code

    rows = []
    for count, size, dim in setup.pick(CASES, ((64, 96, 8),)):
        z, codes = (torch.randn(n, dim, device=setup.device) for n in (count, size))
        bias = -0.5 * codes.square().sum(1)
        name = f"{count:,} rows, {size:,} codes of {dim}"

        def search(z: Any = z, codes: Any = codes, bias: Any = bias) -> Any:
            return best_code(z, codes, bias)

        def textbook(z: Any = z, codes: Any = codes, bias: Any = bias) -> Any:
            return torch.addmm(bias, z, codes.t()).argmax(1)

        taken = setup.seconds(search, calls=5)
        floor = max(
            2 * count * size * dim / setup.limits.get("fp32", float("inf")),
            4 * (count + size) * dim / setup.limits.get("bandwidth", float("inf")),
        )
        rows.append(row(f"{name}: search", 1e3 * taken, "ms", note=f"floor {1e3 * floor:.3f} ms"))
        if floor:
            rows.append(row(f"{name}: times its floor", taken / floor, target=2))
        with plain():
            rows.append(row(f"{name}: plain", 1e3 * setup.seconds(search, calls=5), "ms"))
        rows.append(row(f"{name}: textbook", 1e3 * setup.seconds(textbook, calls=5), "ms"))
        rows.append(row(f"{name}: memory of the search", setup.peak(search) / 1e6, "MB",
                        note=f"textbook {setup.peak(textbook) / 1e6:,.0f} MB"))  # fmt: skip
    return rows


def training(setup: Setup) -> list[dict[str, Any]]:
    """Measure the training step of a recipe at the papers' scale, and where its time goes."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        trainer = _trainer(setup, Path(folder) / "one", None)
        images = pictures(trainer)
        flop = _flop(lambda: trainer.step(images, 0))
        for batch in setup.pick((None, 128), (None,)):
            if batch is not None:
                del trainer
                trainer = _trainer(setup, Path(folder) / str(batch), batch)
                flop *= batch / len(images)
                images = pictures(trainer)
            count = len(images)
            taken = setup.seconds(lambda t=trainer, x=images: t.step(x, 1), calls=5, budget=8)
            name = f"{RECIPE}, {count} pictures of {trainer.config.data.size} pixels"
            memory = setup.peak(lambda t=trainer, x=images: t.step(x, 1)) / 1e9
            rows += [
                row(f"{name}: step", 1e3 * taken, "ms", note=f"{flop / 1e12:.2f} TFLOP"),
                row(f"{name}: images/s", count / taken),
                row(f"{name}: activations and gradients", memory, "GB"),
                *_share(setup, f"{name}: share of the bf16 peak", flop / taken),
            ]
        with plain():
            taken = setup.seconds(lambda: trainer.step(images, 1), calls=5, budget=4)
        rows.append(row(f"{name}: step on the plain paths", 1e3 * taken, "ms"))
    return rows


def shares(setup: Setup) -> list[dict[str, Any]]:
    """Measure where the time of a training step goes, for the recipe and for a small one."""
    import step_shares

    rows = []
    for recipe in setup.pick((RECIPE, "scenes-masked"), (RECIPE,)):
        how = {"size": setup.pick(128, 32), "precision": setup.pick("bf16", "fp32")}
        found = step_shares.measure(
            recipe, steps=setup.pick(10, 1), warmup=setup.pick(5, 1), tiny=setup.tiny,
            workers=0, same_batch=True, **how,
        )  # fmt: skip
        rows += [
            row(f"{recipe}: {part['part']}", part["forward_ms"] + part["backward_ms"], "ms",
                note=f"{part['share']:.1%}")
            for part in found["parts"]
        ]  # fmt: skip
    return rows


def _trainer(setup: Setup, folder: Path, batch: int | None) -> Any:
    precision = setup.pick("bf16", "fp32")
    return run_of(RECIPE, folder, batch=batch, workers=0, precision=precision, tiny=setup.tiny)


def _share(setup: Setup, what: str, rate: float) -> list[dict[str, Any]]:
    if "bf16" not in setup.limits:
        return []
    note = f"{rate / 1e12:.1f} TFLOP/s"
    return [row(what, rate / setup.limits["bf16"], target=PEAK_SHARE, least=True, note=note)]


class _Flop(TorchDispatchMode):
    """Counts FLOP by torch's own formulas. (Its ``FlopCounterMode`` puts hooks on modules, too,
    which gradients on a leaf do not bear.)"""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0.0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        formula = flop_registry.get(func._overloadpacket)
        if formula is not None:
            self.total += formula(*args, **(kwargs or {}), out_val=made)
        return made


def _flop(call: Any) -> float:
    """Return the FLOP of a call in matrix products, convolutions and attention."""
    with plain(), _Flop() as counter:  # a kernel of our own would not be counted
        call()
    return counter.total


def sampling(setup: Setup) -> list[dict[str, Any]]:
    """Measure every sampler; the autoregressive one beside the time of reading its weights."""
    from bandwidth import floor

    rows = []
    kind = setup.pick(torch.bfloat16, torch.float32)
    for name, prior in priors(setup, large=not setup.tiny).items():
        prior.to(setup.device)
        if name != "latent diffusion":  # a U-Net of diffusers computes its times in float32
            prior.to(kind)
        for count in setup.pick((4, 32), (2,)):
            draw = torch.Generator(setup.device)
            call = lambda p=prior, n=count, g=draw: p.generate(n=n, generator=g)  # noqa: E731
            taken = setup.seconds(call, budget=5)
            tokens = count * prior.grid[0] * prior.grid[1]
            rows += [
                row(f"{name}, {count} pictures: pictures/s", count / taken),
                row(f"{name}, {count} pictures: memory", setup.peak(call) / 1e9, "GB"),
            ]
            if name == "autoregressive":
                rows.append(row(f"{name}, {count} pictures: tokens/s", tokens / taken))
                if "bandwidth" in setup.limits:
                    least = floor(prior, count, setup.limits["bandwidth"])
                    rows.append(row(
                        f"{name}, {count} pictures: times the time of reading the weights",
                        least * taken / tokens, target=TOKENS_AHEAD, note=f"{least:,.0f} tokens/s",
                    ))  # fmt: skip
                with plain():
                    slow = setup.seconds(call, budget=5)
                rows.append(row(f"{name}, {count} pictures: tokens/s, plain", tokens / slow))
        del prior
    return rows


def coding(setup: Setup) -> list[dict[str, Any]]:
    """Measure encoding and decoding by the recipe's tokenizer, in bfloat16 and float32."""
    from core.tokenizer import Tokenizer
    from train.recipes import config_of

    config: Any = config_of(RECIPE)
    if setup.tiny:
        from measured_runs import _small

        config = _small(config)
    tokenizer = Tokenizer(config.tokenizer).to(memory_format=torch.channels_last)
    tokenizer = tokenizer.eval().requires_grad_(False).to(setup.device)
    rows = []
    for side, count in setup.pick(((128, 64), (256, 32)), ((32, 2),)):
        images = torch.rand(count, 3, side, side, device=setup.device) * 2 - 1
        ids = tokenizer.encode(images)
        for kind in (torch.bfloat16, torch.float32):
            with torch.autocast(torch.device(setup.device).type, kind, enabled=kind.itemsize == 2):
                for name, call in (
                    ("encode", partial(tokenizer.encode, images)),
                    ("decode", partial(tokenizer.decode, ids)),
                ):
                    what = f"{name}, {count} pictures of {side} pixels, {str(kind)[6:]}"
                    taken = setup.seconds(call, calls=5)
                    rows.append(row(f"{what}: images/s", count / taken, note=(
                        f"{setup.peak(call) / 1e9:.2f} GB, {_flop(call) / taken / 1e12:.1f} TFLOP/s"
                    )))  # fmt: skip
    return rows


def prior_training(setup: Setup) -> list[dict[str, Any]]:
    """Measure a training step of each prior, with AdamW, in bfloat16."""
    rows = []
    count = setup.pick(64, 2)
    for name, prior in priors(setup, large=not setup.tiny).items():
        prior.to(setup.device).train()
        optimizer = torch.optim.AdamW(prior.parameters(), fused=True)
        height, width = prior.grid
        tokens = torch.randint(40, (count, height, width), device=setup.device)
        if name == "latent diffusion":
            tokens = torch.randn(count, 8, height, width, device=setup.device)

        def step(prior: Any = prior, tokens: Any = tokens, optimizer: Any = optimizer) -> None:
            with torch.autocast(torch.device(setup.device).type, torch.bfloat16):
                losses = prior(tokens, None, torch.Generator(setup.device))
            sum(x for term, x in losses.items() if not term.endswith("bits")).backward()
            optimizer.step()
            optimizer.zero_grad()

        step()
        flop, taken = _flop(step), setup.seconds(step, calls=3, budget=4)
        rows += [
            row(f"{name}, {count} pictures: step", 1e3 * taken, "ms"),
            row(f"{name}, {count} pictures: memory", setup.peak(step) / 1e9, "GB"),
            *_share(setup, f"{name}: share of the bf16 peak", flop / taken),
        ]
        del prior, optimizer
    return rows
