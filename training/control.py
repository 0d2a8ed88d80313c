"""The control of a run: the same training with target labels of weight 0, and without losses that need them.

A gain over the source model says nothing about the labels; a gain over the control does. Alignment stays, and with it
the adversarial term of rounds, and so does the order of the images, also where target entropies decide it: the control
of UPLR trains on the target, though not on its labels. Pixel contrast is left out as a whole, with its part on source
pixels: what PGPC gains over its control is what labels and contrast do together.

Where a recipe has no labels of the target (`adaptseg`, `advent`), its control is the alignment with an adversarial term
of weight 0.
"""

from dataclasses import replace

from training.errors import UserError
from training.settings.experiment import Experiment
from training.settings.losses import Losses
from training.settings.stages import Alignment, Online, Rounds

NEEDS_TARGET = ("mrkld", "regions", "consistency", "minimum_entropy", "contrast", "masked")
"""Fields of `Losses` that work on the target and whose weight is not that of its labels ("masked": in rounds)."""


def trains_on_target(adaptation: Rounds | Online) -> bool:
    """Do images of the target move the weights? Not with labels of weight 0 and no other term that needs them."""
    terms = [getattr(adaptation.losses, name) for name in NEEDS_TARGET]
    terms.append(getattr(adaptation, "adversarial_term", None))
    return adaptation.target_weight > 0 or any(term is not None for term in terms)


def aligns(alignment: Alignment) -> bool:
    """Do images of the target move the weights? Not with an adversarial term of weight 0 and no other term on them."""
    return alignment.weight > 0 or any(getattr(alignment.losses, name) is not None for name in NEEDS_TARGET)


def control_of(experiment: Experiment) -> Experiment:
    """The same stages, steps, images and augmentation with target weight 0.

    Where there are target labels, alignment and the adversarial term stay; else the term has weight 0.

    Raises:
        UserError: a recipe that does not learn from the target.
    """
    recipe, name = experiment.recipe, experiment.names["recipe"]
    if recipe.adaptation is not None:
        adaptation = replace(recipe.adaptation, losses=_without_target(recipe.adaptation.losses), target_weight=0.0)
        recipe = replace(recipe, adaptation=adaptation)
    elif recipe.alignment is not None:
        alignment = replace(recipe.alignment, losses=_without_target(recipe.alignment.losses), weight=0.0)
        recipe = replace(recipe, alignment=alignment)
    else:
        raise UserError(f"--control: '{name}' does not learn from the target, so it has no control")
    names = experiment.names | {"recipe": f"{name}-control"}
    return replace(experiment, recipe=recipe, names=names)


def _without_target(losses: Losses) -> Losses:
    return replace(losses, **dict.fromkeys(NEEDS_TARGET))
