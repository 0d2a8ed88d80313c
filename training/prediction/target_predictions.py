"""Class probabilities of the target's images, as often as they are asked for: what `label_images` is given in training.

Predictions are kept as float16 log-probabilities on the network's coarse grid up to a memory cap, those of every n-th
batch where they do not all fit; the others are predicted twice, for the thresholds and for the labels. No map of all
classes is made at full size.

Several workers predict every n-th batch each, in the batches of one device.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from training.data.datasets import Dataset, image_folder
from training.data.images import image_size
from training.data.input_pipeline import evaluation_stream
from training.distribution.memory import out_of_memory_predicting, out_of_memory_said
from training.distribution.shares import ALONE, Share
from training.prediction.label_images import Predictions
from training.prediction.predictor import Predictor, images_at_once
from training.probability_maps.enlarging import Enlarged
from training.progress import Meter, console

CACHE_BYTES = 1 << 30


class TargetPredictions(Predictions):
    """Class probabilities of every image of a data set; call it for the maps of the images `mine`, in that order.

    Args:
        predictor: gives coarse probabilities.
        dataset: images, in the order of the results.
        size: (height, width) of the probabilities, and of the images where the predictor's `image_size` is None.
        batch_size: images predicted at once; None = `images_at_once` of this size.
        cache_bytes: at most this much is kept in memory between passes, but always one batch.
        share: the images that it gives are this share's, `mine`.
    """

    def __init__(
        self,
        predictor: Predictor,
        dataset: Dataset,
        size,
        batch_size: int | None = None,
        cache_bytes: int = CACHE_BYTES,
        share: Share = ALONE,
    ):
        self.predictor, self.dataset, self.size = predictor, dataset, tuple(size)
        self._image_size = predictor.image_size or self.size
        self.batch_size = batch_size = batch_size or images_at_once(self._image_size)
        self.names, self.source = tuple(sample.name for sample in dataset.samples), dataset.name
        self.class_names = dataset.label_space.names
        self.classes = len(self.class_names)
        self.mine = share.in_batches(len(dataset), batch_size)
        self._batches = [self.mine[start : start + batch_size] for start in range(0, len(self.mine), batch_size)]
        self._room = cache_bytes
        self._kept: dict[int, np.ndarray] = {}  # float16 log-probabilities of every `_step`-th batch
        self._step: int | None = None  # not known before the first prediction

    def __call__(self) -> Iterator[Enlarged]:
        """Probabilities `[height, width, classes]` of the images `mine`, one after the other in that order."""
        yield from self._maps(range(len(self._batches)))

    def some(self) -> Iterator[Enlarged]:
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
        stream = iter(evaluation_stream(dataset, self._image_size, self.batch_size))
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


class RunPredictions(Predictions):
    """Predictions of a finished run on a folder of images, each at its own size (`training/label.py`).

    They are kept, as they are, as long as they fit into memory; the others are predicted again at each pass.

    Args:
        results: the folder of the labels, which holds no images. stage: whose weights, see `load_trained`.
        cache_bytes: at most this much is kept.

    Raises:
        UserError: no finished run or stage, or no images.
    """

    def __init__(
        self,
        run: Path,
        images: Path,
        results: Path | None = None,
        stage: str = "final",
        cache_bytes: int = CACHE_BYTES,
    ):
        from training.prediction.trained_model import load_trained

        trained = load_trained(run, stage)
        dataset = image_folder(images, trained.label_space, results)
        console.print(f"{len(dataset)} photos in {images}")
        self._dataset = dataset.with_sixteen_bit_range(trained.sixteen_bit_range)
        self._size = trained.experiment.data.size
        self._predictor = Predictor(trained.network, flips=(False, True))
        self.names, self.source = tuple(sample.name for sample in self._dataset.samples), str(images)
        self.class_names, self.classes = trained.label_space.names, trained.label_space.count
        self.mine = range(len(self.names))
        self._room = cache_bytes
        self._kept: list[tuple[np.ndarray, tuple[int, int]]] = []  # of the first images: probabilities, their own size

    def __call__(self) -> Iterator[Enlarged]:
        # What is kept, in whole batches: each pass predicts the same images together, and so rounds alike.
        at_once, first = images_at_once(self._size), len(self._kept)
        if first < len(self._dataset):
            first -= first % at_once
        for probs, own_size in tuple(self._kept[:first]):
            yield Enlarged(probs, own_size)
        if first == len(self._dataset):
            return
        missing = self._dataset.subset(range(first, len(self._dataset)))
        with Meter("predicting", len(missing)) as meter:
            for batch in evaluation_stream(missing, self._size, at_once):
                with out_of_memory_said(lambda: out_of_memory_predicting(at_once, self._size)):
                    predicted = self._predictor.coarse_probs(batch["image"]).numpy()
                for probs, index in zip(predicted, batch["index"].numpy(), strict=True):
                    own_size = image_size(missing.samples[index].image)
                    if len(self._kept) == first + index and probs.nbytes <= self._room:
                        self._kept.append((probs.copy(), own_size))  # not the whole batch
                        self._room -= probs.nbytes
                    yield Enlarged(probs, own_size)
                    meter.advance()
