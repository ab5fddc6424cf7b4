"""How fast the embedded data set draws: images a second, one process, by picture size."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))


def main() -> None:
    """Print one line a size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 256], metavar="PX",
                        help="picture sizes in pixels (default: 64 256)")
    parser.add_argument("--seconds", type=float, default=4.0, metavar="S",
                        help="how long to draw at each size (default: 4)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the scenes (default: 0)")
    arguments = parser.parse_args()

    import torch

    from core.data import DataError
    from core.data.scenes import Scenes

    torch.set_num_threads(1)
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
        busy = time.process_time() - busy  # what an idle core would take, or nearly
        print(f"{size:5d} px {count / elapsed:8.1f} images/s {count / busy:8.1f} images/CPU second")


if __name__ == "__main__":
    main()
