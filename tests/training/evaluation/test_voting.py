"""The vote over candidates: hand values, ties, and a planted best candidate."""

import numpy as np
import pytest

from training.evaluation.voting import majority, vote


def test_majority_by_hand():
    labels = np.array([[[0, 1, 2, 255]], [[0, 2, 1, 255]], [[1, 2, 0, 255]]], np.uint8)
    assert majority(labels, 3).tolist() == [[0, 2, 0, 255]]  # the third pixel ties: the lowest class


def test_ignored_pixels_do_not_vote():
    labels = np.array([[[255]], [[255]], [[1]]], np.uint8)
    assert majority(labels, 2).tolist() == [[1]]


def test_scores_by_hand():
    """Two of three say class 0 on both pixels; the third has one pixel right."""
    label_maps = [np.array([[[0, 0]], [[0, 0]], [[0, 1]]], np.uint8)]
    first, second, third = vote(["a", "b", "c"], label_maps, 2)
    assert (first.name, first.score, first.agreement) == ("a", 100.0, 1.0)  # on ties the first given
    assert (second.name, second.score) == ("b", 100.0)
    assert (third.name, third.score, third.agreement) == ("c", 50.0, 0.5)


def test_the_planted_best_candidate_wins():
    """Errors that are independent of each other cancel in the vote, so the candidate with the fewest comes first."""
    random = np.random.default_rng(0)
    truth = random.integers(0, 5, (20, 16, 16))
    wrong_shares = {"bad": 0.4, "best": 0.1, "middle": 0.25}

    def labels_of(share):
        wrong = random.random(truth.shape) < share
        return np.where(wrong, random.integers(0, 5, truth.shape), truth).astype(np.uint8)

    stacked = np.stack([labels_of(share) for share in wrong_shares.values()], axis=1)
    assert [candidate.name for candidate in vote(list(wrong_shares), stacked, 5)] == ["best", "middle", "bad"]


def test_one_candidate_is_no_vote():
    with pytest.raises(ValueError, match="two"):
        vote(["a"], [], 2)
