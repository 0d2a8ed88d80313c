"""The K-th largest value by bit histograms equals the one by sorting, whatever the values, their order and grouping."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from training.probability_maps.order_statistics import NO_BIN, ConfidenceHistogram, FewValues, WindowHistogram

CLASSES = 2
TIES = [0.0, 1.0, 0.5, float(np.nextafter(np.float32(0.5), np.float32(1))), 1e-45, 1.1754944e-38, 65504.0]
floats = st.one_of(st.sampled_from(TIES), st.floats(0, 1, width=32), st.floats(0, 3.0000000054977558e38, width=32))


@st.composite
def labelled_values(draw):
    size = draw(st.integers(1, 60))
    values = draw(hnp.arrays(np.float32, size, elements=floats))
    return values, draw(hnp.arrays(np.uint8, size, elements=st.integers(0, CLASSES - 1)))


def by_histograms(batches, ranks):
    histogram = ConfidenceHistogram(CLASSES)
    for values, labels in batches:
        histogram.add(values, labels)
    bins, inside = histogram.locate(ranks)
    window = WindowHistogram(bins)
    for values, labels in batches:
        window.add(values, labels)
    return window.kth_largest(bins, inside)


def by_sorting(values, labels, ranks):
    ordered = [np.sort(values[labels == class_id])[::-1] for class_id in range(CLASSES)]
    return np.array([pool[rank - 1] if rank else np.nan for pool, rank in zip(ordered, ranks, strict=True)], np.float32)


def ranks_within(labels, share):
    return np.ceil(np.bincount(labels, minlength=CLASSES) * share).astype(int)


@settings(max_examples=40, deadline=None)
@given(labelled_values(), st.floats(0, 1))
def test_equals_sorting(data, share):
    values, labels = data
    ranks = ranks_within(labels, share)
    np.testing.assert_array_equal(by_histograms([data], ranks), by_sorting(values, labels, ranks))


@settings(max_examples=12, deadline=None)
@given(labelled_values(), st.floats(0, 1), st.randoms(use_true_random=False))
def test_order_and_grouping_do_not_matter(data, share, random):
    values, labels = data
    ranks = ranks_within(labels, share)
    order = list(range(len(values)))
    random.shuffle(order)
    cut = random.randint(0, len(order))
    parts = [(values[part], labels[part]) for part in (order[:cut], order[cut:])]
    np.testing.assert_array_equal(by_histograms(parts, ranks), by_histograms([data], ranks))


def test_ten_random_tensors_with_many_ties():
    rng = np.random.default_rng(5)
    for _ in range(10):
        values = rng.random(20_000, np.float32)
        values[::3] = np.round(values[::3], 2)
        labels = rng.integers(0, CLASSES, values.size).astype(np.uint8)
        ranks = ranks_within(labels, rng.random())
        np.testing.assert_array_equal(by_histograms([(values, labels)], ranks), by_sorting(values, labels, ranks))


def add_up(histograms):
    """The last one, with the counts of all: what each of several workers would have."""
    counts = []
    for histogram in histograms:
        histogram.add_up(lambda mine: counts.append(mine) or sum(counts))
    return histograms[-1]


def test_merged_workers_equal_one():
    rng = np.random.default_rng(1)
    values, labels = rng.random(999, np.float32), rng.integers(0, CLASSES, 999).astype(np.uint8)
    ranks = ranks_within(labels, 0.3)
    firsts = [ConfidenceHistogram(CLASSES) for _ in range(2)]
    for worker, first in enumerate(firsts):
        first.add(values[worker::2], labels[worker::2])
    merged = add_up(firsts)
    assert merged.counts.tolist() == np.bincount(labels).tolist()
    bins, inside = merged.locate(ranks)
    seconds = [WindowHistogram(bins) for _ in range(2)]
    for worker, second in enumerate(seconds):
        second.add(values[worker::2], labels[worker::2])
    np.testing.assert_array_equal(add_up(seconds).kth_largest(bins, inside), by_sorting(values, labels, ranks))


def test_a_wide_window_answers_for_every_bin_it_covers():
    values = np.float32([0.70, 0.71, 0.72, 0.95])
    labels = np.zeros(4, np.uint8)
    histogram = ConfidenceHistogram(1)
    histogram.add(values, labels)
    bins, inside = histogram.locate(np.array([2]))
    for first, covered in ((bins - 7, True), (bins, True), (bins + 1, False), (bins - 8, False)):
        window = WindowHistogram(first, width=8)
        window.add(values, labels)
        assert window.covers(bins).tolist() == [covered]
        if covered:
            assert window.kth_largest(bins, inside) == np.float32(0.72)


def test_no_rank_no_value():
    histogram = ConfidenceHistogram(2)
    histogram.add(np.float32([0.5]), np.uint8([0]))
    bins, inside = histogram.locate(np.array([1, 0]))
    window = WindowHistogram(bins, width=4)
    window.add(np.float32([0.5]), np.uint8([0]))
    assert bins[1] == NO_BIN
    assert window.covers(np.array([bins[0], NO_BIN])).all()
    np.testing.assert_array_equal(window.kth_largest(bins, inside), np.float32([0.5, np.nan]))


def test_a_second_pass_that_sees_other_values_stays_in_the_bin():
    """Inference on a GPU may differ in the last bits: no rank may run off the table."""
    histogram = ConfidenceHistogram(1)
    histogram.add(np.float32([0.9, 0.9, 0.2]), np.zeros(3, np.uint8))
    bins, inside = histogram.locate(np.array([2]))
    window = WindowHistogram(bins)
    assert abs(window.kth_largest(bins, inside)[0] / 0.9 - 1) < 0.01
    window.add(np.float32([0.9001]), np.zeros(1, np.uint8))
    assert window.kth_largest(bins, inside) == np.float32(0.9001)


@pytest.mark.parametrize("ranks", [[3], [-1]])
def test_impossible_ranks_are_refused(ranks):
    histogram = ConfidenceHistogram(1)
    histogram.add(np.float32([0.1, 0.2]), np.zeros(2, np.uint8))
    with pytest.raises(ValueError, match="do not fit"):
        histogram.locate(np.array(ranks))


@pytest.mark.parametrize("bad", [np.nan, -0.1, -np.inf])
def test_values_without_an_order_are_refused(bad):
    with pytest.raises(ValueError, match="NaN or negative"):
        ConfidenceHistogram(1).add(np.float32([0.3, bad]), np.zeros(2, np.uint8))


def test_negative_zero_is_zero():
    np.testing.assert_array_equal(
        by_histograms([(np.float32([-0.0, 0.5]), np.zeros(2, np.uint8))], np.array([2, 0])), [0, np.nan]
    )


@settings(max_examples=30, deadline=None)
@given(labelled_values(), st.floats(0, 1), st.integers(1, 30))
def test_few_values_are_exact_or_known_to_be_incomplete(data, share, limit):
    values, labels = data
    ranks = ranks_within(labels, share)
    few = FewValues(CLASSES, limit)
    few.add(values[:20], labels[:20])
    few.add(values[20:], labels[20:])
    assert few.complete.tolist() == (np.bincount(labels, minlength=CLASSES) <= limit).tolist()
    expected = np.where(few.complete, by_sorting(values, labels, ranks), np.nan)
    np.testing.assert_array_equal(few.kth_largest(ranks), expected)
