"""`best` on photos: logit adjustment, then one round with soft labels of two scales, without the source."""

import pytest

from tests.training.small_runs import options
from training.run_directory.paths import RunDirectory


def test_every_pixel_has_a_label_and_the_control_learns_nothing(start, tmp_path):
    run = tmp_path / "run"
    assert start([*options(tmp_path, "best"), "--control", "--out", str(run)]) == 0
    directory, experiment = RunDirectory.reopen(run)
    stages = directory.stages
    assert [name for name, figures in stages.items() if "verdict" in figures] == ["source", "adjustment", "round_1"]
    assert stages["round_1"]["kept_share"] > 0.999
    assert (experiment.recipe.adaptation.source_share, experiment.data.keep_source) == (None, False)
    adjusted, trained = (stages[name]["scores"]["miou"] for name in ("adjustment", "round_1"))
    assert trained == pytest.approx(adjusted, abs=0.3)
