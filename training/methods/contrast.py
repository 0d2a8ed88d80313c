"""The terms of pixel contrast (PGPC, Scientific Reports 14, 2024): with prototypes and queues, and between pixels.

One step with prototypes:

1. Bring features, labels and the teacher's probabilities to one grid.
2. Reliable and unreliable target pixels: those with the lowest and the highest entropies of the global batch.
3. Move the prototypes to the teacher's mean features of the classes.
4. Push negatives into the queues: features of unreliable target pixels for which a class is unlikely but not
   impossible, and of source pixels of other classes for which it is among the teacher's first choices.
5. Draw anchors per class, the student's features of source pixels and reliable target pixels, and negatives.
6. InfoNCE: each anchor is nearer to its prototype than to its negatives.

What is drawn is a function of the seed and of the first position of the global batch; who is drawn from is in the order
of the global batch. So one device and several draw the same.
"""

import math

import tensorflow as tf

from models.replicas import gathered, over_replicas, replica_number, replicas, rows_of_all
from training.losses.contrast import (
    contrast_features,
    drawn,
    entropy_of,
    grid_size,
    percentile,
    pixel_contrast,
    prototype_contrast,
    rank_window,
    ranks,
    spread,
)
from training.losses.grids import LEAST_SHARE, labels_on, pooled
from training.losses.regions import IGNORE, OUTSIDE
from training.methods.kept import ClassQueues, kept
from training.methods.term import Term, TermContext
from training.randomness import uniform_at
from training.settings.losses import PixelContrast, PrototypeContrast

ANCHORS, NEGATIVES, POOLS, PUSHES, PIXELS = 10, 11, 12, 13, 14  # numbers of the streams of random numbers
POOL = 256  # negatives of each queue, at least, that the anchors of a step draw theirs from
_BYTES = 2  # of a float16


class PixelContrastTerm(Term):
    """The released program's contrast (CLUDA's): source pixels with each other, and those of mixed images."""

    name = "contrast"
    needs = ("mixed", "levels")
    splits = False

    def __init__(self, settings: PixelContrast):
        self.settings, self.weight = settings, settings.weight

    def build(self, context: TermContext) -> None:
        self.classes, self.seed = context.classes, context.seed

    def __call__(self, step):
        size = grid_size(step.source.levels, self.settings.grid)
        return self.among(step.source, size, 0) + self.among(step.mixed, size, 1)

    def among(self, view, size, number: int):
        """The contrast between the pixels of one view; `number` tells the views apart."""
        settings = self.settings
        # 1. Labels and weights of the global batch.
        label = tf.reshape(gathered(labels_on(view.label, size, self.classes)), [-1])
        one = tf.ones_like(view.label, tf.float32) if view.weight is None else view.weight
        weight = tf.reshape(gathered(pooled(one[..., None], size)), [-1])
        # 2. Which pixels, and their features.
        index = tf.range(tf.shape(label)[0])
        if settings.pixels is not None:
            first = gathered(view.positions)[:1]
            uniform = uniform_at(self.seed, PIXELS + number, first, 1)[:, 0]
            index, valid = spread((label < OUTSIDE)[None], settings.pixels, uniform)
            index, valid = index[0], valid[0]
            label = tf.where(valid, tf.gather(label, index), IGNORE)
            weight = tf.gather(weight, index)
        features = contrast_features(view.levels, size)
        rows = rows_of_all([tf.reshape(features, (-1, features.shape[-1]))], index)
        # 3. Each replica contrasts its part of the pixels with all.
        share = (replica_number(), replicas()) if replicas() > 1 else (0, 1)
        return pixel_contrast(rows, label, weight, settings.temperature, share=share)


class PrototypeContrastTerm(Term):
    """PGPC's contrast of the paper, see the head of this module.

    variables, made in `build`:
        prototypes: float32 `[classes, channels]`, moving averages of the teacher's features.
        seen: int64 `[classes]`, in how many steps a class was there.
        queues: negatives per class, float16 (`ClassQueues`).
        steps_made: int64 `[]`.
    """

    name = "contrast"
    needs = ("mixed", "levels", "teacher_levels", "teacher_probs")
    splits = False

    def __init__(self, settings: PrototypeContrast):
        self.settings, self.weight = settings, settings.weight

    def build(self, context: TermContext) -> None:
        channels, classes = sum(context.level_channels), context.classes
        self.classes, self.seed, self.steps = classes, context.seed, context.steps
        entries = max(1, int(self.settings.queue_megabytes * 1e6) // (_BYTES * channels * classes))
        self.pushes = min(self.settings.pushed, entries)
        self.pool = max(POOL, self.settings.negatives)
        self.prototypes = kept("prototypes", (classes, channels), "float32")
        self.seen = kept("seen", (classes,), "int64")
        self.queues = ClassQueues(classes, entries, channels, "float16")
        self.steps_made = kept("steps_made", (), "int64")
        self.variables = (self.prototypes, self.seen, *self.queues.variables, self.steps_made)

    def queue_fill(self):
        """Which part of each queue is filled: float32 `[classes]` in [0, 1]."""
        return tf.cast(self.queues.filled(), tf.float32) / self.queues.entries

    def share_at_step(self, ends: tuple[float, float]):
        """A share that goes from the first to the last value in the course of the training, at this step."""
        progress = tf.cast(tf.convert_to_tensor(self.steps_made), tf.float32) / self.steps
        return ends[0] + (ends[1] - ends[0]) * tf.minimum(progress, 1.0)

    def __call__(self, step):
        source, mixed = step.source, step.mixed
        # 1. Everything on one grid.
        size = grid_size(source.levels, self.settings.grid)
        student = [_flat(contrast_features(view.levels, size)) for view in (source, mixed)]
        taught = [_flat(tf.stop_gradient(contrast_features(view.teacher_levels, size))) for view in (source, mixed)]
        source_class = labels_on(source.label, size, self.classes)
        source_probs, target_probs = (pooled(view.teacher_probs, size) for view in (source, mixed))
        target_class = tf.argmax(target_probs, axis=-1, output_type=tf.int32)
        # 2. Reliable and unreliable target pixels.
        reliable, unreliable = self.reliability(target_probs, _covers(mixed.target_frame, size))
        reliable_class = tf.where(reliable, target_class, IGNORE)
        # 3. The prototypes.
        self.move_prototypes(taught, [source_class, reliable_class])
        # 4. The queues.
        first = gathered(source.positions)[:1]
        self.push(taught, self.negative_masks(source_class, source_probs, target_probs, unreliable), first)
        # 5. Anchors: not what is pasted, for that is the source's, nor what the teacher does not believe in.
        shown = tf.where(_covers(1.0 - tf.cast(mixed.pasted, tf.float32), size), reliable_class, IGNORE)
        anchor_class = [self.believed(source_class, source_probs), self.believed(shown, target_probs)]
        # 6. The loss.
        value = self.contrast_of(student, anchor_class, first)
        self.steps_made.assign(self.steps_made + 1)
        return value

    def reliability(self, probs, inside):
        """The cells with the lowest and with the highest entropies of the global batch: two bool `[batch, h, w]`.

        Args:
            probs: the teacher's, of the whole target images. inside: bool, the cells that have a picture.
        """
        settings, entropy = self.settings, entropy_of(probs)
        all_entropies, all_inside = gathered(entropy), gathered(tf.cast(inside, tf.float32)) > 0
        low = percentile(all_entropies, all_inside, 100.0 * self.share_at_step(settings.reliable))
        high = percentile(all_entropies, all_inside, 100.0 * (1.0 - self.share_at_step(settings.unreliable)))
        return inside & (entropy <= low), inside & (entropy >= high)

    def move_prototypes(self, taught, classes) -> None:
        """`m * prototype + (1 - m) * mean`, with m = min(1 - 1/t, decay) at the t-th step that has the class."""
        one_hot = [tf.one_hot(tf.reshape(each, [-1]), self.classes) for each in classes]
        sums = tf.add_n([tf.matmul(a, b, transpose_a=True) for a, b in zip(one_hot, taught, strict=True)])
        sums, counts = over_replicas([sums, tf.add_n([tf.reduce_sum(each, axis=0) for each in one_hot])])
        here = counts > 0
        seen = tf.convert_to_tensor(self.seen) + tf.cast(here, tf.int64)
        before = tf.convert_to_tensor(self.prototypes)
        decay = tf.minimum(1.0 - 1.0 / tf.cast(tf.maximum(seen, 1), tf.float32), self.settings.prototype_decay)
        moved = decay[:, None] * before + (1.0 - decay[:, None]) * sums / tf.maximum(counts, 1.0)[:, None]
        self.prototypes.assign(tf.where(here[:, None], moved, before))
        self.seen.assign(seen)

    def negative_masks(self, source_class, source_probs, target_probs, unreliable):
        """Which cells are negatives of which class: two bool `[batch, h, w, classes]`, of the source and the target."""
        first, last = rank_window(self.classes)
        target_ranks, own = ranks(target_probs), source_class[..., None] == tf.range(self.classes)
        labelled = source_class[..., None] < OUTSIDE
        confused = labelled & ~own & (ranks(source_probs) < first)
        return confused, unreliable[..., None] & (target_ranks >= first) & (target_ranks < last)

    def push(self, taught, masks, position) -> None:
        """Write features of the global batch, spread over those of the masks, into the queues; the oldest give way."""
        mask = tf.concat([tf.reshape(gathered(tf.cast(each, tf.float32)), (-1, self.classes)) for each in masks], 0) > 0
        uniform = uniform_at(self.seed, PUSHES, position, self.classes)[0]
        self.queues.push(taught, tf.transpose(mask), self.pushes, uniform)

    def believed(self, label, probs):
        """`label` `[batch, h, w]`, 255 where the teacher's probability of it is not above `confidence`."""
        own = tf.gather(probs, tf.minimum(label, self.classes - 1), axis=-1, batch_dims=3)
        return tf.where(own > self.settings.confidence, label, IGNORE)

    def contrast_of(self, student, anchor_class, position):
        """Mean over the classes that have an anchor and a negative, of the mean over their anchors."""
        settings, classes = self.settings, self.classes
        # Which rows of the global batch are the anchors; how many negatives there are.
        label = tf.concat([tf.reshape(gathered(each), [-1]) for each in anchor_class], 0)
        mask = label[None] == tf.range(classes)[:, None]
        shape = (classes, settings.anchors)
        uniform = tf.reshape(uniform_at(self.seed, ANCHORS, position, classes * settings.anchors), shape)
        rows = rows_of_all(student, tf.reshape(drawn(mask, uniform), [-1]))
        anchors = tf.reshape(rows, (*shape, rows.shape[-1]))
        available = self.queues.filled()
        present = tf.reduce_any(mask, axis=1) & (available > 0)
        # Which negatives: a pool of each queue, and from it some for each anchor, drawn with replacement.
        uniform = tf.reshape(uniform_at(self.seed, POOLS, position, classes * self.pool), (classes, self.pool))
        slot = tf.cast(uniform * tf.cast(available, tf.float32)[:, None], tf.int64)
        pools = self.queues.place(tf.minimum(slot, tf.maximum(available - 1, 0)[:, None]))
        shape = (*shape, settings.negatives)
        uniform = tf.reshape(uniform_at(self.seed, NEGATIVES, position, math.prod(shape)), shape)
        chosen = tf.cast(uniform * self.pool, tf.int32)
        # Each replica computes its part of the anchors.
        part = -(-settings.anchors // replicas())
        mine = tf.range(part) + (part * replica_number() if replicas() > 1 else 0)
        real, mine = tf.cast(mine < settings.anchors, tf.float32), tf.minimum(mine, settings.anchors - 1)
        losses = prototype_contrast(
            tf.gather(anchors, mine, axis=1),
            tf.convert_to_tensor(self.prototypes),
            lambda number: tf.gather(self.queues.rows.value, pools[number]),
            tf.gather(chosen, mine, axis=1),
            present,
            settings.temperature,
        )
        several = tf.math.count_nonzero(present, dtype=tf.float32)
        total = tf.reduce_sum(losses * real) / settings.anchors / tf.maximum(several, 1.0)
        return tf.where(several > 1, total, 0.0)


def _flat(features):
    """`[batch, rows, columns, channels]` -> `[pixels, channels]`."""
    return tf.reshape(features, (-1, features.shape[-1]))


def _covers(values, size):
    """bool `[batch, rows, columns]`: do 0.75 of the cell have the value 1?"""
    return pooled(values[..., None], size)[..., 0] >= LEAST_SHARE - 1e-5
