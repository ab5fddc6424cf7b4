"""The data sets that are read from files in a layout of their own, by name."""

from __future__ import annotations

from .datasets.ade20k import ADE20K
from .datasets.camvid import CamVid
from .datasets.captioned_folder import CaptionedFolder
from .datasets.celebamask import CelebAMaskHQ
from .datasets.coco import COCO
from .datasets.cub import CUB
from .datasets.facades import Facades
from .datasets.flickr8k import Flickr8k
from .datasets.imagenet import ImageNet
from .picture_dataset import Items
from .shards.dataset import TarShards

PUBLISHED: dict[str, type[Items]] = {
    kind.name: kind
    for kind in (
        *(CaptionedFolder, TarShards, ImageNet, ADE20K, CelebAMaskHQ, CUB, COCO, CamVid, Facades),
        Flickr8k,
    )
}
