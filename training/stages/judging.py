"""What the network of a stage is worth: its figures on labels where there are any, and the watch's verdict."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from training.distribution.workers import on_chief
from training.evaluation.watch import Observation, Verdict, judge, observe
from training.stages.stage import Run, Stage


@dataclass(frozen=True)
class Judgement:
    """Of one state of the network. scores, source_scores: see `evaluation.confusion.scores`, None without labels.

    observation, verdict: None in a recipe that does not adapt, which is not watched.
    """

    scores: dict | None
    source_scores: dict | None
    observation: Observation | None = None
    verdict: Verdict | None = None

    @property
    def figures(self) -> dict:
        """For state.json."""
        scored = {"scores": self.scores, "source_scores": self.source_scores}
        return scored if self.verdict is None else {**scored, "verdict": self.verdict.as_json()}


def judge_network(run: Run, stage: Stage, name: str = "") -> Judgement:
    """Of the network as it stands, for the stage that is about to finish; every worker calls it.

    name: of the network among those of the stage, for progress; "" = it has one.
    """
    of = f"the {name} of {stage.name}" if name else stage.name
    scores = run.score(run.domains.evaluation, f"evaluating {of}")
    source_scores = _source_scores(run, stage, of)
    recipe = run.experiment.recipe
    if not recipe.adapts:
        return Judgement(scores, source_scores)
    watched = (run.domains.target, run.size, recipe.watch.images)
    source_miou = source_scores["miou"]
    observation, verdict = on_chief(
        lambda: _judged(run, stage, observe(run.predictor, run.second_view, *watched, source_miou=source_miou))
    )
    return Judgement(scores, source_scores, observation, verdict)


def better_of(judgements: Mapping[str, Judgement]) -> str:
    """The name of the best label-free score of what did not collapse, the later one on ties; all are watched."""
    order = list(judgements)
    verdicts = {name: judgement.verdict for name, judgement in judgements.items()}
    return max(order, key=lambda name: (not verdicts[name].collapse, verdicts[name].score, order.index(name)))


def _source_scores(run: Run, stage: Stage, of: str) -> dict | None:
    """Figures on the source; where the statistics are the target's, with those of the source in their place."""
    dataset, title = run.domains.source_evaluation, f"evaluating {of} on the source"
    if stage is run.baseline or not run.takes_statistics:
        return run.score(dataset, title)
    weights = run.network.get_weights()
    run.take_statistics(run.domains.source)
    scores = run.score(dataset, title)
    run.network.set_weights(weights)
    return scores


def _judged(run: Run, stage: Stage, observation: Observation) -> tuple[Observation, Verdict]:
    """A stage that learns from another model's labels is measured by that model's class shares."""
    finished = [each for each in run.plan if each.name in run.directory.stages and each.scored]
    earlier = {each.name: Observation.load(run.directory.observation(each.name)) for each in finished}
    # The reference: the model before adaptation, or the same with the target's statistics.
    references = [earlier[each.name] for each in finished if each.reference]
    reference = observation if stage.reference or not references else references[-1]
    previous = list(earlier.values())[-1] if earlier else observation
    labeller = run.directory.stages[run.baseline.name].get("labeller") if stage.labelled else None
    shares = np.array(labeller["shares"]) if labeller else None
    names, limits = run.domains.label_space.names, run.experiment.recipe.watch
    return observation, judge(observation, previous, reference, run.domains.source_shares, names, limits, shares)
