"""Mean entropy of each predicted class: by hand, in parts, and which classes count as the least certain."""

import numpy as np
import pytest

from training.distribution.shares import Workers
from training.errors import UserError
from training.probability_maps.class_entropies import ClassEntropies

CERTAIN, NEARLY = [1, 0, 0], [0.7, 0.2, 0.1]


def maps(seed: int, count: int) -> np.ndarray:
    logits = np.random.default_rng(seed).standard_normal((count, 6, 7, 5)) * 3
    exponentials = np.exp(logits)
    return (exponentials / exponentials.sum(axis=-1, keepdims=True)).astype(np.float32)


def test_by_hand_with_a_class_that_is_never_predicted():
    found = ClassEntropies.of_maps(np.float32([[[CERTAIN, NEARLY], [[0, 1, 0], [0.2, 0.7, 0.1]]]]), 3)
    assert found.pixels.tolist() == [2, 2, 0]
    assert found.sums.dtype == np.float64
    np.testing.assert_allclose(found.means, [0.7298466992 / 2, 0.7298466992 / 2, np.inf], atol=1e-7)


def test_parts_add_up_to_the_whole():
    whole = maps(0, 9)
    everything = ClassEntropies.of_maps(whole, 5)
    parts = [ClassEntropies.of_maps(whole[first::2], 5) for first in range(2)]
    pairs = iter([(parts[1].sums, np.float64), (parts[1].pixels, np.int64)])

    def add_up(mine):
        others, kind = next(pairs)
        assert mine.dtype == kind
        return mine + others

    merged = ClassEntropies.of_maps(whole[::2], 5, Workers(add_up, lambda work: work(), 5))
    np.testing.assert_array_equal(merged.pixels, everything.pixels)
    np.testing.assert_allclose(merged.means, everything.means, rtol=1e-14)


def test_a_worker_without_an_image_adds_nothing():
    found = ClassEntropies.of_maps([], 4, Workers(lambda mine: mine, lambda work: work(), 4))
    assert found.pixels.tolist() == [0] * 4
    assert np.isinf(found.means).all()


def test_lost_classes_come_first_and_others_by_their_entropy():
    found = ClassEntropies(5)
    found.sums, found.pixels = np.array([1.0, 6.0, 0.0, 4.0, 4.0]), np.array([10, 10, 0, 10, 10])
    every = np.ones(5, bool)
    picked = [np.flatnonzero(found.most_uncertain(count, every)).tolist() for count in range(6)]
    assert picked == [[], [2], [1, 2], [1, 2, 3], [1, 2, 3, 4], [0, 1, 2, 3, 4]]
    assert found.most_uncertain(9, every).all()


def test_a_class_that_cannot_be_drawn_takes_no_place():
    found = ClassEntropies(3)
    found.sums, found.pixels = np.array([1.0, 6.0, 0.0]), np.array([10, 10, 0])
    assert np.flatnonzero(found.most_uncertain(1, np.array([True, True, False]))).tolist() == [1]


def test_odd_maps_are_refused():
    with pytest.raises(UserError, match="has 5 classes: expected 4"):
        ClassEntropies.of_maps(maps(0, 1), 4)
    with pytest.raises(UserError, match="NaN or negative"):
        ClassEntropies.of_maps(np.full((1, 2, 2, 3), np.nan), 3)
