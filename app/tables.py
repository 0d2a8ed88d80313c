"""The small tables of the page as HTML: legend with shares, changes, thresholds, batch; all text is escaped."""

from collections.abc import Iterable, Sequence
from html import escape

import numpy as np

from app.batch import Batch, Line
from app.segmenting import Comparison, Segmented
from app.uploads import Photo
from training.data.classes import LabelSpace
from training.data.sampling import evenly_spaced
from training.prediction.label_images import LabelledImages

TOP_CLASSES = 4  # named in a line of the batch
MOST_LINES = 12  # of a batch, evenly spaced


def percent(share: float) -> str:
    """A share as people read it: "34 %", "3.1 %", "< 0.1 %"."""
    value = 100 * share
    if value == 0:
        return "0 %"
    if value < 0.1:
        return "< 0.1 %"
    return f"{value:.0f} %" if value >= 10 else f"{value:.1f} %"


def chip(space: LabelSpace, class_id: int) -> str:
    """A class' colour and name."""
    red, green, blue = space.colors[class_id]
    return f'<span class="chip" style="background:rgb({red},{green},{blue})"></span>{escape(space.names[class_id])}'


def legend(result: Segmented, space: LabelSpace) -> str:
    """The classes present, the largest first, each with its colour, share and a bar; rows light up with the picture."""
    largest = result.shares[0][1]
    rows = "".join(
        f'<li tabindex="0" data-index="{index}"><span class="name">{chip(space, class_id)}</span>'
        f"{_bar(share / largest, space.colors[class_id])}<span class='share'>{percent(share)}</span></li>"
        for index, (class_id, share) in enumerate(result.shares)
    )
    return f'<ul class="legend" aria-label="Classes in this photo">{rows}</ul>'


def _bar(share: float, colour: Sequence[int] | None = None) -> str:
    style = f"width:{100 * min(1.0, share):.1f}%"
    if colour is not None:
        style += ";background:rgb({},{},{})".format(*colour)
    return f'<span class="bar"><i style="{style}"></i></span>'


def about_photo(result: Segmented) -> str:
    """One line: the photo's size, the time, how sure the model is."""
    height, width = result.photo.own_size
    worked = result.segmentation.labels.shape
    smaller = "" if worked == (height, width) else f", worked on at {worked[1]} x {worked[0]}"
    sure = percent(float(result.segmentation.confidence.mean()))
    line = _note(f"{width} x {height} photo{smaller} · {result.milliseconds:.0f} ms · mean confidence {sure}")
    return line + notes([result.photo])


def notes(told: Iterable[Photo | Line]) -> str:
    """What is to be told of photos, each in a line."""
    return "".join(_note(escape(each.note)) for each in told if each.note)


def _note(text: str) -> str:
    return f'<p class="note">{text}</p>'


def changes(comparison: Comparison, space: LabelSpace, why_unchanged: str = "") -> str:
    """How much changed, and from what to what; where nothing did, why, as HTML."""
    told = notes([comparison.after.photo])
    if comparison.changed == 0:
        reason = f" {why_unchanged}" if why_unchanged else ""
        return f'<p class="headline"><b>0 %</b> of the pixels changed.{reason}</p>{told}'
    largest = comparison.changes[0][2]
    rows = "".join(
        f'<tr><td>{chip(space, old)}</td><td class="arrow">→</td><td>{chip(space, new)}</td>'
        f'<td>{_bar(share / largest, space.colors[new])}</td><td class="number">{percent(share)}</td></tr>'
        for old, new, share in comparison.changes
    )
    return (
        f'<p class="headline"><b>{percent(comparison.changed)}</b> of the pixels changed.</p>'
        f'<table class="plain changes"><thead><tr><th>before</th><th></th><th>after</th><th></th>'
        f'<th class="number">pixels</th></tr></thead><tbody>{rows}</tbody></table>{told}'
    )


def thresholds(found: LabelledImages, photos: Iterable[Photo], space: LabelSpace) -> str:
    """What is kept over all photos, and each class' threshold, share of the prediction and kept share."""
    counts, kept = found.pixels, found.kept
    rows = "".join(
        _threshold_row(found, space, int(class_id))
        for class_id in np.argsort(-counts, kind="stable")
        if counts[class_id] > 0 or kept[class_id] > 0
    )
    moved = bool((kept > counts).any())
    return (
        f'<p class="headline"><b>{percent(found.kept_share)}</b> of the pixels are kept as pseudo-labels.</p>'
        f'<table class="plain thresholds"><thead><tr><th>class</th><th class="number">predicted</th>'
        f'<th class="number">threshold</th><th colspan="2">kept of it</th></tr></thead><tbody>{rows}</tbody></table>'
        + notes(photos)
        + (_note("Above 100 %: weighting gave the class pixels that were predicted as another.") if moved else "")
    )


def _threshold_row(found: LabelledImages, space: LabelSpace, class_id: int) -> str:
    count, kept = int(found.pixels[class_id]), int(found.kept[class_id])
    share, rule = kept / count if count else None, found.fitted.rule_in_words(class_id)
    return (
        f"<tr><td>{chip(space, class_id)}</td>"
        f'<td class="number">{percent(count / max(1, found.pixels.sum()))}</td>'
        f'<td class="number">{rule}</td><td>{_bar(share or 0.0, space.colors[class_id])}</td>'
        f'<td class="number">{"-" if share is None else percent(share)}</td></tr>'
    )


def batch(done: Batch, space: LabelSpace) -> str:
    """How many files were done, what failed, and what the rest shows."""
    failed = [line for line in done.lines if line.problem]
    headline = f"<b>{done.done}</b> of {len(done.lines)} done." + (f" {escape(done.note)}" if done.note else "")
    problems = "".join(f"<li>{escape(line.problem)}</li>" for line in failed)
    problems = f'<ul class="problems">{problems}</ul>' if failed else ""
    shown = [line for line in done.lines if not line.problem]
    told = notes(shown)
    left_out = max(0, len(shown) - MOST_LINES)
    listed = [shown[index] for index in evenly_spaced(len(shown), MOST_LINES)]
    rows = "".join(f"<tr><td>{escape(line.name)}</td><td>{_top(line, space)}</td></tr>" for line in listed)
    return (
        f'<p class="headline">{headline}</p>{problems}{told}<table class="plain files"><thead><tr><th>file</th>'
        f"<th>mostly</th></tr></thead><tbody>{rows}</tbody></table>"
        + (f"<p>{left_out} more in the zip's table.</p>" if left_out else "")
    )


def _top(line: Line, space: LabelSpace) -> str:
    return " ".join(
        f'<span class="top">{chip(space, class_id)} {percent(share)}</span>'
        for class_id, share in line.shares[:TOP_CLASSES]
    )
