"""HIAST part by part, in the paper's order: what each is worth, class by class.

    python tests/benchmarks/ablation.py --out RUNS --seeds 0 1 2
    python tests/benchmarks/ablation.py --out RUNS --data streetsim_camvid --target-root PHOTOS

Options that it does not know go to training/run.py. The adversarial warm-up is trained once per seed, and all that
follows goes on from where it ended, as HIAST does, whatever the watch thinks of it. Finished runs are not repeated and
stopped ones are continued: the same command goes on where it was.
"""

import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import argparse
import json
import statistics
import subprocess
from pathlib import Path

from tests.benchmarks.recipes import finished
from training.errors import UserError

RECIPE, WARM_UP, ALIGNED = "hiast", "warm-up", "alignment"
_REGIONS, _PASTE = "adaptation.losses.regions=off", "adaptation.copy_paste=off"
_CONSISTENCY = ("adaptation.mean_teacher=off", "adaptation.losses.consistency=off", "adaptation.strong_views=False")
LEFT_OUT: dict[str, tuple[str, ...]] = {
    WARM_UP: ("adaptation=off",),
    "+ IAS": (_REGIONS, _PASTE, *_CONSISTENCY),
    "+ regularisation": (_PASTE, *_CONSISTENCY),
    "+ copy-paste": _CONSISTENCY,
    "+ consistency": (),
}
"""By step: what of the whole recipe it does without. Consistency is the mean teacher with its strong views."""
HARD = ("pole", "sign", "rider", "bicycl")  # in the names of the classes that are HIAST's claim


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for the runs")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="overrides for every run")
    arguments, more = parser.parse_known_args(argv)
    summaries: dict[str, list[dict]] = {step: [] for step in LEFT_OUT}
    for seed in arguments.seeds:
        shared: list[str] = []
        for step in LEFT_OUT:
            run = arguments.out / f"{step.removeprefix('+ ')}-{seed}"
            finished(run, RECIPE, seed, [*more, *shared, *overrides(step, arguments.set)])
            shared = shared or ["--warm-start", str(aligned(run))]
            summaries[step].append(outcome(step, json.loads((run / "report" / "summary.json").read_text())))
    print(step_table(summaries), class_table(summaries), sep="\n\n")
    return 0


def aligned(run: Path) -> Path:
    """The model that the warm-up in `run` ended with, exported if it is not there yet: `--warm-start` takes it."""
    model = run / f"{ALIGNED}.onnx"
    if not model.exists():
        command = [ROOT / "export" / "run.py", "--run", run, "--stage", ALIGNED, "--out", model]
        subprocess.run([sys.executable, *map(str, command)], check=True)
    return model


def outcome(step: str, summary: dict) -> dict:
    """A run's summary; the warm-up's as if the watch had taken its last stage, which the other steps start from."""
    if step != WARM_UP:
        return summary
    last = next(entry for entry in summary["stages"] if entry["stage"] == ALIGNED)
    return {**summary, "after": last, "chosen": ALIGNED}


def overrides(step: str, given: list[str]) -> list[str]:
    """The `--set` of a step: the given overrides, but for those of parts that the step does without, and these."""
    switched_off = [part.removesuffix("=off") for part in LEFT_OUT[step] if part.endswith("=off")]
    names = [override.removeprefix("recipe.") for override in given]
    kept = [name for name in names if not any(name.startswith((f"{part}.", f"{part}=")) for part in switched_off)]
    values = [*kept, *LEFT_OUT[step]]
    return ["--set", *values] if values else []


def step_table(summaries: dict[str, list[dict]]) -> str:
    """One line per step: mIoU of the model that was taken, what the step added, the hard classes, rounds per seed."""
    lines = ["| step | mIoU | added | hard classes | each seed | its rounds | taken |", "|---|---|---|---|---|---|---|"]
    before: list[float] | None = None
    for step, runs in summaries.items():
        scores = [summary["after"]["miou"] for summary in runs]
        added = "" if before is None else f"{statistics.mean(map(float.__sub__, scores, before)):+.1f}"
        hard = statistics.mean(value for name, value in class_means(runs).items() if is_hard(name))
        rounds = "; ".join(" ".join(f"{entry['miou']:.1f}" for entry in summary["stages"]) for summary in runs)
        taken = " ".join(summary["chosen"] for summary in runs)
        each = " ".join(f"{score:.1f}" for score in scores)
        lines.append(f"| {step} | {statistics.mean(scores):.1f} | {added} | {hard:.1f} | {each} | {rounds} | {taken} |")
        before = scores
    return "\n".join(lines)


def class_table(summaries: dict[str, list[dict]]) -> str:
    """IoU of every class after every step, mean of the seeds; hard classes in bold."""
    means = [class_means(runs) for runs in summaries.values()]
    lines = [f"| class | {' | '.join(summaries)} |", "|---|" + "--:|" * len(means)]
    for name in means[0]:
        cells = " | ".join(f"{mean[name]:.1f}" if name in mean else "" for mean in means)
        lines.append(f"| {f'**{name}**' if is_hard(name) else name} | {cells} |")
    return "\n".join(lines)


def class_means(runs: list[dict]) -> dict[str, float]:
    """Mean over the runs of the IoU of each class that all of them have."""
    each = [summary["after"]["per_class_iou"] for summary in runs]
    common = [name for name in each[0] if all(iou[name] is not None for iou in each)]
    return {name: statistics.mean(iou[name] for iou in each) for name in common}


def is_hard(name: str) -> bool:
    return any(part in name for part in HARD)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error:
        sys.exit(f"streetshift: {error}")
