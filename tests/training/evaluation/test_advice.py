"""The verdict in a user's words."""

from dataclasses import replace

import numpy as np

from training.evaluation.advice import advice, best_refused
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
    assert said == "Gained on road (+6.0); lower on car (-3.2): look at panel_a_2.png."
    worse = advice({**summary, "before": scores, "after": {**better, "miou": 48.8}}, examples(), NAMES)
    assert worse.startswith(
        "Keep the source model, source.onnx: the adapted one, model.onnx, changed mIoU by -1.2 points on your labels "
        "(4 classes of streets4). Gained on road"
    )


def test_the_verdict_is_over_the_classes_in_the_truth(summary):
    """Of a class that the labels lack one pixel is no harm; nor does it hide harm that the mean over all shrinks."""
    scores = {"miou": 50.0, "miou_in_truth": 50.0, "per_class_iou": {"road": 60.0, "car": 40.0, "tram": None}}
    false_alarm = {"miou": 33.6, "miou_in_truth": 50.4, "per_class_iou": {"road": 60.8, "car": 40.0, "tram": 0.0}}
    said = advice({**summary, "before": scores, "after": false_alarm}, [], NAMES)
    assert said == "No class changed by more than a point."
    harm = {**false_alarm, "miou": 49.7, "miou_in_truth": 49.2}
    said = advice({**summary, "before": scores, "after": harm}, [], NAMES)
    assert said.startswith("Keep the source model")
    assert "-0.8 points on your labels" in said


def test_all_changed_panels_are_named_up_to_six_the_most_changed_first(summary):
    _, example = examples()
    small = example.before.copy()
    small[2:] = 0
    changed = [replace(example, name="a", before=small), *(replace(example, name=name) for name in "bcdefg")]
    kept = {**summary, "chosen": "source"}
    assert advice(kept, changed, NAMES).endswith(
        "; look at these 6 panels, the most changed first: panel_b.png, panel_c.png, panel_d.png, panel_e.png, "
        "panel_f.png, panel_g.png."
    )
    scores = {"miou": 50.0, "per_class_iou": {"car": 40.0}}
    told = {**summary, "before": scores, "after": {"miou": 46.0, "per_class_iou": {"car": 36.0}}}
    assert advice(told, changed[:2], NAMES).endswith(
        "lower on car (-4.0): look at these 2 panels, the most changed first: panel_b.png, panel_a.png."
    )


def test_without_labels_the_class_shares_speak(label_free_summary):
    said = advice(label_free_summary, examples(), NAMES)
    assert said == (
        "Without labels: shows more tram (0.0% to 10.0% of the pixels); less car (20.0% to 10.0% of the pixels): "
        "look at panel_a_2.png."
    )


def test_shares_that_only_rose_or_only_fell_have_one_half_of_the_sentence(label_free_summary):
    sides = label_free_summary["label_free"]
    fewer = {**sides["before"]["class_shares"], "car": 0.1}
    told = {**label_free_summary, "label_free": {**sides, "after": {"class_shares": fewer}}}
    assert advice(told, [], NAMES) == "Without labels: shows less car (20.0% to 10.0% of the pixels)."
    told = {**told, "label_free": {"before": {"class_shares": fewer}, "after": sides["before"]}}
    assert advice(told, [], NAMES) == "Without labels: shows more car (10.0% to 20.0% of the pixels)."


def test_a_run_that_returned_to_its_start_says_why_and_shows_what_was_refused(summary):
    kept = {**summary, "chosen": "source", "before": {"miou": 60.0}, "after": {"miou": 60.0}}
    assert advice(kept, examples(), NAMES) == (
        "Keep the source model, which model.onnx is: the best adapted one, round 1, is not safe to take: its "
        "label-free gain is no larger. What was refused, round 1: mIoU 60.0 → 66.0 on your labels (4 classes of "
        "streets4); look at panel_a_2.png."
    )
    started = {**kept, "started_from": {"run": "old", "adapted": True}}
    assert advice(started, [], NAMES).startswith(
        "Keep the model that the run started from (old, adapted already), which"
    )
    refused = [{**stage, "refused": ["its labels are less sure"]} for stage in summary["stages"]]
    assert "round 1, is not safe to take: its labels are less sure." in advice({**kept, "stages": refused}, [], NAMES)
    assert best_refused(summary) is None
    assert best_refused(kept)["stage"] == "round_1"  # the other one collapsed
    collapsed = [{**stage, "verdict": "collapse"} for stage in summary["stages"]]
    assert "every adapted model collapsed (shares drifted by 0.010)" in advice({**kept, "stages": collapsed}, [], NAMES)
    assert advice({**kept, "stages": []}, [], NAMES) is None
