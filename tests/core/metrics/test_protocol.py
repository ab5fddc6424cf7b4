"""The words beside figures: each figure has its protocol, and no other."""

from __future__ import annotations

import pytest

from core.metrics.protocol import is_feature_distance, protocol

FIGURES = {"images": 20, "tokens": 300}
DATA = {"name": "folder", "split": "test"}


def test_a_distance_of_sets_and_one_of_pairs_have_their_own_words() -> None:
    labels = {
        "rfid": "published Inception",
        "inception_fd": "other Inception",
        "lpips_vgg": "LPIPS 0.1",
        "alex_weighted_distance": "another AlexNet",
    }
    said = protocol(DATA, FIGURES | {"features_of": labels, "features": "VGG-16"}, 20)
    for key in ("rfid", "inception_fd"):
        assert said[key] == (
            f"on {labels[key]}; 20 pictures against their reconstructions, 8 bits, resized to "
            "299 x 299 as TensorFlow 1 does (bilinear, not antialiased); sample covariances"
        )
    for key in ("lpips_vgg", "alex_weighted_distance"):
        assert said[key] == f"on {labels[key]}; mean over pictures, each at its own size"
    assert said["feature distances"] == "on VGG-16: neither LPIPS nor FID"
    bare = protocol(DATA, FIGURES, 20)
    assert set(bare) == {"pictures", "reconstruction", "psnr", "ssim", "usage"}
    assert "over these 300 tokens" in bare["usage"]
    assert bare["pictures"] == "20 of the 20 of folder, split test; whole, at their own size"


@pytest.mark.parametrize(
    ("data", "shape"),
    [
        ({}, "whole, at their own size"),
        ({"square": 64}, "center squares, resized to 64 x 64 pixels (Lanczos)"),
        ({"size": 48}, "drawn at 48 x 48 pixels"),
    ],
)
def test_pictures_are_described(data: dict[str, int], shape: str) -> None:
    for available, skipped, spread in (
        (20, 0, ""),
        (22, 2, ""),
        (21, 0, ", spread evenly"),
        (23, 2, ", spread evenly"),
    ):
        said = protocol(DATA | data, FIGURES, available, skipped)["pictures"]
        assert said == f"20 of the {available} of folder, split test{spread}; {shape}"


def test_keys_of_distances_on_features() -> None:
    distances = ("lpips_alex", "lpips_vgg", "lpips_squeeze", "rfid", "fid", "inception_fd",
                 "vgg19_distance", "vgg19_fd")  # fmt: skip
    assert all(map(is_feature_distance, distances))
    others = ("psnr", "ssim", "perplexity", "lpips", "fids", "distance", "fd", "bits_per_token")
    assert not any(map(is_feature_distance, others))
