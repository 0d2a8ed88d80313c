"""A method part by part, in the paper's order: what each is worth, class by class.

    python tests/benchmarks/ablation.py --out RUNS --seeds 0 1 2
    python tests/benchmarks/ablation.py --out RUNS --method daformer --seeds 0 1 2
    python tests/benchmarks/ablation.py --out RUNS --method uplr --seeds 0 1 2
    python tests/benchmarks/ablation.py --out RUNS --method drsl --seeds 0 1 2
    python tests/benchmarks/ablation.py --out RUNS --data streetsim_camvid --target-root PHOTOS

Options that it does not know go to training/run.py. The first step is trained first, for each seed, and all others go
on from a stage of it, whatever the watch thinks of it: HIAST from the adversarial warm-up, DAFormer, with PGPC's
contrast and MIC's masked images behind its own parts, UPLR and DRSL from the source model. Each of UPLR's steps aligns
as long, and `control` is the last one with labels of weight 0; where images are drawn by their classes, a third table
has the draws.

DRSL's steps are the rows of the paper's tables; each table has the paper's figures beside ours. One source model,
trained with the second head, is the start of all steps with three modes per class, and of those without a head, which
drop it; other heads have a warm-up of their own. Two rounds each, so that table 7 has its two columns; the paper has
three (`--set data.most_rounds=3`). On one busy core a row of one round takes six minutes and each of the four warm-ups
ten, so all rows of a seed about two and a half hours (`--set data.most_rounds=1`), in two rounds about four.

`--tables 3 7` makes these tables alone, `--steps "lambda 0 0" "lambda .25 .1"` runs these steps alone. `--jobs 2`
carries out two runs at a time, each on half of the processor cores. Finished runs are not repeated and stopped ones are
continued: the same command goes on where it was. With `--table` nothing is trained: the tables of the finished runs. A
run that fails is told at the end (exit status 1).
"""

import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import argparse
import json
import statistics
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from tests.benchmarks.label_quality import labels_of
from tests.benchmarks.paper_tables import DRSL, DRSL_LABELS, DRSL_TABLES, WITHOUT, PaperTable, label_table, paper_table
from tests.benchmarks.recipes import Job, carry_out, set_options, told
from tests.benchmarks.series import is_finished
from training.errors import UserError


@dataclass(frozen=True)
class Ablation:
    """recipe: the whole method. shared: the stage of the first step that the others start from. steps: by name, what a
    step changes in the whole recipe. hard: parts of the names of the classes that are the method's claim. common:
    overrides of all steps. own: steps that train the shared stage themselves, another one. tables: of the paper."""

    recipe: str
    shared: str
    steps: dict[str, tuple[str, ...]]
    hard: tuple[str, ...]
    common: tuple[str, ...] = ()
    own: tuple[str, ...] = ()
    tables: dict[str, PaperTable] = field(default_factory=dict)


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
        shared="source",
        steps={
            DRSL: (),
            "source only": ("translation=off", "adaptation=off"),
            "control, no head": (f"{_MIXTURE}=off", "adaptation.target_weight=0"),
            "control, head": ("adaptation.target_weight=0",),
            WITHOUT: (f"{_MIXTURE}=off",),
            "lambda .1 .1": (f"{_MIXTURE}.triplet=0.1", f"{_MIXTURE}.cross_entropy=0.1"),
            "lambda .5 .5": (f"{_MIXTURE}.triplet=0.5", f"{_MIXTURE}.cross_entropy=0.5"),
            "lambda 1 1": (f"{_MIXTURE}.triplet=1", f"{_MIXTURE}.cross_entropy=1"),
            "modes 1": (f"{_MIXTURE}.modes=1",),
            "modes 5": (f"{_MIXTURE}.modes=5",),
            **{f"reduction {ratio}": (f"{_MIXTURE}.label_reduction={ratio}", _FINE_LABELS) for ratio in (1, 2, 4, 8)},
            **{f"consistency {weight}": (f"{_MIXTURE}.consistency={weight}",) for weight in (0.01, 0.1, 0.25)},
            "without ISA": ("translation=off",),
            "domain means": ("adaptation.domain_means=True",),
            "classifier's map": (f"{_MIXTURE}.level=classifier",),
        },
        hard=("pole", "light", "sign", "person", "fence", "bicycl"),
        common=("data.most_rounds=2",),
        own=("modes 1", "modes 5", "classifier's map"),
        tables=DRSL_TABLES,
    ),
}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for the runs")
    parser.add_argument("--method", choices=ABLATIONS, default="hiast")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--steps", nargs="+", metavar="STEP", help="these steps alone, by their names")
    parser.add_argument("--tables", nargs="+", metavar="TABLE", help="of drsl: these tables of the paper alone")
    parser.add_argument("--table", action="store_true", help="train nothing: the tables of the finished runs in --out")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time (1)")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="overrides for every run")
    arguments, more = parser.parse_known_args(argv)
    ablation, out = ABLATIONS[arguments.method], arguments.out / arguments.method
    rows = rows_of(ablation)
    tables = arguments.tables or list(rows)
    if unknown := [table for table in tables if table not in rows]:
        parser.error(f"{arguments.method} has no table '{unknown[0]}': choose from {', '.join(rows) or 'none'}")
    chosen = [step for table in tables for step in rows[table]] if arguments.tables else list(ablation.steps)
    wanted = arguments.steps or chosen
    if unknown := [step for step in wanted if step not in ablation.steps]:
        parser.error(f"{arguments.method} has no step '{unknown[0]}': choose from {', '.join(ablation.steps)}")
    steps = [step for step in ablation.steps if step in wanted]
    failed = [] if arguments.table else train(ablation, out, steps, arguments, more)
    finished = {
        step: [run for seed in arguments.seeds if is_finished(run := run_of(out, step, seed))] for step in steps
    }
    finished = {step: runs for step, runs in finished.items() if runs}
    print("\n\n".join(tables_of(ablation, finished, tables)))
    return told(failed)


def train(
    ablation: Ablation, out: Path, steps: list[str], arguments: argparse.Namespace, more: list[str]
) -> list[tuple[Path, str]]:
    """Carry out the steps, for each seed; returns the runs that failed, each with what it says."""
    first = next(iter(ablation.steps))

    def job(step: str, seed: int, start: list[str]) -> Job:
        options = ["--recipe", ablation.recipe, "--seed", str(seed), *more, *start]
        return Job(run_of(out, step, seed), [*options, *overrides(ablation, step, arguments.set)])

    # The first step, where others go on from it; then all others.
    starts = {step: step != first and step not in ablation.own for step in steps}
    failed, others = [], []
    if first in steps or any(starts.values()):
        failed = carry_out([job(first, seed, []) for seed in arguments.seeds], arguments.jobs)
    lost = {run for run, _ in failed}
    for seed in arguments.seeds:
        shared, start = run_of(out, first, seed), []
        if any(starts.values()) and shared not in lost:
            start = ["--warm-start", str(model_of(shared, ablation.shared))]
        for step in steps:
            if starts[step] and shared in lost:
                failed.append((run_of(out, step, seed), "not begun, for the run that it starts from failed"))
            elif step != first:
                others.append(job(step, seed, start if starts[step] else []))
    return failed + carry_out(others, arguments.jobs)


def rows_of(ablation: Ablation) -> dict[str, tuple[str, ...]]:
    """By the name of each table of the paper, the steps that are its rows."""
    rows = {name: tuple(table.figures) for name, table in ablation.tables.items()}
    return {**rows, "7": tuple(DRSL_LABELS)} if rows else {}


def run_of(out: Path, step: str, seed: int) -> Path:
    name = step.removeprefix("+ ").replace("'", "").replace(", ", "-").replace(" ", "-")
    return out / f"{name}-{seed}"


def tables_of(ablation: Ablation, finished: dict[str, list[Path]], tables: list[str]) -> list[str]:
    """All that is printed: the chosen tables of the paper, steps, classes, and draws where there are any. finished: by
    step, the run of each seed."""
    summaries = {step: [outcome(ablation, step, run) for run in runs] for step, runs in finished.items()}
    scores = {step: [run["trained"]["miou"] for run in runs] for step, runs in summaries.items()}
    printed = []
    for name in tables:
        rows = [step for step in rows_of(ablation)[name] if step in summaries]
        if len(rows) < 2:
            continue
        if name in ablation.tables:
            printed.append(paper_table(name, ablation.tables[name], scores))
        else:
            printed.append(table_of_labels(name, {step: finished[step] for step in rows}))
    if not summaries:
        return ["No run is finished."]
    printed += [step_table(ablation, summaries), class_table(ablation, summaries)]
    drawn = draws_table(ablation, summaries)
    return [*printed, drawn] if drawn else printed


def table_of_labels(name: str, finished: dict[str, list[Path]]) -> str:
    """The table of pseudo-labels, or why there is none: photos have no labels to compare with."""
    try:
        return label_table({step: [labels_of(run) for run in runs] for step, runs in finished.items()})
    except UserError as error:
        return f"Table {name} is left out: {error}."


def model_of(run: Path, stage: str) -> Path:
    """The model that a stage of `run` ended with, exported if it is not there yet: `--warm-start` takes it."""
    model = run / f"{stage}.onnx"
    if not model.exists():
        command = [ROOT / "export" / "run.py", "--run", run, "--stage", stage, "--out", model]
        subprocess.run([sys.executable, *map(str, command)], check=True)
    return model


def outcome(ablation: Ablation, step: str, run: Path) -> dict:
    """The summary of a run with "trained": the scores of the stage that it was trained to, whatever the watch took. Of
    the first step that is the stage which the other steps start from, where it ends with that."""
    summary = json.loads((run / "report" / "summary.json").read_text())
    of_stages = {entry["stage"]: entry for entry in summary["stages"]}
    if step == next(iter(ablation.steps)) and ablation.shared in of_stages:
        return {**summary, "trained": of_stages[ablation.shared]}
    return {**summary, "trained": [summary["after"], *summary["stages"]][-1]}  # without a stage: the source model


def overrides(ablation: Ablation, step: str, given: list[str]) -> list[str]:
    """The `--set` of a step: those of all steps, the given ones but for those of parts that the step does without, and
    its own."""
    switched_off = [part.removesuffix("=off") for part in ablation.steps[step] if part.endswith("=off")]
    names = [override.removeprefix("recipe.") for override in given]
    kept = [name for name in names if not any(name.startswith((f"{part}.", f"{part}=")) for part in switched_off)]
    values = [*ablation.common, *kept, *ablation.steps[step]]
    return set_options(values)


def step_table(ablation: Ablation, summaries: dict[str, list[dict]]) -> str:
    """One line per step: mIoU where its training ended, what the step added to the one above (of steps that are rows of
    tables of the paper: nothing), the hard classes, rounds per seed, and which model the watch took."""
    lines = ["| step | mIoU | added | hard classes | each seed | its rounds | taken |", "|---|---|---|---|---|---|---|"]
    before: list[float] | None = None
    for step, runs in summaries.items():
        scores = [summary["trained"]["miou"] for summary in runs]
        in_order = before is not None and len(before) == len(scores) and not ablation.tables
        added = f"{statistics.mean(map(float.__sub__, scores, before)):+.1f}" if in_order else ""
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
