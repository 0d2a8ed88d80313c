"""How fast the built-in streets are rendered: frames a CPU-second of one process, style by style.

    python tests/benchmarks/streets.py

CPU time, not wall time: other work on the machine does not count. Goal: 8 frames per second and core at 256x512.
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))

import argparse
import time

import cv2

from training.data.streetsim import STYLES, render

SIZES = ((128, 256), (256, 512))


def frames_per_second(style: str, size: tuple[int, int], frames: int) -> float:
    """Frames a second of CPU time of this process, on one thread."""
    render(STYLES[style], 1, 0, size)  # the first pays for imports and tables
    started = time.process_time()
    for index in range(frames):
        render(STYLES[style], 0, index, size)
    return frames / (time.process_time() - started)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--frames", type=int, default=40)
    frames = parser.parse_args(argv).frames
    cv2.setNumThreads(1)
    print("| style | " + " | ".join(f"{height}x{width}" for height, width in SIZES) + " |")
    print("|---" * (1 + len(SIZES)) + "|")
    for style in STYLES:
        rates = [frames_per_second(style, size, frames) for size in SIZES]
        print(f"| `{style}` | " + " | ".join(f"{rate:.1f}" for rate in rates) + " |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
