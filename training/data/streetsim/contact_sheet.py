"""One page of frames beside their labels: python training/data/streetsim/contact_sheet.py --style game --out s.png"""

import argparse
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[3]))

import cv2
import numpy as np

from models.terminal import accept_all_characters
from training.data.classes import LABEL_SPACES
from training.data.streetsim import STYLES, render

PALETTE = LABEL_SPACES["cityscapes19"]


def sheet(style: str, seed: int, first: int, rows: int, columns: int, size: tuple[int, int]) -> np.ndarray:
    """Frames beside their colourised labels, uint8 [rows * h, columns * 2 * w, 3]."""
    frames = [render(STYLES[style], seed, first + k, size) for k in range(rows * columns)]
    pairs = [np.hstack([image, PALETTE.colorize(label)]) for image, label in frames]
    return np.vstack([np.hstack(pairs[row * columns : (row + 1) * columns]) for row in range(rows)])


def main() -> None:
    accept_all_characters()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--style", choices=sorted(STYLES), default="game")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("sheet.png"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--rows", type=int, default=4)
    parser.add_argument("--columns", type=int, default=2)
    parser.add_argument("--size", default="256x512", help="height x width")
    args = parser.parse_args()
    height, width = map(int, args.size.split("x"))
    page = sheet(args.style, args.seed, args.first, args.rows, args.columns, (height, width))
    cv2.imwrite(str(args.out), cv2.cvtColor(page, cv2.COLOR_RGB2BGR))
    print(args.out)


if __name__ == "__main__":
    main()
