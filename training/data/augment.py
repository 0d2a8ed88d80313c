"""Augmentation as plain TensorFlow functions of (arrays, random numbers): the same eagerly, in tf.data and on a GPU.

Geometry acts on image and label together: a window of the frame is cut out and resized to the crop. What lies
outside the frame becomes OUTSIDE in the label (never 0, which is a class) and the mean colour in the image.
All random decisions of a sample follow from one vector of uniform numbers, a function of (seed, position).
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import tensorflow as tf

from training.data.classes import OUTSIDE
from training.errors import UserError

MEAN_COLOR = (123.675, 116.28, 103.53)
"""ImageNet's mean RGB: after the network's normalisation, padding is close to zero."""

_LUMA = (0.299, 0.587, 0.114)
_BLUR_RADIUS = 3
DECISIONS = 20
"""Length of the vector of uniform numbers that one sample uses."""

_REDRAW = 0x5257  # keeps the numbers of crops drawn again apart from others of the same seed and position


@dataclass(frozen=True)
class SampleAugmentation:
    """The random changes of a training sample.

    Attributes:
        crop: (height, width) of what the network sees.
        scale: range of the random enlargement, relative to the size the whole image is first brought to.
        flip: probability of a horizontal flip.
        jitter: photometric strength; 0 = off, 0.5 moderate, 1 strong (brightness and contrast 40 %).
        grey: probability of a grey image.
        blur: probability of a Gaussian blur, sigma 0.2 to 1.5 pixels.
        noise: probability of Gaussian pixel noise, standard deviation up to 12 of 255.
        mine: probability of centring the crop on a pixel of a rare class (CBST, patch mining).
        mine_classes: train ids of the rare classes.
        redraws: where the sample was drawn for a class (rare class sampling), how often the crop is drawn again while
            it shows too little of that class or too much of any; 0 = never (DAFormer's program: 10).
        wanted_share: the crop shows enough where more than this share of its pixels is of that class (DAFormer's
            program: more than 1500 pixels, 0.0057 of 512 x 512).
        most_share: it shows too much of a class where more than this share of its labelled pixels is of it; 1 = never
            (DAFormer's program: 0.75).
    """

    crop: tuple[int, int]
    scale: tuple[float, float] = (1.0, 1.0)
    flip: float = 0.5
    jitter: float = 0.0
    grey: float = 0.0
    blur: float = 0.0
    noise: float = 0.0
    mine: float = 0.0
    mine_classes: tuple[int, ...] = ()
    redraws: int = 0
    wanted_share: float = 0.0057
    most_share: float = 1.0


def check_augmentation(augmentation: SampleAugmentation, size: tuple[int, int]) -> None:
    """Refuse settings that cannot give a useful crop of frames of `size`.

    Raises:
        UserError: naming the setting and its limits.
    """
    (height, width), (low, high) = augmentation.crop, augmentation.scale
    if not 0 < low <= high:
        raise UserError(f"The augmentation scale is {low} to {high}: give two positive numbers, the smaller one first.")
    if min(size) < 1 or min(height, width) < 1:
        raise UserError(
            f"The size {size[0]}x{size[1]} with crop {height}x{width} is impossible: both must be positive."
        )
    if height > math.ceil(size[0] * high) or width > math.ceil(size[1] * high):
        raise UserError(
            f"The crop {height}x{width} (height x width) is larger than frames of {size[0]}x{size[1]} enlarged "
            f"{high} times: choose a smaller crop or a larger size."
        )
    for name in ("flip", "grey", "blur", "noise", "mine"):
        if not 0 <= getattr(augmentation, name) <= 1:
            raise UserError(f"The augmentation's {name} is {getattr(augmentation, name)}: it is a probability, 0 to 1.")
    if augmentation.redraws < 0:
        raise UserError(f"The augmentation's redraws are {augmentation.redraws}: it is a number of tries, 0 or more.")
    if not 0 <= augmentation.wanted_share < 1:
        raise UserError(
            f"The augmentation's wanted_share is {augmentation.wanted_share}: it is a share of the crop's pixels, at "
            "least 0 and below 1."
        )
    if not 0 < augmentation.most_share <= 1:
        raise UserError(
            f"The augmentation's most_share is {augmentation.most_share}: it is a share of the crop's labelled pixels, "
            "above 0 and at most 1."
        )
    if augmentation.jitter < 0:
        raise UserError(f"The augmentation's jitter is {augmentation.jitter}: it is a strength, 0 (off) or more.")


class Draws(NamedTuple):
    """The uniform numbers in [0, 1) behind one sample, by what they decide."""

    scale: tf.Tensor
    top: tf.Tensor
    left: tf.Tensor
    flip: tf.Tensor
    mine: tf.Tensor
    mined_class: tf.Tensor
    mined_pixel: tf.Tensor
    photometric: tf.Tensor  # [11]
    noise_seed: tf.Tensor  # int32 [2]


def draw(seed: int, position: tf.Tensor, redraw: tf.Tensor | None = None) -> Draws:
    """The random numbers of the sample at `position` (int64 scalar) of the stage with `seed`; a pure function.

    redraw: int32 scalar, 1 for the first crop that is drawn again and so on; None for the first draw.
    """
    pair = tf.stack([tf.constant(seed, tf.int64), tf.cast(position, tf.int64)])
    if redraw is not None:
        for number in (_REDRAW, redraw):
            pair = tf.random.experimental.stateless_fold_in(pair, number)
    uniform = tf.random.stateless_uniform([DECISIONS], seed=pair)
    scalars = tf.unstack(uniform[:7])
    noise_seed = tf.cast(uniform[18:20] * 2.0**24, tf.int32)
    return Draws(*scalars, photometric=uniform[7:18], noise_seed=noise_seed)


class Window(NamedTuple):
    """Rectangle of the frame, in its pixels, that becomes the crop; it may reach beyond the frame."""

    top: tf.Tensor
    left: tf.Tensor
    height: tf.Tensor
    width: tf.Tensor
    flip: tf.Tensor


def draw_window(label: tf.Tensor, draws: Draws, augmentation: SampleAugmentation) -> Window:
    """A random window of the frame whose label is uint8 [h, w]; with probability `mine` centred on a rare class."""
    frame = tf.shape(label)
    low, high = augmentation.scale
    scale = low + (high - low) * draws.scale
    height, width = (tf.maximum(1, tf.cast(tf.round(side / scale), tf.int32)) for side in augmentation.crop)
    top = _random_start(frame[0], height, draws.top)
    left = _random_start(frame[1], width, draws.left)
    if augmentation.mine > 0 and augmentation.mine_classes:
        top, left = tf.cond(
            draws.mine < augmentation.mine,
            lambda: _mined_start(label, (height, width), (top, left), draws, augmentation.mine_classes),
            lambda: (top, left),
        )
    return Window(top, left, height, width, draws.flip < augmentation.flip)


def window_showing(
    label: tf.Tensor, wanted: tf.Tensor, seed: int, position: tf.Tensor, augmentation: SampleAugmentation
) -> Window:
    """A random window as of `draw_window`, drawn again while it shows too little of the class `wanted`, or too much of
    any class (DAFormer).

    A function of the frame, seed and position; redraw k has random numbers of its own. After `redraws` tries the last
    window stays.

    Args:
        label: uint8 [h, w], the frame's.
        wanted: int32 scalar, the class that the sample was drawn for; negative: none, nothing is drawn again.
    """
    window = draw_window(label, draw(seed, position), augmentation)
    if augmentation.redraws == 0:
        return window

    def is_refused(tries: tf.Tensor, window: Window) -> tf.Tensor:
        refused = _share_in(label, window, wanted) <= augmentation.wanted_share
        if augmentation.most_share < 1:
            refused |= _largest_share_in(label, window) > augmentation.most_share
        return (wanted >= 0) & (tries < augmentation.redraws) & refused

    def draw_again(tries: tf.Tensor, window: Window) -> tuple[tf.Tensor, Window]:
        return tries + 1, draw_window(label, draw(seed, position, tries + 1), augmentation)

    return tf.while_loop(is_refused, draw_again, (tf.constant(0), window))[1]


def _share_in(label: tf.Tensor, window: Window, class_id: tf.Tensor) -> tf.Tensor:
    """The share of the window's area that is of the class; nothing beyond the frame is."""
    pixels = tf.math.count_nonzero(_label_in(label, window) == class_id, dtype=tf.int32)
    return tf.cast(pixels, tf.float32) / tf.cast(window.height * window.width, tf.float32)


def _largest_share_in(label: tf.Tensor, window: Window) -> tf.Tensor:
    """The largest share of the window's labelled pixels that is of one class; 0 where there are none."""
    counts = tf.math.bincount(tf.reshape(_label_in(label, window), [-1]), minlength=OUTSIDE, maxlength=OUTSIDE)
    return tf.cast(tf.reduce_max(counts), tf.float32) / tf.cast(tf.maximum(tf.reduce_sum(counts), 1), tf.float32)


def _label_in(label: tf.Tensor, window: Window) -> tf.Tensor:
    """The part of the label that lies in the window: int32 [any, any]."""
    rows = slice(tf.maximum(window.top, 0), tf.maximum(window.top + window.height, 0))
    columns = slice(tf.maximum(window.left, 0), tf.maximum(window.left + window.width, 0))
    return tf.cast(label[rows, columns], tf.int32)


def _random_start(frame: tf.Tensor, window: tf.Tensor, uniform: tf.Tensor) -> tf.Tensor:
    """Uniform among the starts that keep the window inside the frame, or the frame inside the window."""
    slack = frame - window
    return tf.sign(slack) * tf.cast(uniform * tf.cast(tf.abs(slack) + 1, tf.float32), tf.int32)


Pair = tuple[tf.Tensor, tf.Tensor]  # along the rows, along the columns


def _mined_start(label: tf.Tensor, window: Pair, start: Pair, draws: Draws, classes: tuple[int, ...]) -> Pair:
    """Start of the window centred on a random pixel of a random rare class present; `start` if there is none.

    Like CRST (spec 2.2) the window is shifted to stay inside the frame.
    """
    is_class = label[None] == tf.constant(classes, tf.uint8)[:, None, None]  # [k, h, w]
    present = tf.where(tf.reduce_any(is_class, axis=(1, 2)))[:, 0]

    def centred() -> Pair:
        chosen = present[tf.cast(draws.mined_class * tf.cast(tf.size(present), tf.float32), tf.int32)]
        pixels = tf.where(is_class[chosen])
        pixel = pixels[tf.cast(draws.mined_pixel * tf.cast(tf.shape(pixels)[0], tf.float32), tf.int32)]
        pixel = tf.cast(pixel, tf.int32)
        slack = tf.maximum(tf.shape(label) - tf.stack(window), 0)
        inside = tf.clip_by_value(pixel - tf.stack(window) // 2, 0, slack)
        fits = tf.stack(window) <= tf.shape(label)
        top, left = tf.unstack(tf.where(fits, inside, tf.stack(start)))
        return top, left

    return tf.cond(tf.size(present) > 0, centred, lambda: start)


def apply_window(image: tf.Tensor, label: tf.Tensor, window: Window, crop: tuple[int, int]):
    """Cut `window` out of image uint8 [h, w, 3] and label uint8 [h, w] and resize it to `crop`.

    Returns:
        image float32 [*crop, 3] (bilinear, mean colour outside the frame) and label uint8 [*crop] (nearest, OUTSIDE
        outside the frame), pixel-aligned with each other.
    """
    rows, columns = (
        _visible(window.top, window.height, tf.shape(label)[0], crop[0]),
        _visible(window.left, window.width, tf.shape(label)[1], crop[1]),
    )
    cut = (slice(rows.first, rows.last), slice(columns.first, columns.last))
    size = tf.stack([rows.count, columns.count])
    image = tf.raw_ops.ResizeBilinear(images=image[cut][None], size=size, half_pixel_centers=True)[0]
    label = tf.raw_ops.ResizeNearestNeighbor(images=label[cut][None, ..., None], size=size, half_pixel_centers=True)[0]
    margins = tf.stack([tf.stack([rows.before, rows.after]), tf.stack([columns.before, columns.after])])
    image, label = tf.cond(
        tf.reduce_any(margins > 0),
        lambda: (_pad_image(image, margins), tf.pad(label[..., 0], margins, constant_values=OUTSIDE)),
        lambda: (image, label[..., 0]),
    )
    image, label = tf.cond(
        window.flip, lambda: (tf.reverse(image, [1]), tf.reverse(label, [1])), lambda: (image, label)
    )
    return tf.ensure_shape(image, (*crop, 3)), tf.ensure_shape(label, crop)


def _pad_image(image: tf.Tensor, margins: tf.Tensor) -> tf.Tensor:
    mean = tf.constant(MEAN_COLOR)
    return tf.pad(image - mean, tf.concat([margins, [[0, 0]]], axis=0)) + mean


class _Visible(NamedTuple):
    """Along one axis: the part of the frame inside the window, its length in the crop, and the padding around it."""

    first: tf.Tensor
    last: tf.Tensor
    count: tf.Tensor
    before: tf.Tensor
    after: tf.Tensor


def _visible(start: tf.Tensor, length: tf.Tensor, frame: tf.Tensor, crop: int) -> _Visible:
    first, last = tf.maximum(start, 0), tf.minimum(start + length, frame)
    rate = tf.cast(crop, tf.float32) / tf.cast(length, tf.float32)
    before = tf.minimum(tf.cast(tf.round(tf.cast(first - start, tf.float32) * rate), tf.int32), crop - 1)
    end = tf.cast(tf.round(tf.cast(last - start, tf.float32) * rate), tf.int32)
    count = tf.maximum(end - before, 1)
    return _Visible(first, last, count, before, crop - before - count)


def photometric(image: tf.Tensor, uniform: tf.Tensor, jitter: float, grey: float = 0.0) -> tf.Tensor:
    """Random exposure, contrast, colour and gamma of an image in [0, 255]: float32 [h, w, 3] -> the same.

    Colour cast, saturation, hue, contrast and brightness are linear in RGB, so they are one 3 x 3 matrix and an
    offset, applied in one pass over the pixels.

    Args:
        uniform: float32 [>= 9] in [0, 1).
        jitter: strength; at 1: brightness, contrast +-40 %, saturation +-60 %, hue +-18 degrees, cast +-15 %,
            gamma exp(+-0.4).
        grey: probability of a grey image.
    """
    signed = 2.0 * uniform - 1.0
    brightness, contrast, saturation, hue, gamma = tf.unstack(jitter * signed[:5])
    kept_color = tf.where(uniform[8] < grey, 0.0, tf.maximum(0.0, 1.0 + 0.6 * saturation))
    cast = 1.0 + 0.15 * jitter * signed[5:8]
    color = tf.matmul(_hue_matrix(math.radians(18.0) * hue), _saturation_matrix(kept_color) * cast)
    pixels = tf.reshape(image, (-1, 3))
    mean_luma = tf.tensordot(tf.linalg.matvec(color, _mean(pixels)), tf.constant(_LUMA), 1)
    gain = (1.0 + 0.4 * brightness) * (1.0 + 0.4 * contrast)
    offset = -(1.0 + 0.4 * brightness) * 0.4 * contrast * mean_luma
    pixels = tf.clip_by_value(tf.matmul(pixels, gain * color, transpose_b=True) + offset, 0.0, 255.0)
    # exp(log) is several times faster than pow; the small number keeps the logarithm finite.
    tone = tf.exp(tf.exp(0.4 * gamma) * tf.math.log(pixels / 255.0 + 1e-6))
    return tf.reshape(tf.minimum(255.0 * tone, 255.0), tf.shape(image))


def _mean(pixels: tf.Tensor) -> tf.Tensor:
    """Mean colour [3] of pixels [n, 3]; a product with ones, faster than a reduction along the first axis."""
    count = tf.shape(pixels)[0]
    return tf.matmul(tf.fill((1, count), 1.0 / tf.cast(count, tf.float32)), pixels)[0]


def _saturation_matrix(saturation: tf.Tensor) -> tf.Tensor:
    """[3, 3]: mixes a colour with its luma; 0 = grey, 1 = unchanged."""
    return saturation * tf.eye(3) + (1.0 - saturation) * tf.constant([_LUMA] * 3)


def _hue_matrix(angle: tf.Tensor) -> tf.Tensor:
    """[3, 3]: rotation by `angle` (radians) about the grey axis of the RGB cube (Rodrigues' formula)."""
    axis = tf.constant([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]]) / math.sqrt(3.0)
    third = tf.fill((3, 3), 1.0 / 3.0)
    return tf.cos(angle) * tf.eye(3) + (1.0 - tf.cos(angle)) * third + tf.sin(angle) * axis


def blurred(image: tf.Tensor, sigma: tf.Tensor) -> tf.Tensor:
    """Gaussian blur of float32 [h, w, 3], sigma in pixels (up to 1.5 for a 7-tap kernel), edges mirrored."""
    offsets = tf.range(-_BLUR_RADIUS, _BLUR_RADIUS + 1, dtype=tf.float32)
    weights = tf.nn.softmax(-(offsets**2) / (2.0 * sigma**2))
    for axis in (0, 1):
        margins = [[_BLUR_RADIUS] * 2 if axis == i else [0, 0] for i in range(3)]
        padded = tf.pad(image, margins, mode="REFLECT")
        length = tf.shape(image)[axis]
        slices = [
            padded[i : i + length] if axis == 0 else padded[:, i : i + length] for i in range(2 * _BLUR_RADIUS + 1)
        ]
        image = tf.add_n([weights[i] * part for i, part in enumerate(slices)])
    return tf.minimum(image, 255.0)  # the weights' sum may be a rounding error above 1


def noisy(image: tf.Tensor, deviation: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Adds Gaussian noise of standard deviation `deviation` (of 255), clipped to [0, 255]; `seed` int32 [2]."""
    noise = tf.random.stateless_normal(tf.shape(image), seed=seed, stddev=deviation)
    return tf.clip_by_value(image + noise, 0.0, 255.0)


def change_appearance(image: tf.Tensor, draws: Draws, augmentation: SampleAugmentation) -> tf.Tensor:
    """All photometric changes that `augmentation` asks for: float32 [h, w, 3] in [0, 255] -> the same."""
    uniform = draws.photometric
    if augmentation.jitter > 0 or augmentation.grey > 0:
        image = photometric(image, uniform, augmentation.jitter, augmentation.grey)
    if augmentation.blur > 0:
        sigma = 0.2 + 1.3 * uniform[9] / augmentation.blur  # given uniform < blur, the ratio is uniform again
        image = tf.cond(uniform[9] < augmentation.blur, lambda: blurred(image, sigma), lambda: image)
    if augmentation.noise > 0:
        deviation = 12.0 * uniform[10] / augmentation.noise
        image = tf.cond(
            uniform[10] < augmentation.noise, lambda: noisy(image, deviation, draws.noise_seed), lambda: image
        )
    return image
