"""Rounds of self-training that keep the adversarial term of alignment (BDL, CVPR 2019; UPLR, ICCV 2021)."""

from dataclasses import replace

from training.errors import UserError
from training.methods.adversarial import AdversarialSelfTraining
from training.methods.self_training import SoftLabeller
from training.methods.terms import Term, terms_of
from training.progress import console
from training.run_directory.checkpoint import lasting_groups
from training.settings.experiment import Recipe
from training.settings.stages import Alignment, KeptAdversary, Rounds
from training.stages.alignment import discriminator_optimizer, new_discriminator
from training.stages.stage import Run, Stage

ADAPTSEG = Alignment(map="softmax", loss="bce", weight=0.001)
"""Whose constants the term has in a recipe without alignment."""


def check_adversarial(adaptation: Rounds, with_source: bool, accumulate: int) -> None:
    """Refuse rounds that cannot keep the term.

    Raises:
        UserError: a teacher, ClassMix, a mixture, no source, or a loss that cannot be computed beside it.
    """
    term = "adaptation.adversarial_term"
    for other in ("mean_teacher", "class_mix", "mixture"):
        if getattr(adaptation, other) is not None:
            raise UserError(f"{term} and adaptation.{other} cannot be computed together: set one of them off")
    if not with_source:
        raise UserError(
            f"{term} compares the target's maps with the source's, and no source image takes part in the rounds of "
            f"this recipe: set adaptation.source_share=on, or {term}=off"
        )
    AdversarialSelfTraining.check_terms(terms_of(adaptation.losses), accumulate)


def adversary_of(recipe: Recipe, term: KeptAdversary) -> Alignment:
    """Map, loss, weight and discriminator of the term."""
    alignment = recipe.alignment or ADAPTSEG
    return alignment if term.weight is None else replace(alignment, weight=term.weight)


def adversarial_round(
    run: Run, stage: Stage, terms: list[Term], soft: SoftLabeller | None
) -> tuple[AdversarialSelfTraining, dict]:
    """The `train_step` of a round that keeps the term, and what `train_stage` takes beside it.

    terms, soft: of the round; soft is None where its labels are hard. The discriminator goes on from the stage before,
    where that has one, and so does its optimiser if its learning rate is constant; one that falls starts anew, as the
    segmenter's does (BDL).
    """
    settings = adversary_of(run.experiment.recipe, stage.settings.adversarial_term)
    method = AdversarialSelfTraining(
        run.network,
        new_discriminator(run, settings),
        terms,
        settings.map,
        settings.loss,
        settings.weight,
        run.experiment.data.loss_stride,
        keep_discriminator_optimizer=settings.discriminator_schedule == "constant",
        soft_labeller=soft,
    )
    path = run.directory.lasting(run.previous(stage).name)
    asked = {"discriminator", *(term.name for term in terms if term.variables)}
    goes_on = path.is_file() and asked <= lasting_groups(path)
    if not goes_on:
        console.print("  the discriminator starts at random: it goes on from no stage before")
    return method, {
        "lasting": path if goes_on else None,
        "discriminator_optimizer": discriminator_optimizer(settings, stage.schedule),
    }
