"""Which state a rule keeps."""

import pytest

from training.evaluation.rule import RULE as PRODUCT
from training.evaluation.rule import Rule

BEFORE = {"consistency": 0.5, "source_miou": 40.0}
BETTER = {"consistency": 0.6, "source_miou": 39.0}
BEST = {"consistency": 0.7, "source_miou": 30.0}
RULE = Rule(weights={"consistency": 1.0}, least={"source_miou": -5.0}, margin=0.05)


def test_the_largest_gain_within_the_limits_is_taken():
    assert RULE.choice([BEFORE, BETTER, BEST], [False] * 3) == 1
    assert RULE.choice([BEFORE, BETTER, BETTER], [False] * 3) == 2  # nothing between them: the later
    assert RULE.choice([BEFORE, BETTER], [False, True]) == 0
    assert RULE.refusals(BEST, BEFORE)[0] == "its source miou changed too much (source miou -10, limit -5)"


def test_a_gain_below_the_margin_keeps_the_model_before():
    little = BEFORE | {"consistency": 0.54}
    assert RULE.choice([BEFORE, little], [False, False]) == 0


def test_a_negative_gain_is_told_by_what_changed():
    before = {"consistency": 0.5, "drift": 0.0}
    assert PRODUCT.refusals({"consistency": 0.46, "drift": 0.0}, before) == [
        "views of one image get less equal labels (label-free gain -0.040, limit 0)"
    ]
    assert PRODUCT.refusals({"consistency": 0.503, "drift": 0.01}, before) == [
        "views of one image get more equal labels, but its class shares drifted too far for that "
        "(label-free gain -0.002, limit 0)"
    ]


def test_what_is_not_known_neither_gains_nor_is_refused():
    unknown = {"consistency": None}
    assert RULE.gain(unknown, BEFORE) == 0
    assert Rule(least={"source_miou": 0.0}).refusals(unknown, BEFORE) == []


def test_the_products_rule_leaves_a_stage_whose_consistency_rose_while_its_nuclear_norm_fell():
    """The figures of a run on real photos that lost 1.3 points of mIoU, and of one on the streets that gained 14."""
    photos = {"consistency": 0.50, "drift": 0.0, "nuclear_norm": 0.70}
    lost = {"consistency": 0.521, "drift": 0.001, "nuclear_norm": 0.69}
    assert PRODUCT.refusals(lost, photos) == [
        "its labels are less sure or of fewer classes (nuclear norm -0.01, limit -0.008)"
    ]
    assert PRODUCT.choice([photos, lost], [False, False]) == 0
    # One that gained 3.8 points lies within the limit.
    soft = {"consistency": 0.486, "drift": 0.002, "nuclear_norm": 0.7099}
    facades = {"consistency": 0.418, "drift": 0.0, "nuclear_norm": 0.7162}
    assert PRODUCT.choice([facades, soft], [False, False]) == 1
    streets = {"consistency": 0.311, "drift": 0.0, "nuclear_norm": 0.488}
    gained = {"consistency": 0.422, "drift": 0.001, "nuclear_norm": 0.571}
    assert PRODUCT.choice([streets, gained], [False, False]) == 1


def test_the_products_rule_leaves_a_stage_of_implausible_class_shares():
    """The figures of `iast` on CamVid, which lost 3 points: surer, more equal labels of fewer classes."""
    before = {"consistency": 0.454, "drift": 0.0, "nuclear_norm": 0.698, "share_excess": 0.0}
    lost = {"consistency": 0.530, "drift": 0.008, "nuclear_norm": 0.734, "share_excess": 0.791}
    assert PRODUCT.refusals(lost, before) == [
        "it calls too many or too few pixels by the names of several classes (share excess +0.79, limit 0.5)"
    ]
    assert PRODUCT.choice([before, lost], [False, False]) == 0


@pytest.mark.parametrize(
    "lost",
    [
        {"consistency": 0.482, "drift": 0.020, "nuclear_norm": 0.760, "share_excess": 0.317},
        {"consistency": 0.443, "drift": 0.027, "nuclear_norm": 0.746, "share_excess": 0.256},
    ],
    ids=["cbst_sp", "hiast"],
)
def test_the_products_rule_leaves_a_stage_whose_class_shares_moved_far(lost):
    """The figures of a round of `cbst_sp` and of `hiast`'s alignment on the facades, which lost 2.0 and 1.1 points."""
    before = {"consistency": 0.419, "drift": 0.0, "nuclear_norm": 0.714, "share_excess": 0.0}
    moved = "its class shares moved far from those of the model before adaptation"
    assert PRODUCT.refusals(lost, before) == [f"{moved} (drift +{lost['drift']:.2g}, limit 0.012)"]
    assert PRODUCT.choice([before, lost], [False, False]) == 0
