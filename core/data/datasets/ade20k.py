"""ADE20K, the SceneParsing release: indoor and outdoor scenes with maps of 150 classes."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from ..picture_dataset import DatasetInfo, Entry, PictureDataset
from ..segmentation import plain_lookup, spread_palette
from .published_layout import existing_entries, existing_root, layout_error, pictures_in

_LAYOUT = "images/{training,validation}/*.jpg and annotations/{training,validation}/*.png"

CLASSES = tuple(
    """wall;building;sky;floor;tree;ceiling;road;bed;windowpane;grass;cabinet;sidewalk;person;earth;
door;table;mountain;plant;curtain;chair;car;water;painting;sofa;shelf;house;sea;mirror;rug;field;
armchair;seat;fence;desk;rock;wardrobe;lamp;bathtub;railing;cushion;base;box;column;signboard;
chest of drawers;counter;sand;sink;skyscraper;fireplace;refrigerator;grandstand;path;stairs;runway;
case;pool table;pillow;screen door;stairway;river;bridge;bookcase;blind;coffee table;toilet;flower;
book;hill;bench;countertop;stove;palm;kitchen island;computer;swivel chair;boat;bar;arcade machine;
hovel;bus;towel;light;truck;tower;chandelier;awning;streetlight;booth;television;airplane;
dirt track;apparel;pole;land;bannister;escalator;ottoman;bottle;buffet;poster;stage;van;ship;
fountain;conveyer belt;canopy;washer;plaything;swimming pool;stool;barrel;basket;waterfall;tent;bag;
minibike;cradle;oven;ball;food;step;tank;trade name;microwave;pot;animal;bicycle;lake;dishwasher;
screen;blanket;sculpture;hood;sconce;vase;traffic light;tray;ashcan;fan;pier;crt screen;plate;
monitor;bulletin board;shower;radiator;glass;clock;flag""".replace("\n", "").split(";")
)
"""The 150 classes in the published order (first synonym of objectInfo150)."""


class ADE20K(PictureDataset):
    """ADE20K SceneParsing: `ADEChallengeData2016/{images,annotations}/{training,validation}`.

    In the published maps 0 is "other", here unlabeled, and 1..150 are the classes 0..149. The
    split "test" is also the validation set: the maps of the test set are not published. The palette
    is our choice (see `spread_palette`).

    Raises DataError if the root has another layout, or if over 1 % of the pictures have no map.
    """

    name = "ade20k"
    about = DatasetInfo(
        what="ADE20K SceneParsing (Zhou et al. 2017): scenes with maps of 150 classes",
        where="http://sceneparsing.csail.mit.edu, ADEChallengeData2016.zip",
        terms="photographs: non-commercial research and education; annotations: BSD-3-Clause",
    )
    markers = (
        "ADEChallengeData2016*",
        "annotations",
        "images/training",
        "images/validation",
        "object*.txt",
        "sceneCategories.txt",
    )
    classes = CLASSES
    palette = spread_palette(len(CLASSES) + 1)[1:]  # without black, the color of unlabeled pixels
    lookup = plain_lookup(len(CLASSES), first=1, unlabeled=0)
    counts = {"train": 20_210, "val": 2_000, "test": 2_000}  # noqa: RUF012

    def __init__(self, root: str | Path | None, split: str = "train", **options: Any) -> None:
        root = existing_root(root, self.name, _LAYOUT)
        base = root if (root / "images").is_dir() else root / "ADEChallengeData2016"
        part = "training" if split == "train" else "validation"
        pictures, maps = base / "images" / part, base / "annotations" / part
        if not (pictures.is_dir() and maps.is_dir()):
            raise layout_error(root, self.name, _LAYOUT)
        unread = Counter[str]()
        entries, missing = existing_entries(
            [Entry(path, maps / f"{path.stem}.png") for path in pictures_in(pictures, unread)],
            root,
            f"images/{part}",
            self.name,
        )
        super().__init__(root, entries, missing=missing, unread=unread, **options)
