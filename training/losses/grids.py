"""Labels and values of an image on a coarser grid of cells."""

import tensorflow as tf
from keras import ops

from training.losses.regions import IGNORE

LEAST_SHARE = 0.75  # of a cell that a class must fill, so that the cell has its label


def labels_on(label, size, classes: int, least_share: float = LEAST_SHARE):
    """The label of each cell: int32 `[batch, rows, columns]`; 255 where no class fills `least_share` of it (DAFormer).

    Args:
        label: integer `[batch, height, width]`; 254 and 255 are no class.
        size: rows and columns of the grid; they need not divide the label's sides.
    """
    shares = pooled(tf.one_hot(tf.cast(label, tf.int32), classes), size)
    winner = tf.argmax(shares, axis=-1, output_type=tf.int32)
    return tf.where(tf.reduce_max(shares, axis=-1) >= least_share - 1e-5, winner, IGNORE)


def pooled(values, size):
    """Mean of `values` `[batch, height, width, channels]` over each cell: float32 `[batch, rows, columns, channels]`.

    The cells divide the sides evenly, whatever the sizes are: of a pixel that lies in two cells, each has its part.
    """
    sides = zip(size, ops.shape(values)[1:3], strict=True)
    return by_sides(values, *(_parts(cells, pixels) for cells, pixels in sides))


def by_sides(values, rows, columns):
    """`values` `[b, h, w, c]` with its rows and its columns combined by float32 `[rows, h]` and `[columns, w]`."""
    values, (batch, height, width, channels) = tf.cast(values, tf.float32), ops.shape(values)
    by_rows = tf.matmul(rows, tf.reshape(values, (batch, height, width * channels)))
    return tf.matmul(columns, tf.reshape(by_rows, (batch, tf.shape(rows)[0], width, channels)))


def _parts(cells, pixels):
    """Which part of each cell is of each pixel, along one side: float32 `[cells, pixels]`; rows sum to 1."""
    pixels, cells = tf.cast(pixels, tf.float32), tf.cast(cells, tf.float32)
    edges = tf.range(cells + 1.0) * pixels / cells
    left = tf.range(pixels)
    inside = tf.minimum(edges[1:, None], left + 1.0) - tf.maximum(edges[:-1, None], left)
    return tf.maximum(inside, 0.0) * cells / pixels
