"""The stage of a translation that is not trained: it shows what becomes of the source's images.

`source_stream` of `streams.py` translates them in every stage that trains on the source.
"""

from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from training.data.translation import words_of
from training.distribution.workers import on_chief
from training.errors import UserError
from training.evaluation.panels import write_translation
from training.evaluation.watch import stages_until
from training.progress import console
from training.settings.experiment import Experiment
from training.settings.stages import Online, Rounds
from training.stages.rounds import RoundStage, source_share_of
from training.stages.stage import TRANSLATION, Run, Stage
from training.stages.streams import stream_of

EXAMPLES = 4


def translation_stages(experiment: Experiment) -> tuple[Stage, ...]:
    """The one stage of a translation that is not trained.

    Raises:
        UserError: no stage of the recipe trains on translated images.
    """
    refuse_unused(experiment)
    return (TranslationStage(name=TRANSLATION, title="Translation", phrase="", scored=False),)


def refuse_unused(experiment: Experiment) -> None:
    """Raise UserError if no stage of the recipe trains on translated images."""
    recipe = experiment.recipe
    if recipe.warm_up.domain == "target":
        raise UserError(
            "translation changes the source's images, and the oracle trains on the target's: choose another recipe, or "
            "leave the translation out"
        )
    if not recipe.translation.warm_up and not _source_takes_part(experiment):
        raise UserError(
            "translation.warm_up=False leaves the warm-up the originals, and no later stage of this recipe trains on "
            "the source, so that no translated image would be trained on: set translation.warm_up=True, or leave the "
            "translation out"
        )


def _source_takes_part(experiment: Experiment) -> bool:
    """Does a stage after the warm-up train on the source?"""
    adaptation = experiment.recipe.adaptation
    if experiment.recipe.alignment is not None or isinstance(adaptation, Online):
        return True
    return isinstance(adaptation, Rounds) and source_share_of(adaptation, experiment.data) is not None


def shows_source(stage: Stage) -> bool:
    """Does the stage train on the source?"""
    return stage.schedule is not None and not (isinstance(stage, RoundStage) and stage.source_share is None)


def reads_source(stage: Stage) -> bool:
    """Does the stage train on the source, or start modes on its images?"""
    return shows_source(stage) or (isinstance(stage, RoundStage) and stage.settings.mixture is not None)


def trained_on_translated(run: Run, stages: dict[str, dict], chosen: str) -> bool:
    """Was the model of the chosen stage trained on translated images, in this stage or an earlier one?

    stages: what state.json records of each, in their order.
    """
    so_far = stages_until(stages, chosen)
    if TRANSLATION not in so_far:
        return False
    settings, later = run.experiment.recipe.translation, so_far[so_far.index(TRANSLATION) :]
    translated = {
        run.baseline.name: getattr(settings, "warm_up", True) and "taken_from" not in stages[run.baseline.name],
        **{each.name: shows_source(each) for each in run.plan if isinstance(each, RoundStage)},
    }
    trained = [each.name for each in run.plan if each.name in later and each.scored and each.schedule is not None]
    return any(translated.get(name, True) for name in trained)


@dataclass(frozen=True, kw_only=True)
class TranslationStage(Stage):
    """Finds what the translation needs, before anything is trained, and writes a picture for the report."""

    def run(self, run: Run) -> dict:
        translation, experiment = run.translation, run.experiment
        words = words_of(experiment.recipe.translation)
        console.print(f"Translation of the source: {words}", style="bold", markup=False)
        stream = stream_of(run.domains.source, experiment.data, experiment.data.schedules["warm_up"], experiment.seed)
        examples = islice(translation.examples(stream), EXAMPLES)
        on_chief(lambda: write_translation(run.directory.translation_picture, examples, translation.titles))
        return {"translation": words}

    def files(self, run: Run) -> list[Path]:
        return [run.directory.translation_picture]
