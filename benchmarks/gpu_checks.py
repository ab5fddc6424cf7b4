"""The sections of ``gpu.py`` that check results: of a GPU, of fast paths, and of whole runs."""

from __future__ import annotations

import copy
import json
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gpu_setup import Setup, plain, row
from measured_runs import run_of

SHAPES = ((1, 1, 1), (70, 300, 7), (65, 129, 33), (3, 200, 130), (64, 128, 16), (513, 1025, 8))
LARGE = ((4096, 1024, 256), (65_536, 16_384, 8), (2048, 65_536, 32), (8192, 65_536, 128))
"""Numbers of rows, codes and dimensions: awkward ones, and those of recipes."""


def kernels(setup: Setup) -> list[dict[str, Any]]:
    """Check the code search, and sums over all codes, at awkward and at large sizes."""
    import torch

    from core.quantizers.tiled import lookup

    draw = torch.Generator().manual_seed(0)
    rows = []
    for count, size, dim in setup.pick(SHAPES + LARGE, SHAPES):
        z, codes = (torch.randn(n, dim, generator=draw).to(setup.device) for n in (count, size))
        bias = -0.5 * codes.square().sum(1)
        worst = 0.0
        for chosen in (False, True):
            with plain(chosen):
                ids = lookup.best_code(z, codes, bias)
            some = slice(0, 2048)
            scores = z[some].double() @ codes.double().t() + bias.double()
            gap = scores.amax(1) - scores.gather(1, ids[some, None])[:, 0]
            worst = max(worst, float((gap / (1 + scores.abs().amax(1))).max()))
        rows.append(row(f"search, {count} x {size} codes of {dim}: error of the best score", worst,
                        target=1e-5))  # fmt: skip
    whole = torch.cartesian_prod(*[torch.arange(-2.0, 2.0)] * 4).to(setup.device)
    twins = whole[torch.randperm(256, generator=draw)[:140].to(setup.device)].repeat(2, 1)
    ids = lookup.best_code(twins[:140], twins, -0.5 * twins.square().sum(1))
    wrong = float((ids != torch.arange(140, device=setup.device)).sum())
    rows.append(row("search, equal codes: ids that are not the lowest", wrong, target=0))
    return rows + _sums(setup, draw)


def _sums(setup: Setup, draw: Any) -> list[dict[str, Any]]:
    """Check sums over all codes, and their gradients, against the CPU."""
    import torch

    from core.quantizers.tiled.dense import non_stationary_loss
    from core.quantizers.tiled.soft import soft_statistics, straight_through

    count, size, dim = setup.pick((2048, 16_384, 32), (64, 96, 8))
    z, codes = torch.randn(count, dim, generator=draw), torch.randn(size, dim, generator=draw)
    bias, towards = torch.randn(size, generator=draw), torch.randn(count, dim, generator=draw)
    ids = torch.randint(size, (count,), generator=draw)

    def gradients(what: str, device: str) -> list[Any]:
        leaves = [x.to(device).requires_grad_() for x in (z, codes, bias)]
        if what == "soft statistics":
            entropy, mean = soft_statistics(*leaves)
            loss = entropy.mean() + (mean * mean).sum() * size
        elif what == "straight-through":
            out, _ = straight_through(*leaves, leaves[1], temperature=0.7)
            loss = (out * towards.to(device)).sum()
        else:
            loss = non_stationary_loss(leaves[1], leaves[0], ids.to(device), 0.35)
        loss.backward()
        return [loss.detach(), *(x.grad for x in leaves if x.grad is not None)]

    rows = []
    for what in ("soft statistics", "straight-through", "non-stationary loss"):
        pairs = zip(gradients(what, "cpu"), gradients(what, setup.device), strict=True)
        worst = max(float((a - b.cpu()).norm() / (a.norm() + 1e-12)) for a, b in pairs)
        rows.append(row(f"{what}: error of values and gradients", worst, target=1e-3))
    return rows


def quantizers(setup: Setup) -> list[dict[str, Any]]:
    """Check every quantizer on the device against the same one on the CPU, and its training."""
    import torch
    from kinds import OWN, own_config

    size = setup.pick(1024, 64)
    rows = []
    for kind in OWN:
        torch.manual_seed(0)
        here = own_config(kind, size).build(16)
        z = torch.randn(setup.pick(8, 2), 16, setup.pick(16, 4), setup.pick(16, 4))
        if hasattr(here, "started"):
            here.train()(z)
        there = copy.deepcopy(here).to(setup.device)
        wanted, found = here.eval()(z), there.eval()(z.to(setup.device))
        same = found.ids.cpu() == wanted.ids
        rows.append(
            row(
                f"{kind}: same ids as on the CPU",
                float(same.float().mean()),
                target=0.999,
                least=True,
            )
        )
        leaf = z.to(setup.device).requires_grad_()
        noise = torch.Generator(setup.device).manual_seed(0)
        out = there.train()(leaf, generator=noise)
        (out.z.square().mean() + sum(out.losses.values())).backward()
        there.update(leaf.detach(), out.ids)
        finite = bool(leaf.grad.isfinite().all()) and bool(out.z.isfinite().all())
        rows.append(row(f"{kind}: a training step is finite", float(finite), target=1, least=True))
    return rows


def networks(setup: Setup) -> list[dict[str, Any]]:
    """Check tokenizers and samplers on the device against the CPU, and fast paths against plain."""
    import torch

    from core.networks.autoencoder import NetworkConfig
    from core.quantizers import RegVQConfig
    from core.tokenizer import Tokenizer, TokenizerConfig

    torch.manual_seed(0)
    network = NetworkConfig(widths=setup.pick((64, 128), (8, 16)), latent_dim=8, attention=True)
    here = Tokenizer(TokenizerConfig(network, RegVQConfig(size=setup.pick(1024, 32)))).eval()
    there = copy.deepcopy(here).to(setup.device)
    images = torch.rand(setup.pick(4, 1), 3, 64, 48) * 2 - 1
    ids = here.encode(images)
    same = (there.encode(images).cpu() == ids).float().mean()
    gap = (there.decode(ids).cpu() - here.decode(ids)).abs().max()
    rows = [
        row("tokenizer: same ids as on the CPU", float(same), target=0.98, least=True),
        row("tokenizer: largest difference of a pixel in [-1, 1]", float(gap), target=0.02),
    ]
    for name, prior in priors(setup).items():
        device = copy.deepcopy(prior).to(setup.device)

        def drawn(which: Any) -> Any:
            return which.generate(n=2, generator=torch.Generator().manual_seed(0)).cpu()

        wanted, fast = drawn(prior), drawn(device)
        with plain():
            slow = drawn(device)
        for what, other in (("the CPU", wanted), ("the plain path", slow)):
            if fast.is_floating_point():
                gap = float((fast - other).abs().max())
                rows.append(row(f"{name}: largest difference to {what}", gap, target=0.1))
            else:
                share = float((fast == other).float().mean())
                rows.append(row(f"{name}: same tokens as {what}", share, target=0.9, least=True))
    return rows


def priors(setup: Setup, large: bool = False) -> dict[str, Any]:
    """Return an untrained prior of each kind, with random weights that matter, in eval mode."""
    import torch

    from core.priors import AutoregressiveConfig, DiffusionConfig, LatentConfig, MaskedConfig

    size = {"codebook_size": 1024, "grid": (16, 16), "width": 256, "layers": 4, "heads": 4}
    if large:
        size |= {"codebook_size": 16_384, "width": 1024, "layers": 24, "heads": 16}
    small = {"codebook_size": 40, "grid": (4, 4), "width": 64, "layers": 2, "heads": 1}
    shape = setup.pick(size, small)
    steps = setup.pick(100, 4)
    latent = setup.pick(
        {"width": 256 if large else 64}, {"width": 32, "factors": (1, 2), "blocks": 1}
    )
    configs: dict[str, Any] = {
        "autoregressive": AutoregressiveConfig(**shape),
        "masked": MaskedConfig(**shape),
        "discrete diffusion": DiffusionConfig(**shape, timesteps=steps),
        "latent diffusion": LatentConfig(latent_dim=8, grid=shape["grid"], **latent),
    }
    made = {}
    for name, config in configs.items():
        torch.manual_seed(0)
        try:
            prior = config.build().eval()
        except ImportError:  # diffusers
            continue
        with torch.no_grad():
            if hasattr(prior, "network"):
                prior.network.head.weight.normal_(std=0.2)
            else:
                prior.std.fill_(1.0)
        made[name] = prior
    return made


RUNS = ("scenes-regvq", "scenes-semantic-ar", "scenes-masked", "scenes-latent")


def waits(setup: Setup) -> list[dict[str, Any]]:
    """Count how often the host waits for the GPU in a training step and in sampling."""
    import torch

    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for number, recipe in enumerate(setup.pick(RUNS, RUNS[:2])):
            trainer = run_of(recipe, Path(folder) / str(number), workers=0, tiny=setup.tiny,
                             batch=2, size=setup.pick(64, 32))  # fmt: skip
            batches = trainer._stream(0, 3)
            for step in range(2):
                trainer.step(next(batches), step)
            batch = next(batches)
            count = _waits(setup, lambda t=trainer, b=batch: t.step(b, 2))
            rows.append(row(f"{recipe}: waits in a training step", count, target=0))
            batches.close()
    for name, prior in priors(setup).items():
        prior.to(setup.device)
        draw = torch.Generator(setup.device)
        prior.generate(n=2, generator=draw)
        count = _waits(setup, lambda p=prior, g=draw: p.generate(n=2, generator=g))
        rows.append(row(f"{name}: waits in a sampling", count, target=2))
    return rows


def _waits(setup: Setup, call: Callable[[], Any]) -> int:
    """Return how often torch says that an operation waits; 0 on a CPU, which never does."""
    import torch

    if not setup.on_gpu:
        call()
        return 0
    torch.cuda.synchronize()
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            call()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    places = [
        f"{Path(x.filename).name}:{x.lineno}" for x in found if "synchroniz" in str(x.message)
    ]
    print("  waits:", ", ".join(places) or "none", flush=True)
    return len(places)


def runs(setup: Setup) -> list[dict[str, Any]]:
    """Train each kind of run for some steps, save, resume it, and load its bundle."""
    import torch

    from core.checkpoints import load_prior, load_tokenizer

    rows = []
    with tempfile.TemporaryDirectory() as folder:
        tokenizer = None
        for number, recipe in enumerate(setup.pick(RUNS, RUNS[:2])):
            place = Path(folder) / str(number)
            how: dict[str, Any] = {"workers": setup.pick(2, 0), "batch": 2, "tiny": setup.tiny,
                                   "size": setup.pick(64, 32), "tokenizer": tokenizer}  # fmt: skip
            short = {
                "steps": 6,
                "save_every": 3,
                "log_every": 1,
                "validate_every": setup.pick(3, 0),
            }
            first = run_of(recipe, place, changes=short | {"stop_after": 3}, **how)
            first.train()
            again = run_of(recipe, place, changes=short, **how)
            bundle = again.train()
            log = [json.loads(x) for x in (place / "run/log.jsonl").read_text().splitlines()]
            steps = len({line["step"] for line in log})
            rows.append(
                row(f"{recipe}: steps of a run that was resumed", steps, target=6, least=True)
            )
            load = load_tokenizer if number == 0 else load_prior
            loaded = load(bundle, setup.device)
            finite = all(bool(torch.isfinite(p).all()) for p in loaded.parameters())
            rows.append(row(f"{recipe}: its bundle is finite", float(finite), target=1, least=True))
            tokenizer = bundle if number == 0 and not setup.tiny else tokenizer
    return rows
