"""Labels of several selectors from the same predictions, as many pixels each: how many are right, class by class.

    python tests/benchmarks/selected_labels.py RUN [--stage STAGE] [--gamma GAMMA]

Of a finished run whose target has labels, which no selector sees. `entropy_mixture` chooses how many pixels it keeps.
The others are set so that they keep as many: the portion of CBST and of ST, alpha of IAS by bisection. The predictions
are of the image and its mirrored view, as in a round, by the model that the run took or that of `--stage`.
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))

import argparse
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from tests.benchmarks.label_quality import labelled_target
from training.errors import UserError

STEPS = 8  # of the bisection: alpha to 1 in 256


@dataclass(frozen=True)
class Labels:
    """Of one selector. matrix: int64 `[classes, classes]`, truth x label, of the labelled pixels. pixels: of all."""

    title: str
    matrix: np.ndarray
    pixels: int

    @property
    def kept(self) -> float:
        return self.matrix.sum() / self.pixels

    @property
    def right(self) -> np.ndarray:
        """Of each class the share of its labels that are right; NaN where there are none."""
        with np.errstate(invalid="ignore"):
            return np.diag(self.matrix) / self.matrix.sum(axis=0)


def compared(run: pathlib.Path, stage: str, gamma: float) -> tuple[list[Labels], tuple[str, ...]]:
    """The labels of every selector, and the names of the classes.

    Raises:
        UserError: the target of `run` has no labels, or the run is not there.
    """
    from training.data.images import resize_label
    from training.evaluation.confusion import Confusion
    from training.prediction.label_images import LabelsInMemory, label_images
    from training.prediction.predictor import Predictor
    from training.prediction.target_predictions import TargetPredictions
    from training.prediction.trained_model import load_trained
    from training.pseudo_labels import build_selector
    from training.settings.selectors import ClassBalanced, EntropyMixture, GlobalThreshold, InstanceAdaptive

    model = load_trained(run, stage)
    data, space = model.experiment.data, model.label_space
    dataset = labelled_target(run, data, space)
    predictor = Predictor(model.network).with_views(flips=(False, True))
    predictions = TargetPredictions(predictor, dataset, data.size)
    truth = {sample.name: resize_label(dataset.read_label(n), data.size) for n, sample in enumerate(dataset.samples)}

    def labels_of(title: str, settings) -> Labels:
        memory, confusion = LabelsInMemory(), Confusion(space.count)
        found = label_images(predictions, build_selector(settings, 1, None), memory)
        for name, label in memory.labels.items():
            confusion.add(truth[name], label, name)
        print(f"{title}: {found.kept_share:.1%} of the pixels", file=sys.stderr, flush=True)
        return Labels(title, confusion.matrix, int(confusion.matrix.sum() + confusion.unpredicted.sum()))

    adaptive = InstanceAdaptive(gamma=gamma)
    mixture = labels_of("entropy_mixture", EntropyMixture())
    alpha = bisected(lambda share: labels_of("ias", replace(adaptive, alpha=share)).kept, mixture.kept)
    same = {"portion": float(mixture.kept), "portion_max": 1.0}
    rows = [
        labels_of("all pixels", GlobalThreshold(portion=1.0, portion_max=1.0)),
        mixture,
        labels_of(f"cbst, portion {mixture.kept:.2f}", ClassBalanced(**same)),
        labels_of(f"st, portion {mixture.kept:.2f}", GlobalThreshold(**same)),
        labels_of(f"ias, alpha {alpha:.2f}, gamma {gamma:g}", replace(adaptive, alpha=alpha)),
    ]
    return rows, space.names


def bisected(kept: Callable[[float], float], wanted: float) -> float:
    """The value in (0, 1] at which `kept`, which grows with it, is `wanted`; 1 if it stays below."""
    low, high = 0.0, 1.0
    for _ in range(STEPS):
        middle = (low + high) / 2
        low, high = (low, middle) if kept(middle) > wanted else (middle, high)
    return high


def table(rows: list[Labels], names: tuple[str, ...]) -> str:
    """Markdown: of all labels and of each class in the truth, the percentage that is right."""
    lines = [f"| selector | labelled % | right % | mean of the classes | {' | '.join(names)} |"]
    lines.append("|---" + "|--:" * (3 + len(names)) + "|")
    for row in rows:
        overall = np.trace(row.matrix) / max(1, row.matrix.sum())
        cells = [row.kept, overall, np.nanmean(row.right), *row.right]
        shown = ("" if np.isnan(value) else f"{100 * value:.1f}" for value in cells)
        lines.append(f"| {row.title} | {' | '.join(shown)} |")
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("run", type=pathlib.Path)
    parser.add_argument("--stage", default="final", help="of the run, for example statistics")
    parser.add_argument("--gamma", type=float, default=8.0, help="of IAS; on the built-in streets its recipes have 0")
    arguments = parser.parse_args(argv)
    print(table(*compared(arguments.run, arguments.stage, arguments.gamma)))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error:
        sys.exit(f"streetshift: {error}")
