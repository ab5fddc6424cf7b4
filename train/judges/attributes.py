"""Training an attribute classifier, which looks for the things that captions of scenes name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..cli.common import pick_device, program
from ..cli.errors import UsageError
from .training import JudgeRun, progress, recipe_of, to_bytes, train_judge

if TYPE_CHECKING:
    from torch import Tensor

    from regvq.judges.attributes import AttributeClassifier

READING = 8.0  # weight of reading the map, beside answering the questions; our choice


@dataclass(frozen=True)
class AttributesRun(JudgeRun):
    """An attribute classifier: looks in drawn landscapes for the things that captions name: hour,
    weather, objects, numbers, colors."""

    begin: Path | None = None
    """A trained segmenter of scenes, or a classifier, of the same size, from whose weights it is
    initialized; without one, from random weights."""
    steps: int = 3000
    """Optimizer steps."""
    pool: int = 12_000
    """Training pictures that are drawn first and kept in memory; steps choose among them."""
    judged: int = 2000
    """Held-out pictures for the judge's own score."""
    lr: float = 1.5e-3
    """Largest learning rate; it rises in 3 % of the steps, then falls along a cosine."""


def train_attributes(run: AttributesRun) -> Path:
    """Train a classifier, measure it on held-out scenes, and return its bundle's folder."""
    import torch
    import torch.nn.functional as F

    from regvq.cards.judge import judge_card
    from regvq.data.scenes import CLASSES, QUESTIONS, Scenes, answers, named_in
    from regvq.judges.attributes import AttributeClassifier, AttributesConfig
    from regvq.metrics.caption_agreement import AnswerAgreement

    device = pick_device(run.device)
    torch.manual_seed(run.seed)
    judge = AttributeClassifier(AttributesConfig(tuple(QUESTIONS.items()), CLASSES, run.size))
    if run.begin is not None:
        _initialize(judge, run.begin, run.size)
    judge = judge.to(device, memory_format=torch.channels_last)
    train = Scenes(run.size, seed=run.seed, length=run.pool)
    images = torch.empty(run.pool, 3, run.size, run.size, dtype=torch.uint8)
    maps = torch.empty(run.pool, run.size, run.size, dtype=torch.uint8)
    truths = torch.empty(run.pool, len(QUESTIONS), dtype=torch.int64)
    for index in progress(range(run.pool), "drawing"):
        sample, attributes = train.item_and_attributes(index)
        images[index], maps[index] = to_bytes(sample.image), sample.segmentation
        truths[index] = judge.encode(answers(attributes, sample.segmentation.numpy()))
    mirrored_question = mirrored_questions(judge.names)
    # Rare and small classes count as much as large ones.
    frequency = torch.bincount(maps.flatten(), minlength=len(CLASSES)) / maps.numel()
    weight = (frequency + 1e-5).rsqrt()
    weight = (weight / (weight * frequency).sum()).to(device)

    def loss_of(batch: Tensor, chosen: Tensor, mirrored: Tensor) -> Tensor:
        truth = truths[chosen]
        truth = torch.where(mirrored[:, None], truth[:, mirrored_question], truth)
        classes = maps[chosen].long()
        classes = torch.where(mirrored[:, None, None], classes.flip(2), classes)
        logits, read = judge.answers_and_map(batch)
        reading = F.cross_entropy(read.float(), classes.to(device), weight)
        return judge.loss(logits, truth.to(device)) + READING * reading

    train_judge(judge, run, device, images, loss_of)
    test = Scenes(run.size, seed=run.seed, length=max(run.judged, 1), split="test")
    named, every = AnswerAgreement(judge.names), AnswerAgreement(judge.names)
    for index in progress(range(run.judged), "measuring the judge"):
        sample, attributes = test.item_and_attributes(index)
        given = judge.answer(sample.image[None])
        named.update(given, judge.encode(named_in(attributes))[None])
        truth = answers(attributes, sample.segmentation.numpy())
        every.update(given, judge.encode(truth)[None])
    figures = {"pictures": run.judged, "named": named.figures(), "every": every.figures()}
    card = judge_card(
        run.out.name,
        data="scenes",
        command="attributes" + (" --begin DIR" if run.begin is not None else ""),
        purpose=f"it answers {len(QUESTIONS)} questions about a drawn landscape.",
        settings=vars(run),
        scores={
            "Right answers to questions that captions answer": figures["named"]["recognised"],
            "Pictures with all of these answers right": figures["named"]["all_recognised"],
            "Right answers to all questions with a true answer": figures["every"]["recognised"],
        },
        pictures=run.judged,
    )
    for key, asked in (("named", "that captions answer"), ("every", "with a true answer")):
        print(f"right answers to questions {asked}: {figures[key]['recognised']:.4f}")
    judge.save_pretrained(
        run.out,
        data={"name": "scenes", "seed": run.seed},
        metrics=figures,
        card=card,
        recipe=recipe_of(run, "attributes"),
    )
    return run.out


def _initialize(judge: AttributeClassifier, source: Path, size: int) -> None:
    """Load the weights of a segmenter or of a classifier into ``judge``."""
    from regvq.bundles.bundle import find_bundle
    from regvq.judges import load_judge
    from regvq.judges.attributes import AttributeClassifier
    from regvq.judges.segmenter import Segmenter

    reads = find_bundle(source).config.get("judge", {}).get("name") == "segmenter"
    loaded = load_judge(source, Segmenter if reads else AttributeClassifier)
    part = judge.reader if reads else judge
    if loaded.config != part.config:
        raise UsageError(
            f"--begin {source} is not a judge of scenes of {size} pixels; "
            f"train one with {program('judge')} segmenter --size {size}"
        )
    part.load_state_dict(loaded.state_dict())


def mirrored_questions(names: tuple[str, ...]) -> list[int]:
    """Return, for each question, the index of the question that has its answer in a mirrored
    picture: left and right change places."""
    turned = {" left": " right", " right": " left"}
    other = []
    for name in names:
        side = next((end for end in turned if name.endswith(end)), None)
        other.append(names.index(name.removesuffix(side) + turned[side] if side else name))
    return other
