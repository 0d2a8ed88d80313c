"""The parts of a stage of adaptation: its labels, its batches, its loss terms."""

from collections.abc import Callable
from dataclasses import asdict, dataclass

import keras
import numpy as np
import tensorflow as tf

from models.discriminator import build_discriminator
from training.data.augment import Augmentation
from training.data.copy_paste import CopyPaste
from training.data.domains import Domains, source_labels
from training.data.donors import hard_classes
from training.data.input_pipeline import load_frame, training_stream
from training.data.mining import priority_classes, rare_classes
from training.data.samples import Dataset
from training.data.source_subset import source_subset
from training.distribution.devices import share_of_this_process
from training.distribution.shares import ALONE, Share
from training.distribution.workers import on_chief, sum_over_workers, workers_of
from training.evaluation.panels import write_pasting
from training.files.atomic import whole_file
from training.methods.adversarial import AdversarialTraining
from training.methods.mean_teacher import MeanTeacher, teacher_of
from training.methods.self_training import SelfTraining, SoftLabeller
from training.methods.term_training import TermTraining
from training.methods.terms import (
    ConfidentRegionKLD,
    CrossEntropy,
    IgnoredRegionEntropy,
    MinimumEntropy,
    SoftCrossEntropy,
    TeacherConsistency,
)
from training.prediction.image_selection import best_images, class_balanced_score
from training.prediction.label_files import LabelFolder
from training.prediction.label_images import LabelledImages, label_images
from training.prediction.predictor import Predictor
from training.prediction.target_predictions import PREDICTION_BATCH, TargetPredictions
from training.probability_maps.map_files import load_prior
from training.progress import console
from training.pseudo_labels import build_selector, portion_at, selector_class, spatial_prior
from training.run_directory.paths import RunDirectory
from training.settings import (
    Alignment,
    Data,
    RareClassMining,
    Rounds,
    Schedule,
    SourceShare,
)
from training.settings import CopyPaste as CopyPasteSettings


@dataclass(frozen=True)
class Labelled:
    """What labelling left for training: the pseudo-labelled images, classes worth mining, figures, counts."""

    dataset: Dataset
    rare_classes: tuple[int, ...]
    figures: dict
    found: LabelledImages


def augmentation_of(
    schedule: Schedule, data: Data, mine: float = 0.0, rare_classes: tuple[int, ...] = ()
) -> Augmentation:
    return Augmentation(crop=data.crop, mine=mine, mine_classes=rare_classes, **asdict(schedule.augmentation))


def source_share_of(adaptation: Rounds, data: Data) -> SourceShare | None:
    """How much of the source a round sees: the recipe's share, all where only the data asks for it, or None."""
    everything = SourceShare(share=1.0, step=0.0, maximum=1.0)
    return adaptation.source_share or (everything if data.keep_source else None)


def round_terms(adaptation: Rounds, with_source: bool) -> list:
    """The loss of a round as a sum of named terms.

    A recipe that does without the source (IAST, HIAST) has terms that are means over the target: where the data adds
    the source all the same, it gets a mean of its own.
    """
    weight, own_mean = adaptation.target_weight, adaptation.source_share is None
    target = (
        SoftCrossEntropy(weight, own_mean)
        if selector_class(adaptation.selector.kind).gives_soft_labels
        else CrossEntropy("target", weight, own_mean)
    )
    source = [CrossEntropy("source", own_mean=own_mean)] if with_source else []
    terms = [*source, target]
    losses = adaptation.losses
    if losses.mrkld is not None:
        terms.append(ConfidentRegionKLD(losses.mrkld.weight))
    if losses.regions is not None:
        regions = losses.regions
        terms += [ConfidentRegionKLD(regions.divergence, per_class=True), IgnoredRegionEntropy(regions.entropy)]
    if losses.consistency is not None:
        terms.append(TeacherConsistency(losses.consistency.weight, losses.consistency.region))
    return terms


def round_method(
    network: keras.Model, adaptation: Rounds, data: Data, steps: int, soft: SoftLabeller | None
) -> TermTraining:
    """The `train_step` of a round: plain self-training, or with a mean teacher that starts as the student is now."""
    terms, teaching = round_terms(adaptation, source_share_of(adaptation, data) is not None), adaptation.mean_teacher
    if teaching is None:
        return SelfTraining(network, terms, data.loss_stride, soft)
    forgetting = (1 - teaching.decay) * teaching.decay_steps / steps
    return MeanTeacher(network, teacher_of(network), terms, 1 - min(1.0, forgetting), data.loss_stride, soft)


def adversarial_method(
    network: keras.Model, settings: Alignment, loss_stride: int, classes: int, seed: int
) -> AdversarialTraining:
    least = settings.losses.minimum_entropy
    terms = [CrossEntropy("source"), *([MinimumEntropy(least.weight)] if least else [])]
    discriminator = build_discriminator(classes, first_kernel=settings.first_kernel, seed=seed)
    return AdversarialTraining(network, discriminator, terms, settings.map, settings.loss, settings.weight, loss_stride)


def prior_of(domains: Domains, adaptation: Rounds, directory: RunDirectory, size) -> np.ndarray | None:
    """The source's spatial prior `[h, w, classes]` at `size`, counted once a run; None if the method uses none."""
    settings = getattr(adaptation.selector, "spatial_prior", None)
    if settings is None:
        return None

    def counted() -> None:
        if not directory.spatial_prior.exists():
            labels = source_labels(domains.source, settings.images)
            prior = spatial_prior(labels, domains.label_space.count, size, kernel=settings.kernel)
            with whole_file(directory.spatial_prior) as partial:
                np.save(partial, prior)

    on_chief(counted)
    return load_prior(directory.spatial_prior, domains.label_space.count, height_first=True)


def label_round(
    predictor: Predictor, domains: Domains, adaptation: Rounds, data: Data, directory: RunDirectory, number: int
) -> Labelled:
    """Label the target with what `predictor` says into `pseudo_labels/round_N/`."""
    dataset, folder = domains.target, directory.pseudo_labels / f"round_{number}"
    if adaptation.image_selection is not None:
        dataset = _best_scored(_predictions(predictor, dataset, data), adaptation.image_selection.share)
    prior = prior_of(domains, adaptation, directory, data.size)
    selector = build_selector(adaptation.selector, number, prior)
    predictions = _predictions(predictor, dataset, data, whole=selector.ordered)
    found = label_images(predictions, selector, LabelFolder(folder), workers_of(domains.label_space.count))
    console.print(f"  kept {found.kept_share:.1%} of the target's pixels ({selector.describe()})")
    return Labelled(
        dataset=dataset.with_label_folder(folder),
        rare_classes=_rare_classes(found.pixels, adaptation.mining if data.mined_crops else None),
        found=found,
        figures={"round": number, **found.figures(), **_pasted_classes(adaptation, found)},
    )


def _predictions(predictor: Predictor, dataset: Dataset, data: Data, whole: bool = False) -> TargetPredictions:
    """Of the whole data set, or of this worker's share of the images."""
    share = ALONE if whole else share_of_this_process()
    return TargetPredictions(predictor, dataset, data.size, PREDICTION_BATCH, share=share)


def _best_scored(predictions: TargetPredictions, share: float) -> Dataset:
    """The images whose predictions have the best class-balanced score."""
    scores = np.zeros(len(predictions.dataset))
    scores[predictions.mine] = [class_balanced_score(probs) for probs in predictions()]
    chosen = best_images(sum_over_workers(scores), share)
    console.print(f"  {len(chosen)} of {len(scores)} target images have the best class-balanced score")
    return predictions.dataset.subset(chosen)


def _rare_classes(counts: np.ndarray, settings: RareClassMining | None) -> tuple[int, ...]:
    """Classes below the threshold share, and the rarest few whatever their share; absent ones cannot be mined."""
    if settings is None:
        return ()
    rare = {*priority_classes(counts, settings.threshold).tolist(), *rare_classes(counts, settings.classes).tolist()}
    return tuple(sorted(rare & set(np.flatnonzero(counts).tolist())))


def soft_labeller(network, labelled: Labelled) -> SoftLabeller | None:
    """LRENT's soft labels come from what labelled: a copy of the network as it is now, or another model that stays.

    Other methods need none.
    """
    soft = labelled.found.fitted.soft
    if soft is None:
        return None
    labeller = teacher_of(network) if isinstance(network, keras.Model) else network
    return SoftLabeller(labeller, soft.thresholds, soft.alpha)


def source_part(count: int, share: SourceShare, data: Data, number: int) -> np.ndarray:
    """Indices of the source images of round `number` among `count`."""
    part = portion_at(number - 1, share.share, share.step, share.maximum)
    least = min(max(data.minimum_source_images, 1), count)
    return source_subset(count, max(part, min((least + 0.5) / count, 1.0)), number - 1, share.policy)


def round_streams(
    domains: Domains,
    adaptation: Rounds,
    data: Data,
    schedule: Schedule,
    labelled: Labelled,
    number: int,
    seed: int,
    directory: RunDirectory,
) -> Callable[[int, Share], tf.data.Dataset]:
    """`make_stream(first_step, share)`: batches with a target and perhaps a source part, a function of seed, round and
    step alone."""
    mine = adaptation.mining.probability if labelled.rare_classes else 0.0
    augmentation = augmentation_of(schedule, data, mine, labelled.rare_classes)
    common = (data.size, augmentation, schedule.batch_size, schedule.steps)
    target_seed = 1000 * seed + 2 * number + 1
    paste = _copy_paste(adaptation, labelled, target_seed)
    if paste is not None:
        picture = directory.pasting_picture(f"round_{number}")
        on_chief(lambda: write_pasting(picture, _pasted(paste, labelled, data), domains.label_space))
    weak = adaptation.mean_teacher is not None or labelled.found.fitted.soft is not None
    target_views = {"strong": data.strong_blend if adaptation.strong_views else 0.0, "weak": weak, "paste": paste}
    share = source_share_of(adaptation, data)

    def make_stream(first_step: int, share_of_batch: Share) -> tf.data.Dataset:
        place = {"start_step": first_step, "share": share_of_batch}
        target = training_stream(labelled.dataset, *common, seed=target_seed, **place, **target_views)
        if share is None:
            return tf.data.Dataset.zip({"target": target})
        indices = source_part(len(domains.source), share, data, number)
        source = training_stream(domains.source, *common, seed=1000 * seed + 2 * number, indices=indices, **place)
        return tf.data.Dataset.zip({"source": source, "target": target})

    return make_stream


def _pasted(paste: CopyPaste, labelled: Labelled, data: Data, count: int = 4):
    """Frames of the first positions of the stream that get something, before and after."""
    dataset, shown = labelled.dataset, 0
    for position in range(len(dataset)):
        frame = load_frame(dataset, position, data.size)
        pasted = paste(position, position, frame, lambda index: load_frame(dataset, index, data.size))
        if (pasted != frame).any():
            yield frame, pasted
            shown += 1
        if shown == count:
            return


def _copy_paste(adaptation: Rounds, labelled: Labelled, seed: int) -> CopyPaste | None:
    settings, found = adaptation.copy_paste, labelled.found
    if settings is None:
        return None
    count = _hard_count(settings, found)
    return CopyPaste(
        labelled.dataset, found.image_counts, found.mean_confidence, count, settings.donors, settings.stop_share, seed
    )


def _hard_count(settings: CopyPasteSettings, found: LabelledImages) -> int:
    """How many of the classes that were selected anywhere count as hard."""
    return max(1, round(settings.hard_classes * np.isfinite(found.mean_confidence).sum()))


def _pasted_classes(adaptation: Rounds, found: LabelledImages) -> dict[str, list[str]]:
    """The names of the hard classes, hardest first, for the figures of a round; nothing without copy-paste."""
    settings = adaptation.copy_paste
    if settings is None:
        return {}
    hard = hard_classes(found.mean_confidence, _hard_count(settings, found))
    return {"hard_classes": [found.class_names[index] for index in hard]}


def unlabelled_streams(
    domains: Domains, data: Data, schedule: Schedule, seed: int
) -> Callable[[int, Share], tf.data.Dataset]:
    """`make_stream(first_step, share)`: batches of the labelled source and the unlabelled target, for alignment."""
    common = (data.size, augmentation_of(schedule, data), schedule.batch_size, schedule.steps)

    def make_stream(first_step: int, share: Share) -> tf.data.Dataset:
        place = {"start_step": first_step, "share": share}
        source = training_stream(domains.source, *common, seed=1000 * seed, **place)
        target = training_stream(domains.target, *common, seed=1000 * seed + 1, **place)
        return tf.data.Dataset.zip({"source": source, "target": target})

    return make_stream
