"""ClassMix between domains (Olsson et al., WACV 2021; DACS, Tranheden et al., WACV 2021): half of the classes of a
labelled source crop are pasted, with their pixels, into a target crop.

The pasted pixels carry true labels onto the target's backgrounds, which is what teaches a network the thin and rare
things (poles, signs, fences) that it does not yet see in the target, and that no pseudo-label can therefore show it.
"""

import tensorflow as tf

CLASS_IDS = 256  # labels are uint8; what is no class (255 = ignored, padding) is never pasted
_STREAM = 6151  # keeps these random numbers apart from those of the crops for the same seed


def pasted_classes(label: tf.Tensor, classes: int, share: float, seed: int, step: tf.Tensor) -> tf.Tensor:
    """Which classes of each label are pasted: `share` of those it shows, rounded up, drawn uniformly.

    Args:
        label: uint8 `[b, h, w]`.
        classes: train ids below this are classes.
        step: int64 scalar, the position of the batch; the draw is a pure function of it and the seed.

    Returns:
        bool `[b, 256]`.
    """
    batch = tf.shape(label)[0]
    flat = tf.cast(tf.reshape(label, (batch, -1)), tf.int32)
    present = tf.math.bincount(flat, minlength=CLASS_IDS, maxlength=CLASS_IDS, axis=-1, binary_output=True) > 0
    present &= tf.range(CLASS_IDS) < classes
    pair = tf.stack([tf.constant(seed, tf.int64), tf.cast(step, tf.int64)])
    pair = tf.random.experimental.stateless_fold_in(pair, _STREAM)
    drawn = tf.where(present, tf.random.stateless_uniform((batch, CLASS_IDS), pair), 2.0)
    place = tf.argsort(tf.argsort(drawn, axis=-1), axis=-1)
    count = tf.reduce_sum(tf.cast(present, tf.float32), axis=-1, keepdims=True)
    return present & (tf.cast(place, tf.float32) < tf.math.ceil(share * count))


def class_mixed(source: dict, target: dict, classes: int, share: float, seed: int, step: tf.Tensor) -> dict:
    """The target batch with classes of the source batch pasted in, image by image, at the same coordinates.

    Args:
        source, target: `{"image": float32 [b, h, w, 3], "label": uint8 [b, h, w]}`; if the target has "weak", a
            pixel-aligned other view, the same pixels are pasted there.
    """
    chosen = pasted_classes(source["label"], classes, share, seed, step)
    mask = tf.gather(chosen, tf.cast(source["label"], tf.int32), batch_dims=1)
    views = {
        view: tf.where(mask[..., None], source["image"], target[view]) for view in ("image", "weak") if view in target
    }
    return {**target, **views, "label": tf.where(mask, source["label"], target["label"])}
