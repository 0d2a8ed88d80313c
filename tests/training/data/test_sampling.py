"""The order of samples is a pure function of seed and position; each kind draws with the probabilities it promises."""

import numpy as np
import pytest
from scipy.stats import chisquare

from training.data.sampling import NO_CLASS, Permutation, RareClasses, Weighted
from training.errors import UserError

COUNTS = np.array([[900, 90, 10], [990, 0, 10], [999, 1, 0], [500, 500, 0]])
"""Pixels of three classes in four images; of 1000 each."""

ORDERS = {
    "permutation": Permutation(np.array([5, 2, 9, 4, 0, 1, 8])),
    "weighted": Weighted(np.array([0.1, 0.0, 0.6, 0.3])),
    "rare classes": RareClasses.from_counts(COUNTS, temperature=0.5),
}


@pytest.mark.parametrize("count", [1, 2, 7])
def test_every_epoch_is_a_fresh_permutation(count):
    epochs = Permutation.of_all(count).indices(0, 20 * count, seed=3).reshape(20, count)
    assert (np.sort(epochs, axis=1) == np.arange(count)).all()
    assert count == 1 or len({tuple(epoch) for epoch in epochs}) > 1


def test_the_permutation_is_numpys_for_seed_and_epoch():
    chosen = np.array([30, 10, 20])
    expected = [chosen[np.random.default_rng((5, epoch)).permutation(3)] for epoch in range(4)]
    assert Permutation(chosen).indices(0, 12, seed=5).tolist() == np.concatenate(expected).tolist()


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
def test_tail_equals_the_order_from_there_on(order):
    for values in (order.indices, order.classes):
        whole = values(0, 50, seed=3)
        assert whole.dtype == np.int64
        for first, last in ((0, 50), (1, 50), (6, 7), (7, 20), (8, 9), (20, 50), (49, 50), (50, 50)):
            np.testing.assert_array_equal(values(first, last, seed=3), whole[first:last])


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
def test_seeds_differ_and_positions_may_be_large(order):
    assert (order.indices(0, 50, seed=0) != order.indices(0, 50, seed=1)).any()
    assert len(order.indices(10**9, 10**9 + 3, seed=0)) == 3


@pytest.mark.parametrize("name", ["permutation", "weighted"])
def test_orders_that_choose_no_class_say_so(name):
    assert set(ORDERS[name].classes(0, 9, seed=0).tolist()) == {NO_CLASS}


def test_samples_come_with_their_probabilities():
    probabilities = np.array([0.05, 0.0, 0.2, 0.3, 0.45, 0.0])
    drawn = np.bincount(Weighted(probabilities).indices(0, 20_000, seed=1), minlength=6)
    assert drawn[probabilities == 0].tolist() == [0, 0]
    present = probabilities > 0
    assert chisquare(drawn[present], 20_000 * probabilities[present]).pvalue > 0.01
    assert len(set(Weighted(probabilities).indices(0, 5, seed=1).tolist())) < 5  # with replacement


def test_draws_of_neighbouring_positions_are_independent():
    drawn = Weighted(np.array([0.5, 0.3, 0.2])).indices(0, 20_001, seed=4)
    pairs = np.bincount(3 * drawn[:-1] + drawn[1:], minlength=9)
    expected = 20_000 * np.outer([0.5, 0.3, 0.2], [0.5, 0.3, 0.2]).ravel()
    assert chisquare(pairs, expected).pvalue > 0.01


def test_a_certain_sample_is_always_drawn():
    assert set(Weighted([0, 0, 1, 0]).indices(0, 100, seed=0).tolist()) == {2}


@pytest.mark.parametrize(
    ("temperature", "expected"),
    [
        (0.1, [6.2990e-4, 0.0934859, 0.2808472, 0.6250370]),
        (0.01, [1.1e-30, 5.6e-9, 3.3535e-4, 0.9996646]),
        (1e9, [0.25] * 4),
    ],
)
def test_probabilities_of_the_classes(temperature, expected):
    """Computed by hand from P(c) ~ exp((1 - f_c) / T)."""
    order = RareClasses([0.7, 0.2, 0.09, 0.01], np.full((2, 4), 100), temperature)
    np.testing.assert_allclose(order.class_probabilities, expected, rtol=0.02)
    np.testing.assert_allclose(order.class_probabilities[-1], expected[-1], rtol=1e-6)


def test_classes_and_images_come_with_their_probabilities():
    """Class 0 is in all images, class 1 enough in images 0 and 3, class 2 in images 0 and 1."""
    order = RareClasses.from_counts(COUNTS, temperature=0.5, least_share=0.005)
    np.testing.assert_allclose(order.frequencies, COUNTS.sum(axis=0) / COUNTS.sum())
    indices, classes = order.indices(0, 20_000, seed=2), order.classes(0, 20_000, seed=2)
    drawn = np.bincount(4 * classes + indices, minlength=12).reshape(3, 4)
    within = np.array([[1 / 4] * 4, [1 / 2, 0, 0, 1 / 2], [1 / 2, 1 / 2, 0, 0]])
    expected = 20_000 * order.class_probabilities[:, None] * within
    assert (drawn[expected == 0] == 0).all()
    assert chisquare(drawn[expected > 0], expected[expected > 0]).pvalue > 0.01


def test_classes_that_no_image_shows_enough_of_are_left_out():
    """Enough is more than the share: class 1 has exactly the share in one image."""
    counts = np.array([[90, 10, 0, 0], [80, 0, 20, 0], [0, 0, 0, 0]])
    order = RareClasses([0.85, 0.05, 0.1, 0.0], counts, temperature=0.5, least_share=0.1)
    weights = np.array([np.exp(0.15 / 0.5), 0, np.exp(0.9 / 0.5), 0])
    np.testing.assert_allclose(order.class_probabilities, weights / weights.sum())
    assert set(order.classes(0, 300, seed=0).tolist()) == {0, 2}
    assert set(order.indices(0, 300, seed=0).tolist()) == {0, 1}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Permutation(np.array([])), "no image to train on"),
        (lambda: Weighted([]), "expected one number per image"),
        (lambda: Weighted([[0.5, 0.5]]), r"shape \(1, 2\)"),
        (lambda: Weighted([0.5, -0.5, 1.0]), "image 1 is -0.5"),
        (lambda: Weighted([0.5, 0.5, np.nan]), "image 2 is nan"),
        (lambda: Weighted([0.5, 0.4]), "sum 0.9: expected 1"),
        (lambda: RareClasses([0.5, 0.5], COUNTS), r"shape \(2,\) and pixel counts of shape \(4, 3\)"),
        (lambda: RareClasses([0.5, 0.5, np.nan], COUNTS), "frequencies from 0 to 1"),
        (lambda: RareClasses([0.5, 0.3, 0.2], -COUNTS), "counts of at least 0"),
        (lambda: RareClasses.from_counts(COUNTS, temperature=0), "temperature .* is 0: expected above 0"),
        (lambda: RareClasses.from_counts(COUNTS, least_share=1), "more than 1 of their pixels"),
        (lambda: RareClasses.from_counts(np.zeros((4, 3))), "nothing to draw"),
    ],
)
def test_bad_arguments_are_told_so(make, message):
    with pytest.raises(UserError, match=message):
        make()


def test_an_order_fits_one_data_set():
    Permutation([0, 2]).check(3)
    ORDERS["weighted"].check(4)
    ORDERS["rare classes"].check(4)
    for order in (Permutation([-1]), Permutation([3]), ORDERS["weighted"], ORDERS["rare classes"]):
        with pytest.raises(IndexError):
            order.check(3)
