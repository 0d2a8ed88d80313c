"""What a run leaves for a person to judge: report.md, its pictures, summary.json, per_class_iou.csv.

Everything is drawn from one summary, a plain dict that is also written as summary.json. What a recipe does not have is
None or left out, and so is its part of the report.

* recipe, data, model, seed, resolved (what the recipe does, in a sentence), source, trained_on (the data set whose
  labels were trained on first: the source, or the oracle's target), translation (of those source images that the
  result was trained on, in words), started_from (the run of a warm start, {run: its name, adapted: to the target}, if
  the result comes from its weights), target, class_set (what `miou` is a mean over), label_space (its name), split,
  resolution [h, w], version, command, next_commands [command lines], environment {name: value}
* images {"source", "target", "evaluation": count}, data_notes [sentences], unseen_classes [names of classes of which no
  label that was learned from has a pixel]
* before, after: `confusion.scores`, or None when the target has no labels
* label_free: {"before", "after"}, each {label_free_gain, consistency, agreement, drift, confidence ...: number,
  class_shares: {class: share of all pixels 0..1}}
* stages, after the model before adaptation: [{stage (its name), title, phrase, way and trains_on_target (see
  `stages/stage.py`), selector (its name) and its parameters {name: number}, kept_share, kept_share_per_class {class:
  share}, thresholds {class: number or None}, threshold_trajectory [[number]], mixtures (by class id, as a manifest of
  entropy_mixture has them), own_modes (the same), hard_classes [names of what copy-paste took from donors],
  student_scores (as before and after: of the student whose teacher is the result), contrast {"before", "after":
  {"source", "target": {"intra", "inter": mean cosine of pixel features within and between classes}}, "queue_fill":
  {class: share} or None; its picture is contrast_STAGE.png}, modes {"source", "target": {class: share of its pixels
  that each mode is nearest to, or None}, "distances": {class: [mean distance between its modes, distance to the nearest
  mode of another class]}, "moved": {class: how often one of its modes began anew}; its pictures are modes_STAGE.png and
  mode_patches_STAGE.png}, label_free_gain, consistency, agreement, drift, verdict "ok" or "collapse", refused [why the
  watch's rule does not take it], sentence, miou, miou_in_truth, per_class_iou}]
* labeller: the other model that labelled round 1, {file, scores (as before and after)}
* rare_class_sampling: [{stage (its title), domain, classes {name, the rarest first: {pixels (share of the labelled
  pixels), images (with enough of it), drawn (share of the images that are drawn for it)}}}], one for each domain
* soft_balance: [{stage (its title), classes {name, the rarest first: see `KEY` in `stages/balanced_orders.py`}}], one
  for each round of alignment that draws the source's images so
* chosen (name of the stage whose model is the result; none of `stages` = that before adaptation), watch [a sentence
  for each stage], advice (what to make of it, see `advice.py`)
* seconds, seconds_per_stage {stage: seconds}, peak_rss_bytes
"""

import csv
import io
import json
import math
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from training.data.classes import LabelSpace
from training.evaluation import charts, formats, tables
from training.evaluation.confusion import Confusion
from training.evaluation.draws import draws_section
from training.evaluation.modes_section import modes_part
from training.files.atomic import write_atomically

_KEYS = ("recipe", "data", "model", "seed", "class_set", "before", "after", "stages", "seconds", "peak_rss_bytes")


def write_report(
    folder: Path,
    summary: Mapping[str, Any],
    panels: Sequence[Path | str],
    label_space: LabelSpace,
    confusion: Confusion | None = None,
    metrics: Path | None = None,
) -> Path:
    """Write the report of one run into `folder` (made if need be) and return the path of report.md.

    `panels` are picture files, where the process finds them (absolute, or relative to the working directory); a
    `legend.png` in `folder` is shown above them.
    `confusion` holds the counts of the model that is kept; without it there is no confusion.png.
    `metrics` is the run's metrics.csv, for the curves. Figures are written
    before pictures, so what has been measured is on disk even if a picture fails. Existing files of an earlier report
    are replaced.
    """
    folder.mkdir(parents=True, exist_ok=True)
    summary = completed(summary)
    told = json.dumps(summary, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    write_atomically(folder / "summary.json", told.encode())
    write_atomically(folder / "per_class_iou.csv", per_class_csv(summary, label_space).encode())
    pictures = charts.write_charts(folder, summary, label_space, confusion, metrics)
    names = [Path(os.path.relpath(panel, folder)).as_posix() for panel in panels]
    path = folder / "report.md"
    write_atomically(path, report_text(summary, pictures, names, (folder / "legend.png").exists()).encode())
    return path


def completed(summary: Mapping[str, Any]) -> dict[str, Any]:
    """The summary as plain JSON values with every key that summary.json promises; unknown ones None, no stages []."""
    whole = plain({**dict.fromkeys(_KEYS), **summary})
    return {**whole, "stages": whole["stages"] or []}


def plain(value: Any) -> Any:
    """`value` with NumPy numbers, arrays, paths and tuples as plain JSON values; NaN and infinity become None."""
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def per_class_csv(summary: Mapping[str, Any], label_space: LabelSpace) -> str:
    """class, before, after, delta (in percent), truth_pixels; a field is empty where unknown. One line per class."""
    known = {row.name: row for row in tables.class_rows(summary)}
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerow(("class", "before", "after", "delta", "truth_pixels"))
    for name in label_space.names:
        row = known.get(name, tables.ClassRow(name, None, None, None))
        writer.writerow((name, row.before, row.after, row.change, row.truth_pixels))
    return lines.getvalue()


def report_text(summary: Mapping[str, Any], pictures: Mapping[str, str], panels: Sequence[str], legend: bool) -> str:
    """report.md as text.

    `pictures`: file names by kind; `panels`: file names relative to the report; `legend`: is there a legend.png.
    """
    sections = [
        f"# StreetShift: {summary.get('recipe')} on {summary.get('data')}",
        _what_was_run(summary),
        *([f"{summary['resolved']}."] if summary.get("resolved") else []),
        *headline(summary),
        *_data_section(summary),
        *_scores_section(summary, pictures),
        *_label_free_section(summary, pictures),
        *_stages_section(summary, pictures),
        *_sampling_section(summary),
        *draws_section(summary.get("soft_balance"), _picture(pictures, "draws", "Draws of each class, round by round")),
        *_confusion_section(pictures),
        *_training_section(pictures),
        *_pictures_section(panels, legend),
        *_cost_section(summary),
        *_environment_section(summary),
        *_command_section("How to reproduce", [summary["command"]] if summary.get("command") else []),
        *_command_section("Next", summary.get("next_commands") or []),
    ]
    return "\n\n".join(sections) + "\n"


def _what_was_run(summary: Mapping[str, Any]) -> str:
    source = summary.get("trained_on") or summary.get("source") or "the source"
    target, start = summary.get("target") or "the target", summary.get("started_from")
    taken = summary["stages"][: tables.chosen_line(summary["stages"], summary.get("chosen"))]
    ways = ", ".join(dict.fromkeys(entry["way"] for entry in taken if entry.get("way")))
    learns = any(entry.get("trains_on_target") for entry in taken)
    if learns:
        adapted = f"adapted to {target} {ways}, without its labels"
    elif ways:
        adapted = f"changed {ways}, not trained on {target}{' in this run' if start else ''}"
    else:
        adapted = f"not adapted{' in this run' if start else ''}"
        adapted += ": the watch kept the model before adaptation" if summary["stages"] else ""
    if summary.get("translation"):
        source += f" (translated: {summary['translation']})"
    trained = f"trained on {source} with labels and "
    if start:
        already = ", which was adapted already" if start["adapted"] else ""
        trained = f"started from {start['run']}{already}, {trained if learns else 'and '}"
    return (
        f"Recipe `{summary.get('recipe')}`: model `{summary.get('model')}`, {trained}{adapted}; "
        f"data `{summary.get('data')}`, seed {summary.get('seed')}."
    )


def headline(summary: Mapping[str, Any]) -> list[str]:
    """The result in sentences: before -> after, a warning when the end is worse, what to make of it, the choice."""
    words = tables.miou_words(summary)
    if words:
        lines = [f"**{words}** ({tables.miou_classes(summary)}; {tables.scored_on(summary)})."]
    else:
        lines = ["**The target has no labels: there is no mIoU.** The label-free measurements stand in its place."]
    if tables.is_worse(summary):
        lines.append("**The adapted model scores lower than the model before adaptation.**")
    if summary.get("advice"):
        lines.append(f"**{summary['advice']}**")
    return [*lines, *_labeller_sentence(summary), *_chosen_sentence(summary)]


def _bullets(sentences: Sequence[str]) -> list[str]:
    return ["\n".join(f"- {sentence}" for sentence in sentences)] if sentences else []


def _labeller_sentence(summary: Mapping[str, Any]) -> list[str]:
    labeller = summary.get("labeller")
    if not labeller:
        return []
    scores = labeller.get("scores")
    itself = f", which scores {formats.score_or_none(tables.told_miou(scores))} itself" if scores else ""
    rounds = [entry for entry in summary["stages"] if entry.get("selector")]
    later = "; later rounds by the model" if len(rounds) > 1 else ""
    return [f"Round 1 was labelled by {labeller['file']}{itself}{later}."]


def _chosen_sentence(summary: Mapping[str, Any]) -> list[str]:
    """Which stage was taken; of a run that kept the model before adaptation the advice says it, with the reason."""
    chosen = [entry for entry in summary["stages"] if entry["stage"] == summary.get("chosen")]
    return [f"The model is that {entry['phrase']}, chosen by the label-free watch." for entry in chosen]


def _data_section(summary: Mapping[str, Any]) -> list[str]:
    """How many images there were, how their files were read, what was left out, which classes nothing taught."""
    counts = summary.get("images")
    if not counts:
        return []
    names = {"source": summary.get("source"), "target": summary.get("target"), "evaluation": summary.get("split")}
    rows = [(domain, names[domain] or formats.UNKNOWN, f"{count:,}") for domain, count in counts.items()]
    unseen = summary.get("unseen_classes") or []
    taught = (
        [f"No pixel of class {', '.join(unseen)} in the labels learned from: nothing teaches it."] if unseen else []
    )
    table = formats.markdown_table(("domain", "data set", "images"), rows, (0, 1))
    return ["## Data", table, *_bullets([*taught, *(summary.get("data_notes") or [])])]


def _scores_section(summary: Mapping[str, Any], pictures: Mapping[str, str]) -> list[str]:
    rows = tables.class_rows(summary)
    if not rows:
        return []
    compare = tables.compares(summary)
    parts = ["## Scores", tables.class_set_table(summary, compare), tables.per_class_table(rows, compare)]
    return [*parts, *_bullets(tables.score_notes(summary)), *_picture(pictures, "per_class", "IoU per class")]


def _picture(pictures: Mapping[str, str], kind: str, text: str) -> list[str]:
    return [f"![{text}]({pictures[kind]})"] if kind in pictures else []


def _label_free_section(summary: Mapping[str, Any], pictures: Mapping[str, str]) -> list[str]:
    label_free = summary.get("label_free") or {}
    parts = []
    for needs_source, sentence in (
        (False, "Measured on the target's pictures alone; no label was used."),
        (True, "Measured with the source's pictures or labels too; no label of the target was used."),
    ):
        rows = tables.label_free_rows(summary, (needs_source,))
        if rows:
            parts += [sentence, formats.markdown_table(("measurement", "before", "after", "change"), rows)]
    if not parts:
        return []
    parts = ["## Label-free measurements", *parts, 'What each of them sees: "The watch" in training/README.md.']
    shares = tables.share_table(label_free)
    if shares:
        parts += ["Share of all pixels that each class is predicted for:", shares]
    return [*parts, *_picture(pictures, "class_shares", "Predicted share of each class, before and after")]


def _stages_section(summary: Mapping[str, Any], pictures: Mapping[str, str]) -> list[str]:
    stages = summary["stages"]
    if not stages:
        return []
    parts = ["## Stages", tables.stage_table(summary)]
    parts += _bullets([f"{sentence}." for sentence in summary.get("watch") or []])
    parts += _picture(pictures, "stages", "The stages")
    parts += _picture(pictures, "kept", "Share of each class' pixels that every round kept")
    parts += _picture(pictures, "thresholds", "How the thresholds moved")
    parts += _contrast_part(stages)
    parts += modes_part(stages, summary.get("source_modes"))
    for entry in stages:
        parts += _picture(pictures, f"mixtures_{entry['stage']}", f"Entropies and modes of {entry['title'].lower()}")
    thresholds = tables.mixture_table(stages[-1]) or tables.threshold_table(stages[-1])
    if thresholds:
        parts += [f"### Thresholds of {stages[-1]['title'].lower()}, the last", thresholds]
    return parts


def _sampling_section(summary: Mapping[str, Any]) -> list[str]:
    """For which classes images were drawn, where a stage draws them by class."""
    sampled = summary.get("rare_class_sampling") or []
    if not sampled:
        return []
    parts = ["## Rare class sampling", "First a class is drawn, then an image that shows it. The rarest classes:"]
    for entry in sampled:
        parts += [f"### Images of the {entry['domain']} ({entry['stage']})", tables.sampling_table(entry["classes"])]
    return parts


def _contrast_part(stages: Sequence[Mapping[str, Any]]) -> list[str]:
    """How alike the pixel features of a class became, and the map of the last stage that has one."""
    contrasted = [entry for entry in stages if entry.get("contrast")]
    if not contrasted:
        return []
    last = contrasted[-1]
    explained = (
        "Mean cosine of the features of two pixels. On the target the classes are those that the model predicts. "
        f"The map shows features on their two principal axes before and after {last['title'].lower()}."
    )
    fills = list((last["contrast"]["queue_fill"] or {}).items())
    fill = ", ".join(f"{name} {100 * share:.0f} %" for name, share in fills)
    return [
        "### Pixel contrast",
        tables.contrast_table(contrasted),
        explained,
        *([f"Queues of negatives are filled: {fill}."] if fill else []),
        f"![Map of pixel features](contrast_{last['stage']}.png)",
    ]


def _confusion_section(pictures: Mapping[str, str]) -> list[str]:
    return ["## Confusion", *_picture(pictures, "confusion", "Confusion matrix")] if "confusion" in pictures else []


def _training_section(pictures: Mapping[str, str]) -> list[str]:
    return (
        ["## Training", *_picture(pictures, "training", "Loss terms over the steps")] if "training" in pictures else []
    )


def _pictures_section(panels: Sequence[str], legend: bool) -> list[str]:
    if not panels:
        return []
    key = ["![Class colours](legend.png)"] if legend else []
    return [
        "## Pictures",
        *key,
        *(f"![{_link_text(name)}]({quote(os.fsencode(name))})" for name in panels),
    ]


def _link_text(name: str) -> str:
    """What a picture shows, from its file name; brackets would end the text of a Markdown link."""
    return re.sub(r"([\\\[\]])", r"\\\1", Path(name).stem.removeprefix("panel_"))


def _cost_section(summary: Mapping[str, Any]) -> list[str]:
    stages = [
        (formats.words(name), formats.duration(value))
        for name, value in (summary.get("seconds_per_stage") or {}).items()
    ]
    rows = [
        *stages,
        ("whole run", formats.duration(summary["seconds"])),
        ("peak memory", formats.memory(summary["peak_rss_bytes"])),
    ]
    return ["## Time and memory", formats.markdown_table(("stage", "cost"), rows)]


def _environment_section(summary: Mapping[str, Any]) -> list[str]:
    environment = {"streetshift": summary.get("version"), **(summary.get("environment") or {})}
    rows = [(name, _listed(value)) for name, value in environment.items() if value is not None]
    return ["## Environment", formats.markdown_table(("what", "value"), rows, (0, 1))] if rows else []


def _listed(value: Any) -> Any:
    """Versions of packages, and what a run was continued with, as one line."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_listed(entry)}" for name, entry in value.items())
    return "; ".join(map(str, map(_listed, value))) if isinstance(value, list) else value


def _command_section(title: str, commands: Sequence[str]) -> list[str]:
    return [f"## {title}", "```sh\n" + "\n".join(commands) + "\n```"] if commands else []
