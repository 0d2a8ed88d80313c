"""The verdict in a user's words."""

import numpy as np

from training.evaluation.advice import advice
from training.evaluation.panels import Example

NAMES = ("road", "tree | hedge", "car", "tram")


def examples() -> list[Example]:
    """The car vanishes in the second image only."""
    image, road = np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), np.uint8)
    car = road.copy()
    car[1:3, 1:3] = 2
    return [Example("a/1", image, road, road), Example("a/2", image, car, road)]


def test_labels_say_what_was_gained_and_lost_and_where_to_look(summary):
    scores = {"miou": 50.0, "per_class_iou": {"road": 60.0, "tree | hedge": 50.0, "car": 40.0, "tram": None}}
    better = {"miou": 51.0, "per_class_iou": {"road": 66.0, "tree | hedge": 50.2, "car": 36.8, "tram": None}}
    said = advice({**summary, "before": scores, "after": better}, examples(), NAMES)
    assert said == "Gained on road (+6.0); lost car (-3.2): look at panel_a_2.png."
    worse = advice({**summary, "before": scores, "after": {**better, "miou": 48.8}}, examples(), NAMES)
    assert worse.startswith("Keep the source model: the adapted one changed mIoU by -1.2 points on your labels. Gained")


def test_the_verdict_is_over_the_classes_in_the_truth(summary):
    """Of a class that the labels lack one pixel is no harm; nor does it hide harm that the mean over all shrinks."""
    scores = {"miou": 50.0, "miou_in_truth": 50.0, "per_class_iou": {"road": 60.0, "car": 40.0, "tram": None}}
    false_alarm = {"miou": 33.6, "miou_in_truth": 50.4, "per_class_iou": {"road": 60.8, "car": 40.0, "tram": 0.0}}
    said = advice({**summary, "before": scores, "after": false_alarm}, [], NAMES)
    assert said == "No class changed by more than a point."
    harm = {**false_alarm, "miou": 49.7, "miou_in_truth": 49.2}
    said = advice({**summary, "before": scores, "after": harm}, [], NAMES)
    assert said.startswith("Keep the source model")
    assert "-0.8 points" in said


def test_without_labels_the_class_shares_speak(label_free_summary):
    said = advice(label_free_summary, examples(), NAMES)
    assert said == (
        "Without labels: shows more tram (0.0% to 10.0% of the pixels); less car (20.0% to 10.0% of the pixels): "
        "look at panel_a_2.png."
    )


def test_a_run_that_returned_to_its_start_says_why(summary):
    kept = {**summary, "chosen": "source"}
    assert advice(kept, [], NAMES) == (
        "Keep the source model: the best adapted model is not safe to take (its label-free score is no better)."
    )
    collapsed = [{**stage, "verdict": "collapse"} for stage in summary["stages"]]
    assert "every adapted model collapsed (shares drifted by 0.010)" in advice({**kept, "stages": collapsed}, [], NAMES)
    assert advice({**kept, "stages": []}, [], NAMES) is None
