"""What a step of HIAST and of online teachers costs beside a plain self-training step; whether their input keeps up.

    python tests/benchmarks/teacher_step.py --network compact --size 128x256 --batch 8
    python tests/benchmarks/teacher_step.py --network deeplab_v3plus_mobilenet_v2 --size 240x320 --batch 4 --threads 1
    python tests/benchmarks/teacher_step.py --network deeplab_v2_mobilenet_v2 --batch 4 --torch-python TORCH/bin/python

Both train on the same batches of source and target images of the built-in streets: `SelfTraining` with CBST's terms;
the mean teacher with all of HIAST's, its teacher's pass and its moving average. Timed in turns as in `train_step.py`.
The teacher's step shall take at most 1.45 times the plain one's. Online: DACS' step, with the teacher's labels and
ClassMix in it; with hidden blocks too, a third pass of the student; the same with rare class sampling, which is work of
the input alone; and without changes of colour, with moving batch-norm statistics: that is PyTorch's step too
(`torch_step.py`). The input of each is timed alone: weak views only, and HIAST's weak and strong views after
copy-paste.
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))

from contextlib import ExitStack

import tyro

from tests.benchmarks.train_step import (
    STEPS_A_TURN,
    Arguments,
    TorchSteps,
    Turn,
    compiled_step,
    pipeline_seconds,
    report,
    timed,
)

MASKED = "adaptation.losses.masked=on"
PLAIN = "dacs, colours kept"
COLOURS_KEPT = ("adaptation.class_mix.jitter_probability=0", "adaptation.class_mix.blur_probability=0")
RECIPES = {
    "plain step": ("cbst",),
    "teacher's step": ("hiast",),
    "dacs": ("dacs",),
    PLAIN: ("dacs", *COLOURS_KEPT, "data.schedules.online.batch_norm=train"),
    "dacs, masked": ("dacs", MASKED),
    "dacs, masked, rare classes": ("dacs", MASKED),
}
"""By the name of a step: the recipe and what is set."""


def step_of(recipe: tuple[str, ...], arguments: Arguments, space):
    """The `train_step` of a recipe's adaptation."""
    from types import SimpleNamespace

    from models.batch_norm import set_batch_norm
    from models.segmenter import build_segmenter
    from training.command_line import experiment_of, parse
    from training.stages.online import online_method
    from training.stages.rounds import round_method

    name, *settings = recipe
    overrides = ["--set", *settings] if settings else []
    experiment = experiment_of(parse(["--recipe", name, "--size", arguments.size, *overrides]))
    adaptation = experiment.recipe.adaptation
    stage, network = experiment.data.schedules[adaptation.kind], build_segmenter(arguments.network, space.count)
    set_batch_norm(network, stage.batch_norm)
    if adaptation.kind == "online":
        domains = SimpleNamespace(label_space=space)
        run = SimpleNamespace(experiment=experiment, network=network, domains=domains, logit_prior=None)
        method = online_method(run, adaptation, stage)
    else:
        method = round_method(network, adaptation, experiment.data, stage.steps, None)
    return compiled_step(method, stage.optimizer)


def streams(arguments: Arguments):
    """By name of the step, `steps -> tf.data.Dataset`: its batches, with the streets' true labels for selected ones."""
    import numpy as np

    from training.command_line import experiment_of, parse
    from training.data.classes import LABEL_SPACES
    from training.data.copy_paste import HardClassPaste
    from training.data.domains import load_domain
    from training.data.input_pipeline import TrainingStream, Views, side_by_side
    from training.data.sampling import RareClasses
    from training.stages.streams import augmentation_of

    experiment = experiment_of(parse(["--recipe", "hiast", "--size", arguments.size]))
    data, settings = experiment.data, experiment.recipe.adaptation.copy_paste
    space = LABEL_SPACES[data.label_space]
    source, target = (load_domain(domain, space, data.size) for domain in (data.source_evaluation, data.evaluation))
    labels = [target.read_label(index) for index in range(len(target))]
    counts = np.stack([np.bincount(label.ravel(), minlength=256)[: space.count] for label in labels])
    confidence = np.linspace(0.9, 0.1, space.count)  # the last classes are the hard ones: people, cars, two-wheelers
    hard = max(1, round(settings.hard_classes * space.count))
    paste = HardClassPaste(target, counts, confidence, hard, settings.donors, settings.stop_share)
    common = (data.size, augmentation_of(data.schedules["rounds"], data), arguments.batch)
    source_labels = [source.read_label(index) for index in range(len(source))]
    source_counts = np.stack([np.bincount(label.ravel(), minlength=256)[: space.count] for label in source_labels])
    rare = {"order": RareClasses.from_counts(source_counts, 0.1, 0.0015)}
    teacher = {"changes": (paste,), "views": Views(strong=data.strong_blend, weak=True)}
    of_target, of_source = {"teacher's step": teacher}, {"dacs, masked, rare classes": rare}
    return space, {
        name: lambda steps, name=name: side_by_side(
            source=TrainingStream(source, *common, steps, seed=0, **of_source.get(name, {})),
            target=TrainingStream(target, *common, steps, seed=1, **of_target.get(name, {})),
        )()
        for name in RECIPES
    }


def torch_steps(arguments: Arguments, space) -> TorchSteps:
    from models.segmenter import build_segmenter
    from training.command_line import experiment_of, parse

    data = experiment_of(parse(["--recipe", "dacs", "--size", arguments.size])).data
    return TorchSteps(arguments, data, build_segmenter(arguments.network, space.count), "online")


def main(argv: list[str] | None = None) -> int:
    about = "Compare the steps of HIAST and online teachers with a plain self-training step, and each with its input."
    arguments = tyro.cli(Arguments, args=argv, description=about, config=(tyro.conf.FlagCreatePairsOff,))
    arguments.start_tensorflow()
    space, stream_of = streams(arguments)
    print(f"{arguments.network}, batch {arguments.batch} and {arguments.batch}, {arguments.size}, "
          f"{arguments.threads} threads")  # fmt: skip
    turns: dict[str, Turn] = {}
    for name, recipe in RECIPES.items():
        step, batches = step_of(recipe, arguments, space), list(stream_of[name](STEPS_A_TURN))
        turns[name] = lambda step=step, batches=batches: timed(step, batches)
        timed(step, batches[:1])
    with ExitStack() as stack:
        if arguments.torch_python is not None:
            torch = torch_steps(arguments, space)
            stack.callback(torch.close)
            turns |= {f"dacs, {name}": turn for name, turn in torch.turns().items()}
        seconds = [{name: turn() for name, turn in turns.items()} for _ in range(arguments.turns)]
    medians = report(seconds, arguments.batch, "plain step")
    for name in RECIPES:
        pipeline, median = pipeline_seconds(stream_of[name](60)), medians[name]
        print(f"input of the {name}: {1000 * pipeline:.1f} ms per batch alone, {pipeline / median:.2f} of the step")
    return 0


if __name__ == "__main__":
    sys.exit(main())
