"""Feature distance: the ratio rule by hand, and that no case gives a gradient that is not finite."""

import numpy as np
import pytest
import tensorflow as tf

from training.losses import feature_distance, labels_on

BY_HAND = [[0, 0, 1, 1], [0, 1, 1, 1], [255, 255, 2, 2], [255, 2, 2, 2]]


def test_the_ratio_rule_by_hand():
    found = labels_on(tf.constant([BY_HAND], tf.uint8), (2, 2), 3, 0.75)
    np.testing.assert_array_equal(found, [[[0, 1], [255, 2]]])
    strict = labels_on(tf.constant([BY_HAND], tf.uint8), (2, 2), 3, 0.76)
    np.testing.assert_array_equal(strict, [[[255, 1], [255, 2]]])


def test_cells_of_a_grid_that_does_not_divide_the_label():
    label = np.zeros((1, 5, 5), np.uint8)
    label[:, :, 3:] = 1
    np.testing.assert_array_equal(labels_on(tf.constant(label), (2, 2), 2, 0.75)[0], [[0, 1], [0, 1]])


def test_a_label_without_any_class_belongs_to_none():
    for value in (254, 255):
        found = labels_on(tf.fill((1, 4, 4), tf.constant(value, tf.uint8)), (2, 2), 3, 0.75)
        np.testing.assert_array_equal(found, np.full((1, 2, 2), 255))


def features(seed: int):
    return tf.constant(np.random.default_rng(seed).normal(size=(2, 3, 4, 5)).astype(np.float32))


def test_the_distance_by_hand():
    ours = tf.constant([[[[3.0, 4.0], [1.0, 0.0], [9.0, 9.0]]]])
    mask = tf.constant([[[1.0, 1.0, 0.0]]])
    assert float(feature_distance(ours, tf.zeros_like(ours), mask)) == pytest.approx((5 + 1) / 2)


@pytest.mark.parametrize(("things", "equal"), [(0.0, False), (1.0, True), (0.0, True)], ids=["none", "equal", "both"])
def test_without_things_or_difference_it_is_0_with_a_finite_gradient(things, equal):
    ours, frozen = features(0), features(0 if equal else 1)
    with tf.GradientTape() as tape:
        tape.watch(ours)
        value = feature_distance(ours, frozen, tf.fill((2, 3, 4), things))
    assert float(value) == 0
    np.testing.assert_array_equal(tape.gradient(value, ours), np.zeros(ours.shape))


def test_the_gradient_leads_to_the_frozen_features():
    ours, frozen = features(0), features(1)
    with tf.GradientTape() as tape:
        tape.watch(ours)
        value = feature_distance(ours, frozen, tf.ones((2, 3, 4)))
    nearer = ours - 0.1 * tape.gradient(value, ours)
    assert float(feature_distance(nearer, frozen, tf.ones((2, 3, 4)))) < float(value)


def test_half_precision_is_computed_in_float32():
    ours = tf.fill((1, 1, 1, 4), tf.constant(300.0, tf.float16))  # whose squares no float16 holds
    value = feature_distance(ours, tf.zeros_like(ours), tf.ones((1, 1, 1)))
    assert float(value) == pytest.approx(600.0)
