"""Modes outside of steps: where they start, how they are used, how far apart they are."""

import numpy as np
import pytest

from tests.training.methods.tiny import CLASSES
from training.methods.modes import mode_distances, started_modes, usage, usage_by_name


def clouds(counts=(200, 200, 200), label=1):
    """Samples of one class around three points."""
    random = np.random.default_rng(0)
    points = np.repeat([[0, 0], [5, 0], [0, 5]], counts, axis=0) + random.normal(0, 0.1, (sum(counts), 2))
    return points.astype(np.float32), np.full(sum(counts), label)


def test_modes_start_where_k_means_finds_them():
    values, label = clouds()
    before = np.ones((CLASSES, 3, 2), np.float32)
    modes = started_modes(values, label, before, seed=0)
    np.testing.assert_allclose(sorted(modes[1].round().tolist()), [[0, 0], [0, 5], [5, 0]])
    # Modes of classes without a sample are among the other embeddings.
    np.testing.assert_allclose(modes[[0, 2]], np.broadcast_to(values.mean(0) + values.std(0), (2, 3, 2)), rtol=1e-5)
    np.testing.assert_array_equal(modes, started_modes(values, label, before, seed=0))
    shares = usage(values, label, modes)
    np.testing.assert_allclose(shares[1], 1 / 3)
    assert shares[0] is None


@pytest.mark.filterwarnings("error")
def test_a_class_with_fewer_samples_than_modes_has_them_all():
    modes = started_modes(np.array([[1.0, 2.0]], np.float32), np.array([0]), np.zeros((1, 3, 2), np.float32), 0)
    np.testing.assert_allclose(modes, np.broadcast_to([1.0, 2.0], (1, 3, 2)))


def test_usage_is_told_in_the_order_of_the_modes():
    shares = [np.array([0.1, 0.7, 0.2]), None]
    assert usage_by_name(shares, ("a", "b")) == {"a": [0.1, 0.7, 0.2], "b": None}


def test_distances_between_modes_of_a_class_and_to_other_classes():
    modes = np.array([[[0.0, 0.0], [3.0, 0.0], [0.0, 4.0]], [[0.0, 6.0], [9.0, 9.0], [9.0, 9.0]]])
    (within, between), (_, other) = mode_distances(modes)
    assert (within, between, other) == pytest.approx((4.0, 2.0, 2.0))
    assert mode_distances(modes[:1, :1]) == [(None, None)]
