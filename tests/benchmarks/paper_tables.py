"""The tables of a paper again: its figures beside ours, the means of the seeds, and whether its order is found."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True)
class PaperTable:
    """title: what differs between the rows. figures: by step, the paper's mIoU; None where the paper has none. note:
    said below the table."""

    title: str
    figures: dict[str, float | None]
    note: str = ""


@dataclass(frozen=True)
class Labels:
    """Of one round: mIoU of its pseudo-labels in percent, and mean entropy of the predictions that they are of."""

    miou: float
    entropy: float


DRSL, WITHOUT = "lambda .25 .1", "lambda 0 0"  # the whole recipe, and without the head
DRSL_TABLES: dict[str, PaperTable] = {
    "1": PaperTable("DRSL and DRSL+", {"source only": 33.8, DRSL: 47.6, "consistency 0.1": 47.8}),
    "3": PaperTable(
        "weights of triplet and mixture cross-entropy",
        {WITHOUT: 44.9, "lambda .1 .1": 46.1, DRSL: 47.6, "lambda .5 .5": 45.9, "lambda 1 1": 46.0},
    ),
    "4": PaperTable("with and without the head", {"source only": 33.6, WITHOUT: 44.9, DRSL: 47.6}),
    "5": PaperTable("modes per class", {"modes 1": 44.7, DRSL: 47.6, "modes 5": 46.2}),
    "6": PaperTable(
        "label reduction",
        {"reduction 1": 47.1, "reduction 2": 47.6, "reduction 4": 46.8, "reduction 8": 46.4},
        "All rows with data.loss_stride=1: with the 4 of the streets the reductions 1, 2 and 4 are one and the same.",
    ),
    "8": PaperTable(
        "weight of the consistency", {"consistency 0.01": 46.0, "consistency 0.1": 47.8, "consistency 0.25": 45.3}
    ),
    "isa": PaperTable("translated images alongside (section 4.2.3)", {"without ISA": 46.0, DRSL: 47.6}),
    "controls": PaperTable(
        "target labels of weight 0", {"control, no head": None, WITHOUT: None, "control, head": None, DRSL: None}
    ),
    "choices": PaperTable(
        "what the paper leaves open",
        {DRSL: None, "domain means": None, "classifier's map": None},
        "domain means: a mean of the cross-entropy for each domain, not one over both. classifier's map: both heads "
        "see one map, as in DeepLab-v2; elsewhere the second head sees the encoder's last one.",
    ),
}
"""By the number of the table in the paper; the last two are not in it. Table 7 is `label_table`."""
DRSL_LABELS: dict[str, tuple[Labels, ...]] = {
    WITHOUT: (Labels(73.9, 6.56), Labels(76.4, 1.57)),
    DRSL: (Labels(73.9, 6.56), Labels(78.7, 1.14)),
}
"""Table 7: by step, the labels at the start of each round."""


def paper_table(name: str, table: PaperTable, scores: Mapping[str, Sequence[float]]) -> str:
    """The rows of a table that were measured; `scores`: by step, the mIoU of each seed."""
    rows = {step: scores[step] for step in table.figures if step in scores}
    title = f"Table {name}: {table.title}" if name.isdigit() else f"{table.title.capitalize()}"
    lines = [title, "", "| step | paper | here | each seed |", "|---|--:|--:|---|"]
    for step, each in rows.items():
        paper = table.figures[step]
        lines.append(f"| {step} | {'' if paper is None else paper} | {statistics.mean(each):.1f} | {joined(each, 1)} |")
    published = {step: table.figures[step] for step in rows if table.figures[step] is not None}
    said = order_found(published, {step: statistics.mean(each) for step, each in rows.items()})
    return "\n".join([*lines, *(["", table.note] if table.note else []), *(["", said] if said else [])])


def label_table(labels: Mapping[str, Sequence[Sequence[Labels]]]) -> str:
    """Table 7; `labels`: by step, of each seed, of each round that it has."""
    head = "| step | start of round | mIoU, paper | here | each seed | entropy, paper | here | each seed |"
    lines = ["Table 7: pseudo-labels with and without the head", "", head, "|---|---|--:|--:|---|--:|--:|---|"]
    orders = []
    for number in range(max(len(rounds) for runs in labels.values() for rounds in runs)):
        miou, entropy, paper = {}, {}, {}
        for step, runs in labels.items():
            found = [rounds[number] for rounds in runs if len(rounds) > number]
            if not found:
                continue
            published = DRSL_LABELS[step][number] if number < len(DRSL_LABELS[step]) else None
            mious, entropies = [each.miou for each in found], [each.entropy for each in found]
            miou[step], entropy[step] = statistics.mean(mious), statistics.mean(entropies)
            paper |= {} if published is None else {step: published}
            cells = [
                *(f"{published.miou}" if published else "", f"{miou[step]:.1f}", joined(mious, 1)),
                *(f"{published.entropy}" if published else "", f"{entropy[step]:.3f}", joined(entropies, 3)),
            ]
            lines.append(f"| {step} | {number} | {' | '.join(cells)} |")
        for what, here, digits in (("miou", miou, 1), ("entropy", entropy, 3)):
            published = {step: getattr(each, what) for step, each in paper.items()}
            if len(set(published.values())) > 1:
                orders.append(f"Start of round {number}, {what}: {order_found(published, here, digits)}")
    note = (
        "Entropies in nats per pixel here; the paper gives no unit. At the start of round 0 both have one source model."
    )
    return "\n".join([*lines, "", note, *orders])


def order_found(paper: Mapping[str, float], here: Mapping[str, float], digits: int = 1) -> str:
    """A line: do our means have the order of the paper's figures, and how near are the nearest two of ours? "" with
    fewer than two of them."""
    if len(paper) < 2:
        return ""
    theirs, ours = (sorted(paper, key=lambda step: -of[step]) for of in (paper, here))
    least = min(here[above] - here[below] for above, below in pairwise(ours))
    apart = f"the nearest two differ by {least:.{digits}f}"
    if theirs == ours:
        return f"Order of the paper: found; {apart}."
    best = "; its best row is the best here too" if theirs[0] == ours[0] else ""
    return f"Order of the paper: not found{best} (here {' > '.join(ours)}; {apart})."


def joined(values: Sequence[float], digits: int) -> str:
    return " ".join(f"{value:.{digits}f}" for value in values)
