"""What pixel contrast adds to a step of online self-training: time in turns, and peak memory of a process with each.

    python tests/benchmarks/contrast_step.py --network compact --size 128x256 --batch 8

All train on the same batches of the embedded streets, `dacs` without contrast. As an untrained teacher is sure of
nothing, every class may have anchors here: the time is that of a batch that shows all classes.
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))

import subprocess
from dataclasses import dataclass
from types import SimpleNamespace

import tyro

from tests.benchmarks.train_step import STEPS_A_TURN, Turn, Workload, compiled_step, report, timed

RECIPES = ("dacs", "pgpc", "pgpc_code")


@dataclass(frozen=True)
class Arguments(Workload):
    """Compare the steps of `dacs`, `pgpc` and `pgpc_code`."""

    memory_of: str = ""
    """Train on a turn with this recipe alone, and print the peak memory of the process in MiB."""


def steps_and_batches(recipe: str, arguments: Workload):
    """The `train_step` of a recipe on the embedded streets, and the batches of a turn."""
    from dataclasses import replace

    from models.batch_norm import set_batch_norm
    from models.segmenter import build_segmenter
    from training.command_line import experiment_of, parse
    from training.data.classes import LABEL_SPACES
    from training.data.domains import load_domain
    from training.data.input_pipeline import side_by_side
    from training.stages.online import online_method, online_streams

    sure = ["--set", "adaptation.losses.contrast.confidence=0"] if recipe == "pgpc" else []
    experiment = experiment_of(parse(["--recipe", recipe, "--size", arguments.size, *sure]))
    data, space = experiment.data, LABEL_SPACES[experiment.data.label_space]
    schedule = replace(data.schedules["online"], batch_size=arguments.batch)
    network = build_segmenter(arguments.network, space.count)
    set_batch_norm(network, schedule.batch_norm)
    source, target = (load_domain(domain, space, data.size) for domain in (data.source_evaluation, data.evaluation))
    domains = SimpleNamespace(source=source, target=target, label_space=space)
    run = SimpleNamespace(experiment=experiment, domains=domains, network=network)
    streams = online_streams(run, replace(schedule, steps=STEPS_A_TURN))
    method = online_method(run, experiment.recipe.adaptation, schedule)
    return compiled_step(method, schedule.optimizer), list(side_by_side(**streams)())


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
    report([{name: turn() for name, turn in turns.items()} for _ in range(arguments.turns)], arguments.batch, "dacs")
    return 0


if __name__ == "__main__":
    sys.exit(main())
