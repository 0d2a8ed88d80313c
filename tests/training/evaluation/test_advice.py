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
