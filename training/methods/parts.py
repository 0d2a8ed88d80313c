"""Gradient accumulation: a replica's rows in equal parts, one after the other, with the result of one pass over all.

1. Count the regions of the labels over the whole global batch: the divisors of all means.
2. For each part: forward, loss, backward. What a part computes is its summand of the whole: sums of its own pixels,
   divided by the counts of step 1. The activations of one part are freed before the next begins.
3. Add up losses and gradients. Who calls it clips and descends once, by the sums over all parts and replicas.

The result is that of one pass up to rounding. With dropout it is equal in distribution only: each part draws its own
noise. Batch-norm must not normalise with the statistics of a part, so it has to be frozen.
"""

from collections.abc import Callable

import tensorflow as tf
from keras import ops

from models.replicas import one_part_of, over_replicas
from training.losses.regions import REGIONS, region_of
from training.methods.step import thin_label


def count_regions(batch, stride: int) -> dict[str, dict]:
    """Pixels of each region of `REGIONS`, by domain and region, float32 scalars: of the whole global batch.

    Args:
        batch: domains with "label", uint8 `[b, h, w]`: this replica's rows; domains without are left out.
        stride: of the grid on which the loss is taken.
    """
    labels = {name: thin_label(domain["label"], stride) for name, domain in batch.items() if "label" in domain}
    sums = [ops.sum(region_of(label, region)) for label in labels.values() for region in REGIONS]
    totals = iter(over_replicas(sums))
    return {name: {region: next(totals) for region in REGIONS} for name in labels}


def with_counts(batch, counts) -> dict[str, dict]:
    """`batch` with the counts of `count_regions` in each domain, as "counts"."""
    return {name: {**domain, "counts": counts[name]} if name in counts else domain for name, domain in batch.items()}


def sum_over_parts(compute: Callable, batch, parts: int, values: int, variables: list) -> tuple[list, list]:
    """The sums of what `compute(part)` returns for each of the equal `parts` of the rows of `batch`.

    The parts are the rounds of a loop in the graph, which is traced once and never runs two rounds at a time.

    Args:
        compute: `part -> (values, gradients)`: float32 scalars, and the gradients of `variables`, None where a variable
            has none. It must not call `over_replicas`.
        batch: a structure of tensors `[rows, ...]`; `parts` divides the rows.
        values: how many values there are.

    Returns:
        values, gradients: as `compute` returns them.
    """
    rows = tf.nest.map_structure(lambda tensor: tf.reshape(tensor, (parts, -1, *tensor.shape[1:])), batch)
    unconnected = set()

    def add_part(number, sums):
        with one_part_of(parts):
            found_values, gradients = compute(tf.nest.map_structure(lambda tensor: tensor[number], rows))
        found = [*found_values, *gradients]
        unconnected.update(index for index, tensor in enumerate(found) if tensor is None)
        return number + 1, [total if new is None else total + new for total, new in zip(sums, found, strict=True)]

    zeros = [tf.zeros(()) for _ in range(values)] + [tf.zeros(variable.shape, variable.dtype) for variable in variables]
    _, sums = tf.while_loop(lambda number, sums: number < parts, add_part, (0, zeros), parallel_iterations=1)
    sums = [None if index in unconnected else total for index, total in enumerate(sums)]
    return sums[:values], sums[values:]
