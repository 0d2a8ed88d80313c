"""The warm-up: supervised training on the labelled source, or of the oracle on the target; the start of every recipe.

Its model is what every later stage is compared with.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from models.batch_norm import set_batch_norm
from models.heads import head_variables
from training.data.input_pipeline import side_by_side
from training.distribution.workers import on_chief
from training.errors import UserError
from training.evaluation.formats import score_or_none
from training.evaluation.observing import predicted_shares
from training.evaluation.tables import told_miou
from training.methods.mixture import mixture_head, mixture_terms
from training.methods.source_training import SourceTraining
from training.methods.terms import CrossEntropyTerm
from training.prediction.foreign_predictor import ForeignPredictor
from training.prediction.trained_model import load_own_weights
from training.progress import console
from training.run_directory.paths import TRANSLATED
from training.settings.experiment import Experiment
from training.settings.losses import Mixture
from training.settings.stages import WarmUp
from training.stages.fitting import train_stage
from training.stages.modes import source_figures, start_modes, take_modes
from training.stages.network import initial_network
from training.stages.orders import counted_files, order_figures, showing, source_order
from training.stages.stage import Run, Stage, term_context
from training.stages.streams import augmentation_of, source_stream, stream_of
from training.stages.warm_start import WarmStart

NAME = "source"


def stages(part: WarmUp, experiment: Experiment) -> tuple[Stage, ...]:
    """The stages of a recipe's warm-up."""
    stage = WarmUpStage(
        name=NAME,
        title="the model before adaptation",
        phrase="before adaptation",
        schedule=experiment.data.schedules["warm_up"],
        reference=True,
        own_reference=True,
        settings=part,
        mixture=_mixture_of(experiment),
    )
    return (stage,)


def translated_warm_up(experiment: Experiment) -> Stage:
    """The warm-up once more, on the translated images that have come after the first one."""
    return TranslatedWarmUpStage(
        name=TRANSLATED,
        title="Source model on translated images",
        phrase="trained on the translated images of the source",
        way="by training on translated images",
        schedule=experiment.data.schedules["warm_up"],
        reference=True,
        own_reference=True,
        settings=experiment.recipe.warm_up,
        mixture=_mixture_of(experiment),
    )


def _mixture_of(experiment: Experiment) -> Mixture | None:
    """The second head that takes part: that of an adaptation which goes on from the warm-up."""
    adaptation = experiment.recipe.adaptation
    return None if getattr(adaptation, "start", None) == "imagenet" else getattr(adaptation, "mixture", None)


@dataclass(frozen=True, kw_only=True)
class WarmUpStage(Stage):
    """Supervised training, or the weights of another run (`--warm-start`).

    mixture: the second head that takes part, of a recipe that adapts with it; None: there is none.
    """

    setting: ClassVar = "data.schedules.warm_up"
    settings: WarmUp
    mixture: Mixture | None = None

    def check(self) -> None:
        sampling = self.settings.rare_class_sampling
        if sampling is not None and sampling.domains == "both":
            raise UserError(
                "warm_up.rare_class_sampling.domains is both, and the warm-up has images of one domain alone: leave it "
                "at source; adaptation.rare_class_sampling has both"
            )
        SourceTraining.check_terms(mixture_terms(self.mixture, adapts=False), self.schedule.accumulate)

    def run(self, run: Run) -> dict:
        if run.warm_start is not None and run.warm_start.role == "weights":
            return _take_over(run, run.warm_start, self.mixture)
        figures = _score_labeller(run)  # before the training: a file that cannot be used shall cost nothing
        return {**figures, **self._train(run)}

    def files(self, run: Run) -> list[Path]:
        return counted_files(run.directory, self.settings.rare_class_sampling, self.settings.domain)

    def _train(self, run: Run) -> dict:
        """Train; the figures of the order of the images and of the modes."""
        data, schedule, dataset = run.experiment.data, self.schedule, run.domains.warm_up
        set_batch_norm(run.network, schedule.batch_norm)
        images = f"{len(dataset)} labelled images ({dataset.name})"
        console.print(f"Warm-up: {schedule.steps} steps on {images}", style="bold")

        head, seed = head_variables(run.network), run.experiment.seed
        sampling, domain = self.settings.rare_class_sampling, self.settings.domain
        order = source_order(run, sampling, domain=domain)
        crops = showing(augmentation_of(schedule, data), sampling, order)
        translated = getattr(run.experiment.recipe.translation, "warm_up", True)
        if dataset is run.domains.source and translated:
            stream = source_stream(run, schedule, seed, crops, order=order)
        else:  # the originals, or the oracle's target
            stream = stream_of(dataset, data, schedule, seed, crops, order=order)
        context = term_context(run, seed, schedule.steps)
        modes = mixture_terms(self.mixture, context, adapts=False)
        method = SourceTraining(run.network, [CrossEntropyTerm("source"), *modes], data.loss_stride)
        make_stream, options = side_by_side(source=stream), {"setting": self.setting}
        if modes:
            second = mixture_head(modes)
            first_step = int(self.mixture.start * schedule.steps)
            options["before_steps"] = {first_step: lambda: start_modes(run, self, second, stream, method.optimizer)}
        train_stage(method, schedule, self.name, make_stream, run.directory, head, seed, **options)
        run.save_lasting(method, self)
        used = {"modes": source_figures(run, self, second)} if modes else {}
        return {**order_figures({domain: order}, run.domains.label_space.names), **used}


@dataclass(frozen=True, kw_only=True)
class TranslatedWarmUpStage(WarmUpStage):
    """The same training as the first warm-up, from the same initial weights, with the translated images."""

    def skipped(self, run: Run) -> str | None:
        """Left out where the run started from a model that was trained on the target."""
        if run.starts_adapted:
            return "No source model on translated images: the model that this run starts from was adapted already"
        return None

    def run(self, run: Run) -> dict:
        run.network.set_weights(initial_network(run.experiment, run.domains.label_space.count).get_weights())
        return self._train(run)


def _take_over(run: Run, start: WarmStart, mixture: Mixture | None) -> dict:
    """Start from the weights of another run, and from its second head; what the state shall say of it."""
    load_own_weights(run.network, Path(start.file))  # before the copy: a damaged file shall leave nothing
    on_chief(lambda: shutil.copyfile(start.file, run.directory.weights(NAME)))
    if start.modes is not None:
        take_modes(run, mixture, Path(start.modes), run.directory.lasting(NAME))
    return {"taken_from": start.path, "adapted": start.adapted}


def _score_labeller(run: Run) -> dict:
    """Figures of the other model that labels round 1, where there are labels, and the shares that it predicts."""
    labeller, watched = run.first_labeller, run.domains.target.evenly_spaced(run.experiment.recipe.watch.images)
    if labeller is None:
        return {}
    console.print(f"Round 1 will be labelled by {run.warm_start.path}", style="bold")
    if isinstance(labeller, ForeignPredictor):
        console.print(f"  {labeller.understood}", markup=False)
    scores = run.score(run.domains.evaluation, "evaluating the labeller", labeller)
    if scores:
        console.print(f"  its mIoU: {score_or_none(told_miou(scores))}")
    shares = predicted_shares(labeller, watched, labeller.image_size or run.size, run.domains.label_space.count)
    return {"labeller": {"path": run.warm_start.path, "scores": scores, "shares": shares.tolist()}}
