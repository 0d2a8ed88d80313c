"""ClassMix (Olsson et al., WACV 2021) between a labelled source image and a target image (DACS, WACV 2021).

1. Draw half of the classes that the source image's own label shows; ignored pixels (254, 255) are no class.
2. The mask is true on the pixels of these classes. Image, label and weight are mixed by one mask.
3. Change the colours of the mixed image; no pixel moves.

Everything that is drawn is a function of seed and position.
"""

import tensorflow as tf

from training.data.augment import blurred
from training.data.strong_augment import jittered
from training.losses.regions import OUTSIDE
from training.randomness import uniform_at
from training.settings import ClassMix

CLASSES, COLOURS, MASKED_COLOURS = 0, 1, 3  # numbers of the streams of random numbers; 2: `block_mask.py`
_IDS = 256


class ClassMixer:
    """Draws the masks and the colours of mixed images.

    Args:
        settings: the share of the classes and the strength of the colour changes.
        seed: of the stage.
    """

    def __init__(self, settings: ClassMix, seed: int):
        self.settings, self.seed = settings, seed

    def mask(self, label, positions):
        """True where the source is pasted: bool `[batch, height, width]`.

        Args:
            label: uint8 `[batch, height, width]`, the source's.
            positions: int64 `[batch]`.
        """
        present = shown_ids(label)
        # The classes of each image in random order, those that are not shown last; the first of them are chosen.
        uniform = uniform_at(self.seed, CLASSES, positions, OUTSIDE)
        order = tf.argsort(tf.where(present, uniform, 2.0), axis=1)
        rank = tf.argsort(order, axis=1)
        count = tf.math.ceil(self.settings.share * tf.math.count_nonzero(present, axis=1, dtype=tf.float32))
        chosen = tf.cast(rank, tf.float32) < count[:, None]
        return tf.gather(tf.pad(chosen, [[0, 0], [0, _IDS - OUTSIDE]]), tf.cast(label, tf.int32), batch_dims=1)

    def recoloured(self, image, positions, stream: int = COLOURS):
        """`image` float32 `[batch, height, width, 3]` in [0, 255] with the colours of each row changed.

        stream: number of the stream of random numbers, one per use in a step.
        """
        settings, uniform = self.settings, uniform_at(self.seed, stream, positions, 7)

        def of_row(row):
            image, numbers = row
            signed = settings.jitter * (2.0 * numbers[:4] - 1.0)
            image = tf.cond(
                numbers[4] < settings.jitter_probability,
                lambda: jittered(image, 1.0 + signed[0], 1.0 + signed[1], 1.0 + signed[2], signed[3]),
                lambda: image,
            )
            sigma = 0.15 + numbers[6]
            return tf.cond(numbers[5] < settings.blur_probability, lambda: blurred(image, sigma), lambda: image)

        return tf.map_fn(of_row, (image, uniform), fn_output_signature=tf.TensorSpec(image.shape[1:], tf.float32))


def shown_ids(label):
    """Which ids below 254 each label shows: bool `[batch, 254]`, from uint8 `[batch, height, width]`."""
    rows = tf.range(tf.shape(label)[0])[:, None, None] * _IDS
    counts = tf.math.bincount(tf.reshape(tf.cast(label, tf.int32) + rows, [-1]), minlength=tf.shape(label)[0] * _IDS)
    return tf.reshape(counts, (-1, _IDS))[:, :OUTSIDE] > 0
