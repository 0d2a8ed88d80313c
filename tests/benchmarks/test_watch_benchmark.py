"""Rules side by side: planted states of two pairs whose best rule is known."""

import json
from types import SimpleNamespace

import pytest

from tests.benchmarks import watch as benchmark
from tests.benchmarks import watch_rules as rules
from training.errors import UserError
from training.evaluation.rule import Rule


def state(pair: str, run: str, miou: float, stage: str = "s", **measured: float) -> dict:
    known = dict.fromkeys(rules.SIGNS, 0.0) | measured
    return {"pair": pair, "run": run, "stage": stage, "state": "", "miou": miou, "collapse": False, "measured": known}


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


def pairs_of(states: list[dict]) -> rules.Pairs:
    return {pair: rules.Pair(runs) for pair, runs in rules.runs_of(states).items()}


def test_a_choice_is_compared_with_the_best_and_with_the_first(states):
    run = rules.runs_of(states)["a"][0]
    assert rules.choice_of(rules.TODAY, run) == rules.Choice(regret=5.0, gained=-2.0)
    assert rules.rank_correlation(rules.TODAY, run) == pytest.approx(-0.5)
    assert rules.choice_of(Rule(margin=1.0), run).regret == 3.0


def test_constants_of_a_pair_are_set_on_the_others(states):
    pairs, runs = pairs_of(states), rules.runs_of(states)
    guarded = next(each for each in rules.candidates() if each.title == "before, limit of nuclear_norm")
    found = rules.left_out(guarded, pairs)
    assert {pair: rules.choice_of(rule, runs[pair][0]).regret for pair, rule in found.items()} == {"a": 0, "b": 0}
    assert rules.fitted(guarded, {"a": pairs["a"]}).least["nuclear_norm"] == pytest.approx(0.0)


def test_of_equal_limits_the_tightest_is_taken():
    """The stage that gained passes every limit below its own change; any of them refuses the one that lost."""
    run = [
        state("a", "run", 40.0),
        state("a", "run", 41.0, consistency=0.1, nuclear_norm=0.3),
        state("a", "run", 40.2, consistency=0.05, nuclear_norm=0.1),
        state("a", "run", 38.0, consistency=0.2, nuclear_norm=-0.1),
    ]
    guarded = next(each for each in rules.candidates() if each.title == "before, limit of nuclear_norm")
    assert rules.fitted(guarded, pairs_of(run)).least["nuclear_norm"] == pytest.approx(0.2)


def test_a_measurement_that_speaks_against_a_stage_is_limited_from_above():
    run = [
        state("a", "run", 40.0),
        state("a", "run", 38.0, consistency=0.1, share_excess=0.8),
        state("a", "run", 41.0, consistency=0.05, share_excess=0.2),
    ]
    guarded = next(each for each in rules.candidates() if each.title == "before, limit of share_excess")
    assert rules.fitted(guarded, pairs_of(run)).most == {"share_excess": pytest.approx(0.5)}


def test_limits_are_tried_on_the_choices_that_the_rule_makes():
    """Of the recorded runs, of which some are shorter, or have collapses."""
    pairs = pairs_of(json.loads(benchmark.STAGES.read_text()))
    joint = Rule(weights={"source_miou": 1.0}, least={"diversity": -0.01, "confidence": -0.02}, margin=0.1)
    for rule in (rules.TODAY, rules.RULE, Rule(margin=1.0), joint):
        for pair in pairs.values():
            choices = [rules.choice_of(rule, run) for run in pair.runs]
            costs = [each.regret + rules.PENALTY * max(0, -each.gained - rules.HARM) for each in choices]
            assert pair.cost(rule) == pytest.approx(sum(costs) / len(costs))


def test_the_rule_itself_is_chosen_on_the_other_pairs(states):
    """Of three pairs the third gains where the nuclear norm falls: the two others choose a rule that loses there."""
    states += [
        state("c", "run", 40.0),
        state("c", "run", 37.0, nuclear_norm=0.1, source_miou=1.0),
        state("c", "run", 42.0, nuclear_norm=-0.1, source_miou=2.0),
    ]
    chosen = rules.nested(pairs_of(states))
    title, rule = chosen["c"]
    assert title == "nuclear_norm, margin"
    assert rules.choice_of(rule, rules.runs_of(states)["c"][0]).gained == -3.0
    assert set(chosen) == {"a", "b", "c"}


def test_the_table_has_a_row_per_rule(states, tmp_path, capsys):
    file = tmp_path / "states.json"
    again = [{**each, "run": "again"} for each in states[:3]]
    file.write_text(json.dumps(states + again))
    assert benchmark.main(["--stages", str(file)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "a: 2 runs, 6 states, 3 distinct; b: 1 runs, 3 states, 3 distinct."
    assert "| source model always | 2.0 | 3.0 | 1.0 | 0% | +0.0 |  |" in lines
    assert "| consistency - drift / 2 (before) | 5.0 | 5.0 | 5.0 | 100% | -4.0 | -0.50 |" in lines
    row = 4 + len(rules.candidates())
    assert lines[row].startswith("| score and limits chosen on the other pairs | 0.0 | 0.0 | 0.0 | 0% | +1.0 |")
    assert lines[row + 2].startswith("Without a: ")
    assert lines[row + 3].endswith("; regret there 0.0, worst +1.0.")


def test_the_products_choice_in_runs_that_it_was_not_set_on(states, tmp_path, monkeypatch, capsys):
    """From what the runs hold: the rule refuses the stage whose nuclear norm fell, and keeps the one that gained."""
    runs = {}
    for pair, (run,) in rules.runs_of(states).items():
        stages = {
            str(number): {"scores": {"miou_in_truth": each["miou"]},
                          "verdict": {"collapse": False, "measured": each["measured"]}}
            for number, each in enumerate(run)
        }  # fmt: skip
        runs[tmp_path / pair] = SimpleNamespace(stages=stages, final_weights=tmp_path)
    experiment = SimpleNamespace(names={"recipe": "dacs"}, seed=0)
    monkeypatch.setattr("training.run_directory.paths.RunDirectory.reopen", lambda path: (runs[path], experiment))
    assert benchmark.main(["--judge", *map(str, runs)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert f"| {tmp_path / 'a'} | 40.0 | 43.0 | 43.0 | 0.0 | 3.0 |" in lines
    assert lines[-1] == "2 runs: mean regret 0.00, mean gain 2.00, worst +1.0; 0% lost more than 0.5."
    next(iter(runs.values())).stages["1"]["verdict"]["measured"].pop("nuclear_norm")
    with pytest.raises(UserError, match="its version measured less: use --measure"):
        benchmark.recorded_run(next(iter(runs)))
    next(iter(runs.values())).final_weights = tmp_path / "missing"
    with pytest.raises(UserError, match="is not finished"):
        benchmark.recorded_run(next(iter(runs)))


def test_runs_of_the_same_name_in_two_series_are_recorded_beside_one_another(states, tmp_path, monkeypatch):
    """Each once, however often it is recorded, and without touching those that were known."""
    found_state = {"stage": "source", "miou": 43.123, "measured": states[1]["measured"]}
    monkeypatch.setattr(benchmark, "recorded_run", lambda path: [found_state])
    file = tmp_path / "states.json"
    file.write_text(json.dumps(states[:3]))
    paths = [str(tmp_path / series / "dacs-0") for series in ("one", "two")]
    for _ in range(2):
        assert benchmark.main(["--record", *paths, "--pair", "a", "--stages", str(file)]) == 0
    found = json.loads(file.read_text())
    assert found[:3] == states[:3]
    assert [each["run"] for each in found[3:]] == ["one/dacs-0", "two/dacs-0"]
    assert found[3]["miou"] == 43.12
