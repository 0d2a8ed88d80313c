"""What terms keep from step to step, in the graph and equal on all replicas: variables, and queues of features."""

import keras
import tensorflow as tf

from models.replicas import rows_of_all
from training.losses.contrast import spread


def kept(name: str, shape: tuple[int, ...], dtype: str, value: float = 0.0) -> keras.Variable:
    """A variable that every replica moves alike, at first of one value."""
    start = keras.ops.full(shape, value, dtype)
    return keras.Variable(start, dtype=dtype, trainable=False, name=name, aggregation="only_first_replica")


class ClassQueues:
    """The last features of each class; the oldest give way.

    Args:
        entries: of each queue. channels: of a feature. dtype: in which they are kept.

    rows: `[classes * entries, channels]`, the queues one after another.
    pushed: int64 `[classes]`, how many were ever pushed: the next place is this number modulo `entries`.
    """

    def __init__(self, classes: int, entries: int, channels: int, dtype: str):
        self.classes, self.entries = classes, entries
        self.rows = kept("queue", (classes * entries, channels), dtype)
        self.pushed = kept("pushed_count", (classes,), "int64")
        self.variables = (self.rows, self.pushed)

    def filled(self):
        """How many entries of each queue are filled: int64 `[classes]`."""
        return tf.minimum(tf.convert_to_tensor(self.pushed), self.entries)

    def place(self, slot):
        """The places among `rows` of slots `[classes, any]` of each class' queue."""
        return tf.range(self.classes, dtype=slot.dtype)[:, None] * self.entries + slot

    def push(self, domains, mask, count: int, uniform) -> None:
        """Write features of the global batch, evenly spread over those of the mask, into the queues.

        Args:
            domains: this replica's rows of each domain, see `rows_of_all`.
            mask: bool `[classes, rows]`, which rows of all domains of the global batch a queue may take.
            count: how many at most, up to `entries`. uniform: float32 `[classes]` in [0, 1), shifts which.
        """
        index, valid = spread(mask, count, uniform)
        rows = tf.cast(rows_of_all(domains, tf.reshape(index, [-1])), self.rows.dtype)
        # Places after one another in the ring of each class; where there is nothing to push, what is there stays.
        before = tf.convert_to_tensor(self.pushed)
        slot = (before[:, None] + tf.range(count, dtype=tf.int64)) % self.entries
        place = tf.reshape(self.place(slot), [-1])
        rows = tf.where(tf.reshape(valid, (-1, 1)), rows, tf.gather(self.rows.value, place))
        self.rows.value.scatter_update(tf.IndexedSlices(rows, place))
        self.pushed.assign(before + tf.math.count_nonzero(valid, axis=1))
