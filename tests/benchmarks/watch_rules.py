"""Rules of the watch on states whose truth is known: their constants, what they take, and the table of them.

A state is a line of `watch_stages.json`: pair, run, recipe, seed, stage, state, miou, collapse, measured.
"""

import itertools
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from training.evaluation.rule import RULE, Rule, change

HARM = 0.5  # points of mIoU below the model before adaptation that no choice should lose
PENALTY = 5.0  # what a point below that costs, in points of regret
JOINT = 10  # limits per measurement, where two measurements are limited together
FINE = 30  # the same for the three of the product
TODAY = Rule(weights={"consistency": 1.0, "drift": -0.5})
SIGNS = {
    **{"consistency": 1, "agreement_reference": 1, "drift": -1, "share_excess": -1, "source_miou": 1},
    **{"reverse_miou": 1, "entropy": -1, "diversity": 1, "nuclear_norm": 1, "confidence": 1},
    **{"estimated_accuracy": 1, "estimated_class_accuracy": 1},
}
"""By measurement: does more (1) or less (-1) of it speak for a state?"""


class Pair:
    """The runs of one pair of data sets, each a list of states whose first is the model before adaptation.

    The same as arrays `[runs, states]`, to try many limits. Shorter runs are filled with states that cannot be taken.
    truth: mIoU. free: may it be taken? gained: by measurement, its change since the model before adaptation; NaN = not
    known.
    """

    def __init__(self, runs: Sequence[list[dict]]):
        self.runs = runs
        shape = len(runs), max(map(len, runs))
        self.truth, self.free = np.full(shape, -np.inf), np.zeros(shape, bool)
        self.gained = {name: np.full(shape, np.nan) for name in SIGNS}
        for row, run in enumerate(runs):
            for column, state in enumerate(run):
                self.truth[row, column] = state["miou"]
                self.free[row, column] = column > 0 and not state["collapse"]
                for name in SIGNS:
                    found = change(state["measured"], run[0]["measured"], name)
                    self.gained[name][row, column] = np.nan if found is None else found

    def cost(self, rule: Rule) -> float:
        """Mean regret, and PENALTY times what the choices harm; they are those of `Rule.choice`."""
        gain = sum((weight * np.nan_to_num(self.gained[name]) for name, weight in rule.weights.items()), 0 * self.free)
        allowed = self.free & (gain >= rule.margin)
        for name, limit, sign in rule.limits:
            allowed &= ~(sign * (self.gained[name] - limit) > 0)
        last = np.where(allowed, gain, -np.inf)[:, ::-1].argmax(axis=1)
        taken = np.where(allowed.any(axis=1), allowed.shape[1] - 1 - last, 0)
        mious = self.truth[np.arange(len(taken)), taken]
        harm = np.maximum(self.truth[:, 0] - mious - HARM, 0)
        return float((self.truth.max(axis=1) - mious + PENALTY * harm).mean())


Pairs = dict[str, Pair]


@dataclass(frozen=True)
class Candidate:
    """A rule to be judged. limits: the constants among which the other pairs decide, the loosest first; without = none.

    chosen_by_hand: after all pairs had been seen.
    """

    title: str
    rule: Callable[..., Rule]
    limits: Callable[[Iterable[Pair]], Iterable[tuple[float, ...]]] = lambda pairs: [()]
    chosen_by_hand: bool = False


@dataclass(frozen=True)
class Choice:
    """What a rule took in one run, in points of mIoU: what the best state has more, what it gained on the first."""

    regret: float
    gained: float


def runs_of(states: list[dict]) -> dict[str, list[list[dict]]]:
    """The states of each run, in their order, by pair; runs of a single state are left out."""
    pairs: dict[str, dict[str, list[dict]]] = {}
    for state in states:
        pairs.setdefault(state["pair"], {}).setdefault(state["run"], []).append(state)
    found = {pair: [run for run in runs.values() if len(run) > 1] for pair, runs in pairs.items()}
    return {pair: runs for pair, runs in found.items() if runs}


def candidates() -> list[Candidate]:
    """Without adaptation and with its end for comparison, then today's rule, the product's, and others."""
    fixed = [
        Candidate("source model always", lambda: Rule(margin=np.inf)),
        Candidate("consistency - drift / 2 (before)", lambda: TODAY),
        Candidate("the product's (`rule.py`)", lambda: RULE, chosen_by_hand=True),
    ]
    alone = [
        Candidate(
            f"{name}, margin",
            lambda limit, name=name, sign=sign: Rule(weights={name: sign}, margin=limit),
            lambda pairs, name=name, sign=sign: [
                (limit,) for limit in _between(sign * pair.gained[name] for pair in pairs)
            ],
        )
        for name, sign in SIGNS.items()
    ]
    held_out = replace(
        _limited(*RULE.least, *RULE.most, tried=FINE),
        title="the product's, limits chosen on the others",
        chosen_by_hand=True,
    )
    return [*fixed, held_out, *alone, *(_limited(name) for name in SIGNS)]


def joint_candidates() -> list[Candidate]:
    """Today's score with limits of two measurements."""
    return [_limited(*names) for names in itertools.combinations(SIGNS, 2)]


def _limited(*names: str, tried: int = JOINT) -> Candidate:
    """Today's score with a limit of each of these measurements: of the change that speaks against a state.

    tried: limits of each, where there are several measurements.
    """

    def limits(pairs: Sequence[Pair]) -> Iterable[tuple[float, ...]]:
        found = [_between(pair.gained[name] for pair in pairs)[:: SIGNS[name]] for name in names]
        return itertools.product(*(found if len(names) == 1 else (_few(each, tried) for each in found)))

    def rule(*chosen: float) -> Rule:
        limit = dict(zip(names, chosen, strict=True))
        least, most = ({name: limit[name] for name in names if SIGNS[name] == sign} for sign in (1, -1))
        return replace(TODAY, least=least, most=most)

    return Candidate(f"before, limit of {' and '.join(names)}", rule, limits)


def _between(changes: Iterable[np.ndarray]) -> list[float]:
    """Limits between the changes of states after the first, in their order, and one beside each end."""
    found = np.unique(np.concatenate([each[:, 1:].ravel() for each in changes]))
    found = found[np.isfinite(found)]
    if not len(found):
        return [0.0]
    return [found[0] - 1e-6, *((found[:-1] + found[1:]) / 2), found[-1] + 1e-6]


def _few(limits: list[float], count: int) -> list[float]:
    """So many of them, evenly over their order, the first and the last among them."""
    places = np.linspace(0, len(limits) - 1, min(count, len(limits))).round().astype(int)
    return [limits[place] for place in places]


def choice_of(rule: Rule, run: list[dict]) -> Choice:
    """What `rule` does in one run: its states in their order, the first is the model before adaptation."""
    measured, truth = [state["measured"] for state in run], [state["miou"] for state in run]
    taken = truth[rule.choice(measured, [state["collapse"] for state in run])]
    return Choice(max(truth) - taken, taken - truth[0])


def rank_correlation(rule: Rule, run: list[dict]) -> float | None:
    """Spearman's, of label-free gain and mIoU over the run's states; None for fewer than three, or without order."""
    from scipy.stats import spearmanr

    truth = [state["miou"] for state in run]
    gains = [rule.gain(state["measured"], run[0]["measured"]) for state in run]
    ranked = len(run) > 2 and len(set(gains)) > 1 and len(set(truth)) > 1
    return float(spearmanr(gains, truth)[0]) if ranked else None


def fitted(candidate: Candidate, pairs: Pairs) -> Rule:
    """The candidate with the constants that cost least on these pairs, each weighing the same; of equal ones the
    tightest."""

    def cost(rule: Rule) -> float:
        return round(np.mean([pair.cost(rule) for pair in pairs.values()]), 9)

    limits = list(candidate.limits(list(pairs.values())))
    return min((candidate.rule(*each) for each in reversed(limits)), key=cost)


def left_out(candidate: Candidate, pairs: Pairs) -> dict[str, Rule]:
    """By pair, the candidate with its constants set on the others."""
    return {pair: fitted(candidate, without(pair, pairs)) for pair in pairs}


def without(pair: str, pairs: Pairs) -> Pairs:
    """The other pairs; all where there is no other."""
    return {name: each for name, each in pairs.items() if name != pair} or pairs


def nested(pairs: Pairs) -> dict[str, tuple[str, Rule]]:
    """By pair, title and rule that the others choose: the candidate that costs least on each of them with its constants
    set on the rest of them, and then its constants on all of them."""
    found = {}
    for pair in pairs:
        others = without(pair, pairs)

        def cost(candidate: Candidate, others: Pairs = others) -> float:
            rules = left_out(candidate, others)
            return round(np.mean([others[name].cost(rule) for name, rule in rules.items()]), 9)

        offered = [each for each in (*candidates(), *joint_candidates()) if not each.chosen_by_hand]
        best = min(offered, key=cost)
        found[pair] = best.title, fitted(best, others)
    return found


def table(states: list[dict]) -> str:
    """Markdown: how much there is to judge by, one row per rule, and what was chosen without each pair."""
    runs = runs_of(states)
    pairs = {pair: Pair(each) for pair, each in runs.items()}
    counts = "; ".join(
        f"{pair}: {len(each)} runs, {sum(map(len, each))} states, {distinct(each)} distinct"
        for pair, each in runs.items()
    )
    head = ["rule", "mean regret", *(f"regret, {pair}" for pair in pairs), "worse than source", "worst", "rank"]
    lines = [f"{counts}.", "", "| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    lines += [row(candidate.title, left_out(candidate, pairs), runs) for candidate in candidates()]
    chosen = nested(pairs)
    lines += [
        row("score and limits chosen on the other pairs", {pair: rule for pair, (_, rule) in chosen.items()}, runs)
    ]
    lines.append("")
    for pair, (title, rule) in chosen.items():
        choices = [choice_of(rule, run) for run in runs[pair]]
        limits = [f"{name} {limit:+.3g}" for name, limit, _ in rule.limits]
        limits += [f"margin {rule.margin:+.3g}"] if rule.margin else []
        lines.append(
            f"Without {pair}: {title} ({', '.join(limits) or 'no limit'}); regret there "
            f"{statistics.mean(choice.regret for choice in choices):.1f}, worst {_worst(choices):+.1f}."
        )
    return "\n".join(lines)


def distinct(runs: list[list[dict]]) -> int:
    """States that differ: runs with a source model or stages in common have these in common."""
    return len({(state["miou"], *sorted(state["measured"].items())) for run in runs for state in run})


def row(title: str, rules: dict[str, Rule], runs: dict[str, list[list[dict]]]) -> str:
    """Of the table: what the rule of each pair takes there."""
    found = {pair: [choice_of(rules[pair], run) for run in each] for pair, each in runs.items()}
    every = [choice for choices in found.values() for choice in choices]
    regrets = [statistics.mean(choice.regret for choice in choices) for choices in found.values()]
    ranks = [rank_correlation(rules[pair], run) for pair, each in runs.items() for run in each]
    ranks = [rank for rank in ranks if rank is not None]
    cells = [
        title,
        *(f"{value:.1f}" for value in (statistics.mean(regrets), *regrets)),
        f"{statistics.mean(choice.gained < -HARM for choice in every):.0%}",
        f"{_worst(every):+.1f}",
        f"{statistics.mean(ranks):+.2f}" if ranks else "",
    ]
    return "| " + " | ".join(cells) + " |"


def _worst(choices: list[Choice]) -> float:
    return min(choice.gained for choice in choices)


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
