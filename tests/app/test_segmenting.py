"""One photo through the model, and through two of them, on pictures whose answer is known."""

import numpy as np
import pytest

from app.segmenting import class_changes, class_shares, compare, segment
from app.uploads import Photo, Upload, read_photo
from tests.app.tiny_model import painted, street

CORNERS = 3e-4


def test_a_painted_street_is_segmented(model, street_file):
    """But for two pixels: the grid is coarser than the picture, which rounds corners off."""
    found = segment(model, read_photo(Upload(street_file, "street.png")))
    assert np.sum(found.segmentation.labels != street()) <= 2
    assert [class_id for class_id, _ in found.shares] == [2, 0, 3]
    assert [share for _, share in found.shares] == pytest.approx([0.5, 0.4375, 0.0625], abs=CORNERS)
    assert found.segmentation.confidence.mean() > 0.9


def test_the_comparison_knows_what_changed(model, source, street_file):
    found = compare(source, model, read_photo(Upload(street_file, "street.png")))
    assert [change[:2] for change in found.changes] == [(3, 0), (0, 3)]  # the source model confuses road and car
    assert [change[2] for change in found.changes] == pytest.approx([0.4375, 0.0625], abs=CORNERS)
    assert found.changed == 0.5


def test_nothing_changes_between_a_model_and_itself(model, street_file):
    found = compare(model, model, read_photo(Upload(street_file, "street.png")))
    assert (found.changed, found.changes) == (0, ())


def test_odd_sizes_are_answered_at_their_own_size(model):
    for height, width in ((1, 1), (1, 1600), (37, 5), (300, 200)):
        image = painted(np.full((height, width), 4, np.uint8))
        found = segment(model, Photo("odd", image, (height, width)))
        assert found.segmentation.labels.shape == (height, width)
        assert found.shares == ((4, 1.0),)


def test_shares_and_changes_are_sorted_by_size():
    before, after = np.uint8([[0, 0, 1, 1, 2, 2]]), np.uint8([[0, 1, 2, 2, 2, 0]])
    assert class_shares(after) == ((2, 0.5), (0, 1 / 3), (1, 1 / 6))
    assert class_changes(before, after) == ((1, 2, 2 / 6), (0, 1, 1 / 6), (2, 0, 1 / 6))
