"""Exact thresholds of many probability maps: this project's two-pass histograms against the published way.

    python tests/benchmarks/thresholds.py            # 50 and 200 maps of 19 x 512 x 1024, about a minute

The published way keeps every stride-th confidence of each class in a Python list and sorts it. Both ways get the same
maps, windows of one large array, so that making them costs nothing; both include the arg-max over classes. Each case
runs in a process of its own: its peak memory is what that process held above its state before the first map.
"""

import argparse
import json
import math
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from tests.benchmarks.memory import peak_mib
from training.pseudo_labels import ClassBalancedSelector

CLASSES, HEIGHT, WIDTH = 19, 512, 1024
PORTION, STRIDE = 0.2, 4
MAPS = (50, 200)
ROWS_APART = 8  # neighbouring windows are shifted by this many rows


@dataclass(frozen=True)
class Result:
    """values: the thresholds; seconds: wall time, cpu_seconds: of all threads; peak_mib: above the start."""

    values: list[float]
    seconds: float
    cpu_seconds: float
    peak_mib: float


def street_like_probs(maps: int, layout: str) -> np.ndarray:
    """Float32 [c, rows, w] or [rows, w, c], long enough for `maps` windows: soft-max of logits at stride 8, upsampled.

    That is what segmentation networks give. Runs of one class are about 37 pixels long, in CamVid's labels 49 (at 480
    columns: longer at 1024).
    """
    random = np.random.default_rng(0)
    rows = HEIGHT + ROWS_APART * (maps - 1)
    coarse_rows, coarse_columns = rows // 8 + 1, WIDTH // 8
    blobs = random.standard_normal((CLASSES, coarse_rows // 16 + 1, coarse_columns // 16), dtype=np.float32) * 3
    logits = blobs.repeat(16, axis=1).repeat(16, axis=2)[:, :coarse_rows]
    logits += random.standard_normal(logits.shape, dtype=np.float32) * 0.3
    probs = np.empty((CLASSES, rows, WIDTH) if layout == "chw" else (rows, WIDTH, CLASSES), np.float32)
    by_class = probs if layout == "chw" else np.moveaxis(probs, -1, 0)
    for class_id in range(CLASSES):
        by_class[class_id] = np.exp(cv2.resize(logits[class_id], (WIDTH, coarse_rows * 8))[:rows])
    for row in range(rows):  # row by row: the building leaves no peak that would hide that of the methods
        by_class[:, row] /= by_class[:, row].sum(axis=0)
    return probs


def windows(probs: np.ndarray, maps: int, layout: str) -> Iterator[np.ndarray]:
    """Views [h, w, c]."""
    for index in range(maps):
        rows = slice(index * ROWS_APART, index * ROWS_APART + HEIGHT)
        yield np.moveaxis(probs[:, rows], 0, -1) if layout == "chw" else probs[rows]


def ours(probs: np.ndarray, maps: int, layout: str) -> np.ndarray:
    selector = ClassBalancedSelector(portion=PORTION, stride=STRIDE)
    return selector.fit(lambda: windows(probs, maps, layout)).thresholds


def published(probs: np.ndarray, maps: int, layout: str) -> np.ndarray:
    """A list of confidences per class, sorted: what the papers' programs do, in our words."""
    pools: list[list[np.float32]] = [[] for _ in range(CLASSES)]
    for single in windows(probs, maps, layout):
        label, confidence = single.argmax(axis=-1), single.max(axis=-1)
        for class_id in range(CLASSES):
            pools[class_id].extend(confidence[label == class_id][::STRIDE])
    values = np.ones(CLASSES, np.float32)
    for class_id, pool in enumerate(pools):
        pool.sort(reverse=True)
        rank = math.floor(len(pool) * PORTION)
        if rank:
            values[class_id] = pool[rank - 1]
    return values


def measure(method: str, maps: int, layout: str) -> Result:
    """Run one case in this process."""
    probs = street_like_probs(max(MAPS), layout)
    before = peak_mib()
    wall, cpu = time.perf_counter(), time.process_time()
    values = {"ours": ours, "published": published}[method](probs, maps, layout)
    return Result(values.tolist(), time.perf_counter() - wall, time.process_time() - cpu, peak_mib() - before)


def in_own_process(method: str, maps: int, layout: str) -> Result:
    command = [sys.executable, __file__, "--method", method, "--maps", str(maps), "--layout", layout]
    return Result(**json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--method", choices=("ours", "published"), help="one case only, as JSON")
    parser.add_argument("--maps", type=int, default=MAPS[-1])
    parser.add_argument("--layout", choices=("chw", "hwc"), default="chw")
    arguments = parser.parse_args()
    if arguments.method:
        print(json.dumps(vars(measure(arguments.method, arguments.maps, arguments.layout))))
        return
    print(f"maps of {CLASSES} x {HEIGHT} x {WIDTH}, every {STRIDE}th confidence ranked, portion {PORTION}")
    print("layout maps | ours: s   CPU s  peak MiB | published: s   CPU s  peak MiB | ratio wall   CPU  equal")
    for layout in ("chw", "hwc"):
        for maps in MAPS:
            a, b = (in_own_process(method, maps, layout) for method in ("ours", "published"))
            print(
                f"{layout:6} {maps:4} | {a.seconds:7.2f} {a.cpu_seconds:7.2f} {a.peak_mib:9.0f} |"
                f" {b.seconds:12.2f} {b.cpu_seconds:7.2f} {b.peak_mib:9.0f} |"
                f" {b.seconds / a.seconds:10.1f} {b.cpu_seconds / a.cpu_seconds:5.1f}  {a.values == b.values}",
                flush=True,
            )


if __name__ == "__main__":
    main()
