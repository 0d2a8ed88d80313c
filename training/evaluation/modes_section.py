"""The part of the report on the modes of the classes (DRSL)."""

from collections.abc import Mapping, Sequence
from typing import Any

from training.evaluation import formats
from training.methods.modes import least_share

EXPLAINED = (
    "Share of the pixels of a class, in percent, that each of its modes is the nearest to, in the order of the modes, "
    "in some images of each domain. On the target the classes are those that the model predicts. Apart: the mean "
    "distance between two modes of the class; from others: that to the nearest mode of another class."
)


def modes_part(stages: Sequence[Mapping[str, Any]], source: Mapping[str, Any] | None = None) -> list[str]:
    """How the modes of each class are used after the last stage that has any, and which began anew in a stage.

    Args:
        stages, source: "stages" and "source_modes" of the summary, see `report.py`; pictures stand with the others.
    """
    modelled = [(entry["title"], entry["modes"]) for entry in stages if entry.get("modes")]
    if source is not None:
        modelled.insert(0, ("Warm-up", source))
    if not modelled:
        return []
    moved = [
        f"{title}: " + ", ".join(f"{name} {count}" for name, count in modes["moved"].items())
        for title, modes in modelled
        if modes["moved"]
    ]
    told = [f"Modes that few pixels were near and that began anew: {'; '.join(moved)}."] if moved else []
    course = [] if source is None else [("after k-means", source["start"])]
    course += [(f"after {title.lower()}", modes) for title, modes in modelled]
    least = least_share(_modes_per_class(modelled[-1][1]))
    in_use = ", ".join(_in_use(*moment, least) for moment in course)
    used = [f"Modes with {100 * least:.2g} % of their class, on the source: {in_use}."]
    return ["### Modes", modes_table(modelled[-1][1]), EXPLAINED, *used, *told]


def modes_table(modes: Mapping[str, Any]) -> str:
    """Per class how much each of its modes is used on both domains, in percent, and how far apart they are."""
    target, distances = modes.get("target", {}), modes["distances"]
    rows = [
        (name, _shares(shares), _shares(target.get(name)), *map(_distance, distances[name]))
        for name, shares in modes["source"].items()
    ]
    return formats.markdown_table(("class", "source", "target", "apart", "from others"), rows)


def _modes_per_class(modes: Mapping[str, Any]) -> int:
    return max((len(shares) for shares in modes["source"].values() if shares is not None), default=1)


def _in_use(title: str, modes: Mapping[str, Any], least: float) -> str:
    """Of a moment's title and figures: "22 of 57 after round 1"; least: share of a mode in use."""
    shares = [share for of_class in modes["source"].values() if of_class is not None for share in of_class]
    return f"{sum(share >= least for share in shares)} of {len(shares)} {title}"


def _shares(shares: Sequence[float] | None) -> str:
    return formats.UNKNOWN if shares is None else " / ".join(f"{100 * share:.0f}" for share in shares)


def _distance(distance: float | None) -> str:
    return formats.UNKNOWN if distance is None else f"{distance:.2f}"
