"""What our training step costs beside the bare network, and whether the input pipeline keeps up: ratios of one run.

    python tests/benchmarks/train_step.py --network compact --size 128x256 --batch 8

The bare step is forward, cross-entropy, backward and apply of the same network in a plain `tf.function`, on the same
batch. Both are timed in turns, so that a busy machine slows them alike; the median of the turns is reported.
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))

import statistics
import time
from dataclasses import dataclass

import tyro

from training.quiet import start_tensorflow

TURNS = 7
STEPS_A_TURN = 6


@dataclass(frozen=True)
class Arguments:
    """Compare our training step with the bare one, and with the speed of the input pipeline."""

    network: str = "compact"
    size: str = "128x256"
    batch: int = 8


def timed(step, batches) -> float:
    """Seconds a step over one turn."""
    started = time.perf_counter()
    for batch in batches:
        step(batch)
    return (time.perf_counter() - started) / len(batches)


def bare_step(network, optimizer, stride: int):
    import tensorflow as tf

    from training.losses import cross_entropy

    @tf.function
    def step(batch):
        label = batch["source"]["label"][:, stride // 2 :: stride, stride // 2 :: stride]
        with tf.GradientTape() as tape:
            logits = network(batch["source"]["image"], training=True)["logits"]
            loss = cross_entropy(tf.image.resize(logits, tf.shape(label)[1:3]), label)
        optimizer.apply(tape.gradient(loss, network.trainable_variables), network.trainable_variables)
        return loss

    return step


def main(argv: list[str] | None = None) -> int:
    arguments = tyro.cli(Arguments, args=argv, config=(tyro.conf.FlagCreatePairsOff,))
    start_tensorflow()
    from models.segmenter import build_segmenter
    from training.adaptation import augmentation_of
    from training.command_line import experiment_of, parse
    from training.data.classes import LABEL_SPACES
    from training.data.domains import load_domain
    from training.data.input_pipeline import training_stream
    from training.fitting import distributed_step
    from training.methods.optimizers import build_optimizer
    from training.methods.source_training import SourceTraining
    from training.methods.terms import CrossEntropy

    data = experiment_of(parse(["--data", "streetsim", "--size", arguments.size])).data
    stage = data.warm_up
    space = LABEL_SPACES[data.label_space]
    dataset = load_domain(data.source_evaluation, space, data.size)
    stream_of = lambda steps: training_stream(  # noqa: E731
        dataset, data.size, augmentation_of(stage, data), arguments.batch, steps, seed=0
    ).map(lambda batch: {"source": batch})
    batches = list(stream_of(STEPS_A_TURN))

    ours = SourceTraining(build_segmenter(arguments.network, space.count), [CrossEntropy("source")], data.loss_stride)
    ours.compile(optimizer=build_optimizer(stage.optimizer, 1000, []), jit_compile=False)
    our_step = distributed_step(ours)
    network = build_segmenter(arguments.network, space.count)
    bare = bare_step(network, build_optimizer(stage.optimizer, 1000, []), data.loss_stride)
    our_turn = lambda: timed(our_step, batches)  # noqa: E731
    our_turn(), timed(bare, batches)  # tracing
    turns = [(our_turn(), timed(bare, batches)) for _ in range(TURNS)]
    our_seconds, bare_seconds = (statistics.median(column) for column in zip(*turns, strict=True))
    ratio = statistics.median(first / second for first, second in turns)
    pipeline_seconds = _pipeline_seconds(stream_of(60))
    print(f"{arguments.network}, batch {arguments.batch}, {arguments.size}")
    print(f"our step  {1000 * our_seconds:7.1f} ms ({arguments.batch / our_seconds:.1f} images/s)")
    print(f"bare step {1000 * bare_seconds:7.1f} ms")
    print(f"ratio     {ratio:7.3f} (goal: at most 1.15)")
    print(f"input     {1000 * pipeline_seconds:7.1f} ms a batch alone, {pipeline_seconds / our_seconds:.2f} of a step")
    return 0


def _pipeline_seconds(stream) -> float:
    batches = iter(stream)
    for _ in range(10):
        next(batches)
    started = time.perf_counter()
    count = sum(1 for _ in batches)
    return (time.perf_counter() - started) / count


if __name__ == "__main__":
    sys.exit(main())
