"""A discriminator's losses: hand values, and scores of any size."""

import math

import numpy as np
import pytest

from training.losses import DOMAIN_LOSSES, binary_cross_entropy, discriminator_loss, least_squares
from training.losses.adversarial import SOURCE, TARGET


def scores(*values):
    return np.array(values, np.float32)[None, None, :, None]


def test_least_squares_by_hand():
    assert float(least_squares(scores(0.5, -1.0), SOURCE)) == pytest.approx((0.25 + 1.0) / 2)
    assert float(least_squares(scores(0.5, -1.0), TARGET)) == pytest.approx((0.25 + 4.0) / 2)


def test_binary_cross_entropy_by_hand():
    sigmoid = 1 / (1 + math.exp(-2.0))
    assert float(binary_cross_entropy(scores(2.0), TARGET)) == pytest.approx(-math.log(sigmoid), rel=1e-5)
    assert float(binary_cross_entropy(scores(2.0), SOURCE)) == pytest.approx(-math.log(1 - sigmoid), rel=1e-5)
    assert float(binary_cross_entropy(scores(0.0, 0.0), TARGET)) == pytest.approx(math.log(2), rel=1e-6)


def test_binary_cross_entropy_is_finite_for_extreme_scores():
    assert float(binary_cross_entropy(scores(500.0), SOURCE)) == pytest.approx(500.0)
    assert float(binary_cross_entropy(scores(500.0), TARGET)) == 0.0
    assert float(binary_cross_entropy(scores(-500.0), SOURCE)) == 0.0


@pytest.mark.parametrize("name", DOMAIN_LOSSES)
def test_a_discriminator_that_is_right_loses_less(name):
    loss = DOMAIN_LOSSES[name]
    right, wrong = (float(discriminator_loss(loss, scores(a), scores(b))) for a, b in ((-0.2, 1.1), (1.1, -0.2)))
    assert right < wrong
    by_hand = 0.5 * (float(loss(scores(-0.2), SOURCE)) + float(loss(scores(1.1), TARGET)))
    assert right == pytest.approx(by_hand)
