"""Anybody's segmenter as a predictor of class probabilities: an ONNX or a Keras file, asked like `Predictor`.

What is understood is read off the file and tried on one picture of noise when it is opened:

1. One image input of rank 4 with 3 channels, RGB, the last axis or the second: uint8, float16 or float32. Height and
   width may be free, or fixed: pictures are then brought to that size. The batch may be free, or 1.
2. Maps of class scores, float `[b, h, w, classes]` or `[b, classes, h, w]` at any stride: probabilities where they lie
   in 0..1 and sum to 1, else logits. Of several, the one called logits, probs, probabilities, out or output, else the
   first.
3. Where there are none: integer labels `[b, h, w]` with a float confidence in 0..1 of the same shape. The rest of the
   probability is then spread evenly over the other classes.

A file that StreetShift exported must name the classes of the label space. Of any other only their number can be
checked: that class 0 is this label space's class 0 is taken on trust. So is what a float input wants: see `PIXELS`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from training.data.augment import MEAN_COLOR
from training.data.classes import LabelSpace
from training.errors import UserError
from training.probability_maps.scores import softmax

DEVIATION = np.array([58.395, 57.12, 57.375])  # ImageNet's, in RGB
PIXELS = {
    "bytes": (1.0, 0.0),
    "unit": (1 / 255, 0.0),
    "signed": (1 / 127.5, -1.0),
    "imagenet": (1 / DEVIATION, -np.array(MEAN_COLOR) / DEVIATION),
}
"""What becomes of a value in 0..255, as (factor, summand): 0..255, 0..1, -1..1, or ImageNet's mean and deviation.

Where it is not said, a file that StreetShift exported gets "bytes". Of others an input with channels second
(PyTorch's habit) gets "imagenet" if it is float, and the rest "bytes".
"""
SUFFIXES = (".onnx", ".keras")
USUAL_NAMES = ("logits", "probs", "probabilities", "out", "output")
FLOATS = {"float16", "float32"}


@dataclass(frozen=True)
class SegmenterFile:
    """An opened file. shape: of its image, None = free; dtype: "uint8", "float16" or "float32"; run: image array ->
    its outputs by name; names: of its classes, training_size: (height, width), each None where it does not say."""

    shape: tuple[int | None, ...]
    dtype: str
    run: Callable[[np.ndarray], Mapping[str, np.ndarray]]
    names: tuple[str, ...] | None = None
    training_size: tuple[int, int] | None = None


class ForeignPredictor:
    """Class probabilities by somebody else's model, the mean of the image's and its mirrored view's.

    Args:
        path: an .onnx or .keras file as the module's text says.
        label_space: its classes in its order.
        size: (height, width) of the images, for a file that has no fixed one and does not say what it was trained at.
        pixels: a key of `PIXELS`, None = the usual one.

    Attributes:
        network: a callable like a network, image -> {"logits"}, for use inside a training step.
        image_size: (height, width) of the images that it should be given; others are brought to it.
        understood: in words, how image and outputs were understood.

    Raises:
        UserError: no such file, not readable, or a file that does not fit the module's text.
    """

    def __init__(self, path: Path, label_space: LabelSpace, size: tuple[int, int], pixels: str | None = None):
        self.path, self.classes = path, label_space.count
        self.file = _opened(path)
        _check_names(path, self.file.names, label_space)
        self.channels_first = _channels_first(path, self.file.shape)
        _check_batch(path, self.file.shape)
        height, width = self.file.shape[2:4] if self.channels_first else self.file.shape[1:3]
        usual = self.file.training_size or size
        self.image_size = (height or usual[0], width or usual[1])
        ours = self.file.names is not None
        self.pixels = pixels or ("bytes" if ours else _usual_pixels(self.channels_first, self.file.dtype))
        noise = np.random.default_rng(0).integers(0, 256, (1, *self.image_size, 3)).astype(np.float32)
        self.read, what = _reader_of(path, self._outputs(noise), self.classes, self.channels_first)
        order = "channels second" if self.channels_first else "channels last"
        seen = f"{self.image_size[0]}x{self.image_size[1]}"
        self.understood = f"image {self.file.dtype} of {seen}, {order}, pixels as {self.pixels}; {what}"
        self.network = self.logits_of

    def coarse_probs(self, image) -> tf.Tensor:
        """float32 `[b, h, w, 3]` in [0, 255] -> float32 `[b, ?, ?, classes]` on the model's grid, summing to 1."""
        return tf.constant(self._probs(np.asarray(image, np.float32)))

    def logits_of(self, image, training: bool = False) -> dict[str, tf.Tensor]:
        """The same as a network's answer, in a graph too: logarithms of the probabilities are logits."""
        probs = tf.ensure_shape(tf.numpy_function(self._probs, [image], tf.float32), (None, None, None, self.classes))
        return {"logits": tf.math.log(tf.maximum(probs, 1e-30))}

    def _probs(self, image: np.ndarray) -> np.ndarray:
        if image.shape[1:3] != self.image_size:
            image = tf.image.resize(image, self.image_size).numpy()
        plain, mirrored = (self._seen(view) for view in (image, image[:, :, ::-1]))
        return (plain + mirrored[:, :, ::-1]) / 2

    def _seen(self, image: np.ndarray) -> np.ndarray:
        parts = np.split(image, len(image)) if self.file.shape[0] == 1 else [image]
        return np.concatenate([self.read(self._outputs(part)) for part in parts])

    def _outputs(self, image: np.ndarray) -> Mapping[str, np.ndarray]:
        factor, summand = PIXELS[self.pixels]
        values = np.float32(factor) * image + np.float32(summand)
        if self.file.dtype == "uint8":
            values = np.rint(values)
        if self.channels_first:
            values = np.moveaxis(values, -1, 1)
        try:
            return self.file.run(np.ascontiguousarray(values, self.file.dtype))
        except Exception as error:  # of ONNX Runtime or TensorFlow: whatever the file's own graph does not bear
            raise UserError(
                f"{self.path} failed on images of {image.shape[1]}x{image.shape[2]} pixels ({_first_line(error)}): "
                "choose a --size that it can take"
            ) from error


def _opened(path: Path) -> SegmenterFile:
    if not path.is_file():
        raise UserError(f"there is no file {path}: give an .onnx or .keras file")
    if path.suffix not in SUFFIXES:
        raise UserError(f"{path}: expected an {' or a '.join(SUFFIXES)} file")
    try:
        return (_open_onnx if path.suffix == ".onnx" else _open_keras)(path)
    except UserError:
        raise
    except Exception as error:  # neither library has a base class for a file it cannot read
        raise UserError(
            f"{path} cannot be opened ({_first_line(error)}): give a complete {path.suffix} file"
        ) from error


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__


def _open_onnx(path: Path) -> SegmenterFile:
    import onnxruntime

    from training.prediction.model_metadata import METADATA_KEY, ModelMetadata
    from training.prediction.onnx_providers import usual_providers

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=usual_providers())
    image = _only_input(path, session.get_inputs())
    shape = tuple(length if isinstance(length, int) else None for length in image.shape)
    dtype = {"tensor(float)": "float32"}.get(image.type, image.type.removeprefix("tensor(").removesuffix(")"))
    about = session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
    metadata = ModelMetadata.from_json(about, str(path)) if about else None
    outputs = [output.name for output in session.get_outputs()]

    def run(array: np.ndarray) -> dict[str, np.ndarray]:
        return dict(zip(outputs, session.run(outputs, {image.name: array}), strict=True))

    ours = {} if metadata is None else {"names": metadata.names, "training_size": metadata.training_size}
    return SegmenterFile(shape, _checked_dtype(path, dtype), run, **ours)


def _open_keras(path: Path) -> SegmenterFile:
    import keras

    import models.segmenter  # noqa: F401  layers of our own networks, which the file may hold

    model = keras.models.load_model(path, compile=False)
    image = _only_input(path, model.inputs)
    infer = tf.function(lambda array: model(array, training=False), reduce_retracing=True)

    def run(array: np.ndarray) -> dict[str, np.ndarray]:
        outputs = infer(tf.constant(array))
        if not isinstance(outputs, Mapping):
            listed = outputs if isinstance(outputs, list | tuple) else [outputs]
            outputs = dict(zip(model.output_names, listed, strict=True))
        wide = (tf.cast(value, tf.float32) if value.dtype.is_floating else value for value in outputs.values())
        return {name: value.numpy() for name, value in zip(outputs, wide, strict=True)}  # NumPy has no bfloat16

    return SegmenterFile(tuple(image.shape), _checked_dtype(path, image.dtype), run)


def _only_input(path: Path, inputs: list):
    if len(inputs) != 1:
        raise UserError(f"{path} wants {len(inputs)} inputs ({', '.join(i.name for i in inputs)}): expected one image")
    return inputs[0]


def _checked_dtype(path: Path, dtype: str) -> str:
    if dtype not in FLOATS | {"uint8"}:
        raise UserError(f"{path} wants its image as {dtype}: expected uint8, float16 or float32")
    return dtype


def _check_names(path: Path, names: tuple[str, ...] | None, label_space: LabelSpace) -> None:
    if names is not None and names != label_space.names:
        raise UserError(
            f"{path} knows the classes {', '.join(names)}, but label space '{label_space.name}' has "
            f"{', '.join(label_space.names)}: choose --classes or a model with the same ones"
        )


def _channels_first(path: Path, shape: tuple[int | None, ...]) -> bool:
    if len(shape) == 4 and 3 in (shape[1], shape[3]):
        return shape[3] != 3
    seen = " x ".join("?" if length is None else str(length) for length in shape)
    raise UserError(
        f"{path} wants an input of {seen}: expected an image with 3 channels, b x h x w x 3 or b x 3 x h x w"
    )


def _check_batch(path: Path, shape: tuple[int | None, ...]) -> None:
    if shape[0] not in (None, 1):
        raise UserError(f"{path} wants exactly {shape[0]} images at once: export it with a free batch, or with 1")


def _usual_pixels(channels_first: bool, dtype: str) -> str:
    return "imagenet" if channels_first and dtype in FLOATS else "bytes"


def _reader_of(path: Path, outputs: Mapping[str, np.ndarray], classes: int, channels_first: bool):
    """`(outputs -> probabilities [b, h, w, classes], what was understood)`, judged by the outputs on one picture."""
    axes = (1, 3) if channels_first else (3, 1)
    maps = {
        name: next(axis for axis in axes if array.shape[axis] == classes)
        for name, array in outputs.items()
        if array.ndim == 4 and array.dtype.kind == "f" and classes in (array.shape[1], array.shape[3])
    }
    if maps:
        name = next((usual for usual in USUAL_NAMES if usual in maps), next(iter(maps)))
        return _map_reader(path, name, np.moveaxis(outputs[name], maps[name], -1), maps[name])
    pair = _labels_and_confidence(outputs)
    if pair is None:
        seen = ", ".join(f"{name} {array.dtype} {list(array.shape)}" for name, array in outputs.items())
        raise UserError(
            f"{path} gives {seen}: expected maps of {classes} classes, or integer labels with a confidence in 0..1"
        )
    return lambda found: _from_labels(path, *(found[name] for name in pair), classes), f"labels and confidence {pair}"


def _map_reader(path: Path, name: str, values: np.ndarray, axis: int):
    if not np.isfinite(values).all():
        raise UserError(f"{path} gives values in '{name}' that are not finite: its input may want other pixels")
    within = values.min() >= 0 and values.max() <= 1
    if within and np.abs(values.sum(axis=-1, dtype=np.float64) - 1).max() < 1e-2:
        return lambda found: _normalised(np.moveaxis(found[name], axis, -1)), f"probabilities '{name}'"
    if within:
        raise UserError(f"{path} gives '{name}' in 0..1 that does not sum to 1: expected one class a pixel (soft-max)")
    return lambda found: softmax(np.moveaxis(found[name], axis, -1).astype(np.float32)), f"logits '{name}'"


def _normalised(probs: np.ndarray) -> np.ndarray:
    probs = probs.astype(np.float32)
    return probs / probs.sum(axis=-1, keepdims=True)


def _labels_and_confidence(outputs: Mapping[str, np.ndarray]) -> tuple[str, str] | None:
    """Names of an integer output `[b, h, w]` and a float one of its shape with values in 0..1."""
    for name, labels in outputs.items():
        for other, confidence in outputs.items():
            kinds = (labels.dtype.kind in "iu", confidence.dtype.kind == "f", labels.ndim == 3)
            if all(kinds) and confidence.shape == labels.shape and 0 <= confidence.min() <= confidence.max() <= 1:
                return name, other
    return None


def _from_labels(path: Path, labels: np.ndarray, confidence: np.ndarray, classes: int) -> np.ndarray:
    """Distributions that have the label as their arg-max: the others share what the confidence leaves."""
    if labels.min() < 0 or labels.max() >= classes:
        raise UserError(f"{path} gives labels from {labels.min()} to {labels.max()}: expected 0 to {classes - 1}")
    confidence = np.maximum(confidence.astype(np.float32), np.float32(1.001 / classes))[..., None]
    rest = (1 - confidence) / max(classes - 1, 1)
    return np.where(np.arange(classes) == labels[..., None], confidence, rest).astype(np.float32)
