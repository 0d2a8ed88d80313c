"""Confusion counts over a whole set, and the scores that follow from them (NumPy only).

One matrix is summed over all pictures before anything is divided: the mean over pictures is another figure and not the
one papers give.
"""

from typing import Any

import numpy as np

from training.data.classes import IGNORE, LabelSpace
from training.errors import UserError


class Confusion:
    """Counts of (truth, prediction) pixel pairs.

    `matrix` is int64 `[classes, classes]`, rows = truth, columns = prediction. `unpredicted` is int64 `[classes]`:
    pixels of each true class for which the prediction is 255. They are wrong answers (false negatives of their class),
    not ignored ones, so a model cannot gain by staying silent. Pixels whose truth is 255 count nowhere, neither for the
    truth nor for the prediction.
    """

    def __init__(self, classes: int, matrix: np.ndarray | None = None, unpredicted: np.ndarray | None = None):
        """Start empty, or from stored counts of the same shapes."""
        self.classes = classes
        self.matrix = np.zeros((classes, classes), np.int64) if matrix is None else np.array(matrix, np.int64)
        self.unpredicted = np.zeros(classes, np.int64) if unpredicted is None else np.array(unpredicted, np.int64)
        if self.matrix.shape != (classes, classes) or self.unpredicted.shape != (classes,):
            raise ValueError(
                f"{classes} classes need a matrix [{classes}, {classes}] and a vector [{classes}], "
                f"got {self.matrix.shape} and {self.unpredicted.shape}"
            )

    def add(self, label: np.ndarray, prediction: np.ndarray, name: str = "a picture") -> None:
        """Count one picture or batch: integer arrays of one equal shape, ids `0..classes-1` or 255.

        `name` says in an error which picture it was. Raises UserError when the sizes differ or an id is outside the
        space.
        """
        label, prediction = np.asarray(label), np.asarray(prediction)
        if label.shape != prediction.shape:
            raise UserError(
                f"{name}: the truth has size {_size(label)} and the prediction {_size(prediction)}; "
                "both must have one size: give labels that belong to the pictures."
            )
        counted = label != IGNORE
        truth = self._checked(label[counted], name, "truth")
        answer = self._checked(prediction[counted], name, "prediction")
        answer[answer == IGNORE] = self.classes
        width = self.classes + 1
        pairs = np.bincount(truth * width + answer, minlength=self.classes * width).reshape(self.classes, width)
        self.matrix += pairs[:, :-1]
        self.unpredicted += pairs[:, -1]

    def _checked(self, ids: np.ndarray, name: str, what: str) -> np.ndarray:
        ids = ids.astype(np.int64)
        outside = (ids != IGNORE) & ((ids < 0) | (ids >= self.classes))
        if outside.any():
            raise UserError(
                f"{name}: the {what} holds id {ids[outside][0]}, but the label space has ids 0 to {self.classes - 1} "
                "and 255 for ignored: name the label space these labels were made for."
            )
        return ids

    def scores(self, label_space: LabelSpace) -> dict[str, Any]:
        """`scores` of these counts, unpredicted pixels included."""
        return scores(self.matrix, label_space, self.unpredicted)


def _size(array: np.ndarray) -> str:
    return " x ".join(str(length) for length in array.shape)


def iou(matrix: np.ndarray, unpredicted: np.ndarray | None = None) -> np.ndarray:
    """Intersection over union per class, float64 `[classes]` in 0..1; NaN for a class in neither truth nor prediction.

    `matrix` is `[classes, classes]`, rows = truth; `unpredicted` `[classes]` adds false negatives. A class that the
    truth lacks but the prediction holds has IoU 0: those pixels are mistakes.
    """
    counts = np.asarray(matrix, np.float64)
    right = np.diag(counts)
    union = counts.sum(axis=1) + counts.sum(axis=0) - right
    if unpredicted is not None:
        union = union + unpredicted
    return np.divide(right, union, out=np.full(len(right), np.nan), where=union > 0)


def scores(matrix: np.ndarray, label_space: LabelSpace, unpredicted: np.ndarray | None = None) -> dict[str, Any]:
    """All figures of one confusion matrix as plain JSON values, in percent (0..100).

    A class in neither truth nor prediction is named in `absent`: it has no IoU (None) and is left out of every mean.
    The published codes of CBST, CRST, IAST and HIAST count it as 0.

    `class_sets` holds one mIoU per named subset of the space: the mean, over the subset's ids, of the IoUs of this full
    matrix. For SYNTHIA's 13 classes it means that the 16-class network is scored as it is: its predictions of the three
    left-out classes stay mistakes where the truth is one of the 13.

    `miou_in_truth` is the mean over the classes that the truth shows: where labels know fewer classes than the space, a
    pixel that is predicted as one of the others makes that class count as 0 in `miou`.

    Keys: miou, miou_in_truth, per_class_iou {name: float | None}, pixel_accuracy, class_sets {name: float | None},
    absent [names], truth_pixels {name: int}, unpredicted (int: pixels with a truth and no prediction, counted as
    wrong).
    A mean over no class at all is None.
    """
    matrix = np.asarray(matrix, np.int64)
    silent = np.zeros(len(matrix), np.int64) if unpredicted is None else np.asarray(unpredicted, np.int64)
    if len(matrix) != label_space.count:
        raise ValueError(f"the matrix has {len(matrix)} classes and label space {label_space.name} {label_space.count}")
    values = iou(matrix, silent)
    missing = np.isnan(values)
    truth_pixels = matrix.sum(axis=1) + silent
    total = int(truth_pixels.sum())
    names = label_space.names
    return {
        "miou": _mean_percent(values),
        "miou_in_truth": _mean_percent(values[truth_pixels > 0]),
        "per_class_iou": {name: _percent(value) for name, value in zip(names, values, strict=True)},
        "pixel_accuracy": 100.0 * float(np.trace(matrix)) / total if total else None,
        "class_sets": {name: _mean_percent(values[list(ids)]) for name, ids in label_space.class_sets.items()},
        "absent": [name for name, gone in zip(names, missing, strict=True) if gone],
        "truth_pixels": {name: int(count) for name, count in zip(names, truth_pixels, strict=True)},
        "unpredicted": int(silent.sum()),
    }


def _percent(value: float) -> float | None:
    return None if np.isnan(value) else 100.0 * float(value)


def _mean_percent(values: np.ndarray) -> float | None:
    present = values[~np.isnan(values)]
    return 100.0 * float(present.mean()) if len(present) else None
