"""Losses of translated images: hand values."""

import numpy as np
import pytest

from training.losses.translation import absolute_difference, semantic_difference


def test_a_difference_is_taken_in_the_range_from_minus_1_to_1():
    images, others = np.zeros((2, 1, 1, 3), np.float32), np.zeros((2, 1, 1, 3), np.float32)
    others[0, 0, 0] = 255.0, 127.5, 0.0
    assert float(absolute_difference(images, others)) == pytest.approx((2.0 + 1.0) / 6)
    assert float(absolute_difference(others, images)) == pytest.approx((2.0 + 1.0) / 6)


def test_the_semantic_difference_by_hand():
    logits = np.array([[[-1.0, 5.0], [1.0, 7.0]]], np.float32)[None]  # class 0: -1, 1; class 1: 5, 7
    turned = logits.copy()
    turned[..., 0] *= -1  # standardised 1, -1: a difference of 2 in one of two classes
    assert float(semantic_difference(logits, turned)) == pytest.approx(4.0 / 2, rel=1e-4)


def test_the_semantic_difference_does_not_see_scale_and_offset_of_a_class():
    logits = np.random.default_rng(0).normal(size=(2, 4, 5, 3)).astype(np.float32)
    changed = logits * np.array([2.0, 0.5, 3.0], np.float32) + np.array([1.0, -4.0, 0.0], np.float32)
    assert float(semantic_difference(logits, changed)) == pytest.approx(0.0, abs=1e-4)
    assert float(semantic_difference(logits, logits[::-1])) > 0.5
