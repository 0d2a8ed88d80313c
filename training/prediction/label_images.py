"""Label a set of images: fit the selector to all of them, label each, count, write labels and manifest.

It serves a round of training, `training/label.py`, `export/predict.py` and the page: NumPy and Pillow only.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from training.distribution.shares import Workers
from training.distribution.threads import in_order
from training.probability_maps.enlarging import Enlarged
from training.pseudo_labels.selector import IGNORE, Fitted, Probs, Selector

LABEL_SUFFIX = ".png"


class Predictions(ABC):
    """Probability maps of a set of images, with what a manifest tells of them.

    names: of all images, in their order. mine: positions of the images whose maps are given: all, or the share of one
    of several workers. source: where they come from, in words. class_names: None = not known.
    """

    names: Sequence[str]
    mine: Sequence[int] | np.ndarray
    source: str
    classes: int
    class_names: Sequence[str] | None = None

    @abstractmethod
    def __call__(self) -> Iterable[Probs]:
        """Yield the maps of the images `mine`, as `Maps`; a method `some` may give a part of them."""


class LabelWriter(Protocol):
    """Where labels go: `LabelFolder`, `LabelsInMemory`."""

    def write(self, name: str, label: np.ndarray) -> None:
        """Keep one label, uint8 [h, w]; several threads call it, with names in any order."""

    def finish(self, manifest: dict[str, Any]) -> None:
        """Keep the manifest, after all labels; one of several workers does it."""


class LabelsInMemory:
    """labels: uint8 [h, w] by name, in the order of the images once all are labelled. manifest: known then, too."""

    def __init__(self) -> None:
        self.labels: dict[str, np.ndarray] = {}
        self.manifest: dict[str, Any] = {}

    def write(self, name: str, label: np.ndarray) -> None:
        self.labels[name] = label

    def finish(self, manifest: dict[str, Any]) -> None:
        names = (file.removesuffix(LABEL_SUFFIX) for file in manifest["files"])
        self.labels = {name: self.labels[name] for name in names}
        self.manifest = manifest


@dataclass(frozen=True)
class LabelledImages:
    """What labelling a set of images found.

    fitted: labels other images in the same way. pixels: int64 [c], pixels of the images per arg-max class.
    image_counts: int64 [images, c], kept pixels. mean_confidence: float64 [c], of the kept pixels, NaN where there are
    none. class_names: None = not known.
    """

    fitted: Fitted
    names: tuple[str, ...]
    class_names: tuple[str, ...] | None
    pixels: np.ndarray
    image_counts: np.ndarray
    mean_confidence: np.ndarray

    @property
    def kept(self) -> np.ndarray:
        """Kept pixels per class, int64 [c]."""
        return self.image_counts.sum(axis=0)

    @property
    def kept_share(self) -> float:
        """Kept pixels over all pixels."""
        return float(self.kept.sum() / max(self.pixels.sum(), 1))

    def figures(self) -> dict[str, Any]:
        """What the state of a run and its report tell, per class by name."""
        thresholds = [float(value) if np.isfinite(value) else None for value in np.float32(self.fitted.thresholds)]
        shares = self.kept / np.maximum(self.pixels, 1)
        return {
            "selector": self.fitted.selector.name,
            "parameters": self.fitted.selector.shown_parameters,
            "images": len(self.names),
            "kept_share": self.kept_share,
            "kept_share_per_class": dict(zip(self.class_names, shares.tolist(), strict=True)),
            "thresholds": dict(zip(self.class_names, thresholds, strict=True)),
            "pixels": dict(zip(self.class_names, self.pixels.tolist(), strict=True)),
            **self.fitted.figures(),
        }

    def manifest(self, source: str) -> dict[str, Any]:
        """What a folder of pseudo-labels holds and how it was made; every list is by class.

        It holds `fitted.to_json`, so that `from_json` reads it. thresholds: null = it has none. kept_share: selected
        pixels over the pixels whose arg-max is that class, null where there are none (above 1 when re-weighting moves
        pixels to a class). mean_confidence: null where nothing was selected.
        """
        kept, pixels = self.kept.tolist(), self.pixels.tolist()
        return {
            "selector": self.fitted.selector.name,
            **self.fitted.to_json(),
            "pixels": pixels,
            "images": len(self.names),
            "source": source,
            "classes": len(pixels),
            "class_names": None if self.class_names is None else list(self.class_names),
            "kept_pixels": kept,
            "kept_share": [k / n if n else None for k, n in zip(kept, pixels, strict=True)],
            "kept_share_all": self.kept_share,
            "mean_confidence": [None if np.isnan(mean) else mean for mean in self.mean_confidence.tolist()],
            **self.fitted.figures(),
            "files": [f"{name}{LABEL_SUFFIX}" for name in self.names],
        }


def label_images(
    predictions: Predictions, selector: Selector, writer: LabelWriter, workers: Workers | None = None
) -> LabelledImages:
    """Label the images, give each label to `writer`, and the manifest at the end.

    workers: other processes that label the other images; labels and manifest are to the byte those of one process.
    For an ordered selector the chief labels all images, so its `predictions` must hold all of them.

    Raises:
        UserError: as `Selector.fit`, or a label cannot be written.
    """
    if selector.ordered and workers is not None:
        return workers.on_chief(lambda: label_images(predictions, selector, writer))
    counts = np.zeros((len(predictions.names), predictions.classes), np.int64)
    sums = np.zeros(counts.shape)
    # Fit; an ordered selector does that while it labels.
    labelling = selector.label_all(predictions, workers)

    def label_one(index: int, probs: Probs, label_of: Callable[[Probs], np.ndarray]) -> None:
        label = label_of(probs)
        counts[index], sums[index] = count_kept(label, probs)
        writer.write(predictions.names[index], label)

    # Label, count and write on a few threads, while the next map is made.
    steps = ((index, *step) for index, step in zip(predictions.mine, labelling, strict=True))
    for _ in in_order(label_one, steps):
        pass
    # Counts of all workers; a row is one worker's, so that the sums are exact.
    if workers is not None:
        counts, sums = workers.add_up(counts), workers.add_up(sums)
    found = labelled(
        labelling.fitted, labelling.fitted.pixels, counts, sums, predictions.names, predictions.class_names
    )
    if workers is None:
        writer.finish(found.manifest(predictions.source))
    else:
        workers.on_chief(lambda: writer.finish(found.manifest(predictions.source)))
    return found


def labelled(
    fitted: Fitted,
    pixels: np.ndarray,
    counts: np.ndarray,
    sums: np.ndarray,
    names: Sequence[str],
    class_names: Sequence[str] | None,
) -> LabelledImages:
    """The result from the counts and sums of `count_kept`, both [images, c]."""
    kept = counts.sum(axis=0)
    means = np.where(kept > 0, sums.sum(axis=0) / np.maximum(kept, 1), np.nan)
    own = fitted.mean_confidence
    class_names = None if class_names is None else tuple(class_names)
    return LabelledImages(fitted, tuple(names), class_names, pixels, counts, means if own is None else own)


def count_kept(label: np.ndarray, probs: Probs) -> tuple[np.ndarray, np.ndarray]:
    """Per class the number of pixels that a label keeps, int64 [c], and the sum of their probabilities, float64 [c]."""
    classes = probs.shape[-1]
    pixels = np.flatnonzero(label != IGNORE)
    kept = label.reshape(-1)[pixels]
    if isinstance(probs, Enlarged):
        confidence = probs.at(pixels, kept)
    else:
        confidence = probs[(*np.divmod(pixels, label.shape[1]), kept)]
    return np.bincount(kept, minlength=classes), np.bincount(kept, weights=confidence, minlength=classes)
