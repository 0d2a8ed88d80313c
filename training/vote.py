"""Choose a parameter without labels: one run per value, and their labels vote. `python training/vote.py --help`."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import tyro

from training.distribution.quiet import start_tensorflow
from training.errors import UserError
from training.evaluation.voting import SMALL_GAP, Candidate, vote
from training.progress import Meter, console
from training.run_directory.paths import RunDirectory
from training.run_directory.series import carried_out
from training.settings import Domain


@dataclass(frozen=True)
class Arguments:
    """Rank models adapted with different values of one parameter, by how well each agrees with the majority of all
    (HIAST, figure 6). No label is used.

    Train and rank:

      python training/vote.py --recipe hiast --grid adaptation.selector.alpha=0.3,0.5,0.7 --out runs/alpha

    Rank finished runs:

      python training/vote.py --runs runs/a runs/b runs/c

    Options that it does not know go to training/run.py, for every run: --data streetsim_dusk --seed 1.
    """

    recipe: str = "hiast"
    """The method; see training/run.py --list."""
    grid: str | None = None
    """The parameter and its values, KEY=VALUE,VALUE,VALUE; the keys are those of training/run.py --set."""
    out: Path = Path("runs/vote")
    """Folder for the runs, one per value. Finished ones are kept, stopped ones are continued, others refused."""
    runs: tuple[Path, ...] = ()
    """Finished runs with one target, instead of --grid."""
    images: int = 500
    """Target images that vote, evenly spaced, at most."""


def main(argv: list[str] | None = None) -> int:
    """Run the command line; the exit status: 0 done, 2 a mistake of the user's, 130 stopped by Ctrl-C."""
    arguments, more = tyro.cli(Arguments, args=argv, prog="training/vote.py", return_unknown_args=True)
    try:
        runs = finished_runs(arguments, more)
        start_tensorflow()
        show(ranked(runs, arguments.images), runs)
        return 0
    except UserError as error:
        print(f"streetshift: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nStopped; the same command goes on from here.", file=sys.stderr)
        return 130


def finished_runs(arguments: Arguments, more: Sequence[str] = ()) -> dict[str, Path]:
    """Run directories by the candidate's name; those of a grid are trained first where need be.

    more: further options of training/run.py.
    """
    if arguments.runs and more:
        raise UserError(f"{' '.join(more)}: not an option of the vote, and finished runs are not trained.")
    if (arguments.grid is None) == (not arguments.runs):
        raise UserError("Give either --grid KEY=VALUE,VALUE,VALUE (runs to train) or --runs (finished ones).")
    if arguments.grid is None:
        runs = {str(path): path for path in arguments.runs}
        for path in arguments.runs:
            directory, _ = RunDirectory.reopen(path)
            if not directory.final_weights.is_file():
                raise UserError(f"{path} is not finished: continue it with training/run.py --resume {path}")
    else:
        key, values = parsed_grid(arguments.grid)
        runs = {f"{key}={value}": arguments.out / f"{key}={value}" for value in values}
    if len(runs) < 2:
        raise UserError(f"A vote needs at least two candidates, better three or five, not {len(runs)}.")
    if arguments.grid is not None:
        for override, path in runs.items():
            console.print(override, style="bold")
            carried_out(path, ["--recipe", arguments.recipe, *more, "--set", override])
    return runs


def parsed_grid(grid: str) -> tuple[str, list[str]]:
    """`("a.b", ["1", "2"])` of "a.b=1,2"."""
    key, separator, values = grid.partition("=")
    given = [value.strip() for value in values.split(",") if value.strip()]
    if not separator or not key or len(given) < 2:
        raise UserError(f"--grid {grid}: expected KEY=VALUE,VALUE,VALUE, such as adaptation.selector.alpha=0.3,0.5,0.7")
    return key, list(dict.fromkeys(given))


def ranked(runs: dict[str, Path], images: int) -> list[Candidate]:
    """The candidates, best first, by the vote of their labels on the target."""
    labels = comparable_labels(list(runs.values()), images)
    return vote(list(runs), np.moveaxis(labels.maps, 1, 0), labels.classes)


@dataclass(frozen=True)
class RunLabels:
    """Arg-max labels of several runs on the same images: maps uint8 [runs, images, h, w] of so many classes."""

    maps: np.ndarray
    classes: int


def comparable_labels(runs: list[Path], images: int) -> RunLabels:
    """The labels of runs that can vote on the same pixels.

    Raises:
        UserError: the runs differ in target, size or classes.
    """
    each = [predicted_labels(path, images) for path in runs]
    if len({(labels.shape, of) for labels, of in each}) > 1:
        raise UserError("These runs differ in target, size or classes: their labels cannot vote on the same pixels.")
    return RunLabels(np.stack([labels for labels, _ in each]), len(each[0][1].classes))


@dataclass(frozen=True)
class LabelledTarget:
    """What labels are of: the target without its place on the disk, the names of its images, the classes."""

    target: Domain
    images: tuple[str, ...]
    classes: tuple[str, ...]


def predicted_labels(path: Path, images: int) -> tuple[np.ndarray, LabelledTarget]:
    """Arg-max labels of a run's result on its target, uint8 `[n, h, w]` on the network's grid, and what they are of."""
    from training.data.domains import load_domain
    from training.data.input_pipeline import evaluation_stream
    from training.prediction.predictor import Predictor
    from training.prediction.trained_model import load_trained

    trained = load_trained(path)
    data, space = trained.experiment.data, trained.label_space
    target = load_domain(data.target, space, data.size, labelled=None)
    part, predictor, labels = target.evenly_spaced(images), Predictor(trained.network), []
    with Meter(f"labels of {path.name}", len(part)) as meter:
        for batch in evaluation_stream(part, data.size, 8):
            labels.append(np.argmax(predictor.coarse_probs(batch["image"]), axis=-1).astype(np.uint8))
            meter.advance(len(labels[-1]))
    names = tuple(sample.name for sample in part.samples)
    return np.concatenate(labels), LabelledTarget(replace(data.target, root=None), names, space.names)


def show(candidates: list[Candidate], runs: dict[str, Path]) -> None:
    """The ranking, what the labels say where there are some, and a warning where the vote decides nothing."""
    from rich.table import Table

    truth = {name: true_miou(path) for name, path in runs.items()}
    known = all(value is not None for value in truth.values())
    table = Table("candidate", "agrees with the vote, mIoU %", "pixels %", *(["true mIoU %"] if known else []))
    for candidate in candidates:
        true = [f"{truth[candidate.name]:.1f}"] if known else []
        table.add_row(candidate.name, f"{candidate.score:.2f}", f"{100 * candidate.agreement:.2f}", *true)
    console.print(table)
    first, second = candidates[:2]
    console.print(f"The vote picks {first.name}: {runs[first.name]}", style="bold")
    if first.score - second.score < SMALL_GAP:
        console.print(
            f"The first two differ by {first.score - second.score:.2f} points, less than {SMALL_GAP}: the vote does "
            "not tell them apart.",
            style="yellow",
        )
    if len(candidates) % 2 == 0:
        console.print("An even number of candidates can tie: an odd number votes better.", style="yellow")
    if known:
        best = max(truth, key=truth.get)
        lost = truth[best] - truth[first.name]
        console.print(
            "By the labels that is the best one too."
            if lost == 0
            else f"By the labels {best} is the best one, {lost:.1f} points better."
        )


def true_miou(path: Path) -> float | None:
    """What the run's report measured with labels, or None."""
    scores = RunDirectory(path).read_json("report/summary.json").get("after")
    miou = scores.get("miou") if isinstance(scores, dict) else None
    return miou if isinstance(miou, int | float) else None


if __name__ == "__main__":
    sys.exit(main())
