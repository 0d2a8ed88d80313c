"""What is selected, given the thresholds: hand-computed cases and LRENT against the published inequality."""

import doctest

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import training.pseudo_labels
from tests.training.pseudo_labels.fitting import with_thresholds
from training.errors import UserError
from training.pseudo_labels import ClassBalancedSelector, GlobalThresholdSelector, LabelEntropySelector, resize_prior


def cbst(*values, prior=None):
    return with_thresholds(ClassBalancedSelector(prior=prior), *values)


def lrent(*values, alpha):
    return with_thresholds(LabelEntropySelector(alpha=alpha), *values)


def test_the_worked_example_of_the_package():
    assert doctest.testmod(training.pseudo_labels).failed == 0


def test_a_rare_class_wins_by_its_low_threshold():
    """Ratios .6/.9 and .3/.25: the second class, though the first is twice as likely."""
    probs = np.float32([[[0.6, 0.3, 0.1]]])
    assert cbst(0.9, 0.25, 1.0).label(probs).tolist() == [[1]]
    assert with_thresholds(GlobalThresholdSelector(), 0.5, 0.5, 0.5).label(probs).tolist() == [[0]]
    assert cbst(0.9, 0.31, 1.0).label(probs).tolist() == [[255]]
    assert cbst(0.9, 0.4).label(np.float32([[[0.55, 0.45]]])).tolist() == [[1]]  # .6111 and 1.125


def test_equality_is_kept_and_the_lowest_class_wins_ties():
    probs = np.float32([[[0.5, 0.5], [0.5, 0.5]]])
    assert cbst(0.5, 0.5).label(probs).tolist() == [[0, 0]]
    above = np.nextafter(np.float32(0.5), np.float32(1))
    assert cbst(above, above).label(probs).tolist() == [[255, 255]]
    assert cbst(above, 0.5).label(probs).tolist() == [[1, 1]]


def test_infinite_threshold_and_nan_are_never_selected():
    probs = np.float32([[[1.0, 0.0], [np.nan, np.nan]]])
    assert cbst(np.inf, np.inf).label(probs).tolist() == [[255, 255]]
    assert cbst(0.5, 0.5).label(probs).tolist() == [[0, 255]]


def test_prior_multiplies_in_float32():
    rng = np.random.default_rng(0)
    probs, prior = rng.random((9, 7, 4), np.float32), rng.random((9, 7, 4), np.float32) * 3
    values = np.float32([0.3, 0.6, 0.9, 1.2])
    ratio = (prior * probs).astype(np.float32) / values
    expected = np.where(ratio.max(axis=-1) >= 1, ratio.argmax(axis=-1), 255)
    np.testing.assert_array_equal(cbst(*values, prior=prior).label(probs), expected)


def test_a_prior_of_another_size_is_resized_to_that_of_the_image():
    random = np.random.default_rng(0)
    prior, probs = random.random((4, 6, 3), np.float32) + 0.5, random.random((8, 12, 3), np.float32)
    fitted = cbst(0.5, 0.6, 0.7, prior=prior)
    score = resize_prior(prior, (8, 12)) * probs / np.float32([0.5, 0.6, 0.7])
    expected = np.where(score.max(axis=-1) >= 1, score.argmax(axis=-1), 255)
    for _ in range(2):
        np.testing.assert_array_equal(fitted.label(probs), expected)
        assert fitted.label(probs[:4, :6]).shape == (4, 6)


def published_inequality(probs, values, alpha):
    """CRST's selection as printed, in float64: sum y (-log p + alpha log y) < sum y (-log lambda)."""
    ratio = probs.astype(np.float64) / values
    soft = ratio ** (1 / alpha)
    soft /= soft.sum(axis=-1, keepdims=True)
    cost = (soft * (-np.log(probs) + alpha * np.log(soft))).sum(axis=-1)
    return soft, cost - (soft * -np.log(values)).sum(axis=-1)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.1, 2))
def test_lrent_closed_form_equals_the_published_inequality(seed, alpha):
    rng = np.random.default_rng(seed)
    probs = rng.dirichlet(np.ones(5), (6, 7)).astype(np.float32) + np.float32(1e-4)
    values = rng.uniform(0.3, 1, 5).astype(np.float32)
    label, soft = lrent(*values, alpha=alpha).labels(probs)
    expected, margin = published_inequality(probs, values.astype(np.float64), alpha)
    np.testing.assert_allclose(soft, expected, atol=5e-6)
    clear = np.abs(margin) > 1e-5
    np.testing.assert_array_equal((label != 255)[clear], (margin < 0)[clear])
    np.testing.assert_array_equal(label[label != 255], (probs / values).argmax(axis=-1)[label != 255])


def test_lrent_by_hand():
    """alpha 1, thresholds .5: ratios 1.2 and .8, soft labels .6 and .4, their sum 2 > 1: selected."""
    probs = np.float32([[[0.6, 0.4], [0.0, 0.0]]])
    label, soft = lrent(0.5, 0.5, alpha=1.0).labels(probs)
    assert label.tolist() == [[0, 255]]
    np.testing.assert_allclose(soft[0, 0], [0.6, 0.4], atol=1e-6)
    assert soft[0, 1].tolist() == [0, 0]


def test_lrent_survives_extreme_temperatures():
    probs = np.float32([[[0.98, 0.02], [0.5, 0.5]]])
    for alpha in (1e-3, 1e3):
        label, soft = lrent(0.05, 0.05, alpha=alpha).labels(probs)
        np.testing.assert_allclose(soft.sum(axis=-1), 1, atol=1e-5)
        assert (label == 0).all()


@pytest.mark.parametrize("alpha", [0.0, -1.0, float("nan")])
def test_lrent_needs_a_positive_temperature(alpha):
    with pytest.raises(UserError, match="expected a number above 0"):
        LabelEntropySelector(alpha=alpha)
