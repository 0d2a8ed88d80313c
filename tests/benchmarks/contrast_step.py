"""What pixel contrast adds to a step of online self-training: time in turns, and peak memory of a process with each.

    python tests/benchmarks/contrast_step.py --network compact --size 128x256 --batch 8

All train on the same batches of the built-in streets, `dacs` without contrast. As an untrained teacher is sure of
nothing, every class may have anchors here: the time is that of a batch that shows all classes.
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))

from types import SimpleNamespace

from tests.benchmarks.train_step import STEPS_A_TURN, RecipesWorkload, compare_recipes, compiled_step

RECIPES = ("dacs", "pgpc", "pgpc_code")


def steps_and_batches(recipe: str, arguments: RecipesWorkload):
    """The `train_step` of a recipe on the built-in streets, and the batches of a turn."""
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
    run = SimpleNamespace(experiment=experiment, domains=domains, network=network, translation=None, logit_prior=None)
    streams = online_streams(run, experiment.recipe.adaptation, replace(schedule, steps=STEPS_A_TURN), None)
    method = online_method(run, experiment.recipe.adaptation, schedule)
    return compiled_step(method, schedule.optimizer), list(side_by_side(**streams)())


if __name__ == "__main__":
    sys.exit(compare_recipes(__file__, RECIPES, steps_and_batches))
