"""What answers say without labels, against values by hand."""

import numpy as np
import pytest

from training.data.classes import IGNORE
from training.evaluation.confusion import Confusion
from training.evaluation.label_free import (
    CHANNELS,
    ConfidenceCounts,
    LinearHead,
    ProbabilityTotals,
    estimated_accuracy,
    estimated_class_accuracy,
    miou_in_truth,
)


def totals_of(*rows: list[float]) -> ProbabilityTotals:
    totals = ProbabilityTotals(2)
    for row in rows:
        totals.add(np.array([row], np.float32))
    return totals


def test_sure_and_diverse_answers_have_no_entropy_and_the_largest_norm():
    sure = totals_of([1, 0], [0, 1], [1, 0], [0, 1])
    assert (sure.entropy, sure.diversity) == (pytest.approx(0, abs=1e-9), pytest.approx(1))
    assert (sure.nuclear_norm, sure.confidence) == (pytest.approx(1), 1)
    one_class = totals_of([1, 0], [1, 0])
    assert (one_class.diversity, one_class.nuclear_norm) == (pytest.approx(0, abs=1e-9), pytest.approx(2**-0.5))
    unsure = totals_of([0.5, 0.5], [0.5, 0.5])
    assert (unsure.entropy, unsure.confidence) == (pytest.approx(1), 0.5)


def test_the_nuclear_norm_is_that_of_the_whole_matrix():
    rows = np.random.default_rng(0).dirichlet(np.ones(5), 40)
    totals = ProbabilityTotals(5)
    for part in np.split(rows, 4):
        totals.add(part)
    assert totals.nuclear_norm == pytest.approx(np.linalg.norm(rows, "nuc") / np.sqrt(40 * 5))


def counted(confidences: list[float], right: list[bool] | None = None, answer: int = 0) -> ConfidenceCounts:
    counts = ConfidenceCounts(2)
    probs = np.array([[value, 1 - value][:: 1 if answer == 0 else -1] for value in confidences])
    counts.add(probs, None if right is None else np.where(right, answer, 1 - answer))
    return counts


def test_the_threshold_of_the_confidence_is_set_on_the_source():
    """Three of four source pixels are right, and three are above 0.65: so is one of two target pixels."""
    source = counted([0.9, 0.8, 0.7, 0.6], [True, True, False, True])
    assert estimated_accuracy(source, counted([0.95, 0.62])) == pytest.approx(0.5)
    assert estimated_accuracy(source, counted([0.95, 0.9])) == pytest.approx(1)
    assert np.isnan(estimated_accuracy(ConfidenceCounts(2), counted([0.9])))


def test_a_class_that_is_never_shown_has_no_estimated_accuracy_and_counts_in_the_mean():
    source = counted([0.9, 0.8], [True, False])  # the truth shows both classes, the answers only the first
    assert estimated_class_accuracy(source, counted([0.95, 0.95])) == pytest.approx(1 / 2)


def test_ignored_pixels_set_no_threshold():
    counts = ConfidenceCounts(2)
    counts.add(np.array([[0.9, 0.1], [0.8, 0.2]]), np.array([0, IGNORE]))
    assert (counts.counts.sum(), counts.right.tolist(), counts.shown.tolist()) == (1, [1, 0], [1, 0])


@pytest.mark.parametrize("channels", [3, CHANNELS + 1])
def test_the_linear_head_finds_classes_that_lie_apart_and_never_answers_one_without_a_pixel(channels):
    random = np.random.default_rng(1)
    centres = 5 * random.standard_normal((3, channels))
    label = random.integers(0, 2, (4, 50))
    features = centres[label] + random.standard_normal((4, 50, channels))
    head = LinearHead(3)
    masked = np.where(random.random(label.shape) < 0.1, IGNORE, label)
    for rows, truth in zip(features, masked, strict=True):
        head.add(rows, truth)
    assert (head.fit().label(features) == label).mean() > 0.97
    assert 2 not in head.label(centres[None] * 3)


def test_miou_is_over_the_classes_of_the_truth():
    confusion = Confusion(3)
    confusion.add(np.array([0, 0, 1, 1]), np.array([0, 0, 1, 2]))
    assert miou_in_truth(confusion) == pytest.approx(75)  # class 2 is in no truth
    assert np.isnan(miou_in_truth(Confusion(3)))
