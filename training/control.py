"""The control of a run: the same training with target labels of weight 0, and without losses that need them.

A gain over the source model says nothing about the labels; a gain over the control does. Alignment stays, and with it
the adversarial term of rounds, and so does the order of the images, also where target entropies decide it: the control
of UPLR trains on the target, though not on its labels. Pixel contrast is left out as a whole, with its part on source
pixels: what PGPC gains over its control is what labels and contrast do together.
"""

from dataclasses import replace

from training.errors import UserError
from training.settings.experiment import Experiment
from training.settings.stages import Online, Rounds

NEEDS_TARGET = ("mrkld", "regions", "consistency", "minimum_entropy", "contrast", "masked")
"""Fields of `Losses` that work on the target and whose weight is not that of its labels ("masked": in rounds)."""


def trains_on_target(adaptation: Rounds | Online) -> bool:
    """Do images of the target move the weights? Not with labels of weight 0 and no other term that needs them."""
    terms = [getattr(adaptation.losses, name) for name in NEEDS_TARGET]
    terms.append(getattr(adaptation, "adversarial_term", None))
    return adaptation.target_weight > 0 or any(term is not None for term in terms)


def control_of(experiment: Experiment) -> Experiment:
    """The same stages, steps, images and augmentation with target weight 0; alignment and the adversarial term stay.

    Raises:
        UserError: a recipe that learns nothing from the target's labels.
    """
    recipe, name = experiment.recipe, experiment.names["recipe"]
    adaptation = recipe.adaptation
    if adaptation is None:
        raise UserError(f"--control: '{name}' learns nothing from labels of the target, so it has no control")
    losses = replace(adaptation.losses, **dict.fromkeys(NEEDS_TARGET))
    adaptation = replace(adaptation, losses=losses, target_weight=0.0)
    names = experiment.names | {"recipe": f"{name}-control"}
    return replace(experiment, recipe=replace(recipe, adaptation=adaptation), names=names)
