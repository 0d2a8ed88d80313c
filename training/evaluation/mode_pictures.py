"""Pictures of the modes of classes (DRSL): a map of embeddings and modes, and the patches nearest to each mode."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.spatial.distance import cdist

from training.data.classes import LabelSpace
from training.evaluation import canvas
from training.evaluation.feature_map import PixelFeatures, principal_axes

MAP_PIXELS = 300  # in a map, per class and domain
PATCH_INCHES = 0.8


@dataclass(frozen=True)
class ModeMoment:
    """Embeddings and modes at one moment: domain -> labelled pixels, and float `[classes, M, D]`."""

    domains: Mapping[str, PixelFeatures]
    modes: np.ndarray


def nearest_class(values: np.ndarray, modes: np.ndarray) -> np.ndarray:
    """The class of the nearest of all modes: int `[n]`."""
    flat = modes.reshape(-1, modes.shape[-1])
    return cdist(values, flat, "sqeuclidean").argmin(axis=1) // modes.shape[1]


def hardest_classes(pixels: PixelFeatures, modes: np.ndarray, count: int = 3, least: int = 50) -> list[int]:
    """The classes of which the fewest pixels are nearest to a mode of their own, among those with `least` pixels."""
    right = nearest_class(pixels.features, modes) == pixels.label
    shares = {
        int(number): float(right[pixels.label == number].mean())
        for number in np.unique(pixels.label)
        if (pixels.label == number).sum() >= least
    }
    return sorted(shares, key=lambda number: (shares[number], number))[:count]


def write_mode_map(
    path: Path, moments: Mapping[str, ModeMoment], classes: Sequence[int], label_space: LabelSpace
) -> Path:
    """Draw a panel per moment: pixels of some classes on the two principal axes of that moment, with their modes.

    Args:
        moments: title -> embeddings and modes then. classes: that are shown.
    """
    from matplotlib.lines import Line2D

    colours = np.array(label_space.colors) / 255.0
    with canvas.style():
        figure = canvas.figure(5.2 * len(moments) + 1.8, 5.2)
        panels = figure.subplots(1, len(moments), squeeze=False)[0]
        for axes, (title, moment) in zip(panels, moments.items(), strict=True):
            shown = {
                name: [PixelFeatures(pixels.features[mine], pixels.label[mine]).some(MAP_PIXELS) for mine in of_class]
                for name, pixels in moment.domains.items()
                for of_class in [[pixels.label == number for number in classes]]
            }
            everything = [each.features for parts in shown.values() for each in parts]
            mean, directions = principal_axes(np.concatenate([*everything, *moment.modes[list(classes)]]))
            for (_, parts), marker in zip(shown.items(), "ox", strict=False):
                for number, part in zip(classes, parts, strict=True):
                    width = 0.0 if marker == "o" else 0.8
                    place = (part.features - mean) @ directions
                    axes.scatter(*place.T, s=9, marker=marker, color=colours[number], linewidths=width, alpha=0.7)
            for number in classes:
                place = (moment.modes[number] - mean) @ directions
                axes.scatter(*place.T, s=190, marker="*", color=colours[number], edgecolors="black", linewidths=1.0)
            axes.set_title(title)
            axes.set_xlabel("first principal axis")
            axes.set_ylabel("second principal axis")
        marks = (("o", "source pixel"), ("x", "target pixel"), ("*", "mode"))
        entries = [Line2D([], [], ls="", marker=mark, color=canvas.INK, label=text) for mark, text in marks]
        for number in classes:
            name = label_space.names[number]
            entries.append(Line2D([], [], ls="", marker="s", color=colours[number], label=name))
        panels[-1].legend(handles=entries, loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=8)
        return canvas.save(figure, path)


def nearest_pixels(distances: np.ndarray, image: np.ndarray, count: int) -> np.ndarray:
    """The pixels with the smallest distances, at most one of each image: their indices, the nearest first."""
    order = np.argsort(distances, kind="stable")
    firsts = np.unique(image[order], return_index=True)[1]
    return order[np.sort(firsts)[:count]]


def patch_around(picture: np.ndarray, row: int, column: int, side: int) -> np.ndarray:
    """The square of `side` pixels around a pixel of uint8 `[h, w, 3]`, shifted to lie inside."""
    side = min(side, *picture.shape[:2])
    top, left = (
        int(np.clip(place - side // 2, 0, length - side))
        for place, length in zip((row, column), picture.shape[:2], strict=True)
    )
    return picture[top : top + side, left : left + side]


def write_mode_patches(path: Path, rows: Sequence[tuple[str, Mapping[str, Sequence[np.ndarray]]]]) -> Path:
    """Draw a row per mode: for each domain the patches around the pixels that are nearest to it.

    Args:
        rows: title of the mode, and domain -> patches uint8 `[side, side, 3]`.
    """
    domains = dict.fromkeys(name for _, shown in rows for name in shown)
    columns = {name: max(1, *(len(shown[name]) for _, shown in rows)) for name in domains}  # 1: for the title
    with canvas.style():
        wide = sum(columns.values()) + len(columns)
        figure = canvas.figure(PATCH_INCHES * wide + 1.6, PATCH_INCHES * len(rows) + 0.5)
        panels = figure.subplots(len(rows), wide, squeeze=False)
        for axes in panels.flat:
            axes.set_axis_off()
        for number, (title, shown) in enumerate(rows):
            line = panels[number]
            line[0].text(1.0, 0.5, title, ha="right", va="center", transform=line[0].transAxes)
            start = 1
            for name, patches in shown.items():
                for axes, patch in zip(line[start:], patches, strict=False):
                    axes.imshow(patch)
                if number == 0:
                    line[start].set_title(name)
                start += columns[name] + 1
        return canvas.save(figure, path)
