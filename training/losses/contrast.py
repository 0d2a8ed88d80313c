"""Pixel contrast (PGPC, Scientific Reports 14, 2024; U2PL, CVPR 2022): pixels of one class shall have similar features.

Features, labels and probabilities are brought to one grid of cells, on which pixels are chosen and compared. Cells are
in the order of images, rows and columns, in features and labels alike. No variables, no settings.
"""

import tensorflow as tf
from keras import ops

from training.losses.grids import by_sides
from training.losses.regions import OUTSIDE

PUBLISHED_GRID = (65, 65)
FINEST_STRIDE = 4  # of the first of an encoder's levels
_NO_LOGIT = -1e30  # of a pixel that takes no part

# The grid


def grid_size(levels, grid) -> tuple:
    """`(rows, columns)` of the grid.

    Args:
        levels: the encoder's maps, from fine to coarse; the first has one cell for 4 x 4 pixels.
        grid: "published", or so many pixels of the image per cell and side.
    """
    if grid == "published":
        return PUBLISHED_GRID
    return tuple((FINEST_STRIDE * side + grid - 1) // grid for side in ops.shape(levels[0])[1:3])


def contrast_features(levels, size):
    """All levels on one grid, of length 1 per cell: float32 `[batch, rows, columns, channels of all levels]`.

    Every level is bilinearly brought to the finest one, and from there to the grid.
    """
    finest, maps = ops.shape(levels[0])[1:3], []
    for level in levels:
        sides = zip(ops.shape(level)[1:3], finest, size, strict=True)
        maps.append(by_sides(level, *(_interpolation(*side) for side in sides)))
    return tf.math.l2_normalize(tf.concat(maps, axis=-1), axis=-1, epsilon=1e-12)


def _interpolation(pixels, between, cells):
    """Bilinear from `pixels` to `between` and from there to `cells`, along one side: float32 `[cells, pixels]`."""
    each = tf.eye(pixels)[None, :, None]  # an image one pixel wide, with a channel for each pixel
    return tf.image.resize(tf.image.resize(each, (between, 1)), (cells, 1))[0, :, 0]


# Which pixels


def entropy_of(probs):
    """Entropy of each prediction in nats, float32 without the last axis; 0 log 0 = 0."""
    return -tf.reduce_sum(tf.math.xlogy(probs, probs), axis=-1)


def percentile(values, mask, percent):
    """`numpy.percentile(values[mask], percent)` (linear), a scalar; 0 where the mask is empty.

    Args:
        values: float of any shape. mask: bool of that shape. percent: scalar in [0, 100].
    """
    ordered = tf.sort(tf.reshape(tf.where(mask, values, values.dtype.max), [-1]))
    last = tf.maximum(tf.math.count_nonzero(mask, dtype=tf.int32) - 1, 0)
    place = percent / 100.0 * tf.cast(last, values.dtype)
    below = tf.cast(place, tf.int32)
    low, high = tf.gather(ordered, below), tf.gather(ordered, tf.minimum(below + 1, last))
    between = low + (place - tf.cast(below, values.dtype)) * (high - low)
    return tf.where(tf.reduce_any(mask), between, 0.0)


def rank_window(classes: int) -> tuple[int, int]:
    """Ranks, from 0, of "unlikely but not impossible": from the first to before the second.

    U2PL: 3 and 20. With fewer classes than six the window would be small or empty, and every queue with it.
    """
    return min(3, -(-classes // 2)), min(20, classes)


def ranks(probs):
    """The rank of each class, 0 = the most probable: int32 of the same shape; of equal ones the first comes first."""
    order = tf.argsort(probs, axis=-1, direction="DESCENDING", stable=True)
    return tf.argsort(order, axis=-1, stable=True)


def drawn(mask, uniform):
    """Places where a row of the mask is true, drawn with replacement: int32 `[rows, count]`; any place if it is empty.

    Args:
        mask: bool `[rows, places]`. uniform: float32 `[rows, count]` in [0, 1).
    """
    counted = tf.cumsum(tf.cast(mask, tf.int32), axis=1)
    number = tf.cast(uniform * tf.cast(counted[:, -1:], tf.float32), tf.int32)
    return _place_of(counted, tf.minimum(number, counted[:, -1:] - 1))


def spread(mask, count: int, uniform):
    """Different places where a row of the mask is true, evenly spread over them: `(places, valid)`.

    Args:
        mask: bool `[rows, places]`.
        count: how many per row; where fewer are true, all of them.
        uniform: float32 `[rows]` in [0, 1), shifts the places.

    Returns:
        int32 and bool `[rows, count]`.
    """
    counted = tf.cumsum(tf.cast(mask, tf.int32), axis=1)
    numbers, there = tf.range(count), counted[:, -1:]
    shifted = tf.cast(numbers, tf.float64) + tf.cast(uniform[:, None], tf.float64)
    number = tf.cast(shifted * tf.cast(there, tf.float64) / count, tf.int32)
    return _place_of(counted, tf.where(there <= count, numbers, number)), numbers < there


def _place_of(counted, number):
    """Where the `number`-th true value is, from 0; `counted`: how many there are up to each place."""
    place = tf.searchsorted(counted, number + 1, side="left")
    return tf.clip_by_value(place, 0, tf.shape(counted)[1] - 1)


# The losses


def info_nce(positive, negatives, temperature: float):
    """`-log(e^(p/t) / (e^(p/t) + sum_k e^(n_k/t)))`: float32 `[...]`.

    Args:
        positive: cosine with the positive, `[...]`. negatives: cosines with the negatives, `[..., negatives]`.
    """
    logits = tf.concat([positive[..., None], negatives], axis=-1) / temperature
    return tf.reduce_logsumexp(logits, axis=-1) - logits[..., 0]


def prototype_contrast(anchors, prototypes, pool_of, chosen, present, temperature: float):
    """InfoNCE of each anchor against the prototype of its class and negatives: float32 `[classes, anchors]`.

    A class at a time, with its gradient, so that the pool of one class is in memory.

    Args:
        anchors: float32 `[classes, anchors, channels]`, of length 1.
        prototypes: float32 `[classes, channels]`, of any length; no gradient.
        pool_of: class (int32 scalar) -> float `[pool, channels]`, of length 1, its negatives; no gradient.
        chosen: int32 `[classes, anchors, negatives]`, the negatives of each anchor, as places in the pool.
        present: bool `[classes]`; elsewhere the loss is 0, and no pool is asked for.
    """
    prototypes = tf.stop_gradient(tf.math.l2_normalize(prototypes, axis=-1, epsilon=1e-12))

    def of_class(number, anchors):
        pool = tf.stop_gradient(tf.cast(pool_of(number), tf.float32))
        with tf.GradientTape() as tape:
            tape.watch(anchors)
            positive = tf.linalg.matvec(anchors, prototypes[number])
            cosines = tf.matmul(anchors, pool, transpose_b=True)
            losses = info_nce(positive, tf.gather(cosines, chosen[number], batch_dims=1), temperature)
        return losses, tape.gradient(losses, anchors)

    @tf.custom_gradient
    def losses_of(anchors):
        def found(number):
            mine = anchors[number]
            nothing = lambda: (tf.zeros_like(mine[:, 0]), tf.zeros_like(mine))  # noqa: E731
            return tf.cond(present[number], lambda: of_class(number, mine), nothing)

        kinds, numbers = (anchors.dtype, anchors.dtype), tf.range(tf.shape(anchors)[0])
        losses, gradients = tf.map_fn(found, numbers, fn_output_signature=kinds, parallel_iterations=1)
        return losses, lambda upstream: upstream[..., None] * gradients

    return losses_of(anchors)


def pixel_contrast(features, label, weight, temperature: float = 1.0, chunk: int = 512, share=(0, 1)):
    """Contrast of labelled pixels with each other (CLUDA's form), a float32 scalar.

    With `s_ij = z_i z_j / temperature`, P_i the other pixels of the class of i, and A_i the sum of `exp(s_ik)` over the
    pixels of other classes:

        -1/N sum_i 1/max(1, |P_i|) sum_{j in P_i} w_i w_j [s_ij - log(exp(s_ij) + A_i)]

    It is computed for `chunk` pixels i after one another, each with its gradient: memory is O(chunk x pixels) in the
    backward pass too. The released program mixes up the order of the features, takes 255 for a class, and has a mask of
    things without effect; none of these is copied.

    Args:
        features: float32 `[pixels, channels]`, of length 1. label: integer `[pixels]`; 254 and 255 take no part.
        weight: float32 `[pixels]`.
        share: `(number, of)`: compute this one of so many parts of the sum over i; the parts add up.
    """
    label, pixels = tf.cast(label, tf.int32), tf.shape(features)[0]
    labelled = tf.cast(label < OUTSIDE, tf.float32)
    same_class = tf.reduce_sum(tf.cast(label[:, None] == tf.range(256), tf.float32), axis=0)
    positives = tf.maximum(tf.gather(same_class, label) - 1.0, 1.0)
    factor = labelled * weight / positives / tf.maximum(tf.reduce_sum(labelled), 1.0)
    number, of = share
    first = number * ((pixels + of - 1) // of)
    end = tf.minimum(first + (pixels + of - 1) // of, pixels)

    def of_chunk(place, anchors, keys):
        similarity = tf.matmul(anchors, keys, transpose_b=True) / temperature
        mine = tf.gather(label, place)[:, None]
        other = (mine != label) & (label < OUTSIDE)
        same = (mine == label) & (place[:, None] != tf.range(pixels))
        others = tf.reduce_logsumexp(tf.where(other, similarity, _NO_LOGIT), axis=1, keepdims=True)
        pulls = tf.where(same, weight * tf.nn.softplus(others - similarity), 0.0)
        return tf.reduce_sum(tf.gather(factor, place) * tf.reduce_sum(pulls, axis=1))

    @tf.custom_gradient
    def summed(keys):
        def body(start, total, gradient):
            place = start + tf.range(tf.minimum(chunk, end - start))
            anchors = tf.gather(keys, place)
            with tf.GradientTape() as tape:
                tape.watch([anchors, keys])
                value = of_chunk(place, anchors, keys)
            of_anchors, of_keys = tape.gradient(value, [anchors, keys])
            gradient = tf.tensor_scatter_nd_add(gradient + of_keys, place[:, None], of_anchors)
            return start + chunk, total + value, gradient

        begin = (first, tf.constant(0.0), tf.zeros_like(keys))
        _, total, gradient = tf.while_loop(lambda start, *_: start < end, body, begin, parallel_iterations=1)
        return total, lambda upstream: upstream * gradient

    return summed(features)
