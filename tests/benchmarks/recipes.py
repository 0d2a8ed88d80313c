"""Recipes side by side on pairs of domains, each beside its control: the tables of the README.

    python tests/benchmarks/recipes.py --out RUNS --pairs streets dusk camvid facades streets_facades \\
        --camvid CAMVID --facades FACADES --photo-weights FILE --controls --per-class --seeds 0 1 2
    python tests/benchmarks/recipes.py --out RUNS --recipes dacs daformer --controls --jobs 2
    python tests/benchmarks/recipes.py --out RUNS --pairs camvid --seeds 0 1 2 --table

The first makes the table of all recipes. Options that it does not know go to training/run.py, for every pair. The
source model is trained once per pair and seed (`source_only`) and taken over by every recipe whose own warm-up is the
same; the others (`oracle`, `uplr`, `drsl`) train theirs. `--controls` runs every recipe once more with target weight
0: the same steps, images and augmentation, and nothing that comes from the target's labels. Recipes that differ in
losses that the control leaves out (`daformer`, `mic`, `pgpc`) share one control. Finished runs are not repeated and
stopped ones are continued: the same command goes on where it was. A run that fails is told at the end, and the others
are made. Of photos only the images for the figures have labels: the oracle of such a pair is two trainings, each on
one half of these and scored on the other. `--table` prints what is finished and trains nothing. `--jobs 2` carries out
two runs at a time, each on half of the processor cores.
"""

import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import argparse
import multiprocessing
import os
import shutil
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing.queues import SimpleQueue
from pathlib import Path

from tests.benchmarks.recipe_tables import CONTROL, ORACLE, SOURCE_ONLY, oracle_folder, per_class, tables
from tests.benchmarks.series import carried_out
from training.command_line import experiment_of, parse
from training.errors import UserError
from training.presets import EMBEDDED
from training.recipes import RECIPES
from training.settings.experiment import Experiment


@dataclass(frozen=True)
class Pair:
    """options: of training/run.py, for every run. source: `--set` of the runs that train a source model."""

    options: str
    source: tuple[str, ...] = ()

    @property
    def of_photos(self) -> bool:
        return not any(name in self.options.split() for name in EMBEDDED)


PAIRS = {
    "streets": Pair("--data streetsim"),
    "dusk": Pair("--data streetsim_dusk"),
    "camvid": Pair(
        "--data streetsim_camvid --target-root {camvid}/train/images --eval-root {camvid}/val --size 176x240"
    ),
    "streets_facades": Pair(
        "--data streetsim_camvid --target-root {facades}/train/images --eval-root {facades}/val --size 176x240"
    ),
    "facades": Pair(
        "--data folders --classes camvid11 --source-root {camvid}/val "
        "--target-root {facades}/train/images --eval-root {facades}/val --size 176x240",
        # CamVid val has a tenth of the images that the streets have, all of one camera.
        source=(
            "data.schedules.warm_up.augmentation.jitter=1",
            "data.schedules.warm_up.augmentation.blur=0.3",
            "data.schedules.warm_up.average_weights=0.99",
        ),
    ),
}


@dataclass(frozen=True)
class Job:
    """A run of the table: its folder, the options of training/run.py, the run that it starts from."""

    run: Path
    options: list[str]
    start: Path | None = None


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for the runs, one folder in it per pair")
    parser.add_argument("--pairs", nargs="+", choices=PAIRS, default=["streets"])
    parser.add_argument("--camvid", type=Path, help="CamVid: train/images, val/images and val/labels")
    parser.add_argument("--facades", type=Path, help="facades: train/images, val/images and val/labels")
    parser.add_argument("--photo-weights", metavar="FILE", help="--weights of the pairs of photos")
    parser.add_argument("--recipes", nargs="+", choices=RECIPES, metavar="RECIPE", default=list(RECIPES))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--controls", action="store_true", help="every recipe with target weight 0 beside it")
    parser.add_argument("--per-class", action="store_true", help="a table of the IoU per class too")
    parser.add_argument("--table", action="store_true", help="train nothing: the tables of the finished runs in --out")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time (1)")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="overrides for all but source_only")
    parser.add_argument("--source-set", nargs="+", default=[], metavar="KEY=VALUE", help="overrides for source models")
    arguments, more = parser.parse_known_args(argv)
    failed = []
    for pair in arguments.pairs:
        out, recipes = arguments.out / pair, recipes_of(pair, arguments.recipes)
        options = [*options_of(pair, arguments), *more]
        overrides = set_options(arguments.set)
        wanted = arguments.controls or arguments.table
        controls = shared_controls(recipes, [*options, *overrides]) if wanted else {}
        if not arguments.table:
            of_source = set_options([*PAIRS[pair].source, *arguments.source_set])
            # The source models first: the others start from them.
            jobs = [source_model(out, seed, [*options, *of_source]) for seed in arguments.seeds]
            own = {name for name in {*recipes, *controls.values()} if has_own_warm_up(name, options, overrides)}
            others = [
                adapted(out, recipe, seed, [*options, *overrides], of_source if recipe in own else None, control)
                for seed in arguments.seeds
                for chosen, control in ((recipes, False), (dict.fromkeys(controls.values()), True))
                for recipe in chosen
            ]
            if has_oracle_of_halves(pair, arguments):
                jobs += [job for seed in arguments.seeds for job in oracle_of_halves(out, seed, [*options, *of_source])]
            failed += carry_out(jobs, arguments.jobs)
            lost = {run for run, _ in failed}
            failed += [(job.run, "not begun, for its source model failed") for job in others if job.start in lost]
            failed += carry_out([job for job in others if job.start not in lost], arguments.jobs)
        shown = [SOURCE_ONLY, *recipes, *([ORACLE] if has_oracle_of_halves(pair, arguments) else [])]
        print(f"{pair}\n", tables(out, shown, controls, arguments.seeds), sep="\n")
        if arguments.per_class:
            print("", per_class(out, shown, controls, arguments.seeds), sep="\n")
    return told(failed)


def told(failed: Sequence[tuple[Path, str]]) -> int:
    """Say which runs failed; the exit status."""
    for run, said in failed:
        print(f"failed: {run}: {said}", file=sys.stderr)
    return 1 if failed else 0


def options_of(pair: str, arguments: argparse.Namespace) -> list[str]:
    """The options of training/run.py for each run of a pair. Tables of finished runs need no folders of photos."""
    roots = {name: getattr(arguments, name) for name in ("camvid", "facades")}
    for name, root in roots.items():
        if f"{{{name}}}" in PAIRS[pair].options and root is None and not arguments.table:
            raise UserError(f"the pair '{pair}' needs --{name} FOLDER")
    weights = ["--weights", arguments.photo_weights] if PAIRS[pair].of_photos and arguments.photo_weights else []
    return [*(option.format(**roots) for option in PAIRS[pair].options.split()), *weights]


def has_oracle_of_halves(pair: str, arguments: argparse.Namespace) -> bool:
    """Of photos only the images for the figures have labels."""
    return PAIRS[pair].of_photos and ORACLE in arguments.recipes


def recipes_of(pair: str, recipes: Sequence[str]) -> list[str]:
    """The recipes that training/run.py can carry out on a pair: for the oracle of photos see `oracle_of_halves`."""
    left_out = {SOURCE_ONLY, ORACLE} if PAIRS[pair].of_photos else {SOURCE_ONLY}
    return [recipe for recipe in recipes if recipe not in left_out]


def source_model(out: Path, seed: int, options: list[str]) -> Job:
    return Job(source_folder(out, seed), ["--recipe", SOURCE_ONLY, "--seed", str(seed), *options])


def oracle_of_halves(out: Path, seed: int, options: list[str]) -> list[Job]:
    """Two trainings on labelled images of the target alone: on the first half of them, by name, scored on the second,
    and the reverse. The halves are copied into `out`."""
    labelled = parse(options).eval_root
    halves = [half_of(labelled, out / "halves" / name, index) for index, name in enumerate(("first", "second"))]
    return [
        Job(
            oracle_folder(out, half, seed),
            [
                *("--recipe", SOURCE_ONLY, "--seed", str(seed), *options),  # of an option given twice the last counts
                *("--data", "folders", "--classes", "camvid11"),
                *("--source-root", str(halves[half]), "--eval-root", str(halves[1 - half])),
            ],
        )
        for half in (0, 1)
    ]


def half_of(labelled: Path, copy: Path, half: int) -> Path:
    """`copy`, with the first or second half of the labelled images in images/ and labels/, by the order of their
    names."""
    for part in ("images", "labels"):
        files = sorted(path for path in (labelled / part).iterdir() if path.is_file())
        middle = (len(files) + 1) // 2
        (copy / part).mkdir(parents=True, exist_ok=True)
        for file in (files[:middle], files[middle:])[half]:
            if not (copy / part / file.name).exists():
                shutil.copyfile(file, copy / part / file.name)
    return copy


def source_folder(out: Path, seed: int) -> Path:
    return out / f"{SOURCE_ONLY}-{seed}"


def adapted(out: Path, recipe: str, seed: int, options: list[str], of_source: list[str] | None, control: bool) -> Job:
    """The run of a recipe, or its control's. of_source: the options of its own source model; None: it starts from the
    shared one of the same seed."""
    start = source_folder(out, seed) if of_source is None else None
    of_start = ["--warm-start", str(start)] if of_source is None else of_source
    of_control = ["--control"] if control else []
    options = ["--recipe", recipe, "--seed", str(seed), *of_control, *of_start, *options]
    return Job(out / f"{recipe}{CONTROL if control else ''}-{seed}", options, start)


def has_own_warm_up(recipe: str, options: list[str], overrides: list[str]) -> bool:
    """Is its source model, as the options resolve it, another than that of `source_only`, or one that it does not go on
    from?"""
    shared = experiment_of(parse(["--recipe", SOURCE_ONLY, *options]))
    own = experiment_of(parse(["--recipe", recipe, *options, *overrides]))
    from_imagenet = getattr(own.recipe.adaptation, "start", None) == "imagenet"
    return from_imagenet or source_training(own) != source_training(shared)


def source_training(experiment: Experiment) -> tuple:
    """All that the training of the source model depends on, beside the seed."""
    recipe, data = experiment.recipe, experiment.data
    translation = recipe.translation if recipe.translation is not None and recipe.translation.warm_up else None
    mixture = getattr(recipe.adaptation, "mixture", None)
    images = (data.source, data.label_space, data.size, data.crop, data.loss_stride, experiment.labelled_share)
    return (recipe.warm_up, translation, mixture, data.schedules["warm_up"], images, experiment.model)


def carry_out(jobs: Sequence[Job], at_a_time: int) -> list[tuple[Path, str]]:
    """Carry out the jobs, or what is left of them; several at a time share the cores equally.

    Returns the runs that failed, each with what it says.
    """
    if at_a_time == 1:
        told = [failure_of(job) for job in jobs]
    else:
        shares = multiprocessing.SimpleQueue()
        for share in cores(at_a_time):
            shares.put(share)
        with ProcessPoolExecutor(at_a_time, initializer=bind, initargs=(shares,)) as pool:
            told = list(pool.map(failure_of, jobs))
    return [(job.run, said) for job, said in zip(jobs, told, strict=True) if said is not None]


def failure_of(job: Job) -> str | None:
    """Carry out one job; what went wrong, None if nothing did."""
    try:
        carried_out(job.run, job.options)
    except UserError as error:
        return str(error)
    return None


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
    """By recipe: the first recipe of all that has the same control. Without those that do not learn from the target:
    they have none."""
    settings: dict[str, Experiment] = {}
    arguments = parse(["--control", *options])
    for name in [name for name, recipe in RECIPES.items() if recipe.alignment or recipe.adaptation]:
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
    recipe = replace(experiment.recipe, paper="", measured="", published="")
    if recipe.alignment is not None and recipe.alignment.weight == 0:  # what the discriminator sees moves nothing
        recipe = replace(recipe, alignment=replace(recipe.alignment, map="softmax"))
    return replace(experiment, recipe=recipe, names={})


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error:
        sys.exit(f"streetshift: {error}")
