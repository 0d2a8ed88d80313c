"""How long one waits: for `--help`, for the imports, for the first step of each method, for a smoke run.

    python tests/benchmarks/startup.py [--network compact]

Seconds on the clock and of the processor; the latter hardly depend on what else the machine does. The first step of a
method traces its graph: at most 1 s for `--help` and 20 s for the smoke run, which goes through every stage, are asked.
"""

import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import tyro

from training.distribution.quiet import start_tensorflow


@dataclass(frozen=True)
class Arguments:
    """Time what comes before the second step."""

    network: str = "compact"
    size: tuple[int, int] = (128, 256)
    batch: int = 8


@contextmanager
def timed(what: str) -> Iterator[None]:
    """Print the seconds of the block, its child processes included."""
    clock, processor = time.perf_counter(), processor_seconds()
    yield
    clock, processor = time.perf_counter() - clock, processor_seconds() - processor
    print(f"{what:40} {clock:6.1f} s {processor:6.1f} s of the processor", flush=True)


def processor_seconds() -> float:
    """Of this process and of the child processes that have ended."""
    return sum(os.times()[:4])


def run(*options: str) -> None:
    subprocess.run([sys.executable, ROOT / "training" / "run.py", *options], check=True, capture_output=True)


def first_steps(arguments: Arguments) -> None:
    """Of each method as a recipe would make it, on a batch of zeros."""
    import numpy as np

    from models.segmenter import build_segmenter
    from training.data.classes import LABEL_SPACES
    from training.methods.optimizers import build_optimizer
    from training.methods.source_training import SourceTraining
    from training.methods.terms import CrossEntropyTerm
    from training.presets import DATA
    from training.recipes import RECIPES
    from training.stages.fitting import distributed_step
    from training.stages.rounds import round_method

    data, shape = DATA["streetsim"], (arguments.batch, *arguments.size)
    domain = {"image": np.zeros((*shape, 3), np.float32), "label": np.zeros(shape, np.uint8)}
    batch = {"source": domain, "target": {**domain, "weak": domain["image"]}}
    network = build_segmenter(arguments.network, LABEL_SPACES[data.label_space].count)
    methods = {
        "source training": SourceTraining(network, [CrossEntropyTerm("source")], data.loss_stride),
        "self-training (cbst_sp)": round_method(network, RECIPES["cbst_sp"].adaptation, data, 100, None),
        "mean teacher (hiast)": round_method(network, RECIPES["hiast"].adaptation, data, 100, None),
    }
    for name, method in methods.items():
        optimizer = build_optimizer(data.schedules["rounds"].optimizer, 100, [])
        optimizer.build(network.trainable_variables)
        method.compile(optimizer=optimizer, jit_compile=False)
        step = distributed_step(method)
        with timed(f"first step, {name}"):
            step(batch)
        with timed(f"second step, {name}"):
            step(batch)


def main(argv: list[str] | None = None) -> int:
    arguments = tyro.cli(Arguments, args=argv, config=(tyro.conf.FlagCreatePairsOff,))
    with timed("training/run.py --help"):
        run("--help")
    with tempfile.TemporaryDirectory() as folder, timed("training/run.py --recipe cbst_sp --smoke"):
        run("--recipe", "cbst_sp", "--smoke", "--out", f"{folder}/run")
    with timed("imports"):
        start_tensorflow()
        import export.onnx_graph  # noqa: F401
        import training.stages.plan  # noqa: F401
    first_steps(arguments)
    return 0


if __name__ == "__main__":
    sys.exit(main())
