"""The exported graph says what Keras says, for every network and size."""

import keras
import numpy as np
import onnx
import onnxruntime
import pytest
import tensorflow as tf
import tf2onnx.optimizer
from onnx import numpy_helper

from export.onnx_graph import (
    LOGITS,
    OPSET,
    OPSETS,
    converted,
    exact_float32,
    to_onnx,
)
from export.onnx_layers import ExportedConvolution, ExportedLayerNorm, onnx_weights
from export.onnx_padding import automatic_padding
from models.heads import embedding_block
from models.layers import Doubled
from models.mix_transformer import Attention, Gelu
from tests.export.networks import lively_network
from tests.kinds import each_kind
from training.prediction.predictor import Predictor, enlarged_label

QUICK = ("compact", "deeplab_v2_mobilenet_v2_035", "segformer_mit_b0")
SIZES = ((64, 96), (33, 51), (1, 1), (50, 7))


@pytest.fixture(scope="module", params=each_kind(QUICK))
def exported(request):
    """(Keras network, ONNX model) of a network of the catalogue."""
    network = lively_network(request.param, 7)
    yield network, to_onnx(network)
    keras.backend.clear_session()


@pytest.fixture(scope="module")
def session(exported):
    return onnxruntime.InferenceSession(exported[1].SerializeToString(), providers=["CPUExecutionProvider"])


def test_inputs_and_outputs_are_named_typed_and_of_any_size(exported, session):
    described = [(value.name, value.type, value.shape) for value in (*session.get_inputs(), *session.get_outputs())]
    assert described == [
        ("image", "tensor(uint8)", ["batch", "height", "width", 3]),
        ("labels", "tensor(uint8)", ["batch", "height", "width"]),
        ("confidence", "tensor(float)", ["batch", "height", "width"]),
        ("logits", "tensor(float)", ["batch", "logits_height", "logits_width", 7]),
    ]
    assert [(entry.domain, entry.version) for entry in exported[1].opset_import] == [("", OPSET)]


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_it_agrees_with_the_training_side(exported, session, size):
    network, _ = exported
    image = np.random.default_rng(1).integers(0, 256, (2, *size, 3), dtype=np.uint8)
    labels, confidence, logits = session.run(None, {"image": image})
    expected = network(image)["logits"].numpy()
    np.testing.assert_allclose(logits, expected, atol=1e-3)
    probs = Predictor(network).coarse_probs(tf.cast(image, tf.float32))
    assert np.mean(labels == enlarged_label(probs, size).numpy()) >= 0.9999
    np.testing.assert_allclose(confidence, tf.reduce_max(tf.image.resize(probs, size), axis=-1), atol=1e-4)


@pytest.fixture(scope="module")
def plain(exported):
    """The plain graph of the network, at the oldest version of the operators."""
    model = to_onnx(exported[0], LOGITS, OPSETS[0])
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", OPSETS[0])]
    return model


def test_the_plain_graph_gives_the_same_logits(exported, plain):
    session = onnxruntime.InferenceSession(plain.SerializeToString(), providers=["CPUExecutionProvider"])
    described = [(value.name, value.type, value.shape) for value in (*session.get_inputs(), *session.get_outputs())]
    assert described == [
        ("image", "tensor(float)", ["batch", 3, "height", "width"]),
        ("logits", "tensor(float)", ["batch", 7, "logits_height", "logits_width"]),
    ]
    for size in SIZES:
        image = np.random.default_rng(1).integers(0, 256, (2, *size, 3), dtype=np.uint8)
        logits = session.run(None, {"image": LOGITS.image_of(image)})[0]
        np.testing.assert_allclose(LOGITS.on_grid(logits), exported[0](image)["logits"].numpy(), atol=1e-3)


def test_the_plain_graph_does_nothing_else(exported, plain):
    read = {name for node in plain.graph.node for name in node.input} | {"logits"}
    assert not [node.name for node in plain.graph.node if not read & set(node.output)]
    kinds = [node.op_type for node in plain.graph.node]
    assert not {*kinds} & {"ArgMax", "ScatterElements", "NonZero", "Loop", "If"}
    assert kinds.count("Softmax") == len([layer for layer in exported[0].layers if isinstance(layer, Attention)])


def test_pads_are_explicit(exported, plain):
    for model in (exported[1], plain):
        assert not [node.name for node in model.graph.node if automatic_padding(node)]


def test_only_sizes_that_may_be_odd_are_padded_by_an_operator(exported):
    """`compact` pads its image to multiples of 16: all its halvings are of even sizes."""
    pads = [node for node in exported[1].graph.node if node.op_type == "Pad"]
    assert len(pads) == {"compact": 1, "deeplab_v2_mobilenet_v2_035": 4}.get(exported[0].name, len(pads))


def test_dilations_stay_one_operator(exported):
    network, model = exported
    dilated = {layer.name for layer in network.layers if max(getattr(layer, "dilation_rate", (1,))) > 1}
    kinds = [node.op_type for node in model.graph.node]
    rates = [
        attribute.ints
        for node in model.graph.node
        for attribute in node.attribute
        if node.op_type == "Conv" and attribute.name == "dilations" and max(attribute.ints) > 1
    ]
    assert len(rates) == len(dilated)
    assert not {"SpaceToDepth", "DepthToSpace", "Loop", "If"} & set(kinds)


@pytest.mark.parametrize("exported", each_kind(["compact"]), indirect=True)
def test_networks_of_the_same_layers_are_converted_once(exported, session):
    network, model = exported
    to_onnx(network)  # the conversion of another graph may have taken its place
    conversions, text = converted.cache_info().misses, model.SerializeToString()
    other = to_onnx(lively_network(network.name, 7, seed=1))
    assert converted.cache_info().misses == conversions
    assert model.SerializeToString() == text
    image = np.random.default_rng(1).integers(0, 256, (1, 33, 51, 3), dtype=np.uint8)
    logits = onnxruntime.InferenceSession(other.SerializeToString()).run(["logits"], {"image": image})[0]
    np.testing.assert_allclose(logits, lively_network(network.name, 7, seed=1)(image)["logits"], atol=1e-3)
    assert np.abs(logits - session.run(["logits"], {"image": image})[0]).max() > 0.1


@pytest.mark.parametrize("exported", ["compact"], indirect=True)
def test_the_file_does_not_depend_on_what_the_process_has_made_before(exported):
    """Such as the second head of DRSL beside the network: Keras and tf2onnx count names over the whole process."""
    network = exported[0]
    embedding_block(network.output["features"].shape[-1], 64, 4, seed=0)
    converted.cache_clear()
    again = to_onnx(lively_network("compact", 7))
    assert again.SerializeToString() == exported[1].SerializeToString()


def test_the_network_is_left_as_it_was(exported):
    network, _ = exported
    assert not any(isinstance(layer, ExportedConvolution) for layer in network.layers)
    image = np.zeros((1, 16, 16, 3), np.uint8)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(network(image, training=True)["logits"])
    assert all(gradient is not None for gradient in tape.gradient(loss, network.trainable_variables))


@pytest.mark.parametrize("depthwise", [False, True])
@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize(
    ("kernel", "dilation", "stride"),
    [(3, 2, 1), (3, (1, 5), 1), (2, 3, 1), ((4, 1), 2, 1), (4, 1, 2), (3, 1, 2), (1, 1, 3)],
)
def test_the_stand_in_equals_keras_convolution(depthwise, padding, kernel, dilation, stride):
    kind = {"depth_multiplier": 2} if depthwise else {"filters": 5}
    layer = (keras.layers.DepthwiseConv2D if depthwise else keras.layers.Conv2D)(
        kernel_size=kernel,
        dilation_rate=dilation,
        strides=stride,
        padding=padding,
        activation="relu",
        bias_initializer="normal",
        **kind,
    )
    layer.build((None, None, None, 3))
    stand_in = ExportedConvolution(layer, onnx_weights(layer))
    for size in ((20, 17), (16, 16)):
        x = np.random.default_rng(0).standard_normal((2, *size, 3), np.float32)
        np.testing.assert_allclose(stand_in(x), layer(x), atol=1e-5)


def test_batch_norm_behind_convolutions_and_sums_is_folded(exported):
    kinds = {output: node.op_type for node in exported[1].graph.node for output in node.output}
    norms = [node for node in exported[1].graph.node if node.op_type == "BatchNormalization"]
    assert not {kinds[node.input[0]] for node in norms} & {"Conv", "Add"}
    assert norms == [] or exported[0].name not in QUICK


def test_the_image_is_rearranged_before_it_is_made_float(exported):
    nodes, (tensor, order) = exported[1].graph.node, ("image", [])
    while "Conv" not in order:
        (node,) = (node for node in nodes if tensor in node.input and node.op_type != "Shape")
        order, tensor = [*order, node.op_type], node.output[0]
    scaled = ["Transpose", "Cast", "Add"]  # its scale is in the convolution
    expected = {
        "compact": ["Pad", *scaled, "Conv"],
        "deeplab_v2_mobilenet_v2_035": [*scaled, "Pad", "Conv"],
        "segformer_mit_b0": ["Pad", "Cast", "Mul", "Add", "Transpose", "Conv"],  # each channel has a scale of its own
    }
    assert order == expected.get(exported[0].name, order)


def test_a_transformer_runs_in_fused_operators(exported, tmp_path):
    """One operator for each layer normalisation and GELU, as ONNX Runtime knows them."""
    network, model = exported
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "fused.onnx")
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.log_severity_level = 3
    onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    kinds = [node.op_type for node in onnx.load(tmp_path / "fused.onnx").graph.node]
    for kind, layers in (("LayerNormalization", keras.layers.LayerNormalization), ("Gelu", Gelu)):
        assert kinds.count(kind) == len([layer for layer in network.layers if isinstance(layer, layers)])
    assert "Erf" not in kinds


def test_the_stand_in_equals_keras_layer_normalisation():
    layer = keras.layers.LayerNormalization(epsilon=1e-3, beta_initializer="normal", gamma_initializer="normal")
    layer.build((None, None, None, 6))
    x = np.random.default_rng(0).normal(2, 0.1, (2, 3, 5, 6)).astype("float32")
    np.testing.assert_allclose(ExportedLayerNorm(layer, onnx_weights(layer))(x), layer(x), atol=1e-5)


def test_the_steps_of_the_conversion_are_as_before(exported, session):
    assert next(iter(tf2onnx.optimizer._optimizers)) == "optimize_transpose"


def test_the_decision_overwrites_single_numbers(exported):
    kinds = [node.op_type for node in exported[1].graph.node]
    assert kinds.count("ScatterElements") == 2
    assert "ScatterND" not in kinds


def test_doublings_have_a_constant_scale(exported):
    constants = {tensor.name: numpy_helper.to_array(tensor).tolist() for tensor in exported[1].graph.initializer}
    resizes = [node for node in exported[1].graph.node if node.op_type == "Resize"]
    scales = [constants[node.input[2]] for node in resizes if len(node.input) == 3]
    assert scales == [[1, 1, 2, 2]] * len([layer for layer in exported[0].layers if isinstance(layer, Doubled)])


def test_exact_float32_sets_aside_a_mixed_policy_and_restores_it():
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        with exact_float32():
            assert keras.config.dtype_policy().name == "float32"
            assert not tf.config.experimental.tensor_float_32_execution_enabled()
        assert keras.config.dtype_policy().name == "mixed_bfloat16"
        assert tf.config.experimental.tensor_float_32_execution_enabled()
    finally:
        keras.config.set_dtype_policy("float32")
