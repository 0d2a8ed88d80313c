"""The stage of a translation that is not trained: it shows what becomes of the source's images.

`source_stream` of `streams.py` translates them in every stage that trains on the source.
"""

from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from training.distribution.workers import on_chief
from training.errors import UserError
from training.evaluation.panels import write_translation
from training.progress import console
from training.settings.experiment import Experiment
from training.stages.stage import TRANSLATION, Run, Stage
from training.stages.streams import stream_of

EXAMPLES = 4


def translation_stages(experiment: Experiment) -> tuple[Stage, ...]:
    """The one stage of a translation that is not trained.

    Raises:
        UserError: the recipe does not train on the source.
    """
    refuse_oracle(experiment)
    return (TranslationStage(name=TRANSLATION, title="Translation", phrase="", scored=False),)


def refuse_oracle(experiment: Experiment) -> None:
    """Raise UserError if the recipe does not train on the source."""
    if experiment.recipe.warm_up.domain == "target":
        raise UserError(
            "translation changes the source's images, and the oracle trains on the target's: choose another recipe, or "
            "leave the translation out"
        )


@dataclass(frozen=True, kw_only=True)
class TranslationStage(Stage):
    """Finds what the translation needs, before anything is trained, and writes a picture for the report."""

    def run(self, run: Run) -> dict:
        translation, experiment = run.translation, run.experiment
        console.print(f"Translation of the source: {translation.words}", style="bold", markup=False)
        stream = stream_of(run.domains.source, experiment.data, experiment.data.schedules["warm_up"], experiment.seed)
        examples = islice(translation.examples(stream), EXAMPLES)
        on_chief(lambda: write_translation(run.directory.translation_picture, examples, translation.titles))
        return {"translation": translation.words}

    def files(self, run: Run) -> list[Path]:
        return [run.directory.translation_picture]
