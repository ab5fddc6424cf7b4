"""MS-COCO 2017: photographs of everyday scenes with five captions and stuff+things maps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...errors import DataError
from ..picture_dataset import DatasetInfo, Entry, PictureDataset
from ..segmentation import plain_lookup, spread_palette
from ..text import clean_caption
from .published_layout import (
    existing_entries,
    existing_root,
    first_existing,
    layout_error,
    read_json,
    require,
)

_LAYOUT = "train2017/, val2017/ and annotations/captions_{train,val}2017.json"

CLASSES = tuple(
    """person;bicycle;car;motorcycle;airplane;bus;train;truck;boat;traffic light;fire hydrant;
street sign;stop sign;parking meter;bench;bird;cat;dog;horse;sheep;cow;elephant;bear;zebra;giraffe;
hat;backpack;umbrella;shoe;eye glasses;handbag;tie;suitcase;frisbee;skis;snowboard;sports ball;kite;
baseball bat;baseball glove;skateboard;surfboard;tennis racket;bottle;plate;wine glass;cup;fork;
knife;spoon;bowl;banana;apple;sandwich;orange;broccoli;carrot;hot dog;pizza;donut;cake;chair;couch;
potted plant;bed;mirror;dining table;window;desk;toilet;door;tv;laptop;mouse;remote;keyboard;
cell phone;microwave;oven;toaster;sink;refrigerator;blender;book;clock;vase;scissors;teddy bear;
hair drier;toothbrush;hair brush;banner;blanket;branch;bridge;building-other;bush;cabinet;cage;
cardboard;carpet;ceiling-other;ceiling-tile;cloth;clothes;clouds;counter;cupboard;curtain;
desk-stuff;dirt;door-stuff;fence;floor-marble;floor-other;floor-stone;floor-tile;floor-wood;flower;
fog;food-other;fruit;furniture-other;grass;gravel;ground-other;hill;house;leaves;light;mat;metal;
mirror-stuff;moss;mountain;mud;napkin;net;paper;pavement;pillow;plant-other;plastic;platform;
playingfield;railing;railroad;river;road;rock;roof;rug;salad;sand;sea;shelf;sky-other;skyscraper;
snow;solid-other;stairs;stone;straw;structural-other;table;tent;textile-other;towel;tree;vegetable;
wall-brick;wall-concrete;wall-other;wall-panel;wall-stone;wall-tile;wall-wood;water-other;
waterdrops;window-blind;window-other;wood""".replace("\n", "").split(";")
)
"""Class c is the category c + 1 of COCO (things 1..91, 11 of which are never used) and COCO-Stuff
(92..182)."""


class COCO(PictureDataset):
    """`{train,val}2017/*.jpg` (or `images/{train,val}2017`) with captions and, if present, maps.

    Maps are COCO-Stuff's `stuffthingmaps/{train,val}2017/*.png`, whose values 0..181 are the
    categories 1..182, and 255 is unlabeled; without that folder items have no map. The split "test"
    is also val2017: the captions of the test pictures are not published. The palette is our choice.

    Raises DataError if the root has another layout, if a caption file is missing or broken, or if
    more than 1 % of the pictures or maps are missing.
    """

    name = "coco"
    about = DatasetInfo(
        what="MS-COCO 2017 (Lin et al. 2014) with captions and COCO-Stuff maps (Caesar et al. "
        "2018): 182 classes of things and stuff",
        where="https://cocodataset.org/#download; stuffthingmaps_trainval2017.zip: "
        "https://github.com/nightrome/cocostuff",
        terms="annotations CC BY 4.0; each photograph under the Flickr license that the JSON names",
    )
    markers = (
        "train2017*",
        "val2017*",
        "images/train2017",
        "images/val2017",
        "annotations*",
        "stuffthingmaps*",
    )
    classes = CLASSES
    palette = spread_palette(len(CLASSES) + 1)[1:]  # without black, the color of unlabeled pixels
    lookup = plain_lookup(len(CLASSES))
    counts = {"train": 118_287, "val": 5_000, "test": 5_000}  # noqa: RUF012

    def __init__(self, root: str | Path | None, split: str = "train", **options: Any) -> None:
        root = existing_root(root, self.name, _LAYOUT)
        part = "train2017" if split == "train" else "val2017"
        pictures = first_existing(root / part, root / "images" / part)
        if pictures is None:
            raise layout_error(root, self.name, f"{part}/, of {_LAYOUT}")
        file = require(
            root / "annotations" / f"captions_{part}.json",
            "extract annotations_trainval2017.zip in the root, or use the data set 'folder' for "
            "pictures alone",
        )
        listed = _pictures_and_captions(file)
        maps = root / "stuffthingmaps" / part
        with_maps = maps.is_dir()
        entries, missing = existing_entries(
            (
                Entry(pictures / name, maps / f"{Path(name).stem}.png" if with_maps else None, said)
                for name, said in listed
            ),
            root,
            file.name,
            self.name,
        )
        super().__init__(root, entries, missing=missing, **options)


def _pictures_and_captions(file: Path) -> list[tuple[str, tuple[str, ...]]]:
    found = read_json(file)
    try:
        said: dict[int, list[tuple[int, str]]] = {}
        for line in found["annotations"]:
            if line["caption"] is not None:
                caption = clean_caption(line["caption"])
                said.setdefault(line["image_id"], []).append((line["id"], caption))
        listed = [
            (
                str(image["file_name"]),
                tuple(text for _, text in sorted(said.get(image["id"], [])) if text),
            )
            for image in sorted(found["images"], key=lambda image: image["file_name"])
        ]
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{file} is not a caption file of COCO (images with id and file_name, annotations with "
            f"image_id and caption): {type(error).__name__} {error}; extract it again."
        ) from error
    if not said:
        raise DataError(f"{file} holds no captions; extract it again.")
    return listed
