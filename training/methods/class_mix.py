"""ClassMix (Olsson et al., WACV 2021) between a labelled source image and a target image (DACS, WACV 2021).

1. Draw half of the classes that the source image's own label shows; ignored pixels (254, 255) are no class.
2. The mask is true on the pixels of these classes. Images, label and weight are mixed by one mask.
3. Change the colours of the mixed image; no pixel moves.

Everything that is drawn is a function of seed and position. An online teacher mixes with the labels that it has just
given (`online_teacher.py`); a round of self-training with its pseudo-labels (`ClassMixer.pasted`).
"""

import tensorflow as tf

from training.data.augment import blurred
from training.data.strong_augment import jittered
from training.losses.regions import OUTSIDE
from training.randomness import uniform_at
from training.settings.sampling import ClassMix

CLASSES, COLOURS, MASKED_COLOURS = 0, 1, 3  # numbers of the streams of random numbers; 2: `block_mask.py`
_IDS = 256
_ROUNDING = 1e-4  # 0.6 * 5 classes are 3, not 4, whatever float32 makes of it


class ClassMixer:
    """Draws the masks and the colours of mixed images.

    Args:
        settings: the share of the classes and the strength of the colour changes.
        seed: of the stage.
        target_weight: of the target's pixels in `pasted`, where a pasted one has the weight 1.
    """

    def __init__(self, settings: ClassMix, seed: int, target_weight: float = 1.0):
        self.settings, self.seed, self.target_weight = settings, seed, target_weight

    def mask(self, label, positions):
        """Where the source is pasted: bool `[batch, height, width]`.

        Args:
            label: uint8 `[batch, height, width]`, the source's.
            positions: int64 `[batch]`.
        """
        present = shown_ids(label)
        # The classes of each image in random order, those that are not shown last; the first of them are chosen.
        uniform = uniform_at(self.seed, CLASSES, positions, OUTSIDE)
        order = tf.argsort(tf.where(present, uniform, 2.0), axis=1)
        rank = tf.argsort(order, axis=1)
        shown = tf.math.count_nonzero(present, axis=1, dtype=tf.float32)
        chosen = tf.cast(rank, tf.float32) < tf.math.ceil(self.settings.share * shown - _ROUNDING)[:, None]
        # From chosen ids to pixels; no pixel of 254 or 255 is chosen.
        return tf.gather(tf.pad(chosen, [[0, 0], [0, _IDS - OUTSIDE]]), tf.cast(label, tf.int32), batch_dims=1)

    def recoloured(self, image, positions, stream: int = COLOURS):
        """`image` with the colours of each row changed: float32 `[batch, height, width, 3]` in [0, 255].

        Args:
            image: of that shape and range.
            positions: int64 `[batch]`.
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
            sigma = 0.15 + numbers[6]  # pixels, U(0.15, 1.15)
            return tf.cond(numbers[5] < settings.blur_probability, lambda: blurred(image, sigma), lambda: image)

        return tf.map_fn(of_row, (image, uniform), fn_output_signature=tf.TensorSpec(image.shape[1:], tf.float32))

    def pasted(self, batch) -> dict:
        """The batch of a round with source pixels pasted into the target's views and pseudo-labels, by one mask.

        The target gets "pasted", bool, and "weight", float32, too, both `[b, h, w]`. The colours of the weak view stay
        as they are.

        Args:
            batch: `{"source": {"image", "label", "position"}, "target": {"image", "label"}}`, perhaps with the target's
                "weak"; images float32 `[b, h, w, 3]`, labels uint8 `[b, h, w]`, of one size.
        """
        source, target = batch["source"], batch["target"]
        mask, names = self.mask(source["label"], source["position"]), {"image", "weak"} & set(target)
        views = {name: tf.where(mask[..., None], source["image"], target[name]) for name in names}
        views["image"] = self.recoloured(views["image"], source["position"])
        label, weight = tf.where(mask, source["label"], target["label"]), tf.where(mask, 1.0, self.target_weight)
        return {**batch, "target": {**target, **views, "label": label, "weight": weight, "pasted": mask}}


def shown_ids(label):
    """Which ids below 254 each label shows: bool `[batch, 254]`, from uint8 `[batch, height, width]`."""
    rows = tf.range(tf.shape(label)[0])[:, None, None] * _IDS
    counts = tf.math.bincount(tf.reshape(tf.cast(label, tf.int32) + rows, [-1]), minlength=tf.shape(label)[0] * _IDS)
    return tf.reshape(counts, (-1, _IDS))[:, :OUTSIDE] > 0
