"""A series of runs: finished ones are not repeated, and runs of other options are not taken for them."""

import pytest

from tests.benchmarks import series
from tests.benchmarks.series import carried_out
from tests.training.small_runs import options, write_data
from training.command_line import experiment_of, parse
from training.errors import UserError
from training.run_directory.paths import RunDirectory


def test_finished_runs_are_found_and_others_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(series.subprocess, "run", lambda command: pytest.fail(f"{command}: it is finished"))
    write_data(tmp_path)
    asked, run = options(tmp_path, "source_only"), tmp_path / "run"
    directory = RunDirectory.create(run, experiment_of(parse(asked)))
    directory.report.mkdir(exist_ok=True)
    for file in (directory.final_weights, directory.report / "summary.json"):
        file.write_text("")
    assert carried_out(run, asked) == run
    with pytest.raises(UserError, match=r"data\.schedules\.warm_up\.batch_size: 2 -> 3"):
        carried_out(run, [*asked, "data.schedules.warm_up.batch_size=3"])
