"""Runs of a series (the lines of a table): carried out once, gone on with where they were stopped."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from training.command_line import experiment_of, parse
from training.errors import UserError
from training.run_directory.paths import RunDirectory
from training.run_directory.resuming import asked_start, decisive_settings, differences

RUN_SCRIPT = Path(__file__).parents[2] / "training" / "run.py"


def carried_out(path: Path, options: Sequence[str]) -> Path:
    """`path`, with the run of these `options` of training/run.py in it, finished.

    Raises:
        UserError: it holds another run, or the run does not finish.
    """
    if not (path / "recipe.json").exists():
        command = [*options, "--out", str(path)]
    else:
        refuse_another_run(path, options)
        if is_finished(path):
            return path
        command = ["--resume", str(path)]
    if subprocess.run([sys.executable, str(RUN_SCRIPT), *command]).returncode != 0:
        raise UserError(f"the run in {path} did not finish: mend what it says and give the same command again")
    return path


def is_finished(path: Path) -> bool:
    """Is a whole run in this folder, with its report?"""
    return (path / "final.weights.h5").exists() and (path / "report" / "summary.json").exists()


def refuse_another_run(path: Path, arguments: Sequence[str]) -> None:
    """Raise UserError, with the differences, if the run in `path` is not the one that these options would begin."""
    directory, _ = RunDirectory.reopen(path)
    given = parse(arguments)
    was = {"warm_start": directory.warm_start, **decisive_settings(directory.asked_experiment)}
    now = {"warm_start": asked_start(given), **decisive_settings(experiment_of(given))}
    if changes := differences(was, now):
        raise UserError(
            f"{path} holds a run with other settings than are asked for now ({changes}): choose another --out"
        )
