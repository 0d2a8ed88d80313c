"""The main job: recipe in, run directory out. `python training/run.py --help`."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import shlex
from pathlib import Path

from training.command_line import Arguments, catalogue, experiment_of, parse
from training.errors import UserError
from training.quiet import silent_stderr, start_tensorflow
from training.run_directory import RunDirectory, experiment_to_json


def main(argv: list[str] | None = None) -> int:
    """Run the command line; the exit status: 0 done, 2 a mistake of the user's, 130 stopped by Ctrl-C."""
    arguments = parse(argv)
    directory = None
    try:
        if arguments.list:
            _print(*catalogue())
            return 0
        if arguments.show:
            _print_json(experiment_to_json(experiment_of(arguments)))
            return 0
        directory, experiment = _open(arguments)
        _carry_out(experiment, directory)
        return 0
    except UserError as error:
        print(f"streetshift: {error}", file=sys.stderr)
        return 2
    except OSError as error:  # a full or vanished disk; anything finished is in the run directory
        place = f" ({error.filename})" if error.filename else ""
        print(f"streetshift: {error.strerror or error}{place}: mend that{_resume_hint(directory)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"\nStopped{_resume_hint(directory)}")
        return 130


def _resume_hint(directory: RunDirectory | None) -> str:
    if directory is None:
        return ""
    return f", then continue with: python training/run.py --resume {shlex.quote(str(directory.path))}"


def _open(arguments: Arguments):
    if arguments.resume is not None:
        return RunDirectory.reopen(arguments.resume)
    experiment = experiment_of(arguments)
    start = None if arguments.warm_start is None else arguments.warm_start.expanduser().resolve()
    if start is not None and not start.exists():
        raise UserError(f"--warm-start {start}: there is nothing; give a finished run, an .onnx or a .keras file")
    directory = RunDirectory.create(arguments.out or _free_name(experiment), experiment)
    if start is not None:  # at once: a run that is killed while it renders its data must not forget it
        directory.note("warm_start", {"path": str(start), "pixels": arguments.warm_start_pixels})
    return directory, experiment


def _free_name(experiment) -> Path:
    """runs/RECIPE-DATA-SEED, with a number behind it if that is taken."""
    base = f"{experiment.names['recipe']}-{experiment.names['data']}-seed{experiment.seed}"
    names = [base, *(f"{base}-{number}" for number in range(2, 1000))]
    return next(Path("runs", name) for name in names if not Path("runs", name).exists())


def _carry_out(experiment, directory: RunDirectory) -> None:
    start_tensorflow()
    from training.pipeline import run_experiment
    from training.progress import console

    console.print(f"Run directory: {directory.path}")
    run_experiment(experiment, directory)
    _export(directory, ["final"] if experiment.recipe.adaptation is None else ["source", "final"])


def _export(directory: RunDirectory, stages: list[str]) -> None:
    """Leave the result, and the model before adaptation, as ONNX files beside the report."""
    from export.run import export_run
    from training.progress import console

    for stage in stages:
        with silent_stderr():  # the graph optimiser's chatter; errors come as exceptions
            report = export_run(directory.path, stage)
        console.print(str(report))


def _print(*tables) -> None:
    from rich.console import Console

    Console().print(*tables)


def _print_json(value: dict) -> None:
    import json

    print(json.dumps(value, indent=2))


if __name__ == "__main__":
    sys.exit(main())
