"""Rounds of self-training: label the target, train on the labels (CBST, CRST, IAST, HIAST)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import keras
import numpy as np
import tensorflow as tf

from models.batch_norm import set_batch_norm
from models.heads import head_variables
from training.control import trains_on_target
from training.data.copy_paste import HardClassPaste
from training.data.donors import hard_classes
from training.data.input_pipeline import Views, load_frame, side_by_side
from training.data.sampling import SampleOrder
from training.data.source_subset import source_subset
from training.distribution.shares import Share
from training.distribution.workers import on_chief
from training.errors import UserError
from training.evaluation.panels import write_pasting
from training.methods.adversarial import AdversarialMeanTeacher, AdversarialSelfTraining
from training.methods.block_mask import BlockMasker
from training.methods.class_mix import ClassMixer
from training.methods.mean_teacher import MeanTeacherTraining, decay_of, teacher_of
from training.methods.method import Method
from training.methods.mixture import mixture_terms
from training.methods.online_labels import ImageWeights
from training.methods.self_training import SelfTraining, SoftLabeller
from training.methods.terms import CrossEntropyTerm, SoftCrossEntropyTerm, TermContext, terms_of
from training.prediction.foreign_predictor import ForeignPredictor
from training.prediction.label_images import LabelledImages
from training.prediction.predictor import Predictor
from training.progress import console
from training.pseudo_labels import build_selector, portion_at, selector_class
from training.settings.data import Data
from training.settings.experiment import Experiment
from training.settings.sampling import CopyPaste, SourceShare
from training.settings.schedule import Schedule
from training.settings.stages import Rounds
from training.settings.teacher import ImageConfidence
from training.stages.adversarial_rounds import adversary_in
from training.stages.balanced_orders import kept_order
from training.stages.fitting import train_stage
from training.stages.modes_report import ModesReport
from training.stages.orders import counted_files, order_figures, showing, source_order, target_order
from training.stages.round_labels import RoundLabels, label_round
from training.stages.stage import Run, Stage, term_context
from training.stages.streams import augmentation_of, source_stream, stream_of


def stages(part: Rounds, experiment: Experiment) -> tuple[Stage, ...]:
    """One stage per round: the recipe's number, or the fewer that the data allow."""
    count, schedule = experiment.data.rounds_of(part.rounds), experiment.data.schedules["rounds"]
    share = source_share_of(part, experiment.data)
    return tuple(
        RoundStage(
            name=f"round_{number}",
            title=f"Round {number}",
            phrase=f"of round {number} of {count}",
            schedule=_schedule_of_round(schedule, part, number),
            way=_way_of(part),
            trains_on_target=trains_on_target(part),
            ends_run=1,  # the next labels would come from it
            labelled=True,
            settings=part,
            number=number,
            count=count,
            source_share=share,
        )
        for number in range(1, count + 1)
    )


def _way_of(part: Rounds) -> str:
    """How rounds adapt, for the report: what the adversarial term does alone is no self-training."""
    if trains_on_target(replace(part, adversarial_term=None)):
        return "by self-training"
    term = "" if part.adversarial_term is None else "the adversarial term and "
    return f"by rounds with {term}target labels of weight 0"


def _schedule_of_round(schedule: Schedule, part: Rounds, number: int) -> Schedule:
    """With the learning rate of this round; with a mean teacher, which is an average, without another average."""
    factor = part.learning_rate_decay ** (number - 1)
    optimizer = replace(schedule.optimizer, learning_rate=schedule.optimizer.learning_rate * factor)
    average = None if part.mean_teacher is not None else schedule.average_weights
    return replace(schedule, optimizer=optimizer, average_weights=average)


@dataclass(frozen=True, kw_only=True)
class RoundStage(Stage):
    """Label the target with the network as it is, then train on the labels.

    With a mean teacher the round's result is the teacher: it labels the next round, while the student trains on.

    source_share: how much of the source takes part; None = it does not.
    """

    setting: ClassVar = "data.schedules.rounds"
    settings: Rounds
    number: int
    count: int
    source_share: SourceShare | None

    def check(self) -> None:
        share = self.source_share
        if share is not None and share.share > share.maximum:
            raise UserError(
                f"adaptation.source_share.share is {share.share}, and adaptation.source_share.maximum "
                f"{share.maximum}: set a smaller share or a larger maximum"
            )
        try:
            build_selector(self.settings.selector, self.number)
        except UserError as error:
            raise UserError(f"adaptation.selector in {self.name}: {error}") from error
        sampling = self.settings.rare_class_sampling
        if sampling is not None and sampling.domains == "source" and self.source_share is None:
            raise UserError(
                "adaptation.rare_class_sampling draws source images, and no source image takes part in the rounds of "
                "this recipe: set adaptation.rare_class_sampling.domains=both, or adaptation.source_share=on"
            )
        if self.settings.class_mix is not None and self.source_share is None:
            raise UserError(
                "adaptation.class_mix pastes source pixels into target images, and no source image takes part in the "
                "rounds of this recipe: set adaptation.source_share=on or data.keep_source=True"
            )
        if self.settings.adversarial_term is not None and self.source_share is None:
            raise UserError(
                "adaptation.adversarial_term compares the target's maps with the source's, and no source image takes "
                "part in the rounds of this recipe: set adaptation.source_share=on, or adaptation.adversarial_term=off"
            )
        mixture = self.settings.mixture
        if mixture is not None and mixture.consistency and self.source_share is None:
            raise UserError(
                "adaptation.mixture.consistency compares target pixels with source pixels, and no source image takes "
                "part in the rounds of this recipe: set adaptation.source_share=on, or adaptation.mixture.consistency=0"
            )
        method = _method_class(self.settings)
        method.check_terms([*terms_of(self.settings.losses), *mixture_terms(mixture)], self.schedule.accumulate)

    def run(self, run: Run) -> dict:
        adaptation, data, network = self.settings, run.experiment.data, run.network
        console.print(f"{self.title} of {self.count}", style="bold")
        # 1. Labels of the target, by the network or in round 1 by another model.
        labeller = (run.first_labeller if self.number == 1 else None) or run.labeller
        labelled = label_round(labeller, run.domains, adaptation, data, run.directory, self.number)
        soft = soft_labeller(labeller, labelled, adaptation.label_scales, data.size)
        # 2. The student of the round before goes on; else the network that labelled.
        lasting = run.read_lasting(self)
        if "student" in lasting:
            network.set_weights(lasting["student"])
        # 3. Training.
        set_batch_norm(network, self.schedule.batch_norm)
        context = term_context(run, self.seed_in(run), self.schedule.steps)
        adversary, kept = ({}, {}) if adaptation.adversarial_term is None else adversary_in(run, self)
        method = round_method(network, adaptation, data, self.schedule.steps, soft, context, **adversary)
        modes = ModesReport.begun(run, self, method)
        orders = round_orders(run, self, labelled)
        make_stream = round_streams(run, self, labelled, orders)
        head, seed = head_variables(network), run.experiment.seed
        kept |= {"setting": self.setting}
        train_stage(method, self.schedule, self.name, make_stream, run.directory, head, seed, **kept)
        # 4. The student is kept and scored as it is; the teacher takes its place as the result.
        drawn = order_figures(orders, run.domains.label_space.names)
        figures = {**labelled.figures, **_pasted_classes(adaptation, labelled.found), **drawn}
        run.follow_target(self.schedule)
        run.save_lasting(method, self)
        figures |= modes.figures() if modes else {}
        if adaptation.mean_teacher is not None:
            figures["student_scores"] = run.score(run.domains.evaluation, f"evaluating the student of {self.name}")
            network.set_weights(method.result_weights())
        if adaptation.mean_teacher is not None or adaptation.blend < 1:
            run.blend(adaptation.blend)
            run.follow_target(self.schedule)
        return figures

    def seed_in(self, run: Run) -> int:
        """Of the target's stream; the source's is one less."""
        return 1000 * run.experiment.seed + 2 * self.number + 1

    def files(self, run: Run) -> list[Path]:
        directory = run.directory
        prior = [directory.spatial_prior] if self.number == 1 else []
        counted = [] if self.source_share is None else counted_files(directory, self.settings.rare_class_sampling)
        return [*prior, *counted, directory.pasting_picture(self.name), *directory.mode_pictures(self.name)]


def source_share_of(adaptation: Rounds, data: Data) -> SourceShare | None:
    """How much of the source a round sees: the recipe's share; all if `data.keep_source` alone asks for it; or None."""
    everything = SourceShare(share=1.0, step=0.0, maximum=1.0)
    return adaptation.source_share or (everything if data.keep_source else None)


def round_terms(adaptation: Rounds, with_source: bool, context: TermContext | None = None) -> list:
    """The loss of a round as a sum of named terms.

    A recipe that does without the source (IAST, HIAST) has terms that are means over the target: where the data adds
    the source all the same, it gets a mean of its own.
    """
    prior = None if context is None else context.prior
    # With ClassMix each pixel has a weight of its own, for pasted ones are the source's.
    weight = adaptation.target_weight if adaptation.class_mix is None else 1.0
    own_mean = adaptation.source_share is None or adaptation.domain_means
    target = (
        SoftCrossEntropyTerm(weight, own_mean, prior=prior)
        if selector_class(adaptation.selector.kind).gives_soft_labels
        else CrossEntropyTerm("target", weight, own_mean, prior=prior)
    )
    source = [CrossEntropyTerm("source", own_mean=own_mean, prior=prior)] if with_source else []
    modes = mixture_terms(adaptation.mixture, context, weight)
    return [*source, target, *terms_of(adaptation.losses, context), *modes]


def round_method(
    network: keras.Model,
    adaptation: Rounds,
    data: Data,
    steps: int,
    soft: SoftLabeller | None,
    context: TermContext | None = None,
    **adversary,
) -> Method:
    """The `train_step` of a round: plain self-training, or with a mean teacher that starts as the student is now.

    context: of the terms; its seed is that of what the step draws, ClassMix' classes and the hidden blocks. adversary:
    where the round keeps the adversarial term, what `AdversarialTraining` takes for it.
    """
    seed, mix = 0 if context is None else context.seed, adaptation.class_mix
    parts = {
        "terms": round_terms(adaptation, source_share_of(adaptation, data) is not None, context),
        "loss_stride": data.loss_stride,
        "soft_labeller": soft,
        "mixer": None if mix is None else ClassMixer(mix, seed, adaptation.target_weight),
        **adversary,
    }
    if adaptation.mean_teacher is not None:
        masked = adaptation.losses.masked
        parts |= {
            "teacher": teacher_of(network),
            "decay": decay_of(adaptation.mean_teacher, steps),
            "masker": None if masked is None else BlockMasker(masked, seed),
            "labels": ImageWeights(ImageConfidence(), network.output["logits"].shape[-1]),
            "scales": adaptation.mean_teacher.scales,
        }
    return _method_class(adaptation)(network, **parts)


def _method_class(adaptation: Rounds) -> type[Method]:
    kinds = (SelfTraining, MeanTeacherTraining)
    if adaptation.adversarial_term is not None:
        kinds = (AdversarialSelfTraining, AdversarialMeanTeacher)
    return kinds[adaptation.mean_teacher is not None]


def soft_labeller(
    predictor: Predictor | ForeignPredictor, labelled: RoundLabels, scales: Sequence[float], size: tuple[int, int]
) -> SoftLabeller | None:
    """LRENT's soft labels come from what labelled: a copy of the network as it is now, or another model that stays.

    scales: of the images, at which it predicts. size: (height, width) of the student's images; a run of another network
    sees them at the size that it was trained at. Other selectors give none.
    """
    soft = labelled.found.fitted.soft
    if soft is None:
        return None
    network = predictor.network
    if not isinstance(network, keras.Model):  # somebody else's file, which brings images to its own size
        return SoftLabeller(network, soft.thresholds, soft.alpha, scales)
    height, width = predictor.image_size or size
    return SoftLabeller(teacher_of(network), soft.thresholds, soft.alpha, scales, (height / size[0], width / size[1]))


def source_part(count: int, share: SourceShare, data: Data, number: int, seed: int = 0) -> np.ndarray:
    """Indices of the source images of round `number` among `count`; seed: the run's."""
    part = portion_at(number - 1, share.share, share.step, share.maximum)
    least = min(max(data.minimum_source_images, 1), count)
    part = max(part, min((least + 0.5) / count, 1.0))
    return source_subset(count, part, number - 1, share.policy, share.seed + 1000 * seed)


def round_orders(run: Run, stage: RoundStage, labelled: RoundLabels) -> dict[str, SampleOrder | None]:
    """The order of the images that are drawn in a round: "source" where it takes part, "target" (None: all alike).

    Where the recipe asks for nothing else, the source's is that of the last round of alignment.
    """
    sampling, domains = stage.settings.rare_class_sampling, run.domains
    of_target = sampling if sampling is not None and sampling.domains == "both" else None
    orders = {"target": target_order(labelled.found, of_target)}
    if stage.source_share is not None:
        experiment = run.experiment
        part = source_part(len(domains.source), stage.source_share, experiment.data, stage.number, experiment.seed)
        kept = kept_order(run, part) if sampling is None else None
        orders["source"] = kept or source_order(run, sampling, part)
    return orders


def round_streams(
    run: Run, stage: RoundStage, labelled: RoundLabels, orders: dict[str, SampleOrder | None]
) -> Callable[[int, Share], tf.data.Dataset]:
    """`make_stream(first_step, share)`: batches with a target and perhaps a source part, a function of seed, round and
    step alone. orders: see `round_orders`."""
    domains, adaptation, data, schedule = run.domains, stage.settings, run.experiment.data, stage.schedule
    # Crops around rare classes, where the recipe mines them.
    mine = adaptation.mining.probability if labelled.rare_classes else 0.0
    augmentation = augmentation_of(schedule, data, mine, labelled.rare_classes)
    of_source = augmentation if mine and adaptation.mining.domains == "both" else augmentation_of(schedule, data)
    # Hard classes of other target images are pasted in before the augmentation; the report shows some of them.
    target_seed = stage.seed_in(run)
    paste = _copy_paste(adaptation, labelled, target_seed)
    if paste is not None:
        picture = run.directory.pasting_picture(stage.name)
        on_chief(lambda: write_pasting(picture, _pasted(paste, labelled, data), domains.label_space))
    # The weak view is what a teacher or a soft labeller predicts.
    weak = adaptation.mean_teacher is not None or labelled.found.fitted.soft is not None
    views = Views(strong=data.strong_blend if adaptation.strong_views else 0.0, weak=weak)
    changes = () if paste is None else (paste,)
    options = {"changes": changes, "views": views, "order": orders["target"]}
    sampling = adaptation.rare_class_sampling
    crops = showing(augmentation, sampling, orders["target"])
    target = stream_of(labelled.dataset, data, schedule, target_seed, crops, **options)
    # The part of the source that takes part in this round.
    if "source" not in orders:
        return side_by_side(target=target)
    crops = showing(of_source, sampling, orders["source"])
    source = source_stream(run, schedule, target_seed - 1, crops, order=orders["source"])
    return side_by_side(source=source, target=target)


def _pasted(paste: HardClassPaste, labelled: RoundLabels, data: Data, count: int = 4):
    """Frames of the first positions of the stream that get something, before and after."""
    dataset, shown = labelled.dataset, 0
    for position in range(len(dataset)):
        frame = load_frame(dataset, position, data.size)
        pasted = paste.change(position, position, frame, lambda index: load_frame(dataset, index, data.size))
        if (pasted != frame).any():
            yield frame, pasted
            shown += 1
        if shown == count:
            return


def _copy_paste(adaptation: Rounds, labelled: RoundLabels, seed: int) -> HardClassPaste | None:
    settings, found = adaptation.copy_paste, labelled.found
    if settings is None:
        return None
    count = _hard_count(settings, found)
    return HardClassPaste(
        labelled.dataset, found.image_counts, found.mean_confidence, count, settings.donors, settings.stop_share, seed
    )


def _hard_count(settings: CopyPaste, found: LabelledImages) -> int:
    """How many of the classes that were selected anywhere count as hard."""
    return max(1, round(settings.hard_classes * np.isfinite(found.mean_confidence).sum()))


def _pasted_classes(adaptation: Rounds, found: LabelledImages) -> dict[str, list[str]]:
    """The names of the hard classes, hardest first, for the figures of a round; nothing without copy-paste."""
    settings = adaptation.copy_paste
    if settings is None:
        return {}
    hard = hard_classes(found.mean_confidence, _hard_count(settings, found))
    return {"hard_classes": [found.class_names[index] for index in hard]}
