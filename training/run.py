"""The main job: recipe in, run directory out. `python training/run.py --help`."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import os
from pathlib import Path
from typing import NoReturn

from models.terminal import accept_all_characters, shell_words
from training.command_line import Arguments, catalogue, experiment_of, parse
from training.distribution.devices import Devices, is_chief, parse_devices
from training.distribution.quiet import silent_stderr, start_tensorflow
from training.errors import CannotWrite, OutOfMemory, Resumable, UserError
from training.experiment_json import experiment_to_json
from training.run_directory.paths import RunDirectory
from training.run_directory.resuming import asked_start, resume
from training.settings.experiment import Experiment


def main(argv: list[str] | None = None) -> int:
    """Run the command line; the exit status: 0 done, 2 a mistake of the user's, 130 stopped by Ctrl-C."""
    accept_all_characters()
    arguments = parse(argv)
    directory = None
    try:
        if arguments.list:
            _print(*catalogue())
            return 0
        if arguments.show:
            _print_json(experiment_to_json(_shown(arguments)))
            return 0
        devices = parse_devices(arguments.devices)
        opened = _open(arguments, sys.argv[1:] if argv is None else argv) if is_chief() else None
        directory = opened and opened[0]
        _carry_out(opened, devices)
        return 0
    except UserError as error:
        hint = _resume_hint(directory) if isinstance(error, (CannotWrite, OutOfMemory)) else ""
        if directory is not None and arguments.resume is None and not isinstance(error, Resumable):
            directory.discard_unused()
        print(f"streetshift: {str(error).rstrip('.')}{hint}", file=sys.stderr)
        return 2
    except OSError as error:  # a full or vanished disk; anything finished is in the run directory
        place = f" ({error.filename})" if error.filename else ""
        print(f"streetshift: {error.strerror or error}{place}: correct that{_resume_hint(directory)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"\nStopped{_resume_hint(directory, '. Continue')}")
        return 130
    finally:
        if directory is not None:
            directory.unlock()


def _resume_hint(directory: RunDirectory | None, start: str = ", then continue") -> str:
    if directory is None:
        return ""
    return f"{start} with: python training/run.py --resume {shell_words(str(directory.path))}"


def _shown(arguments: Arguments) -> Experiment:
    return experiment_of(arguments) if arguments.resume is None else RunDirectory.reopen(arguments.resume)[1]


def _open(arguments: Arguments, argv: list[str]) -> tuple[RunDirectory, Experiment]:
    if arguments.resume is not None:
        return resume(arguments.resume, argv)
    experiment = experiment_of(arguments)
    path, start = arguments.out or _free_name(experiment), asked_start(arguments)
    if start is None:
        return RunDirectory.create(path, experiment, argv), experiment
    if not Path(start["path"]).exists():
        raise UserError(
            f"--warm-start {start['path']}: there is nothing; give a finished run, an .onnx or a .keras file"
        )
    return RunDirectory.create(path, experiment, argv, start), experiment


def _free_name(experiment) -> Path:
    """runs/RECIPE-DATA-SEED, with a number behind it if that is taken."""
    base = f"{experiment.names['recipe']}-{experiment.names['data']}-seed{experiment.seed}"
    names = [base, *(f"{base}-{number}" for number in range(2, 1000))]
    return next(Path("runs", name) for name in names if not Path("runs", name).exists())


def _carry_out(opened: tuple[RunDirectory, Experiment] | None, devices: Devices) -> None:
    """The whole run; `opened` is the chief's run directory and experiment, which the other workers learn from it."""
    strategy = start_tensorflow(devices, opened[1].trained_schedules if opened else ())
    from training.distribution.workers import noticing_loss, on_chief
    from training.evaluation.watch import scored_stages
    from training.progress import console
    from training.stages.plan import run_experiment

    with strategy.scope(), noticing_loss():
        path, experiment = on_chief(lambda: (opened[0].path, opened[1]))
        directory = RunDirectory(path)
        console.print(f"Run directory: {path}", markup=False)
        with noticing_loss(shell_words(str(path))):
            run_experiment(experiment, directory)
    if is_chief():
        before = scored_stages(directory.stages)[:1] if experiment.recipe.adapts else []
        _export(directory, [*before, "final"])


def _export(directory: RunDirectory, stages: list[str]) -> None:
    """Leave the result, and the model before adaptation, as ONNX files beside the report."""
    from export.run import export_stages
    from training.progress import console

    with silent_stderr():  # the graph optimiser's messages; errors come as exceptions
        for report in export_stages(directory.path, stages):
            console.print(str(report))


def _print(*tables) -> None:
    from rich.console import Console

    Console().print(*tables)


def _print_json(value: dict) -> None:
    import json

    print(json.dumps(value, indent=2))


def _leave(status: int) -> NoReturn:
    """End the process; at once where other workers may be gone, whom TensorFlow's own end would wait for."""
    if status and os.environ.get("TF_CONFIG"):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)


if __name__ == "__main__":
    _leave(main())
