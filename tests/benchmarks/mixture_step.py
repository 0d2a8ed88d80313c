"""What the second head (DRSL) adds to a step of a round: time in turns, and peak memory of a process with each recipe.

    python tests/benchmarks/mixture_step.py --network compact --size 128x256 --batch 8

All train on the same random batches, in which every image shows all classes: the most samples that there can be.
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))

import subprocess
from dataclasses import dataclass

import tyro

from tests.benchmarks.step_memory import Row, domain
from tests.benchmarks.train_step import STEPS_A_TURN, Turn, Workload, compiled_step, report, timed

RECIPES = ("cbst", "drsl", "drsl_plus")


@dataclass(frozen=True)
class Arguments(Workload):
    """Compare the steps of `cbst`, `drsl` and `drsl_plus`."""

    memory_of: str = ""
    """Train on a turn with this recipe alone, and print the peak memory of the process in MiB."""


def steps_and_batches(recipe: str, arguments: Workload):
    """The `train_step` of a round of a recipe, and the batches of a turn."""
    from models.segmenter import build_segmenter
    from training.command_line import experiment_of, parse
    from training.data.classes import LABEL_SPACES
    from training.methods.mixture import mixture_head
    from training.methods.term import TermContext
    from training.stages.network import features_stride
    from training.stages.rounds import round_method

    experiment = experiment_of(parse(["--recipe", recipe, "--size", arguments.size, "--model", arguments.network]))
    data, space = experiment.data, LABEL_SPACES[experiment.data.label_space]
    network = build_segmenter(arguments.network, space.count)
    context = TermContext(network, space, 0, 100, data.loss_stride, features_stride(experiment.model))
    method = round_method(network, experiment.recipe.adaptation, data, 100, None, context)
    head = mixture_head(method.terms)
    if head is not None:
        head.active.assign(1.0)
    row = Row(arguments.network, arguments.size, arguments.batch)
    batch = {name: domain(row, name) for name in ("source", "target")}
    return compiled_step(method, data.schedules["rounds"].optimizer), [batch] * STEPS_A_TURN


def main(argv: list[str] | None = None) -> int:
    arguments = tyro.cli(Arguments, args=argv, config=(tyro.conf.FlagCreatePairsOff,))
    if not arguments.memory_of:
        for recipe in RECIPES:
            command = [sys.executable, __file__, *(sys.argv[1:] if argv is None else argv), "--memory-of", recipe]
            print(f"{recipe}: peak memory {subprocess.check_output(command, text=True).split()[-1]} MiB")
    arguments.start_tensorflow()
    if arguments.memory_of:
        from tests.benchmarks.memory import peak_mib

        timed(*steps_and_batches(arguments.memory_of, arguments))
        print(f"{peak_mib():.0f}")
        return 0
    turns: dict[str, Turn] = {}
    for recipe in RECIPES:
        step, batches = steps_and_batches(recipe, arguments)
        turns[recipe] = lambda step=step, batches=batches: timed(step, batches)
        timed(step, batches[:1])
    report([{name: turn() for name, turn in turns.items()} for _ in range(arguments.turns)], arguments.batch, "cbst")
    return 0


if __name__ == "__main__":
    sys.exit(main())
