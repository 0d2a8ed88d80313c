"""How often soft-balance sampling draws images of each class, round by round: a table and a picture."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from training.data.classes import LabelSpace
from training.evaluation import canvas, formats

MARK = " *"
_MOST = 1.0  # powers of two that the darkest colour stands for


def draws_section(rounds: Sequence[Mapping[str, Any]] | None, picture: Sequence[str]) -> list[str]:
    """Of the report: how often images of each class were drawn; nothing where no round is balanced."""
    if not rounds:
        return []
    told = (
        "Share of the drawn source images that show each class, the rarest class first. *: the class raises the "
        "sampling weight of its images. In brackets: mean normalised entropy of the target pixels that are predicted "
        "as the class (0: certain, 1: all classes equally likely)."
    )
    return ["## Soft-balance sampling", told, draws_table(rounds), *picture]


def draws_table(rounds: Sequence[Mapping[str, Any]]) -> str:
    """Per class, the rarest first: the share of the drawn images that show it, before the rounds and in each.

    rounds: `soft_balance` of the summary. Where a round measured it, the mean entropy follows in brackets.
    """
    rows = []
    for name, first in rounds[0]["classes"].items():
        cells = [_cell(entry["classes"][name]) for entry in rounds]
        rows.append((name, formats.percent(first["pixels"], 3), formats.percent(first["before"]), *cells))
    titles = [entry["stage"].lower() for entry in rounds]
    return formats.markdown_table(("class", "of the labelled pixels", "uniform sampling", *titles), rows)


def _cell(figures: Mapping[str, Any]) -> str:
    """Share, mark and entropy of one class in one round."""
    share = formats.percent(figures["after"]) + (MARK if figures["chosen"] else "")
    if figures["predicted"] is None:
        return share
    return f"{share} ({'not predicted' if figures['entropy'] is None else formats.number(figures['entropy'], 3)})"


def draws_chart(path: Path, rounds: Sequence[Mapping[str, Any]], space: LabelSpace) -> Path:
    """The same as a picture: one row per class, the rarest above, one column per round.

    The colour says how the share has changed against uniform sampling: blue = more often. A dot marks the classes
    that raise the sampling weight of their images.
    """
    names = list(rounds[0]["classes"])
    uniform = np.array([rounds[0]["classes"][name]["before"] for name in names])
    drawn = np.array([[entry["classes"][name]["after"] for name in names] for entry in rounds])
    shares = np.column_stack([uniform, drawn.T])
    changes = np.log2(np.maximum(shares, 1e-9) / np.maximum(uniform, 1e-9)[:, None])
    with canvas.style():
        figure = canvas.figure(2.6 + 0.95 * shares.shape[1], 1.2 + 0.27 * len(names))
        axes = figure.subplots()
        axes.imshow(changes, cmap="RdBu", vmin=-_MOST, vmax=_MOST, aspect="auto", alpha=0.8)
        axes.set_yticks(range(len(names)), names)
        axes.set_xticks(range(shares.shape[1]), ["uniform", *(_short(entry["stage"]) for entry in rounds)])
        for (row, column), share in np.ndenumerate(shares):
            chosen = column > 0 and rounds[column - 1]["classes"][names[row]]["chosen"]
            colour = "white" if abs(changes[row, column]) > 0.6 * _MOST else canvas.INK
            text = f"{100 * share:.1f}" + (" •" if chosen else "")
            axes.text(column, row, text, ha="center", va="center", fontsize=9, color=colour)
        axes.set_title("Drawn images that show each class, %")
        axes.set_xlabel(
            "blue: more often than with uniform sampling, red: less; •: raises the sampling weight", fontsize=8.5
        )
        return canvas.save(figure, path)


def _short(title: str) -> str:
    """A column's title: "Alignment round 2" -> "round 2"."""
    return title.lower().removeprefix("alignment ")
