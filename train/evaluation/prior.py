"""Evaluating a prior: the pictures that it draws under the conditions of held-out pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..cli.common import evenly_spaced, program
from ..cli.errors import UsageError
from .flags import EvaluateFlags, PriorFlags

if TYPE_CHECKING:
    from torch import Tensor

    from regvq.bundles.bundle import Bundle
    from regvq.conditions import ConditionConfig
    from regvq.data import Dataset
    from regvq.judges.words import WordAnswers
    from regvq.metrics.clip import Clip
    from regvq.metrics.generation import HeldOut, Judges
    from regvq.networks.features import FeatureName, Features

PICTURES = 500  # drawn if there is no --limit


def _check(flags: EvaluateFlags) -> None:
    """Raise UsageError for flags that a prior would ignore, and for unusable values."""
    given = {
        "--batch": flags.batch != 1, "--codecs": flags.codecs,
        "--lpips": bool(flags.lpips), "--further": flags.further,
        "--text": flags.text, "--robustness": flags.robustness,
        "--data.square": flags.data.square is not None,
    }  # fmt: skip
    if unused := [name for name in given if given[name]]:
        raise UsageError(
            f"{', '.join(unused)} cannot be used for a prior, only for a tokenizer; the flags "
            "for priors are --prior.*"
        )
    if flags.prior.clip_weights != PriorFlags.clip_weights and not flags.prior.clip:
        raise UsageError("--prior.clip-weights needs --prior.clip")
    if flags.prior.batch < 1:
        raise UsageError(f"--prior.batch must be 1 or more, got {flags.prior.batch}")


def report_prior(flags: EvaluateFlags, bundle: Bundle, device: str) -> dict[str, Any]:
    """Evaluate a prior and return the report; with ``--publish``, write it to the bundle."""
    from tqdm import tqdm

    from regvq.checkpoints import load_prior, load_tokenizer
    from regvq.conditions import name_of
    from regvq.conditions.from_samples import check_parts
    from regvq.data import open_dataset
    from regvq.data.contents import summary
    from regvq.data.remote import redact_query
    from regvq.metrics.generation import judge_prior
    from regvq.metrics.inception import load_inception

    asked = flags.prior
    _check(flags)
    prior = load_prior(bundle, device)
    tokenizer = load_tokenizer(_tokenizer_of(bundle, asked.tokenizer), device)
    size = flags.data.size or prior.grid[0] * tokenizer.downsampling
    data = open_dataset(
        flags.data.name,
        flags.data.root,
        split=flags.data.split,
        stretch=flags.data.stretch,
        size=size,
        channels=tokenizer.channels,
        columns=flags.data.columns,
    )
    sampling = dict(bundle.config.get("sampling", {}))
    for name in ("guidance", "temperature", "top_k", "top_p", "steps"):
        if (value := getattr(asked, name)) is not None:
            sampling[name] = value
    conditions = _conditions(prior.config.conditions, asked.told)
    names = [name_of(condition) for condition in conditions]
    of_text = {"--prior.clip": asked.clip, "--prior.words": asked.words is not None}
    for flag in (flag for flag, given in of_text.items() if given and "text" not in names):
        raise UsageError(
            f"{flag} needs a prior that is conditioned on text; the conditions here are: "
            f"{', '.join(names) or 'none'}"
        )
    check_parts(conditions, data, f"the pictures of the split {flags.data.split!r}")
    print(summary(data, flags.data.split))
    chosen = evenly_spaced(len(data), flags.limit or PICTURES)
    judges = replace(_judges(flags, bundle, device), clip=_clip(flags, device))
    if "label" in names:
        judges = replace(judges, labels=_classifier(flags, bundle, device))
    words: tuple[str, ...] = ()
    if (judge := _word_judge(flags, device)) is not None:
        judges, words = replace(judges, classifier=judge), judge.names
    if flags.fid:
        judges = replace(judges, inception=load_inception(flags.fid_weights).to(device))
    skipped: list[str] = []
    with tqdm(total=len(chosen), unit="picture", desc="drawing") as bar:
        try:
            figures = judge_prior(
                prior,
                tokenizer,
                _held_out(data, chosen, size, skipped, words),
                judges,
                sampling=sampling,
                conditions=conditions,
                seed=asked.seed,
                batch=asked.batch,
                progress=lambda done: bar.update(done - bar.n),
            )
        except ValueError as error:  # a sampling setting that is refused
            raise UsageError(str(error)) from None
    for sentence in skipped:
        print(f"skipped: {sentence}")
    root = redact_query(flags.data.root.resolve().name) if flags.data.root is not None else None
    where = {"name": flags.data.name, "root": root, "split": flags.data.split, "size": size}
    if flags.data.stretch:
        where["stretch"] = True
    report = {"checkpoint": bundle.name, "data": where, "skipped": len(skipped), "told": names}
    report |= figures
    if flags.publish:
        _publish(bundle, prior, report, asdict(flags.note))
    return report


def print_prior_table(report: Mapping[str, Any]) -> None:
    """Print the report as a table: drawn pictures beside real ones and reconstructions."""
    from regvq.cards.prior import few_words, figure_rows

    print()
    rows = figure_rows(report)
    width = max(len(label) for label, _ in rows)
    for label, value in rows:
        print(f"{label:<{width}}  {value}")
    settings = ", ".join(f"{k} {v}" for k, v in report["sampling"].items() if v is not None)
    conditions = " and ".join(report["told"]) or "nothing"
    print(
        f"\n{report['pictures']} pictures drawn, conditioned on {conditions}, with {settings}, "
        f"seed {report['seed']}"
    )
    if "features" in report:
        print(f"Fréchet distance on {report['features']}: it is not FID")
    for key, label in report.get("features_of", {}).items():
        print(f"{key.replace('_', ' ')} on {label}: {few_words(report)}")
    if "clip" in report:
        among = report.get("r_precision_among")
        ranked = f", R-precision among {among} captions" if among else ""
        print(f"CLIP score by {report['clip']}{ranked}")


def _conditions(
    conditions: Sequence[ConditionConfig], names: tuple[str, ...] | None
) -> list[ConditionConfig]:
    """Return a prior's conditions with these names; None: all of them."""
    from regvq.conditions import name_of

    known = {name_of(condition): condition for condition in conditions}
    if unknown := set(names or ()) - set(known):
        raise UsageError(
            f"--prior.told {min(unknown)} is not a condition of this prior; available: "
            f"{', '.join(known) or 'none'}"
        )
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
            f"{given} is not the tokenizer on which the prior {bundle.name} was trained; name "
            "that one with --prior.tokenizer."
        )
    return found


def _judges(flags: EvaluateFlags, bundle: Bundle, device: str) -> Judges:
    """Return the available judges; print how to get those that are missing.

    Raises UsageError for a given segmenter of other classes than the prior's.
    """
    from regvq.errors import FeatureError
    from regvq.judges import load_judge
    from regvq.judges.attributes import AttributeClassifier
    from regvq.judges.segmenter import Segmenter
    from regvq.metrics.generation import Judges
    from regvq.networks.features import load_features

    segmenter = flags.prior.segmenter or _find_judge(
        "segmenter", flags.data.name, partial(_fits, "semantic", bundle)
    )
    reader = load_judge(segmenter, Segmenter, device) if segmenter is not None else None
    if reader is not None and (words := _other_classes("semantic", reader.config.classes, bundle)):
        raise UsageError(f"--prior.segmenter {flags.prior.segmenter} {words}")
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
        print("SqueezeNet's weights are missing: the Fréchet distance uses the judge's features.")
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


def _classifier(
    flags: EvaluateFlags, bundle: Bundle, device: str
) -> Callable[[Tensor], Tensor] | None:
    """Return a function from images to the classes that they are taken for; None without one.

    Raises UsageError for a given judge of other classes than the prior's.
    """
    from regvq.judges import load_judge
    from regvq.judges.labels import LabelClassifier

    fits = partial(_fits, "label", bundle)
    found = flags.prior.labels or _find_judge("labels", flags.data.name, fits)
    if found is None:
        return None
    judge = load_judge(found, LabelClassifier, device)
    if words := _other_classes("label", judge.config.classes, bundle):
        raise UsageError(f"--prior.labels {flags.prior.labels} {words}")
    features = _features_of(judge.config.features, flags, device, "the classes of pictures")
    return None if features is None else partial(judge.classify, features)


def _word_judge(flags: EvaluateFlags, device: str) -> WordAnswers | None:
    """Return the judge of words that is given; None without one.

    None is searched: folders of pictures with captions are of all kinds, and share a name.
    """
    from regvq.judges import load_judge
    from regvq.judges.words import WordJudge

    if flags.prior.words is None:
        return None
    judge = load_judge(flags.prior.words, WordJudge, device)
    features = _features_of(judge.config.features, flags, device, "the words of captions")
    return None if features is None else judge.on(features)


def _features_of(
    name: FeatureName, flags: EvaluateFlags, device: str, what: str
) -> Features | None:
    """Return the features that a judge decides on; None, with a line about it, without weights."""
    from regvq.errors import FeatureError
    from regvq.networks.features import load_features

    given = flags.features.weights if flags.features.name == name else None
    try:
        features = load_features(name, given)
    except FeatureError as error:
        print(f"{what} are left out: {error}")
        return None
    assert features is not None
    return features.to(device)


_NAMED = {"label": "labels", "semantic": "classes"}  # the entry of a prior's data, by condition


def _fits(condition: str, bundle: Bundle, judge: Bundle) -> bool:
    return _other_classes(condition, judge.config["judge"].get("classes", ()), bundle) is None


def _other_classes(condition: str, classes: Sequence[str], bundle: Bundle) -> str | None:
    """Return in words that a judge's classes are not those of the prior's condition; None if they
    are, or if the prior has no such condition."""
    described = bundle.config.get("prior", {}).get("conditions", [])
    count = next((each.get("classes") for each in described if each["name"] == condition), None)
    if count is None:
        return None
    if len(classes) != count:
        return f"knows {len(classes)} classes, and the prior {bundle.name} has {count}"
    named = bundle.config.get("data", {}).get(_NAMED[condition])
    if named and list(named) != list(classes):
        other = next(a for a, b in zip(classes, named, strict=False) if a != b)
        return f"knows the class {other!r}, which the prior {bundle.name} has not in that place"
    return None


def _clip(flags: EvaluateFlags, device: str) -> Clip | None:
    from regvq.metrics.clip import load_clip

    if not flags.prior.clip:
        return None
    return load_clip(flags.prior.clip_model, flags.prior.clip_weights, device)


def _find_judge(
    kind: str, data: str, fits: Callable[[Bundle], bool] = lambda _: True
) -> Bundle | None:
    from regvq.bundles.bundle import list_bundles

    for found in list_bundles(kind="judge"):
        about = found.config
        of_kind = about.get("judge", {}).get("name") == kind
        if of_kind and about.get("data", {}).get("name") == data and fits(found):
            return found
    print(
        f"no judge ({kind}) for {data} is available: its figures are left out; train one with "
        f"{program('judge')} {kind}."
    )
    return None


def _held_out(
    data: Dataset, chosen: list[int], size: int, skipped: list[str], words: tuple[str, ...]
) -> Iterator[HeldOut]:
    """Yield the center squares of the chosen pictures; note those that cannot be read.

    Of several captions of a picture, one is given: the first, second, … of each picture in turn.
    """
    from regvq.data import center
    from regvq.data.scenes import Scenes, named_in
    from regvq.errors import PictureError
    from regvq.judges.words import mentioned
    from regvq.metrics.generation import HeldOut

    for number, index in enumerate(chosen):
        try:
            if isinstance(data, Scenes):
                sample, attributes = data.item_and_attributes(index)
                yield HeldOut(sample, named_in(attributes))
                continue
            sample = center(data[index], size)
        except PictureError as error:
            skipped.append(str(error))
            continue
        if sample.captions:
            sample = replace(sample, caption=sample.captions[number % len(sample.captions)])
        yield HeldOut(sample, mentioned([sample.caption], words) if words else None)


def _publish(
    bundle: Bundle, prior: Any, report: Mapping[str, Any], note: Mapping[str, str | None]
) -> None:
    """Write the bundle again with the figures of ``report`` and a new card."""
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
