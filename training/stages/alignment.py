"""Adversarial alignment: a discriminator pulls the target's output maps to the source's (AdaptSeg, AdvEnt, IAST)."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import keras

from models.batch_norm import set_batch_norm
from models.discriminator import build_discriminator
from models.heads import head_variables
from training.control import aligns
from training.data.input_pipeline import side_by_side
from training.data.sampling import SampleOrder
from training.errors import UserError
from training.methods.adversarial import AdversarialTraining
from training.methods.optimizers import Adam, learning_rate
from training.methods.terms import CrossEntropyTerm, terms_of
from training.progress import console
from training.settings.experiment import Experiment
from training.settings.schedule import Optimizer, Schedule
from training.settings.stages import Alignment
from training.stages.balanced_orders import balanced_order
from training.stages.fitting import Part, train_stage
from training.stages.stage import Run, Stage, term_context
from training.stages.streams import source_stream, stream_of

LATER_ROUNDS = 600  # keeps the streams of alignment rounds after the first apart from those of rounds of self-training


def stages(part: Alignment, experiment: Experiment) -> tuple[Stage, ...]:
    """One stage per round of alignment.

    Weights, discriminator, both optimisers and the fall of the learning rate go on from round to round. What is done at
    the end of a training is done at the end of each: with `average_weights` the average takes the place of the weights,
    and statistics of batch-norm that is trained are taken anew on the target. Without both it goes on as if uncut.
    """
    steps = experiment.data.schedules["alignment"].steps
    schedule = replace(experiment.data.schedules["alignment"], steps=part.rounds * steps)
    one, common = part.rounds == 1, {"schedule": schedule, "trains_on_target": aligns(part), "settings": part}
    return tuple(
        AlignmentStage(
            name="alignment" if one else f"alignment_{number}",
            title="Alignment" if one else f"Alignment round {number}",
            phrase="of the adversarial alignment" if one else f"of alignment round {number}",
            way="by adversarial alignment" if aligns(part) else "by alignment with an adversarial term of weight 0",
            number=number,
            steps=steps,
            **common,
        )
        for number in range(1, part.rounds + 1)
    )


@dataclass(frozen=True, kw_only=True)
class AlignmentStage(Stage):
    """One round of so many steps; the schedule is of all rounds. See `stages`."""

    setting: ClassVar = "data.schedules.alignment"
    settings: Alignment
    number: int
    steps: int

    def check(self) -> None:
        sampler = self.settings.sampler
        if sampler is not None and sampler.classes != "all" and self.settings.rounds == 1:
            raise UserError(
                f"alignment.sampler.classes is {sampler.classes}, and the first round of alignment draws for all "
                "classes: set alignment.rounds=2 or more, or alignment.sampler.classes=all"
            )
        AdversarialTraining.check_terms(terms_of(self.settings.losses), self.schedule.accumulate)

    def skipped(self, run: Run) -> str | None:
        """Left out where the run started from a model that was trained on the target."""
        if run.starts_adapted:
            return "No alignment: the model that this run starts from was trained on the target already"
        return None

    def run(self, run: Run) -> dict:
        settings, schedule = self.settings, self.schedule
        console.print(f"{self.title}: {self.steps} steps", style="bold")
        # 1. The order of the source's images, for which the network as it is tells what it is uncertain of.
        order, figures = balanced_order(run, settings.sampler, self.number, self.name)
        # 2. Training.
        set_batch_norm(run.network, schedule.batch_norm)
        method = alignment_method(run, settings, schedule)
        head, seed, last = head_variables(run.network), run.experiment.seed, self.number * self.steps
        kept = {
            "lasting": run.directory.lasting(run.previous(self).name) if self.number > 1 else None,
            "part": Part(self.name, last - self.steps, last),
            "discriminator_optimizer": discriminator_optimizer(settings, schedule),
            "setting": self.setting,
        }
        train_stage(method, schedule, self.name, self._streams(run, order), run.directory, head, seed, **kept)
        # 3. Statistics of the target; what the next round goes on with.
        run.follow_target(schedule)
        run.save_lasting(method, self)
        # 4. Earlier rounds are not blended: optimiser and discriminator go on with the trained weights.
        if settings.blend < 1 and self.number == settings.rounds:
            run.blend(settings.blend)
            run.follow_target(schedule)
        return figures

    def files(self, run: Run) -> list[Path]:
        return [] if self.settings.sampler is None else [run.directory.class_counts("source")]

    def _streams(self, run: Run, order: SampleOrder | None):
        """`make_stream(first_step, share)`: batches of the labelled source and the unlabelled target."""
        schedule = replace(self.schedule, steps=self.number * self.steps)
        first = 1000 * run.experiment.seed + (LATER_ROUNDS + 2 * self.number if self.number > 1 else 0)
        target = stream_of(run.domains.target, run.experiment.data, schedule, first + 1)
        return side_by_side(source=source_stream(run, schedule, first, order=order), target=target)


def alignment_method(run: Run, settings: Alignment, schedule: Schedule) -> AdversarialTraining:
    """The `train_step` of alignment, with a discriminator that starts at random."""
    context = term_context(run, run.experiment.seed, schedule.steps)
    return AdversarialTraining(
        run.network,
        new_discriminator(run, settings),
        [CrossEntropyTerm("source", prior=context.prior), *terms_of(settings.losses, context)],
        settings.map,
        settings.loss,
        settings.weight,
        run.experiment.data.loss_stride,
        keep_optimizer=settings.rounds > 1,
    )


def new_discriminator(run: Run, settings: Alignment) -> keras.Model:
    """It starts at random, by the seed of the run."""
    classes, seed = run.domains.label_space.count, run.experiment.seed
    return build_discriminator(classes, first_kernel=settings.first_kernel, seed=seed)


def discriminator_optimizer(settings: Alignment, schedule: Schedule) -> Adam:
    """Its learning rate is constant, or falls over the steps of `schedule`, or the longer horizon of its optimiser."""
    rate = settings.discriminator_learning_rate
    if settings.discriminator_schedule == "poly":
        rate = learning_rate(Optimizer(learning_rate=rate, horizon=schedule.optimizer.horizon), schedule.steps)
    return Adam(rate, 0.9, settings.discriminator_beta_2)
