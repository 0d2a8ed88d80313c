"""The parts of a stage of adaptation: its labels, its batches, its loss terms."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from models.discriminator import build_discriminator
from training.data.augment import Augmentation
from training.data.copy_paste import HardClassPaste
from training.data.domains import Domains, source_labels
from training.data.donors import hard_classes
from training.data.input_pipeline import TrainingStream, Views, load_frame, side_by_side
from training.data.mining import priority_classes, rare_classes
from training.data.samples import Dataset
from training.data.sampling import Permutation
from training.data.source_subset import source_subset
from training.distribution.devices import share_of_this_process
from training.distribution.shares import Share
from training.distribution.workers import on_chief, sum_over_workers
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
from training.prediction.labelling import (
    PREDICTION_BATCH,
    LabelledImages,
    TargetPredictions,
    label_images,
    label_images_in_order,
)
from training.prediction.predictor import Predictor
from training.probability_maps.map_files import load_prior
from training.progress import console
from training.pseudo_labels.instance_adaptive import InstanceAdaptiveSelector
from training.pseudo_labels.portion import portion_at
from training.pseudo_labels.selectors import lrent_select, select
from training.pseudo_labels.spatial_prior import spatial_prior
from training.run_directory.paths import RunDirectory
from training.settings import (
    Alignment,
    CopyPaste,
    Data,
    GlobalThreshold,
    InstanceAdaptive,
    LabelEntropy,
    RareClassMining,
    Rounds,
    Schedule,
    SourceShare,
)


@dataclass(frozen=True)
class Labelled:
    """What labelling left for training: the pseudo-labelled images, thresholds `[classes]`, classes worth mining."""

    dataset: Dataset
    thresholds: np.ndarray
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
        if isinstance(adaptation.selector, LabelEntropy)
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
    if isinstance(adaptation.selector, InstanceAdaptive):
        found = on_chief(
            lambda: _label_in_order(
                TargetPredictions(predictor, dataset, data.size, PREDICTION_BATCH), folder, adaptation.selector, number
            )
        )
    else:
        predictions = _predictions(predictor, dataset, data)
        found = _label_by_portion(predictions, folder, adaptation, domains, directory, number)
    thresholds = found.thresholds
    asked, words = ("alpha", "alpha") if thresholds.selector == "ias" else ("portion", "portion of each class")
    console.print(f"  kept {found.kept_share:.1%} of the target's pixels ({words} {thresholds.portion:.2f})")
    return Labelled(
        dataset=dataset.with_label_folder(folder),
        thresholds=thresholds.values,
        rare_classes=_rare_classes(thresholds.counts, adaptation.mining if data.mined_crops else None),
        found=found,
        figures={
            "round": number,
            asked: thresholds.portion,
            "images": len(dataset),
            **found.as_json(),
            **_pasted_classes(adaptation, found),
        },
    )


def _predictions(predictor: Predictor, dataset: Dataset, data: Data) -> TargetPredictions:
    """Of this worker's share of the images."""
    return TargetPredictions(predictor, dataset, data.size, PREDICTION_BATCH, share=share_of_this_process())


def _label_by_portion(
    predictions: TargetPredictions,
    folder: Path,
    adaptation: Rounds,
    domains: Domains,
    directory: RunDirectory,
    number: int,
) -> LabelledImages:
    """Thresholds over all images first (CBST, CRST), then the labels."""
    selection = adaptation.selector
    portion = portion_at(number - 1, selection.portion, selection.portion_step, selection.portion_max)
    prior = prior_of(domains, adaptation, directory, predictions.size)
    select_one = _selection_of(adaptation, prior)
    return label_images(predictions, folder, selector_of(adaptation), portion, selection.stride, prior, select_one)


def _label_in_order(
    predictions: TargetPredictions, folder: Path, settings: InstanceAdaptive, number: int
) -> LabelledImages:
    """Thresholds that move from image to image (IAS)."""
    alpha = settings.alpha + (number - 1) * settings.alpha_step
    classes = predictions.dataset.label_space.count
    selector = InstanceAdaptiveSelector(classes, alpha, settings.beta, settings.gamma, settings.initial)
    return label_images_in_order(predictions, folder, selector, settings.batch_size)


def selector_of(adaptation: Rounds) -> str:
    """The name by which `training/pseudo_labels` knows the method's selector."""
    if isinstance(adaptation.selector, InstanceAdaptive):
        return "ias"
    if isinstance(adaptation.selector, LabelEntropy):
        return "lrent"
    base = "st" if isinstance(adaptation.selector, GlobalThreshold) else "cbst"
    return f"{base}_sp" if adaptation.selector.spatial_prior is not None else base


def _selection_of(adaptation: Rounds, prior: np.ndarray | None):
    if isinstance(adaptation.selector, LabelEntropy):
        return lambda probs, thresholds: lrent_select(probs, thresholds, adaptation.selector.alpha)[0]
    return lambda probs, thresholds: select(probs, thresholds, prior)


def _best_scored(predictions: TargetPredictions, share: float) -> Dataset:
    """The images whose predictions have the best class-balanced score."""
    scores = np.zeros(len(predictions.dataset))
    scores[predictions.mine] = [class_balanced_score(probs) for probs in predictions.maps()]
    chosen = best_images(sum_over_workers(scores), share)
    console.print(f"  {len(chosen)} of {len(scores)} target images have the best class-balanced score")
    return predictions.dataset.subset(chosen)


def _rare_classes(counts: np.ndarray, settings: RareClassMining | None) -> tuple[int, ...]:
    """Classes below the threshold share, and the rarest few whatever their share; absent ones cannot be mined."""
    if settings is None:
        return ()
    rare = {*priority_classes(counts, settings.threshold).tolist(), *rare_classes(counts, settings.classes).tolist()}
    return tuple(sorted(rare & set(np.flatnonzero(counts).tolist())))


def soft_labeller(network, adaptation: Rounds, labelled: Labelled) -> SoftLabeller | None:
    """LRENT's soft labels come from what labelled: a copy of the network as it is now, or another model that stays.

    Other methods need none.
    """
    if not isinstance(adaptation.selector, LabelEntropy):
        return None
    labeller = teacher_of(network) if isinstance(network, keras.Model) else network
    return SoftLabeller(labeller, labelled.thresholds, adaptation.selector.alpha)


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
    weak = adaptation.mean_teacher is not None or isinstance(adaptation.selector, LabelEntropy)
    views = Views(strong=data.strong_blend if adaptation.strong_views else 0.0, weak=weak)
    changes = () if paste is None else (paste,)
    target = TrainingStream(labelled.dataset, *common, target_seed, changes=changes, views=views)
    share = source_share_of(adaptation, data)
    if share is None:
        return side_by_side(target=target)
    order = Permutation(source_part(len(domains.source), share, data, number))
    source = TrainingStream(domains.source, *common, 1000 * seed + 2 * number, order)
    return side_by_side(source=source, target=target)


def _pasted(paste: HardClassPaste, labelled: Labelled, data: Data, count: int = 4):
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


def _copy_paste(adaptation: Rounds, labelled: Labelled, seed: int) -> HardClassPaste | None:
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


def unlabelled_streams(
    domains: Domains, data: Data, schedule: Schedule, seed: int
) -> Callable[[int, Share], tf.data.Dataset]:
    """`make_stream(first_step, share)`: batches of the labelled source and the unlabelled target, for alignment."""
    common = (data.size, augmentation_of(schedule, data), schedule.batch_size, schedule.steps)
    source = TrainingStream(domains.source, *common, 1000 * seed)
    target = TrainingStream(domains.target, *common, 1000 * seed + 1)
    return side_by_side(source=source, target=target)
