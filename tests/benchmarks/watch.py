"""The watch's rules side by side, on runs whose truth is known.

    python tests/benchmarks/watch.py
    python tests/benchmarks/watch.py --record RUN RUN ... --pair "streets game -> city"
    python tests/benchmarks/watch.py --measure RUN RUN ... --pair "streets game -> city"
    python tests/benchmarks/watch.py --judge RUN RUN ...

Alone: every rule's choices in the runs of `watch_stages.json`, as a Markdown table. The constants of a rule are set on
all pairs of data sets but one and judged on that one, for each pair in turn; in the last row the rule, too, is chosen
on the others. With `--record`: add what finished runs of this version that have a score on labels have measured
themselves; with `--measure`: measure the states of such runs, of this or an older version, and add them. A run is known
by its folder's name and that of the folder around it; what was known of it is replaced. With `--judge`: what the
product's rule takes in runs that it was not chosen on, from the measurements that they hold. The runs are not changed.
"""

import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import argparse
import json
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tests.benchmarks.watch_rules import SIGNS, choices_table, table
from training.errors import UserError

if TYPE_CHECKING:
    from training.settings.experiment import Experiment
    from training.stages.stage import Run, Stage

STAGES = ROOT / "tests/benchmarks/watch_stages.json"


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--record", nargs="+", type=Path, default=[], help="finished runs, of this version, to add")
    parser.add_argument("--measure", nargs="+", type=Path, default=[], help="finished runs with a score on labels")
    parser.add_argument("--judge", nargs="+", type=Path, default=[], help="finished runs, of this version, to judge by")
    parser.add_argument("--pair", help="source -> target of these runs, in words")
    parser.add_argument(
        "--blends",
        nargs="+",
        type=float,
        default=[],
        help="measure, too, a stage at these shares of the way from the model before adaptation",
    )
    parser.add_argument("--stages", type=Path, default=STAGES, help="file of the measured states")
    arguments = parser.parse_args(argv)
    states = json.loads(arguments.stages.read_text()) if arguments.stages.exists() else []
    added = arguments.record + arguments.measure
    if added and not arguments.pair:
        parser.error("--record and --measure need --pair: runs of one pair are judged together")
    for path in added:
        try:
            found = recorded_run(path) if path in arguments.record else measured_run(path, arguments.blends)
        except UserError as error:
            print(f"{path}: {error}", file=sys.stderr)
            continue
        key = {"pair": arguments.pair, "run": "/".join(path.resolve().parts[-2:])}
        states = [state for state in states if not key.items() <= state.items()]
        states += [{**key, **rounded(state)} for state in found]
        arguments.stages.write_text("[\n" + ",\n".join(json.dumps(state) for state in states) + "\n]\n")
        print(f"{path}: {len(found)} states", flush=True)
    if arguments.judge:
        print(choices_table({str(path): recorded_run(path) for path in arguments.judge}))
    elif not added:
        print(table(states))
    return 0


def rounded(state: dict) -> dict:
    """A state as the file has it."""
    measured = {name: value and float(f"{value:.6g}") for name, value in state["measured"].items()}
    return {**state, "miou": round(state["miou"], 2), "measured": measured}


def recorded_run(path: Path) -> list[dict]:
    """The states that the stages of a finished run ended in, as the run itself measured and scored them.

    Raises:
        UserError: not a run, not finished, or one without scores on labels or without today's measurements.
    """
    from training.run_directory.paths import RunDirectory

    directory, experiment = RunDirectory.reopen(path)
    if not directory.final_weights.exists():
        raise UserError(f"{path} is not finished: continue it with --resume")
    stages = directory.stages
    judged = {
        name: figures
        for name, figures in stages.items()
        if figures.get("scores") and SIGNS.keys() <= measured_of(figures).keys()
    }
    if len(judged) < sum("verdict" in figures for figures in stages.values()) or not judged:
        raise UserError(f"{path} has no scores on labels, or its version measured less: use --measure")
    return [
        state_of(experiment, name, figures.get("result", ""), figures["scores"], figures["verdict"]["collapse"],
                 measured_of(figures))
        for name, figures in judged.items()
    ]  # fmt: skip


def measured_of(figures: dict) -> dict[str, float | None]:
    """What the watch measured at the end of a stage."""
    return figures.get("verdict", {}).get("measured", {})


def state_of(experiment: "Experiment", stage: str, name: str, scores: dict, collapse: bool, measured: dict) -> dict:
    """One state, as `watch_rules.py` takes it but for pair and run; name: among those of the stage, "" = it has one."""
    return {
        **{"recipe": experiment.names["recipe"], "seed": experiment.seed, "stage": stage, "state": name},
        **{"miou": scores["miou_in_truth"], "collapse": collapse, "measured": measured},
    }


def measured_run(path: Path, blends: Sequence[float] = ()) -> list[dict]:
    """The measurements of all scored states of a finished run, and of blends of its stages; it is not changed.

    Raises:
        UserError: not a run, its data are gone, or it has no score on labels.
    """
    from training.distribution.quiet import start_tensorflow

    start_tensorflow()
    from training.stages.judging import observe, verdict_on

    run = _opened(path)
    earlier, measured, rows = {}, {}, []
    for stage in run.plan:
        if not stage.scored or stage.name not in run.directory.stages:
            continue
        for name, figures, is_result in _states(run, stage, blends):
            observation, _ = observe(run, stage, f"{name} of {stage.name}")
            verdict = verdict_on(run, stage, observation, earlier, measured)
            found = verdict.measured
            rows.append(state_of(run.experiment, stage.name, name, figures["scores"], verdict.collapse, found))
            if is_result:
                kept = observation, found
        earlier[stage.name], measured[stage.name] = kept
    return rows


def _opened(path: Path) -> "Run":
    """The run with its network and data; lists of images that it lacks are written elsewhere."""
    import keras

    from training.data.domains import load_domains
    from training.data.fixed_lists import with_fixed_lists
    from training.run_directory.paths import RunDirectory
    from training.stages.network import build_network
    from training.stages.plan import plan
    from training.stages.stage import Run

    directory, experiment = RunDirectory.reopen(path)
    keras.mixed_precision.set_dtype_policy(experiment.model.precision)
    domains = load_domains(experiment)
    with tempfile.TemporaryDirectory() as folder:
        images = directory.images if directory.images.exists() else Path(folder) / directory.images.name
        domains = with_fixed_lists(domains, experiment, images)
    if any(not figures.get("scores") for figures in directory.stages.values() if "verdict" in figures):
        raise UserError(f"{path} has no score on labels: there is nothing to compare measurements with")
    network = build_network(experiment, domains.label_space.count)
    return Run(experiment, directory, domains, network, plan(experiment))


def _states(run: "Run", stage: "Stage", blends: Sequence[float]) -> Iterator[tuple[str, dict, bool]]:
    """`(name, figures, is the stage's result)` of each state that a stage judged; the network has its weights.

    The one of student and teacher that was not taken is in the file of the method's variables.
    """
    from training.prediction.trained_model import load_own_weights
    from training.run_directory.checkpoint import read_lasting

    figures, lasting = run.directory.stages[stage.name], run.directory.lasting(stage.name)
    for name, judged in figures.get("candidates", {}).items():
        if name != figures["result"] and lasting.is_file():
            run.network.set_weights(read_lasting(lasting)[name])
            run.blend(stage.settings.blend)
            run.follow_target(stage.schedule)
            yield name, judged, False
    if not stage.reference:
        for share in blends:
            load_own_weights(run.network, run.directory.weights(stage.name))
            run.blend(share)
            yield f"blend {share}", {"scores": run.score(run.domains.evaluation, f"evaluating blend {share}")}, False
    load_own_weights(run.network, run.directory.weights(stage.name))
    yield figures.get("result", ""), figures, True


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error:
        sys.exit(f"streetshift: {error}")
