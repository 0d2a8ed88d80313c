"""What the selector `entropy_mixture` found, as one picture: each class' entropies, its two modes and the cut."""

from collections.abc import Mapping, Sequence
from math import erf, sqrt
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from training.evaluation import canvas, formats

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_CERTAIN, _UNCERTAIN, _CUT, _PIXELS = "#0072b2", "#d55e00", canvas.INK, "#c9c9c9"
_COLUMNS = 4
_CURVE_POINTS = 400


def mixture_chart(
    path: Path,
    names: Sequence[str],
    mixtures: Sequence[Mapping[str, Any]],
    thresholds: Sequence[float | None],
    kept: Sequence[float | None],
    title: str,
) -> Path | None:
    """One small chart per class that has pixels; None, and no file, where none has.

    Everything is by class. mixtures: as a manifest has them, with histograms. thresholds: the largest entropy kept,
    None = no cut. kept: share of the class' pixels. The lines are the modes' densities times weight, scaled to the
    pixels of the histogram.
    """
    entries = zip(names, mixtures, thresholds, kept, strict=True)
    shown = [entry for entry in entries if any(entry[1]["histogram"]["counts"])]
    if not shown:
        return None
    columns = min(_COLUMNS, len(shown))
    lines = -(-len(shown) // columns)
    with canvas.style():
        figure = canvas.figure(3.3 * columns, 0.9 + 2.1 * lines)
        grid = figure.subplots(lines, columns, squeeze=False).ravel()
        for axes, entry in zip(grid, shown, strict=False):
            _draw_class(axes, *entry)
        for axes in grid[len(shown) :]:
            axes.remove()
        figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold")
        figure.supxlabel("normalised entropy (0: certain, 1: all classes equally likely)", fontsize=10)
        _key(figure)
        return canvas.save(figure, path)


def manifest_chart(path: Path, manifest: Mapping[str, Any]) -> Path | None:
    """The picture of a labelling from its manifest; None, and no file, if its selector fits no such modes."""
    if "mixtures" not in manifest:
        return None
    names = manifest["class_names"] or [f"class {number}" for number in range(manifest["classes"])]
    title = f"Entropies of {manifest['images']} images"
    return mixture_chart(path, names, manifest["mixtures"], manifest["thresholds"], manifest["kept_share"], title)


def _draw_class(
    axes: "Axes", name: str, mixture: Mapping[str, Any], threshold: float | None, kept: float | None
) -> None:
    start, width, counts = (np.array(mixture["histogram"][key]) for key in ("start", "width", "counts"))
    end = start + width * len(counts)
    # The histogram, and above it the two modes as they were fitted.
    axes.bar(start + width * np.arange(len(counts)), counts, width, align="edge", color=_PIXELS, linewidth=0)
    if mixture["weights"] is not None:
        values = np.linspace(start, end, _CURVE_POINTS)
        modes = list(zip(*(mixture[key] for key in ("weights", "means", "variances")), strict=True))
        pixels = counts.sum() / sum(_share(start, end, *mode) for mode in modes)  # in and beyond the range
        for mode, colour in zip(modes, (_CERTAIN, _UNCERTAIN), strict=True):
            axes.plot(values, pixels * width * _density(values, *mode), color=colour, linewidth=1.6)
    # What is kept: all up to the cut, or the rule that stands in its place.
    if threshold is not None:
        axes.axvline(threshold, color=_CUT, linewidth=1.2, linestyle="--")
        axes.axvspan(start, np.clip(threshold, start, end), color=_CERTAIN, alpha=0.1, linewidth=0, zorder=0)
    by_modes = threshold is not None and mixture["rule"] == "two modes"
    if not by_modes:
        told = mixture["rule"] if threshold is not None else f"{mixture['rule']}: by confidence"
        axes.text(0.97, 0.95, told, transform=axes.transAxes, ha="right", va="top", fontsize=8.5)
    axes.set_xlim(start, end)
    axes.set_ylim(0, (1.08 if by_modes else 1.3) * counts.max())  # with room for the words
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.locator_params(axis="x", nbins=5)
    axes.set_title(f"{name}: {formats.percent(kept)} kept", fontsize=10)


def _density(values: np.ndarray, weight: float, mean: float, variance: float) -> np.ndarray:
    """Of one mode, times its weight."""
    return weight * np.exp(-((values - mean) ** 2) / (2 * variance)) / np.sqrt(2 * np.pi * variance)


def _share(start: float, end: float, weight: float, mean: float, variance: float) -> float:
    """Of all pixels those of one mode that lie in a range."""
    below, above = (erf((edge - mean) / sqrt(2 * variance)) for edge in (start, end))
    return weight * (above - below) / 2


def _key(figure) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles = [
        Patch(color=_PIXELS, label="pixels"),
        Line2D([], [], color=_CERTAIN, label="certain mode"),
        Line2D([], [], color=_UNCERTAIN, label="uncertain mode"),
        Line2D([], [], color=_CUT, linestyle="--", label="cut"),
    ]
    figure.legend(handles=handles, loc="upper right", ncols=4)
