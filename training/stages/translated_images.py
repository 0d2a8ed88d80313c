"""Images that others have translated as the translation of a recipe: there is nothing to train."""

from training.settings.experiment import Experiment
from training.settings.translation import TranslatedImages
from training.stages.stage import Stage
from training.stages.translation import translation_stages


def stages(part: TranslatedImages, experiment: Experiment) -> tuple[Stage, ...]:
    """The stage that finds the images and shows some of them."""
    return translation_stages(experiment)
