"""The explorer on tokenizers with large codebooks: ``python benchmarks/large_codebooks.py``.

It writes tokenizers with random weights into a temporary folder and opens each as the explorer
does, without a browser: an f16 network of 72 M parameters with 16,384 codes, and small networks
with 65,536 codes (VQ) and 262,144 codes (LFQ, as Open-MAGVIT2's). Printed are seconds: until a tab
has what it draws, until the first code is painted, for a reconstruction of 512 x 512 pixels in
float32 and bfloat16, for the codes that are painted in quiet moments (all of them are extrapolated
from ``--paint`` seconds), and for the export of a bundle. The second figure of each line is the
processor's time divided by its cores: on an idle machine about equal to the first one, and what can
be compared where others use the machine, too.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from core.threads import wait_passively

wait_passively()

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
T = TypeVar("T")

WANTED = {
    "reconstruct 512 x 512, bfloat16": 6.0,
    "reconstruct 512 x 512, float32": 12.0,
    "first code painted": 1.0,
    "all codes painted": 600.0,
    "export": 60.0,
}
"""The project's targets in seconds, on 2 cores: of the network of 72 M parameters, and of the
export with 262,144 codes."""


def timed(what: str, act: Callable[[], T]) -> T:
    """Call ``act``, print one line of the table, and return its result."""
    clock = Clock()
    result = act()
    say(what, clock.passed())
    return result


class Clock:
    """A stopwatch of the seconds that pass and of the processor's time per core."""

    def __init__(self) -> None:
        self._wall, self._processor = time.perf_counter(), time.process_time()

    def passed(self) -> tuple[float, float]:
        """Return both since the start."""
        processor = time.process_time() - self._processor
        return time.perf_counter() - self._wall, processor / CORES


def say(what: str, seconds: tuple[float, float], times: float = 1, more: str = "") -> None:
    """Print one line of the table: the seconds, multiplied by ``times``."""
    wanted = WANTED.get(what)
    goal = "" if wanted is None else f"{wanted:g}"
    wall, processor = (times * one for one in seconds)
    print(f"| {what}{more} | {wall:.2f} | {processor:.2f} | {goal} |", flush=True)


def write_tokenizers(folder: Path, seed: int = 0) -> dict[str, Path]:
    """Write the bundles; return them by name."""
    import torch

    from core.networks.autoencoder import NetworkConfig
    from core.networks.vqgan import VQGANConfig
    from core.quantizers import LFQConfig, VQConfig
    from core.tokenizer import Tokenizer, TokenizerConfig

    small = NetworkConfig(widths=(32, 48, 64, 96), latent_dim=18)
    configs = {
        "f16-72M-16384": TokenizerConfig(VQGANConfig(latent_dim=8), VQConfig(size=16_384)),
        "small-65536": TokenizerConfig(small, VQConfig(size=65_536)),
        "small-262144": TokenizerConfig(small, LFQConfig(size=2**18)),
    }
    torch.manual_seed(seed)
    for name, config in configs.items():
        tokenizer = Tokenizer(config).eval().requires_grad_(False)
        for parameter in tokenizer.quantizer.parameters():
            if parameter.shape == (config.quantizer.size, config.network.latent_dim):
                parameter.normal_()  # else a random network uses a few codes alone
        tokenizer.save_pretrained(folder / name)
    return {name: folder / name for name in configs}


def open_tabs(name: str, picture: str, seconds: float) -> None:
    """Time what each tab draws of a checkpoint that was never opened before."""
    from app.services import code_details, code_map, code_stats, painting, reconstruction
    from app.services.checkpoints import open_tokenizer
    from app.services.codebook_chart import codebook_chart

    vars(painting.PAINTER)["want"] = lambda atlas: None  # here, quiet moments are at the end
    handle = open_tokenizer(name)
    tokenizer = timed("load the weights", lambda: handle.tokenizer)
    request = reconstruction.parse_request(picture, name)
    timed("Reconstruct: the pictures", lambda: reconstruction.first_view(request))
    timed("Reconstruct: the figures", lambda: reconstruction.comparison_view(request))
    atlas = code_stats.atlas(handle)
    timed("first code painted", lambda: atlas.look([atlas.size - 1]))
    counted = "bundle"
    timed("Codebook", lambda: codebook_chart(name, counted, None, "usage", "alike"))
    timed("Codebook: the card of a code", lambda: code_details.code_card(name, 5, picture, counted))
    window = SimpleNamespace(x=[0, 16], y=[-16, 0], width=800, height=800)
    timed(
        "Codebook: the first tiles of a window",
        lambda: codebook_chart(name, counted, None, "tiles", "alike", event=window),
    )
    timed("Code map by PCA", lambda: code_map.map_chart(name, "pca", 2, "usage", "dots"))

    def work(done: Callable[[], bool]) -> tuple[float, float]:
        clock = Clock()
        while not done() and clock.passed()[0] < seconds:
            atlas.work()
        return clock.passed()

    assert atlas.count is not None
    if not atlas.count.complete:
        already, spent = atlas.count.done, work(lambda: atlas.count is None or atlas.count.complete)
        times = atlas.count.total / max(1, atlas.count.done - already)
        say("uses counted in all scenes", spent, times, f", from {atlas.count.done}")
        atlas.count.done = atlas.count.total
    already, spent = len(atlas.sequence), work(lambda: atlas.complete)
    new = len(atlas.sequence) - already
    more = "" if atlas.complete else f", from {new:,} codes"
    say("all codes painted", spent, atlas.size / max(1, new), more)
    del tokenizer


def reconstruct_twice(path: Path, picture: str) -> None:
    """Time a reconstruction in float32 and in bfloat16, if this processor computes in it."""
    import torch

    from app.services import precision
    from core.images import open_picture, to_tensor
    from core.tokenizer import Tokenizer

    image = to_tensor(open_picture(picture))[None, :, :512, :512]
    image = torch.nn.functional.interpolate(image, (512, 512))
    ids = []
    supported = torch.cpu._is_avx512_bf16_supported
    for kind, native in (("float32", False), ("bfloat16", True)):
        if native and not supported():
            print("| this processor does not compute in bfloat16 | | | |")
            return
        vars(torch.cpu)["_is_avx512_bf16_supported"] = lambda native=native: native
        tokenizer = precision.quicken(Tokenizer.from_pretrained(path))
        vars(torch.cpu)["_is_avx512_bf16_supported"] = supported
        tokenizer.decode(tokenizer.encode(image[..., :64, :64]))  # not the first call

        def act(tokenizer: Tokenizer = tokenizer) -> Any:
            found = tokenizer.encode(image)
            tokenizer.decode(found)
            return found

        ids.append(timed(f"reconstruct 512 x 512, {kind}", act))
    share = float((ids[0] == ids[1]).float().mean())
    print(f"| ids that agree in both | {share:.2%} | | 99.9% |")


def export(path: Path, folder: Path) -> None:
    """Time a bundle's atlas and its files, as a run or train/evaluate.py --publish write them."""
    import numpy as np

    from core.analysis.atlas import build_atlas
    from core.tokenizer import Tokenizer

    tokenizer = Tokenizer.from_pretrained(path)
    counts = np.random.default_rng(0).integers(0, 9, tokenizer.codebook_size)

    def act() -> None:
        atlas = build_atlas(tokenizer, counts=counts, source="random numbers")
        tokenizer.save_pretrained(folder / "exported", atlas=atlas)

    timed("export", act)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--paint", type=float, default=20, help="seconds of painting per tokenizer")
    parser.add_argument("--only", default="", help="a part of the name of one tokenizer")
    flags = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        paths = write_tokenizers(folder / "bundles")
        os.environ["REGVQ_CACHE"] = str(folder / "cache")
        os.environ["REGVQ_CHECKPOINTS"] = str(folder / "bundles")
        from app.services.examples import examples

        picture = examples()[0].path
        print(f"{CORES} cores, load {os.getloadavg()[0]:.1f}")
        for name, path in paths.items():
            if flags.only not in name:
                continue
            print(f"\n| {name} | seconds | of {CORES} cores | target |\n|---|---|---|---|")
            open_tabs(name, picture, flags.paint)
            if "72M" in name:
                reconstruct_twice(path, picture)
            if "262144" in name:
                export(path, folder)
        print(f"\nload {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
