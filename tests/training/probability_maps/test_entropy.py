"""Normalised entropy: by hand, against scipy, and what must not change it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import entropy

from training.errors import UserError
from training.probability_maps.enlarging import Enlarged
from training.probability_maps.entropy import measure_uncertainty, uncertainty
from training.probability_maps.scores import best_class


def of_pixel(*probs: float) -> float:
    return float(uncertainty(np.float32([[probs]])).entropy[0, 0])


def soft_max(logits):
    exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return (exponentials / exponentials.sum(axis=-1, keepdims=True)).astype(np.float32)


def test_by_hand():
    assert of_pixel(1, 0) == 0
    assert of_pixel(0.5, 0.5) == pytest.approx(1, abs=1e-7)
    assert of_pixel(0.9, 0.1) == pytest.approx(0.4689955936, abs=1e-7)
    assert of_pixel(0.7, 0.2, 0.1) == pytest.approx(0.7298466992, abs=1e-7)
    assert of_pixel(0.9, *[0.1 / 18] * 18) == pytest.approx(0.2085694944, abs=1e-7)
    assert of_pixel(0.5, 0.5, *[0] * 17) == pytest.approx(0.2354089134, abs=1e-7)
    assert of_pixel(1) == 0  # one class


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 40), st.floats(0.01, 30))
def test_it_is_scipys_and_depends_on_neither_the_order_of_the_classes_nor_a_constant(seed, classes, sharpness):
    random = np.random.default_rng(seed)
    logits = random.standard_normal((7, 9, classes)) * sharpness
    probs = soft_max(logits)
    found = uncertainty(probs)
    assert found.entropy.dtype == np.float32
    assert found.entropy.min() >= 0
    assert found.entropy.max() <= 1
    np.testing.assert_allclose(found.entropy, entropy(probs, axis=-1) / np.log(classes), atol=2e-6)
    np.testing.assert_allclose(uncertainty(probs[..., random.permutation(classes)]).entropy, found.entropy, atol=1e-6)
    np.testing.assert_allclose(uncertainty(soft_max(logits + 5)).entropy, found.entropy, atol=1e-5)


def test_class_and_confidence_are_those_of_the_arg_max_and_layout_does_not_matter():
    probs = soft_max(np.random.default_rng(0).standard_normal((131, 97, 5)))
    found = uncertainty(probs)
    score, label = best_class(probs)
    np.testing.assert_array_equal(found.label, label)
    np.testing.assert_array_equal(found.confidence, score)
    for version in (np.moveaxis(np.ascontiguousarray(np.moveaxis(probs, -1, 0)), 0, -1), np.asfortranarray(probs)):
        for ours, theirs in zip(uncertainty(version), found, strict=True):
            np.testing.assert_array_equal(ours, theirs)
    for ours, theirs in zip(uncertainty(probs[3:50, 2:90]), found, strict=True):
        np.testing.assert_array_equal(ours, theirs[3:50, 2:90])


def test_an_enlarged_map_is_measured_as_the_whole_one():
    probs = Enlarged(soft_max(np.random.default_rng(1).standard_normal((6, 9, 7)) * 3), (48, 70))
    for ours, theirs in zip(uncertainty(probs), uncertainty(probs.whole()), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_float16_probabilities_stay_inside():
    assert 0 <= of_pixel(1.01, 0) <= 1
    assert of_pixel(0.49, 0.49) == 1


def test_bad_maps_are_refused():
    good, nan = np.full((2, 2, 2), 0.5, np.float32), np.full((2, 2, 2), np.nan, np.float32)
    with pytest.raises(UserError, match="map 1 holds NaN or negative"):
        list(measure_uncertainty([good, nan]))
    with pytest.raises(UserError, match="has 3 classes"):
        list(measure_uncertainty([good, np.ones((2, 2, 3), np.float32)]))
    with pytest.raises(UserError, match=r"shape \(2, 2\)"):
        list(measure_uncertainty([good[0]]))
    found = uncertainty(nan)
    assert np.isnan(found.entropy).all()
    assert found.label.max() <= 1
