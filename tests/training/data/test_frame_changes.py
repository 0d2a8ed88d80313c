"""Changes of a frame before its augmentation: the margins that no teacher labels."""

import numpy as np
import pytest

from training.data.frame_changes import LeftOutMargins, changed


def frame(height: int = 20, width: int = 40) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 19, (height, width, 4), np.uint8)


def refuse(index: int):
    raise AssertionError("another frame was loaded")


def test_margins_are_shares_of_the_frame_and_the_picture_stays():
    before = frame()
    kept = before.copy()
    after = LeftOutMargins(top=0.05, bottom=0.25, left=0.1, right=0.2).change(0, 0, before, refuse)
    np.testing.assert_array_equal(before, kept)
    np.testing.assert_array_equal(after[..., :3], before[..., :3])
    inside = np.zeros((20, 40), bool)
    inside[1:15, 4:32] = True
    np.testing.assert_array_equal(after[..., 3], np.where(inside, before[..., 3], 254))


@pytest.mark.parametrize("side", ["top", "bottom", "left", "right"])
def test_each_margin_is_on_its_side(side):
    label = LeftOutMargins(**{side: 0.5}).change(0, 0, frame(), refuse)[..., 3] == 254
    half = {"top": label[:10], "bottom": label[10:], "left": label[:, :20], "right": label[:, 20:]}[side]
    assert half.all()
    assert label.mean() == 0.5


def test_without_margins_a_frame_stays_as_it_is():
    np.testing.assert_array_equal(LeftOutMargins().change(0, 0, frame(), refuse), frame())


def test_the_margins_of_cityscapes_are_those_of_daformer():
    """15 and 120 of 512 rows are published, 0.03 and 0.23 are two rows fewer."""
    label = LeftOutMargins(0.03, 0.23).change(0, 0, frame(512, 8), refuse)[..., 3]
    outside = np.flatnonzero((label == 254).all(axis=1))
    assert (np.count_nonzero(outside < 256), np.count_nonzero(outside >= 256)) == (15, 118)


def test_changes_are_made_in_their_order():
    changes = (LeftOutMargins(top=0.5), LeftOutMargins(bottom=0.25))
    label = changed(changes, 3, 9, lambda index: frame())[..., 3]
    assert ((label == 254).all(axis=1) == [*[True] * 10, *[False] * 5, *[True] * 5]).all()
