"""The parts of one round of self-training: its labels, its batches, its loss terms."""

from collections.abc import Callable
from dataclasses import asdict, dataclass

import keras
import numpy as np
import tensorflow as tf

from training.data.augment import Augmentation
from training.data.domains import Domains, source_labels
from training.data.input_pipeline import training_stream
from training.data.samples import Dataset
from training.evaluation.predictor import Predictor
from training.labelling import PREDICTION_BATCH, TargetPredictions, label_images
from training.methods.self_training import SoftLabeller
from training.methods.terms import ConfidentRegionKLD, CrossEntropy, SoftCrossEntropy
from training.progress import console
from training.pseudo_labels.image_selection import best_images, class_balanced_score
from training.pseudo_labels.mining import priority_classes, rare_classes
from training.pseudo_labels.portion import portion_at
from training.pseudo_labels.selectors import lrent_select, select
from training.pseudo_labels.source_subset import source_subset
from training.pseudo_labels.spatial_prior import spatial_prior
from training.run_directory import RunDirectory
from training.settings import Data, RareClassMining, SelfTraining, Stage


@dataclass(frozen=True)
class Labelled:
    """What labelling left for training: the pseudo-labelled images, thresholds `[classes]`, classes worth mining."""

    dataset: Dataset
    thresholds: np.ndarray
    rare_classes: tuple[int, ...]
    figures: dict


def augmentation_of(stage: Stage, data: Data, mine: float = 0.0, rare_classes: tuple[int, ...] = ()) -> Augmentation:
    return Augmentation(crop=data.crop, mine=mine, mine_classes=rare_classes, **asdict(stage.augmentation))


def round_terms(adaptation: SelfTraining) -> list:
    """The loss of a round as a sum of named terms."""
    weight = adaptation.target_weight
    target = SoftCrossEntropy(weight) if adaptation.lrent else CrossEntropy("target", weight)
    regularisers = [ConfidentRegionKLD(adaptation.mrkld.weight)] if adaptation.mrkld else []
    return [CrossEntropy("source"), target, *regularisers]


def prior_of(domains: Domains, adaptation: SelfTraining, directory: RunDirectory, size) -> np.ndarray | None:
    """The source's spatial prior `[h, w, classes]` at `size`, counted once a run; None if the method uses none."""
    settings = adaptation.selection.spatial_prior
    if settings is None:
        return None
    if not directory.spatial_prior.exists():
        labels = source_labels(domains.source, settings.images)
        prior = spatial_prior(labels, domains.label_space.count, size, kernel=settings.kernel)
        np.save(directory.spatial_prior, prior)
    return np.load(directory.spatial_prior)


def label_round(
    network: keras.Model, domains: Domains, adaptation: SelfTraining, data: Data, directory: RunDirectory, number: int
) -> Labelled:
    """Label the target with `network` into `pseudo_labels/round_N/`."""
    selection = adaptation.selection
    portion = portion_at(number - 1, selection.portion, selection.portion_step, selection.portion_max)
    predictor = Predictor(network, flips=(False, True))
    predictions = TargetPredictions(predictor, domains.target, data.size, PREDICTION_BATCH)
    if adaptation.image_selection is not None:
        predictions = _best_scored(predictions, adaptation.image_selection.share)
    dataset, folder = predictions.dataset, directory.pseudo_labels / f"round_{number}"
    prior = prior_of(domains, adaptation, directory, data.size)
    select_one = _selection_of(adaptation, prior)
    labelled = label_images(predictions, folder, selector_of(adaptation), portion, selection.stride, prior, select_one)
    console.print(f"  kept {labelled.kept_share:.1%} of the target's pixels (portion {portion:.2f} of each class)")
    return Labelled(
        dataset=dataset.with_label_folder(folder),
        thresholds=labelled.thresholds.values,
        rare_classes=_rare_classes(labelled.thresholds.counts, adaptation.mining if data.mined_crops else None),
        figures={"round": number, "portion": portion, "images": len(dataset), **labelled.as_json()},
    )


def selector_of(adaptation: SelfTraining) -> str:
    """The name by which `training/pseudo_labels` knows the method's selector."""
    if adaptation.lrent is not None:
        return "lrent"
    base = "st" if adaptation.selection.kind == "global" else "cbst"
    return f"{base}_sp" if adaptation.selection.spatial_prior is not None else base


def _selection_of(adaptation: SelfTraining, prior: np.ndarray | None):
    if adaptation.lrent is not None:
        return lambda probs, thresholds: lrent_select(probs, thresholds, adaptation.lrent.alpha)[0]
    return lambda probs, thresholds: select(probs, thresholds, prior)


def _best_scored(predictions: TargetPredictions, share: float) -> TargetPredictions:
    """The same on the images whose predictions have the best class-balanced score."""
    scores = [class_balanced_score(probs) for batch in predictions.batches() for probs in batch]
    chosen = best_images(scores, share)
    console.print(f"  {len(chosen)} of {len(scores)} target images have the best class-balanced score")
    dataset = predictions.dataset.subset(chosen)
    return TargetPredictions(predictions.predictor, dataset, predictions.size, predictions.batch_size)


def _rare_classes(counts: np.ndarray, settings: RareClassMining | None) -> tuple[int, ...]:
    """Classes below the threshold share, and the rarest few whatever their share; absent ones cannot be mined."""
    if settings is None:
        return ()
    rare = {*priority_classes(counts, settings.threshold).tolist(), *rare_classes(counts, settings.classes).tolist()}
    return tuple(sorted(rare & set(np.flatnonzero(counts).tolist())))


def soft_labeller(network: keras.Model, adaptation: SelfTraining, labelled: Labelled) -> SoftLabeller | None:
    """LRENT's soft labels come from a copy of the network as it labelled; other methods need none."""
    if adaptation.lrent is None:
        return None
    copy = keras.models.clone_model(network)
    copy.set_weights(network.get_weights())
    copy.trainable = False
    return SoftLabeller(copy, labelled.thresholds, adaptation.lrent.alpha)


def source_part(count: int, adaptation: SelfTraining, data: Data, number: int) -> np.ndarray:
    """Indices of the source images of round `number` among `count`."""
    share = adaptation.source_share
    part = portion_at(number - 1, share.share, share.step, share.maximum)
    least = min(max(data.minimum_source_images, 1), count)
    return source_subset(count, max(part, min((least + 0.5) / count, 1.0)), number - 1, share.policy)


def round_streams(
    domains: Domains, adaptation: SelfTraining, data: Data, stage: Stage, labelled: Labelled, number: int, seed: int
) -> Callable[[int], tf.data.Dataset]:
    """`make_stream(first_step)`: batches with a source and a target part, a function of seed, round and step alone."""
    mine = adaptation.mining.probability if labelled.rare_classes else 0.0
    augmentation = augmentation_of(stage, data, mine, labelled.rare_classes)
    source_indices = source_part(len(domains.source), adaptation, data, number)

    def make_stream(first_step: int) -> tf.data.Dataset:
        common = (data.size, augmentation, stage.batch_size, stage.steps)
        source = training_stream(
            domains.source, *common, seed=1000 * seed + 2 * number, start_step=first_step, indices=source_indices
        )
        target = training_stream(labelled.dataset, *common, seed=1000 * seed + 2 * number + 1, start_step=first_step)
        return tf.data.Dataset.zip({"source": source, "target": target})

    return make_stream
