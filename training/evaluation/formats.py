"""Numbers as text: for the tables and sentences of the report, the terminal and the model card."""

from collections.abc import Iterable, Sequence
from typing import Any

UNKNOWN = "—"
BAR_LENGTH = 10


def markdown_table(headings: Sequence[str], rows: Iterable[Sequence[Any]], text_columns: Sequence[int] = (0,)) -> str:
    """A Markdown table; the columns whose numbers are in `text_columns` are set left, the others right."""
    rules = [":--" if index in text_columns else "--:" for index in range(len(headings))]
    lines = [headings, rules, *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def _cell(value: Any) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")


def number(value: float | None, digits: int = 1, signed: bool = False) -> str:
    """A figure with fixed digits, `—` for None; `signed` always writes the sign, and never a signed zero."""
    if value is None:
        return UNKNOWN
    text = f"{value:{'+' if signed else ''}.{digits}f}"
    return f"{0:.{digits}f}" if signed and float(text) == 0 else text


def percent_or_none(value: float | None, digits: int = 1) -> str:
    """A score in per cent, "none" where nothing had a label to score on."""
    return "none" if value is None else f"{value:.{digits}f} %"


def score_or_none(value: float | None) -> str:
    """As `percent_or_none`, without the unit."""
    return "none" if value is None else number(value)


def percent(share: float | None, digits: int = 1) -> str:
    """A share 0..1 as per cent."""
    return UNKNOWN if share is None else f"{100 * share:.{digits}f} %"


def arrow(change: float | None) -> str:
    """▲, ▼ or = for a change as it reads with one digit; empty for None."""
    if change is None:
        return ""
    return "=" if abs(change) < 0.05 else "▲" if change > 0 else "▼"


def bar(value: float | None, full: float = 100.0) -> str:
    """`value` of `full` as a bar of ten characters that needs no picture."""
    filled = 0 if value is None else min(BAR_LENGTH, max(0, round(BAR_LENGTH * value / full)))
    return "█" * filled + "░" * (BAR_LENGTH - filled)


def duration(seconds: float | None) -> str:
    """`1 h 02 min`, `12 min 05 s`, `34 s` or `0.8 s`."""
    if seconds is None:
        return UNKNOWN
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def memory(size: int | None) -> str:
    """Bytes as GiB, or MiB below one."""
    if size is None:
        return UNKNOWN
    return f"{size / 2**30:.2f} GiB" if size >= 2**30 else f"{size / 2**20:.0f} MiB"


def words(key: str) -> str:
    """A key of the summary as a reader's words: `alignment_2` -> `alignment 2`."""
    return key.replace("_", " ")
