"""Charts over time are drawn from what a run wrote, also from a resumed one."""

import numpy as np
from PIL import Image

from training.data.classes import LABEL_SPACES
from training.evaluation.curves import _starts, kept_share_chart, threshold_chart, training_curves
from training.run_directory.metrics import read_metrics

SPACE = LABEL_SPACES["camvid11"]
METRICS = """stage,step,metric,value
source,25,cross_entropy_source,2
source,50,cross_entropy_source,1
source,50,cross_entropy_source,0.5
round_1,25,cross_entropy_source,0.4
round_1,25,cross_entropy_target,0.3
"""


def drawn(path) -> float:
    """Share of the picture that is not white."""
    with Image.open(path) as picture:
        return float((np.asarray(picture.convert("L")) < 250).mean())


def test_a_step_that_was_logged_twice_counts_once(tmp_path):
    (tmp_path / "metrics.csv").write_text(METRICS)
    metrics = read_metrics(tmp_path / "metrics.csv")
    assert metrics["source"]["cross_entropy_source"] == [(25, 2.0), (50, 0.5)]
    assert list(metrics["round_1"]) == ["cross_entropy_source", "cross_entropy_target"]
    assert drawn(training_curves(tmp_path / "training.png", metrics)) > 0.005


def test_parts_of_one_training_follow_each_other_without_a_gap(tmp_path):
    """Rounds begin at step 0 each; parts of one training go on with the steps of the part before."""
    logged = {"source": 900, "alignment_1": 130, "alignment_2": 260, "round_1": 300, "round_2": 300}
    metrics = {stage: {"loss": [(last - 30, 1.0), (last, 0.5)]} for stage, last in logged.items()}
    starts, end = _starts(metrics)
    assert starts == {
        "source": (0, 0),
        "alignment_1": (900, 0),
        "alignment_2": (900, 130),
        "round_1": (1160, 0),
        "round_2": (1460, 0),
    }
    assert end == 1760
    assert drawn(training_curves(tmp_path / "training.png", metrics)) > 0.005


def test_thresholds_and_kept_shares(tmp_path):
    trajectories = {1: np.linspace(0.9, 0.5, 11)[None].repeat(5, 0), 2: np.full((3, 11), 0.8)}
    assert drawn(threshold_chart(tmp_path / "thresholds.png", trajectories, SPACE)) > 0.01
    kept = [
        {"title": f"Round {number}", "kept_share_per_class": dict.fromkeys(SPACE.names, 0.5 * number)}
        for number in (1, 2)
    ]
    half = kept_share_chart(tmp_path / "kept.png", kept, SPACE)
    nothing = [{**entry, "kept_share_per_class": dict.fromkeys(SPACE.names)} for entry in kept]
    assert drawn(half) > drawn(kept_share_chart(tmp_path / "nothing.png", nothing, SPACE)) + 0.1
