"""A tokenizer for your own photographs: train it, evaluate it, and look at what it keeps.

    python examples/train_on_your_photos.py PHOTOS
    python examples/train_on_your_photos.py PHOTOS --recipe photos-simvq --steps 2000
    python examples/train_on_your_photos.py PHOTOS --steps 500 --batch 16 --data.size 32

PHOTOS is a folder of pictures; subfolders are searched too. All other flags are passed on to the
recipe (``python train/run.py photos-regvq --help`` lists them). Started again, the run resumes.
The script writes ``bundle/`` (the checkpoint, which the explorer lists), ``report.json`` and
``comparison.png`` to the run's folder. The 4,600 steps of the shipped photos-regvq took about an
hour and a half on one CPU core.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from PIL import Image

from regvq.threads import wait_passively

wait_passively()  # before torch is imported: its idle threads sleep

from regvq import Tokenizer
from regvq.images import list_pictures, open_picture, shrink, to_pictures, to_tensor

ROOT = Path(__file__).resolve().parent.parent
SHOWN = 4
HEIGHT = 256


def comparison(tokenizer: Tokenizer, files: list[Path]) -> Image.Image:
    """Return a sheet: each picture above its reconstruction."""
    columns = []
    for file in files:
        picture = shrink(open_picture(file), HEIGHT)
        back = to_pictures(tokenizer.reconstruct(to_tensor(picture)[None]))[0]
        columns.append((picture, back))
    width = sum(picture.width for picture, _ in columns)
    height = max(picture.height for picture, _ in columns)
    sheet = Image.new("RGB", (width, 2 * height), "white")
    left = 0
    for picture, back in columns:
        sheet.paste(picture, (left, 0))
        sheet.paste(back, (left, height))
        left += picture.width
    return sheet


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("photos", type=Path, help="a folder of pictures")
    parser.add_argument("--recipe", default="photos-regvq", help="default: %(default)s")
    parser.add_argument("--steps", type=int, default=5000, help="default: %(default)s")
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "my-photos")
    arguments, flags = parser.parse_known_args()
    photos, out = arguments.photos.resolve(), arguments.out.resolve()
    files = list_pictures(photos)  # raises PictureError, one sentence, if there is no such folder
    print(f"{len(files)} pictures in {photos}")

    def command(name: str, *words: object) -> None:
        subprocess.run([sys.executable, ROOT / "train" / name, *map(str, words)], check=True)

    command(
        *("run.py", arguments.recipe, "--data.root", photos, "--out", out),
        *("--steps", arguments.steps, *flags),
    )
    command(
        *("evaluate.py", "--checkpoint", out, "--data.name", "folder", "--data.root", photos),
        *("--features.name", "none", "--codecs", "--limit", 100, "--out", out / "report.json"),
    )
    chosen = files[:: max(1, len(files) // SHOWN)][:SHOWN]
    comparison(Tokenizer.from_pretrained(out), chosen).save(out / "comparison.png")
    print(f"written: {out / 'comparison.png'}; python app.py shows the codebook")


if __name__ == "__main__":
    main()
