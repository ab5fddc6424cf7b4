"""The fit of pictures and captions in CLIP's space: CLIP score and R-precision, by open_clip.

    clip = load_clip("ViT-B-32", "laion2b_s34b_b79k")          # or pretrained="weights.safetensors"
    clip_score(clip, images, captions)       # mean of 100 max(cos, 0)
    r_precision(clip, images, captions)      # share whose own caption ranks first of 100

Both depend on the model as much as on the pictures: state ``clip.label`` with every figure, and
compare only figures of one model. Pictures are preprocessed by the model's own transform.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import FeatureError
from ..images import to_pictures

if TYPE_CHECKING:
    from PIL import Image


class Clip:
    """A CLIP model with its preprocessing.

    model: a module with ``encode_image`` and ``encode_text``, such as open_clip's. preprocess: a
    PIL picture to the model's input (3, S, S). tokenize: captions to token ids (B, L). label: a
    name of model and weights.
    """

    def __init__(
        self,
        model: Any,
        preprocess: Callable[[Image.Image], Tensor],
        tokenize: Callable[[list[str]], Tensor],
        label: str,
    ) -> None:
        self.model = model.requires_grad_(False).eval()
        self.preprocess, self.tokenize, self.label = preprocess, tokenize, label

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return next(self.model.parameters()).device

    @torch.no_grad()
    def embed_images(self, images: Tensor, batch: int = 32) -> Tensor:
        """Return unit embeddings float32 (B, D) of images (B, 3, H, W) in [-1, 1]."""
        parts = []
        for start in range(0, len(images), batch):
            pictures = to_pictures(images[start : start + batch])
            inputs = torch.stack([self.preprocess(picture) for picture in pictures])
            parts.append(self.model.encode_image(inputs.to(self.device)))
        return F.normalize(torch.cat(parts).float(), dim=1).cpu()

    @torch.no_grad()
    def embed_captions(self, captions: Sequence[str], batch: int = 128) -> Tensor:
        """Return unit embeddings float32 (B, D) of captions."""
        parts = [
            self.model.encode_text(self.tokenize(list(captions[i : i + batch])).to(self.device))
            for i in range(0, len(captions), batch)
        ]
        return F.normalize(torch.cat(parts).float(), dim=1).cpu()


def clip_score(clip: Clip, images: Tensor, captions: Sequence[str]) -> float:
    """Return the mean over pictures of 100 max(cos, 0) of a picture (B, 3, H, W) and its caption.

    Hessel et al. 2021 (arXiv:2104.08718) scale by 2.5; papers and torchmetrics report it times
    100, as here. Raises ValueError if the numbers of captions and images differ, or for none.
    """
    _check(images, captions)
    cosines = (clip.embed_images(images) * clip.embed_captions(captions)).sum(1)
    return float(100 * cosines.clamp_min(0).double().mean())


def r_precision(
    clip: Clip, images: Tensor, captions: Sequence[str], *, among: int = 100, seed: int = 0
) -> float:
    """Return the share of pictures whose own caption ranks first among ``among`` captions.

    R-precision at R = 1, as AttnGAN (Xu et al. 2018, section 4) measures it, in CLIP's space: the
    mismatched captions are drawn, by ``seed``, from those of the other pictures with a different
    text. A tie does not count as first. Raises ValueError if the numbers of captions and images
    differ, or if there are fewer than ``among`` different captions.
    """
    _check(images, captions)
    texts = sorted(set(captions))
    if not 2 <= among <= len(texts):
        raise ValueError(
            f"R-precision among {among} captions needs as many different ones (at least 2), "
            f"got {len(texts)}"
        )
    place = {text: index for index, text in enumerate(texts)}
    pictures, sentences = clip.embed_images(images), clip.embed_captions(texts)
    draw = torch.Generator().manual_seed(seed)
    first = 0
    for picture, caption in zip(pictures, captions, strict=True):
        own = place[caption]
        others = torch.randperm(len(texts) - 1, generator=draw)[: among - 1]
        others = others + (others >= own)  # the own caption is not among them
        cosines = sentences @ picture
        first += int(cosines[own] > cosines[others].max())
    return first / len(captions)


def load_clip(
    model: str = "ViT-B-32",
    pretrained: str | Path = "laion2b_s34b_b79k",
    device: torch.device | str = "cpu",
) -> Clip:
    """Load an open_clip model by name, with published weights by tag or those in a local file.

    Raises FeatureError if open_clip is not installed, if it does not have the model or tag, if the
    weights can be neither found nor downloaded, or if they do not fit.
    """
    try:
        import open_clip
    except ImportError:
        raise FeatureError("CLIP score needs open_clip: pip install open-clip-torch.") from None

    if model not in open_clip.list_models():
        raise FeatureError(f"open_clip has no model {model!r}; see open_clip.list_models().")
    tags = open_clip.list_pretrained_tags_by_model(model)
    local = str(pretrained) not in tags
    if local and not Path(pretrained).is_file():
        raise FeatureError(
            f"{str(pretrained)!r} is neither a file nor weights that open_clip has for {model}; "
            f"available: {', '.join(tags) or 'none'}."
        )
    try:
        made, _, preprocess = open_clip.create_model_and_transforms(
            model, pretrained=str(pretrained), device=device
        )
    except Exception as error:  # errors of the hub, its client or torch: all mean the same
        reason = " ".join(str(error).split()).partition(". ")[0][:160]
        if local:
            raise FeatureError(f"{pretrained} does not hold {model}'s weights: {reason}.") from None
        settings = open_clip.get_pretrained_cfg(model, str(pretrained))
        source = settings.get("hf_hub", "").strip("/") or settings.get("url", "").split("/")[-1]
        raise FeatureError(
            f"the weights {pretrained} of {model} ({source}) are not in the local cache and cannot "
            "be downloaded; download them elsewhere and pass their file as pretrained."
        ) from None
    origin = f"weights file {Path(pretrained).name}" if local else str(pretrained)
    transform = cast("Callable[[Image.Image], Tensor]", preprocess)
    return Clip(made, transform, open_clip.get_tokenizer(model), f"CLIP {model} ({origin})")


def _check(images: Tensor, captions: Sequence[str]) -> None:
    if len(images) != len(captions) or not len(captions):
        raise ValueError(
            f"as many captions as images are needed, and at least one, "
            f"got {len(captions)} and {len(images)}"
        )
