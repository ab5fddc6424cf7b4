"""The time of a training step by its parts: data, encoder, quantizer, decoder, features, ...

``python benchmarks/step_shares.py photos-regvq`` builds the run of a recipe, takes some steps and
prints the milliseconds that each part takes forward and backward, and its share of a step. Parts
are told apart by hooks: each moment belongs to exactly one part, so that the parts add up to the
step. On a GPU the clock waits for the kernels at each border, which a run does not: there the parts
add up to a little more than a step takes.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from core.threads import wait_passively

wait_passively()

from measured_runs import run_of  # noqa: E402

REST = "rest"
PARTS = (
    "data", "tokenizer", "encoder", "quantizer", "decoder", "features", "losses", "discriminator",
    "conditions", "network", "optimizer", "averages", "logging", REST,
)  # fmt: skip
"""The parts, in the order of the table. "tokenizer": the encoding of a prior's pictures; "losses":
what is computed on pixels, features or logits; its gradient is that of features and pixels."""


class PartClock:
    """The time that each part has taken, forward and backward. One part runs at a time."""

    def __init__(self, wait: Callable[[], None]) -> None:
        self.seconds: dict[tuple[str, str], float] = defaultdict(float)
        self._wait, self._stack = wait, [(REST, "forward")]
        self._last = time.perf_counter()
        self.newest = REST
        """The part that began last."""

    @property
    def now(self) -> tuple[str, str]:
        """The part that runs, and its way."""
        return self._stack[-1]

    def _close(self) -> None:
        self._wait()
        now = time.perf_counter()
        self.seconds[self._stack[-1]] += now - self._last
        self._last = now

    def begin(self, part: str, way: str = "forward") -> None:
        """Begin a part inside the one that runs."""
        self._close()
        self._stack.append((part, way))
        self.newest = part

    def end(self) -> None:
        """End the innermost part; the one around it runs again."""
        self._close()
        self._stack.pop()

    def switch(self, part: str, way: str) -> None:
        """End the innermost part and begin another in its place."""
        self._close()
        self._stack[-1] = (part, way)

    @contextmanager
    def part(self, name: str, way: str = "forward") -> Iterator[None]:
        """Count what runs inside as a part."""
        self.begin(name, way)
        try:
            yield
        finally:
            self.end()

    def around(self, owner: Any, name: str, part: str, way: str = "forward") -> None:
        """Count each call of a method as a part."""
        method = getattr(owner, name)

        def timed(*args: Any, **kwargs: Any) -> Any:
            with self.part(part, way):
                return method(*args, **kwargs)

        setattr(owner, name, timed)

    def module(self, module: Any, part: str) -> None:
        """Count each forward pass of a module as a part."""
        module.register_forward_pre_hook(lambda *_: self.begin(part))
        module.register_forward_hook(lambda *_: self.end(), always_call=True)

    def restart(self) -> None:
        """Forget what was counted."""
        self._close()
        self.seconds.clear()


def watch(trainer: Any, clock: PartClock) -> None:
    """Put hooks on a run, so that the clock knows which part runs."""
    clock.around(trainer.averaged, "update_parameters", "averages")
    clock.around(trainer, "_check", "logging")
    for optimizer in (trainer.optimizer, getattr(trainer, "discriminator_optimizer", None)):
        if optimizer is not None:
            clock.around(optimizer, "step", "optimizer")
            clock.around(optimizer, "zero_grad", "optimizer")
    is_tokenizer = hasattr(trainer, "objective")
    (_watch_tokenizer if is_tokenizer else _watch_prior)(trainer, clock)
    backward = trainer.accelerator.backward

    def timed(loss: Any, **how: Any) -> None:
        part = "network" if not is_tokenizer else clock.now[0]
        with clock.part(part, "backward"):
            backward(loss, **how)

    trainer.accelerator.backward = timed


def _watch_tokenizer(trainer: Any, clock: PartClock) -> None:
    tokenizer = trainer.tokenizer
    for name in ("encoder", "quantizer", "decoder"):
        clock.module(getattr(tokenizer, name), name)
    for features in (trainer.features, trainer.second):
        if features is not None:
            clock.module(features, "features")
    if trainer.discriminator is not None:
        clock.module(trainer.discriminator, "discriminator")
        clock.around(trainer, "_train_discriminator", "discriminator")
    clock.around(trainer.objective, "_picture_losses", "losses")
    clock.around(tokenizer.quantizer, "update", "quantizer")
    clock.around(trainer.usage, "add", "logging")

    def bordered(module: Any, given: Any, made: tuple[Any, Any, Any]) -> None:
        """Let the gradient say where it has arrived."""
        decoded, latents, quantized = made
        borders = ((decoded, "decoder"), (quantized.z, "quantizer"), (latents, "encoder"))
        for tensor, part in borders:
            if tensor.requires_grad:
                tensor.register_hook(lambda _, part=part: arrived(part))

    def arrived(part: str) -> None:
        if clock.now[1] == "backward" and clock.now[0] != "losses":
            clock.switch(part, "backward")

    tokenizer.register_forward_hook(bordered)


def _watch_prior(trainer: Any, clock: PartClock) -> None:
    for name in ("encode", "latents"):
        clock.around(trainer.tokenizer, name, "tokenizer")
    clock.module(trainer.prior, "losses")
    for name, part in trainer.prior.named_modules():
        kind = name.rpartition(".")[2]
        if kind in ("network", "unet"):
            clock.module(part, "network")
        elif kind == "conditioner":
            clock.around(part, "encode", "conditions")


@contextmanager
def _functions(clock: PartClock) -> Iterator[None]:
    """Count the functions of torch that the losses and the optimizers use."""
    import torch

    grad, clip = torch.autograd.grad, torch.nn.utils.clip_grad_norm_

    def timed_grad(outputs: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        # Of the losses on the picture, of the generator's loss, or of both on the last weight.
        part = "decoder" if isinstance(inputs, torch.nn.Parameter) else clock.newest
        clock.begin(part, "gradient")
        try:
            return grad(outputs, inputs, *args, **kwargs)
        finally:
            clock.end()

    def timed_clip(*args: Any, **kwargs: Any) -> Any:
        with clock.part("optimizer"):
            return clip(*args, **kwargs)

    with (
        patch("torch.autograd.grad", timed_grad),
        patch("torch.nn.utils.clip_grad_norm_", timed_clip),
    ):
        yield


def measure(
    recipe: str, *, steps: int = 5, warmup: int = 2, same_batch: bool = False, **how: Any
) -> dict[str, Any]:
    """Return the milliseconds of each part of a training step of ``recipe``.

    ``how``: the settings of ``measured_runs.run_of``. ``warmup`` steps are not counted. With
    ``same_batch``, all steps take the first batch, so that loading has no part. The result has "ms"
    of a step, "images_per_second" and, in "parts", a row for each part that took time.
    """
    with tempfile.TemporaryDirectory() as folder:
        trainer = run_of(recipe, Path(folder), **how)
        return measure_run(trainer, steps, warmup, same_batch) | {"recipe": recipe}


def measure_run(trainer: Any, steps: int, warmup: int, same_batch: bool) -> dict[str, Any]:
    """Return ``measure`` of a run that was built."""
    import torch

    on_gpu = trainer.device.type == "cuda"
    clock = PartClock(torch.cuda.synchronize if on_gpu else lambda: None)
    watch(trainer, clock)
    stream = trainer._stream(0, warmup + steps)
    losses: dict[str, Any] = {}
    batch = None
    with _functions(clock):
        for step in range(warmup + steps):
            if step == warmup:
                clock.restart()
            if batch is None or not same_batch:
                with clock.part("data"):
                    batch = next(stream)
            losses = trainer.step(batch, step)
        clock.begin(REST)  # closes the last part
        found = dict(clock.seconds)
        clock.restart()
        trainer._figures(losses)
        clock.begin(REST)
    stream.close()
    log = sum(clock.seconds.values()) / trainer.config.log_every
    found["logging", "forward"] = found.get(("logging", "forward"), 0.0) + log * steps
    return _described(trainer, found, steps)


def _described(trainer: Any, seconds: dict[tuple[str, str], float], steps: int) -> dict[str, Any]:
    config, total = trainer.config, sum(seconds.values())
    rows = []
    for part in PARTS:
        forward = seconds.get((part, "forward"), 0.0)
        backward = sum(seconds.get((part, way), 0.0) for way in ("backward", "gradient"))
        if forward or backward:
            rows.append({
                "part": part, "forward_ms": 1e3 * forward / steps,
                "backward_ms": 1e3 * backward / steps, "share": (forward + backward) / total,
            })  # fmt: skip
    return {
        "size": config.data.size,
        "batch": config.batch,
        "precision": "bfloat16" if trainer.half else "float32",
        "device": str(trainer.device),
        "steps": steps,
        "ms": 1e3 * total / steps,
        "images_per_second": config.batch * steps / total,
        "parts": rows,
    }


def table(found: dict[str, Any]) -> str:
    """Return what ``measure`` found as Markdown."""
    lines = [
        f"**{found['recipe']}**: {found['batch']} pictures of {found['size']} pixels, "
        f"{found['precision']}, {found['ms']:,.0f} ms per step, "
        f"{found['images_per_second']:,.1f} images/s",
        "",
        "| part | forward, ms | backward, ms | share |",
        "|---|---:|---:|---:|",
    ]
    for row in found["parts"]:
        backward = f"{row['backward_ms']:,.1f}" if row["backward_ms"] else ""
        lines.append(
            f"| {row['part']} | {row['forward_ms']:,.1f} | {backward} | {row['share']:.1%} |"
        )
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    """Measure the recipes that the command names, and print a table for each."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    add = parser.add_argument
    add("recipes", nargs="+", metavar="RECIPE", help="names of recipes: python train/run.py --help")
    add("--steps", type=int, default=5, help="steps that are counted (default: 5)")
    add("--warmup", type=int, default=2, help="steps before them (default: 2)")
    add("--size", type=int, help="side of the pictures (default: the recipe's)")
    add("--batch", type=int, help="pictures per step (default: the recipe's)")
    add("--workers", type=int, help="processes that load pictures (default: the recipe's)")
    add("--precision", choices=("auto", "bf16", "fp32"), default="auto")
    add("--data", default="scenes", metavar="NAME", help="the data set (default: scenes)")
    add("--root", type=Path, metavar="DIR", help="its folder, for one with files")
    add("--same-batch", action="store_true", help="take the first batch in all steps")
    add("--tokenizer", type=Path, metavar="DIR",
        help="the bundle of a prior's tokenizer (default: an untrained one)")  # fmt: skip
    add("--threads", type=int, help="CPU threads (default: torch's)")
    add("--tiny", action="store_true", help="small networks, to see that it runs")
    add("--out", type=Path, metavar="FILE", help="also write the figures as JSON")
    flags = vars(parser.parse_args(arguments))
    recipes, out, threads = (flags.pop(name) for name in ("recipes", "out", "threads"))
    if threads:
        import torch

        torch.set_num_threads(threads)
    found = []
    for recipe in recipes:
        found.append(measure(recipe, **flags))
        print("\n" + table(found[-1]), flush=True)
    if out is not None:
        out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
