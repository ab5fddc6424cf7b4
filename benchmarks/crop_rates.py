"""The speed of loading, and the memory of an index, measured on this machine.

``python benchmarks/crop_rates.py`` writes drawn landscapes of 500 x 375 pixels, as large as usual
pictures of ImageNet, as JPEG into tar shards, parquet and a folder, and prints how many training
crops of 128 and 256 pixels one core makes of them per second, without a cache of decoded pictures.
"""

from __future__ import annotations

import io
import sys
import tarfile
import tempfile
import time
import tracemalloc
from functools import lru_cache
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from core.threads import wait_passively

wait_passively()

import torch  # noqa: E402
from PIL import Image  # noqa: E402

from core.data import open_dataset  # noqa: E402
from core.data.scenes import Scenes  # noqa: E402
from core.data.shards import TarShards  # noqa: E402
from core.images import to_pictures  # noqa: E402

SIZE, COUNT, SECONDS = (500, 375), 96, 5.0


@lru_cache(maxsize=1)
def pictures() -> tuple[bytes, ...]:
    """Return JPEG files of landscapes."""
    scenes, found = Scenes(size=SIZE[0]), []
    for index in range(COUNT):
        (picture,) = to_pictures(scenes[index].image[None])
        # Grain of a camera: drawn surfaces are smooth and would be small files, quickly decoded.
        noise = torch.randn(SIZE[1], SIZE[0], 3, generator=torch.Generator().manual_seed(index))
        pixels = torch.as_tensor(list(picture.crop((0, 0, *SIZE)).tobytes())).view(*noise.shape)
        grainy = (pixels + 12 * noise).clamp(0, 255).byte().numpy()
        file = io.BytesIO()
        Image.fromarray(grainy).save(file, "JPEG", quality=92)
        found.append(file.getvalue())
    return tuple(found)


def write(folder: Path, kind: str) -> Path:
    """Write the pictures as a folder, tar shards or parquet; return the root."""
    root = folder / kind
    root.mkdir()
    files = [(f"{index:05d}.jpg", data) for index, data in enumerate(pictures())]
    if kind == "folder":
        for name, data in files:
            (root / name).write_bytes(data)
    elif kind == "parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        rows = [{"bytes": data, "path": name} for name, data in files]
        pq.write_table(pa.table({"image": rows}), root / "a.parquet", row_group_size=32)
    else:
        with tarfile.open(root / "a.tar", "w") as archive:
            for name, data in files:
                facts = tarfile.TarInfo(name)
                facts.size = len(data)
                archive.addfile(facts, io.BytesIO(data))
    return root


def pictures_per_second(side: int, kind: str = "shards", seconds: float = SECONDS) -> float:
    """Return the training crops of ``side`` pixels that one core makes per second."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with tempfile.TemporaryDirectory() as folder:
            data = open_dataset(kind, write(Path(folder), kind), size=side)
            data._room = 0  # no cache of decoded pictures: large data sets have none
            data.draw(0)
            done, start = 0, time.process_time()  # of this core, whatever else the machine does
            while time.process_time() - start < seconds:
                done += 1
                data.draw(done)
            return done / (time.process_time() - start)
    finally:
        torch.set_num_threads(threads)


def bytes_per_item(items: int = 20_000) -> float:
    """Return the bytes of memory that a picture of tar shards takes in a process that opened them:
    those of more items less those of few, each with a label."""
    sizes = []
    for count in (items // 10, items):
        with tempfile.TemporaryDirectory() as folder:
            with tarfile.open(Path(folder) / "a.tar", "w") as archive:
                for index in range(count):
                    for suffix, size in ((".jpg", 100), (".cls", 3)):
                        facts = tarfile.TarInfo(f"n01440764_{index:08d}{suffix}")
                        facts.size = size
                        archive.addfile(facts, io.BytesIO(bytes(size)))
            tracemalloc.start()
            data = TarShards(folder)
            data._order(0)
            sizes.append(tracemalloc.get_traced_memory()[0])
            tracemalloc.stop()
            del data
    return (sizes[1] - sizes[0]) / (items - items // 10)


def main() -> None:
    """Print a table."""
    size = sum(map(len, pictures())) / COUNT / 1e3
    print(f"JPEG of {SIZE[0]} x {SIZE[1]} pixels, {size:.0f} kB; crops per second and core\n")
    print("| read from | 128 pixels | 256 pixels |\n|---|---|---|")
    for kind in ("folder", "shards", "parquet"):
        rates = [pictures_per_second(side, kind) for side in (128, 256)]
        print(f"| {kind} | {rates[0]:.0f} | {rates[1]:.0f} |", flush=True)
    print(f"\nmemory of the index: {bytes_per_item():.0f} bytes per item of tar shards")


if __name__ == "__main__":
    main()
