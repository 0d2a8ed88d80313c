"""Pixel contrast: hand values, NumPy's and TensorFlow's own functions as oracles, and what must not change the loss."""

import math

import numpy as np
import pytest
import tensorflow as tf

from training.losses.contrast import (
    contrast_features,
    drawn,
    entropy_of,
    grid_size,
    info_nce,
    percentile,
    pixel_contrast,
    prototype_contrast,
    rank_window,
    ranks,
    spread,
)
from training.losses.grids import labels_on, pooled

RANDOM = np.random.default_rng(0)


def unit(*shape, seed=0):
    values = np.random.default_rng(seed).normal(size=shape)
    return tf.constant(values / np.linalg.norm(values, axis=-1, keepdims=True), tf.float32)


def value_and_gradient(function, argument):
    argument = tf.constant(argument)
    with tf.GradientTape() as tape:
        tape.watch(argument)
        value = function(argument)
    return value.numpy(), tape.gradient(value, argument).numpy()


# The grid


def test_labels_of_cells_by_hand():
    label = tf.constant([[[0, 0, 1, 1], [0, 1, 1, 1], [255, 255, 2, 2], [255, 2, 2, 2]]], tf.uint8)
    assert labels_on(label, (2, 2), 3).numpy().tolist() == [[[0, 1], [255, 2]]]


def test_beyond_the_frame_is_no_class_and_counts_against_every_class():
    label = tf.constant([[[0, 0, 0, 254], [0, 254, 0, 254]]], tf.uint8)
    assert labels_on(label, (1, 2), 3).numpy().tolist() == [[[0, 255]]]


@pytest.mark.parametrize("size", [(65, 65), (7, 5), (16, 16), (1, 1), (100, 40)])
def test_cells_of_any_size_cover_all_pixels_equally(size):
    values = RANDOM.random((2, 33, 50, 3)).astype(np.float32)
    cells = pooled(values, size)
    assert cells.shape == (2, *size, 3)
    np.testing.assert_allclose(tf.reduce_mean(cells, axis=(1, 2)), values.mean(axis=(1, 2)), rtol=1e-4)
    np.testing.assert_allclose(pooled(np.ones_like(values), size), 1.0, rtol=1e-4)


def test_a_pixel_between_two_cells_is_shared():
    values = np.arange(3, dtype=np.float32).reshape(1, 1, 3, 1)
    np.testing.assert_allclose(pooled(values, (1, 2)).numpy().ravel(), [1 / 3, 5 / 3], rtol=1e-6)


def test_where_cells_divide_the_pixels_they_are_pooled_as_by_tensorflow():
    values = RANDOM.random((2, 32, 64, 3)).astype(np.float32)
    np.testing.assert_allclose(pooled(values, (8, 16)), tf.nn.avg_pool2d(values, 4, 4, "VALID"), rtol=1e-5)


def levels(scale=1.0):
    return [
        scale * tf.constant(RANDOM.random((2, *size)), tf.float32) for size in ((32, 64, 4), (16, 32, 6), (8, 16, 8))
    ]


def test_features_of_all_levels_are_on_the_grid_and_of_length_1():
    found = levels()
    assert tuple(map(int, grid_size(found, 8))) == (16, 32)
    assert tuple(map(int, grid_size(found, 12))) == (11, 22)
    assert grid_size(found, "published") == (65, 65)
    features = contrast_features(found, (16, 32))
    assert features.shape == (2, 16, 32, 18)
    assert features.dtype == tf.float32
    np.testing.assert_allclose(tf.norm(features, axis=-1), 1.0, rtol=1e-5)
    scaled = contrast_features([7.0 * level for level in found], (16, 32))
    np.testing.assert_allclose(scaled, features, atol=1e-6)


def test_levels_reach_the_grid_by_way_of_the_finest():
    found = levels()
    maps = [tf.image.resize(tf.image.resize(level, (32, 64)), (13, 21)) for level in found]
    expected = tf.math.l2_normalize(tf.concat(maps, axis=-1), axis=-1)
    np.testing.assert_allclose(contrast_features(found, (13, 21)), expected, atol=1e-5)


def test_features_without_length_have_a_finite_gradient():
    zero = [tf.zeros((1, 8, 8, 2))]
    value, gradient = value_and_gradient(lambda level: tf.reduce_sum(contrast_features([level], (4, 4))), zero[0])
    assert value == 0
    assert np.isfinite(gradient).all()


# Which pixels


def test_percentiles_by_hand_and_as_numpys():
    values = tf.constant(np.arange(1, 11) / 10, tf.float32)
    everything = tf.fill(10, True)
    assert float(percentile(values, everything, 20.0)) == pytest.approx(0.28)
    assert float(percentile(values, everything, 80.0)) == pytest.approx(0.82)
    values, mask = RANDOM.random((3, 7)).astype(np.float32), RANDOM.random((3, 7)) < 0.6
    for percent in (0.0, 13.0, 50.0, 99.0, 100.0):
        expected = np.percentile(values[mask], percent)
        assert float(percentile(tf.constant(values), mask, percent)) == pytest.approx(expected, rel=1e-5)
    assert float(percentile(tf.constant(values), tf.fill((3, 7), False), 50.0)) == 0.0


def test_entropy_is_in_nats_and_finite():
    found = entropy_of(tf.constant([[1.0, 0.0], [0.5, 0.5]]))
    np.testing.assert_allclose(found, [0.0, math.log(2)], rtol=1e-6)


@pytest.mark.parametrize(("classes", "window"), [(19, (3, 19)), (16, (3, 16)), (30, (3, 20)), (3, (2, 3)), (2, (1, 2))])
def test_the_rank_window_shrinks_with_few_classes(classes, window):
    assert rank_window(classes) == window
    assert window[0] < window[1]  # no queue stays empty for want of ranks


def test_ranks_of_probabilities():
    assert ranks(tf.constant([[0.2, 0.5, 0.3], [0.4, 0.4, 0.2]])).numpy().tolist() == [[2, 0, 1], [0, 1, 2]]


def test_draws_are_of_the_mask_and_reach_all_of_it():
    mask = tf.constant([[False, True, False, True, True], [False] * 5, [False, False, False, False, True]])
    uniform = tf.constant(RANDOM.random((3, 300)), tf.float32)
    found = drawn(mask, uniform).numpy()
    assert set(found[0]) == {1, 3, 4}
    assert set(found[2]) == {4}
    assert ((found >= 0) & (found < 5)).all()
    assert drawn(mask[:1], tf.constant([[0.0, 0.999999, 0.34]])).numpy().tolist() == [[1, 4, 3]]


@pytest.mark.parametrize("shift", [0.0, 0.37, 0.999999])
def test_spread_places_are_different_and_all_where_few(shift):
    mask = np.random.default_rng(3).random((4, 500)) < np.array([[0.9], [0.5], [0.02], [0.0]])
    places, valid = spread(tf.constant(mask), 40, tf.fill(4, shift))
    for row in range(4):
        chosen = places.numpy()[row][valid.numpy()[row]]
        assert len(chosen) == len(set(chosen)) == min(40, mask[row].sum())
        assert mask[row][chosen].all()
    first = places.numpy()[0]
    assert first.min() < 25
    assert first.max() > 475


# The losses


def test_info_nce_by_hand():
    nce = lambda p, n, t: float(info_nce(tf.constant(p), tf.constant(n), t))  # noqa: E731
    assert nce(1.0, [0.0, 0.0], 0.5) == pytest.approx(math.log(1 + 2 * math.exp(-2)), abs=1e-6)
    assert nce(1.0, [0.0, 0.0], 0.5) == pytest.approx(0.2395448, abs=1e-6)
    assert nce(0.8, [0.3, -0.1], 0.5) == pytest.approx(0.4273429, abs=1e-6)
    assert nce(0.8, [0.3, -0.1], 0.07) == pytest.approx(7.927851e-4, abs=1e-6)
    assert nce(0.6, [0.6] * 50, 0.5) == pytest.approx(3.9318256, abs=1e-5)
    logits = tf.constant([[0.8, 0.3, -0.1]]) / 0.5
    own = tf.nn.sparse_softmax_cross_entropy_with_logits([0], logits)
    assert nce(0.8, [0.3, -0.1], 0.5) == pytest.approx(float(own[0]), abs=1e-6)


PROTOTYPES, POOLS = unit(3, 5, seed=1), unit(3, 9, 5, seed=2)
CHOSEN = tf.constant(np.random.default_rng(3).integers(0, 9, (3, 4, 6)), tf.int32)


def some_prototype_contrast(anchors, present=(True, True, True), pool_of=lambda number: POOLS[number]):
    return prototype_contrast(anchors, 3.0 * PROTOTYPES, pool_of, CHOSEN, tf.constant(present), 0.5)


def test_prototype_contrast_is_info_nce_of_cosines_with_its_gradient():
    anchors, negatives = unit(3, 4, 5), tf.gather(POOLS, CHOSEN, batch_dims=1)

    def plainly(anchors):
        positive = tf.einsum("cmd,cd->cm", anchors, PROTOTYPES)
        return info_nce(positive, tf.einsum("cmd,cmkd->cmk", anchors, negatives), 0.5)

    weights = tf.constant(RANDOM.random((3, 4)), tf.float32)
    found, expected = (
        value_and_gradient(lambda x, each=each: tf.reduce_sum(weights * each(x)), anchors)
        for each in (some_prototype_contrast, plainly)
    )
    assert found[0] == pytest.approx(expected[0], rel=1e-5)
    np.testing.assert_allclose(found[1], expected[1], atol=1e-6)
    np.testing.assert_allclose(some_prototype_contrast(anchors), plainly(anchors), rtol=1e-4)
    assert (some_prototype_contrast(anchors).numpy() >= 0).all()


def test_an_absent_class_has_no_loss_no_gradient_and_is_asked_for_no_negatives():
    anchors, present, asked = unit(3, 4, 5), (True, False, True), []
    values, gradient = value_and_gradient(lambda x: some_prototype_contrast(x, present), anchors)
    assert (values[1] == 0).all()
    assert (gradient[1] == 0).all()
    assert (values[[0, 2]] > 0).all()
    assert (gradient[[0, 2]] != 0).any()
    some_prototype_contrast(anchors, present, lambda number: asked.append(int(number)) or POOLS[number])
    assert asked == [0, 2]


def test_no_gradient_reaches_prototypes_or_negatives():
    anchors, present = unit(3, 4, 5), tf.fill(3, True)
    with tf.GradientTape() as tape:
        tape.watch([anchors, PROTOTYPES, POOLS])
        losses = prototype_contrast(anchors, PROTOTYPES, lambda number: POOLS[number], CHOSEN, present, 0.5)
        value = tf.reduce_sum(losses)
    of_anchors, *others = tape.gradient(value, [anchors, PROTOTYPES, POOLS])
    assert tf.reduce_any(of_anchors != 0)
    assert others == [None, None]


def test_pixel_contrast_by_hand():
    features, label = tf.constant([[1.0, 0], [0, 1.0], [1.0, 0], [0, 1.0]]), tf.constant([0, 1, 0, 1])
    assert float(pixel_contrast(features, label, tf.ones(4))) == pytest.approx(math.log(1 + 2 / math.e), abs=1e-6)
    assert float(pixel_contrast(features, label, tf.ones(4))) == pytest.approx(0.5514447, abs=1e-6)
    assert float(pixel_contrast(features, label, tf.fill(4, 0.5))) == pytest.approx(0.1378612, abs=1e-6)


PIXELS = 30
FEATURES, LABEL = unit(PIXELS, 6, seed=4), tf.constant(np.random.default_rng(5).choice([0, 1, 2, 255], PIXELS))
WEIGHT = tf.constant(np.random.default_rng(6).random(PIXELS), tf.float32)


def straightforward(features, label, weight, temperature):
    """The formula of the specification, pixel by pixel."""
    kept = np.flatnonzero(label != 255)
    z, y, w = features[kept].astype(np.float64), label[kept], weight[kept].astype(np.float64)
    s, total = z @ z.T / temperature, 0.0
    for i in range(len(y)):
        others = np.exp(s[i][y != y[i]]).sum()
        positives = [j for j in range(len(y)) if j != i and y[j] == y[i]]
        terms = [w[i] * w[j] * (s[i, j] - np.log(np.exp(s[i, j]) + others)) for j in positives]
        total -= sum(terms) / max(1, len(positives))
    return total / len(y)


@pytest.mark.parametrize("temperature", [1.0, 0.3])
@pytest.mark.parametrize("chunk", [1, 7, 10, 30, 512])
def test_pixel_contrast_is_the_formula_however_it_is_cut(chunk, temperature):
    expected = straightforward(FEATURES.numpy(), LABEL.numpy(), WEIGHT.numpy(), temperature)
    loss = lambda features: pixel_contrast(features, LABEL, WEIGHT, temperature, chunk)  # noqa: E731
    value, gradient = value_and_gradient(loss, FEATURES)
    assert value == pytest.approx(expected, rel=1e-5)
    assert value > 0
    whole = value_and_gradient(lambda x: pixel_contrast(x, LABEL, WEIGHT, temperature, PIXELS), FEATURES)[1]
    np.testing.assert_allclose(gradient, whole, atol=1e-7)
    graph = tf.function(lambda features: value_and_tensor_gradient(loss, features))
    np.testing.assert_allclose(graph(FEATURES)[1], whole, atol=1e-7)


def value_and_tensor_gradient(function, argument):
    with tf.GradientTape() as tape:
        tape.watch(argument)
        value = function(argument)
    return value, tape.gradient(value, argument)


def test_the_gradient_of_pixel_contrast_is_that_of_small_differences():
    _, gradient = value_and_gradient(lambda x: pixel_contrast(x, LABEL, WEIGHT, chunk=7), FEATURES)
    step = 1e-5
    for place in ((0, 0), (3, 2), (11, 5), (29, 1)):
        moved = []
        for sign in (1, -1):
            features = FEATURES.numpy().astype(np.float64)
            features[place] += sign * step
            moved.append(straightforward(features, LABEL.numpy(), WEIGHT.numpy(), 1.0))
        assert gradient[place] == pytest.approx((moved[0] - moved[1]) / (2 * step), abs=1e-6)


def test_pixels_and_labels_may_change_their_order_together_but_not_alone():
    """Features in another order than the labels were CLUDA's mistake for batches of more than one image."""
    order = np.random.default_rng(7).permutation(PIXELS)
    loss = lambda features, label, weight: float(pixel_contrast(features, label, weight))  # noqa: E731
    expected = loss(FEATURES, LABEL, WEIGHT)
    together = [tf.gather(values, order) for values in (FEATURES, LABEL, WEIGHT)]
    assert loss(*together) == pytest.approx(expected, rel=1e-5)
    assert abs(loss(together[0], LABEL, WEIGHT) - expected) > 1e-3


def test_ignored_pixels_take_no_part():
    kept = np.flatnonzero(LABEL.numpy() != 255)
    few = [tf.gather(values, kept) for values in (FEATURES, LABEL, WEIGHT)]
    assert float(pixel_contrast(FEATURES, LABEL, WEIGHT)) == pytest.approx(float(pixel_contrast(*few)), rel=1e-5)
    outside = tf.where(LABEL == 255, 254, LABEL)
    assert float(pixel_contrast(FEATURES, outside, WEIGHT)) == pytest.approx(float(pixel_contrast(*few)), rel=1e-5)
    gradient = value_and_gradient(lambda x: pixel_contrast(x, LABEL, WEIGHT), FEATURES)[1]
    assert (gradient[LABEL.numpy() == 255] == 0).all()


@pytest.mark.parametrize("label", [[255] * 4, [0] * 4, [0, 1, 2, 255], [0, 0, 255, 255]])
def test_pixel_contrast_of_few_classes_is_finite(label):
    features = unit(4, 3)
    value, gradient = value_and_gradient(lambda x: pixel_contrast(x, tf.constant(label), tf.ones(4)), features)
    assert value == 0
    assert (gradient == 0).all()


@pytest.mark.parametrize("of", [2, 3, 40])
def test_parts_of_pixel_contrast_add_up(of):
    parts = [float(pixel_contrast(FEATURES, LABEL, WEIGHT, chunk=4, share=(number, of))) for number in range(of)]
    assert sum(parts) == pytest.approx(float(pixel_contrast(FEATURES, LABEL, WEIGHT)), rel=1e-5)
