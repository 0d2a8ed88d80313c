"""Recipes side by side on one pair of domains: the tables of the README.

    python tests/benchmarks/recipes.py --out RUNS --recipes st cbst cbst_sp --seeds 0 1 2
    python tests/benchmarks/recipes.py --out RUNS --recipes cbst daformer --controls --per-class
    python tests/benchmarks/recipes.py --out RUNS --recipes cbst cbst_sp --more --data streetsim_camvid ...

The warm-up is trained once per seed (`source_only`) and taken over by every recipe; `oracle` trains its own. Finished
runs are not repeated, so a stopped table goes on where it was. `--controls` runs every recipe once more with target
weight 0: the same steps, images and augmentation, and nothing that comes from the target's labels. `--set` goes to
every run, other options behind `--more` too.
"""

import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import argparse
import json
import statistics
from pathlib import Path

from training.errors import UserError
from training.recipes import RECIPES
from training.run_directory.series import carried_out

CONTROL = "-control"  # behind a recipe's name in the folder of its control


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for the runs")
    parser.add_argument("--recipes", nargs="+", required=True)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--controls", action="store_true", help="every recipe with target weight 0 beside it")
    parser.add_argument("--per-class", action="store_true", help="a table of the IoU per class too")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="overrides for every run")
    parser.add_argument("--more", nargs=argparse.REMAINDER, default=[], help="further options of training/run.py")
    arguments = parser.parse_args(argv)
    for seed in arguments.seeds:
        warm_up = finished(arguments.out / f"source_only-{seed}", "source_only", seed, arguments.more)
        for recipe in arguments.recipes:
            shared = [] if recipe == "oracle" else ["--warm-start", str(warm_up)]
            more = [*arguments.more, *shared]
            finished(arguments.out / f"{recipe}-{seed}", recipe, seed, [*more, *set_options(arguments.set)])
            if arguments.controls and has_control(recipe):
                run = arguments.out / f"{recipe}{CONTROL}-{seed}"
                finished(run, recipe, seed, ["--control", *more, *set_options(arguments.set)])
    print(table(arguments.out, ["source_only", *arguments.recipes], arguments.seeds))
    if arguments.per_class:
        print("", per_class(arguments.out, ["source_only", *arguments.recipes], arguments.seeds), sep="\n")
    return 0


def has_control(recipe: str) -> bool:
    """Does the recipe learn from labels of the target?"""
    return RECIPES[recipe].adaptation is not None


def set_options(values: list[str]) -> list[str]:
    """The `--set` of a run."""
    return ["--set", *values] if values else []


def finished(run: Path, recipe: str, seed: int, more: list[str]) -> Path:
    """Carry out the run, or what is left of it."""
    return carried_out(run, ["--recipe", recipe, "--seed", str(seed), *more])


def table(out: Path, recipes: list[str], seeds: list[int]) -> str:
    """One Markdown line per recipe: mIoU after and that of its control, gain, stages, which was taken, collapses."""
    lines = [
        "| recipe | mIoU after | gain | its control | stages | taken | collapses seen |",
        "|---|---|---|---|---|---|---|",
    ]
    for recipe in recipes:
        found, controls = summaries(out, recipe, seeds), summaries(out, f"{recipe}{CONTROL}", seeds)
        after = [summary["after"]["miou"] for summary in found]
        gains = [summary["after"]["miou"] - summary["before"]["miou"] for summary in found if summary["before"]]
        rounds = "; ".join(" ".join(f"{entry['miou']:.1f}" for entry in summary["stages"]) for summary in found)
        taken = " ".join(summary["chosen"] for summary in found if summary["stages"])
        collapses = sum(entry["verdict"] == "collapse" for summary in found for entry in summary["stages"])
        gain = f"{statistics.mean(gains):+.1f}" if gains and recipe != "source_only" else ""
        # The control's last stage: what the watch says of it does not matter here.
        control = _spread([summary["stages"][-1]["miou"] for summary in controls]) if controls else ""
        lines.append(f"| `{recipe}` | {_spread(after)} | {gain} | {control} | {rounds} | {taken} | {collapses or ''} |")
    return "\n".join(lines)


def summaries(out: Path, name: str, seeds: list[int]) -> list[dict]:
    """The summaries of the runs that are there."""
    reports = [out / f"{name}-{seed}" / "report" / "summary.json" for seed in seeds]
    return [json.loads(report.read_text()) for report in reports if report.exists()]


def per_class(out: Path, recipes: list[str], seeds: list[int]) -> str:
    """IoU per class, the mean of the seeds: of every recipe, and of the last stage of its control behind a slash."""
    columns = {}
    for recipe in recipes:
        after = [summary["after"]["per_class_iou"] for summary in summaries(out, recipe, seeds)]
        control = [summary["stages"][-1]["per_class_iou"] for summary in summaries(out, f"{recipe}{CONTROL}", seeds)]
        columns[recipe] = (after, control)
    names = list(next(iter(columns.values()))[0][0])
    lines = ["| class | " + " | ".join(columns) + " |", "|---|" + "--:|" * len(columns)]
    for name in names:
        cells = [" / ".join(_mean_of(runs, name) for runs in pair if runs) for pair in columns.values()]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _mean_of(runs: list[dict], name: str) -> str:
    values = [run[name] for run in runs if run[name] is not None]
    return f"{statistics.mean(values):.1f}" if values else "none"


def _spread(values: list[float]) -> str:
    each = f" ({', '.join(f'{value:.1f}' for value in values)})" if len(values) > 1 else ""
    return f"{statistics.mean(values):.1f}{each}"


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error:
        sys.exit(f"streetshift: {error}")
