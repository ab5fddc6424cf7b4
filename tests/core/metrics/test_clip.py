"""CLIP score and R-precision of a tiny random open_clip model, computed again in NumPy."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from torch import Tensor, nn

from core.errors import FeatureError
from core.images import to_pictures
from core.metrics.clip import CaptionFit, Clip, clip_score, load_clip, r_precision

CAPTIONS = ["a house", "a red house", "the sea at dusk", "snow", "two trees", "a lake in fog"]


@pytest.fixture(scope="module")
def clip() -> Clip:
    torch.manual_seed(0)
    model = open_clip.CLIP(
        16,
        {"image_size": 32, "patch_size": 8, "layers": 1, "width": 32, "head_width": 16},
        {"width": 32, "heads": 2, "layers": 1},
    )
    with torch.no_grad():
        for weight in model.parameters():  # small initial weights make all embeddings similar
            if weight.ndim > 1:
                weight.normal_(0, 0.3)
    preprocess = open_clip.image_transform(32, is_train=False)
    return Clip(model, preprocess, open_clip.get_tokenizer("ViT-B-32"), "tiny")


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.rand(6, 3, 40, 56, generator=torch.Generator().manual_seed(1)) * 2 - 1


@torch.no_grad()
def cosines(clip: Clip, images: Tensor, captions: list[str]) -> np.ndarray:
    """Return the cosines of pictures and captions, one by one, in float64."""
    tokens = clip.tokenize(captions)
    text = [clip.model.encode_text(row[None])[0].double().numpy() for row in tokens]
    shown = []
    for picture in to_pictures(images):
        shown.append(clip.model.encode_image(clip.preprocess(picture)[None])[0].double().numpy())
    return np.array([[a @ b / math.sqrt((a @ a) * (b @ b)) for b in text] for a in shown])


def test_clip_score_equals_its_definition(clip: Clip, images: Tensor) -> None:
    alike = np.diag(cosines(clip, images, CAPTIONS))
    assert (alike < 0).any() and (alike > 0).any()  # values on both sides of the clamp
    expected = np.mean([100 * max(value, 0) for value in alike])
    assert clip_score(clip, images, CAPTIONS) == pytest.approx(expected, rel=1e-4)


def test_r_precision_is_the_share_of_pictures_closest_to_their_own_caption(
    clip: Clip, images: Tensor
) -> None:
    alike = cosines(clip, images, CAPTIONS)
    order = alike.argmax(1)
    captions = [CAPTIONS[order[row]] if row < 4 else CAPTIONS[order[row] - 1] for row in range(6)]
    captions += [text for text in CAPTIONS if text not in captions]
    more = torch.cat([images, images])[: len(captions)]
    alike = cosines(clip, more, captions)
    expected = np.mean(
        [
            all(
                alike[row, row] > alike[row, other] or captions[other] == captions[row]
                for other in range(len(captions))
            )
            for row in range(len(captions))
        ]
    )
    assert 0 < expected < 1
    assert r_precision(clip, more, captions, among=6) == pytest.approx(expected)


class Known(Clip):
    """A model with given embeddings of pictures and captions, so that ranks are known."""

    def __init__(self, pictures: Tensor, captions: dict[str, Tensor]) -> None:
        super().__init__(nn.Linear(1, 1), lambda x: x, lambda x: x, "known")
        self._pictures, self._captions = pictures, captions

    def embed_images(self, images: Tensor, batch: int = 32) -> Tensor:
        return self._pictures

    def embed_captions(self, captions: list[str], batch: int = 128) -> Tensor:
        return torch.stack([self._captions[text] for text in captions])


def test_mismatched_captions_depend_on_the_seed_and_exclude_the_own() -> None:
    # Every picture is closest to its own caption except for one other, which few draws contain.
    texts = [f"caption {i:03d}" for i in range(300)]
    angles = torch.linspace(0, 3, 300)
    places = torch.stack([angles.cos(), angles.sin()], dim=1)
    captions = dict(zip(texts, places, strict=True))
    images = torch.zeros(300, 3, 1, 1)
    assert r_precision(Known(places, captions), images, texts) == 1
    shifted = torch.stack([(angles + 0.006).cos(), (angles + 0.006).sin()], dim=1)
    shares = [r_precision(Known(shifted, captions), images, texts, seed=s) for s in (0, 0, 1)]
    assert shares[0] == shares[1] != shares[2]
    # The closer caption is among 99 of 299 others in a third of the draws.
    assert shares[0] == pytest.approx(1 - 99 / 299, abs=0.1)
    tied = dict.fromkeys(texts, places[0])
    assert r_precision(Known(places, tied), images, texts) == 0


def test_captions_that_cannot_be_ranked_are_refused(clip: Clip, images: Tensor) -> None:
    with pytest.raises(ValueError, match="as many captions as images"):
        clip_score(clip, images, CAPTIONS[:5])
    with pytest.raises(ValueError, match="100 captions needs as many different ones"):
        r_precision(clip, images, CAPTIONS)
    with pytest.raises(ValueError, match="got 1"):
        r_precision(clip, images, ["the same"] * 6, among=2)


def test_missing_weights_are_named_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def offline(*arguments: object, **settings: object) -> None:
        raise RuntimeError("Failed to download weights")

    with pytest.raises(FeatureError, match="no model 'ViT-Z'"):
        load_clip("ViT-Z")
    with pytest.raises(FeatureError, match="neither a file nor weights that open_clip has"):
        load_clip("ViT-B-32", tmp_path / "gone.safetensors")
    monkeypatch.setattr(open_clip, "create_model_and_transforms", offline)
    with pytest.raises(FeatureError, match=r"laion2b_s34b_b79k of ViT-B-32 \(laion/.*pass their"):
        load_clip()
    (tmp_path / "text.pt").write_text("no weights")
    with pytest.raises(FeatureError, match="does not hold ViT-B-32's weights"):
        load_clip("ViT-B-32", tmp_path / "text.pt")


def test_pictures_in_batches_have_the_figures_of_all_together(clip: Clip, images: Tensor) -> None:
    captions = [CAPTIONS[0], *CAPTIONS[1:5], CAPTIONS[0]]  # two are the same
    fit = CaptionFit(clip)
    fit.update(images[:2], captions[:2])
    fit.update(images[2:], captions[2:])
    assert fit.among == 5
    assert fit.score() == pytest.approx(clip_score(clip, images, captions), rel=1e-5)
    assert fit.precision(seed=3) == r_precision(clip, images, captions, among=5, seed=3)


def test_one_caption_has_a_score_and_no_rank(clip: Clip, images: Tensor) -> None:
    fit = CaptionFit(clip)
    fit.update(images[:3], ("snow",) * 3)
    assert fit.precision() is None
    assert fit.score() == pytest.approx(clip_score(clip, images[:3], ["snow"] * 3), rel=1e-5)
    with pytest.raises(ValueError, match="captions"):
        fit.update(images[:3], ["snow"])


def test_every_other_caption_counts(clip: Clip) -> None:
    """A picture that is another caption never ranks its own first, whichever the other one is."""
    texts = [f"caption {i}" for i in range(6)]
    places = torch.eye(6)
    captions = dict(zip(texts, places, strict=True))
    for shift in range(1, 6):
        known = Known(places.roll(shift, 0), captions)
        assert r_precision(known, torch.zeros(6, 3, 1, 1), texts, among=6) == 0, shift
    # Among few captions, the closer one is drawn in (among - 1) of 5 cases.
    near = places.roll(1, 0) + 0.5 * places
    known = Known(near / near.norm(dim=1, keepdim=True), captions)
    for among in (2, 3, 4):
        shares = [
            r_precision(known, torch.zeros(6, 3, 1, 1), texts, among=among, seed=seed)
            for seed in range(150)
        ]
        assert sum(shares) / 150 == pytest.approx(1 - (among - 1) / 5, abs=0.06), among


def test_numbers_of_captions_and_images_are_named(clip: Clip, images: Tensor) -> None:
    with pytest.raises(ValueError, match=r"as many captions as images.* got 6 and 5"):
        r_precision(clip, images[:5], CAPTIONS, among=2)
    with pytest.raises(ValueError, match="got 0 and 0"):
        clip_score(clip, images[:0], [])


def test_the_named_weights_are_loaded_on_the_named_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple] = []

    def made(*arguments: object, **settings: object) -> tuple:
        asked.append((arguments, settings))
        return nn.Linear(1, 1), None, "preprocess"

    monkeypatch.setattr(open_clip, "create_model_and_transforms", made)
    file = tmp_path / "own.safetensors"
    file.write_bytes(b"0")
    loaded = load_clip("ViT-B-32", file, device="meta")
    assert asked == [(("ViT-B-32",), {"pretrained": str(file), "device": "meta"})]
    assert loaded.preprocess == "preprocess" and "weights file own.safetensors" in loaded.label
    assert not loaded.model.training and not loaded.model.weight.requires_grad


def test_weights_with_an_address_only_are_named_by_their_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def offline(*arguments: object, **settings: object) -> None:
        raise RuntimeError("no network")

    monkeypatch.setattr(open_clip, "create_model_and_transforms", offline)
    monkeypatch.setattr(
        open_clip, "get_pretrained_cfg", lambda *_: {"url": "https://a.example/files/own.pt"}
    )
    with pytest.raises(FeatureError, match=r"of ViT-B-32 \(own\.pt\)"):
        load_clip()
