"""What a stage is, and what every stage of a run works with."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from typing import ClassVar

import keras
import numpy as np
import tensorflow as tf

from models.batch_norm import StatisticsEstimator, trained_batch_norm
from models.catalogue import NETWORKS
from models.levels import with_levels
from training.data.domains import Domains
from training.data.input_pipeline import evaluation_stream
from training.data.translation import Translation, translation_of
from training.distribution.memory import out_of_memory_predicting, out_of_memory_said
from training.distribution.workers import on_chief
from training.evaluation.observing import second_view
from training.evaluation.scoring import score
from training.methods.term import TermContext
from training.prediction.predictor import Predictor, images_at_once
from training.prediction.trained_model import load_own_weights
from training.run_directory.checkpoint import read_lasting, save_lasting
from training.run_directory.paths import ADJUSTMENT, TRANSLATED, RunDirectory
from training.settings.experiment import Experiment, Model
from training.settings.schedule import Schedule
from training.settings.translation import CycleGan
from training.stages.network import level_stride
from training.stages.warm_start import WarmStart, open_labeller

STATISTICS_BATCH = 16  # images at once, of small ones
TRANSLATION = "translation"
"""Name of the stage after which the source is shown translated."""
JUDGED = "judged"
"""Key of the `judging.Judgement` of the result among the figures of a stage that has judged it itself."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One stage of a run, a value: what it is called, how long it trains, and what it does.

    name: of its files and figures in the run directory. title: for people. phrase: how the report names its model
    ("The model is that ..."). way: how it adapts ("adapted ... by adversarial alignment"), "" = not at all.

    scored: it changes the network, so the result is scored and watched. trains_on_target: images of the target move its
    weights (batch-norm statistics alone do not count). reference: the watch compares later stages with it.
    own_reference: it compares this one with itself, not with the reference before. ends_run: as many collapses in a row
    end the run, where the recipe says so; 0 = it never ends it. labelled: it learns from labels that the other model of
    `--warm-start` may have made. takes_target_statistics: from it on the network's batch-norm statistics are the
    target's. setting: where its schedule stands in the settings.
    """

    setting: ClassVar[str] = "data.schedules.STAGE"
    name: str
    title: str
    phrase: str
    schedule: Schedule | None = None
    way: str = ""
    scored: bool = True
    trains_on_target: bool = False
    reference: bool = False
    own_reference: bool = False
    ends_run: int = 0
    labelled: bool = False
    takes_target_statistics: bool = False

    def check(self) -> None:
        """Refuse settings that the stage cannot train with, before anything is trained.

        Raises:
            UserError: a loss needs what the stage does not have, or cannot be computed in parts.
        """

    def skipped(self, run: "Run") -> str | None:
        """Why the stage is left out of this run, as a sentence; None if it is not."""
        return None

    def run(self, run: "Run") -> dict:
        """Carry it out; its figures for state.json, and perhaps under `JUDGED` what its result is worth.

        The network has the weights of the stage before on entry, and the result of this one on return.
        """
        raise TypeError(f"{type(self).__name__} must define run(run)")

    def restored(self, run: "Run") -> bool:
        """Make those of its files again that a resumed run may lack although the stage is finished; are they as they
        were?"""
        return True

    def files(self, run: "Run") -> list:
        """What it has left in the run directory beside the files that every stage leaves."""
        return []


@dataclass
class Run:
    """What every stage of a run works with. plan: its stages, in their order."""

    experiment: Experiment
    directory: RunDirectory
    domains: Domains
    network: keras.Model
    plan: tuple[Stage, ...]
    warm_start: WarmStart | None = None

    @property
    def size(self) -> tuple[int, int]:
        return self.experiment.data.size

    @property
    def translation(self) -> Translation | None:
        """What the recipe makes of the source's images; None until a translation that is trained has made them.

        Raises:
            UserError: translated images are missing.
        """
        is_trained = isinstance(self.experiment.recipe.translation, CycleGan)
        return None if is_trained and TRANSLATION not in self.directory.stages else self._translation

    @cached_property
    def _translation(self) -> Translation | None:
        domains, settings = self.domains, self.experiment.recipe.translation
        folder = self.directory and self.directory.translated
        return translation_of(settings, domains.source, domains.target, self.size, folder)

    @cached_property
    def predictor(self) -> Predictor:
        """Of the network as it is whenever it is asked: made once, for its graph takes a second to trace."""
        return Predictor(self.network)

    @cached_property
    def outputs_with_levels(self) -> Callable:
        """float32 `[b, h, w, 3]` -> the outputs of the network as it is, with "levels" (`with_levels`).

        A graph, which keeps no activation.
        """
        return tf.function(partial(with_levels(self.network), training=False), reduce_retracing=True, autograph=False)

    @cached_property
    def second_view(self) -> Predictor:
        return second_view(self.predictor)

    @cached_property
    def labeller(self) -> Predictor:
        """Of the target, at the scales that the recipe's rounds name and mirrored; the nearest to 1 gives the grid."""
        scales = sorted(self.experiment.recipe.adaptation.label_scales, key=lambda scale: abs(scale - 1))
        return self.predictor.with_views(tuple(scales), flips=(False, True))

    @property
    def logit_prior(self) -> np.ndarray | None:
        """What the adjustment has taken from the logits, float32 `[classes]`, in this run or in that of the warm start;
        None: nothing was taken."""
        own, start = self.directory.stages.get(ADJUSTMENT) or {}, self.adjusted_start
        gained = own.get("logits") or (None if start is None else start.logits)
        return None if gained is None else -np.array(list(gained.values()), np.float32)

    @property
    def adjusted_start(self) -> WarmStart | None:
        """The warm start, where the logits of its model are adjusted; None without, and once a source model on
        translated images, which starts from the initial weights, has taken its place."""
        if self.warm_start is None or TRANSLATED in self.directory.stages:
            return None
        return self.warm_start if self.warm_start.logits else None

    @property
    def baseline(self) -> Stage:
        """The stage whose model is "before adaptation"."""
        return next(stage for stage in self.plan if stage.scored)

    @property
    def starts_adapted(self) -> bool:
        """Did the run start from a model that was trained on the target already (`--warm-start`)?"""
        return bool(self.directory.stages[self.baseline.name].get("adapted"))

    def previous(self, stage: Stage) -> Stage | None:
        """The last finished stage before `stage` that left a network."""
        finished = self.directory.stages
        before = [each for each in self.plan[: self.plan.index(stage)] if each.scored and each.name in finished]
        return before[-1] if before else None

    @cached_property
    def estimator(self) -> StatisticsEstimator:
        """Of the batch-norm that a stage after the warm-up trains: all, or the head's alone."""
        later = [stage.schedule for stage in self.plan[self.plan.index(self.baseline) + 1 :]]
        trained = any(schedule is not None and schedule.batch_norm == "train" for schedule in later)
        return StatisticsEstimator(self.network, trained_batch_norm(self.network, "train" if trained else "frozen"))

    def take_statistics(self, dataset) -> None:
        """Give the network, where its batch-norm is trained, the statistics of a data set's images."""
        part = dataset.evenly_spaced(self.experiment.data.statistics_images)
        images = images_at_once(self.size, STATISTICS_BATCH)
        stream = evaluation_stream(part, self.size, images)
        with out_of_memory_said(lambda: out_of_memory_predicting(images, self.size)):
            self.estimator.take(batch["image"] for batch in stream.shown(f"taking the statistics of {dataset.name}"))

    @contextmanager
    def source_statistics(self, stage: Stage) -> Iterator[None]:
        """The network as it sees the source in `stage`: with its batch-norm statistics, where those of the target have
        taken their place; afterwards as it was."""
        so_far = self.plan[: self.plan.index(stage) + 1]
        if not any(each.takes_target_statistics for each in so_far):  # a source model has the source's already
            yield
            return
        weights = self.network.get_weights()
        try:
            self.take_statistics(self.domains.source)
            yield
        finally:
            self.network.set_weights(weights)

    def follow_target(self, schedule: Schedule) -> None:
        """After a stage that trains batch-norm: give the network the statistics of the target's images as they are."""
        if trains_batch_norm(schedule, self.experiment.model):
            self.take_statistics(self.domains.target)

    @cached_property
    def first_labeller(self):
        """The other model that labels round 1, or None where the network does that itself."""
        start = self.warm_start
        if start is None or start.role == "weights" or not start.is_needed(self.directory.stages):
            return None
        return open_labeller(start, self.domains.label_space, self.size)

    def blend(self, share: float) -> None:
        """Move the network back to `share` of the way from the model before adaptation to where it is (WiSE-FT,
        Wortsman et al., CVPR 2022): a weighted mean of both models' weights."""
        if share == 1:
            return
        reference = [each for each in self.plan if each.reference and each.name in self.directory.stages][-1]
        trained = self.network.get_weights()
        load_own_weights(self.network, self.directory.weights(reference.name))
        self.network.set_weights(
            [
                before + share * (after - before) if np.issubdtype(after.dtype, np.floating) else after
                for before, after in zip(self.network.get_weights(), trained, strict=True)
            ]
        )

    def save_lasting(self, method, stage: Stage) -> None:
        """Keep what a method has for later stages beside the weights of its result."""
        if method.lasting_variables:
            on_chief(lambda: save_lasting(self.directory.lasting(stage.name), method.lasting_variables))

    def read_lasting(self, stage: Stage) -> dict[str, list[np.ndarray]]:
        """What the stage before `stage` has kept, by name; {} where it has kept nothing."""
        before = self.previous(stage)
        path = None if before is None else self.directory.lasting(before.name)
        return read_lasting(path) if path is not None and path.is_file() else {}

    def score(self, dataset, title: str, predictor=None) -> dict | None:
        """Figures of the network, or of another predictor, on a labelled data set; None where there is none."""
        if dataset is None:
            return None
        predictor = predictor or self.predictor
        size = predictor.image_size or self.size
        return score(predictor, dataset, size, images_at_once(size), title)


def term_context(run: Run, seed: int, steps: int) -> TermContext:
    """What the terms of a stage may know; `seed` is of what they draw."""
    experiment = run.experiment
    strides = (experiment.data.loss_stride, level_stride(experiment.model))
    return TermContext(run.network, run.domains.label_space, seed, steps, *strides, run.logit_prior)


def trains_statistics(stages, model: Model) -> bool:
    """Does one of the stages train batch-norm?"""
    return any(stage.schedule is not None and trains_batch_norm(stage.schedule, model) for stage in stages)


def trains_batch_norm(schedule: Schedule, model: Model) -> bool:
    """All of it, or that of a head, which is trained always (`models.batch_norm.set_batch_norm`)?"""
    return schedule.batch_norm == "train" or NETWORKS[model.network].head_norm
