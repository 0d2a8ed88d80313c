"""Blocks of an image hidden from the student (MIC, Hoyer et al., CVPR 2023, section 3.2)."""

import tensorflow as tf

from training.data.augment import MEAN_COLOR
from training.randomness import uniform_at
from training.settings.losses import Masked

BLOCKS = 2  # number of the stream of random numbers, beside those of `class_mix.py`


class BlockMasker:
    """Draws the blocks of each image from seed and position.

    Args:
        settings: size of the blocks and share of hidden ones.
        seed: of the stage.
    """

    def __init__(self, settings: Masked, seed: int):
        self.settings, self.seed = settings, seed

    def hidden(self, image, positions):
        """`image` with ImageNet's mean colour in the place of some blocks; its shape and type.

        That is 0 after the normalisation by ImageNet's mean, and near 0 in networks that scale images to [-1, 1], such
        as MobileNetV2. Blocks begin at the upper left corner; those of the right and lower edge are cut off.

        Args:
            image: float32 `[batch, height, width, 3]` in [0, 255].
            positions: int64 `[batch]`.
        """
        height, width = image.shape[1:3]
        side = max(1, round(self.settings.block * width))
        rows, columns = -(-height // side), -(-width // side)
        drawn = uniform_at(self.seed, BLOCKS, positions, rows * columns) < self.settings.ratio
        blocks = tf.reshape(drawn, (-1, rows, columns))
        is_hidden = tf.repeat(tf.repeat(blocks, side, axis=1), side, axis=2)[:, :height, :width, None]
        return tf.where(is_hidden, tf.constant(MEAN_COLOR), image)
