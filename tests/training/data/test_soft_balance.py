"""Soft-balance sampling: the numbers by hand, and what must hold for any counts."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.data.sampling import Weighted
from training.data.soft_balance import (
    amounts,
    draw_probabilities,
    image_ratios,
    image_scores,
    sampling_rates,
    shown_shares,
    unit_probabilities,
)

TOTALS = np.array([900.0, 90, 10])
IMAGES = np.array([[60.0, 40, 0], [60, 30, 10], [0, 0, 10], [100, 0, 0]])


def of_images(*chosen: int) -> np.ndarray:
    """p(x) of IMAGES among others with TOTALS together."""
    among = np.isin(np.arange(3), chosen) if chosen else None
    return image_scores(IMAGES, unit_probabilities(TOTALS, 0.5), 0.5, among)


@pytest.mark.parametrize(
    ("exponent", "expected"),
    [
        (0, [3.7037037e-4, 3.7037037e-3, 3.33333333e-2]),
        (0.5, [7.815716e-4, 2.4715464e-3, 7.4146392e-3]),
        (1, [1e-3, 1e-3, 1e-3]),
    ],
)
def test_a_unit_of_each_class_by_hand(exponent, expected):
    found = unit_probabilities(TOTALS, exponent)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert found @ TOTALS == pytest.approx(1)


def test_images_by_hand():
    np.testing.assert_allclose(of_images()[:3], [1.5411979e-3, 2.6266194e-3, 7.4146392e-3], rtol=1e-6)
    np.testing.assert_allclose(of_images(1, 2), [2.4715464e-3, 4.2808439e-3, 7.4146392e-3, 0], rtol=1e-6)


def test_rates_by_hand():
    expected = [0.2192029, 0.3689414, 0.6, 1.0525741, 1.0996646]
    np.testing.assert_allclose(sampling_rates([0, 0.1, 0.2, 0.5, 1]), expected, rtol=1e-6)
    assert sampling_rates(np.array([0.0, 1.0]), slope=1e6).tolist() == [0.1, 1.1]  # and no overflow


def test_without_the_ratio_all_images_would_be_drawn_alike():
    """Why step 3 is there: p(x) is tiny, the map is made for ratios."""
    scores = of_images()
    np.testing.assert_allclose(sampling_rates(scores), sampling_rates(0), rtol=0.1)
    scores = of_images(1, 2)
    drawn = draw_probabilities(scores / scores.max())
    assert drawn[2] / drawn[3] == pytest.approx(5.02, abs=0.01)
    assert sampling_rates(1) / sampling_rates(0) == pytest.approx(5.02, abs=0.01)


tables = st.integers(0, 2**32 - 1).map(
    lambda seed: np.random.default_rng(seed).integers(0, 5, (12, 6)) ** 4 * np.random.default_rng(seed).integers(0, 9)
)
exponents = st.floats(0, 1)


@settings(max_examples=60, deadline=None)
@given(tables, exponents, st.lists(st.booleans(), min_size=6, max_size=6))
def test_what_holds_for_any_counts(counts, exponent, chosen):
    chosen = np.array(chosen)
    for unit in ("pixel", "image"):
        found = amounts(counts, unit)
        if counts.any():
            assert unit_probabilities(found.sum(axis=0), exponent) @ found.sum(axis=0) == pytest.approx(1)
        scores = image_scores(found, unit_probabilities(found.sum(axis=0), exponent), exponent, chosen)
        assert scores.min() >= 0
        assert (scores[~(counts[:, chosen] > 0).any(axis=1)] == 0).all()
        ratios = image_ratios(counts, chosen, exponent, unit)
        np.testing.assert_allclose(ratios * scores.max(), scores)
        assert ratios.max() in (0, 1)
        drawn = draw_probabilities(ratios)
        assert drawn.sum() == pytest.approx(1)
        assert drawn.max() / drawn.min() < 11
        Weighted(drawn)
        # Larger scores are never drawn less often.
        assert (np.diff(drawn[np.argsort(scores, kind="stable")]) >= -1e-15).all()


@settings(max_examples=40, deadline=None)
@given(tables, exponents, st.integers(0, 5))
def test_more_chosen_classes_change_the_images_that_show_them_alone(counts, exponent, added):
    few = np.arange(6) < 3
    more = few | (np.arange(6) == added)
    found = amounts(counts, "pixel")
    of_class = unit_probabilities(found.sum(axis=0), exponent)
    before, after = (image_scores(found, of_class, exponent, chosen) for chosen in (few, more))
    shows = (counts[:, more & ~few] > 0).any(axis=1)
    np.testing.assert_array_equal(before[~shows], after[~shows])


@settings(max_examples=40, deadline=None)
@given(st.floats(0.05, 0.95), st.integers(1, 50), st.integers(1, 50))
def test_a_pixel_of_a_rarer_class_in_the_place_of_a_commoner_one_counts_more(exponent, common, rare):
    of_class = unit_probabilities(np.array([10_000.0, 500]), exponent)
    before, after = image_scores(np.array([[common + 1.0, rare], [common, rare + 1.0]]), of_class, exponent)
    assert after > before


def test_the_exponent_one_makes_all_images_alike():
    counts = np.random.default_rng(0).integers(1, 100, (8, 4))
    np.testing.assert_allclose(draw_probabilities(image_ratios(counts, exponent=1.0)), 1 / 8)


def test_images_instead_of_pixels():
    counts = np.array([[1, 900], [0, 900], [0, 900]])
    assert amounts(counts, "image").tolist() == [[1, 1], [0, 1], [0, 1]]
    found = amounts(counts, "image")
    of_class = unit_probabilities(found.sum(axis=0), 0.0)
    np.testing.assert_allclose(of_class, [1 / 2, 1 / 6])
    np.testing.assert_allclose(image_scores(found, of_class, 0.0), [(1 / 2 + 1 / 6) / 2, 1 / 6, 1 / 6])


def test_where_no_image_shows_a_chosen_class_all_are_drawn_alike():
    assert draw_probabilities(image_ratios(np.array([[4, 0], [3, 0]]), np.array([False, True]))).tolist() == [0.5, 0.5]
    assert draw_probabilities(image_ratios(np.zeros((2, 3), int))).tolist() == [0.5, 0.5]


def test_images_of_a_rare_chosen_class_are_drawn_more_often():
    counts = np.array([[88, 10, 2], *[[60, 40, 0]] * 9, *[[100, 0, 0]] * 10])
    alike, among_all = np.full(20, 0.05), draw_probabilities(image_ratios(counts))
    chosen = draw_probabilities(image_ratios(counts, np.array([False, True, True])))
    before, balanced, guided = (shown_shares(drawn, counts)[2] for drawn in (alike, among_all, chosen))
    assert guided > balanced > before == pytest.approx(0.05)
    assert shown_shares(chosen, counts)[0] == pytest.approx(1)
    seen = Weighted(chosen).indices(0, 20_000, seed=0)
    assert np.mean(seen == 0) == pytest.approx(guided, abs=0.01)
