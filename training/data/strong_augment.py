"""The strong view that a mean teacher's student is trained on (HIAST, TPAMI 2025, section 4.4): colours change, no
pixel moves.

Three of eight operations are chosen without replacement, in random order, and each is applied with probability 1/2.
Plain TensorFlow functions of (image, random numbers), the same eagerly, in tf.data and on a GPU. An image is float32
[h, w, 3] in [0, 255] before and after each of them.
"""

from typing import NamedTuple

import tensorflow as tf

CHOSEN = 3
_DECISIONS = 4  # uniform numbers that one operation may use
_STREAM = 8191  # keeps these random numbers apart from those of `augment.draw` for the same seed and position

BLUR_RADII = 20
"""Published kernels have 3, 5 ... 41 taps, so radii of 1 to 20 pixels, in frames of 512 rows."""
BLUR_ROWS = 512


class StrongDraws(NamedTuple):
    """The random choices behind one strong view."""

    chosen: tf.Tensor  # int32 [3], different indices into OPERATIONS, in the order of use
    executed: tf.Tensor  # bool [3], which of them are applied
    uniform: tf.Tensor  # float32 [3, 4] in [0, 1), the parameters of each operation


def draw_strong(seed: int, position: tf.Tensor) -> StrongDraws:
    """The choices for the sample at `position` (int64 scalar) of the stage with `seed`; a pure function."""
    pair = tf.stack([tf.constant(seed, tf.int64), tf.cast(position, tf.int64)])
    pair = tf.random.experimental.stateless_fold_in(pair, _STREAM)
    count = len(OPERATIONS)
    uniform = tf.random.stateless_uniform([count + CHOSEN + CHOSEN * _DECISIONS], seed=pair)
    chosen = tf.argsort(uniform[:count])[:CHOSEN]  # the start of a uniform permutation
    executed = uniform[count : count + CHOSEN] < 0.5
    return StrongDraws(chosen, executed, tf.reshape(uniform[count + CHOSEN :], (CHOSEN, _DECISIONS)))


def strong_view(weak: tf.Tensor, draws: StrongDraws) -> tf.Tensor:
    """The strong view of a weak one, pixel-aligned with it and with its label."""
    image = weak
    for place in range(CHOSEN):
        branches = [lambda image=image, place=place, f=f: f(image, draws.uniform[place]) for f in OPERATIONS]
        unchanged = lambda image=image: tf.identity(image)  # noqa: E731
        which = tf.where(draws.executed[place], draws.chosen[place], len(OPERATIONS))
        image = tf.ensure_shape(tf.switch_case(which, [*branches, unchanged]), weak.shape)
    return image


def clipped(image: tf.Tensor) -> tf.Tensor:
    return tf.clip_by_value(image, 0.0, 255.0)


def jittered(image: tf.Tensor, brightness, contrast, saturation, hue) -> tf.Tensor:
    """Brightness, contrast (about the mean luma) and saturation times a factor; hue turned by a part of the circle."""
    image = clipped(image * brightness)
    mean = tf.reduce_mean(tf.image.rgb_to_grayscale(image))
    image = clipped(mean + contrast * (image - mean))
    grey = tf.image.rgb_to_grayscale(image)
    image = clipped(grey + saturation * (image - grey))
    return clipped(tf.image.adjust_hue(image, hue))


def blurred(image: tf.Tensor, radius: tf.Tensor) -> tf.Tensor:
    """Gaussian blur; `radius` (float scalar) and its standard deviation in pixels of a frame of 512 rows, scaled.

    The standard deviation is what OpenCV derives from a kernel of `2 * radius + 1` taps. Edges are mirrored.
    """
    scale = tf.cast(tf.shape(image)[0], tf.float32) / BLUR_ROWS
    deviation = (0.3 * (radius - 1.0) + 0.8) * scale
    reach = tf.minimum(tf.cast(tf.math.ceil(radius * scale), tf.int32), tf.reduce_min(tf.shape(image)[:2]) - 1)
    offsets = tf.cast(tf.range(-reach, reach + 1), tf.float32)
    weights = tf.nn.softmax(-(offsets**2) / (2.0 * deviation**2))
    for _ in range(2):  # along the rows of the transposed image, then of the image
        image = _filtered_along_rows(tf.transpose(image, (1, 0, 2)), weights)
    return clipped(image)  # the weights' sum may be a rounding error above 1


def _filtered_along_rows(image: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    """Filters [h, w, 3] along h. Columns and colours are channels of a depthwise convolution, which vectorises."""
    height, width = tf.unstack(tf.shape(image)[:2])
    taps, reach = tf.size(weights), tf.size(weights) // 2
    padded = tf.pad(image, [[reach, reach], [0, 0], [0, 0]], mode="REFLECT")
    kernel = tf.broadcast_to(weights[:, None, None, None], tf.stack([taps, 1, width * 3, 1]))
    columns = tf.reshape(padded, tf.stack([1, height + 2 * reach, 1, width * 3]))
    filtered = tf.nn.depthwise_conv2d(columns, kernel, strides=[1, 1, 1, 1], padding="VALID")
    return tf.reshape(filtered, tf.stack([height, width, 3]))


def posterized(image: tf.Tensor) -> tf.Tensor:
    """The four highest bits of each value."""
    return tf.floor(image / 16.0) * 16.0


def equalized(image: tf.Tensor) -> tf.Tensor:
    """Each colour's values spread over 0 to 255 by their rank: its histogram becomes flat; a constant colour stays."""
    index = tf.cast(image, tf.int32) + [0, 256, 512]
    counts = tf.math.bincount(tf.reshape(index, [-1]), minlength=768, maxlength=768)
    ranks = tf.cumsum(tf.reshape(counts, (3, 256)), axis=1)
    pixels = ranks[:, -1:]
    lowest = tf.reduce_min(tf.where(ranks > 0, ranks, pixels), axis=1, keepdims=True)
    spread = tf.cast(ranks - lowest, tf.float32) * 255.0 / tf.cast(tf.maximum(pixels - lowest, 1), tf.float32)
    levels = tf.where(lowest == pixels, tf.range(256.0)[None], tf.round(spread))
    return tf.gather(tf.reshape(levels, [-1]), index)


def solarized(image: tf.Tensor) -> tf.Tensor:
    """Inverts the values of 128 and more."""
    return tf.where(image < 128.0, image, 255.0 - image)


def grey(image: tf.Tensor) -> tf.Tensor:
    return tf.image.grayscale_to_rgb(tf.image.rgb_to_grayscale(image))


def _color_jitter(image: tf.Tensor, uniform: tf.Tensor) -> tf.Tensor:
    """Factors 0.8 to 1.2, hue +-0.2 of the circle."""
    signed = 0.4 * uniform - 0.2
    return jittered(image, 1.0 + signed[0], 1.0 + signed[1], 1.0 + signed[2], signed[3])


def _gaussian_blur(image: tf.Tensor, uniform: tf.Tensor) -> tf.Tensor:
    return blurred(image, 1.0 + tf.floor(BLUR_RADII * uniform[0]))


def _contrast(image: tf.Tensor, uniform: tf.Tensor) -> tf.Tensor:
    """Values times 1 to 4, as Albumentations' RandomContrast with limit (0, 3) understands contrast: about black."""
    return clipped(image * (1.0 + 3.0 * uniform[0]))


def _brightness(image: tf.Tensor, uniform: tf.Tensor) -> tf.Tensor:
    """Values plus up to half of 255, or minus."""
    return clipped(image + 255.0 * (uniform[0] - 0.5))


OPERATIONS = (
    _color_jitter,
    _gaussian_blur,
    _contrast,
    _brightness,
    lambda image, uniform: posterized(image),
    lambda image, uniform: equalized(image),
    lambda image, uniform: solarized(image),
    lambda image, uniform: grey(image),
)
"""Each is `f(image, uniform [4]) -> image`; all eight are equally likely."""
