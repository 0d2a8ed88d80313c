"""The label-free watch tells a collapse from progress."""

import json
import math

import numpy as np
import pytest

from training.evaluation.observing import MEASURED, Observation, class_shares
from training.evaluation.watch import (
    Verdict,
    chosen_index,
    ious_between,
    jensen_shannon,
    judge,
    lost_share,
    share_excesses,
)
from training.settings.experiment import Watch

NAMES = ("road", "building", "sky", "pole")
SHARES = np.array([0.4, 0.3, 0.27, 0.03])


def picture(shares, seed=0, size=(2, 40, 50)):
    return np.random.default_rng(seed).choice(len(shares), p=shares, size=size).astype(np.uint8)


def observed(prediction, view=None, source_miou=40.0):
    measured = dict.fromkeys(MEASURED, 0.8) | {"source_miou": source_miou}
    return Observation(prediction, prediction if view is None else view, measured)


def verdict(now, before=None, first=None):
    first = observed(picture(SHARES)) if first is None else first
    return judge(now, before or first, first, SHARES, NAMES, Watch())


def test_class_shares_by_hand():
    assert class_shares(np.array([[0, 0, 1, 3]], np.uint8), 4).tolist() == [0.5, 0.25, 0.0, 0.25]


def test_jensen_shannon_limits():
    same = np.array([0.25, 0.75])
    assert jensen_shannon(same, same) == 0
    assert jensen_shannon(np.array([1.0, 0]), np.array([0, 1.0])) == pytest.approx(math.log(2))


def test_agreement_by_hand():
    first, second = np.array([[0, 0, 1, 1]], np.uint8), np.array([[0, 1, 1, 1]], np.uint8)
    np.testing.assert_allclose(ious_between(first, second, 3), [1 / 2, 2 / 3, np.nan])
    names, shares = ("road", "building", "sky"), np.array([0.5, 0.5, 0.0])
    result = judge(observed(second), observed(first), observed(first), shares, names, Watch())
    assert result.measured["agreement"] == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert result.measured["consistency"] == pytest.approx(2 / 3)


def test_a_rare_class_cannot_be_lost_but_a_common_one_can():
    assert lost_share(np.array([0.5, 0.3, 0.2, 0.0]), SHARES, SHARES) == (pytest.approx(1 - 0.2 / 0.27), 2)
    assert lost_share(np.array([0.97, 0.0, 0.0, 0.03]), np.array([0.97, 0, 0, 0.03]), SHARES) == (0.0, None)


def test_the_same_prediction_is_no_collapse():
    result = verdict(observed(picture(SHARES)))
    assert not result.collapse
    assert result.measured["drift"] == 0
    assert result.measured["agreement"] == 1
    assert result.measured["share_excess"] == 0
    assert "no collapse" in result.sentence


def test_one_class_flooding_the_image_is_a_collapse_and_is_said_in_words():
    result = verdict(observed(picture([0.02, 0.9, 0.05, 0.03])))
    assert result.collapse
    assert "'road' lost 9" in result.sentence


def test_share_excess_counts_only_what_leaves_the_interval_between_model_and_source():
    first, source = np.array([0.9, 0.08, 0.02]), np.array([0.9, 0.06, 0.04])
    assert share_excesses(np.array([0.9, 0.07, 0.03]), first, source).tolist() == [0, 0, 0]
    np.testing.assert_allclose(
        share_excesses(np.array([0.9, 0.02, 0.08]), first, source), [0, -math.log(3), math.log(2)], atol=1e-12
    )


def test_rare_classes_that_eat_a_common_one_are_a_collapse_only_if_the_source_is_forgotten():
    swollen = picture([0.32, 0.26, 0.24, 0.18])
    collapsed = verdict(observed(swollen, source_miou=39.0))
    assert collapsed.collapse
    assert "rare classes grew, 'pole' most" in collapsed.sentence
    assert not verdict(observed(swollen, source_miou=40.5)).collapse


def test_rare_classes_that_vanish_are_not_said_to_grow():
    vanished = verdict(observed(picture([0.42, 0.3, 0.28, 0.0]), source_miou=39.0))
    assert vanished.collapse
    assert "rare classes were lost, 'pole' most" in vanished.sentence
    fewer = verdict(observed(picture([0.41, 0.3, 0.276, 0.014]), source_miou=39.0))
    assert not fewer.collapse
    assert "but rare classes were lost, 'pole' most, while the source is forgotten" in fewer.sentence


def test_share_excess_sees_what_drift_does_not():
    """The shares of a run on real photos whose mIoU fell from 51.9 to 48.9 while its consistency rose."""
    first = np.array([16.0, 24.9, 1.2, 33.9, 3.4, 13.0, 0.5, 0.7, 5.2, 0.8, 0.5])
    after = np.array([12.6, 19.3, 3.2, 31.5, 4.8, 14.5, 0.9, 2.4, 7.4, 2.0, 1.5])
    source = np.array([10.0, 21.0, 1.7, 30.6, 5.8, 17.2, 0.8, 0.8, 9.2, 1.3, 0.7])
    assert jensen_shannon(first / first.sum(), after / after.sum()) < Watch().collapse_drift
    assert np.abs(share_excesses(after / 100, first / 100, source / 100)).mean() > Watch().collapse_share_excess


def test_a_round_that_learns_from_another_model_is_measured_by_that_one():
    learnt = [0.05, 0.6, 0.3, 0.05]
    now, first = observed(picture(learnt)), observed(picture(SHARES))
    assert judge(now, first, first, SHARES, NAMES, Watch()).collapse
    assert not judge(now, first, first, SHARES, NAMES, Watch(), labeller_shares=np.array(learnt)).collapse


def test_a_collapsed_round_is_never_chosen():
    good, flooded = verdict(observed(picture(SHARES))), verdict(observed(picture([0.0, 1.0, 0.0, 0.0])))
    noisy = verdict(observed(picture(SHARES), picture(SHARES, seed=1)))
    # Sure of itself, and of three classes it knows nothing.
    assert flooded.measured["agreement"] < flooded.measured["consistency"] == 1 / 4
    assert chosen_index([noisy, good, flooded]) == 1
    assert chosen_index([good, noisy, flooded]) == 0
    assert chosen_index([noisy, flooded]) == 0
    assert chosen_index([good, noisy]) == 0
    assert chosen_index([noisy, noisy]) == 1  # nothing between them: the later


def test_finding_a_rare_class_unsurely_is_better_than_never_showing_it():
    """As on streets whose round gained 2.9 mIoU and found a class that the model before it never showed."""
    without = picture([0.43, 0.3, 0.27, 0.0])
    found, unsure = without.copy(), without.copy()
    found[:, :4, :5] = 3
    unsure[:, :4, 2:7] = 3
    before = observed(without)
    after = verdict(observed(found, unsure), first=before)
    assert after.measured["consistency"] > verdict(before, first=before).measured["consistency"] == 3 / 4
    assert chosen_index([verdict(before, first=before), after]) == 1


def test_a_quiet_beginning_of_a_collapse_is_a_warning():
    result = verdict(observed(picture([0.39, 0.29, 0.265, 0.055]), source_miou=39.0))
    assert not result.collapse
    assert "check the panels" in result.sentence
    assert "check the panels" not in verdict(observed(picture([0.39, 0.29, 0.265, 0.055]))).sentence


def test_an_observation_survives_the_disk(tmp_path):
    before = observed(picture(SHARES), picture(SHARES, seed=2))
    before.save(tmp_path / "watch.npz")
    after = Observation.load(tmp_path / "watch.npz")
    assert np.array_equal(before.prediction, after.prediction)
    assert np.array_equal(before.view, after.view)
    assert after.measured == before.measured


def test_a_source_without_labelled_pixels_has_no_figure_and_is_no_collapse():
    result = verdict(observed(picture(SHARES, 1), source_miou=math.nan))
    assert result.source_change is None
    assert not result.collapse
    assert "no labelled pixel on the source" in result.sentence
    assert Verdict.from_json(json.loads(json.dumps(result.as_json())), "round_1") == Verdict.from_json(
        result.as_json(), "round_1"
    )
