"""The verdict on a run in a user's words: keep the source model, or what the result gained and lost and where to look.

From labels of the target where there are any, else from the class shares of the predictions.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from training.evaluation.formats import number
from training.evaluation.panels import Example, panel_name
from training.evaluation.tables import miou_change, miou_classes, told_miou

NOTABLE = 1.0  # points of IoU
NOTABLE_FACTOR = 1.25  # of a share of the pixels
NOTABLE_SHARE = 0.002  # of the pixels; a class with less before and after is not told of
HARM = 0.5  # points of mIoU that a result may lie below the source model
MOST = 3  # classes of each kind
PANELS = 6


def advice(summary: Mapping[str, Any], examples: Sequence[Example], names: Sequence[str]) -> str | None:
    """A few sentences; None where nothing was adapted.

    Args:
        summary: as `report.py` documents it. examples: the images of the panels, with labels before and after; where
            the watch has kept the source model, those of `best_refused` in place of the labels after.
        names: class names, by id.
    """
    if not summary["stages"]:
        return None
    # 1. The watch has kept the source model.
    refused = best_refused(summary)
    if refused is not None:
        return _kept(summary, refused, examples)
    # 2. The labels say that it is better.
    before, after, change = summary["before"], summary["after"], miou_change(summary)
    labelled, head = change is not None, ""
    if labelled and change < -HARM:
        head = (
            f"Keep {_start(summary)}, source.onnx: the adapted one, model.onnx, changed mIoU by {change:+.1f} points "
            f"on your labels ({miou_classes(summary)}). "
        )
    # 3. What was gained and what was lost.
    if labelled:
        gained, lost = _by_labels(before["per_class_iou"], after["per_class_iou"])
        said = f"Gained on {_listed(gained) or 'no class'}; lower on {_listed(lost) or 'none'}"
    else:
        gained, lost = _by_shares(*(summary["label_free"][side]["class_shares"] for side in ("before", "after")))
        parts = [f"{more} {_listed(found)}" for more, found in (("more", gained), ("less", lost)) if found]
        said = f"Without labels: shows {'; '.join(parts)}"
    if not gained and not lost:
        return head + "No class changed by more than a point." if labelled else head + "No class share changed much."
    where = panels_of(lost or gained, examples, names)
    return head + said + (f": {_look_at(where)}." if where else ".")


def best_refused(summary: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Where the watch has kept the model before adaptation, of its stages the one that came nearest to being taken.

    That is the one with the largest label-free gain among those that are no collapse, or among all; the later of
    equal ones. None where a stage was taken, or there is none.
    """
    stages = summary["stages"]
    if summary["chosen"] in {stage["stage"] for stage in stages}:
        return None
    ranks = [(stage["verdict"] != "collapse", stage["label_free_gain"], index) for index, stage in enumerate(stages)]
    return stages[max(ranks)[2]] if stages else None


def _kept(summary: Mapping[str, Any], refused: Mapping[str, Any], examples: Sequence[Example]) -> str:
    """That and why the source model was kept, and how to see and take what was refused."""
    title = refused["title"].lower()
    if refused["verdict"] == "collapse":
        why = f"every adapted model collapsed ({refused['sentence']})"
    else:
        reasons = refused.get("refused") or ["its label-free gain is no larger"]
        why = f"the best adapted one, {title}, is not safe to take: {'; '.join(reasons)}"
    old, new = told_miou(summary["before"]), told_miou(refused)
    seen = []
    if None not in (old, new):
        seen.append(f"mIoU {number(old)} → {number(new)} on your labels ({miou_classes(summary)})")
    changed = {panel_name(example): int((example.before != example.after).sum()) for example in examples}
    if panels := _most_changed(changed):
        seen.append(_look_at(panels))
    shown = f" What was refused, {title}: {'; '.join(seen)}." if seen else ""
    return f"Keep {_start(summary)}, which model.onnx is: {why}.{shown}"


def _start(summary: Mapping[str, Any]) -> str:
    """The model before adaptation in words."""
    start = summary.get("started_from")
    if start and start["adapted"]:
        return f"the model that the run started from ({start['run']}, adapted already)"
    return "the source model"


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
    return _most_changed(changed)


def _most_changed(pixels: Mapping[str, int]) -> list[str]:
    return sorted((name for name, count in pixels.items() if count), key=lambda name: -pixels[name])[:PANELS]


def _look_at(panels: Sequence[str]) -> str:
    if len(panels) == 1:
        return f"look at {panels[0]}"
    return f"look at these {len(panels)} panels, the most changed first: {', '.join(panels)}"
