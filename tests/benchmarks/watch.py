"""The watch's rules side by side, on runs whose truth is known.

    python tests/benchmarks/watch.py
    python tests/benchmarks/watch.py --measure RUN RUN ... --pair "streetsim game -> city"
    python tests/benchmarks/watch.py --judge RUN RUN ...

Without `--measure`: every rule's choices in the runs of `watch_stages.json`, as a Markdown table. The constants of a
rule are set on all pairs of data sets but one and judged on that one, for each pair in turn. With `--measure`: measure
the states of finished runs that have a score on labels, of this or an older version, and add them to the file; with
`--judge`: what the product's rule takes in runs that it was not chosen on, from the measurements that they hold. The
runs are not changed.
"""

import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import argparse
import itertools
import json
import statistics
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from training.errors import UserError
from training.evaluation.rule import RULE, Rule, change

if TYPE_CHECKING:
    from training.stages.stage import Run, Stage

STAGES = ROOT / "tests/benchmarks/watch_stages.json"
HARM = 0.5  # points of mIoU below the model before adaptation that no choice should lose
TODAY = Rule(weights={"consistency": 1.0, "drift": -0.5})
SIGNS = {
    **{"consistency": 1, "agreement_reference": 1, "drift": -1, "share_excess": -1, "source_miou": 1},
    **{"reverse_miou": 1, "entropy": -1, "diversity": 1, "nuclear_norm": 1, "confidence": 1},
    **{"estimated_accuracy": 1, "estimated_class_accuracy": 1},
}
"""By measurement: does more (1) or less (-1) of it speak for a state?"""


@dataclass(frozen=True)
class Candidate:
    """A rule to be judged. limits: the constants among which the other pairs decide; (None,) = nothing to set."""

    title: str
    rule: Callable[[float | None], Rule]
    limits: Callable[[Sequence[list[dict]]], Sequence[float | None]] = lambda runs: (None,)


@dataclass(frozen=True)
class Choice:
    """What a rule took in one run, in points of mIoU: what the best state has more, what it gained on the first;
    correlation: Spearman's, of label-free gain and mIoU over the run's states, None for fewer than three."""

    regret: float
    gained: float
    correlation: float | None


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
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
    if arguments.measure and not arguments.pair:
        parser.error("--measure needs --pair: runs of one pair are judged together")
    for path in arguments.measure:
        try:
            found = measured_run(path, arguments.pair, arguments.blends)
        except UserError as error:
            print(f"{path}: {error}", file=sys.stderr)
            continue
        others = [state for state in states if (state["pair"], state["run"]) != (arguments.pair, path.name)]
        states = [*others, *found]
        arguments.stages.write_text("[\n" + ",\n".join(json.dumps(state) for state in states) + "\n]\n")
        print(f"{path}: {len(found)} states", flush=True)
    if arguments.judge:
        print(choices_table({str(path): recorded_run(path) for path in arguments.judge}))
    elif not arguments.measure:
        print(table(runs_of(states)))
    return 0


def runs_of(states: list[dict]) -> dict[str, list[list[dict]]]:
    """The states of each run, in their order, by pair; runs of a single state are left out."""
    pairs: dict[str, dict[str, list[dict]]] = {}
    for state in states:
        pairs.setdefault(state["pair"], {}).setdefault(state["run"], []).append(state)
    return {pair: [run for run in runs.values() if len(run) > 1] for pair, runs in pairs.items()}


def candidates() -> list[Candidate]:
    """Without adaptation and with its end for comparison, then today's rule, the product's, and others."""
    fixed = [
        Candidate("source model always", lambda _: Rule(margin=np.inf)),
        Candidate("consistency - drift / 2 (before)", lambda _: TODAY),
        Candidate("the product's (`rule.py`)", lambda _: RULE),
    ]
    alone = [
        Candidate(
            f"{name}, margin",
            lambda limit, name=name, sign=sign: Rule(weights={name: sign}, margin=limit),
            lambda runs, name=name, sign=sign: _quantiles(runs, name, sign),
        )
        for name, sign in SIGNS.items()
    ]
    guarded = [
        Candidate(
            f"before, least change of {name}",
            lambda limit, name=name: replace(TODAY, least={name: limit}),
            lambda runs, name=name: _quantiles(runs, name, 1),
        )
        for name, sign in SIGNS.items()
        if sign > 0
    ]
    return [*fixed, *alone, *guarded]


def _quantiles(runs: Sequence[list[dict]], name: str, sign: int) -> list[float]:
    """Limits between the changes that were found in `runs`, the loosest first; the first lets all of them pass."""
    found = [change(state["measured"], run[0]["measured"], name) for run in runs for state in run[1:]]
    changes = sorted({sign * each for each in found if each is not None})
    if not changes:
        return [0.0]
    middles = [(first + second) / 2 for first, second in itertools.pairwise(changes)]
    return [changes[0] - 1e-6, *middles, changes[-1] + 1e-6]


def choice_of(rule: Rule, run: list[dict]) -> Choice:
    """What `rule` does in one run: its states in their order, the first is the model before adaptation."""
    from scipy.stats import spearmanr

    measured, truth = [state["measured"] for state in run], [state["miou"] for state in run]
    taken = truth[rule.choice(measured, [state["collapse"] for state in run])]
    gains = [rule.gain(each, measured[0]) for each in measured]
    ranked = len(run) > 2 and len(set(gains)) > 1 and len(set(truth)) > 1
    return Choice(max(truth) - taken, taken - truth[0], float(spearmanr(gains, truth)[0]) if ranked else None)


def fitted(candidate: Candidate, pairs: dict[str, list[list[dict]]]) -> Rule:
    """The candidate with the constant that harms least on these pairs, each weighing the same, then regrets least."""

    def cost(rule: Rule) -> tuple[float, float]:
        choices = [[choice_of(rule, run) for run in runs] for runs in pairs.values()]
        harm = [statistics.mean(choice.gained < -HARM for choice in each) for each in choices]
        return statistics.mean(harm), statistics.mean(statistics.mean(c.regret for c in each) for each in choices)

    limits = candidate.limits([run for runs in pairs.values() for run in runs])
    return min((candidate.rule(limit) for limit in limits), key=cost)


def left_out(candidate: Candidate, pairs: dict[str, list[list[dict]]]) -> dict[str, list[Choice]]:
    """The candidate's choices on each pair, with its constant set on the others."""
    found = {}
    for pair, runs in pairs.items():
        rule = fitted(candidate, {name: others for name, others in pairs.items() if name != pair} or pairs)
        found[pair] = [choice_of(rule, run) for run in runs]
    return found


def table(pairs: dict[str, list[list[dict]]]) -> str:
    """Markdown: how much there is to judge by, then one row per rule."""
    pairs = {pair: runs for pair, runs in pairs.items() if runs}
    counts = "; ".join(f"{pair}: {len(runs)} runs, {sum(map(len, runs))} states" for pair, runs in pairs.items())
    head = ["rule", "mean regret", *(f"regret, {pair}" for pair in pairs), "worse than source", "worst", "rank"]
    lines = [f"{counts}.", "", "| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for candidate in candidates():
        found = left_out(candidate, pairs)
        every = [choice for choices in found.values() for choice in choices]
        regrets = [statistics.mean(choice.regret for choice in choices) for choices in found.values()]
        ranks = [choice.correlation for choice in every if choice.correlation is not None]
        cells = [
            candidate.title,
            *(f"{value:.1f}" for value in (statistics.mean(regrets), *regrets)),
            f"{statistics.mean(choice.gained < -HARM for choice in every):.0%}",
            f"{min(choice.gained for choice in every):+.1f}",
            f"{statistics.mean(ranks):+.2f}" if ranks else "",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def choices_table(runs: dict[str, list[dict]]) -> str:
    """Markdown: what the product's rule takes in each run, then the means."""
    lines = ["| run | model before | best stage | taken | regret | gained |", "|---|---|---|---|---|---|"]
    choices = {name: choice_of(RULE, run) for name, run in runs.items()}
    for name, choice in choices.items():
        first, best = runs[name][0]["miou"], max(state["miou"] for state in runs[name])
        figures = (first, best, best - choice.regret, choice.regret, choice.gained)
        lines.append(f"| {name} | " + " | ".join(f"{value:.1f}" for value in figures) + " |")
    regrets, gains = ([getattr(choice, name) for choice in choices.values()] for name in ("regret", "gained"))
    worse = statistics.mean(gain < -HARM for gain in gains)
    lines += [
        "",
        f"{len(runs)} runs: mean regret {statistics.mean(regrets):.2f}, mean gain {statistics.mean(gains):.2f}, worst "
        f"{min(gains):+.1f}; {worse:.0%} lost more than {HARM}.",
    ]
    return "\n".join(lines)


def recorded_run(path: Path) -> list[dict]:
    """The states that the stages of a finished run ended in, as the run itself measured and scored them.

    Raises:
        UserError: not a run, or one without scores on labels or without today's measurements.
    """
    from training.run_directory.paths import RunDirectory

    stages = RunDirectory.reopen(path)[0].stages.values()
    judged = [figures for figures in stages if figures.get("scores") and SIGNS.keys() <= measured_of(figures).keys()]
    if len(judged) < sum("verdict" in figures for figures in stages) or not judged:
        raise UserError(f"{path} has no scores on labels, or its version measured less: use --measure")
    return [
        {"miou": figures["scores"]["miou_in_truth"], "collapse": figures["verdict"]["collapse"],
         "measured": measured_of(figures)}
        for figures in judged
    ]  # fmt: skip


def measured_of(figures: dict) -> dict[str, float | None]:
    """What the watch measured at the end of a stage."""
    return figures.get("verdict", {}).get("measured", {})


def measured_run(path: Path, pair: str, blends: Sequence[float] = ()) -> list[dict]:
    """The measurements of all scored states of a finished run, and of blends of its stages; it is not changed.

    Raises:
        UserError: not a run, its data are gone, or it has no score on labels.
    """
    from training.distribution.quiet import start_tensorflow

    start_tensorflow()
    from training.stages.judging import observe, verdict_on

    run = _opened(path)
    earlier, before, rows = {}, None, []
    for stage in run.plan:
        if not stage.scored or stage.name not in run.directory.stages:
            continue
        for name, figures, is_result in _states(run, stage, blends):
            observation, _ = observe(run, stage, f"{name} of {stage.name}")
            verdict = verdict_on(run, stage, observation, earlier, before)
            before = before or verdict.measured
            rows.append({
                **{"pair": pair, "run": path.name, "recipe": run.experiment.names["recipe"]},
                **{"seed": run.experiment.seed, "stage": stage.name, "state": name},
                **{"miou": round(figures["scores"]["miou_in_truth"], 2), "collapse": verdict.collapse},
                "measured": {name: value and float(f"{value:.4g}") for name, value in verdict.measured.items()},
            })  # fmt: skip
            if is_result:
                kept = observation
        earlier[stage.name] = kept
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
