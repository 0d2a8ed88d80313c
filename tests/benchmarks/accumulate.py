"""What a step holds in memory, and how long it takes, when its batch is computed in parts (`accumulate`).

    python tests/benchmarks/accumulate.py
    python tests/benchmarks/accumulate.py --network deeplab_v2_resnet50 --size 256x512 --batch 4 --parts 1 2 4

Each number of parts in a process of its own: supervised steps of our `train_step` on random images, batch-norm frozen,
SGD with clipping. Peak of the process, and what of it the steps added to the traced network and its weights.
"""

import pathlib
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))

import time
from dataclasses import dataclass

import tyro

from tests.benchmarks.memory import peak_mib


@dataclass(frozen=True)
class Arguments:
    """What is measured."""

    network: str = "deeplab_v3plus_mobilenet_v2"
    size: str = "240x320"
    batch: int = 8
    steps: int = 3
    parts: tuple[int, ...] = (1, 4, 8)


def measured(arguments: Arguments) -> str:
    """A line of the table, for the one number of parts that is asked for."""
    from training.distribution.quiet import start_tensorflow

    start_tensorflow()
    import tensorflow as tf

    from models.batch_norm import set_batch_norm
    from models.segmenter import build_segmenter
    from training.methods.optimizers import build_optimizer
    from training.methods.source_training import SourceTraining
    from training.methods.terms import CrossEntropyTerm
    from training.settings.schedule import Optimizer
    from training.stages.fitting import distributed_step

    (parts,), (height, width) = arguments.parts, map(int, arguments.size.split("x"))
    network = build_segmenter(arguments.network, 19)
    set_batch_norm(network, "frozen")
    method = SourceTraining(network, [CrossEntropyTerm("source")])
    optimizer = build_optimizer(Optimizer("sgd", learning_rate=1e-3, clip_norm=1.0), 100, [])
    optimizer.build(network.trainable_variables)
    method.compile(optimizer=optimizer, accumulate=parts, jit_compile=False)
    image = tf.random.stateless_uniform((arguments.batch, height, width, 3), (0, 1), 0, 255)
    label = tf.cast(tf.random.stateless_uniform(image.shape[:3], (0, 2), 0, 19, tf.int32), tf.uint8)
    batch, step = {"source": {"image": image, "label": label}}, distributed_step(method)
    step.get_concrete_function(batch)
    before = peak_mib()
    loss = step(batch)["cross_entropy_source"]
    started = time.perf_counter()
    for _ in range(arguments.steps):
        loss = step(batch)["cross_entropy_source"]
    loss = float(loss)
    seconds = (time.perf_counter() - started) / arguments.steps
    return f"{parts:5} {peak_mib():9.0f} {peak_mib() - before:10.0f} {seconds:7.2f}   {loss:.6f}"


def main(argv: list[str] | None = None) -> int:
    arguments = tyro.cli(Arguments, args=argv, description=__doc__, config=(tyro.conf.FlagCreatePairsOff,))
    if len(arguments.parts) == 1:
        print(measured(arguments))
        return 0
    print(f"{arguments.network}, {arguments.size}, batch {arguments.batch}")
    print("parts  peak MiB  of steps  s/step   loss (mean of the steps)")
    for parts in arguments.parts:
        options = {"--network": arguments.network, "--size": arguments.size, "--batch": arguments.batch}
        options |= {"--steps": arguments.steps, "--parts": parts}
        command = [sys.executable, __file__, *(str(word) for pair in options.items() for word in pair)]
        print(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout, end="", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
