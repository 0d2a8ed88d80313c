"""Class probabilities of images: one network, any scales, with or without the mirrored view.

Probabilities are averaged on the network's own coarse grid and only then enlarged, bilinearly: a convex combination of
distributions stays a distribution (the published codes enlarge by bicubic and leave [0, 1]), and 1/16 to 1/64 of the
numbers need to be kept.
"""

import copy

import keras
import tensorflow as tf

from models.layers import scaled

MOST_AT_ONCE = 8  # images that are predicted at once; their statistics need less memory and see twice as many
PIXELS_OF_ONE = 1 << 18  # larger images are fewer at once, in proportion
CELLS = 512  # of one image that `Predictor.probs_and_cells` looks at, about
_ONE_FOR_ALL_SIZES = {"input_signature": [tf.TensorSpec((None, None, None, 3), tf.float32)], "autograph": False}


def images_at_once(size: tuple[int, int], most: int = MOST_AT_ONCE) -> int:
    """How many images of `size` (height, width) a network sees at once without training: at most `most`, at least 1."""
    return max(1, min(most, most * PIXELS_OF_ONE // (size[0] * size[1])))


class Predictor:
    """Mean soft-max of `network` over `scales` and flips.

    Args:
        network: functional model, image -> {"logits"}.
        scales: factors on the height and width of the given image; the first gives the grid of the result.
        flips: which views of each scale: `(False,)` the image, `(False, True)` the mirrored one too.
        image_size: (height, width) of the images that the network should be given; None: that of the caller's data.
    """

    def __init__(
        self,
        network: keras.Model,
        scales: tuple[float, ...] = (1.0,),
        flips: tuple[bool, ...] = (False,),
        image_size: tuple[int, int] | None = None,
    ):
        self.network, self.image_size = network, image_size
        self.outputs = tf.function(self._both_outputs, **_ONE_FOR_ALL_SIZES)
        self.logits = tf.function(self._logits, **_ONE_FOR_ALL_SIZES)
        self.probs_and_cells = tf.function(self._probs_and_cells, **_ONE_FOR_ALL_SIZES)
        self._look_at(scales, flips)

    def with_views(self, scales: tuple[float, ...] = (1.0,), flips: tuple[bool, ...] = (False,)) -> "Predictor":
        """A predictor over other views of the same network, whose graph is not traced again."""
        other = copy.copy(self)
        other._look_at(scales, flips)
        return other

    def _look_at(self, scales: tuple[float, ...], flips: tuple[bool, ...]) -> None:
        self.views = [(scale, mirrored) for scale in scales for mirrored in flips]
        self.coarse_probs = tf.function(self._coarse_probs, **_ONE_FOR_ALL_SIZES)

    def _logits(self, image):
        """float32 `[b, h, w, 3]` in [0, 255] -> float32 logits `[b, h / stride, w / stride, classes]` of one view."""
        return self.outputs(image)[0]

    def _both_outputs(self, image):
        """Logits and features of one view, float32, each on its own grid; the logits twice without features."""
        outputs = self.network(image, training=False)
        logits = tf.cast(outputs["logits"], tf.float32)
        return logits, tf.cast(outputs.get("features", logits), tf.float32)

    def _probs_and_cells(self, image):
        """Of the image as it is: its probabilities, as `coarse_probs`, and some evenly spaced places of them.

        Returns:
            probs: float32 `[b, h / stride, w / stride, classes]`.
            cells: label uint8 `[b, rows, columns]` and features float32 `[b, rows, columns, channels]` in the same
                places, about `CELLS` per image: the nearest ones of both grids.
        """
        logits, features = self.outputs(image)
        probs = tf.nn.softmax(logits)
        length = tf.cast(tf.shape(features)[1:3], tf.float32)
        step = tf.maximum(1.0, tf.sqrt(length[0] * length[1] / CELLS))
        grid = tf.cast(tf.math.ceil(length / step), tf.int32)
        label = tf.cast(tf.argmax(tf.image.resize(probs, grid, method="nearest"), axis=-1), tf.uint8)
        return probs, (label, tf.image.resize(features, grid, method="nearest"))

    def _coarse_probs(self, image):
        """float32 `[b, h, w, 3]` in [0, 255] -> float32 `[b, h / stride, w / stride, classes]`, summing to 1."""
        first, *others = [self._view(image, scale, mirrored) for scale, mirrored in self.views]
        grid = tf.shape(first)[1:3]
        return tf.add_n([first, *[tf.image.resize(other, grid) for other in others]]) / float(len(self.views))

    def _view(self, image, scale: float, mirrored: bool):
        image = scaled(image, scale)
        probs = tf.nn.softmax(self.logits(image[:, :, ::-1] if mirrored else image))
        return probs[:, :, ::-1] if mirrored else probs


@tf.function(reduce_retracing=True, autograph=False)
def enlarge(probs, size):
    """Bilinearly bring `[b, h, w, classes]` to `size` (height, width)."""
    return tf.image.resize(probs, size)


@tf.function(reduce_retracing=True, autograph=False)
def enlarged_label(probs, size):
    """The arg-max label, uint8 `[b, height, width]`, of the enlarged probabilities."""
    return tf.cast(tf.argmax(tf.image.resize(probs, size), axis=-1), tf.uint8)
