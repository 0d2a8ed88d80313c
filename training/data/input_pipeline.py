"""tf.data streams: frames are decoded (once, if they fit in memory), augmented, batched and fetched ahead.

Batch k of a training stream depends on the seed and k alone, whatever the parallelism and wherever the stream starts.
"""

import os
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from training.data.augment import Augmentation, change_appearance, change_geometry, check_augmentation, draw
from training.data.copy_paste import CopyPaste
from training.data.images import image_size, resize_image, resize_label
from training.data.samples import Dataset
from training.data.sampling import checked_indices, sample_order
from training.data.strong_augment import draw_strong, strong_view
from training.distribution.shares import ALONE, Share
from training.errors import UserError

__all__ = ["Augmentation", "EvaluationStream", "evaluation_stream", "raise_unreadable", "training_stream"]

CACHE_BYTES = 600_000_000
"""Decoded frames are kept in memory up to this size."""

DAMAGED = -1  # in the place of a sample's index: its file could not be read, and the stream ends before it
_unreadable: list[UserError] = []  # what ended streams of this process and was not raised yet


def training_stream(
    dataset: Dataset,
    size: tuple[int, int],
    augmentation: Augmentation,
    batch_size: int,
    steps: int,
    seed: int,
    start_step: int = 0,
    indices: np.ndarray | None = None,
    cache: bool | None = None,
    paste: CopyPaste | None = None,
    strong: float = 0.0,
    weak: bool = False,
    share: Share = ALONE,
) -> tf.data.Dataset:
    """Augmented batches start_step .. steps-1 of a training stage.

    Args:
        dataset: samples without label get one that is all IGNORE.
        size: (height, width) the whole image is first brought to, before random scale and crop.
        indices: the samples to draw from, None = all.
        cache: decode the frames that occur once and keep them; None = if they take less than CACHE_BYTES.
        paste: puts pixels of other images into a frame before everything else.
        strong: change the appearance by HIAST's strong augmentation, not by the photometry of `augmentation`; the
            share of the changed image in what is seen, 1 as published, 0 = off.
        weak: give the view without any change of appearance too; it shares geometry and label with the image.
        share: of the global batches of `batch_size`, give this process' rows, one batch a replica after the other.

    Returns:
        `steps - start_step` batches (times the replicas of the share) {"image": float32 [b, *crop, 3] in [0, 255],
        "label": uint8 [b, *crop], "index": int32 [b], "weak": like image, if asked for}. Resuming at start_step gives
        the tail of the stream.

    Raises:
        UserError: impossible crop, nothing to train on; a damaged file when cached. Otherwise the stream ends before
            a damaged file, and `raise_unreadable` raises the sentence: to be called after every batch and at the end.
    """
    check_augmentation(augmentation, size)
    chosen = checked_indices(indices, len(dataset))
    rows = share.rows(batch_size)
    positions = np.add.outer(np.arange(start_step, steps) * batch_size, rows).ravel()
    order = chosen[sample_order(len(chosen), start_step * batch_size, steps * batch_size, seed)]
    order = order.reshape(-1, batch_size)[:, rows].ravel()
    used = np.unique(order) if paste is None else np.arange(len(dataset))  # a short stage needs fewer frames
    fits = len(used) * size[0] * size[1] * 4 < CACHE_BYTES
    decoded = _decode_all(dataset, used, size) if (fits if cache is None else cache) else None
    load = _frame_loader(dataset, size, decoded)

    def frame_at(index: int, position: int) -> np.ndarray:
        return load(index) if paste is None else paste(index, position, load(index), load)

    @tf.autograph.experimental.do_not_convert
    def view(index: tf.Tensor, position: tf.Tensor) -> dict[str, tf.Tensor]:
        frame, index = _numpy_frame(frame_at, (*size, 4), index, position)
        draws = draw(seed, position)
        seen, label = change_geometry(frame[..., :3], frame[..., 3], draws, augmentation)
        if strong:
            image = seen + strong * (strong_view(seen, draw_strong(seed, position)) - seen)
        else:
            image = change_appearance(seen, draws, augmentation)
        views = {"image": image, **({"weak": seen} if weak else {})}
        return {**views, "label": label, "index": tf.cast(index, tf.int32)}

    stream = tf.data.Dataset.from_tensor_slices((order, positions))
    stream = stream.map(view, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True).take_while(_is_sound)
    stream = stream.batch(share.replica_batch(batch_size), drop_remainder=True).prefetch(2)
    stream.decoded_frames = decoded  # lives as long as the stream and whatever is derived from it
    return stream


@dataclass(frozen=True, eq=False)
class EvaluationStream:
    """The batches of a stream; a damaged file met on the way is raised as the UserError that names it."""

    batches: tf.data.Dataset

    def __iter__(self) -> Iterator[dict[str, tf.Tensor]]:
        for batch in self.batches:
            raise_unreadable()  # the last batch before a damaged file is short
            yield batch
        raise_unreadable()


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
    return EvaluationStream(stream.take_while(_is_sound).batch(batch_size).prefetch(2))


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
    """All chosen frames; decoders release the interpreter lock, so threads help."""
    pixels = np.empty((len(chosen), *size, 4), np.uint8)
    slots = np.full(len(dataset), -1)
    slots[chosen] = np.arange(len(chosen))

    def load(slot: int) -> None:
        pixels[slot] = load_frame(dataset, int(chosen[slot]), size)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(load, range(len(chosen))))
    return _DecodedFrames(pixels, slots)


def _frame_loader(
    dataset: Dataset, size: tuple[int, int], decoded: _DecodedFrames | None
) -> Callable[[int], np.ndarray]:
    """A function sample index -> frame uint8 [h, w, 4], from memory or from disk.

    TensorFlow keeps Python functions of a data set for ever, so this one must not own the frames; the stream does.
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
