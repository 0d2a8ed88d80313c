"""Images a second of our training step, and of the same step without our code: in TensorFlow, and in PyTorch.

    python tests/benchmarks/train_step.py --network compact --size 128x256 --batch 8
    python3 -m venv TORCH && TORCH/bin/pip install torch==2.14.1
    python tests/benchmarks/train_step.py --network deeplab_v2_resnet50 --batch 2 --torch-python TORCH/bin/python

Each is forward, cross-entropy, backward, clipping and AdamW of the same network on batches of the same size: our
`train_step`; the bare one, a plain `tf.function` with Keras' own AdamW; ours under mixed bfloat16; and PyTorch's, eager
and `torch.compile`d, in the memory layout that is faster (`torch_step.py`, in a process and environment of its own).
All are timed in turns, so that a busy machine slows them alike; medians of the turns are reported, and of the ratios
within a turn. With `--threads 1` the processor's time is that of an idle machine. Our step shall be at most 1.15 times
as slow as the bare one, and no slower than PyTorch's. The last line tells whether the input pipeline keeps up.
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))

import json
import os
import statistics
import subprocess
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

import tyro

from training.distribution.quiet import start_tensorflow
from training.settings.data import Data
from training.settings.schedule import Optimizer

STEPS_A_TURN = 4


@dataclass(frozen=True)
class Workload:
    """What is timed, and how often."""

    network: str = "compact"
    size: str = "128x256"
    batch: int = 8
    turns: int = 7
    threads: int = os.cpu_count() or 1
    """One: processor time, which is then the time of an idle machine, can be trusted on a busy one too."""

    def start_tensorflow(self) -> None:
        """With this many threads."""
        os.environ |= {"TF_NUM_INTRAOP_THREADS": str(self.threads), "TF_NUM_INTEROP_THREADS": str(self.threads)}
        start_tensorflow()


@dataclass(frozen=True)
class Arguments(Workload):
    """Compare our training step with the bare one, with PyTorch's, and with the speed of the input pipeline."""

    torch_python: pathlib.Path | None = None
    """A Python that can import torch; not given: no PyTorch."""


@dataclass(frozen=True)
class RecipesWorkload(Workload):
    """Compare the steps of some recipes."""

    memory_of: str = ""
    """Train on a turn with this recipe alone, and print the peak memory of the process in MiB."""


Turn = Callable[[], tuple[float, float]]


def timed(step, batches) -> tuple[float, float]:
    """Seconds a step over one turn, on the clock and of the processor."""
    clock, processor = time.perf_counter(), time.process_time()
    for batch in batches:
        step(batch)
    return (time.perf_counter() - clock) / len(batches), (time.process_time() - processor) / len(batches)


def bare_step(network, settings: Optimizer, stride: int):
    import keras
    import tensorflow as tf

    from training.losses import cross_entropy

    optimizer = keras.optimizers.AdamW(
        settings.learning_rate, weight_decay=settings.weight_decay, global_clipnorm=settings.clip_norm
    )
    optimizer.build(network.trainable_variables)

    @tf.function(autograph=False)
    def step(batch):
        label = batch["source"]["label"][:, stride // 2 :: stride, stride // 2 :: stride]
        with tf.GradientTape() as tape:
            logits = network(batch["source"]["image"], training=True)["logits"]
            loss = cross_entropy(tf.image.resize(logits, tf.shape(label)[1:3]), label)
        optimizer.apply(tape.gradient(loss, network.trainable_variables), network.trainable_variables)
        return loss

    return step


def our_step(network, settings: Optimizer, stride: int):
    from training.methods.source_training import SourceTraining
    from training.methods.terms import CrossEntropyTerm

    return compiled_step(SourceTraining(network, [CrossEntropyTerm("source")], stride), settings)


def compiled_step(method, settings: Optimizer):
    """The `train_step` of a method, as `fit` runs it."""
    from training.methods.optimizers import build_optimizer
    from training.stages.fitting import distributed_step

    optimizer = build_optimizer(settings, 1000, [])
    optimizer.build(method.trained_variables)
    method.compile(optimizer=optimizer, jit_compile=False)
    return distributed_step(method)


def keras_turns(arguments: Arguments, data: Data, classes: int, batches) -> dict[str, Turn]:
    """By name, what makes a turn and gives its seconds per step; all are traced."""
    import keras

    from models.segmenter import build_segmenter

    makers = {"our step": our_step, "bare step": bare_step, "our step, bfloat16": our_step}
    turns = {}
    for name, make_step in makers.items():
        keras.config.set_dtype_policy("mixed_bfloat16" if "bfloat16" in name else "float32")
        network = build_segmenter(arguments.network, classes)
        step = make_step(network, data.schedules["warm_up"].optimizer, data.loss_stride)
        turns[name] = lambda step=step: timed(step, batches)
        timed(step, batches[:1])
    return turns


def compare_recipes(script: str, recipes: tuple[str, ...], steps_and_batches) -> int:
    """Print the peak memory of a process with each recipe, and the times of their steps in turns.

    Args:
        script: that is run. recipes: the first is what the others are compared with.
        steps_and_batches: `(recipe, arguments) -> (train_step, batches of a turn)`.
    """
    arguments = tyro.cli(RecipesWorkload, config=(tyro.conf.FlagCreatePairsOff,))
    if not arguments.memory_of:
        for recipe in recipes:
            command = [sys.executable, script, *sys.argv[1:], "--memory-of", recipe]
            print(f"{recipe}: peak memory {subprocess.check_output(command, text=True).split()[-1]} MiB")
    arguments.start_tensorflow()
    if arguments.memory_of:
        from tests.benchmarks.memory import peak_mib

        timed(*steps_and_batches(arguments.memory_of, arguments))
        print(f"{peak_mib():.0f}")
        return 0
    turns: dict[str, Turn] = {}
    for recipe in recipes:
        step, batches = steps_and_batches(recipe, arguments)
        turns[recipe] = lambda step=step, batches=batches: timed(step, batches)
        timed(step, batches[:1])
    seconds = [{name: turn() for name, turn in turns.items()} for _ in range(arguments.turns)]
    report(seconds, arguments.batch, recipes[0])
    return 0


class TorchSteps:
    """`torch_step.py` in its own process, which waits while others have their turn.

    Raises:
        ValueError: its network has other parameters or logits than ours.
    """

    def __init__(self, arguments: Arguments, data: Data, network, stage: str = "warm_up"):
        """With `stage` "online" the step of an online teacher."""
        settings, (height, width) = data.schedules[stage].optimizer, data.size
        script = pathlib.Path(__file__).with_name("torch_step.py")
        command = [arguments.torch_python, script, "--network", arguments.network, "--size", height, width]
        command += ["--batch", arguments.batch, "--classes", network.output["logits"].shape[-1]]
        command += ["--loss-stride", data.loss_stride, "--steps", STEPS_A_TURN, "--threads", arguments.threads]
        command += ["--learning-rate", settings.learning_rate, "--weight-decay", settings.weight_decay]
        command += ["--clip-norm", settings.clip_norm or 0.0, *(["--online"] if stage == "online" else [])]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen([str(part) for part in command], **pipes)
        self.about = json.loads(self.process.stdout.readline())
        _, rows, columns, classes = network.compute_output_shape((None, height, width, 3))["logits"]
        ours = {"parameters": network.count_params(), "logits": [arguments.batch, classes, rows, columns]}
        if ours != {key: self.about[key] for key in ours}:
            raise ValueError(f"the PyTorch network differs: {self.about} against {ours}")

    def turns(self) -> dict[str, Turn]:
        return {f"PyTorch, {mode}": lambda mode=mode: self.turn(mode) for mode in self.about["modes"]}

    def turn(self, mode: str) -> tuple[float, float]:
        print(mode, file=self.process.stdin, flush=True)
        return tuple(json.loads(self.process.stdout.readline()))

    def close(self) -> None:
        self.process.communicate()


def main(argv: list[str] | None = None) -> int:
    arguments = tyro.cli(Arguments, args=argv, config=(tyro.conf.FlagCreatePairsOff,))
    arguments.start_tensorflow()

    from models.segmenter import build_segmenter
    from training.command_line import experiment_of, parse
    from training.data.classes import LABEL_SPACES
    from training.data.domains import load_domain
    from training.data.input_pipeline import TrainingStream, side_by_side
    from training.stages.streams import augmentation_of

    data = experiment_of(parse(["--data", "streetsim", "--size", arguments.size])).data
    space = LABEL_SPACES[data.label_space]
    dataset = load_domain(data.source_evaluation, space, data.size)
    augmentation = augmentation_of(data.schedules["warm_up"], data)
    stream_of = lambda steps: side_by_side(  # noqa: E731
        source=TrainingStream(dataset, data.size, augmentation, arguments.batch, steps, seed=0)
    )()
    batches = list(stream_of(STEPS_A_TURN))
    print(f"{arguments.network}, batch {arguments.batch}, {arguments.size}, {arguments.threads} threads")
    with ExitStack() as stack:
        turns = {}
        if arguments.torch_python is not None:
            torch = TorchSteps(arguments, data, build_segmenter(arguments.network, space.count))
            stack.callback(torch.close)
            turns |= torch.turns()
            about = torch.about
            print(f"PyTorch {about['torch']}, {about['layout']}: {about['parameters']:,} parameters, as ours")
        turns = keras_turns(arguments, data, space.count, batches) | turns
        seconds = [{name: turn() for name, turn in turns.items()} for _ in range(arguments.turns)]
    ours = report(seconds, arguments.batch, "our step")["our step"]
    pipeline = pipeline_seconds(stream_of(60))
    print(f"input: {1000 * pipeline:.1f} ms per batch alone, {pipeline / ours:.2f} of our step")
    return 0


def report(seconds: list[dict[str, tuple[float, float]]], batch: int, base: str) -> dict[str, float]:
    """Print one line per step, with its times as multiples of the base's; by name, seconds per step on the clock."""
    median = lambda name, of: statistics.median(of(turn[name], turn[base]) for turn in seconds)  # noqa: E731
    print(f"{'':20} {'images/s':>8} {'ms':>7} {'times':>8} {'processor ms':>13} {'times':>8}   of {base}")
    clocks = {}
    for name in seconds[0]:
        clock, processor = median(name, lambda its, bases: its[0]), median(name, lambda its, bases: its[1])
        ratios = [median(name, lambda its, bases, kind=kind: its[kind] / bases[kind]) for kind in (0, 1)]
        times = f"{1000 * clock:7.0f} {ratios[0]:8.2f} {1000 * processor:13.0f} {ratios[1]:8.2f}"
        print(f"{name:20} {batch / clock:8.1f} {times}")
        clocks[name] = clock
    return clocks


def pipeline_seconds(stream) -> float:
    batches = iter(stream)
    for _ in range(10):
        next(batches)
    started = time.perf_counter()
    count = sum(1 for _ in batches)
    return (time.perf_counter() - started) / count


if __name__ == "__main__":
    sys.exit(main())
