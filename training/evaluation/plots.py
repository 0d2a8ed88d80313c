"""The report's charts as PNG files. matplotlib is imported on first use, and only its Agg canvas: no display."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from training.data.classes import LabelSpace
from training.evaluation import canvas, formats, tables

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's palette: told apart with any colour vision; grey for "before".
_BEFORE, _AFTER, _ALARM = "#a6a6a6", "#0072b2", "#d55e00"
_CHOSEN_BAND = "#e3eef6"
TICK_LETTERS = 48  # of the names of stages below one small chart: with more they would overlap, and are tilted
_INK, _SOFT_INK = canvas.INK, "#666666"


def confusion_chart(
    path: Path,
    matrix: np.ndarray,
    label_space: LabelSpace,
    unpredicted: np.ndarray | None = None,
    title: str = "Confusion",
) -> Path:
    """Heat map of where each true class went: rows = truth, each row sums to 100 %.

    `matrix` is `[classes, classes]` counts; `unpredicted` `[classes]` gets its own last column if it is not all zero.
    Shares below 0.5 % are left blank, and a class without a pixel in the truth has a hatched row.
    """
    columns = [*label_space.names]
    counts = np.asarray(matrix, np.float64)
    if unpredicted is not None and np.any(unpredicted):
        counts, columns = np.column_stack([counts, unpredicted]), [*columns, "no prediction"]
    totals = counts.sum(axis=1, keepdims=True)
    percent = 100 * np.divide(counts, totals, out=np.zeros_like(counts), where=totals > 0)
    height, width = percent.shape
    with canvas.style():
        names = 0.1 * max(len(name) for name in columns)  # inches that the longest name takes, about
        figure = canvas.figure(1.4 + names + max(5.6, 0.47 * width), 1.6 + 0.75 * names + 0.4 * max(5, height))
        axes = figure.add_subplot()
        axes.imshow(percent, cmap="Blues", vmin=0, vmax=100, aspect="auto")
        _write_cells(axes, percent, totals[:, 0] > 0)
        axes.set_xticks(range(width), columns, rotation=45, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(height), label_space.names)
        _swatches(axes, label_space)
        axes.set_xlabel("predicted")
        axes.set_ylabel("truth")
        axes.spines[:].set_visible(False)
        axes.set_title(title, pad=24)
        note = "% of the true class's pixels; blank: below 0.5; hatched: not in the truth"
        axes.annotate(
            note, (0, 1), (0, 9), xycoords="axes fraction", textcoords="offset points", color=_SOFT_INK
        ).set_in_layout(False)
        return canvas.save(figure, path)


def _write_cells(axes: "Axes", percent: np.ndarray, in_truth: np.ndarray) -> None:
    height, width = percent.shape
    axes.set_xticks(np.arange(width + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(height + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=1.2)
    axes.tick_params(which="both", length=0)
    for row, column in zip(*np.nonzero(percent >= 0.5), strict=True):
        value = percent[row, column]
        colour = "white" if value > 55 else _INK
        weight = "bold" if row == column else "normal"
        axes.text(column, row, f"{value:.0f}", ha="center", va="center", color=colour, fontsize=9, weight=weight)
    for row in np.flatnonzero(~in_truth):
        axes.barh(row, width, left=-0.5, height=1, facecolor="#f4f4f4", edgecolor="#cfcfcf", hatch="////", linewidth=0)


def per_class_chart(
    path: Path,
    label_space: LabelSpace,
    before: Mapping[str, float | None] | None,
    after: Mapping[str, float | None] | None,
    *,
    title: str = "IoU per class",
    unit: str = "IoU in %",
    more_is_better: bool = True,
) -> Path:
    """Horizontal bars per class, before in grey and after in blue, with the change written at the end.

    `before` and `after` map class names to values (None or missing: no bar); with one of them None the chart has single
    bars.
    """
    series = [(name, values) for name, values in (("before", before), ("after", after)) if values is not None]
    names = label_space.names
    with canvas.style():
        figure = canvas.figure(8.2, 1.3 + (0.36 if len(series) == 2 else 0.28) * len(names))
        axes = figure.add_subplot()
        thick = 0.8 / len(series)
        for index, (name, values) in enumerate(series):
            numbers = [np.nan if values.get(key) is None else values[key] for key in names]
            offsets = np.arange(len(names)) + (index - (len(series) - 1) / 2) * thick
            colour = _BEFORE if name == "before" and len(series) == 2 else _AFTER
            axes.barh(offsets, numbers, height=thick * 0.92, color=colour, label=name)
        for row, name in enumerate(names):
            _write_end(axes, row, {side: values.get(name) for side, values in series}, more_is_better)
        axes.set_yticks(range(len(names)), names)
        axes.set_ylim(len(names) - 0.4, -0.6)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.grid(axis="x")
        axes.set_xlim(0, axes.get_xlim()[1] * 1.08)
        axes.set_xlabel(unit)
        axes.set_title(title)
        _swatches(axes, label_space)
        if len(series) == 2:
            axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, borderaxespad=0.2)
        return canvas.save(figure, path)


def _write_end(axes: "Axes", row: int, values: Mapping[str, float | None], more_is_better: bool) -> None:
    known = {side: value for side, value in values.items() if value is not None}
    colour = _SOFT_INK
    if not known:
        text = "in neither truth nor prediction"
    elif len(known) == 2:
        text = formats.number(known["after"] - known["before"], signed=True).replace("-", "\N{MINUS SIGN}")
        if more_is_better:
            colour = _ALARM if "\N{MINUS SIGN}" in text else _AFTER
    else:
        side, value = next(iter(known.items()))
        text = f"{value:.1f}, only {side}" if len(values) == 2 else f"{value:.1f}"
    end = max(known.values(), default=0)
    axes.annotate(text, (end, row), (4, 0), textcoords="offset points", va="center", color=colour, fontsize=9)


@dataclass(frozen=True)
class _Strip:
    """One small chart of `stages.png`: a value per stage, the model before adaptation first, None where unknown.

    `span` is the least height of the axis, so that a change that means nothing does not look like one.
    """

    title: str
    values: list[float | None]
    span: float
    from_zero: bool = False
    asked: list[float | None] | None = None


def stages_chart(path: Path, summary: Mapping[str, Any]) -> Path:
    """How the run went: one small chart per figure over the stages, starting with the model before adaptation.

    Drawn if known: mIoU, label-free gain, kept share against the portion asked for, consistency, agreement and
    class-share drift. The chosen stage has a blue band, a stage with verdict "collapse" orange crosses.
    """
    strips = [strip for strip in _strips(summary) if any(value is not None for value in strip.values)]
    names = ["before", *(entry["title"].lower() for entry in summary["stages"])]
    chosen = tables.chosen_line(summary["stages"], summary.get("chosen"))
    columns = 2 if len(strips) > 1 else 1
    lines = max(1, -(-len(strips) // columns))
    longest = max(map(len, names))
    fits = longest * len(names) <= TICK_LETTERS
    tilted = {} if fits else {"rotation": 35, "ha": "right", "rotation_mode": "anchor"}
    with canvas.style():
        figure = canvas.figure(4.8 * columns, 0.4 + (2.0 if fits else 2.0 + 0.06 * longest) * lines)
        grid = figure.subplots(lines, columns, squeeze=False).ravel()
        for axes, strip in zip(grid, strips, strict=False):
            _draw_strip(axes, strip, [entry.get("verdict") for entry in summary["stages"]])
            axes.set_xticks(range(len(names)), names, **tilted)
            axes.set_xlim(-0.5, len(names) - 0.5)
            if chosen is not None:
                axes.axvspan(chosen - 0.3, chosen + 0.3, color=_CHOSEN_BAND, zorder=0, linewidth=0)
        for axes in grid[len(strips) :]:
            axes.remove()
        collapsed = any(entry.get("verdict") == "collapse" for entry in summary["stages"])
        _stages_key(figure, chosen is not None, collapsed)
        return canvas.save(figure, path)


def _strips(summary: Mapping[str, Any]) -> list[_Strip]:
    before = {**tables.single_numbers(summary, "before"), **(summary.get("before") or {})}
    entries = [{**before, "agreement": None}, *summary["stages"]]

    def series(key: str, factor: float = 1.0) -> list[float | None]:
        return [None if entry.get(key) is None else factor * entry[key] for entry in entries]

    portions = [(entry.get("parameters") or {}).get("portion") for entry in entries]
    asked = [None if portion is None else 100 * portion for portion in portions]
    return [
        _Strip("mIoU in %", [tables.told_miou(entry) for entry in entries], span=8),
        _Strip("Label-free gain", series("label_free_gain"), span=0.1),
        _Strip("Kept share of the pixels in %", series("kept_share", 100), 5, True, asked if any(asked) else None),
        _Strip("Drift of the class shares", series("drift"), span=0.05, from_zero=True),
        _Strip("Consistency under views in %", series("consistency", 100), span=10),
        _Strip("Agreement with the stage before in %", series("agreement", 100), span=10),
    ]


def _draw_strip(axes: "Axes", strip: _Strip, verdicts: list[str | None]) -> None:
    heights = np.array([np.nan if value is None else value for value in strip.values], np.float64)
    places = np.arange(len(heights))
    if strip.asked is not None:
        levels = np.array([np.nan if value is None else value for value in strip.asked], np.float64)
        axes.plot(
            places, levels, "_", color=_INK, markersize=min(26, 130 / len(places)), label="portion asked for", mew=1.6
        )
        axes.legend(loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0.1, handlelength=1.5, markerscale=0.6)
    axes.plot(places, heights, color=_AFTER, marker="o", markersize=6, linewidth=1.8, zorder=3)
    collapsed = np.array([False, *(verdict == "collapse" for verdict in verdicts)])
    axes.plot(places[collapsed], heights[collapsed], "X", color=_ALARM, markersize=10, zorder=4)
    _write_values(axes, heights, digits=1 if strip.span >= 1 else 3, above=strip.from_zero)
    low, high = (0.0 if strip.from_zero else np.nanmin(heights)), np.nanmax(heights)
    missing = max(0.0, strip.span - (high - low))
    low, high = (low, high + missing) if strip.from_zero else (low - missing / 2, high + missing / 2)
    axes.set_ylim(low if strip.from_zero else low - 0.28 * (high - low), high + 0.28 * (high - low))
    axes.set_title(strip.title)
    axes.grid(axis="y")


def _write_values(axes: "Axes", heights: np.ndarray, digits: int, above: bool) -> None:
    """Each value beside its point, on the side where the line is not; or above it."""
    for place in np.flatnonzero(np.isfinite(heights)):
        around = np.delete(heights[max(0, place - 1) : place + 2], min(1, place))
        around = around[np.isfinite(around)]
        below = not above and len(around) > 0 and heights[place] < around.mean()
        style = {"ha": "center", "va": "top" if below else "bottom", "fontsize": 9, "textcoords": "offset points"}
        axes.annotate(f"{heights[place]:.{digits}f}", (place, heights[place]), (0, -8 if below else 8), **style)


def _stages_key(figure: "Figure", chosen: bool, collapsed: bool) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles = [Patch(color=_CHOSEN_BAND, label="chosen")] if chosen else []
    if collapsed:
        handles.append(Line2D([], [], color=_ALARM, marker="X", markersize=9, linestyle="", label="collapse"))
    figure.supxlabel("stage", fontsize=10)
    if handles:
        figure.legend(handles=handles, loc="outside upper right", ncols=2)


def _swatches(axes: "Axes", label_space: LabelSpace) -> None:
    """A little square in the class's own colour between its name and the axis."""
    from matplotlib.transforms import ScaledTranslation, blended_transform_factory

    left_of_axis = ScaledTranslation(-10 / 72, 0, axes.figure.dpi_scale_trans)
    place = blended_transform_factory(axes.transAxes, axes.transData) + left_of_axis
    style = {"marker": "s", "markersize": 8, "markeredgecolor": "#8c8c8c", "markeredgewidth": 0.5, "clip_on": False}
    for row, colour in enumerate(label_space.colors):
        axes.plot(0, row, transform=place, scalex=False, scaley=False, color=np.array(colour) / 255, **style)
    axes.tick_params(axis="y", pad=18)
