"""Which charts a report has: what there are figures for."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from training.data.classes import LabelSpace
from training.evaluation import curves, plots, tables
from training.evaluation.confusion import Confusion
from training.evaluation.draws import draws_chart
from training.evaluation.mixture_chart import mixture_chart
from training.run_directory.metrics import read_metrics


def write_charts(
    folder: Path,
    summary: Mapping[str, Any],
    label_space: LabelSpace,
    confusion: Confusion | None,
    metrics: Path | None,
) -> dict[str, str]:
    """Draw into `folder` what there are figures for; file names by kind."""
    charts = {}
    if tables.class_rows(summary):
        sides = [_class_values(summary[side]) for side in ("before", "after")]
        if not tables.compares(summary) and all(sides):
            sides[0] = None
        title = f"IoU per class; {tables.miou_words(summary)}"
        charts["per_class"] = plots.per_class_chart(folder / "per_class.png", label_space, *sides, title=title)
    label_free = summary.get("label_free") or {}
    shares = [_share_percent(label_free.get(side)) for side in ("before", "after")]
    if any(shares):
        charts["class_shares"] = plots.per_class_chart(
            folder / "class_shares.png",
            label_space,
            *shares,
            title="Predicted share of each class",
            unit="% of all pixels",
            more_is_better=False,
        )
    charts |= _stages_charts(folder, summary["stages"], summary, label_space)
    balanced = summary.get("soft_balance")
    if balanced:
        charts["draws"] = draws_chart(folder / "draws.png", balanced, label_space)
    logged = read_metrics(metrics) if metrics is not None and metrics.exists() else {}
    if logged:
        charts["training"] = curves.training_curves(folder / "training.png", logged)
    if confusion is not None and confusion.matrix.any():
        charts["confusion"] = plots.confusion_chart(
            folder / "confusion.png",
            confusion.matrix,
            label_space,
            confusion.unpredicted,
            f"Confusion: {tables.scored_on(summary)}",
        )
    return {kind: path.name for kind, path in charts.items()}


def _stages_charts(folder: Path, stages, summary: Mapping[str, Any], label_space: LabelSpace) -> dict[str, Path]:
    """What the stages of labelling and training have to show."""
    charts = {}
    if stages:
        charts["stages"] = plots.stages_chart(folder / "stages.png", summary)
    labelling = [entry for entry in stages if entry.get("kept_share_per_class")]
    if len(labelling) > 1:
        charts["kept"] = curves.kept_share_chart(folder / "kept_shares.png", labelling, label_space)
    moving = {entry["title"]: entry["threshold_trajectory"] for entry in labelling if "threshold_trajectory" in entry}
    if moving:
        charts["thresholds"] = curves.threshold_chart(folder / "thresholds.png", moving, label_space)
    for entry in labelling:
        if "mixtures" in entry:
            kind, title = f"mixtures_{entry['stage']}", f"{entry['title']}: entropies of the target's predictions"
            title += ", all images together" if entry.get("own_modes") is not None else ""
            names, kept = label_space.names, entry["kept_share_per_class"]
            by_class = entry["mixtures"], [entry["thresholds"][name] for name in names], [kept[name] for name in names]
            path = mixture_chart(folder / f"{kind}.png", names, *by_class, title)
            charts |= {} if path is None else {kind: path}
    return charts


def _class_values(scores: Mapping[str, Any] | None) -> Mapping[str, float | None] | None:
    return scores["per_class_iou"] if scores else None


def _share_percent(side: Mapping[str, Any] | None) -> dict[str, float] | None:
    shares = (side or {}).get("class_shares")
    return {name: 100 * share for name, share in shares.items()} if shares else None
