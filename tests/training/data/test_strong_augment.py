"""The strong view: each operation by hand, the choice of three of eight, and no pixel moves."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from training.data import strong_augment
from training.data.strong_augment import OPERATIONS, blurred, draw_strong, jittered, strong_view

SIZE = (24, 40)
NAMES = ("color_jitter", "blur", "contrast", "brightness", "posterize", "equalize", "solarize", "grey")


@pytest.fixture(scope="module")
def image() -> tf.Tensor:
    return tf.random.stateless_uniform((*SIZE, 3), (0, 1), maxval=255.0)


def pixels(*colors) -> tf.Tensor:
    """One row of pixels."""
    return tf.constant([colors], tf.float32)


def at(position: int) -> tf.Tensor:
    return tf.constant(position, tf.int64)


def operation(name: str, row: tf.Tensor, uniform: float):
    chosen = OPERATIONS[NAMES.index(name)]
    return chosen(row, tf.fill([4], uniform)).numpy()[0]


def test_each_simple_operation_by_hand():
    row = pixels((0, 16, 31.9), (127, 128, 255))
    np.testing.assert_allclose(operation("posterize", row, 0.0), [(0, 16, 16), (112, 128, 240)])
    np.testing.assert_allclose(operation("solarize", row, 0.0), [(0, 16, 31.9), (127, 127, 0)])
    np.testing.assert_allclose(operation("contrast", row, 0.5), [(0, 40, 79.75), (255, 255, 255)])
    np.testing.assert_allclose(operation("contrast", row, 0.0), row[0])
    np.testing.assert_allclose(operation("brightness", row, 0.9), [(102, 118, 133.9), (229, 230, 255)], rtol=1e-5)
    np.testing.assert_allclose(operation("brightness", row, 0.1), [(0, 0, 0), (25, 26, 153)], rtol=1e-5)
    luma = [0.2989 * 127 + 0.587 * 128 + 0.114 * 255] * 3
    np.testing.assert_allclose(operation("grey", row, 0.0)[1], luma, rtol=1e-5)


def test_equalize_by_hand():
    """Ranks 1, 3, 4 of 4 pixels become 0, 2/3 and all of 255; a constant colour stays."""
    row = pixels((10, 7, 0), (20, 7, 1), (20, 7, 2), (30, 7, 3))
    expected = [(0, 7, 0), (170, 7, 85), (170, 7, 170), (255, 7, 255)]
    np.testing.assert_allclose(operation("equalize", row, 0.0), expected)


def test_equalize_agrees_with_keras(image):
    """Ours takes half the time."""
    dark = tf.round(0.3 * image)
    keras_layer = keras.layers.Equalization(value_range=(0, 255))
    np.testing.assert_allclose(strong_augment.equalized(dark), keras_layer(dark), atol=1e-3)


def test_equalize_makes_the_histogram_flat(image):
    dark = tf.square(image / 255.0) * 60.0
    levels = np.sort(strong_augment.equalized(dark).numpy()[..., 0], axis=None)
    np.testing.assert_allclose(levels, np.linspace(0, 255, levels.size), atol=50)
    assert levels[-1] == 255


def test_jitter_by_hand():
    row = pixels((100, 100, 100), (200, 200, 200))
    np.testing.assert_allclose(jittered(row, 1.2, 1.0, 1.0, 0.0)[0], [[120] * 3, [240] * 3], rtol=1e-3)
    np.testing.assert_allclose(jittered(row, 1.0, 0.8, 1.0, 0.0)[0], [[110] * 3, [190] * 3], rtol=1e-3)
    red = pixels((200, 0, 0))
    np.testing.assert_allclose(jittered(red, 1.0, 1.0, 1.0, 1 / 3)[0, 0], (0, 200, 0), atol=1e-2)
    luma = 0.2989 * 200
    np.testing.assert_allclose(jittered(red, 1.0, 1.0, 0.5, 0.0)[0, 0], (100 + luma / 2, luma / 2, luma / 2), rtol=1e-3)


def test_the_middle_of_the_jitter_changes_nothing(image):
    unchanged = OPERATIONS[0](image, tf.fill([4], 0.5))
    np.testing.assert_allclose(unchanged, image, atol=0.2)


def test_blur_of_a_point_by_hand():
    """At 512 rows a radius of 2 is a kernel of 5 taps with deviation 1.1."""
    point = np.zeros((512, 9, 3), np.float32)
    point[256, 4, 1] = 200.0
    weights = np.exp(-(np.arange(-2, 3) ** 2) / (2 * 1.1**2))
    weights /= weights.sum()
    expected = np.zeros_like(point)
    expected[254:259, 2:7, 1] = 200.0 * np.outer(weights, weights)
    np.testing.assert_allclose(blurred(tf.constant(point), tf.constant(2.0)), expected, atol=1e-3)


def test_blur_scales_with_the_frame_and_keeps_a_plain_one():
    def spread(rows, radius):
        """Standard deviation of a blurred line, in rows."""
        line = np.zeros((rows, 64, 3), np.float32)
        line[rows // 2] = 255.0
        profile = blurred(tf.constant(line), tf.constant(radius)).numpy()[:, 32, 0]
        return np.sqrt(np.average((np.arange(rows) - rows // 2) ** 2, weights=profile))

    assert spread(512, 20.0) == pytest.approx(0.3 * 19 + 0.8, rel=0.05)
    assert spread(256, 20.0) == pytest.approx(spread(512, 20.0) / 2, rel=0.05)
    plain = tf.fill((*SIZE, 3), 77.0)
    np.testing.assert_allclose(blurred(plain, tf.constant(20.0)), plain, rtol=1e-5)
    assert blurred(plain[:1, :3], tf.constant(20.0)).shape == (1, 3, 3)


def test_three_different_operations_each_executed_half_the_time():
    draws = [draw_strong(3, at(position)) for position in range(300)]
    chosen = np.array([draw.chosen for draw in draws])
    assert all(len(set(three)) == 3 for three in chosen.tolist())
    for place in range(3):
        counts = np.bincount(chosen[:, place], minlength=len(OPERATIONS))
        assert len(counts) == len(OPERATIONS)
        assert counts.min() > 15  # 37.5 expected
    assert np.mean([draw.executed for draw in draws]) == pytest.approx(0.5, abs=0.06)


def test_operations_are_carried_out_in_the_drawn_order(image):
    for position in range(12):
        draws = draw_strong(5, at(position))
        expected = image
        for which, executed, uniform in zip(*draws, strict=True):
            expected = OPERATIONS[int(which)](expected, uniform) if executed else expected
        np.testing.assert_allclose(strong_view(image, draws), expected, atol=1e-3)


def test_the_view_is_a_function_of_seed_and_position(image):
    def view(seed, position):
        return strong_view(image, draw_strong(seed, at(position))).numpy()

    np.testing.assert_array_equal(view(1, 3), view(1, 3))
    distinct = {view(seed, position).tobytes() for seed in (1, 2) for position in range(6)}
    assert len(distinct) > 8  # one in eight does nothing


def test_eager_and_inside_tf_data_agree_and_stay_in_range(image):
    """Steps of posterize, equalize and solarize may turn a rounding error into a jump of single pixels."""
    whole = tf.round(image)
    stream = tf.data.Dataset.range(24).map(lambda k: strong_view(whole, draw_strong(7, k)))
    assert stream.element_spec.shape == (*SIZE, 3)
    for position, view in enumerate(stream):
        eager = strong_view(whole, draw_strong(7, at(position)))
        assert view.dtype == tf.float32
        assert tf.reduce_min(view) >= 0
        assert tf.reduce_max(view) <= 255
        assert np.mean(np.abs(view - eager) > 0.05) < 0.01


@pytest.mark.parametrize("index", range(len(OPERATIONS)), ids=NAMES)
def test_no_operation_moves_a_pixel(index):
    """A picture whose left half is dark keeps its edge where it was."""
    halves = np.full((*SIZE, 3), 40.0, np.float32)
    halves[:, 20:] = 90.0
    changed = OPERATIONS[index](tf.constant(halves), tf.fill([4], 0.3)).numpy()
    steps = np.abs(np.diff(changed, axis=1)).sum(axis=(0, 2))
    assert steps.argmax() == 19
