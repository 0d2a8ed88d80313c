"""The part of the report on the modes of the classes (DRSL)."""

from collections.abc import Mapping, Sequence
from typing import Any

from training.evaluation import tables

EXPLAINED = (
    "Share of the pixels of a class, in percent, that each of its modes is the nearest to, in some images of each "
    "domain. On the target the classes are those that the model predicts."
)


def modes_part(stages: Sequence[Mapping[str, Any]]) -> list[str]:
    """How the modes of each class are used after the last stage that has any, and which were dead before a stage.

    stages: of the summary, see `report.py`; its pictures stand with the others.
    """
    modelled = [entry for entry in stages if entry.get("modes")]
    if not modelled:
        return []
    moved = [
        f"{entry['title']}: " + ", ".join(f"{name} {count}" for name, count in entry["modes"]["moved"].items())
        for entry in modelled
        if entry["modes"]["moved"]
    ]
    told = [f"Dead modes that began anew: {'; '.join(moved)}."] if moved else []
    return ["### Modes", modes_table(modelled[-1]["modes"]), EXPLAINED, *told]


def modes_table(modes: Mapping[str, Any]) -> str:
    """Per class how much each of its modes is used on both domains, in percent."""
    rows = [(name, _shares(shares), _shares(modes["target"].get(name))) for name, shares in modes["source"].items()]
    return tables.markdown_table(("class", "source", "target"), rows)


def _shares(shares: Sequence[float] | None) -> str:
    return tables.UNKNOWN if shares is None else " / ".join(f"{100 * share:.0f}" for share in shares)
