"""The tables of `recipes.py`, from the summaries of finished runs. All mIoU is over the classes in the truth."""

import json
import statistics
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

CONTROL = "-control"  # behind a recipe's name in the folder of its control
SOURCE_ONLY, ORACLE = "source_only", "oracle"
LEAST_SHARE = 0.005  # of the pixels of the truth: rarer classes are not named as the worst
OVERVIEW = ("recipe", "source-only", "control", "adapted", "taken", "gain", "oracle")
DETAILS = (
    *("recipe", "regret", "worst class: adapted", "taken", "held-out source", "stages", "which were taken"),
    "collapses seen",
)


def summaries(out: Path, name: str, seeds: Sequence[int]) -> dict[int, dict]:
    """The summaries of the runs that are there, by seed; of an oracle in two halves what both say."""
    found = {seed: summary for seed in seeds if (summary := summary_of(out / f"{name}-{seed}"))}
    if name == ORACLE and not found:
        halves = {seed: [summary_of(oracle_folder(out, half, seed)) for half in (0, 1)] for seed in seeds}
        found = {seed: mean_of_halves(pair) for seed, pair in halves.items() if all(pair)}
    return found


def summary_of(run: Path) -> dict | None:
    """None where the run is not finished."""
    report = run / "report" / "summary.json"
    return json.loads(report.read_text()) if report.exists() else None


def oracle_folder(out: Path, half: int, seed: int) -> Path:
    """Of the run of an oracle that trains on one half (0 or 1) of the target's labelled images."""
    return out / f"{ORACLE}-of-{('first', 'second')[half]}-half-{seed}"


def mean_of_halves(pair: Sequence[dict]) -> dict:
    """One summary of two runs of one seed: figures per class are means over those where the truth has the class."""
    iou, pixels = {}, {}
    for name in pair[0]["after"]["per_class_iou"]:
        counts = [run["after"]["truth_pixels"][name] for run in pair]
        known = [run["after"]["per_class_iou"][name] for run, count in zip(pair, counts, strict=True) if count]
        iou[name], pixels[name] = statistics.mean(known) if known else None, sum(counts)
    miou = statistics.mean(iou[name] for name, count in pixels.items() if count)
    return {
        "before": None,
        "stages": [],
        "after": {"miou_in_truth": miou, "per_class_iou": iou, "truth_pixels": pixels},
    }


def control_summaries(out: Path, recipe: str, controls: Mapping[str, str], seeds: Sequence[int]) -> dict[int, dict]:
    return summaries(out, f"{controls[recipe]}{CONTROL}", seeds) if recipe in controls else {}


def tables(out: Path, recipes: Sequence[str], controls: Mapping[str, str], seeds: Sequence[int]) -> str:
    """Two Markdown tables, one line per recipe of which there is a finished run, means and each seed.

    Overview: mIoU of the shared source model (and of the model that the run itself started from, where that is
    another), of the control and of the run after its last stage, of what the watch took, what that gained on the source
    model, and of the oracle. Details: regret, what the best of all stages has more than the taken one, the source model
    included; which class of more than 0.5 % of the pixels lost most beside the source model; mIoU on held-out source
    images before and after the last stage; mIoU after each stage.
    """
    shared, oracle = summaries(out, SOURCE_ONLY, seeds), summaries(out, ORACLE, seeds)
    overview, details = [], []
    for recipe in recipes:
        found = summaries(out, recipe, seeds)
        if not found:
            continue
        adapting = [summary for summary in found.values() if summary["stages"]]
        references = references_of(shared, found)
        overview.append(
            (
                f"`{recipe}`",
                source_cell(shared, found),
                spread(last_stages(control_summaries(out, recipe, controls, seeds).values())),
                spread(last_stages(adapting)),
                spread([taken(summary) for summary in adapting]),
                gain_cell(references, found),
                spread([taken(oracle[seed]) for seed in found if seed in oracle]),
            )
        )
        if adapting:
            details.append((f"`{recipe}`", *detail_cells(references, found)))
    return "\n\n".join(markdown(*each) for each in ((OVERVIEW, overview), (DETAILS, details)) if each[1])


def references_of(shared: Mapping[int, dict], found: Mapping[int, dict]) -> dict[int, dict]:
    """By seed: figures of the shared source model, or of the run's own start where there is no shared one."""
    known = {seed: shared[seed]["after"] if seed in shared else run["before"] for seed, run in found.items()}
    return {seed: figures for seed, figures in known.items() if figures}


def source_cell(shared: Mapping[int, dict], found: Mapping[int, dict]) -> str:
    of_shared = {seed: taken(shared[seed]) for seed in found if seed in shared}
    own = {seed: run["before"]["miou_in_truth"] for seed, run in found.items() if run["before"]}
    differs = any(seed not in of_shared or abs(miou - of_shared[seed]) >= 0.05 for seed, miou in own.items())
    parts = [spread(of_shared.values()), f"own start {spread(own.values())}" if differs else ""]
    return ", ".join(part for part in parts if part)


def gain_cell(references: Mapping[int, dict], found: Mapping[int, dict]) -> str:
    gains = [taken(found[seed]) - of["miou_in_truth"] for seed, of in references.items() if found[seed]["stages"]]
    return f"{statistics.mean(gains):+.1f}" if gains else ""


def detail_cells(references: Mapping[int, dict], found: Mapping[int, dict]) -> list[str]:
    """The cells of a line of the second table, but for the recipe."""
    runs = {seed: summary for seed, summary in found.items() if summary["stages"]}
    compared = [seed for seed in runs if seed in references]
    changes = [
        [class_changes(references[seed], iou(runs[seed]), runs[seed]) for seed in compared]
        for iou in (lambda run: run["stages"][-1]["per_class_iou"], lambda run: run["after"]["per_class_iou"])
    ]
    stages = [" ".join(f"{stage_miou(run, stage):.1f}" for stage in run["stages"]) for run in runs.values()]
    collapses = sum(stage["verdict"] == "collapse" for run in runs.values() for stage in run["stages"])
    return [
        f"{statistics.mean(map(regret, runs.values())):.1f}",
        *map(worst_class, changes),
        source_change(runs.values()),
        "; ".join(stages),
        " ".join(run["chosen"] for run in runs.values()),
        str(collapses or ""),
    ]


def class_changes(before: dict, after: Mapping[str, float], run: dict) -> dict[str, float]:
    """By class of enough pixels in the truth: points of IoU that it gained on the source model."""
    pixels = run["after"]["truth_pixels"]
    least = LEAST_SHARE * sum(pixels.values())
    return {name: after[name] - before["per_class_iou"][name] for name, count in pixels.items() if count > least}


def worst_class(changes: Sequence[Mapping[str, float]]) -> str:
    """The class with the lowest mean change over the runs."""
    if not changes:
        return ""
    means = {name: statistics.mean(run[name] for run in changes) for name in changes[0]}
    name = min(means, key=means.__getitem__)
    return f"{name} {means[name]:+.1f}"


def source_change(runs: Iterable[dict]) -> str:
    """mIoU on held-out source images: of the model before adaptation, and after the last stage."""
    pairs = [
        ((run.get("label_free") or {}).get("before", {}).get("source_miou"), run["stages"][-1].get("source_miou"))
        for run in runs
    ]
    known = [pair for pair in pairs if None not in pair]
    return " → ".join(f"{statistics.mean(side):.1f}" for side in zip(*known, strict=True))


def regret(summary: dict) -> float:
    states = [stage_miou(summary, stage) for stage in summary["stages"]]
    if summary["before"]:
        states.append(summary["before"]["miou_in_truth"])
    return max(states) - taken(summary)


def taken(summary: dict) -> float:
    """mIoU of the model that the run ended with."""
    return summary["after"]["miou_in_truth"]


def last_stages(found: Iterable[dict]) -> list[float]:
    """mIoU after the last stage, whatever the watch thinks of it."""
    return [stage_miou(summary, summary["stages"][-1]) for summary in found if summary["stages"]]


def stage_miou(summary: dict, stage: dict) -> float:
    """mIoU of a stage over the classes that the truth has."""
    in_truth = [name for name, pixels in summary["after"]["truth_pixels"].items() if pixels]
    return statistics.mean(stage["per_class_iou"][name] for name in in_truth)


def per_class(out: Path, recipes: Sequence[str], controls: Mapping[str, str], seeds: Sequence[int]) -> str:
    """IoU per class, the mean of the seeds: of every recipe, and of the last stage of its control behind a slash."""
    columns = {}
    for recipe in recipes:
        after = [summary["after"]["per_class_iou"] for summary in summaries(out, recipe, seeds).values()]
        without = control_summaries(out, recipe, controls, seeds).values()
        control = [summary["stages"][-1]["per_class_iou"] for summary in without]
        columns[recipe] = (after, control)
    columns = {recipe: runs for recipe, runs in columns.items() if runs[0]}
    names = list(next(iter(columns.values()))[0][0]) if columns else []
    lines = [
        (name, *(" / ".join(mean_of(runs, name) for runs in pair if runs) for pair in columns.values()))
        for name in names
    ]
    return markdown(("class", *columns), lines)


def mean_of(runs: list[dict], name: str) -> str:
    values = [run[name] for run in runs if run[name] is not None]
    return f"{statistics.mean(values):.1f}" if values else "none"


def markdown(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *lines))


def spread(values: Collection[float]) -> str:
    """Mean, and each value where there are several."""
    if not values:
        return ""
    each = f" ({', '.join(f'{value:.1f}' for value in values)})" if len(values) > 1 else ""
    return f"{statistics.mean(values):.1f}{each}"
