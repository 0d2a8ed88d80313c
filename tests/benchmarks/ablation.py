"""A method part by part, in the paper's order: what each is worth, class by class.

    python tests/benchmarks/ablation.py --out RUNS --seeds 0 1 2
    python tests/benchmarks/ablation.py --out RUNS --method daformer --seeds 0 1 2
    python tests/benchmarks/ablation.py --out RUNS --method uplr --seeds 0 1 2
    python tests/benchmarks/ablation.py --out RUNS --method drsl --seeds 0 1 2
    python tests/benchmarks/ablation.py --out RUNS --data streetsim_camvid --target-root PHOTOS

Options that it does not know go to training/run.py. The first step is trained once per seed, and all that follows goes
on from where it ended, whatever the watch thinks of it: HIAST from the adversarial warm-up, DAFormer, with PGPC's
contrast and MIC's masked images behind its own parts, and UPLR from the source model. Each of UPLR's steps aligns as
long, and `control` is the last one with labels of weight 0; where images are drawn by their classes, a third table has
the draws. DRSL's steps are the rows of the paper's tables 3 to 6 and 8, each with a warm-up of its own, in which the
second head takes part; table 7 is that of `label_quality.py` on two of the runs. `--steps "lambda 0 0" "lambda .25 .1"`
runs these alone. Finished runs are not repeated and stopped ones are continued: the same command goes on where it was.
"""

import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import argparse
import json
import statistics
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.recipes import set_options
from tests.benchmarks.series import carried_out
from training.errors import UserError


@dataclass(frozen=True)
class Ablation:
    """recipe: the whole method. shared: the stage of the first step that the others start from; None: each step has a
    warm-up of its own. steps: by name, what a step changes in the whole recipe. hard: parts of the names of the classes
    that are the method's claim."""

    recipe: str
    shared: str | None
    steps: dict[str, tuple[str, ...]]
    hard: tuple[str, ...]


_REGIONS, _PASTE = "adaptation.losses.regions=off", "adaptation.copy_paste=off"
_CONSISTENCY = ("adaptation.mean_teacher=off", "adaptation.losses.consistency=off", "adaptation.strong_views=False")
_RARE, _DISTANCE = "adaptation.rare_class_sampling=off", "adaptation.losses.feature_distance=off"
_CONTRAST = "adaptation.losses.contrast=off"
_MIXTURE, _FINE_LABELS = "adaptation.mixture", "data.loss_stride=1"  # so that every label reduction is another
ABLATIONS = {
    "hiast": Ablation(
        recipe="hiast",
        shared="alignment",
        steps={
            "warm-up": ("adaptation=off",),
            "+ IAS": (_REGIONS, _PASTE, *_CONSISTENCY),
            "+ regularisation": (_PASTE, *_CONSISTENCY),
            "+ copy-paste": _CONSISTENCY,
            "+ consistency": (),  # the mean teacher with its strong views
        },
        hard=("pole", "sign", "rider", "bicycl"),
    ),
    "daformer": Ablation(
        recipe="pgpc",
        shared="source",
        steps={
            "source only": ("adaptation=off",),
            "control": (_RARE, _DISTANCE, _CONTRAST, "adaptation.target_weight=0"),
            "EMA, ClassMix": (_RARE, _DISTANCE, _CONTRAST),
            "+ rare classes": (_DISTANCE, _CONTRAST),
            "+ feature distance": (_CONTRAST,),
            "+ contrast": (),
            "+ masked": ("adaptation.losses.masked=on",),
        },
        hard=("pole", "light", "sign", "rider", "train", "motor", "bicycl"),
    ),
    "uplr": Ablation(
        recipe="uplr",
        shared="source",
        steps={
            "source only": ("translation=off", "alignment=off", "adaptation=off"),
            "+ AA": ("translation=off", "alignment.sampler=off", "adaptation=off"),
            "+ IT": ("alignment.sampler=off", "adaptation=off"),
            "+ SR": ("alignment.sampler.classes=all", "adaptation=off"),
            "+ TGAA": ("adaptation=off",),
            "control": ("adaptation.target_weight=0",),  # as many steps as with labels
            "+ UPST": (),
        },
        hard=("light", "rider", "train", "motor", "bicycl"),
    ),
    "drsl": Ablation(
        recipe="drsl",
        shared=None,
        steps={
            "source only": ("translation=off", "adaptation=off"),
            "control": (f"{_MIXTURE}=off", "adaptation.target_weight=0"),
            "lambda 0 0": (f"{_MIXTURE}=off",),  # tables 3, 4 and 7: without the head
            "lambda .1 .1": (f"{_MIXTURE}.triplet=0.1", f"{_MIXTURE}.cross_entropy=0.1"),
            "lambda .25 .1": (),
            "lambda .5 .5": (f"{_MIXTURE}.triplet=0.5", f"{_MIXTURE}.cross_entropy=0.5"),
            "lambda 1 1": (f"{_MIXTURE}.triplet=1", f"{_MIXTURE}.cross_entropy=1"),
            "modes 1": (f"{_MIXTURE}.modes=1",),  # table 5, 3 modes above
            "modes 5": (f"{_MIXTURE}.modes=5",),
            **{  # table 6
                f"reduction {ratio}": (f"{_MIXTURE}.label_reduction={ratio}", _FINE_LABELS) for ratio in (1, 2, 4, 8)
            },
            **{  # table 8: DRSL+
                f"consistency {weight}": (f"{_MIXTURE}.consistency={weight}",) for weight in (0.01, 0.1, 0.25)
            },
            "without ISA": ("translation=off",),
        },
        hard=("pole", "light", "sign", "person", "fence", "bicycl"),
    ),
}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for the runs")
    parser.add_argument("--method", choices=ABLATIONS, default="hiast")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--steps", nargs="+", metavar="STEP", help="these steps alone, by their names")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="overrides for every run")
    arguments, more = parser.parse_known_args(argv)
    ablation = ABLATIONS[arguments.method]
    wanted, first = arguments.steps or list(ablation.steps), next(iter(ablation.steps))
    if unknown := [step for step in wanted if step not in ablation.steps]:
        parser.error(f"{arguments.method} has no step '{unknown[0]}': choose from {', '.join(ablation.steps)}")
    # The first step is trained in any case where the others go on from it.
    steps = [step for step in ablation.steps if step in wanted or (step == first and ablation.shared)]
    summaries: dict[str, list[dict]] = {step: [] for step in steps}
    for seed in arguments.seeds:
        shared: list[str] = []
        for step in steps:
            name = step.removeprefix("+ ").replace(", ", "-").replace(" ", "-")
            run = arguments.out / arguments.method / f"{name}-{seed}"
            options = [*more, *shared, *overrides(ablation, step, arguments.set)]
            carried_out(run, ["--recipe", ablation.recipe, "--seed", str(seed), *options])
            if ablation.shared is not None:
                shared = shared or ["--warm-start", str(model_of(run, ablation.shared))]
            summaries[step].append(outcome(ablation, step, json.loads((run / "report" / "summary.json").read_text())))
    summaries = {step: runs for step, runs in summaries.items() if step in wanted}
    print(step_table(ablation, summaries), class_table(ablation, summaries), sep="\n\n")
    drawn = draws_table(ablation, summaries)
    if drawn:
        print("", drawn, sep="\n")
    return 0


def model_of(run: Path, stage: str) -> Path:
    """The model that a stage of `run` ended with, exported if it is not there yet: `--warm-start` takes it."""
    model = run / f"{stage}.onnx"
    if not model.exists():
        command = [ROOT / "export" / "run.py", "--run", run, "--stage", stage, "--out", model]
        subprocess.run([sys.executable, *map(str, command)], check=True)
    return model


def outcome(ablation: Ablation, step: str, summary: dict) -> dict:
    """A run's summary with "trained": the scores of the stage that it was trained to, whatever the watch took. Of the
    first step that is the stage which the other steps start from."""
    of_stages = {entry["stage"]: entry for entry in summary["stages"]}
    if step == next(iter(ablation.steps)) and ablation.shared in of_stages:
        return {**summary, "trained": of_stages[ablation.shared]}
    return {**summary, "trained": [summary["after"], *summary["stages"]][-1]}  # without a stage: the source model


def overrides(ablation: Ablation, step: str, given: list[str]) -> list[str]:
    """The `--set` of a step: the given overrides, but for those of parts that the step does without, and its own."""
    switched_off = [part.removesuffix("=off") for part in ablation.steps[step] if part.endswith("=off")]
    names = [override.removeprefix("recipe.") for override in given]
    kept = [name for name in names if not any(name.startswith((f"{part}.", f"{part}=")) for part in switched_off)]
    values = [*kept, *ablation.steps[step]]
    return set_options(values)


def step_table(ablation: Ablation, summaries: dict[str, list[dict]]) -> str:
    """One line per step: mIoU where its training ended, what the step added, the hard classes, rounds per seed, and
    which model the watch took."""
    lines = ["| step | mIoU | added | hard classes | each seed | its rounds | taken |", "|---|---|---|---|---|---|---|"]
    before: list[float] | None = None
    for step, runs in summaries.items():
        scores = [summary["trained"]["miou"] for summary in runs]
        added = "" if before is None else f"{statistics.mean(map(float.__sub__, scores, before)):+.1f}"
        hard = statistics.mean(value for name, value in class_means(runs).items() if is_hard(ablation, name))
        rounds = "; ".join(" ".join(f"{entry['miou']:.1f}" for entry in summary["stages"]) for summary in runs)
        taken = " ".join(summary["chosen"] for summary in runs)
        each = " ".join(f"{score:.1f}" for score in scores)
        lines.append(f"| {step} | {statistics.mean(scores):.1f} | {added} | {hard:.1f} | {each} | {rounds} | {taken} |")
        before = scores
    return "\n".join(lines)


def class_table(ablation: Ablation, summaries: dict[str, list[dict]]) -> str:
    """IoU of every class after every step, mean of the seeds; hard classes in bold."""
    means = [class_means(runs) for runs in summaries.values()]
    lines = [f"| class | {' | '.join(summaries)} |", "|---|" + "--:|" * len(means)]
    for name in means[0]:
        cells = " | ".join(f"{mean[name]:.1f}" if name in mean else "" for mean in means)
        lines.append(f"| {f'**{name}**' if is_hard(ablation, name) else name} | {cells} |")
    return "\n".join(lines)


def draws_table(ablation: Ablation, summaries: dict[str, list[dict]]) -> str | None:
    """The share of the source's images drawn in the last round of alignment that show each class, the rarest class
    first, mean of the seeds; None where no step draws them by their classes."""
    balanced = {step: [run.get("soft_balance") for run in runs] for step, runs in summaries.items()}
    balanced = {step: rounds for step, rounds in balanced.items() if all(rounds)}
    if not balanced:
        return None
    lines = [f"| % of the images drawn | alike | {' | '.join(balanced)} |", "|---|--:|" + "--:|" * len(balanced)]
    first = next(iter(balanced.values()))[0][0]["classes"]
    for name in first:
        means = [statistics.mean(rounds[-1]["classes"][name]["after"] for rounds in runs) for runs in balanced.values()]
        shown = f"**{name}**" if is_hard(ablation, name) else name
        cells = " | ".join(f"{100 * share:.1f}" for share in (first[name]["before"], *means))
        lines.append(f"| {shown} | {cells} |")
    return "\n".join(lines)


def class_means(runs: list[dict]) -> dict[str, float]:
    """Mean over the runs of the IoU of each class that all of them have."""
    each = [summary["trained"]["per_class_iou"] for summary in runs]
    common = [name for name in each[0] if all(iou[name] is not None for iou in each)]
    return {name: statistics.mean(iou[name] for iou in each) for name in common}


def is_hard(ablation: Ablation, name: str) -> bool:
    return any(part in name for part in ablation.hard)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error:
        sys.exit(f"streetshift: {error}")
