"""Flags of ``train/evaluate.py``."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

with suppress(ImportError):  # without it, ``parse_flags`` says so
    import tyro

from ..cli.columns import ColumnsConfig


@dataclass(frozen=True)
class DataFlags(ColumnsConfig):
    """The pictures."""

    name: str
    """The data set: scenes (drawn by the code), folder (any folder of pictures), captions, shards,
    parquet, or one in its published layout: imagenet, ade20k, celebamask, cub, coco, camvid,
    facades or flickr8k."""
    root: Path | None = None
    """The folder of a data set that is read from files."""
    size: int | None = None
    """Side in pixels of pictures that are drawn; pictures from files keep their own size."""
    split: Literal["train", "val", "test"] = "test"
    """The split, if the data set has splits."""
    stretch: bool = False
    """Stretch every picture to a square, as in training with --data.stretch."""
    square: int | None = None
    """Evaluate the center square of every picture, resized to this many pixels per side, as papers
    do (256 for ImageNet); without it, whole pictures at their own size."""


@dataclass(frozen=True)
class FeatureFlags:
    """The features of the feature distances."""

    name: Literal["squeezenet", "alexnet", "vgg16", "vgg19", "none"] = "squeezenet"
    """The network, which need not be that of training; none: no feature distances (the Fréchet
    distance of a prior's pictures is then computed on the features of this project's attribute
    classifier, if it is available)."""
    weights: Path | None = None
    """A file of its weights; without one, torchvision's cache is used, then a download. If neither
    is available, a tokenizer is evaluated without these distances."""


@dataclass(frozen=True)
class NoteFlags:
    """Notes of the maker for the card that --publish writes."""

    data: str | None = None
    """The pictures on which the bundle was trained."""
    terms: str | None = None
    """The terms under which the bundle may be used, given those of its data."""
    pictures: str | None = None
    """The pictures of the evaluation."""


@dataclass(frozen=True)
class PriorFlags:
    """Evaluation of a prior. A sampling setting that is not given is the one that its bundle
    recommends; with --publish the bundle recommends those of this evaluation."""

    seed: int = 0
    """Seed of the sampling."""
    batch: int = 16
    """Pictures that are sampled together."""
    guidance: float | None = None
    """Scale of classifier-free guidance; 1: no guidance."""
    temperature: float | None = None
    """Divides the logits; below 1, likely codes become more likely."""
    top_k: int | None = None
    """Sample among this many of the likeliest codes; 0: all."""
    top_p: float | None = None
    """Sample among the likeliest codes that together have this probability."""
    steps: int | None = None
    """Sampling steps."""
    told: tuple[Literal["text", "semantic", "label"], ...] | None = None
    """The conditions that are taken from the held-out pictures; without it, all conditions of the
    prior."""
    tokenizer: Path | None = None
    """The tokenizer's bundle; without it, the tokenizer is searched beside the prior."""
    segmenter: Path | None = None
    """A judge of train/judge.py segmenter; without it, one for the data set is searched."""
    attributes: Path | None = None
    """A judge of train/judge.py attributes, for scenes; without it, one is searched."""
    labels: Path | None = None
    """A judge of train/judge.py labels; without it, one for the data set is searched. Its features
    are those of --features.name and --features.weights if that is the judge's network."""
    words: Path | None = None
    """A judge of train/judge.py words, trained on such pictures: the share of its words that it
    finds, of those that captions mention."""
    clip: bool = False
    """Also CLIP score and R-precision, by open_clip, for a prior that is conditioned on text."""
    clip_model: str = "ViT-B-32"
    """The model of open_clip."""
    clip_weights: str = "laion2b_s34b_b79k"
    """Its weights: a tag of open_clip (from its cache, else downloaded), or a file."""


@dataclass(frozen=True)
class EvaluateFlags:
    """Flags of the command."""

    checkpoint: Path
    """A bundle of a tokenizer or a prior, a run's folder, or the folder of a diffusers VQModel."""
    data: DataFlags
    out: Path
    """The JSON report to write."""
    value_range: Annotated[Literal["signed", "unit"] | None, tyro.conf.arg(name="range")] = None
    """Of a diffusers VQModel: whether its pixels are in [-1, 1] (signed) or [0, 1] (unit). If not
    given, it is unit for models without attention in the middle, as aMUSEd's, else signed."""
    features: FeatureFlags = field(default_factory=FeatureFlags)
    lpips: tuple[Literal["alex", "vgg", "squeeze", "none"], ...] = ()
    """Also LPIPS on these networks, for example alex vgg."""
    lpips_weights: tuple[Path, ...] = ()
    """Files of torchvision's weights of them, in the same order; without any, torch's cache, then a
    download."""
    fid: bool = False
    """Also rFID: the Fréchet Inception distance between pictures and reconstructions; for a prior
    FID, of its pictures and of reconstructions to the held-out pictures."""
    fid_weights: Path | None = None
    """A file of torch-fidelity's Inception weights; without one, the cache, then a download."""
    codecs: bool = False
    """Also code every picture as JPEG, WebP and AVIF in as many bytes as its tokens take."""
    text: bool = False
    """Also draw lines of text at several sizes and read their reconstructions by OCR (rapidocr)."""
    robustness: bool = False
    """Also replace shares of the tokens by near codes and measure the pictures again."""
    robustness_limit: int | None = None
    """With --robustness: only this many of the pictures, spread evenly; each is measured four times
    more."""
    batch: int = 1
    """Largest number of consecutive pictures of one size that are evaluated together."""
    limit: int | None = None
    """Only this many pictures, spread evenly over the data set; for a prior the default is 500."""
    publish: bool = False
    """Also write the figures into the bundle: its metrics.json, its card, its atlas's counts."""
    further: bool = False
    """With --publish: keep the figures of the bundle, and add these as those of further pictures.
    Earlier ones of the same pictures are replaced."""
    note: NoteFlags = field(default_factory=NoteFlags)
    prior: PriorFlags = field(default_factory=PriorFlags)
    recipe: str | None = None
    """The file of a recipe of your own, FILE.py or FILE.py:NAME, which registers the bundle's
    quantizer or the data set."""
    device: str = "auto"
    """Device: cpu, cuda, cuda:1, mps, or auto (a GPU if there is one)."""
