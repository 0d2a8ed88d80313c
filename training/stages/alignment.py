"""Adversarial alignment: a discriminator pulls the target's output maps to the source's (AdaptSeg, AdvEnt, IAST)."""

from dataclasses import dataclass

from models.batch_norm import set_batch_norm
from models.discriminator import build_discriminator
from models.heads import head_variables
from training.data.input_pipeline import side_by_side
from training.methods.adversarial import AdversarialTraining
from training.methods.optimizers import Adam
from training.methods.terms import CrossEntropyTerm, terms_of
from training.progress import console
from training.settings import Alignment, Experiment, Schedule
from training.stages.fitting import train_stage
from training.stages.stage import Run, Stage
from training.stages.streams import source_stream, stream_of

LATER_ROUNDS = 600  # keeps the streams of alignment rounds after the first apart from those of rounds of self-training


def stages(part: Alignment, experiment: Experiment) -> tuple[Stage, ...]:
    """One stage per round of alignment."""
    schedule = experiment.data.schedules["alignment"]
    if part.rounds == 1:
        return (_stage("alignment", "Alignment", "of the adversarial alignment", schedule, part, 1),)
    numbers = range(1, part.rounds + 1)
    return tuple(
        _stage(f"alignment_{n}", f"Alignment round {n}", f"of alignment round {n}", schedule, part, n) for n in numbers
    )


def _stage(name: str, title: str, phrase: str, schedule: Schedule, part: Alignment, number: int) -> Stage:
    return AlignmentStage(
        name=name,
        title=title,
        phrase=phrase,
        schedule=schedule,
        way="by adversarial alignment",
        settings=part,
        number=number,
    )


@dataclass(frozen=True, kw_only=True)
class AlignmentStage(Stage):
    """One round; the discriminator and its optimiser go on from the round before."""

    settings: Alignment
    number: int

    def check(self) -> None:
        AdversarialTraining.check_terms(terms_of(self.settings.losses), self.schedule.accumulate)

    def skipped(self, run: Run) -> str | None:
        """Left out where the run started from a model that was trained on the target."""
        if run.directory.stages[run.baseline.name].get("adapted"):
            return "No alignment: the model that this run starts from was trained on the target already"
        return None

    def run(self, run: Run) -> dict:
        schedule = self.schedule
        console.print(f"{self.title}: {schedule.steps} steps", style="bold")
        set_batch_norm(run.network, schedule.batch_norm)
        method = alignment_method(run, self.settings)
        optimizer = Adam(self.settings.discriminator_learning_rate, 0.9, self.settings.discriminator_beta_2)
        head, seed = head_variables(run.network), run.experiment.seed
        kept = {
            "lasting": run.directory.lasting(run.previous(self).name) if self.number > 1 else None,
            "discriminator_optimizer": optimizer,
            "setting": "data.schedules.alignment",
        }
        train_stage(method, schedule, self.name, self._streams(run), run.directory, head, seed, **kept)
        run.follow_target(schedule)
        run.save_lasting(method, self)
        return {}

    def _streams(self, run: Run):
        """`make_stream(first_step, share)`: batches of the labelled source and the unlabelled target."""
        schedule = self.schedule
        first = 1000 * run.experiment.seed + (LATER_ROUNDS + 2 * self.number if self.number > 1 else 0)
        target = stream_of(run.domains.target, run.experiment.data, schedule, first + 1)
        return side_by_side(source=source_stream(run, schedule, first), target=target)


def alignment_method(run: Run, settings: Alignment) -> AdversarialTraining:
    """The `train_step` of alignment, with a discriminator that starts at random."""
    classes, seed = run.domains.label_space.count, run.experiment.seed
    discriminator = build_discriminator(classes, first_kernel=settings.first_kernel, seed=seed)
    return AdversarialTraining(
        run.network,
        discriminator,
        [CrossEntropyTerm("source"), *terms_of(settings.losses, run.domains.label_space)],
        settings.map,
        settings.loss,
        settings.weight,
        run.experiment.data.loss_stride,
    )
