"""Schedule, source subsets, rare classes and image pre-selection."""

import itertools

import numpy as np
import pytest

from training.data.mining import priority_classes, rare_classes
from training.data.source_subset import source_subset
from training.errors import UserError
from training.prediction.image_selection import best_images, class_balanced_score
from training.pseudo_labels import portion_at


def test_portion_rises_to_its_maximum():
    assert [round(portion_at(number, 0.2, 0.05, 0.5), 12) for number in range(8)] == [
        0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.5,
    ]  # fmt: skip
    assert portion_at(4, 0.2, 0.05, 0.5) == 0.4


@pytest.mark.parametrize(
    "arguments", [(0, 0, 0.1, 0.5), (0, 0.2, 0.1, 1.1), (-1, 0.2, 0.1, 0.5), (0, 0.2, -0.1, 0.5), (0, 0.6, 0.1, 0.5)]
)
def test_impossible_schedules_are_refused(arguments):
    with pytest.raises(UserError):
        portion_at(*arguments)


def test_published_subset_sizes():
    """GTA5 and SYNTHIA in six rounds, the GTA list of CRST in three, with the programs' accumulated shares."""

    def sizes(images, start, rounds):
        shares = itertools.accumulate([start, *[0.0025] * (rounds - 1)])
        return [len(source_subset(images, share, number)) for number, share in enumerate(shares)]

    assert sizes(24966, 0.03, 6) == [748, 811, 873, 936, 998, 1061]
    assert sizes(9400, 0.02, 6) == [188, 211, 234, 258, 281, 305]
    assert sizes(19984, 0.03, 3) == [599, 649, 699]


def test_cumulative_subsets_are_nested_and_random_ones_differ():
    small, large = (source_subset(500, share, number) for number, share in enumerate((0.1, 0.2)))
    np.testing.assert_array_equal(large[: len(small)], small)
    assert len(set(large.tolist())) == 100
    first, second = (source_subset(500, 0.1, number, "random", seed=3) for number in range(2))
    assert set(first.tolist()) != set(second.tolist())


def test_bad_subsets_are_refused():
    with pytest.raises(UserError, match="no source policy 'r'"):
        source_subset(10, 0.5, 0, "r")
    with pytest.raises(UserError, match="share of source images is 0"):
        source_subset(10, 0, 0)


def test_rare_and_priority_classes():
    counts = np.array([5000, 0, 4, 3000, 4, 2000])
    assert rare_classes(counts).tolist() == [1, 2, 4]  # the lower id first on ties
    assert rare_classes(counts, 1).tolist() == [1]
    assert priority_classes(counts).tolist() == [1, 2, 4]
    assert priority_classes(counts, share=0.25).tolist() == [1, 2, 4, 5]
    assert priority_classes(np.zeros(3, int)).tolist() == []


def test_class_balanced_score_is_a_mean_of_class_means():
    """Class 0: .9 .8 .7 (mean .8), class 2: .5; class 1 does not occur."""
    probs = np.float32([[[0.9, 0.05, 0.05], [0.8, 0.1, 0.1]], [[0.7, 0.2, 0.1], [0.3, 0.2, 0.5]]])
    assert class_balanced_score(probs) == pytest.approx(0.65)


def test_best_images_keep_their_order():
    assert best_images([0.1, 0.9, 0.5, 0.9], 0.5).tolist() == [1, 3]
    assert best_images([0.5, 0.5, 0.5], 1 / 3).tolist() == [0]
    assert best_images([0.5, 0.6], 0.01).tolist() == [1]
    assert len(best_images(np.random.default_rng(0).random(2975))) == 505
    with pytest.raises(UserError, match="share of target images"):
        best_images([0.5], 0)
