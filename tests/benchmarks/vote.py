"""How often the vote without labels picks the best model (HIAST, figure 6), judged by labels.

    python tests/benchmarks/vote.py --runs RUNS/alpha=0.3-0 RUNS/alpha=0.5-0 RUNS/alpha=0.7-0 ...
    python tests/benchmarks/vote.py --out RUNS --recipe iast --grid adaptation.selector.alpha=0.2,0.5,0.7 --seeds 0 1

Every three, four ... of the runs of one seed vote. The runs are finished ones with an evaluation score, or are trained
by training/vote.py: finished ones are not repeated. Options that it does not know go to training/run.py.
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))

import argparse
import itertools
import statistics
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from training import vote
from training.distribution.quiet import start_tensorflow
from training.errors import UserError
from training.evaluation import voting
from training.run_directory.paths import RunDirectory

SMALLEST = 3  # runs that vote


@dataclass(frozen=True)
class Ballot:
    """One vote: how many voted; mIoU of the elected, of the best and on average; what part of them is as good as the
    best; by how much the elected won."""

    size: int
    elected: float
    best: float
    mean: float
    best_share: float
    gap: float

    @property
    def lost(self) -> float:
        return self.best - self.elected


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--runs", nargs="+", type=Path, default=[], help="finished runs with labels to score on")
    parser.add_argument("--recipe", default="hiast")
    parser.add_argument("--grid", help="KEY=VALUE,VALUE,VALUE: runs to train")
    parser.add_argument("--out", type=Path, default=Path("runs/vote"), help="folder for the runs of the grid")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--images", type=int, default=500, help="target images that vote, at most")
    arguments, more = parser.parse_known_args(argv)
    try:
        runs = arguments.runs or trained(arguments, more)
        start_tensorflow()
        ballots = {seed: ballots_of(group, arguments.images) for seed, group in by_seed(runs).items()}
    except UserError as error:
        print(f"streetshift: {error}", file=sys.stderr)
        return 2
    print(table(ballots))
    return 0


def trained(arguments: argparse.Namespace, more: list[str]) -> list[Path]:
    """The runs of the grid, seed after seed."""
    runs = []
    for seed in arguments.seeds:
        grid = vote.Arguments(arguments.recipe, arguments.grid, arguments.out / f"seed{seed}")
        runs += vote.finished_runs(grid, [*more, "--seed", str(seed)]).values()
    return runs


def by_seed(runs: list[Path]) -> dict[int, list[Path]]:
    groups: dict[int, list[Path]] = {}
    for run in runs:
        groups.setdefault(RunDirectory.reopen(run)[1].seed, []).append(run)
    return groups


def ballots_of(runs: list[Path], images: int) -> list[Ballot]:
    """The votes of all subsets of at least three of the runs.

    Raises:
        UserError: fewer runs, a run without a score, or runs whose labels cannot vote on the same pixels.
    """
    truth = [vote.true_miou(run) for run in runs]
    if len(runs) < SMALLEST or None in truth:
        names = ", ".join(map(str, runs))
        raise UserError(f"{names}: expected at least {SMALLEST} runs of one seed, each scored on labels")
    labels = vote.comparable_labels(runs, images)
    subsets = (
        subset for size in range(SMALLEST, len(runs) + 1) for subset in itertools.combinations(range(len(runs)), size)
    )
    return [ballot(subset, labels.maps, labels.classes, truth) for subset in subsets]


def ballot(subset: tuple[int, ...], maps: np.ndarray, classes: int, truth: list[float]) -> Ballot:
    """maps: uint8 [runs, images, h, w]; truth: mIoU by run."""
    first, second, *_ = voting.vote(list(map(str, subset)), [maps[list(subset)]], classes)
    scores = [truth[index] for index in subset]
    best, gap = max(scores), first.score - second.score
    share = scores.count(best) / len(scores)
    return Ballot(len(subset), truth[int(first.name)], best, statistics.mean(scores), share, gap)


def table(ballots: dict[int, list[Ballot]]) -> str:
    """A line for each seed and number of voters, and one for all that the vote itself tells apart."""
    lines = [
        "| seed | voters | votes | best picked | by chance | mIoU lost, mean | most | by chance |",
        "|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for seed, cast in ballots.items():
        for size in sorted({each.size for each in cast}):
            lines.append(_line(str(seed), str(size), [each for each in cast if each.size == size]))
    everything = [each for cast in ballots.values() for each in cast]
    clear = [each for each in everything if each.gap >= voting.SMALL_GAP]
    lines.append(_line("all", "", everything))
    lines.append(_line(f"all, won by {voting.SMALL_GAP} points or more", "", clear))
    return "\n".join(lines)


def _line(seed: str, voters: str, cast: list[Ballot]) -> str:
    if not cast:
        return f"| {seed} | {voters} | 0 | | | | | |"
    right = statistics.mean(each.lost == 0 for each in cast)
    chance = statistics.mean(each.best_share for each in cast)
    lost = [each.lost for each in cast]
    by_chance = statistics.mean(each.best - each.mean for each in cast)
    numbers = f"{statistics.mean(lost):.2f} | {max(lost):.2f} | {by_chance:.2f}"
    return f"| {seed} | {voters} | {len(cast)} | {right:.0%} | {chance:.0%} | {numbers} |"


if __name__ == "__main__":
    sys.exit(main())
