"""Model cards and published figures, which are written from the bundle's JSON."""

from __future__ import annotations

import numpy as np
import torch
from huggingface_hub import ModelCard

from core.bundles.bundle import find_bundle
from core.cards.tokenizer import model_card
from core.checkpoints import load_tokenizer
from core.quantizers import LevelsConfig, VQConfig
from core.tokenizer import Tokenizer, TokenizerConfig
from tests.core.bundles.test_checkpoints import make
from train.export.figures import publish_figures, publish_further

RECIPE = {
    "name": "photos-regvq",
    "steps": 10,
    "batch": 4,
    "seed": 0,
    "data": {"name": "folder", "size": 64, "last_size": 128, "last_share": 0.2},
    "features": "SqueezeNet 1.1 (weights file x.npz)",
    "loss": {"l1": 1.0},
}
REPORT = {
    "data": {"name": "folder", "split": "test"},
    "images": 7,
    "tokens": 70,
    "codebook_size": 16,
    "codes_used": 9,
    "utilization": 9 / 16,
    "perplexity": 7.25,
    "bytes": 123.0,
    "psnr": 21.5,
    "ssim": 0.5,
    "squeezenet_distance": 0.625,
    "features": "SqueezeNet 1.1 (weights file x.npz)",
    "codecs": {
        "jpeg": {
            "bytes": 150.0,
            "within_budget": 0.5,
            "psnr": 20.0,
            "ssim": 0.4,
            "squeezenet_distance": 1.0,
        }
    },
}


def test_published_figures_reach_metrics_card_and_atlas(tmp_path):
    tokenizer = make()
    tokenizer.save_pretrained(tmp_path / "b", metrics={"step": 10}, recipe=RECIPE)
    counts = np.arange(16)
    note = {"data": "Seven photographs.", "terms": "Research only.", "pictures": "bridges"}
    publish_figures(find_bundle(tmp_path / "b"), tokenizer, REPORT, counts, note)
    bundle = find_bundle(tmp_path / "b")
    assert bundle.metrics["psnr"] == 21.5
    assert bundle.metrics["step"] == 10
    assert np.array_equal(bundle.atlas["counts"], counts)
    assert str(bundle.atlas["source"]) == "7 bridges"
    for words in (
        "| PSNR, mean over pictures | 21.50 dB |",
        "| Codebook utilization | 56.2% |",
        "On 7 bridges",
        "Seven photographs.",
        "Research only.",
        "| jpeg | 150 | 50% | 20.00 dB | 0.4000 | 1.0000 |",
        "9 of 16 codes used",
        "python train/run.py photos-regvq --data.root DIR --steps 10",
        "10 of 10 steps of 4 crops of 64 pixels (crops of 128 pixels, proportionally fewer, in "
        "the last 20%)",
        "neither LPIPS nor FID",
    ):
        assert words in bundle.card
    image = torch.rand(1, 3, 8, 8) * 2 - 1
    assert torch.equal(load_tokenizer(bundle).encode(image), tokenizer.encode(image))


def test_publishing_again_keeps_notes_that_are_not_given(tmp_path):
    tokenizer = make()
    tokenizer.save_pretrained(tmp_path / "b", recipe=RECIPE)
    note = {"data": "Seven photographs.", "terms": None, "pictures": "bridges"}
    for said in (note, {"data": None, "terms": None, "pictures": None}):
        publish_figures(find_bundle(tmp_path / "b"), tokenizer, REPORT, np.arange(16), said)
    bundle = find_bundle(tmp_path / "b")
    assert "Seven photographs." in bundle.card
    assert "On 7 bridges" in bundle.card


def test_rfid_and_lpips_are_on_the_card_with_their_features(tmp_path):
    report = {
        **REPORT,
        "rfid": 12.5,
        "lpips_vgg": 0.25,
        "data": {"name": "imagenet", "split": "val", "square": 256},
        "features_of": {"rfid": "Inception", "lpips_vgg": "VGG-16"},
        "protocol": {"rfid": "on Inception; 7 pictures", "lpips_vgg": "on VGG-16; mean"},
    }
    card = model_card("x", make().config, RECIPE, report)
    for words in (
        "| rFID | 12.5000 |",
        "| LPIPS (VGG-16) | 0.2500 |",
        "- `rfid`: on Inception; 7 pictures.",
        "- `lpips_vgg`: on VGG-16; mean.",
        "center squares of 256 pixels, argmax codes",
    ):
        assert words in card


def test_a_card_without_figures_says_so():
    card = model_card("x", make().config, RECIPE, {})
    assert "Not evaluated yet" in card
    assert card.startswith("---\n") and "\nlicense: other\n" in card
    data = ModelCard(card).data
    assert data.license == "other" and data.tags[0] == "vector-quantization"


def test_a_card_names_exact_copies_only_where_all_are():
    def card(**figures: object) -> str:
        codecs = {"jpeg": {**REPORT["codecs"]["jpeg"], **figures}}
        return model_card("x", make().config, RECIPE, {**REPORT, "codecs": codecs})

    assert "| 20.00 dB (without 1 exact copy) |" in card(exact_copies=1)
    assert "| 20.00 dB (without 3 exact copies) |" in card(exact_copies=3)
    assert "| ∞ (exact copies) |" in card(psnr=None, ssim=1.0)
    mixed = card(psnr=None, ssim=0.674)  # as an earlier version wrote it
    assert "∞" not in mixed and "not stated (some are exact copies)" in mixed


def test_a_card_says_whether_the_loss_used_the_features_of_its_figures():
    same = model_card("x", make().config, RECIPE, REPORT)
    assert "Training used SqueezeNet 1.1 in its loss" in same
    features = "AlexNet (weights file a) and VGG-16 (weights file b)"
    other = model_card("x", make().config, RECIPE | {"features": features}, REPORT)
    assert "Training did not use SqueezeNet 1.1." in other and "in its loss" not in other


def test_figures_on_further_pictures_are_added_and_replaced(tmp_path):
    """Those of the bundle's own evaluation stay, and a later evaluation keeps the further ones."""
    tokenizer = make()
    tokenizer.save_pretrained(tmp_path / "b", recipe=RECIPE)
    note = {"data": None, "terms": None, "pictures": "bridges"}
    publish_figures(find_bundle(tmp_path / "b"), tokenizer, REPORT, np.arange(16), note)
    for psnr in (19.0, 20.25):
        further = REPORT | {"psnr": psnr, "images": 5, "lpips_vgg": 0.3125}
        further |= {"data": {"name": "imagenet", "split": "val"}}
        publish_further(find_bundle(tmp_path / "b"), tokenizer, further, "cats")
    publish_figures(find_bundle(tmp_path / "b"), tokenizer, REPORT, np.arange(16), note)
    bundle = find_bundle(tmp_path / "b")
    assert bundle.metrics["psnr"] == 21.5
    (row,) = bundle.metrics["further"]
    assert (row["psnr"], row["lpips_vgg"], row["data"]["described"]) == (20.25, 0.3125, "cats")
    assert "codecs" not in row
    assert "| 5 cats | 20.25 dB | 0.5000 | 56.2% | 7.2 | 0.3125 |" in bundle.card
    assert "LPIPS (VGG-16) |" in bundle.card and "21.50 dB" in bundle.card


def test_text_and_robustness_of_further_pictures_are_on_the_card(tmp_path):
    """Text is drawn: its figures are the bundle's own. Replaced tokens are of the pictures."""
    tokenizer = make()
    tokenizer.save_pretrained(tmp_path / "b", recipe=RECIPE)
    note = {"data": None, "terms": None, "pictures": "bridges"}
    publish_figures(find_bundle(tmp_path / "b"), tokenizer, REPORT, np.arange(16), note)
    read = {"height": 12, "characters": 0.25, "words": 0.1}
    read |= {f"original_{key}": read[key] + 0.5 for key in ("characters", "words")}
    rows = [{"share": 0.5, "psnr": 17.25, "ssim": 0.375}]
    further = REPORT | {"images": 5, "data": {"name": "folder", "split": "test"}}
    further |= {
        "text": {"lines": 2, "seed": 0, "rows": [read]},
        "robustness": {"neighbors": 10, "seed": 0, "images": 4, "rows": rows},
    }
    publish_further(find_bundle(tmp_path / "b"), tokenizer, further, "cats")
    publish_figures(find_bundle(tmp_path / "b"), tokenizer, REPORT, np.arange(16), note)
    bundle = find_bundle(tmp_path / "b")
    assert bundle.metrics["text"] == further["text"] and "robustness" not in bundle.metrics
    assert bundle.metrics["further"][0]["robustness"] == further["robustness"]
    assert "| 12 pixels | 25% | 10% | 75% | 60% |" in bundle.card
    assert "nearest codes of each, on 4 of the cats:" in bundle.card
    assert "| 50% | 17.25 dB | 0.3750 |" in bundle.card
    publish_figures(find_bundle(tmp_path / "b"), tokenizer, REPORT | further, np.arange(16), note)
    bundle = find_bundle(tmp_path / "b")
    assert bundle.card.count("nearest codes of each, on 4 of the pictures:") == 1


def test_published_figures_of_levels_have_no_atlas(tmp_path):
    network = make().config.network
    config = TokenizerConfig(network, VQConfig(size=16), levels=LevelsConfig(groups=2))
    tokenizer = Tokenizer(config).eval()
    tokenizer.save_pretrained(tmp_path / "b", recipe=RECIPE)
    rows = [{"codes_used": 9, "utilization": 9 / 16, "perplexity": 7.25}] * 2
    report = REPORT | {"levels": 2, "per_level": rows, "codes_used": 18}
    publish_figures(find_bundle(tmp_path / "b"), tokenizer, report, np.ones((2, 16)), {})
    bundle = find_bundle(tmp_path / "b")
    assert bundle.metrics["per_level"] == rows
    assert not bundle.atlas
    assert "18 of 2 x 16 codes used" in bundle.card
    assert "| 2 | 9 of 16 | 56.2% | 7.2 |" in bundle.card
