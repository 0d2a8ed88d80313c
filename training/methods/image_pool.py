"""A pool of translated images for a discriminator (Shrivastava et al., CVPR 2017; CycleGAN, section 4).

While the pool is not full, each image enters it and is shown. Afterwards, with probability 1/2, an image changes places
with one of the pool, drawn at random, which is shown instead; else it is shown itself.
"""

import tensorflow as tf

from models.replicas import gathered, replica_number, replicas
from training.methods.kept import kept
from training.randomness import uniform_at


class ImagePool:
    """The pool as one variable, float16 `[size, height, width, 3]`, equal on all replicas.

    Which place and which image is shown is a function of seed and position: the images of positions 0 to `size` - 1
    fill it in their order.

    Args:
        size: images that it holds.
        crop: (height, width) of an image.
        seed: of the stage. stream_number: see `uniform_at`; another one for each pool.
    """

    def __init__(self, size: int, crop: tuple[int, int], seed: int, stream_number: int):
        self.size, self.seed, self.stream_number = size, seed, stream_number
        self.images = kept("pool", (size, *crop, 3), "float16")

    def exchanged(self, images, positions):
        """What the discriminator is shown in the place of these images; the pool takes its part of them.

        Every replica calls it, with its rows of the global batch, which enter in their order.

        Args:
            images: float32 `[rows, height, width, 3]` in [0, 255]. positions: int64 `[rows]`, in the stage's stream.

        Returns:
            float32, as `images`; no gradient.
        """
        rows = tf.shape(images)[0]
        new, position = tf.cast(gathered(tf.stop_gradient(images)), tf.float16), gathered(positions)
        # 1. The place of each image, and whether it enters.
        uniform = uniform_at(self.seed, self.stream_number, position, 2)
        fills = position < self.size
        drawn = tf.minimum(tf.cast(uniform[:, 0] * self.size, tf.int64), self.size - 1)
        place, enters = tf.where(fills, position, drawn), fills | (uniform[:, 1] < 0.5)
        # 2. What is there when its turn comes: the image of the last row before it that entered there, if any did.
        number = tf.range(tf.shape(new)[0])
        same = (place[:, None] == place[None]) & enters[:, None]  # [the row that enters, the row that looks]
        before = tf.reduce_max(tf.where(same & (number[:, None] < number[None]), number[:, None], -1), axis=0)
        after = tf.reduce_max(tf.where(same, number[:, None], -1), axis=0)
        old = tf.gather(self.images.value, place)
        there = _chosen(before, new, old)
        # 3. What is shown, and what stays in these places after all rows.
        shown = tf.where((enters & ~fills)[:, None, None, None], there, new)
        self.images.value.scatter_update(tf.IndexedSlices(_chosen(after, new, old), place))
        first = rows * replica_number() if replicas() > 1 else 0
        return tf.cast(shown[first : first + rows], tf.float32)


def _chosen(row, new, old):
    """`new[row]`, or `old` where `row` is negative."""
    return tf.where((row >= 0)[:, None, None, None], tf.gather(new, tf.maximum(row, 0)), old)
