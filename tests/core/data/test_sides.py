from __future__ import annotations

import pytest

from regvq.data.sides import mirrored_captions


class TestMirroredCaptions:
    def test_captions_without_a_side_are_the_ones_that_stay_true(self) -> None:
        captions = ("a bird, looking to the left.", "a bird.", "the leftover of a bright day.")
        assert mirrored_captions(captions) == captions[1:]

    @pytest.mark.parametrize(
        ("caption", "turned"),
        [
            ("a bird, looking to the left.", "a bird, looking to the right."),
            ("Left of a tree, a bird on the right", "Right of a tree, a bird on the left"),
            ("the LEFT hand", "the RIGHT hand"),
            ("the leftmost of three, rightwards", "the rightmost of three, leftwards"),
        ],
    )
    def test_sides_are_exchanged_where_every_caption_names_one(
        self, caption: str, turned: str
    ) -> None:
        assert mirrored_captions((caption,)) == (turned,)
        assert mirrored_captions((turned,)) == (caption,)

    def test_a_picture_without_captions_has_none(self) -> None:
        assert mirrored_captions(()) == ()
