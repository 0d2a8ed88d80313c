"""What FDA costs: milliseconds per frame, and the input pipeline's images per second without and with it.

    python tests/benchmarks/fourier.py --sizes 128x256 240x320 512x1024
    python tests/benchmarks/fourier.py --sizes 128x256 --betas 0.01 0.05 0.09

All in processor time, which is that of an idle machine on a busy one too. A frame alone: once its partner's amplitudes
are known, and when they are not (the target image is read and resized then: once per image and run); least of 15. The
pipeline: images per second and core, without and with FDA, medians of some turns. Beside them the images per second and
core of a training step of a network on the same batches, which the pipeline has to keep up with.
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import tyro

from tests.benchmarks.train_step import Workload, our_step, timed

TIMES = 15
STEPS = 30  # of a turn of the pipeline


@dataclass(frozen=True)
class Arguments:
    """Time FDA alone and in the input pipeline."""

    sizes: tuple[str, ...] = ("128x256",)
    betas: tuple[float, ...] = (0.01,)
    batch: int = 8
    images: int = 24
    """Source images and target images, each."""
    network: str = "compact"
    turns: int = 5


def least_ms(work: Callable[[], object]) -> float:
    """Milliseconds of the quickest of some calls."""
    return 1000 * min(processor_seconds(work) for _ in range(TIMES))


def processor_seconds(work: Callable[[], object]) -> float:
    """Of one call, on all threads."""
    started = time.process_time()
    work()
    return time.process_time() - started


def seconds_per_batch(stream) -> float:
    """Of a pipeline whose threads wait for nobody; the first batches read what is read once."""
    batches = iter(stream)
    for _ in range(STEPS // 2):
        next(batches)
    return processor_seconds(lambda: list(batches)) / (STEPS - STEPS // 2)


def measure(arguments: Arguments, size: str) -> tuple[str, ...]:
    """A row of the table."""
    from models.segmenter import build_segmenter
    from training.command_line import experiment_of, parse
    from training.data.classes import LABEL_SPACES
    from training.data.domains import load_domain
    from training.data.fourier import FourierTranslation
    from training.data.input_pipeline import TrainingStream, load_frame, side_by_side
    from training.stages.streams import augmentation_of

    data = experiment_of(parse(["--data", "streetsim", "--size", size])).data
    space, schedule = LABEL_SPACES[data.label_space], data.schedules["warm_up"]
    of_source, of_target = (replace(each, count=arguments.images) for each in (data.source, data.target))
    source, target = (load_domain(domain, space, data.size) for domain in (of_source, of_target))

    def streams() -> dict[str, TrainingStream]:
        plain = TrainingStream(source, data.size, augmentation_of(schedule, data), arguments.batch, STEPS, seed=0)
        translation = FourierTranslation.to(target, data.size, arguments.betas, alongside=False)
        return {"plain": plain, "translated": translation.applied_to(plain)}

    # A frame alone.
    (change,), frame = streams()["translated"].changes, load_frame(source, 0, data.size)
    change.change(0, 0, frame, None)
    known = least_ms(lambda: change.change(0, 0, frame, None))

    def unknown() -> None:
        (fresh,) = streams()["translated"].changes
        fresh.change(0, 0, frame, None)

    # The pipeline, in turns.
    seconds: dict[str, list[float]] = {"plain": [], "translated": []}
    for _ in range(arguments.turns):
        for name, stream in streams().items():
            seconds[name].append(seconds_per_batch(side_by_side(source=stream)()))
    plain, translated = (arguments.batch / statistics.median(seconds[name]) for name in ("plain", "translated"))
    # The step.
    step = our_step(build_segmenter(arguments.network, space.count), schedule.optimizer, data.loss_stride)
    batches = list(side_by_side(source=streams()["translated"])().take(3))
    timed(step, batches[:1])
    of_step = arguments.batch / statistics.median(timed(step, batches)[1] for _ in range(arguments.turns))
    figures = (known, least_ms(unknown), plain, translated, of_step)
    return (size, *(f"{figure:.1f}" if figure < 20 else f"{figure:.0f}" for figure in figures))


def main(argv: list[str] | None = None) -> int:
    arguments = tyro.cli(Arguments, args=argv, config=(tyro.conf.FlagCreatePairsOff,))
    Workload().start_tensorflow()
    headings = ("size", "ms per frame", "ms, partner unknown", "images/s plain", "images/s with FDA", "images/s step")
    print(f"beta {arguments.betas}, batch {arguments.batch}, {arguments.network}")
    print(" | ".join(headings))
    for size in arguments.sizes:
        print(" | ".join(measure(arguments, size)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
