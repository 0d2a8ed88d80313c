"""tf.data streams: frames are decoded (once, if they fit in memory), changed, augmented, batched and prefetched.

Batch k of a training stream depends on the seed and k alone, whatever the parallelism and wherever the stream starts.
"""

import os
import weakref
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from training.data.augment import (
    SampleAugmentation,
    apply_window,
    change_appearance,
    check_augmentation,
    draw,
    window_showing,
)
from training.data.frame_changes import FrameChange, changed
from training.data.images import image_size, resize_image, resize_label
from training.data.samples import Dataset
from training.data.sampling import Permutation, SampleOrder
from training.data.strong_augment import draw_strong, strong_view
from training.distribution.shares import ALONE, Share
from training.errors import UserError
from training.progress import PATIENCE, Meter, tracked

__all__ = [
    "EvaluationStream",
    "SampleAugmentation",
    "TrainingStream",
    "Views",
    "evaluation_stream",
    "raise_unreadable",
    "side_by_side",
]

CACHE_BYTES = 600_000_000
"""Decoded frames are kept in memory up to this size."""

DAMAGED = -1  # in the place of a sample's index: its file could not be read, and the stream ends before it
_unreadable: list[UserError] = []  # what ended streams of this process and was not raised yet


@dataclass(frozen=True)
class Views:
    """What a training stream shows of each sample.

    Attributes:
        strong: change the appearance by HIAST's strong augmentation, not by the photometry of the augmentation; the
            share of the changed image in what is seen, 1 as published, 0 = off.
        weak: give the view without any change of appearance too; it shares geometry and label with the image.
    """

    strong: float = 0.0
    weak: bool = False


@dataclass(frozen=True, eq=False)
class TrainingStream:
    """The augmented batches of one domain in one training stage, as a value; `batches` makes them.

    Attributes:
        dataset: samples without label get one that is all IGNORE.
        size: (height, width) the whole image is first brought to, before random scale and crop.
        augmentation: the random changes of each sample.
        batch_size: samples per global batch.
        steps: batches of the whole stage.
        seed: any integer >= 0; two streams of one stage have different ones.
        order: which sample stands at each position; None = every epoch a fresh permutation of all samples.
        changes: made one after the other to each frame, before its augmentation.
        views: what is shown of each sample.
        cache: decode the frames that occur once and keep them; None = if they take less than CACHE_BYTES.

    Raises:
        UserError: impossible crop, nothing to train on.
        IndexError: an order that was not made for this data set.
    """

    dataset: Dataset
    size: tuple[int, int]
    augmentation: SampleAugmentation
    batch_size: int
    steps: int
    seed: int
    order: SampleOrder | None = None
    changes: Sequence[FrameChange] = ()
    views: Views = Views()
    cache: bool | None = None

    def __post_init__(self) -> None:
        check_augmentation(self.augmentation, self.size)
        if self.order is None:
            object.__setattr__(self, "order", Permutation.of_all(len(self.dataset)))
        self.order.check(len(self.dataset))

    def frame(self, position: int) -> np.ndarray:
        """The frame at a position, before its augmentation: uint8 [h, w, 4], RGB and the label in channel 3.

        Raises:
            UserError: a damaged file.
        """
        index = int(self.order.indices(position, position + 1, self.seed)[0])
        return changed(self.changes, index, position, lambda other: load_frame(self.dataset, other, self.size))

    def batches(self, first_step: int = 0, share: Share = ALONE) -> tf.data.Dataset:
        """Batches first_step .. steps-1; resuming at first_step gives the tail of the whole stream.

        Args:
            share: of the global batches, give this process' rows, one batch per replica after the other.

        Returns:
            `steps - first_step` batches (times the replicas of the share) of
            {"image": float32 [b, *crop, 3] in [0, 255], "label": uint8 [b, *crop], "weak": like image, if asked for,
            "index": int32 [b], the samples, "position": int64 [b], the rows' positions in the stage's stream,
            "wanted": int32 [b], the class that the order drew the sample for, negative if none}.

        Raises:
            UserError: a damaged file, at once when cached; otherwise the stream ends before it, and `raise_unreadable`
                raises the error.
        """
        # 1. Which sample, drawn for which class, stands at each position of this share.
        rows = share.rows(self.batch_size)
        first, last = first_step * self.batch_size, self.steps * self.batch_size
        positions, indices, wanted = (
            of_all.reshape(-1, self.batch_size)[:, rows].ravel()
            for of_all in (
                np.arange(first, last),
                self.order.indices(first, last, self.seed),
                self.order.classes(first, last, self.seed).astype(np.int32),
            )
        )
        # 2. Decode ahead the frames that will be needed, if they fit: a short stage needs fewer than all.
        needs_all = any(change.needs_other_frames for change in self.changes)
        used = np.arange(len(self.dataset)) if needs_all else np.unique(indices)
        fits = len(used) * self.size[0] * self.size[1] * 4 < CACHE_BYTES
        cached = fits if self.cache is None else self.cache
        decoded = _decode_all(self.dataset, used, self.size) if cached else None
        # 3. Make the views of each sample, then batches of them.
        view = self._view(_frame_loader(self.dataset, self.size, decoded))
        stream = tf.data.Dataset.from_tensor_slices((indices, positions, wanted))
        stream = stream.map(view, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True).take_while(_is_sound)
        stream = stream.batch(share.replica_batch(self.batch_size), drop_remainder=True).prefetch(2)
        stream.decoded_frames = decoded  # lives as long as the stream and whatever is derived from it
        return stream

    def _view(self, load: Callable[[int], np.ndarray]) -> Callable[..., dict[str, tf.Tensor]]:
        """`view(index, position, wanted) -> row of a batch`, to be traced by tf.data."""

        def frame_at(index: int, position: int) -> np.ndarray:
            return changed(self.changes, index, position, load)

        @tf.autograph.experimental.do_not_convert
        def view(index: tf.Tensor, position: tf.Tensor, wanted: tf.Tensor) -> dict[str, tf.Tensor]:
            frame, index = _numpy_frame(frame_at, (*self.size, 4), index, position)
            window = window_showing(frame[..., 3], wanted, self.seed, position, self.augmentation)
            seen, label = apply_window(frame[..., :3], frame[..., 3], window, self.augmentation.crop)
            views = {"image": self._appearance(seen, position), **({"weak": seen} if self.views.weak else {})}
            numbers = {"index": tf.cast(index, tf.int32), "position": position, "wanted": wanted}
            return {**views, "label": label, **numbers}

        return view

    def _appearance(self, seen: tf.Tensor, position: tf.Tensor) -> tf.Tensor:
        """The image with its colours changed: float32 [*crop, 3] -> the same."""
        if not self.views.strong:
            return change_appearance(seen, draw(self.seed, position), self.augmentation)
        return seen + self.views.strong * (strong_view(seen, draw_strong(self.seed, position)) - seen)


def side_by_side(**streams: TrainingStream) -> Callable[[int, Share], tf.data.Dataset]:
    """`make_stream(first_step, share)`: batches {name: batch of that stream}, one per step, as stages take them."""

    def make_stream(first_step: int = 0, share: Share = ALONE) -> tf.data.Dataset:
        return tf.data.Dataset.zip({name: stream.batches(first_step, share) for name, stream in streams.items()})

    return make_stream


@dataclass(frozen=True, eq=False)
class EvaluationStream:
    """The batches of so many images; a damaged file met on the way is raised as the UserError that names it."""

    batches: tf.data.Dataset
    images: int

    def __iter__(self) -> Iterator[dict[str, tf.Tensor]]:
        for batch in self.batches:
            raise_unreadable()  # the last batch before a damaged file is short
            yield batch
        raise_unreadable()

    def shown(self, title: str) -> Iterator[dict[str, tf.Tensor]]:
        """The batches; with a progress bar, if it takes long."""
        return tracked(self, title, self.images, lambda batch: len(batch["index"]), PATIENCE)


def evaluation_stream(dataset: Dataset, size: tuple[int, int] | None, batch_size: int) -> EvaluationStream:
    """All images in order, not augmented.

    Args:
        size: (height, width) to resize to (area average when shrinking, bilinear when enlarging); None keeps every
            image as it is, one at a time when the sizes differ.

    Returns:
        batches {"image": float32 [b, h, w, 3] in [0, 255], "index": int32 [b]}; the last may be smaller. Iterating
        raises UserError at a damaged file.
    """

    def load(index: int) -> np.ndarray:
        image = dataset.read_image(index)
        return image if size is None else resize_image(image, size)

    @tf.autograph.experimental.do_not_convert
    def frame(index: tf.Tensor) -> dict[str, tf.Tensor]:
        image, index = _numpy_frame(load, (*(size or (None, None)), 3), index)
        return {"image": tf.cast(image, tf.float32), "index": tf.cast(index, tf.int32)}

    if size is None and len({image_size(sample.image) for sample in dataset.samples}) > 1:
        batch_size = 1
    stream = tf.data.Dataset.range(len(dataset)).map(frame, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    return EvaluationStream(stream.take_while(_is_sound).batch(batch_size).prefetch(2), len(dataset))


def load_frame(dataset: Dataset, index: int, size: tuple[int, int]) -> np.ndarray:
    """Image and label of one sample at `size`, as uint8 [h, w, 4] with the label in channel 3."""
    image, label = dataset.read_pair(index)
    return np.dstack([resize_image(image, size), resize_label(label, size)])


@dataclass(eq=False)
class _DecodedFrames:
    """Frames of some samples in memory: `pixels` uint8 [n, h, w, 4]; `slots[index]` is the place of a sample."""

    pixels: np.ndarray
    slots: np.ndarray


def _decode_all(dataset: Dataset, chosen: np.ndarray, size: tuple[int, int]) -> _DecodedFrames:
    """All chosen frames; decoders release the interpreter lock, so threads help. A progress bar, if it takes long."""
    pixels = np.empty((len(chosen), *size, 4), np.uint8)
    slots = np.full(len(dataset), -1)
    slots[chosen] = np.arange(len(chosen))

    def load(slot: int) -> None:
        pixels[slot] = load_frame(dataset, int(chosen[slot]), size)

    title = f"decoding {dataset.name}"
    with ThreadPoolExecutor(os.cpu_count()) as pool, Meter(title, len(chosen), patience=PATIENCE) as meter:
        for _ in pool.map(load, range(len(chosen))):
            meter.advance()
    return _DecodedFrames(pixels, slots)


def _frame_loader(
    dataset: Dataset, size: tuple[int, int], decoded: _DecodedFrames | None
) -> Callable[[int], np.ndarray]:
    """A function sample index -> frame uint8 [h, w, 4], from memory or from disk.

    TensorFlow never frees the Python functions of a data set, so this one must not own the frames; the stream does.
    (As a captured tensor they would be copied by every iterator.)
    """
    kept = None if decoded is None else weakref.ref(decoded)

    def load(index: int) -> np.ndarray:
        frames = None if kept is None else kept()
        return load_frame(dataset, index, size) if frames is None else frames.pixels[frames.slots[index]]

    return load


def _numpy_frame(
    load: Callable[..., np.ndarray], shape: tuple[int | None, ...], index: tf.Tensor, *numbers: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """`(load(index, *numbers), index)` inside tf.data; of a damaged file `(zeros, DAMAGED)`.

    A Python error would reach the user as TensorFlow's log with a traceback, so its sentence is kept for
    `raise_unreadable`.
    """

    def guarded(*values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        try:
            return load(*(int(value) for value in values)), values[0]
        except UserError as error:
            _unreadable.append(error)
            return np.zeros([length or 1 for length in shape], np.uint8), np.full_like(values[0], DAMAGED)

    frame, index = tf.numpy_function(guarded, [index, *numbers], (tf.uint8, index.dtype), stateful=False)
    return tf.ensure_shape(frame, shape), tf.ensure_shape(index, ())


@tf.autograph.experimental.do_not_convert
def _is_sound(row: dict[str, tf.Tensor]) -> tf.Tensor:
    return row["index"] != DAMAGED


def raise_unreadable() -> None:
    """Raise the UserError of a damaged file that has ended a stream of this process."""
    if _unreadable:
        error = _unreadable[0]
        _unreadable.clear()
        raise error
