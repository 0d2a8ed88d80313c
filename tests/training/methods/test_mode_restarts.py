"""Which modes start anew within a training, and where."""

import numpy as np
import pytest
import tensorflow as tf

from training.methods.mode_restarts import CANDIDATES, LEAST_COUNT, restarted
from training.methods.modes import least_share

CORNERS = np.array([[0, 0], [5, 0], [0, 5]], np.float32)


def clouds(counts=(60, 60, 60), shift=0.0):
    """Samples around the three corners, in any order."""
    random = np.random.default_rng(0)
    points = np.repeat(CORNERS, counts, axis=0) + random.normal(0, 0.1, (sum(counts), 2)) + shift
    return random.permutation(points).astype(np.float32)


def found(modes, counts, points, filled=None, seed=0):
    """`restarted` of one class."""
    filled = len(points) if filled is None else filled
    uniform = np.random.default_rng(seed).random((1, len(modes), CANDIDATES))
    given = (np.float32(modes), np.int32(counts), points)
    of_class = (tf.constant(each)[None] for each in given)
    result = restarted(*of_class, tf.constant([filled]), tf.constant(uniform, tf.float32))
    return [each.numpy()[0] for each in result]


@pytest.mark.parametrize("shift", [0.0, 1000.0])
def test_a_mode_without_samples_goes_to_those_that_are_far_from_the_others(shift):
    before = CORNERS + np.float32([[0.01, 0], [0, 0.01], [100, 100]]) + np.float32(shift)
    modes, anew, checked = found(before, [50, 50, 0], clouds(shift=shift))
    assert anew.tolist() == [False, False, True]
    assert checked
    np.testing.assert_array_equal(modes[:2], before[:2])
    np.testing.assert_allclose(modes[2], CORNERS[2] + shift, atol=0.1)
    np.testing.assert_array_equal(modes, found(before, [50, 50, 0], clouds(shift=shift))[0])


def test_one_mode_that_has_everything_leaves_two_thirds_of_it():
    modes, anew, _ = found([[1, 1], [50, 0], [0, 50]], [150, 0, 0], clouds())
    assert anew.tolist() == [False, True, True]
    np.testing.assert_allclose(sorted(modes[1:].tolist()), [[0, 5], [5, 0]], atol=0.1)


def test_of_two_modes_in_one_place_the_one_with_fewer_samples_goes():
    modes, anew, _ = found([[0, 0], [5, 0], [5, 0.01]], [60, 40, 60], clouds())
    assert anew.tolist() == [False, True, False]
    np.testing.assert_allclose(modes[1], CORNERS[2], atol=0.1)
    assert found([[2, 2]] * 3, [50, 50, 50], clouds())[1].tolist() == [False, True, True]


def test_it_is_the_middle_of_a_cloud_and_no_outlier():
    points = np.concatenate([clouds((80, 0, 60)), [[20, 0]]]).astype(np.float32)
    for seed in range(5):
        modes, _, _ = found([[0, 0], [90, 90]], [140, 0], points, seed=seed)
        np.testing.assert_allclose(modes[1], CORNERS[2], atol=0.1)


def test_modes_in_use_stay_and_so_do_those_of_a_class_with_few_samples():
    before = CORNERS + 1
    modes, anew, checked = found(before, [6, 50, 50], clouds())
    assert checked
    assert not anew.any()
    np.testing.assert_array_equal(modes, before)
    for counts, filled in (([LEAST_COUNT - 1, 0, 0], 180), ([500, 0, 0], 0)):
        modes, anew, checked = found(before, counts, clouds(), filled)
        assert not checked
        np.testing.assert_array_equal(modes, before)


def test_samples_in_one_point_move_nothing():
    before = np.float32([[0, 0], [9, 9], [9, 9]])
    modes, anew, _ = found(before, [500, 0, 0], np.zeros((200, 2), np.float32))
    assert not anew.any()
    np.testing.assert_array_equal(modes, before)


def test_what_is_not_filled_is_not_seen():
    points = np.concatenate([clouds(), np.full((100, 2), 77.0)]).astype(np.float32)
    modes, _, _ = found(CORNERS * np.float32([[1], [1], [40]]), [50, 50, 0], points, filled=180)
    np.testing.assert_allclose(modes[2], CORNERS[2], atol=0.1)


def test_of_many_modes_less_is_asked():
    assert [least_share(modes) for modes in (1, 3, 10, 50)] == [0.05, 0.05, 0.05, 0.01]
