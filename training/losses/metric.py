"""Metric learning with several modes per class (DRSL; the formulation is RepMet's, CVPR 2019).

Every class has the same number of modes, points in the space of the embeddings. An embedding belongs to the class of
its nearest mode. Losses are per sample; sums and numbers are given separately, so that the shares of a global batch add
up to one mean. No variables, no settings. Shapes: `[n]` samples, embeddings float32 `[n, D]`, modes float32
`[classes, M, D]`, label int32 `[n]`, of samples that do not count any value.
"""

import tensorflow as tf

_LEAST = 1e-12  # of a squared distance: its root has no infinite gradient
_FAR = 1e12  # a squared distance beyond all others
REPMET_SCALE = 15.0
FORMS = ("normalised", "literal", "repmet", "mixture")

# Distances


def squared_distances(embeddings, modes):
    """Of each embedding to each mode: float32 `[n, classes, M]`, at least 0."""
    flat = tf.reshape(modes, (-1, modes.shape[-1]))
    lengths = tf.reduce_sum(embeddings**2, axis=-1, keepdims=True) + tf.reduce_sum(flat**2, axis=-1)
    squared = lengths - 2.0 * tf.matmul(embeddings, flat, transpose_b=True)
    return tf.reshape(tf.maximum(squared, 0.0), (-1, *modes.shape[:2]))


def root(squared):
    """The distance; its gradient is 0 where the distance is."""
    return tf.sqrt(tf.maximum(squared, _LEAST))


def nearest_mode(squared, label):
    """Which mode of its own class is the nearest to each sample: int32 `[n]`. squared: `[n, classes, M]`."""
    own = tf.gather(squared, _safe(label, squared), axis=1, batch_dims=1)
    return tf.argmin(own, axis=-1, output_type=tf.int32)


def _safe(label, per_class):
    """`label`, and class 0 where it is none."""
    return tf.where((label >= 0) & (label < per_class.shape[1]), label, 0)


# The losses of each sample


def triplet(squared, label, margin: float = 1.0, square: bool = False):
    """`relu(distance to the nearest own mode - distance to the nearest mode of another class + margin)`: `[n]`.

    Args:
        squared: `[n, classes, M]`, see `squared_distances`. square: squared distances (RepMet), not distances (DRSL).
    """
    nearest = tf.reduce_min(squared, axis=-1)
    label = _safe(label, nearest)
    own = tf.gather(nearest, label, axis=1, batch_dims=1)
    others = tf.where(tf.one_hot(label, nearest.shape[1]) > 0, _FAR, nearest)
    wrong = tf.reduce_min(others, axis=-1)
    return tf.nn.relu(own - wrong + margin if square else root(own) - root(wrong) + margin)


def mixture_cross_entropy(squared, label, form: str = "normalised", variance: float = 0.5):
    """How improbable the own class is, given the embedding: `[n]`.

    With q = exp(-d^2 / (2 variance)) of a mode:

    * normalised: soft-max over the classes of the logarithm of the largest q;
    * literal: -log of the largest q of the own class, as the paper is printed: the classes do not compete;
    * repmet: soft-max over the classes of 15 times the largest q;
    * mixture: the posterior of a Gaussian mixture with equal weights and this variance in each direction.

    Raises:
        ValueError: another form.
    """
    log_q = -squared / (2.0 * variance)
    largest = tf.reduce_max(log_q, axis=-1)
    label = _safe(label, largest)
    if form == "literal":
        return -tf.gather(largest, label, axis=1, batch_dims=1)
    if form not in FORMS:
        raise ValueError(f"no form {form!r}: choose from {', '.join(FORMS)}")
    logits = {
        "normalised": lambda: largest,
        "repmet": lambda: REPMET_SCALE * tf.exp(largest),
        "mixture": lambda: tf.reduce_logsumexp(log_q, axis=-1),
    }[form]()
    return tf.nn.sparse_softmax_cross_entropy_with_logits(label, logits)


def mode_consistency(anchors, positives, negatives, margin: float = 1.0):
    """`relu(|anchor - positive| - |anchor - negative| + margin)`: `[n]`; all float32 `[n, D]`."""
    near, far = (tf.reduce_sum((anchors - others) ** 2, axis=-1) for others in (positives, negatives))
    return tf.nn.relu(root(near) - root(far) + margin)


def total(values, weight):
    """The sum of `weight * values`, and how many have a weight: float32 scalars.

    The mean over several shares is the quotient of the sums of both. What has the weight 0 may be anything.
    """
    counts = weight > 0
    return tf.reduce_sum(tf.where(counts, weight * values, 0.0)), tf.reduce_sum(tf.cast(counts, tf.float32))


# Which samples


def drawn_places(label, classes: int, count: int, uniform):
    """At most `count` places per class and image, at random; where a class has fewer, all of them.

    Args:
        label: int32 `[images, places]`; what is no class is never drawn.
        uniform: float32 `[images, places]` in [0, 1): the random order of the places.

    Returns:
        int32 `[images, n]`, the places, and bool `[images, n]`, whether they count; n: the most that there can be.
    """
    order = tf.argsort(uniform, axis=1, stable=True)
    shuffled = tf.gather(label, order, axis=1, batch_dims=1)
    one_hot = tf.one_hot(shuffled, classes, dtype=tf.int32)  # of what is no class zeros
    number = tf.reduce_sum(one_hot * tf.cumsum(one_hot, axis=1), axis=-1)  # from 1, of those of the class
    chosen = (number > 0) & (number <= count)
    most = min(label.shape[1], classes * count)
    first = tf.argsort(tf.cast(~chosen, tf.int32), axis=1, stable=True)[:, :most]
    return tf.gather(order, first, axis=1, batch_dims=1), tf.gather(chosen, first, axis=1, batch_dims=1)


def sampled(values, place, size):
    """What a map, bilinearly enlarged to `size`, has at some places; it is not enlarged for it.

    Args:
        values: float `[images, h, w, channels]`. size: height and width, as of `tf.image.resize`.
        place: int32 `[images, n]`, row by row in the enlarged map.

    Returns:
        float32 `[images, n, channels]`.
    """
    shape = tf.shape(values)
    rows = _between(place // size[1], size[0], shape[1])
    columns = _between(place % size[1], size[1], shape[2])
    flat = tf.reshape(tf.cast(values, tf.float32), (shape[0], -1, values.shape[-1]))
    found = 0.0
    for row, row_share in rows:
        for column, column_share in columns:
            part = tf.gather(flat, row * shape[2] + column, axis=1, batch_dims=1)
            found += (row_share * column_share)[..., None] * part
    return found


def _between(place, places, cells):
    """The two cells that a place lies between, along one side, and the share of each."""
    exact = (tf.cast(place, tf.float32) + 0.5) * tf.cast(cells, tf.float32) / tf.cast(places, tf.float32) - 0.5
    exact = tf.clip_by_value(exact, 0.0, tf.cast(cells - 1, tf.float32))
    first = tf.cast(tf.floor(exact), tf.int32)
    share = exact - tf.floor(exact)
    return (first, 1.0 - share), (tf.minimum(first + 1, cells - 1), share)


def partners(label, mode, valid, of_label, of_mode, modes: int, classes: int, uniform):
    """For each anchor a random sample of the same class and mode, and one of any other class.

    Args:
        label, mode, valid: int32, int32 and bool `[samples]`: what is drawn from.
        of_label, of_mode: int32 `[anchors]`. modes: per class.
        uniform: float32 `[anchors, 2]` in [0, 1).

    Returns:
        two int32 `[anchors]`, the positive's and the negative's place among the samples, and bool `[anchors]`: are
        there both?
    """
    # The samples in the order of their groups, the modes of all classes; those of a class stand together.
    groups = classes * modes
    group = tf.where(valid, label * modes + mode, groups)
    order = tf.argsort(group, stable=True)
    counts = tf.math.bincount(group, minlength=groups + 1, maxlength=groups + 1)[:groups]
    starts = tf.cumsum(counts, exclusive=True)
    class_counts, all_valid = tf.reduce_sum(tf.reshape(counts, (classes, modes)), axis=1), tf.reduce_sum(counts)
    # One of the anchor's group.
    own = tf.gather(counts, of_label * modes + of_mode)
    number = tf.minimum(tf.cast(uniform[:, 0] * tf.cast(own, tf.float32), tf.int32), own - 1)
    positive = tf.gather(starts, of_label * modes + of_mode) + number
    # One of all that are not of its class: the numbers go on behind the class.
    same = tf.gather(class_counts, of_label)
    others = all_valid - same
    number = tf.minimum(tf.cast(uniform[:, 1] * tf.cast(others, tf.float32), tf.int32), others - 1)
    first = tf.gather(starts, of_label * modes)
    negative = tf.where(number >= first, number + same, number)
    last = tf.shape(order)[0] - 1
    places = (tf.gather(order, tf.clip_by_value(place, 0, last)) for place in (positive, negative))
    return (*places, (own > 0) & (others > 0))
