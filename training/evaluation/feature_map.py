"""A picture of pixel features in two dimensions, coloured by class, and how alike the features of the classes are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from training.data.classes import LabelSpace
from training.evaluation import canvas

PIXELS = 2000  # in a picture, of all domains together


@dataclass(frozen=True)
class PixelFeatures:
    """Features of pixels with their classes: float32 `[pixels, channels]` of length 1, and integer `[pixels]`."""

    features: np.ndarray
    label: np.ndarray

    @classmethod
    def joined(cls, parts: Sequence["PixelFeatures"]) -> "PixelFeatures":
        """The pixels of all parts, in their order."""
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in ("features", "label")))

    def labelled(self) -> "PixelFeatures":
        """Without the pixels that have no class."""
        kept = self.label < 254
        return PixelFeatures(self.features[kept], self.label[kept])

    def some(self, count: int) -> "PixelFeatures":
        """So many of them, the same in every call; all if there are fewer."""
        order = np.random.default_rng(0).permutation(len(self.label))[:count]
        return PixelFeatures(self.features[order], self.label[order])


@dataclass(frozen=True)
class ClassSums:
    """What the cosines of pixel features of length 1 follow from, however many pixels there are.

    sums: float64 `[classes, channels]`, of the features of each class. counts: int64 `[classes]`, of its pixels.
    """

    sums: np.ndarray
    counts: np.ndarray

    @classmethod
    def of(cls, pixels: PixelFeatures, classes: int) -> "ClassSums":
        """Of labelled pixels."""
        each = [pixels.features[pixels.label == number].sum(axis=0, dtype=np.float64) for number in range(classes)]
        return cls(np.stack(each), np.bincount(pixels.label, minlength=classes))

    def __add__(self, other: "ClassSums") -> "ClassSums":
        """Of the pixels of both."""
        return ClassSums(self.sums + other.sums, self.counts + other.counts)


def class_cosines(features: ClassSums) -> dict[str, float | None]:
    """{"intra", "inter"}: mean cosine of two different pixels of one class, and of two pixels of two classes.

    Every class and every pair of classes counts the same, however many pixels it has; None where there is no pair.
    """
    here = features.counts > 0
    sums, counts = features.sums[here], features.counts[here]
    several = counts > 1
    squares, pairs = (sums[several] ** 2).sum(axis=1) - counts[several], counts[several] * (counts[several] - 1)
    means = sums / counts[:, None]
    between = (means @ means.T)[np.triu_indices(len(counts), 1)]
    return {
        "intra": float(np.mean(squares / pairs)) if several.any() else None,
        "inter": float(np.mean(between)) if len(between) else None,
    }


def principal_axes(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`(mean, axes)` of `values` `[count, channels]`: the two directions of the largest variance, `[channels, 2]`."""
    mean = values.mean(axis=0)
    axes = np.linalg.svd(values - mean, full_matrices=False)[2][:2]
    return mean, np.pad(axes, ((0, 2 - len(axes)), (0, 0))).T


def write_feature_map(
    path: Path,
    moments: Mapping[str, Mapping[str, PixelFeatures]],
    label_space: LabelSpace,
    prototypes: Mapping[int, np.ndarray] | None = None,
) -> Path:
    """Draw a panel per moment: the pixels of each domain on the two principal axes of that moment.

    Args:
        moments: title -> domain -> its labelled pixels.
        prototypes: class -> features `[channels]`, drawn as stars into the last panel.
    """
    with canvas.style():
        figure = canvas.figure(5.6 * len(moments) + 1.8, 5.6)
        panels = figure.subplots(1, len(moments), squeeze=False)[0]
        shown: set[int] = set()
        for axes, (title, domains) in zip(panels, moments.items(), strict=True):
            some = {name: pixels.some(PIXELS // len(domains)) for name, pixels in domains.items()}
            stars = (prototypes or {}) if axes is panels[-1] else {}
            _draw(axes, some, stars, label_space)
            axes.set_title(title)
            shown |= {int(each) for pixels in some.values() for each in pixels.label} | set(stars)
        _legend(panels[-1], sorted(shown), label_space, stars=bool(prototypes))
        return canvas.save(figure, path)


def _draw(axes, domains: Mapping[str, PixelFeatures], stars: Mapping[int, np.ndarray], label_space: LabelSpace) -> None:
    mean, directions = principal_axes(np.concatenate([pixels.features for pixels in domains.values()]))
    for (name, pixels), marker in zip(domains.items(), "ox", strict=False):
        place = (pixels.features - mean) @ directions
        colours = np.array(label_space.colors)[pixels.label] / 255.0
        axes.scatter(*place.T, s=9, marker=marker, c=colours, linewidths=0.0 if marker == "o" else 0.8, label=name)
    for each, values in stars.items():
        colour = [np.array(label_space.colors[each]) / 255.0]
        axes.scatter(*((values - mean) @ directions), s=190, marker="*", c=colour, edgecolors="black", linewidths=1.0)
    axes.set_xlabel("first principal axis")
    axes.set_ylabel("second principal axis")


def _legend(axes, classes, label_space: LabelSpace, stars: bool) -> None:
    """The classes by their colours; what dots, crosses and, where there are any, stars are."""
    from matplotlib.lines import Line2D

    marks = [("o", "source pixel"), ("x", "target pixel"), *([("*", "prototype")] if stars else [])]
    entries = [Line2D([], [], ls="", marker=mark, color=canvas.INK, label=text) for mark, text in marks]
    for each in classes:
        colour = np.array(label_space.colors[each]) / 255.0
        entries.append(Line2D([], [], ls="", marker="s", color=colour, label=label_space.names[each]))
    axes.legend(handles=entries, loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=8)
