"""What the second head (DRSL) adds to a step of a round: time in turns, peak memory of a process with each recipe, and
bytes of the exported network.

    python tests/benchmarks/mixture_step.py --network compact --size 128x256 --batch 8

All train on the same random batches, in which every image shows all classes: the most samples that there can be. The
bytes are those of the ONNX model without metadata, after the turns; they are the same for all.
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))


from tests.benchmarks.step_memory import Row, domain
from tests.benchmarks.train_step import STEPS_A_TURN, RecipesWorkload, compare_recipes, compiled_step

RECIPES = ("cbst", "drsl", "drsl_plus")
_networks = {}  # by recipe, as they were trained


def steps_and_batches(recipe: str, arguments: RecipesWorkload):
    """The `train_step` of a round of a recipe, and the batches of a turn."""
    from models.segmenter import build_segmenter
    from training.command_line import experiment_of, parse
    from training.data.classes import LABEL_SPACES
    from training.methods.mixture import mixture_head
    from training.methods.term import TermContext
    from training.stages.network import level_stride
    from training.stages.rounds import round_method

    experiment = experiment_of(parse(["--recipe", recipe, "--size", arguments.size, "--model", arguments.network]))
    data, space = experiment.data, LABEL_SPACES[experiment.data.label_space]
    network = _networks[recipe] = build_segmenter(arguments.network, space.count)
    context = TermContext(network, space, 0, 100, data.loss_stride, level_stride(experiment.model))
    method = round_method(network, experiment.recipe.adaptation, data, 100, None, context)
    head = mixture_head(method.terms)
    if head is not None:
        head.active.assign(1.0)
    row = Row(arguments.network, arguments.size, arguments.batch)
    batch = {name: domain(row, name) for name in ("source", "target")}
    return compiled_step(method, data.schedules["rounds"].optimizer), [batch] * STEPS_A_TURN


def print_exported_bytes() -> None:
    from export.onnx_graph import to_onnx

    for recipe, network in _networks.items():
        print(f"{recipe}: exported {len(to_onnx(network).SerializeToString()):,} bytes")


if __name__ == "__main__":
    failed = compare_recipes(__file__, RECIPES, steps_and_batches)
    if len(_networks) == len(RECIPES):  # not in a process of one recipe, whose memory is measured
        print_exported_bytes()
    sys.exit(failed)
