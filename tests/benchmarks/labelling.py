"""A labelling round, images in and label files out: this project's way against the published one.

    python tests/benchmarks/labelling.py                              # 50 and 200 frames of 256x512 and of 512x1024
    python tests/benchmarks/labelling.py --images 50 200 800 --ours   # this project's way only, for its memory

The published way is CRST's, in our own words: image by image, network and mirrored view; the logits of both brought
to full size, their soft-max, the mean; that map to disk; every fourth confidence of each class into a Python list. Sort
the lists; read every map again, divide by the thresholds, write the label. (CBST differs in one thing that matters: it
enlarges the soft-max, not the logits, by a bicubic filter, class by class in a pool of processes made anew for each
image.)

Both ways run the same network (`compact`, random weights unless `--run RUN` names a finished run) on the same views in
compiled graphs. Labels are nearly equal: this project takes the mean of the soft-max on the coarse grid, enlarges that,
and keeps it in float16 between its passes. `net`: CPU seconds of the network alone, which neither way can save; the
ratio without it is stated too. Each case has a process of its own; its peak memory is what that process held above its
state after the first prediction. Wall seconds are those of a machine that does nothing else; CPU seconds bear company.
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))

import argparse
import json
import math
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.benchmarks.memory import peak_mib

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

CLASSES, PORTION, STRIDE = 19, 0.2, 4
NETWORK_IMAGES = 16  # predicted to see what the network alone takes
DIFFERENT = 8  # frames; the others are links to them


@dataclass(frozen=True)
class Result:
    """Of one case: wall and CPU seconds, the CPU seconds of the network alone, memory and disk in MiB."""

    seconds: float
    cpu_seconds: float
    network: float
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


def ours(network, dataset, size, out: Path, cache_mib: int) -> tuple[Callable, Callable, int]:
    """`(work, predict, batch)`: a function that writes the labels and returns the MiB of other files written; the one
    that predicts so many images at once."""
    from training.prediction.label_files import LabelFolder
    from training.prediction.label_images import label_images
    from training.prediction.predictor import Predictor, images_at_once
    from training.prediction.target_predictions import TargetPredictions
    from training.pseudo_labels import ClassBalancedSelector

    predictor = Predictor(network, flips=(False, True))

    def work() -> float:
        predictions = TargetPredictions(predictor, dataset, size, cache_bytes=cache_mib << 20)
        label_images(predictions, ClassBalancedSelector(portion=PORTION, stride=STRIDE), LabelFolder(out))
        return 0.0

    return work, predictor.coarse_probs, images_at_once(size)


def published(network, dataset, size, out: Path, cache_mib: int) -> tuple[Callable, Callable, int]:
    """The same with all maps on disk and all confidences in lists; MiB of maps on disk."""
    import numpy as np
    import tensorflow as tf

    from training.data.input_pipeline import evaluation_stream
    from training.prediction.label_files import write_label_png

    views = tf.function(lambda image: (network(image)["logits"], network(image[:, :, ::-1])["logits"]))
    at_full_size = tf.function(lambda logits: tf.nn.softmax(tf.image.resize(logits, size))[0])
    for logits in views(np.zeros((1, *size, 3), np.float32)):
        at_full_size(logits)  # traced before the clock starts

    def work() -> float:
        maps = out / "maps"
        maps.mkdir(parents=True)
        pools: list[list[np.float32]] = [[] for _ in range(CLASSES)]
        for index, batch in enumerate(evaluation_stream(dataset, size, 1)):
            plain, mirrored = (at_full_size(logits).numpy() for logits in views(batch["image"]))
            probs = (plain + mirrored[:, ::-1]) / 2
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

    return work, views, 1


METHODS = {"ours": ours, "published": published}


def seconds_of(predict: Callable, batch: int, size: tuple[int, int]) -> float:
    """CPU seconds of the network for one image, with nothing else at work."""
    import numpy as np

    images = np.zeros((batch, *size, 3), np.float32)
    predict(images)  # traced before the clock starts
    times = NETWORK_IMAGES // batch
    started = time.process_time()
    for _ in range(times):
        predict(images)
    return (time.process_time() - started) / (times * batch)


def measure(method: str, images: Path, size: tuple[int, int], out: Path, cache_mib: int, run: Path | None) -> Result:
    """Run one case in this process."""
    from tests.export.networks import lively_network
    from training.data.classes import LABEL_SPACES
    from training.data.readers_folders import image_folder
    from training.prediction.trained_model import load_trained

    dataset = image_folder(images, LABEL_SPACES["cityscapes19"])
    network = load_trained(run).network if run else lively_network("compact", CLASSES)
    work, predict, batch = METHODS[method](network, dataset, size, out, cache_mib)
    alone, before = seconds_of(predict, batch, size) * len(dataset), peak_mib()
    wall, cpu = time.perf_counter(), time.process_time()
    disk = work()
    wall, cpu, peak = time.perf_counter() - wall, time.process_time() - cpu, peak_mib() - before
    return Result(wall, cpu, alone, peak, disk)


def in_own_process(method: str, images: Path, size: str, out: Path, arguments) -> Result:
    command = [sys.executable, __file__, "--method", method, "--folder", str(images), "--size", size, "--out", str(out)]
    command += ["--cache-mib", str(arguments.cache_mib)]
    command += ["--run", str(arguments.run)] if arguments.run else []
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return Result(**json.loads(done.stdout.splitlines()[-1]))


def equal_pixels(first: Path, second: Path) -> float:
    """Share of pixels with the same label in two folders of label files."""
    import cv2

    pairs = [(cv2.imread(str(path), -1), cv2.imread(str(second / path.name), -1)) for path in first.glob("*.png")]
    return float(sum((a == b).mean() for a, b in pairs) / len(pairs))


def line(images: Path, size: str, out: Path, count: int, arguments) -> str:
    """One line of the table."""
    methods = ("ours",) if arguments.ours else ("ours", "published")
    results = [in_own_process(method, images, size, out / method, arguments) for method in methods]
    cells = [f"{r.seconds:7.1f} {r.cpu_seconds:7.1f} {r.network:7.1f} {r.peak_mib:9.0f}" for r in results]
    start = f"{size:>8} {count:6} | {' | '.join(cells)}"
    if arguments.ours:
        return start
    a, b = results
    alone = (b.cpu_seconds - b.network) / (a.cpu_seconds - a.network)
    ratios = f"{b.seconds / a.seconds:6.2f} {b.cpu_seconds / a.cpu_seconds:6.2f} {alone:13.2f}"
    rate = f"{count / a.seconds:6.1f} {count / b.seconds:9.1f}"
    equal = equal_pixels(*(out / method for method in methods))
    return f"{start} {b.disk_mib:8.0f} | {ratios} | {rate} | {equal:.3%}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, nargs="+", default=[50, 200])
    parser.add_argument("--size", nargs="+", default=["256x512", "512x1024"])
    parser.add_argument("--ours", action="store_true", help="without the published way")
    parser.add_argument("--cache-mib", type=int, default=1024, help="what this project keeps between passes at most")
    parser.add_argument("--run", type=Path, help="a finished run whose network predicts")
    parser.add_argument("--method", choices=tuple(METHODS), help="one case only, as JSON")
    parser.add_argument("--folder", type=Path, help="its images")
    parser.add_argument("--out", type=Path, help="where its labels go")
    arguments = parser.parse_args()
    sizes = {size: tuple(int(side) for side in size.split("x")) for size in arguments.size}
    if arguments.method:
        case = (arguments.method, arguments.folder, *sizes.values(), arguments.out, arguments.cache_mib, arguments.run)
        print(json.dumps(asdict(measure(*case))))
        return
    print(f"labels of {CLASSES} classes, cbst, portion {PORTION}, network compact, both views")
    print("    size images | ours: s   CPU s     net  peak MiB | published: s CPU s   net peak MiB disk MiB |", end=" ")
    print("x wall  x CPU x CPU w/o net | images/s: ours, published | equal labels")
    for size, sides in sizes.items():
        for count in arguments.images:
            with tempfile.TemporaryDirectory() as folder:
                images = frames(Path(folder, "images"), count, sides)
                print(line(images, size, Path(folder, "labels"), count, arguments), flush=True)


if __name__ == "__main__":
    main()
