"""The verdict on a run in a user's words: keep the source model, or what the result gained and lost and where to look.

From labels of the target where there are any, else from the class shares of the predictions.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from training.evaluation.panels import Example, panel_name
from training.evaluation.tables import miou_change

NOTABLE = 1.0  # points of IoU
NOTABLE_FACTOR = 1.25  # of a share of the pixels
NOTABLE_SHARE = 0.002  # of the pixels; a class with less before and after is not told of
HARM = 0.5  # points of mIoU that a result may lie below the source model
MOST = 3  # classes of each kind, and panels


def advice(summary: Mapping[str, Any], examples: Sequence[Example], names: Sequence[str]) -> str | None:
    """One or two sentences; None where nothing was adapted.

    Args:
        summary: as `report.py` documents it. examples: the images of the panels, with labels before and after.
        names: class names, by id.
    """
    stages = summary["stages"]
    if not stages:
        return None
    # 1. The watch has kept the source model.
    if summary["chosen"] not in {stage["stage"] for stage in stages}:
        return "Keep the source model: " + _why_kept(stages)
    # 2. The labels say that it is better.
    before, after, change = summary["before"], summary["after"], miou_change(summary)
    labelled = change is not None
    if labelled and change < -HARM:
        head = f"Keep the source model: the adapted one changed mIoU by {change:+.1f} points on your labels. "
    else:
        head = ""
    # 3. What was gained and what was lost.
    if labelled:
        gained, lost = _by_labels(before["per_class_iou"], after["per_class_iou"])
        words = "Gained on {gained}; lost {lost}"
    else:
        gained, lost = _by_shares(*(summary["label_free"][side]["class_shares"] for side in ("before", "after")))
        words = "Without labels: shows more {gained}; less {lost}"
    if not gained and not lost:
        return head + "No class changed by more than a point." if labelled else head + "No class share changed much."
    said = words.format(gained=_listed(gained) or "no class", lost=_listed(lost) or "none")
    where = panels_of(lost or gained, examples, names)
    return head + said + (f": look at {', '.join(where)}." if where else ".")


def _why_kept(stages: Sequence[Mapping[str, Any]]) -> str:
    """What spoke against the stage with the best label-free score."""
    best = max(stages, key=lambda stage: (stage["verdict"] != "collapse", stage["label_free_score"]))
    if best["verdict"] == "collapse":
        return f"every adapted model collapsed ({best['sentence']})."
    reasons = best.get("refused") or ["its label-free score is no better"]
    return f"the best adapted model is not safe to take ({'; '.join(reasons)})."


def _by_labels(before: Mapping, after: Mapping) -> tuple[dict[str, str], dict[str, str]]:
    changes = {name: after[name] - before[name] for name in after if None not in (after[name], before.get(name))}
    order = sorted(changes, key=changes.get)
    gained = {name: f"{changes[name]:+.1f}" for name in order[::-1] if changes[name] >= NOTABLE}
    return gained, {name: f"{changes[name]:+.1f}" for name in order if changes[name] <= -NOTABLE}


def _by_shares(before: Mapping[str, float], after: Mapping[str, float]) -> tuple[dict[str, str], dict[str, str]]:
    common = [name for name in after if max(after[name], before[name]) >= NOTABLE_SHARE]
    factors = {name: max(after[name], 1e-6) / max(before[name], 1e-6) for name in common}
    order = sorted(common, key=factors.get)
    words = {name: f"{before[name]:.1%} to {after[name]:.1%} of the pixels" for name in common}
    gained = {name: words[name] for name in order[::-1] if factors[name] >= NOTABLE_FACTOR}
    return gained, {name: words[name] for name in order if factors[name] <= 1 / NOTABLE_FACTOR}


def _listed(classes: Mapping[str, str]) -> str:
    return ", ".join(f"{name} ({words})" for name, words in list(classes.items())[:MOST])


def panels_of(classes: Mapping[str, str], examples: Sequence[Example], names: Sequence[str]) -> list[str]:
    """File names of the panels in which most pixels of the first of these classes changed, the most first."""
    ids = [names.index(name) for name in list(classes)[:MOST]]
    changed = {
        panel_name(example): int((np.isin(example.before, ids) != np.isin(example.after, ids)).sum())
        for example in examples
    }
    return sorted((name for name, pixels in changed.items() if pixels), key=lambda name: -changed[name])[:MOST]
