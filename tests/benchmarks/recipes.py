"""Recipes side by side on pairs of domains, each beside its control: the tables of the README.

    python tests/benchmarks/recipes.py --out RUNS --recipes cbst cbst_sp --seeds 0 1 2
    python tests/benchmarks/recipes.py --out RUNS --recipes dacs daformer --controls --per-class --jobs 2
    python tests/benchmarks/recipes.py --out RUNS --pairs camvid facades --camvid CAMVID --facades FACADES \\
        --controls --weights FILE --size 176x240

Options that it does not know go to training/run.py. The source model is trained once per pair and seed (`source_only`)
and taken over by every recipe whose own warm-up is the same; `oracle`, `uplr` and `drsl` train theirs. `--controls`
runs every recipe once more with target weight 0: the same steps, images and augmentation, and nothing that comes from
the target's labels. Recipes that differ in losses that the control leaves out (`daformer`, `mic`, `pgpc`) share one
control. Finished runs are not repeated and stopped ones are continued: the same command goes on where it was.
`--jobs 2` carries out two runs at a time, each on half of the processor cores.
"""

import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import argparse
import json
import multiprocessing
import os
import statistics
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing.queues import SimpleQueue
from pathlib import Path

from tests.benchmarks.series import carried_out
from training.command_line import experiment_of, parse
from training.errors import UserError
from training.presets import EMBEDDED
from training.recipes import RECIPES
from training.settings.experiment import Experiment, Recipe

CONTROL = "-control"  # behind a recipe's name in the folder of its control
PAIRS = {
    "streets": "--data streetsim",
    "dusk": "--data streetsim_dusk",
    "camvid": "--data streetsim_camvid --target-root {camvid}/train/images --eval-root {camvid}/val",
    "facades": "--data folders --classes camvid11 --source-root {camvid}/val "
    "--target-root {facades}/train/images --eval-root {facades}/val",
}
"""The options of training/run.py for each pair."""


@dataclass(frozen=True)
class Job:
    """A run of the table: its folder, the options of training/run.py."""

    run: Path
    options: list[str]


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for the runs, one folder in it per pair")
    parser.add_argument("--pairs", nargs="+", choices=PAIRS, default=["streets"])
    parser.add_argument("--camvid", type=Path, help="CamVid: train/images, val/images and val/labels")
    parser.add_argument("--facades", type=Path, help="facades: train/images, val/images and val/labels")
    parser.add_argument("--recipes", nargs="+", choices=RECIPES, metavar="RECIPE", default=list(RECIPES))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--controls", action="store_true", help="every recipe with target weight 0 beside it")
    parser.add_argument("--per-class", action="store_true", help="a table of the IoU per class too")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time (1)")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="overrides for all but source_only")
    parser.add_argument("--source-set", nargs="+", default=[], metavar="KEY=VALUE", help="overrides for source_only")
    arguments, more = parser.parse_known_args(argv)
    for pair in arguments.pairs:
        data = options_of(pair, arguments.camvid, arguments.facades)
        recipes = recipes_of(pair, arguments.recipes)
        out = arguments.out / pair
        overrides = set_options(arguments.set)
        controls = shared_controls(recipes, [*data, *more, *overrides]) if arguments.controls else {}
        # The source models first: all others start from them.
        options = [*data, *more, *set_options(arguments.source_set)]
        carry_out([source_model(out, seed, options) for seed in arguments.seeds], arguments.jobs)
        others = [
            adapted(out, recipe, seed, [*data, *more], overrides, control)
            for seed in arguments.seeds
            for chosen, control in ((recipes, False), (dict.fromkeys(controls.values()), True))
            for recipe in chosen
        ]
        carry_out(others, arguments.jobs)
        print(f"{pair}\n", table(out, ["source_only", *recipes], controls, arguments.seeds), sep="\n")
        if arguments.per_class:
            print("", per_class(out, ["source_only", *recipes], controls, arguments.seeds), sep="\n")
    return 0


def options_of(pair: str, camvid: Path | None, facades: Path | None) -> list[str]:
    """The options of training/run.py that choose the pair's data."""
    for name, root in (("camvid", camvid), ("facades", facades)):
        if f"{{{name}}}" in PAIRS[pair] and root is None:
            raise UserError(f"the pair '{pair}' needs --{name} FOLDER")
    return [option.format(camvid=camvid, facades=facades) for option in PAIRS[pair].split()]


def recipes_of(pair: str, recipes: Sequence[str]) -> list[str]:
    """The recipes that a pair can have: the oracle needs labels of the target, which folders of photos do not give."""
    labelled = any(name in PAIRS[pair].split() for name in EMBEDDED)
    return [recipe for recipe in recipes if recipe != "source_only" and (labelled or recipe != "oracle")]


def source_model(out: Path, seed: int, options: list[str]) -> Job:
    return Job(source_folder(out, seed), ["--recipe", "source_only", "--seed", str(seed), *options])


def source_folder(out: Path, seed: int) -> Path:
    return out / f"source_only-{seed}"


def adapted(out: Path, recipe: str, seed: int, options: list[str], overrides: list[str], control: bool) -> Job:
    """The run of a recipe, or its control's, from the source model of the same seed."""
    start = [] if has_own_warm_up(RECIPES[recipe]) else ["--warm-start", str(source_folder(out, seed))]
    of_control = ["--control"] if control else []
    options = ["--recipe", recipe, "--seed", str(seed), *of_control, *options, *start, *overrides]
    return Job(out / f"{recipe}{CONTROL if control else ''}-{seed}", options)


def has_own_warm_up(recipe: Recipe) -> bool:
    """Is its source model trained in another way than `source_only`: on the target, with translated images, with a
    second head?"""
    translated = recipe.translation is not None and recipe.translation.warm_up
    return recipe.warm_up.domain == "target" or translated or getattr(recipe.adaptation, "mixture", None) is not None


def carry_out(jobs: Sequence[Job], at_a_time: int) -> None:
    """Carry out the jobs, or what is left of them; several at a time share the cores equally."""
    if at_a_time == 1:
        for job in jobs:
            carried_out(job.run, job.options)
        return
    shares = multiprocessing.SimpleQueue()
    for share in cores(at_a_time):
        shares.put(share)
    with ProcessPoolExecutor(at_a_time, initializer=bind, initargs=(shares,)) as pool:
        runs = [pool.submit(carried_out, job.run, job.options) for job in jobs]
        for run in runs:
            run.result()


def bind(shares: SimpleQueue) -> None:
    """Bind this process, and the runs that it starts, to the next share of the cores; where the system cannot (macOS,
    Windows), all runs see all cores."""
    share = shares.get()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, share)


def cores(shares: int) -> list[set[int]]:
    """The cores of this process in `shares` parts, each of at least one core."""
    every = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))
    return [set(every[share::shares]) or {every[share % len(every)]} for share in range(shares)]


def shared_controls(recipes: Sequence[str], options: list[str]) -> dict[str, str]:
    """By recipe: the first recipe of all that has the same control. Without those that learn nothing from labels of the
    target, and so have none."""
    settings: dict[str, Experiment] = {}
    arguments = parse(["--control", *options])
    for name in [name for name, recipe in RECIPES.items() if recipe.adaptation]:
        try:
            settings[name] = without_names(experiment_of(replace(arguments, recipe=name)))
        except UserError:  # another recipe may lack the parts that the overrides set
            if name in recipes:
                raise
    return {
        name: next(first for first, control in settings.items() if control == settings[name])
        for name in recipes
        if name in settings
    }


def set_options(values: list[str]) -> list[str]:
    """The `--set` of a run."""
    return ["--set", *values] if values else []


def without_names(experiment: Experiment) -> Experiment:
    """All that a training depends on: without the recipe's name, papers and figures."""
    return replace(experiment, recipe=replace(experiment.recipe, paper="", measured="", published=""), names={})


def table(out: Path, recipes: list[str], controls: dict[str, str], seeds: list[int]) -> str:
    """One Markdown line per recipe, mIoU over the classes in the truth: after the last stage, that of its control,
    after the stage that the watch took, and after each stage. Regret: what the best of all has more than the taken one,
    the source model included."""
    lines = [
        "| recipe | control | adapted | taken | gain | regret | stages | which were taken | collapses seen |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for recipe in recipes:
        found, without = summaries(out, recipe, seeds), control_summaries(out, recipe, controls, seeds)
        if not found:
            continue
        taken = [summary["after"]["miou_in_truth"] for summary in found]
        gains = [miou - before for miou, before in zip(taken, starts(found), strict=True) if before is not None]
        stages = "; ".join(" ".join(f"{stage_miou(summary, at):.1f}" for at in summary["stages"]) for summary in found)
        which = " ".join(summary["chosen"] for summary in found if summary["stages"])
        collapses = sum(at["verdict"] == "collapse" for summary in found for at in summary["stages"])
        gain = f"{statistics.mean(gains):+.1f}" if gains and recipe != "source_only" else ""
        lost = f"{statistics.mean(map(regret, found)):.1f}" if which else ""
        cells = [last_stages(without), last_stages(found), spread(taken), gain, lost, stages, which]
        cells.append(str(collapses or ""))
        lines.append(f"| `{recipe}` | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def starts(found: Sequence[dict]) -> list[float | None]:
    return [summary["before"] and summary["before"]["miou_in_truth"] for summary in found]


def regret(summary: dict) -> float:
    states = [stage_miou(summary, stage) for stage in summary["stages"]]
    if summary["before"]:
        states.append(summary["before"]["miou_in_truth"])
    return max(states) - summary["after"]["miou_in_truth"]


def last_stages(found: Sequence[dict]) -> str:
    """Mean and each seed's mIoU after the last stage, whatever the watch thinks of it."""
    return spread([stage_miou(summary, summary["stages"][-1]) for summary in found if summary["stages"]])


def stage_miou(summary: dict, stage: dict) -> float:
    """mIoU of a stage over the classes that the truth has."""
    in_truth = [name for name, pixels in summary["after"]["truth_pixels"].items() if pixels]
    return statistics.mean(stage["per_class_iou"][name] for name in in_truth)


def summaries(out: Path, name: str, seeds: list[int]) -> list[dict]:
    """The summaries of the runs that are there."""
    reports = [out / f"{name}-{seed}" / "report" / "summary.json" for seed in seeds]
    return [json.loads(report.read_text()) for report in reports if report.exists()]


def control_summaries(out: Path, recipe: str, controls: dict[str, str], seeds: list[int]) -> list[dict]:
    return summaries(out, f"{controls[recipe]}{CONTROL}", seeds) if recipe in controls else []


def per_class(out: Path, recipes: list[str], controls: dict[str, str], seeds: list[int]) -> str:
    """IoU per class, the mean of the seeds: of every recipe, and of the last stage of its control behind a slash."""
    columns = {}
    for recipe in recipes:
        after = [summary["after"]["per_class_iou"] for summary in summaries(out, recipe, seeds)]
        without = control_summaries(out, recipe, controls, seeds)
        control = [summary["stages"][-1]["per_class_iou"] for summary in without]
        columns[recipe] = (after, control)
    columns = {recipe: runs for recipe, runs in columns.items() if runs[0]}
    names = list(next(iter(columns.values()))[0][0])
    lines = ["| class | " + " | ".join(columns) + " |", "|---|" + "--:|" * len(columns)]
    for name in names:
        cells = [" / ".join(mean_of(runs, name) for runs in pair if runs) for pair in columns.values()]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def mean_of(runs: list[dict], name: str) -> str:
    values = [run[name] for run in runs if run[name] is not None]
    return f"{statistics.mean(values):.1f}" if values else "none"


def spread(values: list[float]) -> str:
    if not values:
        return ""
    each = f" ({', '.join(f'{value:.1f}' for value in values)})" if len(values) > 1 else ""
    return f"{statistics.mean(values):.1f}{each}"


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error:
        sys.exit(f"streetshift: {error}")
