"""Smaller numbers for the same graph: float16, or 8-bit integers calibrated on images of the target domain."""

import tempfile
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from onnxruntime.transformers.float16 import convert_float_to_float16

from export.onnx_graph import ALL, INPUT, Form
from export.onnx_surgery import drop_unused_domains, used_nodes

PRECISIONS = ("fp32", "fp16", "int8")
QUANTIZED = ["Conv", "Add", "Relu", "Clip", "MaxPool", "GlobalAveragePool", "Resize", "Concat"]


def with_precision(
    model: onnx.ModelProto, precision: str, frames: Sequence[np.ndarray], form: Form = ALL
) -> onnx.ModelProto:
    """The float32 `model` of this form at "fp32", "fp16" or "int8"; its inputs and outputs keep their types.

    frames: uint8 [h, w, 3] of the target domain; int8 takes the range of every map from them, and no labels.
    """
    if precision == "fp32":
        return model
    return half(model) if precision == "fp16" else eight_bit(model, frames, form)


def half(model: onnx.ModelProto) -> onnx.ModelProto:
    """Weights and maps in float16: half the size, for GPUs. What follows the logits stays float32."""
    halved = onnx.ModelProto()
    halved.CopyFrom(model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a weight too small for float16 becomes its smallest number
        halved = convert_float_to_float16(halved, keep_io_types=True, node_block_list=outside_network(halved.graph))
    # The converter writes a cast once for every reader of a tensor, all under one name, and not before every reader.
    unique = {node.name: node for node in halved.graph.node}.values()
    in_order = by_dependency(without_round_trips(unique, halved.graph), halved.graph)
    del halved.graph.node[:]
    halved.graph.node.extend(in_order)
    return halved


def without_round_trips(nodes: Iterable[onnx.NodeProto], graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """The nodes without the conversions to float16 and back that the converter puts between nodes it leaves in float32.

    Sizes and positions beyond 2048 would not survive them.
    """
    kept = list(nodes)
    casts = {node.output[0]: node for node in kept if node.op_type == "Cast"}
    target = {name: next(entry.i for entry in node.attribute if entry.name == "to") for name, node in casts.items()}
    for node in kept:
        for index, name in enumerate(node.input):
            halved = casts[name].input[0] if target.get(name) == onnx.TensorProto.FLOAT else None
            if target.get(halved) == onnx.TensorProto.FLOAT16:
                node.input[index] = casts[halved].input[0]
    return used_nodes(kept, graph)


def eight_bit(model: onnx.ModelProto, frames: Sequence[np.ndarray], form: Form) -> onnx.ModelProto:
    """8-bit integers: a quarter of the size, and quicker where the processor multiplies them (AVX-512 VNNI, ARM).

    Weights are int8 with a scale for each output channel (one for each layer ruins depthwise networks), maps uint8
    from the smallest to the largest value seen on `frames`. The operator that gives the logits and what follows them
    stay float32, and so does the way up to the first convolution's ReLU: 8 bits are slower than 32 on the three
    channels of an image. So do MobileNet's first blocks, see `first_blocks`.
    """
    with tempfile.TemporaryDirectory() as folder:
        whole, prepared, quantized = (Path(folder, f"{step}.onnx") for step in ("whole", "prepared", "quantized"))
        onnx.save(model, whole)
        quant_pre_process(whole, prepared, skip_symbolic_shape=True)
        graph = onnx.load(prepared).graph
        kept = [*first_operators(graph), *first_blocks(graph), *giving_logits(graph), *outside_network(graph)]
        quantize_static(
            prepared,
            quantized,
            FrameReader(frames, form),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=QUANTIZED,
            nodes_to_exclude=kept,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
        )
        smaller = onnx.load(quantized)
        drop_unused_domains(smaller)  # the quantisation declares all that it knows
        return smaller


class FrameReader(CalibrationDataReader):
    """Feeds frames uint8 [h, w, 3] to the calibration, one at a time, as a model of this form takes them."""

    def __init__(self, frames: Iterable[np.ndarray], form: Form):
        self.inputs = (form.image_of(frame[None]) for frame in frames)

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next input of the network, or None after the last."""
        image = next(self.inputs, None)
        return None if image is None else {INPUT: image}


def producer(graph: onnx.GraphProto, tensor: str) -> onnx.NodeProto:
    """The node whose output `tensor` is."""
    return next(node for node in graph.node if tensor in node.output)


def outside_network(graph: onnx.GraphProto) -> list[str]:
    """Names of the nodes that are not on the way from the image's values to the logits: the decision, and all sizes."""
    reached, on_the_way = {INPUT}, []
    for node in graph.node:
        if node.op_type != "Shape" and reached & set(node.input):
            reached |= set(node.output)
            on_the_way.append(node)
    needed, names = {"logits"}, set()
    for node in reversed(on_the_way):
        if needed & set(node.output):
            needed |= set(node.input)
            names.add(node.name)
    return [node.name for node in graph.node if node.name not in names]


def giving_logits(graph: onnx.GraphProto) -> list[str]:
    """Names of the operator that computes the logits and of those that bring them in shape."""
    node = producer(graph, "logits")
    names = [node.name]
    while node.op_type in ("Transpose", "Slice"):
        node = producer(graph, node.input[0])
        names.append(node.name)
    return names


def first_operators(graph: onnx.GraphProto) -> list[str]:
    """Names of the nodes up to the first convolution and its activation."""
    first = next(index for index, node in enumerate(graph.node) if node.op_type == "Conv")
    activations = [
        node.name
        for node in graph.node
        if node.op_type in ("Relu", "Clip") and node.input[0] == graph.node[first].output[0]
    ]
    return [*(node.name for node in graph.node[: first + 1]), *activations]


def first_blocks(graph: onnx.GraphProto) -> list[str]:
    """Names of the convolutions up to the projection behind the third depthwise one, where the second is depthwise (as
    in MobileNet-v2 and EfficientNet-Lite); none elsewhere.

    Their few channels differ so much in range that one scale for all of them cost a network for photos 3.3 points of
    mIoU; kept in float32, 0.8.
    """
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    depthwise = [index for index, node in enumerate(convolutions) if groups_of(node) > 1]
    return [node.name for node in convolutions[: depthwise[2] + 2]] if depthwise[:1] == [1] and depthwise[2:] else []


def groups_of(convolution: onnx.NodeProto) -> int:
    return next((entry.i for entry in convolution.attribute if entry.name == "group"), 1)


def by_dependency(nodes: Iterable[onnx.NodeProto], graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """The nodes in an order in which each finds its inputs made, as ONNX demands."""
    known = {"", *(value.name for value in (*graph.input, *graph.initializer))}
    waiting, in_order = list(nodes), []
    while waiting:
        ready = [node for node in waiting if known.issuperset(node.input)]
        in_order += ready
        known.update(output for node in ready for output in node.output)
        waiting = [node for node in waiting if node.output[0] not in known]
        if not ready:
            raise ValueError(f"the graph has a cycle, or lacks what {waiting[0].name} reads")
    return in_order
