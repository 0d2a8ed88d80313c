"""The order of samples is a pure function of seed and position."""

import numpy as np
import pytest

from training.data.sampling import checked_indices, sample_order
from training.errors import UserError


@pytest.mark.parametrize("count", [1, 2, 7])
def test_every_epoch_is_a_fresh_permutation(count):
    epochs = sample_order(count, 0, 20 * count, seed=3).reshape(20, count)
    assert (np.sort(epochs, axis=1) == np.arange(count)).all()
    assert count == 1 or len({tuple(epoch) for epoch in epochs}) > 1


def test_tail_equals_the_order_from_there_on():
    whole = sample_order(7, 0, 50, seed=3)
    for first in (0, 1, 6, 7, 8, 20, 49, 50):
        np.testing.assert_array_equal(sample_order(7, first, 50, seed=3), whole[first:])


def test_seeds_differ():
    assert (sample_order(50, 0, 50, seed=0) != sample_order(50, 0, 50, seed=1)).any()


def test_indices_are_checked():
    np.testing.assert_array_equal(checked_indices(None, 3), [0, 1, 2])
    np.testing.assert_array_equal(checked_indices(np.array([2, 0], np.int32), 3), [2, 0])
    with pytest.raises(UserError, match="no image to train on"):
        checked_indices(np.array([]), 3)
    for outside in (-1, 3):
        with pytest.raises(IndexError):
            checked_indices(np.array([outside]), 3)
