"""A Keras segmentation network as one self-contained ONNX graph, in one of two forms.

ALL, for programs that want the answer:

    Input  `image`       uint8   [batch, height, width, 3]  RGB, any size
    Output `labels`      uint8   [batch, height, width]     arg-max class
           `confidence`  float32 [batch, height, width]     probability of that class
           `logits`      float32 [batch, ceil(height / stride), ceil(width / stride), classes]

LOGITS, the network alone, for runtimes that know fewer operators (OpenCV's DNN module, TensorRT):

    Input  `image`       float32 [batch, 3, height, width]  RGB, 0 to 255, any size: `cv2.dnn.blobFromImage`
    Output `logits`      float32 [batch, classes, ceil(height / stride), ceil(width / stride)]

Normalisation is in both. ALL holds everything the training side does to an image, in the same order
(`training/prediction/predictor.py`): normalise, network, soft-max on the coarse grid, bilinear enlargement of the
probabilities, arg-max. Enlarging probabilities rather than logits spares the soft-max of every pixel, half of the run
time on a CPU.
"""

import functools
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import keras
import numpy as np
import onnx
import tensorflow as tf
import tf2onnx
import tf2onnx.optimizer

from export.decision import decide
from export.onnx_layers import exportable, onnx_weights, weighted
from export.onnx_padding import explicit_pads
from export.onnx_speed import (
    divide_in_gelus,
    double_by_a_constant,
    fold_batch_norms,
    fold_scale,
    overwrite_elements,
    rearrange_bytes,
)
from export.onnx_surgery import (
    drop_unused,
    drop_unused_domains,
    fill_inputs,
    in_one_order,
    modernise_resizes,
    name_by_order,
    name_dimensions,
    order_outputs,
)
from models.layers import Doubled, PaddedToMultiple

OPSET = 17
OPSETS = range(13, OPSET + 1)
INPUT = "image"


@dataclass(frozen=True, eq=False)
class Form:
    """What goes into a graph and what comes out: the names of all dimensions, None for "as it is".

    described: the same in words, for whoever has only the file: by the name of the input or output.
    """

    image: tuple[str | int, ...]
    outputs: Mapping[str, tuple[str | None, ...]]
    described: Mapping[str, str]

    @property
    def channels_first(self) -> bool:
        """Whether the image is float32 `[b, 3, h, w]`; else it is uint8 `[b, h, w, 3]`."""
        return self.image[1] == 3

    def image_of(self, images: np.ndarray) -> np.ndarray:
        """The input for images uint8 `[b, h, w, 3]`."""
        return images.transpose(0, 3, 1, 2).astype(np.float32) if self.channels_first else images

    def on_grid(self, logits: np.ndarray) -> np.ndarray:
        """The output `logits` as `[b, h, w, c]`."""
        return logits.transpose(0, 2, 3, 1) if self.channels_first else logits


ALL = Form(
    ("batch", "height", "width", 3),
    {
        "labels": ("batch", "height", "width"),
        "confidence": ("batch", "height", "width"),
        "logits": ("batch", "logits_height", "logits_width", None),
    },
    {
        INPUT: "uint8 [batch, height, width, 3], RGB",
        "labels": "uint8 [batch, height, width]",
        "confidence": "float32 [batch, height, width]",
        "logits": "float32 [batch, ceil(height / output_stride), ceil(width / output_stride), classes]",
    },
)
LOGITS = Form(
    ("batch", 3, "height", "width"),
    {"logits": ("batch", None, "logits_height", "logits_width")},
    {
        INPUT: "float32 [batch, 3, height, width], RGB, 0 to 255",
        "logits": "float32 [batch, classes, ceil(height / output_stride), ceil(width / output_stride)]",
    },
)
FORMS = {"all": ALL, "logits": LOGITS}


def to_onnx(network: keras.Model, form: Form = ALL, opset: int = OPSET) -> onnx.ModelProto:
    """The ONNX model of a functional float32 network `image -> {"logits": ...}` in inference mode.

    Args:
        form: what goes in and comes out. opset: the version of ONNX' operators, one of `OPSETS`.

    Raises:
        onnx.checker.ValidationError: the result is no valid model.
    """
    model = onnx.ModelProto()
    model.CopyFrom(converted(Architecture(network), form, opset))
    graph = model.graph
    graph.name = network.name
    fill_inputs(graph, {name: value for layer in weighted(network) for name, value in onnx_weights(layer).items()})
    fold_batch_norms(graph)
    divide_in_gelus(graph)
    double_by_a_constant(graph, [layer.name for layer in network.layers if isinstance(layer, Doubled)])
    rearrange_bytes(graph, INPUT)
    fold_scale(graph, INPUT)
    explicit_pads(
        graph, {layer.name: layer.multiple for layer in network.layers if isinstance(layer, PaddedToMultiple)}
    )
    overwrite_elements(graph)
    modernise_resizes(graph)
    drop_unused(graph)
    order_outputs(graph, list(form.outputs))
    name_dimensions(graph, {INPUT: form.image, **form.outputs})
    drop_unused_domains(model)
    in_one_order(graph)
    name_by_order(graph, [name for layer in weighted(network) for name in onnx_weights(layer)])
    onnx.checker.check_model(model, full_check=True)
    return model


class Architecture:
    """A network of which all counts but the weights of convolutions and normalisations: equal if that is."""

    def __init__(self, network: keras.Model):
        self.network = network
        given = {id(weight) for layer in weighted(network) for weight in layer.weights}
        others = [weight.numpy().tobytes() for weight in network.weights if id(weight) not in given]
        self.identity = (network.to_json(), *others)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Architecture) and self.identity == other.identity

    def __hash__(self) -> int:
        return hash(self.identity)


@functools.lru_cache(maxsize=1)
def converted(architecture: Architecture, form: Form, opset: int) -> onnx.ModelProto:
    """The graph that tf2onnx makes, with weights as inputs: a run's networks before and after adaptation share it.

    With weights inside, the conversion would also hold twenty copies of them (13 GB for VGG16).
    """
    logging.getLogger("tf2onnx").setLevel(logging.ERROR)
    os.environ["TF2ONNX_CATCH_ERRORS"] = "no"  # else each of its fifty passes begins with a copy of the whole graph
    infer = inference_function(architecture.network, form)
    with transposes_in_place(architecture.network):
        model, _ = tf2onnx.convert.from_function(infer, input_signature=infer.input_signature, opset=opset)
    return model


@contextmanager
def transposes_in_place(network: keras.Model) -> Iterator[None]:
    """Keeps tf2onnx from moving transpositions in networks with layer normalisation.

    It would move them into the normalisations, which then are over axis 1 and cost ONNX Runtime seven operators each in
    place of one.
    """
    if not any(isinstance(layer, keras.layers.LayerNormalization) for layer in network.layers):
        yield
        return
    steps = tf2onnx.optimizer._optimizers  # no public function takes the list of steps
    before = dict(steps)
    del steps["optimize_transpose"]
    try:
        yield
    finally:
        steps.clear()
        steps.update(before)


def inference_function(network: keras.Model, form: Form) -> tf.types.experimental.PolymorphicFunction:
    """(image, weights by name) -> outputs by name, as the form says: what is exported."""
    weights: dict[str, tf.Tensor] = {}
    inference = exportable(network, weights)
    shape = [length if isinstance(length, int) else None for length in form.image]
    image_spec = tf.TensorSpec(shape, tf.float32 if form.channels_first else tf.uint8, name=INPUT)
    weight_specs = {
        name: tf.TensorSpec(value.shape, tf.float32, name=name)
        for layer in weighted(network)
        for name, value in onnx_weights(layer).items()
    }

    @tf.function(input_signature=[image_spec, weight_specs], autograph=False)
    def infer(image, given_weights):
        weights.update(given_weights)
        if form.channels_first:
            logits = inference(tf.transpose(image, (0, 2, 3, 1)), training=False)["logits"]
            return {"logits": tf.transpose(logits, (0, 3, 1, 2))}
        logits = inference(tf.cast(image, tf.float32), training=False)["logits"]
        labels, confidence = decide(logits, tf.shape(image, tf.int64)[1:3])
        return {"labels": labels, "confidence": confidence, "logits": logits}

    return infer


@contextmanager
def exact_float32() -> Iterator[None]:
    """Networks built inside compute in plain float32: no mixed precision of a run, no TensorFloat-32 of a GPU."""
    policy = keras.config.dtype_policy()
    tensor_float = tf.config.experimental.tensor_float_32_execution_enabled()
    keras.config.set_dtype_policy("float32")
    tf.config.experimental.enable_tensor_float_32_execution(False)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(policy)
        tf.config.experimental.enable_tensor_float_32_execution(tensor_float)
