"""Layout agreement compared with counts by hand and by scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import confusion_matrix, jaccard_score
from torch import Tensor

from core.judges.segmenter import Segmenter, SegmenterConfig
from core.metrics.segmentation import LayoutAgreement, agreement, at_size


class Painted(Segmenter):
    """A segmenter that reads classes from the red channel: -1 is class 0, 0 class 1, 1 class 2."""

    def segment(self, images: Tensor) -> Tensor:
        return (images[:, 0] + 1).round().long()


def painted(size: int = 8) -> Painted:
    return Painted(SegmenterConfig(("sky", "sea", "land"), size=size, widths=(8, 8)))


def test_hand_counted_agreement() -> None:
    gathered = LayoutAgreement(("a", "b", "c", "d"))
    truth = torch.tensor([[[0, 0, 1], [1, 1, 255]]])
    guess = torch.tensor([[[0, 1, 1], [1, 2, 3]]])
    gathered.update(guess, truth)
    figures = gathered.figures()
    assert figures["pixels"] == 5
    assert figures["pixel_accuracy"] == pytest.approx(3 / 5)
    # a: 1 of 2; b: 2 of 4 (one pixel predicted as c, one of a's predicted as b); no c, no d
    assert figures["iou"] == {
        "a": pytest.approx(1 / 2),
        "b": pytest.approx(2 / 4),
        "c": None,
        "d": None,
    }
    assert figures["mean_iou"] == pytest.approx(0.5)
    assert figures["classes_counted"] == 2


def test_figures_gathered_in_parts_equal_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    truth, guess = rng.integers(0, 5, (2, 6, 7, 9))
    guess = np.where(rng.random(guess.shape) < 0.6, truth, guess)
    gathered = LayoutAgreement("abcde")
    for part in np.array_split(np.arange(6), 3):
        gathered.update(torch.from_numpy(guess[part]), torch.from_numpy(truth[part]))
    assert np.array_equal(
        gathered.confusion.numpy(), confusion_matrix(truth.ravel(), guess.ravel())
    )
    figures = gathered.figures()
    expected = jaccard_score(truth.ravel(), guess.ravel(), average=None)
    assert list(figures["iou"].values()) == pytest.approx(expected.tolist())
    assert figures["mean_iou"] == pytest.approx(expected.mean())
    assert figures["pixel_accuracy"] == pytest.approx((truth == guess).mean())


def test_invalid_maps_are_refused() -> None:
    gathered = LayoutAgreement("ab")
    with pytest.raises(ValueError, match="one shape"):
        gathered.update(torch.zeros(1, 2, 2).long(), torch.zeros(1, 2, 3).long())
    with pytest.raises(ValueError, match="true map holds ids outside 0"):
        gathered.update(torch.zeros(1, 1, 1).long(), torch.full((1, 1, 1), 2))
    with pytest.raises(ValueError, match="predicted map"):
        gathered.update(torch.full((1, 1, 1), 255), torch.zeros(1, 1, 1).long())
    with pytest.raises(ValueError, match="no labeled pixel"):
        gathered.figures()


def test_maps_of_several_sizes_are_compared_on_one_grid() -> None:
    ids = torch.tensor([[0, 2], [1, 2]]).repeat_interleave(4, 0).repeat_interleave(4, 1)
    images = (ids - 1.0).expand(2, 3, 8, 8)
    finer = ids.repeat_interleave(3, 0).repeat_interleave(3, 1)
    for maps in (ids, ids[::4, ::4], ids[::2, ::2], finer):
        figures = agreement(painted(), images, maps.expand(2, *maps.shape), batch=1)
        assert figures["mean_iou"] == 1 and figures["pixels"] == 2 * min(64, maps.numel())
    large = images.repeat_interleave(4, 2).repeat_interleave(4, 3)
    assert at_size(large, 8).shape == (2, 3, 8, 8)
    assert agreement(painted(), large, ids.expand(2, 8, 8))["pixel_accuracy"] > 0.9
    wrong = agreement(painted(), images, ids.flip(0).expand(2, 8, 8))
    assert wrong["pixel_accuracy"] == 0.5


def test_a_token_grid_is_compared_with_the_most_frequent_class_of_each_cell() -> None:
    ids = torch.ones(8, 8).long()
    ids[0, :4] = 0  # 4 of the 16 pixels of one cell
    figures = agreement(painted(), (ids - 1.0).expand(1, 3, 8, 8), torch.ones(1, 2, 2).long())
    assert figures["pixel_accuracy"] == 1 and figures["pixels"] == 4


def test_maps_of_other_proportions_are_refused() -> None:
    images = torch.zeros(1, 3, 8, 8)
    with pytest.raises(ValueError, match="proportions"):
        agreement(painted(), images, torch.zeros(1, 8, 16).long())
    with pytest.raises(ValueError, match="as many maps"):
        agreement(painted(), images, torch.zeros(2, 8, 8).long())


def test_the_segmenter_takes_any_size_and_is_convolutional() -> None:
    torch.manual_seed(0)
    segmenter = Segmenter(SegmenterConfig(tuple("abcde"), size=16, widths=(8, 16))).eval()
    assert segmenter(torch.zeros(2, 3, 19, 30)).shape == (2, 5, 19, 30)
    assert segmenter.segment(torch.randn(1, 3, 16, 16)).dtype == torch.int64
    with pytest.raises(ValueError, match="classes"):
        SegmenterConfig(())


@pytest.mark.parametrize("wrong", [-1, 3, 254])
@pytest.mark.parametrize("place", ["true", "predicted"])
def test_ids_that_are_no_class_are_refused(wrong: int, place: str) -> None:
    good, bad = torch.tensor([[[0, 2, 1]]]), torch.tensor([[[0, wrong, 1]]])
    maps = (good, bad) if place == "true" else (bad, good)
    with pytest.raises(ValueError, match=f"a {place} map holds ids outside 0..2"):
        LayoutAgreement("abc").update(*maps)


def test_a_class_of_one_pixel_counts() -> None:
    gathered = LayoutAgreement("ab")
    gathered.update(torch.tensor([[[1]]]), torch.tensor([[[1]]]))
    figures = gathered.figures()
    assert figures["iou"] == {"a": None, "b": 1.0} and figures["mean_iou"] == 1.0
    other = LayoutAgreement("ab")
    other.update(torch.tensor([[[0]]]), torch.tensor([[[1]]]))
    assert other.figures()["iou"] == {"a": None, "b": 0.0} and other.figures()["mean_iou"] == 0.0
    assert other.confusion.dtype == torch.int64


def test_pictures_are_reduced_without_aliasing() -> None:
    """Stripes of one pixel become gray; without antialiasing, black or white would remain."""
    stripes = torch.tensor([-1.0, 1.0]).repeat(24).expand(1, 3, 48, 48)
    small = at_size(stripes, 16)  # every third pixel alone would be all black and all white
    assert small.shape == (1, 3, 16, 16) and float(small.abs().max()) < 0.4
    assert at_size(stripes, 48) is stripes
    assert at_size(stripes[:, :, :36], 16).shape == (1, 3, 16, 21)
    assert at_size(stripes[..., :36], 16).shape == (1, 3, 21, 16)
