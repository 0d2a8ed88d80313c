"""What the figures of a summary say: rows, Markdown tables and sentences for the report, no files."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from training.evaluation.formats import UNKNOWN, arrow, bar, markdown_table, number, percent, score_or_none, words
from training.evaluation.measurements import NEEDS_SOURCE, RELATIVE, measured, title_of

HARD_MARK = " *"
UNSEEN_MARK = " †"
RAREST_SHOWN = 10


@dataclass(frozen=True)
class ClassRow:
    """One class before and after, in percent; None where the class has no IoU. `change` needs both.

    hard: copy-paste took it from donors, see `hard_names`. unseen: no label that was learned from shows it.
    """

    name: str
    before: float | None
    after: float | None
    truth_pixels: int | None
    hard: bool = False
    unseen: bool = False

    @property
    def title(self) -> str:
        return f"{self.name}{HARD_MARK if self.hard else ''}{UNSEEN_MARK if self.unseen else ''}"

    @property
    def change(self) -> float | None:
        return None if self.before is None or self.after is None else self.after - self.before


def scored_on(summary: Mapping[str, Any]) -> str:
    """On what the figures were measured, in words."""
    size, split = summary.get("resolution"), summary.get("split")
    parts = (f"scored on {split}" if split else None, f"images at {size[0]} x {size[1]}" if size else None)
    return ", ".join(part for part in parts if part)


def class_set_words(name: str | None, label_space: str | None = None) -> str:
    """A class set for a reader: sets named by a number are that many classes."""
    of_space = f" of {label_space}" if label_space else ""
    return f"{name} classes{of_space}" if str(name).isdigit() else f"class set {name}{of_space}"


def class_rows(summary: Mapping[str, Any]) -> list[ClassRow]:
    """One row per class of the label space, in its order; empty when neither before nor after is known."""
    before, after = summary.get("before") or {}, summary.get("after") or {}
    known = before or after
    old, new = before.get("per_class_iou", {}), after.get("per_class_iou", {})
    pixels, hard, unseen = known.get("truth_pixels", {}), hard_names(summary), summary.get("unseen_classes") or []
    return [
        ClassRow(name, old.get(name), new.get(name), pixels.get(name), name in hard, name in unseen)
        for name in known.get("per_class_iou", {})
    ]


def hard_names(summary: Mapping[str, Any]) -> list[str]:
    """The classes with the least confident labels in the last round that pasted them, hardest first (HIAST)."""
    pasted = [entry["hard_classes"] for entry in summary.get("stages") or [] if entry.get("hard_classes")]
    return pasted[-1] if pasted else []


def compares(summary: Mapping[str, Any]) -> bool:
    """Whether the run has a before and an after that can differ (a recipe that does not adapt has one score)."""
    before, after = summary.get("before"), summary.get("after")
    return bool(before and after and (summary.get("stages") or before != after))


def told_miou(values: Mapping[str, Any] | None) -> float | None:
    """The mIoU that stands for scores, or for those of a stage, in percent: over the classes in the truth.

    Where labels know fewer classes, one pixel that is called one of the others makes that class a 0 in `miou`, and the
    mean over more classes hides a change. None without scores, and where no pixel has a label.
    """
    values = values or {}
    return values.get("miou_in_truth", values.get("miou"))


def miou_change(summary: Mapping[str, Any]) -> float | None:
    """Points of `told_miou` that the run gained; None where it compares nothing or one of them is not known."""
    if not compares(summary):
        return None
    old, new = told_miou(summary["before"]), told_miou(summary["after"])
    return None if None in (old, new) else new - old


def miou_classes(summary: Mapping[str, Any]) -> str:
    """Over which classes the run's mIoU is a mean, in words; says so where the labels know fewer than the space."""
    counts = ((summary.get("after") or summary.get("before") or {}).get("truth_pixels") or {}).values()
    shown, space = sum(count > 0 for count in counts), summary.get("label_space")
    if shown == len(counts):
        return class_set_words(summary["class_set"], space)
    return f"over the {shown} classes in the truth, of {len(counts)}{f' of {space}' if space else ''}"


def miou_words(summary: Mapping[str, Any]) -> str | None:
    """`mIoU 22.0 → 40.9 (+18.9)`, one figure for a run that does not compare, None without target labels."""
    before, after = summary.get("before"), summary.get("after")
    if not compares(summary):
        return f"mIoU {score_or_none(told_miou(after or before))}" if after or before else None
    change = miou_change(summary)
    gained = "" if change is None else f" ({number(change, signed=True)})"
    return f"mIoU {score_or_none(told_miou(before))} → {score_or_none(told_miou(after))}{gained}"


def is_worse(summary: Mapping[str, Any]) -> bool:
    """Whether the labels say that the run ended below its start, as far as one digit shows."""
    return arrow(miou_change(summary)) == "▼"


def score_notes(summary: Mapping[str, Any]) -> list[str]:
    """Sentences a reader needs to judge the table: hard classes, classes left out or counted as 0, and the like."""
    hard = ["Hard classes (*): their labels were the least confident, and copy-paste showed them more often."]
    names = ", ".join(summary.get("unseen_classes") or [])
    unseen = [f"Classes without a pixel in the labels learned from (†): {names}."] if names else []
    return [*(hard if hard_names(summary) else []), *unseen, *_mean_notes(summary)]


def _mean_notes(summary: Mapping[str, Any]) -> list[str]:
    before, after = summary.get("before"), summary.get("after")
    if not compares(summary):
        return [sentence[0].upper() + sentence[1:] for sentence in _side_notes(after or before or {})]
    notes = [f"Before: {sentence}" for sentence in _side_notes(before)]
    notes += [f"After: {sentence}" for sentence in _side_notes(after)]
    losers = [
        f"{row.name} ({number(row.change, signed=True)})" for row in class_rows(summary) if arrow(row.change) == "▼"
    ]
    return [*notes, f"Lower than before: {', '.join(losers)}."] if losers else notes


def _side_notes(values: Mapping[str, Any]) -> list[str]:
    notes = []
    if absent := values.get("absent"):
        notes.append(f"in neither truth nor prediction, so left out of the mean: {', '.join(absent)}.")
    if false_only := predicted_only(values):
        notes.append(
            f"not in the truth but predicted, so counted as 0 in the mean over all classes, "
            f"{score_or_none(values['miou'])}: {', '.join(false_only)}."
        )
    if values.get("unpredicted"):
        notes.append(f"{values['unpredicted']:,} pixels have no prediction and count as wrong.")
    return notes


def predicted_only(values: Mapping[str, Any]) -> list[str]:
    """The classes of a score that the truth lacks and that pixels are predicted as, which count as 0 in the mean."""
    absent = values.get("absent", [])
    return [name for name, count in values.get("truth_pixels", {}).items() if not count and name not in absent]


def per_class_table(rows: Sequence[ClassRow], compare: bool) -> str:
    """IoU per class with a bar; with `compare` before, after and the change."""
    if not compare:
        single = [(row, row.before if row.after is None else row.after) for row in rows]
        cells = [(row.title, number(value), bar(value), _pixels(row)) for row, value in single]
        return markdown_table(("class", "IoU %", "", "truth pixels"), cells, (0, 2))
    cells = [
        (
            row.title,
            number(row.before),
            number(row.after),
            number(row.change, signed=True),
            arrow(row.change),
            bar(row.after),
            _pixels(row),
        )
        for row in rows
    ]
    return markdown_table(
        ("class", "before", "after", "change", "", "after, 0 to 100", "truth pixels"), cells, (0, 4, 5)
    )


def _pixels(row: ClassRow) -> str:
    return UNKNOWN if row.truth_pixels is None else f"{row.truth_pixels:,}"


def class_set_table(summary: Mapping[str, Any], compare: bool) -> str:
    """mIoU of every named class set and the pixel accuracy."""
    before, after = summary.get("before") or {}, summary.get("after") or {}
    names = list((after or before).get("class_sets", {}))
    in_truth = [("mIoU, the classes in the truth", told_miou(before), told_miou(after))]
    lines = [
        (
            f"mIoU, {class_set_words(name)}",
            before.get("class_sets", {}).get(name),
            after.get("class_sets", {}).get(name),
        )
        for name in names
    ]
    lines = [*in_truth, *lines] if predicted_only(before) or predicted_only(after) else lines
    lines.append(("pixel accuracy", before.get("pixel_accuracy"), after.get("pixel_accuracy")))
    if not compare:
        single = [(name, score_or_none(old if new is None else new)) for name, old, new in lines]
        return markdown_table(("score", "%"), single)
    cells = [
        (name, score_or_none(old), score_or_none(new), number(None if None in (old, new) else new - old, signed=True))
        for name, old, new in lines
    ]
    return markdown_table(("score in %", "before", "after", "change"), cells)


def stage_table(summary: Mapping[str, Any]) -> str:
    """One line per stage, the model before adaptation first, then another model that labelled for round 1 if one did;
    one column per parameter of a selector; columns that no stage knows are left out."""
    known = {key: value for key, value in single_numbers(summary, "before").items() if key not in RELATIVE}
    first = {"title": "before", **known, "told_miou": told_miou(summary.get("before"))}
    stages = [
        {
            **entry,
            "told_miou": told_miou(entry),
            "student": told_miou(entry.get("student_scores")),
            "watch": _watch_word(entry),
        }
        for entry in summary["stages"]
    ]
    asked = list(dict.fromkeys(name for entry in stages for name in entry.get("parameters") or ()))
    entries = [{**(entry.get("parameters") or {}), **entry} for entry in (first, *stages)]
    columns = [
        *((name, words(name), lambda value: number(value, 2)) for name in asked),
        ("kept_share", "kept", percent),
        ("label_free_gain", "label-free gain", partial(measured, "label_free_gain")),
        ("consistency", "consistency %", partial(measured, "consistency")),
        ("agreement", "agreement %", partial(measured, "agreement")),
        ("drift", "drift", partial(measured, "drift")),
        ("told_miou", "mIoU %", number),
        ("student", "its student's", number),
        ("watch", "watch", lambda value: value or ""),
    ]
    shown = [column for column in columns if any(entry.get(column[0]) is not None for entry in entries[1:])]
    chosen = chosen_line(summary["stages"], summary.get("chosen"))
    rows = []
    for index, entry in enumerate(entries):
        mark = " (chosen)" if index == chosen else ""
        rows.append((f"{entry['title'].lower()}{mark}", *(form(entry.get(key)) for key, _, form in shown)))
    labeller = summary.get("labeller")
    if labeller:
        known = {"told_miou": told_miou(labeller.get("scores"))}
        rows.insert(1, ("labeller of round 1", *(form(known.get(key)) for key, _, form in shown)))
    last = len(shown) if shown and shown[-1][0] == "watch" else 0
    return markdown_table(("stage", *(title for _, title, _ in shown)), rows, (0, last))


def _watch_word(entry: Mapping[str, Any]) -> str | None:
    """collapse, refused or ok: what the watch said of a stage."""
    return "refused" if entry.get("verdict") == "ok" and entry.get("refused") else entry.get("verdict")


def chosen_line(stages: Sequence[Mapping[str, Any]], chosen: str | None) -> int | None:
    """Position of the chosen stage when the model before adaptation has position 0; None if it is not known."""
    names = [entry["stage"] for entry in stages]
    return None if chosen is None else names.index(chosen) + 1 if chosen in names else 0


def threshold_table(entry: Mapping[str, Any]) -> str | None:
    """Thresholds and kept share per class of one round; None if the round has neither."""
    thresholds, kept = entry.get("thresholds") or {}, entry.get("kept_share_per_class") or {}
    if not thresholds and not kept:
        return None
    cells = [
        (name, "none" if thresholds.get(name) is None else number(thresholds[name], 4), percent(kept.get(name)))
        for name in (thresholds or kept)
    ]
    return markdown_table(("class", "threshold", "kept of its pixels"), cells)


def sampling_table(classes: Mapping[str, Mapping[str, Any]]) -> str:
    """For which classes images were drawn, the rarest first and no more than RAREST_SHOWN; see `stages/orders.py`."""
    rows = [
        (name, percent(figures["pixels"], 3), f"{figures['images']:,}", percent(figures["drawn"]))
        for name, figures in list(classes.items())[:RAREST_SHOWN]
    ]
    return markdown_table(("class", "of the labelled pixels", "images that show enough", "images drawn for it"), rows)


def mixture_table(entry: Mapping[str, Any]) -> str | None:
    """Of one round of `entropy_mixture`: modes, rule and kept share per class; None if another selector labelled.

    With its scope "image" also in how many images a class was labelled by the modes of that image alone."""
    mixtures = entry.get("mixtures")
    if not mixtures:
        return None
    cells: list[tuple[str, ...]] = []
    for (name, threshold), mixture in zip(entry["thresholds"].items(), mixtures, strict=True):
        rule, modes = mixture["rule"], [_mode(mixture, index) for index in range(2)]
        kept = percent(entry["kept_share_per_class"].get(name))
        if threshold is not None:
            cells.append((name, *modes, f"entropy up to {number(threshold, 4)}", rule, kept))
        elif mixture["confidence"] is not None:
            cells.append((name, *modes, f"confidence from {number(mixture['confidence'], 4)}", rule, kept))
        else:
            cells.append((name, *modes, "none", rule, kept))
    headings = ("class", "certain mode", "uncertain mode", "kept", "rule", "kept of its pixels")
    if entry.get("own_modes") is not None:
        cells = [(*row, f"{images:,}") for row, images in zip(cells, entry["own_modes"], strict=True)]
        headings = (*headings[:3], "kept in the other images", *headings[4:], "images labelled by their own modes")
    return markdown_table(headings, cells, (0, 3, 4))


def _mode(mixture: Mapping[str, Any], index: int) -> str:
    """Weight, mean and standard deviation of one mode."""
    if mixture["weights"] is None:
        return UNKNOWN
    weight, mean, variance = (mixture[key][index] for key in ("weights", "means", "variances"))
    return f"{percent(weight, 0)}, {mean:.3f} ± {variance**0.5:.3f}"


def single_numbers(summary: Mapping[str, Any], side: str) -> dict[str, Any]:
    """The label-free measurements of "before" or "after" that are one number each."""
    values = (summary.get("label_free") or {}).get(side) or {}
    return {key: value for key, value in values.items() if not isinstance(value, Mapping)}


def label_free_rows(
    summary: Mapping[str, Any], needs_source: Sequence[bool] = (False, True)
) -> list[tuple[str, str, str, str]]:
    """(measurement, before, after, change) of every single number that was measured without labels, formatted.

    needs_source: of what is measured on the target's images alone, of what takes the source too, or of both.
    """
    before, after = single_numbers(summary, "before"), single_numbers(summary, "after")
    adapted = chosen_line(summary["stages"], summary.get("chosen")) != 0
    rows = []
    for key in (key for wanted in needs_source for key in after or before if (key in NEEDS_SOURCE) == wanted):
        old, new = None if key in RELATIVE else before.get(key), after.get(key)
        if (key in RELATIVE and not adapted) or old is new is None:
            continue
        change = None if old is None or new is None else new - old
        rows.append((title_of(key), measured(key, old), measured(key, new), measured(key, change, signed=True)))
    return rows


def share_table(label_free: Mapping[str, Any], key: str = "class_shares") -> str | None:
    """What share of all pixels each class is predicted for, before and after; None if not measured."""
    before = (label_free.get("before") or {}).get(key) or {}
    after = (label_free.get("after") or {}).get(key) or {}
    if not before and not after:
        return None
    cells = [(name, percent(before.get(name)), percent(after.get(name))) for name in (after or before)]
    return markdown_table(("class", "before", "after"), cells)


def contrast_table(stages: Sequence[Mapping[str, Any]]) -> str:
    """Per stage with pixel contrast: cosines within and between classes on both domains, before -> after."""
    rows = []
    for entry in stages:
        before, after = entry["contrast"]["before"], entry["contrast"]["after"]
        cells = [
            f"{_cosine(before[domain][kind])} → {_cosine(after[domain][kind])}"
            for domain in ("source", "target")
            for kind in ("intra", "inter")
        ]
        rows.append((entry["title"], *cells))
    columns = [f"{domain}, {where}" for domain in ("source", "target") for where in ("one class", "two classes")]
    return markdown_table(("stage", *columns), rows)


def _cosine(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:.3f}"
