"""`best` on photos: logit adjustment, then one round with soft labels of two scales, without the source."""

import pytest

from tests.benchmarks.label_scales import mious_of, views_of
from tests.training.small_runs import options, two_layers
from training.prediction import trained_model
from training.run_directory.paths import RunDirectory


def test_every_pixel_has_a_label_and_the_control_learns_nothing(start, tmp_path, monkeypatch):
    run = tmp_path / "run"
    assert start([*options(tmp_path, "best"), "--control", "--out", str(run)]) == 0
    directory, experiment = RunDirectory.reopen(run)
    stages = directory.stages
    assert [name for name, figures in stages.items() if "verdict" in figures] == ["source", "adjustment", "round_1"]
    assert stages["round_1"]["kept_share"] > 0.999
    assert (experiment.recipe.adaptation.source_share, experiment.data.keep_source) == (None, False)
    adjusted, trained = (stages[name]["scores"]["miou"] for name in ("adjustment", "round_1"))
    assert trained == pytest.approx(adjusted, abs=0.3)
    # The benchmark scores the adjusted model as the run did.
    monkeypatch.setattr(trained_model, "build_segmenter", lambda name, count, **_: two_layers(experiment, count))
    for sets in ([views_of("1")], [views_of("1,2"), views_of("1")]):
        assert mious_of([run], "adjustment", sets)[-1] == pytest.approx(stages["adjustment"]["scores"]["miou_in_truth"])


def test_every_second_scale_is_mirrored():
    assert views_of("0.75,1,2") == [(0.75, False), (1.0, True), (2.0, False)]
