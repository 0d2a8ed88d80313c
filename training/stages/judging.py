"""What the network of a stage is worth: its figures on labels where there are any, and the watch's verdict."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from training.distribution.workers import on_chief
from training.evaluation.observing import Observation, SourceWatcher, observation_of, target_pass
from training.evaluation.rule import Measured
from training.evaluation.scoring import score
from training.evaluation.watch import Verdict, judge, rank_of
from training.prediction.predictor import images_at_once
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
    if not run.experiment.recipe.adapts:
        return Judgement(scores, _source_scores(run, stage, of))
    observation, source_scores = observe(run, stage, of)
    verdict = on_chief(lambda: verdict_on(run, stage, observation, _earlier(run)))
    return Judgement(scores, source_scores, observation, verdict)


def better_of(judgements: Mapping[str, Judgement]) -> str:
    """The name of the one that the watch would rather take, the later one on ties; all are watched."""
    order = list(judgements)
    return max(order, key=lambda name: (rank_of(judgements[name].verdict), order.index(name)))


def observe(run: Run, stage: Stage, of: str) -> tuple[Observation, dict]:
    """What the watch sees of the network as it stands after `stage`, and its figures on the source; see `observing`.

    of: the network in words, for progress.
    """
    # 1. The target's images, as many as the recipe says.
    images = run.experiment.recipe.watch.images
    target = on_chief(lambda: target_pass(run.predictor, run.second_view, run.domains.target, run.size, images))
    # 2. The held-out source images.
    watcher = SourceWatcher(target.head)
    source_scores = _source_scores(run, stage, of, watcher)
    return observation_of(target, watcher.over_workers(), source_scores["miou_in_truth"]), source_scores


def _source_scores(run: Run, stage: Stage, of: str, watcher: SourceWatcher | None = None) -> dict:
    """Figures on the source; where the statistics are the target's, with those of the source in their place."""
    dataset, title = run.domains.source_evaluation, f"evaluating {of} on the source"
    with run.source_statistics(stage):
        return score(run.predictor, dataset, run.size, images_at_once(run.size), title, watcher)


def _earlier(run: Run) -> dict[str, Observation]:
    """What the watch saw of the finished stages, by name, in their order."""
    finished = [each.name for each in run.plan if each.name in run.directory.stages and each.scored]
    return {name: Observation.load(run.directory.observation(name)) for name in finished}


def verdict_on(
    run: Run, stage: Stage, observation: Observation, earlier: Mapping[str, Observation], before: Measured | None = None
) -> Verdict:
    """The watch's verdict on `stage`.

    earlier: what it saw of the stages before. before: measurements of the model before adaptation; None: those that
    the run directory holds, where it has any.
    """
    # The reference: the model before adaptation, or the same with the target's statistics or adjusted logits; a stage
    # that collapsed is none.
    finished = run.directory.stages
    references = [
        each.name
        for each in run.plan
        if each.reference and each.name in earlier and not finished[each.name]["verdict"]["collapse"]
    ]
    reference = observation if stage.own_reference or not references else earlier[references[-1]]
    previous = list(earlier.values())[-1] if earlier else observation
    labeller = finished[run.baseline.name].get("labeller") if stage.labelled else None
    shares = np.array(labeller["shares"]) if labeller else None
    names, limits = run.domains.label_space.names, run.experiment.recipe.watch
    if before is None and stage is not run.baseline:
        before = finished[run.baseline.name]["verdict"]["measured"]
    return judge(observation, previous, reference, run.domains.source_shares, names, limits, shares, before)
