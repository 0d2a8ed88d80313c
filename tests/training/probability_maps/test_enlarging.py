"""A map read from its coarse grid is to the bit what TensorFlow makes of it, and so is its most likely class."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from training.probability_maps import enlarging
from training.probability_maps.enlarging import Enlarged
from training.probability_maps.scores import best_class

SIZES = [((4, 7), (16, 28)), ((16, 32), (64, 128)), ((5, 3), (33, 50)), ((9, 8), (4, 3)), ((1, 1), (7, 2))]


def coarse_map(random, height: int, width: int, classes: int = 6, sharpness: float = 4.0) -> np.ndarray:
    """Soft-max of logits that change slowly from cell to cell, so that some cells are decided and others are not."""
    blobs = random.standard_normal((height // 4 + 1, width // 4 + 1, classes)) * sharpness
    logits = blobs.repeat(4, axis=0).repeat(4, axis=1)[:height, :width] + random.standard_normal(
        (height, width, classes)
    )
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return (powers / powers.sum(axis=-1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("at_once", [1, 50, enlarging.PIXELS_AT_ONCE])
@pytest.mark.parametrize(("old", "new"), SIZES)
def test_it_equals_tensorflow_to_the_bit(old, new, at_once, monkeypatch):
    monkeypatch.setattr(enlarging, "PIXELS_AT_ONCE", at_once)  # several pieces, also of these small maps
    coarse = coarse_map(np.random.default_rng(0), *old)
    expected = tf.image.resize(coarse[None], new)[0].numpy()
    probs = Enlarged(coarse, new)
    assert probs.shape == expected.shape
    np.testing.assert_array_equal(probs.whole(), expected)
    np.testing.assert_array_equal(probs[1::3].whole(), expected[1::3])
    pixels, class_ids = np.arange(new[0] * new[1])[::2], np.arange(new[0] * new[1])[::2] % 6
    np.testing.assert_array_equal(probs.at(pixels, class_ids), expected.reshape(-1, 6)[pixels, class_ids])


@pytest.mark.parametrize("at_once", [1, 50, enlarging.PIXELS_AT_ONCE])
@pytest.mark.parametrize(("old", "new"), SIZES)
def test_the_best_class_is_that_of_the_whole_map(old, new, at_once, monkeypatch):
    monkeypatch.setattr(enlarging, "PIXELS_AT_ONCE", at_once)
    random = np.random.default_rng(1)
    probs = Enlarged(coarse_map(random, *old), new)
    for thresholds in (None, np.full(6, np.inf), random.uniform(0.2, 1, 6), np.array([0.9, np.inf, 1e-38, 0.5, 1, 1])):
        whole = best_class(probs.whole(), None, thresholds)
        for found, expected in zip(best_class(probs, None, thresholds), whole, strict=True):
            np.testing.assert_array_equal(found, expected)
        for found, expected in zip(best_class(probs[::2], None, thresholds), whole, strict=True):
            np.testing.assert_array_equal(found, expected[::2])


@settings(max_examples=100, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    old=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    new=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    levels=st.integers(1, 6),
    least=st.sampled_from([-np.inf, 0.5, 1.0]),
)
def test_ties_and_scores_below_the_least(seed, old, new, levels, least):
    """Values of a few levels tie at corners and between them; below `least` any class with a score below will do."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, levels + 1, (*old, 5)).astype(np.float32) / levels
    thresholds = random.choice([0.3, 0.5, 0.7, np.inf], 5)
    probs = Enlarged(coarse, new)
    expected_score, expected_label = best_class(probs.whole(), None, thresholds)
    score, label = best_class(probs, None, thresholds, least)
    reached = expected_score >= least
    np.testing.assert_array_equal(score >= least, reached)
    np.testing.assert_array_equal(score[reached], expected_score[reached])
    np.testing.assert_array_equal(label[reached], expected_label[reached])


def test_most_of_a_street_is_decided_at_the_corners():
    """Two halves: only the cells along their border mix all classes."""
    coarse = np.zeros((8, 16, 3), np.float32)
    coarse[:, :8, 0], coarse[:, 8:, 2] = 1, 1
    _, decided = enlarging._Cells(coarse, *Enlarged(coarse, (32, 64))._axes(), None)._decided(-np.inf)
    assert decided.shape == (9, 17)
    assert np.flatnonzero(~decided.all(axis=0)).tolist() == [8]


def test_a_value_that_is_no_number_is_not_hidden():
    coarse = np.full((4, 4, 3), 1 / 3, np.float32)
    coarse[1, 1, 2] = np.nan
    score, _ = best_class(Enlarged(coarse, (16, 16)))
    assert np.isnan(score[6, 6])
