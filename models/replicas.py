"""Sums over the replicas of a distributed step (`tf.distribute`); on one device everything here is the identity.

A training step on several replicas equals the step on one device if whatever is counted or averaged is so over the
global batch: each replica divides its own sums by counts of the global batch, and gradients are summed. The same holds
where a replica computes its rows in several parts, one after the other. These are the only functions that know of
replicas and parts inside a step.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import tensorflow as tf

_thread = threading.local()


def replicas() -> int:
    """How many replicas take part in the step that calls this; 1 outside of a distributed step."""
    context = tf.distribute.get_replica_context()
    return 1 if context is None else context.num_replicas_in_sync


def replica_number() -> tf.Tensor:
    """Which of the replicas this is, from 0: the order of their rows in the global batch."""
    return tf.convert_to_tensor(tf.distribute.get_replica_context().replica_id_in_sync_group)


@contextmanager
def one_part_of(parts: int) -> Iterator[None]:
    """Within it the thread traces the computation of one of `parts` equal parts of this replica's rows."""
    _thread.parts = parts
    try:
        yield
    finally:
        _thread.parts = 1


def shares() -> int:
    """How many equal shares the global batch has, of which the caller computes one: the parts of all replicas."""
    return replicas() * getattr(_thread, "parts", 1)


def over_replicas(values):
    """The sum over all replicas of a tensor, or of each tensor of a list; differentiable. None in a list stays None.

    All replicas must call it in the same order, outside of `tf.cond` and `tf.while_loop`.

    Raises:
        TypeError: within `one_part_of`, where the other parts of the sum are not known.
    """
    if getattr(_thread, "parts", 1) > 1:
        raise TypeError("one part of a batch has no sum over the whole: use View.count, or set Term.splits = False")
    if replicas() == 1:
        return values
    context, tensors = tf.distribute.get_replica_context(), values if isinstance(values, list) else [values]
    present = [tf.convert_to_tensor(tensor) for tensor in tensors if tensor is not None]
    summed = iter(context.all_reduce(tf.distribute.ReduceOp.SUM, present))
    results = [None if tensor is None else next(summed) for tensor in tensors]
    return results if isinstance(values, list) else results[0]


def gathered(values):
    """The rows `[rows, ...]` of all replicas, in their order, on each of them: `[replicas * rows, ...]`.

    Differentiable. To be called as `over_replicas`. On every replica there are equally many rows.
    """
    if replicas() == 1:
        return values
    mine = tf.one_hot(replica_number(), replicas(), dtype=values.dtype)
    parts = tf.reshape(mine, (-1, *[1] * values.shape.rank)) * values[None]
    return tf.reshape(over_replicas(parts), tf.concat([[-1], tf.shape(values)[1:]], 0))


def rows_of_all(domains, index):
    """Rows of the global batch, on every replica; differentiable. To be called as `over_replicas`.

    Args:
        domains: list of float `[rows, channels]`, this replica's part of each domain, equally many rows.
        index: int32 `[count]`, the same on all replicas: rows of the first domain in the global batch, followed by
            those of the second, and so on.

    Returns:
        float `[count, channels]`.
    """
    if replicas() == 1:
        return tf.gather(tf.concat(domains, 0), index)
    rows, found = tf.shape(domains[0])[0], []
    for number, values in enumerate(domains):
        place = index - (number * replicas() + replica_number()) * rows
        mine = (place >= 0) & (place < rows)
        found.append(tf.where(mine[:, None], tf.gather(values, tf.clip_by_value(place, 0, rows - 1)), 0))
    return over_replicas(tf.add_n(found))
