"""What a run calls the pixels of rare classes, stage by stage: why small classes vanish.

    python tests/benchmarks/rare_labels.py RUN [--stages source round_1] [--classes pedestrian sign] [--below 0.02]

Of a finished run with labelled evaluation images. A class is rare if less than 2 % of their labelled pixels show it.
For each, the table has the share of its pixels that the model of a stage calls so, and the classes that it names most
often instead, each with the mean confidence of these pixels.
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from training.errors import UserError

INSTEAD = 3  # other classes that are named


@dataclass
class Calls:
    """Of pixels with a label, by truth and prediction: how many, and the sum of their confidences; `[n, n]` each."""

    pixels: np.ndarray
    confidence: np.ndarray

    @classmethod
    def of_none(cls, classes: int) -> "Calls":
        return cls(np.zeros((classes, classes), np.int64), np.zeros((classes, classes)))

    def add(self, truth: np.ndarray, probs: np.ndarray) -> None:
        """One image: train ids uint8 `[h, w]`, 255 = none, and probabilities float `[h, w, n]`."""
        classes = len(self.pixels)
        labelled = truth < classes
        pairs = truth[labelled].astype(np.int64) * classes + probs.argmax(axis=-1)[labelled]
        self.pixels += np.bincount(pairs, minlength=classes**2).reshape(classes, classes)
        sums = np.bincount(pairs, weights=probs.max(axis=-1)[labelled], minlength=classes**2)
        self.confidence += sums.reshape(classes, classes)

    @property
    def shares(self) -> np.ndarray:
        """Of the labelled pixels, those of each class: float64 `[n]`."""
        return self.pixels.sum(axis=1) / max(1, self.pixels.sum())


def calls_of(run: pathlib.Path, stages: Sequence[str]) -> tuple[dict[str, Calls], tuple[str, ...]]:
    """By stage (none named: all), and the names of the classes.

    Raises:
        UserError: no such run or stage, or no labelled evaluation images.
    """
    from training.data.domains import evaluation_of
    from training.data.input_pipeline import evaluation_stream
    from training.prediction.predictor import Predictor, enlarge, images_at_once
    from training.prediction.trained_model import load_trained, stages_of
    from training.progress import Meter

    trained = load_trained(run)
    dataset, size = evaluation_of(trained.experiment, trained.sixteen_bit_range), trained.experiment.data.size
    if dataset is None:
        raise UserError(f"{run} has no labelled evaluation images")
    predictor, found = Predictor(trained.network), {}
    held = stages_of(trained.directory)
    for stage in stages or [name for name in trained.directory.stages if name in held]:
        trained.take(stage)
        calls = Calls.of_none(trained.label_space.count)
        with Meter(stage, len(dataset)) as meter:
            for batch in evaluation_stream(dataset, size, images_at_once(size)):
                probs = predictor.coarse_probs(batch["image"])
                for row, index in enumerate(batch["index"].numpy()):
                    truth = dataset.read_label(int(index))
                    calls.add(truth, enlarge(probs[row : row + 1], truth.shape).numpy()[0])
                meter.advance(len(probs))
        found[stage] = calls
    return found, trained.label_space.names


def table(found: Mapping[str, Calls], names: Sequence[str], classes: Sequence[str], below: float) -> str:
    """Markdown: one line per rare class, or per class that is named, and stage."""
    shares = next(iter(found.values())).shares
    shown = classes or [name for name, share in zip(names, shares, strict=True) if 0 < share < below]
    lines = ["| class | of all pixels | stage | called so | called instead |", "|---|---|---|---|---|"]
    for name in shown:
        row = names.index(name)
        for number, (stage, calls) in enumerate(found.items()):
            of_class = (name, f"{100 * shares[row]:.2f} %") if number == 0 else ("", "")
            order = np.argsort(-calls.pixels[row], kind="stable")
            others = [each for each in order if each != row and calls.pixels[row, each]]
            instead = ", ".join(f"{names[each]} {_call(calls, row, each)}" for each in others[:INSTEAD])
            lines.append(f"| {' | '.join((*of_class, f'`{stage}`', _call(calls, row, row), instead))} |")
    return "\n".join(lines)


def _call(calls: Calls, truth: int, prediction: int) -> str:
    pixels, all_pixels = calls.pixels[truth, prediction], calls.pixels[truth].sum()
    if pixels == 0:
        return "0 %"
    return f"{100 * pixels / all_pixels:.0f} % (at {calls.confidence[truth, prediction] / pixels:.2f})"


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("run", type=pathlib.Path)
    parser.add_argument("--stages", nargs="+", default=[], help="of the run, for example source round_1 (all)")
    parser.add_argument("--classes", nargs="+", default=[], help="in the place of the rare ones")
    parser.add_argument("--below", type=float, default=0.02, help="the share of the pixels below which a class is rare")
    arguments = parser.parse_args(argv)
    found, names = calls_of(arguments.run, arguments.stages)
    if unknown := set(arguments.classes) - set(names):
        raise UserError(f"--classes {' '.join(sorted(unknown))}: the run knows {', '.join(names)}")
    print(table(found, names, arguments.classes, arguments.below))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error:
        sys.exit(f"streetshift: {error}")
