"""The vote's command line: what it refuses, and one whole vote on finished runs."""

import pytest

from tests.training.small_runs import options, write_data
from training import run as run_script
from training import vote
from training.errors import UserError
from training.evaluation import charts
from training.run_directory import series
from training.vote import main, parsed_grid


def test_grid_is_parsed():
    assert parsed_grid("a.b=1, 2,2,x") == ("a.b", ["1", "2", "x"])


@pytest.mark.parametrize("grid", ["a.b", "a.b=", "a.b=1", "=1,2"])
def test_grids_without_choice_are_refused(grid):
    with pytest.raises(UserError, match="expected KEY=VALUE"):
        parsed_grid(grid)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ([], "either --grid"),
        (["--grid", "a=1,2", "--runs", "x"], "either --grid"),
        (["--runs", "nowhere"], "not a run"),
        (["--runs", "a", "b", "--sed", "1"], "not an option"),
    ],
)
def test_mistakes_are_told_in_one_sentence(options, sentence, capsys):
    assert main(options) == 2
    assert sentence in capsys.readouterr().err


def test_a_whole_vote_and_what_is_in_the_way_of_another(tmp_path, monkeypatch, capsys):
    """The grid's runs are found finished; runs of other options in their place are refused, in one sentence."""
    monkeypatch.setattr(charts, "write_charts", lambda *_: {})
    monkeypatch.setattr(run_script, "_export", lambda *_: None)
    monkeypatch.setattr(series.subprocess, "run", lambda command: pytest.fail(f"{command}: these are finished"))
    monkeypatch.setattr(vote, "start_tensorflow", lambda: None)
    write_data(tmp_path)
    key, values = "data.schedules.warm_up.optimizer.learning_rate", ("0.001", "0.01", "0.02")
    _, recipe, *more = options(tmp_path, "source_only", "data.schedules.warm_up.steps=1")
    for value in values:
        run = ["--recipe", recipe, *more, "--set", f"{key}={value}", "--out", str(tmp_path / "vote" / f"{key}={value}")]
        assert run_script.main(run) == 0
    asked = ["--recipe", recipe, "--grid", f"{key}={','.join(values)}", "--out", str(tmp_path / "vote"), *more]
    capsys.readouterr()
    assert main(asked) == 0
    said = capsys.readouterr().out
    assert f"The vote picks {key}=" in said
    assert "By the labels" in said
    assert main([*asked, "--set", "data.schedules.warm_up.batch_size=3"]) == 2
    assert "data.schedules.warm_up.batch_size: 2 -> 3" in capsys.readouterr().err
