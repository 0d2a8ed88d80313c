"""The labels of a round: from the network's predictions on the target to pseudo-label files and their figures."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from training.data.domains import Domains, source_labels
from training.data.mining import priority_classes, rare_classes
from training.data.samples import Dataset
from training.distribution.devices import share_of_this_process
from training.distribution.workers import on_chief, sum_over_workers
from training.files.atomic import whole_file
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
    Data,
    GlobalThreshold,
    InstanceAdaptive,
    LabelEntropy,
    RareClassMining,
    Rounds,
)


@dataclass(frozen=True)
class Labelled:
    """What labelling left for training: the pseudo-labelled images, thresholds `[classes]`, classes worth mining."""

    dataset: Dataset
    thresholds: np.ndarray
    rare_classes: tuple[int, ...]
    figures: dict
    found: LabelledImages


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
