"""ClassMix between domains (Olsson et al., WACV 2021; DACS, Tranheden et al., WACV 2021): half of the classes of a
labelled source crop are pasted, with their pixels, into a target crop.

The pasted pixels carry true labels onto the target's backgrounds, which is what teaches a network the thin and rare
things (poles, signs, fences) that it does not yet see in the target, and that no pseudo-label can therefore show it.
"""

import tensorflow as tf

CLASS_IDS = 256  # labels are uint8; what is no class (255 = ignored, padding) is never pasted
_STREAM = 6151  # keeps these random numbers apart from those of the crops for the same seed


def pasted_classes(label: tf.Tensor, positions: tf.Tensor, classes: int, share: float, seed: int) -> tf.Tensor:
    """Which classes of each label are pasted: `share` of those it shows, rounded up, drawn uniformly.

    Args:
        label: uint8 `[b, h, w]`.
        positions: int64 `[b]`, of the crops in their stage; the draw is a pure function of them and the seed.
        classes: train ids below this are classes.

    Returns:
        bool `[b, 256]`.
    """
    flat = tf.cast(tf.reshape(label, (tf.shape(label)[0], -1)), tf.int32)
    present = tf.math.bincount(flat, minlength=CLASS_IDS, maxlength=CLASS_IDS, axis=-1, binary_output=True) > 0
    present &= tf.range(CLASS_IDS) < classes
    drawn = tf.where(present, tf.map_fn(lambda at: _uniform(seed, at), positions, tf.float32), 2.0)
    place = tf.argsort(tf.argsort(drawn, axis=-1), axis=-1)
    count = tf.reduce_sum(tf.cast(present, tf.float32), axis=-1, keepdims=True)
    return present & (tf.cast(place, tf.float32) < tf.math.ceil(share * count))


def _uniform(seed: int, position: tf.Tensor) -> tf.Tensor:
    pair = tf.stack([tf.constant(seed, tf.int64), position])
    return tf.random.stateless_uniform([CLASS_IDS], tf.random.experimental.stateless_fold_in(pair, _STREAM))


def class_mixed(source: dict, target: dict, classes: int, share: float, seed: int) -> dict:
    """The target batch with classes of the source batch pasted in, image by image, at the same coordinates.

    Args:
        source, target: `{"image": float32 [b, h, w, 3], "label": uint8 [b, h, w], "position": int64 [b]}`; if the
            target has "weak", a pixel-aligned other view, the same pixels are pasted there.
    """
    chosen = pasted_classes(source["label"], target["position"], classes, share, seed)
    mask = tf.gather(chosen, tf.cast(source["label"], tf.int32), batch_dims=1)
    views = {
        view: tf.where(mask[..., None], source["image"], target[view]) for view in ("image", "weak") if view in target
    }
    return {**target, **views, "label": tf.where(mask, source["label"], target["label"])}
