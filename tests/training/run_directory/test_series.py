"""A series of runs: finished ones are not repeated, and runs of other options are not taken for them."""

import pytest

from tests.training.small_runs import options
from training.errors import UserError
from training.run_directory import series
from training.run_directory.series import carried_out


def test_finished_runs_are_found_and_others_refused(start, tmp_path, monkeypatch):
    monkeypatch.setattr(series.subprocess, "run", lambda command: pytest.fail(f"{command}: it is finished"))
    asked, run = options(tmp_path, "source_only", "data.schedules.warm_up.steps=1"), tmp_path / "run"
    assert start([*asked, "--out", str(run)]) == 0
    assert carried_out(run, asked) == run
    with pytest.raises(UserError, match=r"data\.schedules\.warm_up\.batch_size: 2 -> 3"):
        carried_out(run, [*asked, "data.schedules.warm_up.batch_size=3"])
