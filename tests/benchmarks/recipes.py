"""Recipes side by side on one pair of domains: the tables of the README.

    python tests/benchmarks/recipes.py --out RUNS --recipes st cbst cbst_sp --seeds 0 1 2
    python tests/benchmarks/recipes.py --out RUNS --recipes cbst cbst_sp --more --data streetsim_camvid ...

The warm-up is trained once per seed (`source_only`) and taken over by every recipe; `oracle` trains its own. Finished
runs are not repeated, so a stopped table goes on where it was.
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
from training.run_directory.series import carried_out


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for the runs")
    parser.add_argument("--recipes", nargs="+", required=True)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--more", nargs=argparse.REMAINDER, default=[], help="further options of training/run.py")
    arguments = parser.parse_args(argv)
    for seed in arguments.seeds:
        warm_up = finished(arguments.out / f"source_only-{seed}", "source_only", seed, arguments.more)
        for recipe in arguments.recipes:
            shared = [] if recipe == "oracle" else ["--warm-start", str(warm_up)]
            finished(arguments.out / f"{recipe}-{seed}", recipe, seed, [*arguments.more, *shared])
    print(table(arguments.out, ["source_only", *arguments.recipes], arguments.seeds))
    return 0


def finished(run: Path, recipe: str, seed: int, more: list[str]) -> Path:
    """Carry out the run, or what is left of it."""
    return carried_out(run, ["--recipe", recipe, "--seed", str(seed), *more])


def table(out: Path, recipes: list[str], seeds: list[int]) -> str:
    """One Markdown line per recipe: mIoU after, gain, the rounds, which one was taken, collapses."""
    lines = ["| recipe | mIoU after | gain | rounds | taken | collapses seen |", "|---|---|---|---|---|---|"]
    for recipe in recipes:
        reports = [out / f"{recipe}-{seed}" / "report" / "summary.json" for seed in seeds]
        found = [json.loads(report.read_text()) for report in reports if report.exists()]
        after = [summary["after"]["miou"] for summary in found]
        gains = [summary["after"]["miou"] - summary["before"]["miou"] for summary in found if summary["before"]]
        rounds = "; ".join(" ".join(f"{entry['miou']:.1f}" for entry in summary["stages"]) for summary in found)
        taken = " ".join(summary["chosen"] for summary in found if summary["stages"])
        collapses = sum(entry["verdict"] == "collapse" for summary in found for entry in summary["stages"])
        gain = f"{statistics.mean(gains):+.1f}" if gains and recipe != "source_only" else ""
        lines.append(f"| `{recipe}` | {_spread(after)} | {gain} | {rounds} | {taken} | {collapses or ''} |")
    return "\n".join(lines)


def _spread(values: list[float]) -> str:
    each = f" ({', '.join(f'{value:.1f}' for value in values)})" if len(values) > 1 else ""
    return f"{statistics.mean(values):.1f}{each}"


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error:
        sys.exit(f"streetshift: {error}")
