"""Charts over time: the loss terms of each stage, the thresholds as they move, what each round kept of each class."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from training.data.classes import LabelSpace
from training.evaluation import canvas

_BLUE = "#0072b2"


def training_curves(path: Path, metrics: Mapping[str, Mapping[str, Sequence[tuple[int, float]]]]) -> Path:
    """One small chart a loss term, the stages one after the other, a thin line where a stage begins."""
    names = list(dict.fromkeys(name for stage in metrics.values() for name in stage))
    starts, end = _starts(metrics)
    columns = 2 if len(names) > 1 else 1
    with canvas.style():
        figure = canvas.figure(4.8 * columns, 0.3 + 2.0 * -(-len(names) // columns))
        grid = figure.subplots(-(-len(names) // columns), columns, squeeze=False).ravel()
        for axes, name in zip(grid, names, strict=False):
            for stage, curves in metrics.items():
                steps, values = zip(*curves.get(name, [(np.nan, np.nan)]), strict=True)
                mark = "." if len(steps) < 5 else None
                axes.plot(np.array(steps) + starts[stage][0], values, color=_BLUE, linewidth=1.5, marker=mark)
            for start, done in list(starts.values())[1:]:
                axes.axvline(start + done, color="#bbbbbb", linewidth=0.8, zorder=0)
            axes.set_title(name.replace("_", " "))
            axes.set_xlim(0, end)
            axes.grid(axis="y")
        for axes in grid[len(names) :]:
            axes.remove()
        figure.supxlabel(f"step ({', '.join(stage.replace('_', ' ') for stage in metrics)})", fontsize=9)
        return canvas.save(figure, path)


def _starts(metrics) -> tuple[dict[str, tuple[int, int]], int]:
    """Where step 0 of each stage lies on a common axis and how many steps it left out, as a part that goes on from the
    one before; and where the axis ends."""
    starts: dict[str, tuple[int, int]] = {}
    start = end = last = 0
    kind = ""
    for stage, curves in metrics.items():
        logged = [step for points in curves.values() for step, _ in points]
        goes_on = kind == stage.rpartition("_")[0] and min(logged) > last
        start, done = (start, last) if goes_on else (end, 0)
        kind, last = stage.rpartition("_")[0], max(logged)
        starts[stage], end = (start, done), start + last
    return starts, end


def threshold_chart(path: Path, trajectories: Mapping[str, np.ndarray], space: LabelSpace) -> Path:
    """Thresholds that move over the batches, `[batches + 1, classes]` per stage (by title), side by side."""
    with canvas.style():
        figure = canvas.figure(1.8 + 3.0 * len(trajectories), 3.8)
        grid = figure.subplots(1, len(trajectories), squeeze=False, sharey=True).ravel()
        for axes, (label, trajectory) in zip(grid, trajectories.items(), strict=True):
            for class_id, name in enumerate(space.names):
                colour = np.array(space.colors[class_id]) / 255
                axes.plot(np.asarray(trajectory)[:, class_id], color=colour, label=name, linewidth=1.4)
            axes.set_title(label)
            axes.set_xlabel("batch")
            axes.grid(axis="y")
        grid[0].set_ylabel("threshold")
        handles, names = grid[0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside right center", fontsize=7)
        return canvas.save(figure, path)


def kept_share_chart(path: Path, rounds: Sequence[Mapping[str, Any]], space: LabelSpace) -> Path:
    """How much of each class' pixels every round kept, in percent: one row per class, one column per round."""
    shares = np.array([[entry["kept_share_per_class"].get(name) or 0.0 for name in space.names] for entry in rounds])
    with canvas.style():
        figure = canvas.figure(2.4 + 0.9 * len(rounds), 1.0 + 0.27 * space.count)
        axes = figure.subplots()
        axes.imshow(100 * shares.T, cmap="Blues", vmin=0, vmax=100, aspect="auto")
        axes.set_yticks(range(space.count), space.names)
        axes.set_xticks(range(len(rounds)), [entry["title"].lower() for entry in rounds])
        for (column, row), share in np.ndenumerate(shares):
            colour = "white" if share > 0.6 else canvas.INK
            axes.text(column, row, f"{100 * share:.0f}", ha="center", va="center", fontsize=9, color=colour)
        axes.set_title("Kept of each class, %")
        return canvas.save(figure, path)
