"""FDA as the translation of a recipe: it has nothing to train."""

from training.settings.experiment import Experiment
from training.settings.translation import Fda
from training.stages.stage import Stage
from training.stages.translation import translation_stages


def stages(part: Fda, experiment: Experiment) -> tuple[Stage, ...]:
    """The stage that shows what becomes of the source's images."""
    return translation_stages(experiment)
