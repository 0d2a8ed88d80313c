"""From logits to labels and confidence at the picture's size, made to be quick in ONNX Runtime.

What is written here becomes ONNX operators one by one: sizes and places are int64, as they are there, to need no casts.
"""

from typing import NamedTuple

import tensorflow as tf


def decide(logits: tf.Tensor, size: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Labels uint8 and confidence float32 `[b, *size]` from logits `[b, h, w, c]`; `size` is int64.

    Arg-max and maximum of `tf.image.resize(probabilities, size)`, without computing all of it. Between four cells that
    agree on the most probable class it stays the most probable, for probabilities are weighted means of the four. All
    classes have to be mixed only where cells differ: a tenth to a third of a street's pixels.
    """
    grid, classes = tf.shape(logits, tf.int64)[:3], logits.shape[-1]
    probs = tf.nn.softmax(tf.reshape(logits, (-1, classes)))  # one row per cell: with classes first, 10 times as slow
    best = tf.reshape(tf.cast(tf.argmax(probs, axis=-1), tf.uint8), grid)
    most = tf.reshape(tf.reduce_max(probs, axis=-1), grid)
    labels, confidence = enlarged(best, size, "nearest"), enlarged(most, size, "bilinear")

    down, across = between_cells(grid[1], size[0]), between_cells(grid[2], size[1])
    image, row, column = tf.unstack(where_corners_differ(best, down, across), axis=1)  # int64 [n] each

    def of_each(by_row, by_column):
        by_row, by_column = on_one_grid(by_row, by_column)
        return tf.gather(by_row, row), tf.gather(by_column, column)

    def places(by_row, by_column, height, width):
        """Of each space, int64 `[n, r, k, 1, 1]`, counted over the maps of all images."""
        by_row, by_column = of_each(by_row * width, by_column)  # multiplied in the table: int64 products are slow
        return by_row + by_column + tf.reshape(image * (height * width), (-1, 1, 1, 1, 1))

    cell = places(neighbours(down.cells), neighbours(across.cells), grid[1], grid[2])
    corners = tf.gather(probs, tf.reshape(cell, (-1, 4)))  # [n, 4, c]
    weight_row, weight_column = of_each(down.weights, across.weights)  # [n, rows, columns, 2, 2]
    pixels = tf.size(down.pixels[0], tf.int64) * tf.size(across.pixels[0], tf.int64)  # of a space
    mixed = tf.matmul(tf.reshape(weight_row * weight_column, (-1, pixels, 4)), corners)
    mixed = tf.reshape(mixed, (-1, classes))

    pixel = tf.reshape(places(down.pixels, across.pixels, size[0], size[1]), (-1, 1))
    labels = overwritten(labels, pixel, tf.cast(tf.argmax(mixed, axis=-1), tf.uint8))
    return labels, overwritten(confidence, pixel, tf.reduce_max(mixed, axis=-1))


def enlarged(maps: tf.Tensor, size: tf.Tensor, method: str) -> tf.Tensor:
    """`tf.image.resize` of `[b, h, w]`, with the batch as channels, which ONNX wants first: nothing is transposed."""
    maps = tf.expand_dims(tf.transpose(maps, (1, 2, 0)), 0)
    return tf.transpose(tf.squeeze(tf.image.resize(maps, tf.cast(size, tf.int32), method), axis=0), (2, 0, 1))


class Between(NamedTuple):
    """The spaces between `n` cells along one axis, one before the first and one behind the last: `n + 1` in all.

    cells: int64 `[n + 2]`: space i lies between cells i and i + 1 of these (the outer ones come twice).
    pixels: int64 `[n + 1, most, 1]`, those whose centre lies in a space, the last one again where others have more.
    weights: float32 `[n + 1, most, 2]`: of the two cells, for each of these pixels.
    empty: bool `[n + 1]`, a space without a pixel.
    """

    cells: tf.Tensor
    pixels: tf.Tensor
    weights: tf.Tensor
    empty: tf.Tensor


def between_cells(old: tf.Tensor, new: tf.Tensor) -> Between:
    """Where `new` pixels lie among `old` cells; centres lie at halves, as in `tf.image.resize`."""
    scale = tf.cast(new, tf.float32) / tf.cast(old, tf.float32)
    before = tf.range(old + 2) - 1
    first = tf.math.ceil((tf.cast(before, tf.float32) + 0.5) * scale - 0.5)
    first = tf.expand_dims(tf.clip_by_value(tf.cast(first, tf.int64), 0, new), 1)
    start, stop = first[:-1], first[1:]
    most = tf.cast(tf.math.ceil(scale), tf.int64)
    pixels = tf.clip_by_value(tf.minimum(start + tf.range(most), stop - 1), 0, new - 1)
    second = (tf.cast(pixels, tf.float32) + 0.5) / scale - 0.5 - tf.cast(tf.expand_dims(before[:-1], 1), tf.float32)
    cells, pixels = tf.clip_by_value(before, 0, old - 1), tf.expand_dims(pixels, 2)
    return Between(cells, pixels, tf.stack([1.0 - second, second], axis=2), tf.squeeze(start == stop, axis=1))


def neighbours(cells: tf.Tensor) -> tf.Tensor:
    """The two cells around each space, int64 `[n + 1, 2, 1]`, of `Between.cells`."""
    return tf.expand_dims(tf.stack([cells[:-1], cells[1:]], axis=1), 2)


def where_corners_differ(best: tf.Tensor, down: Between, across: Between) -> tf.Tensor:
    """(image, space down, space across), int64 `[n, 3]`, where cells around a space differ in `best` `[b, h, w]`."""
    around = tf.gather(tf.gather(tf.cast(best, tf.int32), down.cells, axis=1), across.cells, axis=2)
    corner = around[:, :-1, :-1]
    agreeing = (corner == around[:, :-1, 1:]) & (corner == around[:, 1:, :-1]) & (corner == around[:, 1:, 1:])
    return tf.where(~(agreeing | (tf.expand_dims(down.empty, 1) | across.empty)))


def on_one_grid(by_row: tf.Tensor, by_column: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """`[m, r, i]` and `[n, k, j]` as `[m, r, k, i, j]` and `[n, r, k, i, j]`.

    These tables are small. What is gathered from them for many spaces can be combined number by number, where
    stretching the one by the other would take ten times as long.
    """
    rows, columns = tf.shape(by_row, tf.int64)[1], tf.shape(by_column, tf.int64)[1]
    by_row = tf.reshape(by_row, (-1, rows, 1, by_row.shape[2], 1))
    by_column = tf.reshape(by_column, (-1, 1, columns, 1, by_column.shape[2]))
    by_row = tf.tile(by_row, (1, 1, columns, 1, by_column.shape[4]))
    return by_row, tf.tile(by_column, (1, rows, 1, by_row.shape[3], 1))


def overwritten(maps: tf.Tensor, pixels: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
    """`maps` with `values` `[n]` at `pixels` `[n, 1]`, counted over all of it."""
    return tf.reshape(tf.tensor_scatter_nd_update(tf.reshape(maps, (-1,)), pixels, values), tf.shape(maps, tf.int64))
