"""float16 and 8-bit models: smaller, nearly the same answers, and whole files."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from export.onnx_graph import LOGITS, to_onnx
from export.parity import measured_parity, session_of
from export.precision import by_dependency, first_blocks, outside_network, with_precision
from tests.export.networks import lively_network
from training.prediction.predictor import Predictor


@pytest.fixture(scope="module")
def model(network):
    return to_onnx(network)


@pytest.fixture(scope="module")
def before(model):
    """The float32 model as it was before any conversion."""
    return model.SerializeToString(deterministic=True)


@pytest.fixture(scope="module")
def converted(model, before, streets):
    """The same model at the three precisions."""
    return {precision: with_precision(model, precision, streets) for precision in ("fp32", "fp16", "int8")}


def test_sizes_shrink(converted):
    fp32, fp16, int8 = (converted[precision].ByteSize() for precision in ("fp32", "fp16", "int8"))
    assert fp16 < 0.55 * fp32
    assert int8 < 0.35 * fp32


@pytest.mark.parametrize(("precision", "agreement"), [("fp32", 0.9999), ("fp16", 0.99), ("int8", 0.9)])
def test_labels_stay(converted, network, streets, precision, agreement):
    session = session_of(converted[precision])
    assert {value.type for value in session.get_outputs()} == {"tensor(uint8)", "tensor(float)"}
    odd = [streets[0], streets[1][1:, 3:], streets[2][:33, :51]]
    assert measured_parity(Predictor(network), session, odd).agreement >= agreement


def test_the_conversion_leaves_the_float32_model_alone(model, before, converted):
    assert converted["fp32"] is model
    assert model.SerializeToString(deterministic=True) == before


def test_int8_has_a_scale_for_every_channel_and_leaves_the_decision_in_float32(converted):
    graph = converted["int8"].graph
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    restored = [node.input for node in graph.node if node.op_type == "DequantizeLinear" and node.input[0] in values]
    kernels = [(values[kernel], values[scale]) for kernel, scale, *_ in restored if values[kernel].ndim == 4]
    assert len(kernels) == 26  # all convolutions but the first and the one that gives the logits
    assert all(kernel.dtype == np.int8 and scale.shape == (len(kernel),) for kernel, scale in kernels)
    decision = set(outside_network(graph))
    quantised = [node for node in graph.node if "Linear" in node.op_type and node.input[0] not in values]
    assert not [node.name for node in quantised if node.name in decision]


def test_only_operators_that_are_used_are_declared(converted):
    for model in converted.values():
        declared = {entry.domain for entry in model.opset_import}
        assert declared == {node.domain for node in model.graph.node} == {""}


@pytest.mark.parametrize(("precision", "agreement"), [("fp16", 0.99), ("int8", 0.9)])
def test_the_plain_graph_can_be_smaller_too(network, streets, precision, agreement):
    smaller = with_precision(to_onnx(network, LOGITS), precision, streets, LOGITS)
    parity = measured_parity(Predictor(network), session_of(smaller, LOGITS), streets, LOGITS)
    assert parity.agreement >= agreement


def test_float16_leaves_sizes_and_the_decision_in_float32(converted):
    """Rows and columns beyond 2048 have no exact float16."""
    image = np.random.default_rng(0).integers(0, 256, (1, 4, 4100, 3), dtype=np.uint8)
    confidence, expected = (
        session_of(converted[precision]).run(["confidence"], {"image": image})[0] for precision in ("fp16", "fp32")
    )
    np.testing.assert_allclose(confidence, expected, atol=0.02)


def test_nodes_are_put_in_order():
    nodes = [helper.make_node("Neg", [source], [target], name=target) for source, target in ("bc", "ab", "cd")]
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("a", TensorProto.FLOAT, [1])], [])
    assert [node.name for node in by_dependency(graph.node, graph)] == ["b", "c", "d"]
    nodes[1].input[0] = "d"
    with pytest.raises(ValueError, match="cycle"):
        by_dependency(nodes, graph)


@pytest.mark.parametrize(
    ("groups", "kept"),
    [([1, 8, 1, 1, 8, 1, 1, 8, 1, 1, 8], 9), ([1, 8, 1, 8, 1], 0), ([1, 1, 8, 8, 8, 1], 0), ([1], 0)],
)
def test_the_first_depthwise_blocks_stay_float32_up_to_a_projection(groups, kept):
    nodes = [helper.make_node("Conv", ["x"], [f"{k}"], name=f"{k}", group=count) for k, count in enumerate(groups)]
    graph = helper.make_graph(nodes, "g", [], [])
    assert first_blocks(graph) == [f"{k}" for k in range(kept)]


def test_every_file_passes_the_full_check(converted):
    for model in converted.values():
        onnx.checker.check_model(model, full_check=True)


@pytest.fixture(scope="module")
def bottlenecks():
    """A network of bottlenecks with strided 5x5 kernels, and its float32 model."""
    network = lively_network("deeplab_v3plus_efficientnet_lite0", 5)
    return network, to_onnx(network)


@pytest.mark.parametrize(("precision", "agreement"), [("fp32", 0.9999), ("int8", 0.75)])
def test_bottlenecks_agree_at_odd_sizes(bottlenecks, streets, precision, agreement):
    network, model = bottlenecks
    converted = with_precision(model, precision, streets)
    parity = measured_parity(Predictor(network), session_of(converted), [streets[0][1:, 3:], streets[1][:33, :51]])
    assert parity.agreement >= agreement
    assert precision == "int8" or parity.difference < 1e-3
    assert precision == "fp32" or converted.ByteSize() < 0.35 * model.ByteSize()
