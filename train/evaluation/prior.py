"""Evaluating a prior: what it draws for held-out conditions, judged; and its bundle's card."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ..cli.common import spread_over
from ..cli.errors import UsageError

if TYPE_CHECKING:
    from regvq.bundles.bundle import Bundle
    from regvq.conditions import ConditionConfig
    from regvq.data import Dataset
    from regvq.metrics.generation import HeldOut, Judges

    from ..evaluate import EvaluateFlags

PICTURES = 500  # that are drawn if no limit is given


@dataclass(frozen=True)
class PriorFlags:
    """How a prior is evaluated. A setting of drawing that is left out is the one that its bundle
    hands on; with --publish it hands on those that its figures were measured with."""

    seed: int = 0
    """Seed of the draws."""
    batch: int = 16
    """Pictures that are drawn together."""
    guidance: float | None = None
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    steps: int | None = None
    told: tuple[Literal["text", "semantic", "label"], ...] | None = None
    """What the prior is told of the held-out pictures, without it all that it can be told."""
    tokenizer: Path | None = None
    """The tokenizer's bundle; without it, the one that fits is looked for beside the prior."""
    segmenter: Path | None = None
    """A judge of train/judge.py segmenter; without it, one of the data set is looked for."""
    attributes: Path | None = None
    """A judge of train/judge.py attributes, for scenes; without it, one is looked for."""


def _check(flags: EvaluateFlags) -> None:
    """What would be passed over in silence is said."""
    given = {
        "--batch": flags.batch != 1, "--codecs": flags.codecs, "--fid": flags.fid,
        "--lpips": flags.lpips != "none", "--data.square": flags.data.square is not None,
    }  # fmt: skip
    if unused := [name for name in given if given[name]]:
        raise UsageError(
            f"{', '.join(unused)} cannot be used for a prior, but for a tokenizer alone; how a "
            "prior is evaluated is said with --prior.*"
        )
    if flags.prior.batch < 1:
        raise UsageError(f"--prior.batch must be 1 or more, got {flags.prior.batch}")


def report_prior(flags: EvaluateFlags, bundle: Bundle, device: str) -> dict[str, Any]:
    """Draws, judges and returns the report; with ``--publish`` the bundle gets it too."""
    from tqdm import tqdm

    from regvq.checkpoints import load_prior, load_tokenizer
    from regvq.conditions import name_of
    from regvq.data import open_dataset
    from regvq.metrics.generation import judge_prior

    asked = flags.prior
    _check(flags)
    prior = load_prior(bundle, device)
    tokenizer = load_tokenizer(_tokenizer_of(bundle, asked.tokenizer), device)
    size = flags.data.size or prior.grid[0] * tokenizer.downsampling
    data = open_dataset(flags.data.name, flags.data.root, split=flags.data.split, size=size)
    judges = _judges(flags, device)
    sampling = dict(bundle.config.get("sampling", {}))
    for name in ("guidance", "temperature", "top_k", "top_p", "steps"):
        if (value := getattr(asked, name)) is not None:
            sampling[name] = value
    told = _told(prior.config.conditions, asked.told)
    chosen = spread_over(len(data), flags.limit or PICTURES)
    skipped: list[str] = []
    with tqdm(total=len(chosen), unit="picture", desc="drawing") as bar:
        try:
            figures = judge_prior(
                prior,
                tokenizer,
                _held_out(data, chosen, size, skipped, judges.classifier is not None),
                judges,
                sampling=sampling,
                conditions=told,
                seed=asked.seed,
                batch=asked.batch,
                progress=lambda done: bar.update(done - bar.n),
            )
        except ValueError as error:  # a setting of sampling that makes no sense
            raise UsageError(str(error)) from None
    for sentence in skipped:
        print(f"skipped: {sentence}")
    root = flags.data.root.resolve().name if flags.data.root is not None else None
    where = {"name": flags.data.name, "root": root, "split": flags.data.split, "size": size}
    names = [name_of(condition) for condition in told]
    report = {"checkpoint": bundle.name, "data": where, "skipped": len(skipped), "told": names}
    report |= figures
    if flags.publish:
        _publish(bundle, prior, report, asdict(flags.note))
    return report


def print_prior_table(report: Mapping[str, Any]) -> None:
    """The report as a table: what was drawn, beside real pictures and reconstructions."""
    from regvq.cards.prior import figure_rows

    print()
    for label, value in figure_rows(report):
        print(f"{label:<48} {value}")
    settings = ", ".join(f"{k} {v}" for k, v in report["sampling"].items() if v is not None)
    told = " and ".join(report["told"]) or "nothing"
    print(
        f"\n{report['pictures']} pictures drawn, told {told}, with {settings}, "
        f"seed {report['seed']}"
    )
    if "features" in report:
        print(f"Fréchet distance on {report['features']}: not FID")


def _told(
    conditions: Sequence[ConditionConfig], names: tuple[str, ...] | None
) -> list[ConditionConfig]:
    """Those of a prior's conditions that have these names; all without names."""
    from regvq.conditions import name_of

    known = {name_of(condition): condition for condition in conditions}
    if strange := set(names or ()) - set(known):
        possible = " and ".join(known) or "nothing"
        raise UsageError(f"--prior.told {min(strange)}: this prior can be told {possible}")
    return [config for name, config in known.items() if names is None or name in names]


def _tokenizer_of(bundle: Bundle, given: Path | None) -> Bundle:
    from regvq.bundles.bundle import find_bundle
    from regvq.checkpoints import fingerprint_of, prior_tokenizer
    from regvq.errors import CheckpointError

    if given is None:
        return prior_tokenizer(bundle)
    found = find_bundle(given)
    if fingerprint_of(found) != bundle.config.get("tokenizer", {}).get("fingerprint"):
        raise CheckpointError(
            f"{given} is not the tokenizer that the prior {bundle.name} was trained on; name that "
            "one with --prior.tokenizer."
        )
    return found


def _judges(flags: EvaluateFlags, device: str) -> Judges:
    """The judges there are; of those that there are not, it is said how to get them."""
    from regvq.errors import FeatureError
    from regvq.judges import load_judge
    from regvq.judges.attributes import AttributeClassifier
    from regvq.judges.segmenter import Segmenter
    from regvq.metrics.generation import Judges
    from regvq.networks.features import load_features

    segmenter = flags.prior.segmenter or _find_judge("segmenter", flags.data.name)
    reader = load_judge(segmenter, Segmenter, device) if segmenter is not None else None
    attributes = flags.prior.attributes
    if attributes is None and flags.data.name == "scenes":
        attributes = _find_judge("attributes", "scenes")
    classifier = None
    if attributes is not None:
        classifier = load_judge(attributes, AttributeClassifier, device)
    try:
        features = load_features(flags.features.name, flags.features.weights)
    except FeatureError:
        if flags.features.weights is not None or classifier is None:
            raise
        features = None
        print("SqueezeNet's weights cannot be had: the Fréchet distance is on the classifier's.")
    if features is not None:
        return Judges(reader, classifier, features.to(device).pooled, features.label)
    if classifier is None:
        return Judges(reader, classifier)
    return Judges(
        reader,
        classifier,
        lambda images: classifier.features(classifier.fitted(images))[0],
        f"the pooled features of this project's attribute classifier for {flags.data.name}",
    )


def _find_judge(kind: str, data: str) -> Bundle | None:
    from regvq.bundles.bundle import list_bundles

    for found in list_bundles(kind="judge"):
        about = found.config
        if about.get("judge", {}).get("name") == kind and about.get("data", {}).get("name") == data:
            return found
    print(
        f"there is no judge of {data} ({kind}): its figures are left out; train one with "
        f"python train/judge.py {kind}."
    )
    return None


def _held_out(
    data: Dataset, chosen: list[int], size: int, skipped: list[str], answers: bool
) -> Iterator[HeldOut]:
    """The chosen pictures, their centre squares; one that cannot be read is noted."""
    from regvq.data import center
    from regvq.data.scenes import Scenes, named_in
    from regvq.errors import PictureError
    from regvq.metrics.generation import HeldOut

    for index in chosen:
        try:
            if answers and isinstance(data, Scenes):
                sample, attributes = data.item_and_attributes(index)
                yield HeldOut(sample, named_in(attributes))
            else:
                yield HeldOut(center(data[index], size))
        except PictureError as error:
            skipped.append(str(error))


def _publish(
    bundle: Bundle, prior: Any, report: Mapping[str, Any], note: Mapping[str, str | None]
) -> None:
    """Write the bundle again with the figures of ``report``, and the card that they make."""
    from regvq.cards.prior import prior_card

    config = bundle.config
    recipe = dict(config.get("recipe", {}))
    for key in ("data", "terms"):
        if note.get(key):
            recipe[f"{key}_note"] = note[key]
    recipe["sampling"] = dict(report["sampling"])
    metrics = {key: bundle.metrics.get(key) for key in ("step", "held_out")} | dict(report)
    name = recipe.get("name", bundle.name)
    prior.save_pretrained(
        bundle.path,
        tokenizer=config["tokenizer"],
        data=config.get("data"),
        sampling=report["sampling"],
        card=prior_card(name, prior.config, config["tokenizer"]["name"], recipe, metrics),
        metrics=metrics,
        recipe=recipe,
    )
