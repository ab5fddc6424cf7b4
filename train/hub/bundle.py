"""A bundle as a repository of the Hugging Face Hub: checks, files, and the card's metadata."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from regvq.bundles.bundle import Bundle
from regvq.cards.tokenizer import license_of
from regvq.checkpoints import fingerprint_of, load_prior, load_tokenizer
from regvq.errors import CheckpointError

from ..cli.errors import UsageError

NEEDED = ("config.json", "model.safetensors", "README.md", "metrics.json")
FURTHER = ("atlas.npz",)
"""Files of a tokenizer that may be missing; the explorer computes an atlas if there is none."""
_TAGS = {
    "tokenizer": ["vector-quantization", "image-tokenizer", "codebook"],
    "prior": ["image-generation", "vector-quantization", "token-prior"],
    "judge": ["evaluation"],
}
# Ids of data sets that are on the Hub; the others have the names of their authors.
_DATASETS = {"imagenet": "ILSVRC/imagenet-1k", "ade20k": "zhoubolei/scene_parse_150"}
_OWN_DATA = ("scenes", "folder", "captions", "shards")
"""Data without a public name: drawn by this project, or private pictures."""


def check_bundle(bundle: Bundle) -> None:
    """Raise CheckpointError, with the remedy, unless a bundle can be published: it loads, has a
    card, and was evaluated."""
    for name in NEEDED:
        if not (bundle.path / name).is_file():
            raise CheckpointError(f"{bundle.path / name} is missing; the bundle is incomplete.")
    if bundle.kind not in _TAGS:
        raise CheckpointError(
            f"{bundle.path / 'config.json'} describes a {bundle.kind!r}; kinds that can be "
            f"published: {', '.join(_TAGS)}."
        )
    if not _body(bundle.card):
        raise CheckpointError(
            f"{bundle.path / 'README.md'} is empty, but a bundle needs a card; "
            "python train/evaluate.py --publish writes it."
        )
    if not bundle.metrics:
        raise CheckpointError(
            f"{bundle.path / 'metrics.json'} holds no figures; evaluate the bundle first: "
            f"python train/evaluate.py --checkpoint {bundle.path} --publish"
        )
    _load(bundle)


def _load(bundle: Bundle) -> None:
    """Load a bundle's weights. Raises CheckpointError if they do not fit."""
    if bundle.kind == "tokenizer":
        load_tokenizer(bundle)
    elif bundle.kind == "prior":
        load_prior(bundle)
    else:
        from regvq.judges import load_judge
        from regvq.judges.attributes import AttributeClassifier
        from regvq.judges.segmenter import Segmenter

        kinds = {"segmenter": Segmenter, "attributes": AttributeClassifier}
        load_judge(bundle, kinds.get(bundle.config.get("judge", {}).get("name"), Segmenter))


def _body(card: str) -> str:
    """Return a card without its front matter."""
    return re.sub(r"\A---\n.*?\n---\n", "", card, flags=re.DOTALL).strip()


def tokenizer_of(bundle: Bundle) -> tuple[str, str]:
    """Return the name and fingerprint of a prior's tokenizer. Raises CheckpointError."""
    try:
        wanted = bundle.config["tokenizer"]
        return str(wanted["name"]), str(wanted["fingerprint"])
    except (KeyError, TypeError):
        raise CheckpointError(
            f"{bundle.path / 'config.json'} does not say which tokenizer the prior belongs to."
        ) from None


def check_named(bundle: Bundle, tokenizer: str | None) -> None:
    """Raise UsageError unless ``tokenizer`` is named for a prior, and for no other kind."""
    if bundle.kind != "prior":
        if tokenizer is not None:
            raise UsageError(
                f"--tokenizer is for priors; {bundle.path} is a {bundle.kind}, which needs none."
            )
        return
    name, mark = tokenizer_of(bundle)
    if tokenizer is None:
        raise UsageError(
            f"the prior {bundle.name} draws the tokens of {name!r} ({mark[:19]}) and cannot be "
            "used without it: publish that tokenizer first, and name its repository with "
            f"--tokenizer USER/{Path(name).name}."
        )


def check_tokenizer(bundle: Bundle, published: Path, where: str) -> None:
    """Raise CheckpointError unless the folder ``published``, fetched from the repository ``where``,
    holds the tokenizer of the prior ``bundle``."""
    name, mark = tokenizer_of(bundle)
    if not (published / "config.json").is_file():
        raise CheckpointError(f"{where} holds no checkpoint; it must hold the tokenizer {name!r}.")
    found = fingerprint_of(Bundle(where, published))
    if found != mark:
        raise CheckpointError(
            f"{where} is another tokenizer than that of the prior {bundle.name}: it is "
            f"{found[:19]}, but {mark[:19]} ({name!r}) is needed."
        )


def metadata(
    bundle: Bundle, tokenizer: str | None = None, datasets: Sequence[str] = ()
) -> dict[str, Any]:
    """Return the front matter for the Hub: the card's own, completed by license, library, tags,
    data sets and, for a prior, the repository of its ``tokenizer``."""
    from huggingface_hub import metadata_load

    said = dict(metadata_load(bundle.path / "README.md") or {})
    recipe = bundle.config.get("recipe")
    recipe = recipe if isinstance(recipe, Mapping) else {}
    data = _data_name(bundle, recipe)
    said.setdefault("license", license_of({**recipe, "data": {"name": data}}).license)
    if said["license"] == "other":  # the Hub requires a name for such a license
        said.setdefault("license_name", "see-the-model-card")
    said.setdefault("library_name", "regvq-studio")
    said.setdefault("tags", _TAGS[bundle.kind])
    named = list(datasets) or ([_DATASETS.get(data, data)] if data not in _OWN_DATA else [])
    if named and "" not in named:
        said.setdefault("datasets", named)
    if tokenizer is not None:
        said["tokenizer"] = tokenizer
    return said


def _data_name(bundle: Bundle, recipe: Mapping[str, Any]) -> str:
    """Return the name of the data set of a bundle's training; "" if it does not state one."""
    for about in (recipe.get("data"), bundle.config.get("data")):
        if isinstance(about, Mapping) and about.get("name"):
            return str(about["name"])
    return ""


def stage_bundle(
    bundle: Bundle, folder: Path, tokenizer: str | None = None, datasets: Sequence[str] = ()
) -> None:
    """Copy the published files of a bundle into ``folder``, with ``metadata`` in its card."""
    from huggingface_hub import metadata_save

    folder.mkdir(parents=True, exist_ok=True)
    for name in (*NEEDED, *FURTHER):
        if (bundle.path / name).is_file():
            shutil.copyfile(bundle.path / name, folder / name)
    card = folder / "README.md"
    metadata_save(card, metadata(bundle, tokenizer, datasets))
    if tokenizer is not None:
        name, mark = tokenizer_of(bundle)
        line = f"\nIts tokenizer is [{tokenizer}](https://huggingface.co/{tokenizer}), `{mark}`.\n"
        with card.open("a", encoding="utf-8") as file:
            file.write(line)
