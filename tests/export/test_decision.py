"""The quick decision is that of the enlarged probabilities."""

import numpy as np
import pytest
import tensorflow as tf

from export.decision import decide


@pytest.mark.parametrize("spread", [0.0, 0.5, 20.0])
@pytest.mark.parametrize("size", [(12, 20), (11, 17), (1, 1), (64, 96), (5, 3), (4, 3), (40, 4)], ids=str)
def test_the_decision_is_that_of_the_enlarged_probabilities(size, spread):
    """Also on one colour (spread 0), where all rows agree and no pixel is left to mix, and where ties abound."""
    logits = spread * np.random.default_rng(0).standard_normal((2, 5, 7, 4), np.float32).round(1)
    labels, confidence = decide(tf.constant(logits), tf.constant(size, tf.int64))
    expected = tf.image.resize(tf.nn.softmax(logits), size).numpy()
    np.testing.assert_allclose(confidence, expected.max(-1), atol=1e-6)
    chosen = np.take_along_axis(expected, labels.numpy()[..., None].astype(int), axis=-1)[..., 0]
    np.testing.assert_allclose(chosen, expected.max(-1), atol=1e-6)
    assert (labels.dtype, confidence.dtype) == (tf.uint8, tf.float32)


def test_where_two_rows_differ_a_third_class_may_win_between_them():
    logits = np.log(np.array([[[0.5, 0.1, 0.4]], [[0.1, 0.5, 0.4]]], np.float32))[None]  # [1, 2, 1, 3]
    labels, confidence = decide(tf.constant(logits), tf.constant((8, 1), tf.int64))
    assert labels.numpy().ravel().tolist() == [0, 0, 0, 2, 2, 1, 1, 1]
    np.testing.assert_allclose(confidence.numpy().ravel(), [0.5, 0.5, 0.45, 0.4, 0.4, 0.45, 0.5, 0.5], atol=1e-6)
