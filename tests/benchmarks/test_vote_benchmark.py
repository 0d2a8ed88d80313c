"""How often the vote is right: planted labels and scores, all subsets, and the table."""

from types import SimpleNamespace

import numpy as np
import pytest

from tests.benchmarks import vote as benchmark
from training import vote
from training.errors import UserError
from training.settings import Domain

WRONG = (0.4, 0.1, 0.25, 0.5)  # shares of wrong pixels: the second is the best model


def target_of(images: tuple[str, ...], style: str = "city") -> vote.LabelledTarget:
    return vote.LabelledTarget(Domain("streetsim", style=style), images, tuple("abcde"))


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """Four runs with planted labels; their true scores follow from the wrong shares."""
    random = np.random.default_rng(0)
    truth = random.integers(0, 5, (6, 16, 16))
    paths = [tmp_path / f"run{index}" for index in range(4)]
    labels = {
        path: np.where(random.random(truth.shape) < wrong, random.integers(0, 5, truth.shape), truth).astype(np.uint8)
        for path, wrong in zip(paths, WRONG, strict=True)
    }
    monkeypatch.setattr(vote, "predicted_labels", lambda path, images: (labels[path], target_of(("a",) * images)))
    monkeypatch.setattr(vote, "true_miou", lambda path: 100 * (1 - WRONG[paths.index(path)]))
    return paths


def test_all_subsets_of_three_and_more_vote_and_find_the_planted_best(runs):
    ballots = benchmark.ballots_of(runs, 6)
    assert [each.size for each in ballots] == [3, 3, 3, 3, 4]
    assert all(each.lost == 0 for each in ballots)
    assert [each.best for each in ballots] == [90.0, 90.0, 75.0, 90.0, 90.0]


def test_a_wrong_choice_costs_what_the_best_is_better(runs, monkeypatch):
    monkeypatch.setattr(vote, "true_miou", lambda path: 50.0 + runs.index(path))  # the labels know better
    first = benchmark.ballots_of(runs, 6)[0]
    assert (first.elected, first.best, first.lost, first.mean) == (51.0, 52.0, 1.0, 51.0)


def test_the_table_counts_by_seed_and_number_of_voters():
    right, wrong = benchmark.Ballot(3, 30, 30, 29, 1 / 3, 0.05), benchmark.Ballot(3, 28, 30, 29, 1 / 3, 5.0)
    lines = benchmark.table({0: [right, wrong], 1: [benchmark.Ballot(4, 30, 30, 28, 1 / 2, 5.0)]}).splitlines()[2:]
    assert lines[0] == "| 0 | 3 | 2 | 50% | 33% | 1.00 | 2.00 | 1.00 |"
    assert lines[1] == "| 1 | 4 | 1 | 100% | 50% | 0.00 | 0.00 | 2.00 |"
    assert lines[2].startswith("| all |  | 3 | 67% |")
    assert lines[3].startswith("| all, won by 0.1 points or more |  | 2 | 50% |")


def test_too_few_or_unscored_runs_are_refused(runs, monkeypatch):
    with pytest.raises(UserError, match="at least 3 runs"):
        benchmark.ballots_of(runs[:2], 6)
    monkeypatch.setattr(vote, "true_miou", lambda path: None)
    with pytest.raises(UserError, match="scored on labels"):
        benchmark.ballots_of(runs, 6)


def test_runs_on_different_images_cannot_vote(runs, monkeypatch):
    maps, styles = np.zeros((1, 4, 4), np.uint8), iter(("city", "city", "dusk", "city"))
    monkeypatch.setattr(vote, "predicted_labels", lambda path, images: (maps, target_of(("000000",), next(styles))))
    with pytest.raises(UserError, match="cannot vote on the same pixels"):
        vote.comparable_labels(runs, 6)


def test_finished_runs_are_grouped_by_seed_and_a_grid_is_trained_seed_after_seed(tmp_path, monkeypatch, capsys):
    asked = []

    def finished_runs(arguments, more):
        asked.append((arguments.grid, more))
        return {str(index): arguments.out / str(index) for index in range(3)}

    monkeypatch.setattr(vote, "finished_runs", finished_runs)
    seed_of = {tmp_path / f"seed{seed}": seed for seed in (0, 1)}
    monkeypatch.setattr(benchmark.RunDirectory, "reopen", lambda run: (None, SimpleNamespace(seed=seed_of[run.parent])))
    monkeypatch.setattr(benchmark, "start_tensorflow", lambda: None)
    monkeypatch.setattr(
        benchmark, "ballots_of", lambda runs, images: [benchmark.Ballot(len(runs), 1.0, 1.0, 1.0, 0.5, 1.0)]
    )
    options = ["--out", str(tmp_path), "--grid", "a=1,2,3", "--seeds", "0", "1", "--data", "streetsim_dusk"]
    assert benchmark.main(options) == 0
    assert asked == [("a=1,2,3", ["--data", "streetsim_dusk", "--seed", str(seed)]) for seed in (0, 1)]
    said = capsys.readouterr().out
    assert "| 0 | 3 | 1 | 100% |" in said
    assert "| 1 | 3 | 1 | 100% |" in said
