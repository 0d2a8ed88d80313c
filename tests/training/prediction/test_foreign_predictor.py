"""Anybody's files as labellers: every understood form gives the same probabilities, every other one a sentence."""

from types import SimpleNamespace

import keras
import numpy as np
import onnx
import pytest
import tensorflow as tf
from onnx import TensorProto, helper, numpy_helper

from tests.export.some_metadata import some_metadata
from tests.training.pseudo_labels.fitting import with_thresholds
from training.data.classes import LabelSpace
from training.errors import UserError
from training.prediction.foreign_predictor import PIXELS, ForeignPredictor
from training.prediction.model_metadata import METADATA_KEY
from training.pseudo_labels import LabelEntropySelector
from training.stages.rounds import soft_labeller

SPACE = LabelSpace("four", ("a", "b", "c", "d"), ((0, 0, 0),) * 4, (255,) * 19, class_sets={"4": (0, 1, 2, 3)})
SIZE = (6, 10)
KERNEL = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [0.5, -1, 0.5]], np.float32) / 40  # [classes, channels]
IMAGE = np.random.default_rng(1).integers(0, 256, (2, *SIZE, 3)).astype(np.float32)


def expected(image=IMAGE) -> np.ndarray:
    """Soft-max of the 1x1 convolution: it does not care for mirroring."""
    return tf.nn.softmax(image @ KERNEL.T).numpy()


def onnx_file(path, nodes, shape, outputs, dtype=TensorProto.FLOAT, constants=()):
    """An ONNX file with one input `image` [shape] and `outputs` {name: (type, rank)}."""
    image = helper.make_tensor_value_info("image", dtype, shape)
    infos = [helper.make_tensor_value_info(name, kind, [None] * rank) for name, (kind, rank) in outputs.items()]
    kernel = numpy_helper.from_array(KERNEL[:, :, None, None], "kernel")
    graph = helper.make_graph(nodes, "tiny", [image], infos, [kernel, *constants])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, path)
    return path


def convolution(image="image", logits="logits"):
    return helper.make_node("Conv", [image, "kernel"], [logits])


def transposed(name, result, order):
    return helper.make_node("Transpose", [name], [result], perm=order)


def channels_first_logits(path, shape=("b", 3, "h", "w")):
    return onnx_file(path, [convolution()], shape, {"logits": (TensorProto.FLOAT, 4)})


def channels_last_bytes(path, last=(), outputs=None):
    nodes = [
        helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
        transposed("float", "first", [0, 3, 1, 2]),
        convolution("first", "scores"),
        helper.make_node("Softmax", ["scores"], ["maps"], axis=1),
        transposed("maps", "probs", [0, 2, 3, 1]),
        *last,
    ]
    return onnx_file(path, nodes, ("b", "h", "w", 3), outputs or {"probs": (TensorProto.FLOAT, 4)}, TensorProto.UINT8)


def labels_and_confidence(path):
    last = [
        helper.make_node("ArgMax", ["probs"], ["labels"], axis=-1, keepdims=0),
        helper.make_node("ReduceMax", ["probs"], ["confidence"], axes=[-1], keepdims=0),
    ]
    return channels_last_bytes(path, last, {"labels": (TensorProto.INT64, 3), "confidence": (TensorProto.FLOAT, 3)})


def keras_file(path, with_dict=True):
    image = keras.Input((None, None, 3))
    head = keras.layers.Conv2D(4, 1, use_bias=False, name="head")
    logits = head(image)
    head.kernel.assign(KERNEL.T[None, None])
    keras.Model(image, {"features": image, "logits": logits} if with_dict else logits).save(path)
    return path


@pytest.mark.parametrize("form", ["channels first", "channels last", "keras dict", "keras"])
def test_every_form_gives_the_models_probabilities(form, tmp_path):
    make, name, pixels = {
        "channels first": (channels_first_logits, "a.onnx", "bytes"),
        "channels last": (channels_last_bytes, "a.onnx", None),
        "keras dict": (keras_file, "a.keras", None),
        "keras": (lambda path: keras_file(path, False), "a.keras", None),
    }[form]
    predictor = ForeignPredictor(make(tmp_path / name), SPACE, SIZE, pixels)
    np.testing.assert_allclose(predictor.coarse_probs(IMAGE), expected(), atol=1e-6)
    inside = tf.function(predictor.network)(tf.constant(IMAGE), training=False)["logits"]
    np.testing.assert_allclose(tf.nn.softmax(inside), expected(), atol=1e-6)


def test_it_gives_lrents_soft_labels(tmp_path):
    """CRST's soft label is p / threshold at temperature alpha: alpha 1 and thresholds of 1 leave p."""
    predictor = ForeignPredictor(channels_first_logits(tmp_path / "a.onnx"), SPACE, SIZE, "bytes")
    fitted = with_thresholds(LabelEntropySelector(alpha=1.0), 1, 1, 1, 1)
    labelled = SimpleNamespace(found=SimpleNamespace(fitted=fitted))
    soft = soft_labeller(predictor, labelled, (1.0,), predictor.image_size)
    label = tf.zeros((2, *SIZE), tf.uint8)
    np.testing.assert_allclose(tf.function(soft)(tf.constant(IMAGE), label), expected(), atol=1e-6)


def test_labels_with_confidence_become_distributions_that_keep_both(tmp_path):
    predictor = ForeignPredictor(labels_and_confidence(tmp_path / "a.onnx"), SPACE, SIZE)
    probs, truth = predictor.coarse_probs(IMAGE).numpy(), expected()
    np.testing.assert_array_equal(probs.argmax(-1), truth.argmax(-1))
    np.testing.assert_allclose(probs.max(-1), truth.max(-1), atol=1e-6)
    np.testing.assert_allclose(probs.sum(-1), 1, atol=1e-5)


def test_a_fixed_size_and_a_batch_of_one_are_served(tmp_path):
    predictor = ForeignPredictor(channels_first_logits(tmp_path / "a.onnx", (1, 3, 12, 20)), SPACE, SIZE, "bytes")
    shown = tf.image.resize(IMAGE, (12, 20)).numpy()
    np.testing.assert_allclose(predictor.coarse_probs(IMAGE), expected(shown), atol=1e-5)


def test_a_plain_graph_of_our_own_takes_bytes(tmp_path):
    path = channels_first_logits(tmp_path / "a.onnx")
    model = onnx.load(path)
    model.metadata_props.add(key=METADATA_KEY, value=some_metadata(SPACE.names).to_json())
    onnx.save(model, path)
    predictor = ForeignPredictor(path, SPACE, SIZE)
    assert "pixels as bytes" in predictor.understood
    np.testing.assert_allclose(predictor.coarse_probs(IMAGE), expected(), atol=1e-6)


def test_a_file_of_our_own_is_given_images_of_the_size_that_it_was_trained_at(tmp_path):
    path = channels_first_logits(tmp_path / "a.onnx")
    model = onnx.load(path)
    model.metadata_props.add(key=METADATA_KEY, value=some_metadata(SPACE.names, training_size=(12, 20)).to_json())
    onnx.save(model, path)
    predictor = ForeignPredictor(path, SPACE, SIZE)
    assert predictor.image_size == (12, 20)
    assert predictor.coarse_probs(IMAGE).shape == (2, 12, 20, 4)
    assert "image float32 of 12x20" in predictor.understood


def test_pixels_are_what_their_names_say(tmp_path):
    path = channels_first_logits(tmp_path / "a.onnx")
    assert "pixels as imagenet" in ForeignPredictor(path, SPACE, SIZE).understood
    values = {
        "unit": IMAGE / 255,
        "signed": IMAGE / 127.5 - 1,
        "imagenet": (IMAGE - [123.675, 116.28, 103.53]) / [58.395, 57.12, 57.375],
    }
    assert {*values, "bytes"} == set(PIXELS)
    for name, seen in values.items():
        probs = ForeignPredictor(path, SPACE, SIZE, name).coarse_probs(IMAGE)
        np.testing.assert_allclose(probs, expected(seen.astype(np.float32)), atol=1e-6)


def test_the_map_called_logits_is_taken_among_several(tmp_path):
    nodes = [helper.make_node("Neg", ["logits"], ["auxiliary"]), convolution()]
    outputs = {"auxiliary": (TensorProto.FLOAT, 4), "logits": (TensorProto.FLOAT, 4)}
    path = onnx_file(tmp_path / "a.onnx", nodes[::-1], ("b", 3, "h", "w"), outputs)
    np.testing.assert_allclose(ForeignPredictor(path, SPACE, SIZE, "bytes").coarse_probs(IMAGE), expected(), atol=1e-6)


def own_file(path):
    """A file that says it is ours, with other classes."""
    model = onnx.load(channels_last_bytes(path))
    model.metadata_props.add(key=METADATA_KEY, value=some_metadata(("x", "y")).to_json())
    onnx.save(model, path)
    return path


def grey_input(path):
    return onnx_file(path, [convolution()], ("b", 1, "h", "w"), {"logits": (TensorProto.FLOAT, 4)})


def sigmoid_maps(path):
    nodes = [convolution("image", "scores"), helper.make_node("Sigmoid", ["scores"], ["maps"])]
    return onnx_file(path, nodes, ("b", 3, "h", "w"), {"maps": (TensorProto.FLOAT, 4)})


def labels_alone(path):
    last = [helper.make_node("ArgMax", ["probs"], ["labels"], axis=-1, keepdims=0)]
    return channels_last_bytes(path, last, {"labels": (TensorProto.INT64, 3)})


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (own_file, "knows the classes x, y"),
        (grey_input, r"wants an input of \? x 1 x \? x \?"),
        (sigmoid_maps, "does not sum to 1"),
        (labels_alone, "integer labels with a confidence"),
        (lambda path: channels_first_logits(path, (4, 3, "h", "w")), "exactly 4 images"),
        (lambda path: path.write_bytes(b"nonsense") and path, "cannot be opened"),
        (lambda path: path, "no file"),
        (lambda path: channels_first_logits(path).rename(path.with_suffix(".pt")), ".onnx or a .keras"),
    ],
)
def test_what_is_not_understood_is_said_in_one_sentence(make, words, tmp_path):
    path = make(tmp_path / "a.onnx")
    with pytest.raises(UserError, match=words) as caught:
        ForeignPredictor(path, SPACE, SIZE)
    assert "\n" not in str(caught.value)


def test_another_number_of_classes_is_refused(tmp_path):
    three = LabelSpace("three", ("a", "b", "c"), ((0, 0, 0),) * 3, (255,) * 19, class_sets={"3": (0, 1, 2)})
    with pytest.raises(UserError, match="expected maps of 3 classes"):
        ForeignPredictor(channels_first_logits(tmp_path / "a.onnx"), three, SIZE)
