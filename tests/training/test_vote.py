"""The vote's command line: what it refuses, and one whole vote on finished runs."""

import pytest

from training.errors import UserError
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
    ],
)
def test_mistakes_are_told_in_one_sentence(options, sentence, capsys):
    assert main(options) == 2
    assert sentence in capsys.readouterr().err
