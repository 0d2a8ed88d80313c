"""The end of a run on the terminal; its summary is that of `report.py`."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training.evaluation import formats, tables
from training.evaluation.report import completed, headline

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


def print_summary(summary: Mapping[str, Any], console: "Console", report: Path | None = None) -> None:
    """Before -> after per class, chosen round, place of the report, next commands."""
    summary = completed(summary)
    title = " · ".join(str(summary[key]) for key in ("recipe", "data", "model"))
    console.print(f"{title} · seed {summary['seed']}", style="bold", markup=False)
    console.print(_table(summary))
    for line in headline(summary):
        console.print(line.replace("**", ""), markup=False)
    for line in tables.score_notes(summary):
        console.print(line, style="dim", markup=False)
    cost = f"{formats.duration(summary['seconds'])}, peak memory {formats.memory(summary['peak_rss_bytes'])}"
    console.print(f"Took {cost}.")
    if report is not None:
        console.print(f"Report: {report}", soft_wrap=True, markup=False)
    for command in summary.get("next_commands") or []:
        console.print(f"Next:   {command}", style="bold", soft_wrap=True, markup=False)


def _table(summary: Mapping[str, Any]) -> "Table":
    from rich.table import Table
    from rich.text import Text

    table = Table()
    rows, compare = tables.class_rows(summary), tables.compares(summary)
    for heading in _headings(bool(rows), compare):
        table.add_column(heading, justify="left" if heading in ("class", "measurement") else "right")
    if not rows:
        for cells in tables.label_free_rows(summary):
            table.add_row(*(Text(cell) for cell in cells))
        return table
    for row in rows:
        table.add_row(*_cells(row, compare))
    table.add_section()
    means = [tables.told_miou(summary[side]) for side in ("before", "after")]
    cells = _cells(tables.ClassRow("mIoU", *means, None), compare)
    table.add_row(*("none" if cell == formats.UNKNOWN else cell for cell in cells), style="bold")
    return table


def _headings(labelled: bool, compare: bool) -> tuple[str, ...]:
    if not labelled:
        return ("measurement", "before", "after", "change")
    return ("class", "before", "after", "change") if compare else ("class", "IoU %")


def _cells(row: tables.ClassRow, compare: bool) -> list:
    from rich.text import Text

    if not compare:
        return [Text(row.title), formats.number(row.before if row.after is None else row.after)]
    style = {"▲": "green", "▼": "red"}.get(formats.arrow(row.change), "")
    change = Text(formats.number(row.change, signed=True), style=style)
    return [Text(row.title), formats.number(row.before), formats.number(row.after), change]
