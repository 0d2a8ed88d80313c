"""From a network and a folder of target images to pseudo-label files: predict, find thresholds, select, write.

Predictions are kept as float16 log-probabilities on the network's coarse grid up to a memory cap, those of every n-th
batch where they do not all fit; the others are predicted twice, for the thresholds and for the labels. No map of all
classes is made at full size. Nothing is written but 8-bit labels and a manifest.

Several workers predict and label every n-th batch each, in the batches of one device, and add up their counts: labels
and manifest are the same to the byte.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from training.data.classes import IGNORE
from training.data.datasets import Dataset, image_folder
from training.data.images import image_size
from training.data.input_pipeline import evaluation_stream
from training.distribution.devices import share_of_this_process
from training.distribution.shares import ALONE, Share
from training.distribution.threads import in_order
from training.distribution.workers import on_chief, sum_over_workers
from training.prediction.label_files import label_manifest, write_label_png, write_manifest
from training.prediction.predictor import Predictor
from training.probability_maps.enlarging import Enlarged
from training.progress import Meter, console
from training.pseudo_labels.instance_adaptive import InstanceAdaptiveSelector, in_batches
from training.pseudo_labels.thresholds import Thresholds, Workers, thresholds_from_batches

PREDICTION_BATCH = 8

CACHE_BYTES = 1 << 30


class TargetPredictions:
    """Class probabilities of every image of a data set, as often as they are asked for.

    Args:
        predictor: gives coarse probabilities.
        dataset: images, in the order of the results.
        size: (height, width) the images are brought to; the probabilities come at the same size.
        batch_size: images predicted at once.
        cache_bytes: at most this much is kept in memory between passes, but always one batch.
        share: the images that `maps` gives are this share's, `mine`.
    """

    def __init__(
        self,
        predictor: Predictor,
        dataset: Dataset,
        size,
        batch_size: int,
        cache_bytes: int = CACHE_BYTES,
        share: Share = ALONE,
    ):
        self.predictor, self.dataset, self.size, self.batch_size = predictor, dataset, tuple(size), batch_size
        self.mine = share.in_batches(len(dataset), batch_size)
        self._batches = [self.mine[start : start + batch_size] for start in range(0, len(self.mine), batch_size)]
        self._room = cache_bytes
        self._kept: dict[int, np.ndarray] = {}  # float16 log-probabilities of every `_step`-th batch
        self._step: int | None = None  # not known before the first prediction

    def maps(self) -> Iterator[Enlarged]:
        """Probabilities `[height, width, classes]` of the images `mine`, one after the other in that order."""
        yield from self._maps(range(len(self._batches)))

    def some_maps(self) -> Iterator[Enlarged]:
        """Those of the images that are kept in memory, spread evenly over all."""
        every = range(len(self._batches))
        if self._step is None:
            next(self._log_probs(every[:1]), None)
        yield from self._maps(every[:: self._step])

    def _maps(self, numbers: range) -> Iterator[Enlarged]:
        for log_probs in self._log_probs(numbers):
            probs = np.exp(log_probs.astype(np.float32))
            probs /= probs.sum(axis=-1, keepdims=True)  # float16 rounding moved the sum
            for coarse in probs:
                yield Enlarged(coarse, self.size)

    def _log_probs(self, numbers: range) -> Iterator[np.ndarray]:
        """float16 `[n, h, w, classes]` of some batches, from memory or predicted."""
        missing = [self._batches[number] for number in numbers if number not in self._kept]
        if not missing:
            yield from (self._kept[number] for number in numbers)
            return
        dataset = self.dataset.subset(np.concatenate(missing))
        stream = iter(evaluation_stream(dataset, self.size, self.batch_size))
        with Meter("predicting the target", len(dataset)) as meter:
            for number in numbers:
                if number in self._kept:
                    yield self._kept[number]
                    continue
                probs = self.predictor.coarse_probs(next(stream)["image"]).numpy()
                log_probs = np.log(np.maximum(probs, 1e-30)).astype(np.float16)
                self._keep(number, log_probs)
                yield log_probs
                meter.advance(len(log_probs))

    def _keep(self, number: int, log_probs: np.ndarray) -> None:
        if self._step is None:
            self._step = -(-len(self._batches) // max(1, self._room // log_probs.nbytes))
        if number % self._step == 0:
            self._kept[number] = log_probs


@dataclass(frozen=True)
class LabelledImages:
    """What labelling found.

    image_counts: int64 `[images, classes]`, kept pixels. mean_confidence: float64 `[classes]`, of the kept pixels, NaN
    where there are none. trajectory: float64 `[batches + 1, classes]`, thresholds that moved from batch to batch.
    """

    thresholds: Thresholds
    image_counts: np.ndarray
    mean_confidence: np.ndarray
    class_names: tuple[str, ...]
    trajectory: np.ndarray | None = None

    @property
    def kept(self) -> np.ndarray:
        return self.image_counts.sum(axis=0)

    @property
    def kept_share(self) -> float:
        return float(self.kept.sum() / max(self.thresholds.counts.sum(), 1))

    def as_json(self) -> dict:
        shares = self.kept / np.maximum(self.thresholds.counts, 1)
        values = [float(value) if np.isfinite(value) else None for value in self.thresholds.values]
        return {
            "kept_share": self.kept_share,
            "kept_share_per_class": dict(zip(self.class_names, shares.tolist(), strict=True)),
            "thresholds": dict(zip(self.class_names, values, strict=True)),
            "pixels": dict(zip(self.class_names, self.thresholds.counts.tolist(), strict=True)),
            **({} if self.trajectory is None else {"threshold_trajectory": self.trajectory.tolist()}),
        }


def label_images(
    predictions: TargetPredictions,
    folder: Path,
    selector: str,
    portion: float,
    stride: int,
    prior: np.ndarray | None,
    select_one: Callable[[Enlarged, Thresholds], np.ndarray],
) -> LabelledImages:
    """Find the thresholds over all images, then write one label PNG an image and the manifest into `folder`.

    Args:
        selector: "st", "cbst", "st_sp", "cbst_sp" or "lrent".
        prior: `[height, width, classes]` for the selectors that weight by one.
        select_one: `(probs [h, w, c], thresholds) -> label [h, w]`; several are called at once.
    """
    dataset, class_names = predictions.dataset, predictions.dataset.label_space.names
    classes = len(class_names)
    workers = Workers(sum_over_workers, classes) if share_of_this_process().processes > 1 else None
    thresholds = thresholds_from_batches(
        predictions.maps, selector, portion, stride, prior, workers=workers, some_batches=predictions.some_maps
    )
    folder.mkdir(parents=True, exist_ok=True)
    counts, sums = np.zeros((len(dataset), classes), np.int64), np.zeros((len(dataset), classes))

    def write(index: int, probs: Enlarged) -> None:
        label = select_one(probs, thresholds)
        pixels = np.flatnonzero(label != IGNORE)
        kept = label.reshape(-1)[pixels]
        counts[index] = np.bincount(kept, minlength=classes)
        sums[index] = np.bincount(kept, weights=probs.at(pixels, kept), minlength=classes)
        write_label_png(folder / f"{dataset.samples[index].name}.png", label)

    for _ in in_order(write, zip(predictions.mine, predictions.maps(), strict=True)):
        pass
    counts, sums = sum_over_workers(counts), sum_over_workers(sums)  # a row is one worker's: the sums are exact
    names, kept = [sample.name for sample in dataset.samples], counts.sum(axis=0)
    on_chief(lambda: write_manifest(folder, label_manifest(thresholds, kept, names, dataset.name, class_names)))
    means = np.where(kept > 0, sums.sum(axis=0) / np.maximum(kept, 1), np.nan)
    return LabelledImages(thresholds, counts, means, class_names)


def label_images_in_order(
    predictions: TargetPredictions, folder: Path, selector: InstanceAdaptiveSelector, batch_size: int
) -> LabelledImages:
    """Label the images one batch after the other with thresholds that follow them, into PNGs and the manifest.

    There is one order, that of the data set: `predictions` must hold all images, and one process does it for all.
    """
    dataset = predictions.dataset
    folder.mkdir(parents=True, exist_ok=True)
    samples = iter(dataset.samples)
    for maps in in_batches(predictions.maps(), batch_size):
        for label in selector.label_batch(maps):
            write_label_png(folder / f"{next(samples).name}.png", label)
    thresholds, class_names = selector.thresholds(), dataset.label_space.names
    names = [sample.name for sample in dataset.samples]
    entries = {"batch_size": batch_size, **selector.manifest_entries()}
    write_manifest(folder, label_manifest(thresholds, selector.kept, names, dataset.name, class_names, **entries))
    return LabelledImages(thresholds, selector.image_counts, selector.mean_confidence, class_names, selector.trajectory)


def probabilities_of_folder(run: Path, images: Path, results: Path | None = None):
    """Predictions of a finished run on a folder of images, each at its own size (`training/label.py`).

    `results`: the folder of the labels, which holds no images.

    Returns:
        `(names, make_batches, label_space)`: sample names; a function that yields float32 `[h, w, classes]`, one image
        at a time, afresh on each call; the label space of the run.
    """
    from training.prediction.trained_model import load_trained

    trained = load_trained(run)
    dataset = image_folder(images, trained.label_space, results)
    console.print(f"{len(dataset)} photos in {images}")
    dataset = dataset.with_sixteen_bit_range(trained.sixteen_bit_range)
    predictor = Predictor(trained.network, flips=(False, True))

    def make_batches() -> Iterator[Enlarged]:
        with Meter("predicting", len(dataset)) as meter:
            for batch in evaluation_stream(dataset, trained.experiment.data.size, 1):
                own_size = image_size(dataset.samples[int(batch["index"][0])].image)
                yield Enlarged(predictor.coarse_probs(batch["image"]).numpy()[0], own_size)
                meter.advance()

    return [sample.name for sample in dataset.samples], make_batches, trained.label_space
