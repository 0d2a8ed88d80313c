"""A small label space, counts and a whole summary for the report's tests."""

import pytest

from training.data.classes import LabelSpace
from training.evaluation.confusion import Confusion


@pytest.fixture
def label_space() -> LabelSpace:
    return LabelSpace(
        name="streets4",
        names=("road", "tree | hedge", "car", "tram"),
        colors=((128, 64, 128), (107, 142, 35), (0, 0, 142), (0, 80, 100)),
        from_cityscapes=(255,) * 19,
        class_sets={"4": (0, 1, 2, 3), "2": (0, 2)},
    )


@pytest.fixture
def before() -> Confusion:
    """Tram is in neither truth nor prediction; car is often taken for tree."""
    return Confusion(4, [[80, 10, 10, 0], [20, 60, 0, 0], [0, 12, 8, 0], [0, 0, 0, 0]])


@pytest.fixture
def after() -> Confusion:
    """Better, but two road pixels are now called tram."""
    return Confusion(4, [[93, 5, 0, 2], [10, 70, 0, 0], [0, 4, 16, 0], [0, 0, 0, 0]])


@pytest.fixture
def summary(label_space, before, after) -> dict:
    """The summary of a run of two rounds with target labels; its second round collapsed."""
    first = {
        "stage": "round_1",
        "title": "Round 1",
        "phrase": "of round 1 of 2",
        "way": "by self-training",
        "trains_on_target": True,
        "selector": "cbst",
        "parameters": {"portion": 0.2},
        "kept_share": 0.19,
        "kept_share_per_class": {"road": 0.2, "tree | hedge": 0.18, "car": 0.1, "tram": 0.0},
        "thresholds": {"road": 0.91234, "tree | hedge": 0.8, "car": 0.6, "tram": None},
        "label_free_gain": 0.71,
        "agreement": 0.9,
        "drift": 0.01,
        "verdict": "ok",
        "sentence": "shares drifted by 0.010",
        "miou": 66.0,
    }
    second = {
        **first,
        "stage": "round_2",
        "title": "Round 2",
        "phrase": "of round 2 of 2",
        "verdict": "collapse",
        "label_free_gain": 0.2,
        "sentence": "'car' lost 90%",
        "miou": 21.0,
    }
    return {
        "recipe": "cbst",
        "data": "photos",
        "model": "compact",
        "seed": 3,
        "source": "games",
        "target": "photos",
        "class_set": "4",
        "label_space": "streets4",
        "split": "val",
        "resolution": [96, 192],
        "before": before.scores(label_space),
        "after": after.scores(label_space),
        "label_free": {"before": {"label_free_gain": 0.0}, "after": {"label_free_gain": 0.71}},
        "stages": [first, second],
        "chosen": "round_1",
        "watch": ["Round 2 collapsed; the run went back to round 1."],
        "seconds": 754.2,
        "seconds_per_stage": {"warm_up": 700.0, "report": 1.25},
        "peak_rss_bytes": 3 * 2**30,
        "version": "0.1.0",
        "command": "python training/run.py --recipe cbst --data photos",
        "environment": {"python": "3.11"},
        "next_commands": ["python training/evaluate.py --run runs/a"],
    }


@pytest.fixture
def label_free_summary(summary) -> dict:
    """The same run on a target without labels."""
    shares = {"road": 0.5, "tree | hedge": 0.3, "car": 0.2, "tram": 0.0}
    stages = [{**entry, "miou": None} for entry in summary["stages"]]
    label_free = {
        "before": {"label_free_gain": 0.0, "consistency": 0.454, "class_shares": shares},
        "after": {"label_free_gain": 0.71, "consistency": 0.532, "class_shares": {**shares, "car": 0.1, "tram": 0.1}},
    }
    return {**summary, "before": None, "after": None, "stages": stages, "label_free": label_free}
