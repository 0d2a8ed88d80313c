"""A labelling round, images in and label files out: this project's way against the published one.

    python tests/benchmarks/labelling.py                              # 50, 200 and 800 frames of 256x512
    python tests/benchmarks/labelling.py --images 50 --size 512x1024

The published way, in our own words: predict every image and write its probability map at full size to disk; keep every
fourth confidence of each class in a Python list; sort the lists; read every map again, divide by the thresholds, write
the label. Both ways predict with the same network (`compact`). Labels are nearly equal: between its passes ours keeps
coarse maps in float16. The network's own time is part of both; the ratio without it is stated too. Each case has a
process of its own; its peak memory is what that process held above its state after the first prediction.
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))

import argparse
import json
import math
import os
import resource
import shutil
import subprocess
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

CLASSES, PORTION, STRIDE = 19, 0.2, 4
DIFFERENT = 8  # frames; the others are links to them


@dataclass(frozen=True)
class Result:
    """Of one case: wall and CPU seconds, the CPU seconds that were prediction, memory and disk in MiB."""

    seconds: float
    cpu_seconds: float
    predicting: float
    peak_mib: float
    disk_mib: float


def frames(folder: Path, count: int, size: tuple[int, int]) -> Path:
    """A folder of `count` street pictures."""
    from PIL import Image

    from training.data.streetsim import STYLES, render

    folder.mkdir()
    for index in range(count):
        path = folder / f"{index:04d}.png"
        if index < DIFFERENT:
            Image.fromarray(render(STYLES["city"], 1, index, size)[0]).save(path)
        else:
            os.link(folder / f"{index % DIFFERENT:04d}.png", path)
    return folder


class TimedPredictor:
    """A predictor that knows how much CPU time it took."""

    def __init__(self):
        from tests.export.networks import lively_network
        from training.evaluation.predictor import Predictor

        self.predictor, self.seconds = Predictor(lively_network("compact", CLASSES)), 0.0

    def coarse_probs(self, image):
        started = time.process_time()
        probs = self.predictor.coarse_probs(image)
        self.seconds += time.process_time() - started
        return probs


def ours(predictor: TimedPredictor, dataset, size, out: Path) -> float:
    """Write the labels; MiB of other files written: none."""
    from training.labelling import PREDICTION_BATCH, TargetPredictions, label_images
    from training.pseudo_labels.selectors import select

    predictions = TargetPredictions(predictor, dataset, size, PREDICTION_BATCH)
    label_images(predictions, out, "cbst", PORTION, STRIDE, None, select)
    return 0.0


def published(predictor: TimedPredictor, dataset, size, out: Path) -> float:
    """The same with all maps on disk and all confidences in lists; MiB of maps on disk."""
    import numpy as np

    from training.data.input_pipeline import evaluation_stream
    from training.evaluation.predictor import enlarge
    from training.pseudo_labels.label_files import write_label_png

    maps = out / "maps"
    maps.mkdir(parents=True)
    pools: list[list[np.float32]] = [[] for _ in range(CLASSES)]
    for index, batch in enumerate(evaluation_stream(dataset, size, 1)):
        probs = enlarge(predictor.coarse_probs(batch["image"]), size).numpy()[0]
        np.save(maps / f"{index}.npy", probs)
        label, confidence = probs.argmax(axis=-1), probs.max(axis=-1)
        for class_id in range(CLASSES):
            pools[class_id].extend(confidence[label == class_id][::STRIDE])
    thresholds = np.ones(CLASSES, np.float32)
    for class_id, pool in enumerate(pools):
        rank = math.floor(len(pool) * PORTION)
        if rank:
            thresholds[class_id] = sorted(pool, reverse=True)[rank - 1]
    for index, sample in enumerate(dataset.samples):
        ratio = np.load(maps / f"{index}.npy") / thresholds
        label = ratio.argmax(axis=-1).astype(np.uint8)
        label[ratio.max(axis=-1) < 1] = 255
        write_label_png(out / f"{sample.name}.png", label)
    written = sum(path.stat().st_size for path in maps.iterdir()) / 2**20
    shutil.rmtree(maps)
    return written


def measure(method: str, images: Path, size: tuple[int, int], out: Path) -> Result:
    """Run one case in this process."""
    import numpy as np

    from training.data.classes import LABEL_SPACES
    from training.data.readers_folders import image_folder

    dataset, predictor = image_folder(images, LABEL_SPACES["cityscapes19"]), TimedPredictor()
    predictor.coarse_probs(np.zeros((8, *size, 3), np.float32))  # traced before the clock starts
    predictor.seconds, before = 0.0, peak_mib()
    wall, cpu = time.perf_counter(), time.process_time()
    disk = {"ours": ours, "published": published}[method](predictor, dataset, size, out)
    wall, cpu, peak = time.perf_counter() - wall, time.process_time() - cpu, peak_mib() - before
    return Result(wall, cpu, predictor.seconds, peak, disk)


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def in_own_process(method: str, images: Path, size: str, out: Path) -> Result:
    command = [sys.executable, __file__, "--method", method, "--folder", str(images), "--size", size, "--out", str(out)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return Result(**json.loads(done.stdout.splitlines()[-1]))


def equal_pixels(first: Path, second: Path) -> float:
    """Share of pixels with the same label in two folders of label files."""
    import cv2

    pairs = [(cv2.imread(str(path), -1), cv2.imread(str(second / path.name), -1)) for path in first.glob("*.png")]
    return float(sum((a == b).mean() for a, b in pairs) / len(pairs))


def compare(images: Path, size: str, out: Path, count: int) -> str:
    """One line of the table."""
    folders = {method: out / method for method in ("ours", "published")}
    a, b = (in_own_process(method, images, size, folder) for method, folder in folders.items())
    equal = equal_pixels(*folders.values())
    cells = [f"{r.seconds:7.1f} {r.cpu_seconds:7.1f} {r.predicting:7.1f} {r.peak_mib:9.0f}" for r in (a, b)]
    alone = (b.cpu_seconds - b.predicting) / (a.cpu_seconds - a.predicting)
    ratios = f"{b.seconds / a.seconds:6.2f} {b.cpu_seconds / a.cpu_seconds:6.2f} {alone:13.2f}"
    rate = f"{count / a.cpu_seconds:6.1f} {count / b.cpu_seconds:9.1f}"
    return f"{count:6} | {' | '.join(cells)} {b.disk_mib:8.0f} | {ratios} | {rate} | {equal:.3%}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, nargs="+", default=[50, 200, 800])
    parser.add_argument("--size", default="256x512")
    parser.add_argument("--method", choices=("ours", "published"), help="one case only, as JSON")
    parser.add_argument("--folder", type=Path, help="its images")
    parser.add_argument("--out", type=Path, help="where its labels go")
    arguments = parser.parse_args()
    height, width = (int(side) for side in arguments.size.split("x"))
    if arguments.method:
        print(json.dumps(asdict(measure(arguments.method, arguments.folder, (height, width), arguments.out))))
        return
    print(f"labelling frames of {arguments.size}, {CLASSES} classes, cbst, portion {PORTION}, network compact")
    print("images | ours: s   CPU s predict  peak MiB | published: s CPU s predict peak MiB disk MiB |", end=" ")
    print("x wall  x CPU x CPU w/o net | images/CPU s: ours, published | equal labels")
    with tempfile.TemporaryDirectory() as folder:
        for count in arguments.images:
            images = frames(Path(folder, f"images_{count}"), count, (height, width))
            print(compare(images, arguments.size, Path(folder, f"labels_{count}"), count), flush=True)


if __name__ == "__main__":
    main()
