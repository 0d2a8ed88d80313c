"""Explicit pads give what `auto_pad` gave, bit by bit, at even and odd sizes."""

import itertools

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from export.onnx_padding import attribute, automatic_padding, explicit_pads, known_multiples, possible_pads

SIZES = tuple(itertools.product(range(1, 10), (1, 4, 7, 8, 11)))


def model_of(*nodes: onnx.NodeProto, **constants: np.ndarray) -> onnx.ModelProto:
    """The nodes between a map `x` `[b, 2, h, w]` and `y`."""
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["b", 2, f"{name}_h", f"{name}_w"]) for name in "xy"]
    initializers = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=7)
    onnx.checker.check_model(model, full_check=True)
    return model


def convolution(source: str, target: str, kernel: int, stride: int, dilation: int = 1, **keywords) -> onnx.NodeProto:
    keywords.setdefault("auto_pad", "SAME_UPPER")
    sizes = {"kernel_shape": [kernel] * 2, "strides": [stride] * 2, "dilations": [dilation] * 2}
    return helper.make_node("Conv", [source, "w"], [target], target, **sizes, **keywords)


def weights(kernel: int) -> np.ndarray:
    return np.random.default_rng(kernel).standard_normal((2, 2, kernel, kernel), np.float32)


def session_of(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    """Without optimisation: where ONNX Runtime fuses operators, sums are taken in another order."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def assert_padding_stays(model: onnx.ModelProto, padded: dict[str, int] | None = None) -> list[onnx.NodeProto]:
    """The nodes after `explicit_pads`, once they give the same at all sizes."""
    before = session_of(model)
    explicit_pads(model.graph, padded or {})
    onnx.checker.check_model(model, full_check=True)
    after = session_of(model)
    for size in SIZES:
        x = np.random.default_rng(0).standard_normal((2, 2, *size), np.float32) - 2  # mostly below the zeros around it
        np.testing.assert_array_equal(after.run(None, {"x": x})[0], before.run(None, {"x": x})[0])
    assert not [node.name for node in model.graph.node if automatic_padding(node)]
    return list(model.graph.node)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [1, 2, 3, 4, 5, 7])
def test_convolutions_of_any_size(kernel, stride):
    nodes = assert_padding_stays(model_of(convolution("x", "y", kernel, stride), w=weights(kernel)))
    depends = stride == 2 and kernel in (3, 5, 7)
    assert [node.op_type for node in nodes].count("Pad") == depends  # the others have the same zeros at all sizes


@pytest.mark.parametrize(("kernel", "stride"), [(2, 2), (3, 2), (3, 1)])
def test_poolings_of_any_size(kernel, stride):
    sizes = {"kernel_shape": [kernel] * 2, "strides": [stride] * 2, "auto_pad": "SAME_UPPER"}
    assert_padding_stays(model_of(helper.make_node("MaxPool", ["x"], ["y"], "pool", **sizes)))


@pytest.mark.parametrize("stride", [2, 3, 4])
def test_a_kernel_smaller_than_its_stride_takes_every_nth_value(stride):
    """As in TensorFlow; ONNX Runtime's own `auto_pad` begins elsewhere."""
    sizes = {"kernel_shape": [1, 1], "strides": [stride] * 2, "auto_pad": "SAME_UPPER"}
    model = model_of(helper.make_node("MaxPool", ["x"], ["y"], "pool", **sizes))
    explicit_pads(model.graph, {})
    session = session_of(model)
    for size in SIZES:
        x = np.random.default_rng(0).standard_normal((2, 2, *size), np.float32)
        np.testing.assert_array_equal(session.run(None, {"x": x})[0], x[:, :, ::stride, ::stride])


@pytest.mark.parametrize("auto_pad", ["SAME_LOWER", "VALID"])
def test_what_tensorflow_does_not_write_is_an_error(auto_pad):
    model = model_of(convolution("x", "y", 3, 2, auto_pad=auto_pad), w=weights(3))
    with pytest.raises(ValueError, match=auto_pad):
        explicit_pads(model.graph, {})


def test_other_strides_whose_front_depends_on_the_size_are_an_error():
    with pytest.raises(ValueError, match="stride"):
        explicit_pads(model_of(convolution("x", "y", 5, 3), w=weights(5)).graph, {})


@pytest.mark.parametrize("multiple", [1, 2, 4])
@pytest.mark.parametrize(("kernel", "stride"), itertools.product(range(1, 8), range(1, 5)))
def test_pads_follow_tensorflows_rule(kernel, stride, multiple):
    expected = []
    for size in range(multiple, 20 * multiple, multiple):
        total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
        expected.append((total // 2, total - total // 2))
    assert set(possible_pads(kernel, stride, multiple)) == set(expected)


def test_known_multiples_are_followed_to_where_a_size_may_be_odd():
    """The image is padded to multiples of 4: two halvings are of even sizes, the third may not be."""
    chain = [
        helper.make_node("Pad", ["x", "amounts"], ["p"], "net_1/padded_1/PadV2"),
        convolution("p", "a", 3, 2),
        helper.make_node("Relu", ["a"], ["r"], "relu"),
        convolution("r", "s", 3, 1, 2, auto_pad="NOTSET", pads=[2, 2, 2, 2]),
        helper.make_node("Add", ["r", "s"], ["sum"], "sum"),
        convolution("sum", "b", 3, 2),
        convolution("b", "y", 3, 2),
    ]
    model = model_of(*chain, w=weights(3), amounts=np.zeros(8, np.int64))
    assert known_multiples(model.graph, {"padded": 4}) == {"p": 4, "a": 2, "r": 2, "s": 2, "sum": 2}
    explicit_pads(model.graph, {"padded": 4})
    pads = {node.name: attribute(node, "pads", None) for node in model.graph.node if node.op_type == "Conv"}
    assert pads == {"a": [0, 0, 1, 1], "s": [2, 2, 2, 2], "b": [0, 0, 1, 1], "y": [0, 0, 1, 1]}
    assert [node.name for node in model.graph.node if node.op_type == "Pad"] == ["net_1/padded_1/PadV2", "y/padded"]
