"""How the cost of a labelling round grows with the target: 1, 4 and 16 times as many built-in streets.

    python tests/benchmarks/growth.py                 # 25, 100 and 400 images of 128x256; a few minutes on two cores
    python tests/benchmarks/growth.py --selector entropy_mixture
    python tests/benchmarks/growth.py --selector entropy_pass     # no labels: before a round of UPLR alignment

Each case labels in a process of its own, after a small labelling that warms it up: CPU seconds are of all threads, peak
memory is what the case held above the warmed-up process. The cache of predictions is kept as small as it would be
beside a target of millions: one batch, all others are predicted in both passes (`--cache-mib 1024` is the run's own).
The network's weights are random unless `--run RUN` names a finished run: costs do not depend on them.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from tests.benchmarks.memory import peak_mib
from training.distribution.quiet import start_tensorflow
from training.settings.selectors import Selector

FIRST, TIMES = 25, (1, 4, 16)
SIZE, BATCH = (128, 256), 8
ENTROPY_PASS = "entropy_pass"
KINDS = {settings.kind: settings for settings in get_args(Selector)}


@dataclass(frozen=True)
class Result:
    """Of one labelling: wall and CPU seconds, MiB above the start, bytes of the label files."""

    images: int
    seconds: float
    cpu_seconds: float
    peak_mib: float
    label_bytes: int


def measure(images: int, cache_mib: int, run: Path | None, selector: str) -> Result:
    """Label `images` streets in this process."""
    start_tensorflow()
    from models.segmenter import build_segmenter
    from training.data.classes import LABEL_SPACES
    from training.data.domains import load_domain
    from training.prediction.label_files import LabelFolder
    from training.prediction.label_images import label_images
    from training.prediction.predictor import Predictor
    from training.prediction.target_predictions import TargetPredictions
    from training.prediction.trained_model import load_trained
    from training.probability_maps.class_entropies import ClassEntropies
    from training.pseudo_labels import build_selector
    from training.settings.data import Domain

    space = LABEL_SPACES["cityscapes19"]
    network = load_trained(run).network if run else build_segmenter("compact", space.count)
    views = (False,) if selector == ENTROPY_PASS else (False, True)  # as in a run
    predictor = Predictor(network, flips=views)
    streets = Domain(reader="streetsim", style="city", split="train", count=max(images, 2 * BATCH))
    dataset = load_domain(streets, space, SIZE)

    def label(count: int, folder: Path) -> None:
        part = dataset.subset(range(count))
        predictions = TargetPredictions(predictor, part, SIZE, BATCH, cache_bytes=cache_mib << 20)
        if selector == ENTROPY_PASS:
            ClassEntropies.of_maps(predictions(), space.count)
        else:
            label_images(predictions, build_selector(KINDS[selector](), 1), LabelFolder(folder))

    with tempfile.TemporaryDirectory() as folder:
        label(2 * BATCH, Path(folder) / "warm")
        before, wall, cpu = peak_mib(), time.perf_counter(), time.process_time()
        label(images, Path(folder) / "labels")
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        size = sum(path.stat().st_size for path in (Path(folder) / "labels").glob("*.png"))
        return Result(images, wall, cpu, peak_mib() - before, size)


def in_own_process(images: int, arguments) -> Result:
    command = [sys.executable, __file__, "--images", str(images), "--cache-mib", str(arguments.cache_mib)]
    command += ["--selector", arguments.selector, *(["--run", str(arguments.run)] if arguments.run else [])]
    finished = subprocess.run(command, check=True, capture_output=True, text=True)
    return Result(**json.loads(finished.stdout.splitlines()[-1]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, help="one case only, as JSON")
    parser.add_argument("--first", type=int, default=FIRST, help="images of the smallest case")
    parser.add_argument("--cache-mib", type=int, default=0)
    parser.add_argument("--selector", default="class_balanced", choices=(*KINDS, ENTROPY_PASS))
    parser.add_argument("--run", type=Path)
    arguments = parser.parse_args()
    if arguments.images:
        print(json.dumps(vars(measure(arguments.images, arguments.cache_mib, arguments.run, arguments.selector))))
        return
    print(f"{SIZE[0]}x{SIZE[1]}, {arguments.selector}, cache of predictions {arguments.cache_mib} MiB")
    print("images    s     CPU s   CPU s per image   to the first   peak MiB   label bytes per image")
    first = None
    for times in TIMES:
        result = in_own_process(times * arguments.first, arguments)
        each = result.cpu_seconds / result.images
        first = first or each
        print(
            f"{result.images:6} {result.seconds:7.1f} {result.cpu_seconds:7.1f} {each:12.3f} {each / first:14.2f}"
            f" {result.peak_mib:10.0f} {result.label_bytes / result.images:16.0f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
