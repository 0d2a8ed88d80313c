"""What a training step is said to need, beside what it took.

    python tests/benchmarks/step_memory.py                      # all rows, a few minutes on two cores, 6 GB
    python tests/benchmarks/step_memory.py --network compact --size 128x256 --batch 8 --stage teacher

Each row in a process of its own, on random images, with clipping. Estimated: `StepMemory.total`, as a stage says it.
Measured: the most that the process held in three steps, less what it held before the first, and the variables (which it
held before). What it held before is read after the trace: the trace's Python objects are no part of a step, but what
the first step builds from it, kernels and an optimised graph, is. The kernel's own high-water mark is set back before
(Linux). On x86 TensorFlow keeps what it has freed for later steps (oneDNN's allocator), so the peak does not depend on
when the C library returns pages; it includes the gaps between what is held, a few per cent. Every row shall be within
25 %; the last columns are the time of the trace, which a run needs anyway, and of the estimate.
"""

import pathlib
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))

import time
from dataclasses import dataclass
from typing import Literal

import tyro

LIMIT = 0.25
STEPS = 3
CLASSES = 19


@dataclass(frozen=True)
class Row:
    """Of one row; without a network, all rows."""

    network: str | None = None
    size: str = "128x256"
    batch: int = 8
    stage: Literal["source", "teacher"] = "source"
    """Supervised training on the source, or a round of HIAST with its mean teacher."""
    optimizer: Literal["sgd", "adamw"] = "adamw"
    accumulate: int = 1
    """More than 1: with frozen batch-norm, as it must be."""


ROWS = (
    Row("compact", "128x256", 8),
    Row("compact", "128x256", 12, optimizer="sgd"),
    Row("compact", "128x256", 8, "teacher"),
    Row("deeplab_v3plus_mobilenet_v2", "240x320", 4, optimizer="sgd"),
    Row("deeplab_v3plus_mobilenet_v2", "240x320", 8),
    Row("deeplab_v3plus_mobilenet_v2", "240x320", 8, optimizer="sgd", accumulate=4),
    Row("deeplab_v3plus_mobilenet_v2", "240x320", 4, "teacher"),
    Row("deeplab_v2_resnet50", "256x512", 2, optimizer="sgd"),
    Row("deeplab_v2_resnet101", "128x256", 2, optimizer="sgd"),
    Row("fcn8s_vgg16", "128x256", 1),
)


def method_of(row: Row):
    """A stage's method, compiled, and the domains of its batches."""
    from models.batch_norm import set_batch_norm
    from models.heads import head_variables
    from models.segmenter import build_segmenter
    from training.command_line import experiment_of, parse
    from training.methods.optimizers import build_optimizer
    from training.methods.source_training import SourceTraining
    from training.methods.terms import CrossEntropyTerm
    from training.settings.schedule import Optimizer
    from training.stages.rounds import round_method

    network = build_segmenter(row.network, CLASSES)
    set_batch_norm(network, "train" if row.accumulate == 1 else "frozen")
    if row.stage == "source":
        method, domains = SourceTraining(network, [CrossEntropyTerm("source")]), ("source",)
    else:
        experiment = experiment_of(parse(["--recipe", "hiast", "--size", row.size]))
        method = round_method(network, experiment.recipe.adaptation, experiment.data, 100, None)
        domains = ("source", "target")
    optimizer = build_optimizer(Optimizer(row.optimizer, 1e-4, clip_norm=1.0), 100, head_variables(network))
    optimizer.build(method.trained_variables)
    method.compile(optimizer=optimizer, accumulate=row.accumulate, jit_compile=False)
    return method, domains


def domain(row: Row, name: str) -> dict:
    """One domain's part of a random batch, as a stage's stream gives it."""
    import tensorflow as tf

    height, width = map(int, row.size.split("x"))
    image = tf.random.stateless_uniform((row.batch, height, width, 3), (0, 1), 0, 255)
    label = tf.random.stateless_uniform(image.shape[:3], (0, 2), 0, CLASSES, tf.int32)
    weak = {"weak": tf.identity(image)} if name == "target" else {}
    return {"image": image, "label": tf.cast(label, tf.uint8), "position": tf.range(row.batch, dtype=tf.int64), **weak}


def held(key: str) -> int:
    """VmRSS, what this process holds, or VmHWM, the most that it has held: bytes."""
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(key))


def measured(row: Row) -> str:
    """A line of the table."""
    from training.distribution.quiet import start_tensorflow

    start_tensorflow()
    from training.distribution.step_memory import step_memory
    from training.stages.fitting import distributed_step

    method, domains = method_of(row)
    batch, step = {name: domain(row, name) for name in domains}, distributed_step(method)
    started = time.process_time()
    traced = step.get_concrete_function(batch)
    trace, started = time.process_time() - started, time.process_time()
    need = step_memory(traced, row.batch // row.accumulate)
    estimate = time.process_time() - started
    before = held("VmRSS")
    pathlib.Path("/proc/self/clear_refs").write_text("5")  # sets the high-water mark back
    for _ in range(STEPS):
        logs = step(batch)
    float(next(iter(logs.values())))
    took = held("VmHWM") - before + need.variables
    parts = f", {row.accumulate} parts" if row.accumulate > 1 else ""
    error = need.total / took - 1
    return (
        f"| `{row.network}` | {row.size}, {row.batch}{parts} | {row.stage}, {row.optimizer} | "
        f"{need.activations / 1e6:.0f} + {(need.total - need.activations) / 1e6:.0f} | {need.total / 1e6:.0f} | "
        f"{took / 1e6:.0f} | {error:+.0%}{'' if abs(error) <= LIMIT else ' BEYOND'} | {trace:.1f} | {estimate:.2f} |"
    )


def main(argv: list[str] | None = None) -> int:
    asked = tyro.cli(Row, args=argv, description=__doc__)
    if asked.network is not None:
        print(measured(asked))
        return 0
    print("| network | size, batch | stage | activations + rest MB | estimated MB | measured MB | error | trace s | "
          "estimate s |")  # fmt: skip
    print("|---|---|---|---|---|---|---|---|---|")
    beyond = False
    for row in ROWS:
        options = [word for key, value in vars(row).items() for word in (f"--{key}", str(value))]
        command = [sys.executable, __file__, *options]
        line = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
        print(line, flush=True)
        beyond |= "BEYOND" in line
    return int(beyond)


if __name__ == "__main__":
    sys.exit(main())
