"""Enlargement in NumPy equals TensorFlow's, and windows cover a picture."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from export.enlarge import enlarge, enlarged_label, window_starts, window_weight
from training.probability_maps.scores import softmax


@pytest.mark.parametrize(("old", "new"), [((4, 7), (16, 28)), ((5, 3), (33, 50)), ((9, 8), (4, 3)), ((1, 1), (7, 2))])
def test_it_is_tensorflows_resize(old, new):
    probs = np.random.default_rng(0).dirichlet(np.ones(6), old).astype(np.float32)
    expected = tf.image.resize(probs[None], new)[0].numpy()
    np.testing.assert_allclose(enlarge(probs, new), expected, atol=1e-6)
    label, confidence = enlarged_label(probs, new)
    assert (label.dtype, confidence.dtype) == (np.uint8, np.float32)
    np.testing.assert_allclose(confidence, expected.max(-1), atol=1e-6)
    assert np.mean(label == expected.argmax(-1)) > 0.99


def test_between_two_rows_a_third_class_may_win():
    probs = np.array([[[0.5, 0.1, 0.4]], [[0.1, 0.5, 0.4]]], np.float32)  # [2, 1, 3]
    label, confidence = enlarged_label(probs, (8, 1))
    assert label.ravel().tolist() == [0, 0, 0, 2, 2, 1, 1, 1]
    np.testing.assert_allclose(confidence.ravel(), [0.5, 0.5, 0.45, 0.4, 0.4, 0.45, 0.5, 0.5], atol=1e-6)


def test_softmax_survives_large_logits():
    logits = np.array([[1e4, 0.0], [-1e4, -1e4]], np.float32)
    np.testing.assert_allclose(softmax(logits), [[1, 0], [0.5, 0.5]])


@settings(max_examples=200, deadline=None)
@given(length=st.integers(1, 5000), strides=st.integers(2, 64), stride=st.sampled_from([4, 8, 16, 32]))
def test_windows_cover_the_length_and_overlap(length, strides, stride):
    window = strides * stride
    starts = window_starts(length, window, stride)
    assert starts[0] == 0
    assert all(start % stride == 0 for start in starts)
    assert starts[-1] + window >= length > starts[-1]
    steps = np.diff(starts)
    assert (steps > 0).all()
    assert (steps <= max(stride, window * 3 // 4 + stride)).all()


def test_window_weights_are_positive_symmetric_and_largest_in_the_middle():
    weight = window_weight(5, 8)
    assert weight.shape == (5, 8, 1)
    assert weight.min() > 0
    np.testing.assert_array_equal(weight, weight[::-1, ::-1])
    assert weight[2, 3] == weight[2, 4] == weight.max()
