"""Speed of the embedded data set: images per second of one process, by picture size."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from core.threads import wait_passively

wait_passively()


def main() -> None:
    """Print one line per size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--sizes",
        type=int,
        nargs="+",
        default=[64, 256],
        metavar="PX",
        help="picture sizes in pixels (default: 64 256)",
    )
    parser.add_argument(
        "--seconds",
        type=float,
        default=4.0,
        metavar="S",
        help="time to draw at each size (default: 4)",
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the scenes (default: 0)")
    parser.add_argument(
        "--workers",
        type=int,
        default=2,
        metavar="N",
        help="worker processes of the training loader, which is timed at the first size; 0: it is "
        "not timed (default: 2)",
    )
    arguments = parser.parse_args()

    import torch
    from threadpoolctl import threadpool_limits

    from core.data.scenes import Scenes
    from core.errors import DataError

    torch.set_num_threads(1)
    threadpool_limits(1)  # the speed of one core; the loader's workers do the same
    for size in arguments.sizes:
        try:
            scenes = Scenes(size=size, seed=arguments.seed)
        except DataError as error:
            parser.error(str(error))
        for k in range(8):  # fills the tables of noise weights
            scenes.draw(k)
        count, start, busy = 0, time.perf_counter(), time.process_time()
        while (elapsed := time.perf_counter() - start) < arguments.seconds:
            scenes.draw(8 + count)
            count += 1
        busy = time.process_time() - busy  # about the time of an idle core
        print(f"{size:5d} px {count / elapsed:8.1f} images/s {count / busy:8.1f} images/CPU second")
    if arguments.workers > 0:
        size, rate = arguments.sizes[0], loader_rate(arguments)
        print(f"{size:5d} px {rate:8.1f} images/s from {arguments.workers} loader workers")


def loader_rate(arguments: argparse.Namespace) -> float:
    """Return the images per second that training gets from its loader."""
    from core.data.scenes import Scenes
    from train.loop.draws import Batches

    scenes = Scenes(size=arguments.sizes[0], seed=arguments.seed)
    stream = iter(Batches(scenes, 32, 0, 0, 1, arguments.workers))
    for _ in range(2 * arguments.workers):  # fills the tables of every worker
        next(stream)
    count, start = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - start) < arguments.seconds:
        count += len(next(stream))
    return count / elapsed


if __name__ == "__main__":
    main()
