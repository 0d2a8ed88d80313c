"""Rounds of self-training that keep the adversarial term of alignment (BDL, CVPR 2019; UPLR, ICCV 2021)."""

from dataclasses import replace

from training.progress import console
from training.run_directory.checkpoint import lasting_groups
from training.settings.experiment import Recipe
from training.settings.stages import Alignment, KeptAdversary
from training.stages.alignment import discriminator_optimizer, new_discriminator
from training.stages.stage import Run, Stage

ADAPTSEG = Alignment(map="softmax", loss="bce", weight=0.001)
"""Whose constants the term has in a recipe without alignment."""
KEPT = frozenset({"discriminator"})
"""The group of variables that goes on from the stage before."""


def adversary_of(recipe: Recipe, term: KeptAdversary) -> Alignment:
    """Map, loss, weight and discriminator of the term."""
    alignment = recipe.alignment or ADAPTSEG
    return alignment if term.weight is None else replace(alignment, weight=term.weight)


def adversary_in(run: Run, stage: Stage) -> tuple[dict, dict]:
    """Of a round that keeps the term: what its method takes beside that of another round, and what `train_stage` does.

    The discriminator goes on from the stage before, where that has one, and so does its optimiser if its learning rate
    is constant; one that falls starts anew, as the segmenter's does (BDL).
    """
    settings = adversary_of(run.experiment.recipe, stage.settings.adversarial_term)
    path = run.directory.lasting(run.previous(stage).name)
    goes_on = path.is_file() and lasting_groups(path) >= KEPT
    if not goes_on:
        console.print("  the discriminator starts at random: it goes on from no stage before")
    constant = settings.discriminator_schedule == "constant"
    of_method = {
        "discriminator": new_discriminator(run, settings),
        "discriminator_input": settings.map,
        "loss": settings.loss,
        "weight": settings.weight,
        "keep_discriminator_optimizer": constant,
    }
    return of_method, {
        "lasting": path if goes_on else None,
        "groups": KEPT | {"discriminator_optimizer"} if constant else KEPT,
        "discriminator_optimizer": discriminator_optimizer(settings, stage.schedule),
    }
