"""metrics.csv of a run: a row a logged step and metric, appended; cut back where a resumed stage goes on."""

import csv
import io
import math
import re
from collections.abc import Collection, Mapping
from pathlib import Path

from training.files.atomic import write_atomically
from training.files.reading import read_file

COLUMNS = ("stage", "step", "metric", "value")
MOST_BYTES = 1 << 30
POINT = re.compile(r"(\w+),([0-9]{1,12}),([\w/ ]+),(-?[0-9]+(?:[.][0-9]*)?(?:e[-+]?[0-9]+)?|nan|-?inf)", re.ASCII)


def append_metrics(path: Path, stage: str, step: int, values: Mapping[str, float]) -> None:
    """Add one step's rows."""
    rows = [] if path.exists() else [COLUMNS]
    rows += [(stage, step, name, f"{value:.6g}") for name, value in values.items()]
    with path.open("ab") as file:
        file.write(_text(rows))


def read_metrics(path: Path) -> dict[str, dict[str, list[tuple[int, float]]]]:
    """`{stage: {metric: [(step, value)]}}` of a run's metrics.csv; a step logged twice (resumed) counts once.

    A line that cannot be read, half written before a kill, costs a point of a chart, not the report.
    """
    found: dict[str, dict[str, dict[int, float]]] = {}
    for line in read_file(path, MOST_BYTES).decode(errors="replace").splitlines()[1:]:
        if point := POINT.fullmatch(line):
            stage, step, metric, value = point.groups()
            found.setdefault(stage, {}).setdefault(metric, {})[int(step)] = float(value)
    return {
        stage: {metric: sorted(points.items()) for metric, points in metrics.items()}
        for stage, metrics in found.items()
    }


def forget_metrics_after(path: Path, finished: Collection[str], stage: str, step: int) -> None:
    """Keep the rows of the `finished` stages, and of `stage` those up to `step`: the rest will be written again.

    A row that a killed process left half written goes too.
    """
    if not path.exists():
        return
    old = path.read_bytes()
    lines = old.decode(errors="replace").splitlines(keepends=True)
    rows = [row for row in csv.reader(line for line in lines if line.endswith("\n")) if len(row) == len(COLUMNS)]
    kept = [row for row in rows[1:] if row[0] in finished or (row[0] == stage and _step(row) <= step)]
    new = _text([COLUMNS, *kept])
    if new != old:
        write_atomically(path, new)


def _step(row: list[str]) -> float:
    return int(row[1]) if row[1].isdigit() else math.inf


def _text(rows) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()
