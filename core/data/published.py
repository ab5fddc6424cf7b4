"""The data sets that are read from files in a layout of their own, by name."""

from __future__ import annotations

from core.data.ade20k import ADE20K
from core.data.camvid import CamVid
from core.data.captions import CaptionedFolder
from core.data.celebamask import CelebAMaskHQ
from core.data.coco import COCO
from core.data.cub import CUB
from core.data.facades import Facades
from core.data.flickr8k import Flickr8k
from core.data.imagenet import ImageNet
from core.data.items import Items
from core.data.shards import TarShards

PUBLISHED: dict[str, type[Items]] = {
    kind.name: kind
    for kind in (
        *(CaptionedFolder, TarShards, ImageNet, ADE20K, CelebAMaskHQ, CUB, COCO, CamVid, Facades),
        Flickr8k,
    )
}
