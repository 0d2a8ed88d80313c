"""With what the watch compares a stage."""

from dataclasses import dataclass
from types import SimpleNamespace
from unittest.mock import MagicMock

import numpy as np
import pytest

from training.data.classes import load_label_space
from training.evaluation.confusion import scores
from training.evaluation.observing import Observation
from training.settings.experiment import Recipe
from training.stages import judging
from training.stages.adjustment import AdjustmentStage
from training.stages.judging import verdict_on
from training.stages.stage import Stage
from training.stages.statistics import StatisticsStage

SOURCE = Stage(name="source", title="", phrase="", reference=True, own_reference=True)
STATISTICS, ADJUSTMENT = StatisticsStage(), AdjustmentStage()
ONLINE = Stage(name="online_1", title="", phrase="")
NAMES = ("road", "car", "sky")


def seen(car: int) -> Observation:
    """A prediction of 100 pixels in which so many are a car, and the rest in halves road and sky."""
    label = np.full((1, 10, 10), 2, np.uint8)
    label.flat[: (100 - car) // 2] = 0
    label.flat[100 - car :] = 1
    return Observation(label, label, {"source_miou": 50.0, "nuclear_norm": 0.7})


@dataclass
class Verdicts:
    """What the watch says of the stages of a run, one after the other."""

    plan: tuple[Stage, ...]

    def __post_init__(self):
        self.earlier, stages = {}, {}
        domains = SimpleNamespace(label_space=SimpleNamespace(names=NAMES), source_shares=np.full(3, 1 / 3))
        experiment = SimpleNamespace(recipe=Recipe(paper=""))
        self.run = SimpleNamespace(
            plan=self.plan,
            baseline=SOURCE,
            domains=domains,
            experiment=experiment,
            directory=SimpleNamespace(stages=stages),
        )

    def of(self, stage: Stage, car: int):
        found = verdict_on(self.run, stage, seen(car), self.earlier)
        self.earlier[stage.name] = seen(car)
        self.run.directory.stages[stage.name] = {"verdict": found.as_json()}
        return found


def test_adjusted_logits_are_compared_with_the_model_that_they_adjust():
    verdicts = Verdicts((SOURCE, ADJUSTMENT, ONLINE))
    assert verdicts.of(SOURCE, 10).measured["drift"] == 0
    adjusted = verdicts.of(ADJUSTMENT, 20)
    assert adjusted.measured["drift"] > 0
    assert adjusted.measured["agreement"] == adjusted.measured["agreement_reference"] < 1
    assert not adjusted.collapse
    assert verdicts.of(ONLINE, 20).measured["drift"] == 0  # later stages with the adjusted model


def test_an_adjustment_can_be_a_collapse_and_is_no_reference_then():
    verdicts = Verdicts((SOURCE, ADJUSTMENT, ONLINE))
    verdicts.of(SOURCE, 10)
    assert verdicts.of(ADJUSTMENT, 80).collapse
    assert verdicts.of(ONLINE, 80).collapse


def test_the_target_s_statistics_are_their_own_reference():
    verdicts = Verdicts((SOURCE, STATISTICS, ADJUSTMENT, ONLINE))
    verdicts.of(SOURCE, 10)
    assert verdicts.of(STATISTICS, 40).measured["drift"] == 0
    assert verdicts.of(ADJUSTMENT, 40).measured["drift"] == 0
    assert verdicts.of(ONLINE, 20).measured["drift"] > 0


def test_a_stray_pixel_of_a_class_that_the_source_labels_lack_does_not_change_the_source_figure(monkeypatch):
    space = load_label_space("camvid11")
    matrix = np.diag([100, 100, *[0] * (space.count - 2)])
    matrix[0, 2] = 1
    monkeypatch.setattr(judging, "target_pass", MagicMock())
    monkeypatch.setattr(judging, "SourceWatcher", MagicMock())
    monkeypatch.setattr(judging, "observation_of", lambda target, source, source_miou: source_miou)
    monkeypatch.setattr(judging, "_source_scores", lambda *_: scores(matrix, space))
    source_miou, _ = judging.observe(MagicMock(), SOURCE, "")
    assert source_miou == pytest.approx((100 * 100 / 101 + 100) / 2)
