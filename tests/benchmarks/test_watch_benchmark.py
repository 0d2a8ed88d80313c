"""Rules side by side: planted states of two pairs whose best rule is known."""

import json
from types import SimpleNamespace

import pytest

from tests.benchmarks import watch as benchmark
from training.errors import UserError
from training.evaluation.rule import Rule


def state(pair: str, run: str, miou: float, **measured: float) -> dict:
    known = dict.fromkeys(benchmark.SIGNS, 0.0) | measured
    return {"pair": pair, "run": run, "stage": "s", "state": "", "miou": miou, "collapse": False, "measured": known}


@pytest.fixture
def states() -> list[dict]:
    """Consistency rises with every state; the nuclear norm rises with the gains and falls with the losses."""
    gains = {"a": (3.0, -2.0), "b": (1.0, -4.0)}
    return [
        each
        for pair, (gain, loss) in gains.items()
        for each in (
            state(pair, "run", 40.0),
            state(pair, "run", 40.0 + gain, nuclear_norm=0.1, consistency=0.1),
            state(pair, "run", 40.0 + loss, nuclear_norm=-0.1, consistency=0.2),
        )
    ]


def test_a_choice_is_compared_with_the_best_and_with_the_first(states):
    run = benchmark.runs_of(states)["a"][0]
    choice = benchmark.choice_of(benchmark.TODAY, run)
    assert (choice.regret, choice.gained, choice.correlation) == (5.0, -2.0, pytest.approx(-0.5))
    assert benchmark.choice_of(Rule(margin=1.0), run).regret == 3.0


def test_constants_of_a_pair_are_set_on_the_others(states):
    pairs = benchmark.runs_of(states)
    guarded = next(each for each in benchmark.candidates() if each.title == "before, least change of nuclear_norm")
    found = benchmark.left_out(guarded, pairs)
    assert {pair: [choice.regret for choice in choices] for pair, choices in found.items()} == {"a": [0], "b": [0]}
    assert benchmark.fitted(guarded, {"a": pairs["a"]}).least["nuclear_norm"] == pytest.approx(0.0)


def test_the_table_has_a_row_per_rule(states, tmp_path, capsys):
    file = tmp_path / "states.json"
    file.write_text(json.dumps(states))
    assert benchmark.main(["--stages", str(file)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "a: 1 runs, 3 states; b: 1 runs, 3 states."
    assert "| source model always | 2.0 | 3.0 | 1.0 | 0% | +0.0 |  |" in lines
    assert "| consistency - drift / 2 (before) | 5.0 | 5.0 | 5.0 | 100% | -4.0 | -0.50 |" in lines
    assert len(lines) == 4 + len(benchmark.candidates())


def test_the_products_choice_in_runs_that_it_was_not_set_on(states, tmp_path, monkeypatch, capsys):
    """From what the runs hold: the rule refuses the stage whose nuclear norm fell, and keeps the one that gained."""
    runs = {}
    for pair, (run,) in benchmark.runs_of(states).items():
        stages = {
            str(number): {"scores": {"miou_in_truth": each["miou"]},
                          "verdict": {"collapse": False, "measured": each["measured"]}}
            for number, each in enumerate(run)
        }  # fmt: skip
        runs[tmp_path / pair] = SimpleNamespace(stages=stages)
    monkeypatch.setattr("training.run_directory.paths.RunDirectory.reopen", lambda path: (runs[path], None))
    assert benchmark.main(["--judge", *map(str, runs)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert f"| {tmp_path / 'a'} | 40.0 | 43.0 | 43.0 | 0.0 | 3.0 |" in lines
    assert lines[-1] == "2 runs: mean regret 0.00, mean gain 2.00, worst +1.0; 0% lost more than 0.5."
    next(iter(runs.values())).stages["1"]["verdict"]["measured"].pop("nuclear_norm")
    with pytest.raises(UserError, match="its version measured less: use --measure"):
        benchmark.recorded_run(next(iter(runs)))
