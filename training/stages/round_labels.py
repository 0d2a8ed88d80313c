"""The labels of a round: from the network's predictions on the target to pseudo-label files and their figures."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from training.data.domains import Domains, source_labels
from training.data.mining import priority_classes, rare_classes
from training.data.samples import Dataset
from training.distribution.devices import share_of_this_process
from training.distribution.shares import ALONE
from training.distribution.workers import sum_over_workers, workers_of
from training.prediction.image_selection import best_images, class_balanced_score
from training.prediction.label_files import LabelFolder
from training.prediction.label_images import LabelledImages, label_images
from training.prediction.predictor import Predictor, images_at_once
from training.prediction.target_predictions import TargetPredictions
from training.probability_maps.map_files import load_prior
from training.progress import console
from training.pseudo_labels import build_selector, spatial_prior
from training.run_directory.kept_arrays import keep_once
from training.run_directory.paths import RunDirectory
from training.settings.data import Data
from training.settings.sampling import RareClassMining
from training.settings.stages import Rounds


@dataclass(frozen=True)
class RoundLabels:
    """What labelling left for training: the pseudo-labelled images, classes worth mining, figures, counts."""

    dataset: Dataset
    rare_classes: tuple[int, ...]
    figures: dict
    found: LabelledImages


def prior_of(domains: Domains, adaptation: Rounds, directory: RunDirectory, size) -> np.ndarray | None:
    """The source's spatial prior `[h, w, classes]` at `size`, counted once per run; None if the method uses none."""
    settings = getattr(adaptation.selector, "spatial_prior", None)
    if settings is None:
        return None

    def counted() -> np.ndarray:
        labels = source_labels(domains.source, settings.images)
        return spatial_prior(labels, domains.label_space.count, size, kernel=settings.kernel)

    keep_once(directory.spatial_prior, counted)
    return load_prior(directory.spatial_prior, domains.label_space.count, height_first=True)


def label_round(
    predictor: Predictor, domains: Domains, adaptation: Rounds, data: Data, directory: RunDirectory, number: int
) -> RoundLabels:
    """Label the target with what `predictor` says into `pseudo_labels/round_N/`."""
    dataset, folder = domains.target, directory.pseudo_labels / f"round_{number}"
    if adaptation.image_selection is not None:
        first = _predictions(predictor, dataset, data, adaptation.label_scales)
        dataset = _best_scored(first, adaptation.image_selection.share)
    prior = prior_of(domains, adaptation, directory, data.size)
    selector = build_selector(adaptation.selector, number, prior)
    predictions = _predictions(predictor, dataset, data, adaptation.label_scales, whole=selector.ordered)
    found = label_images(predictions, selector, LabelFolder(folder), workers_of(domains.label_space.count))
    console.print(f"  kept {found.kept_share:.1%} of the target's pixels ({found.fitted.describe(found.class_names)})")
    return RoundLabels(
        dataset=dataset.with_label_folder(folder),
        rare_classes=_rare_classes(found.pixels, adaptation.mining if data.mined_crops else None),
        found=found,
        figures={"round": number, **found.figures()},
    )


def _predictions(
    predictor: Predictor, dataset: Dataset, data: Data, scales: Sequence[float], whole: bool = False
) -> TargetPredictions:
    """Of the whole data set, or of this worker's share of the images; fewer at once where the scales enlarge them."""
    share = ALONE if whole else share_of_this_process()
    height, width = (round(max(1.0, *scales) * side) for side in predictor.image_size or data.size)
    return TargetPredictions(predictor, dataset, data.size, images_at_once((height, width)), share=share)


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
