"""What tf2onnx leaves to be done to a graph: weights, folded batch normalisation, names."""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from onnx import numpy_helper


def fill_inputs(graph: onnx.GraphProto, values: Mapping[str, np.ndarray]) -> None:
    """Turn the graph's inputs of these names into constants.

    Raises:
        ValueError: an input is missing: the network does not use one of its convolutions.
    """
    inputs = {value.name: value for value in graph.input}
    if missing := sorted(values.keys() - inputs.keys()):
        raise ValueError(f"the graph has no inputs {missing}")
    kept = [value for name, value in inputs.items() if name not in values]
    del graph.input[:]
    graph.input.extend(kept)
    graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in values.items())


def fold_batch_norms(graph: onnx.GraphProto) -> None:
    """Multiply inference-mode batch normalisation into the convolution in front, where nothing else reads that."""
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    makers = {output: node for node in graph.node for output in node.output}
    readers = Counter(name for node in graph.node for name in node.input)
    for norm in [node for node in graph.node if node.op_type == "BatchNormalization"]:
        convolution = makers.get(norm.input[0])
        if convolution is None or convolution.op_type != "Conv" or readers[norm.input[0]] > 1:
            continue
        scale, offset, mean, variance = (numpy_helper.to_array(tensors[name]) for name in norm.input[1:5])
        epsilon = next((entry.f for entry in norm.attribute if entry.name == "epsilon"), 1e-5)
        factor = scale / np.sqrt(variance + epsilon)
        kernel, *bias = (numpy_helper.to_array(tensors[name]) for name in convolution.input[1:])
        folded = (kernel * factor[:, None, None, None], offset + ((bias[0] if bias else 0) - mean) * factor)
        names = convolution.input[1], f"{convolution.input[1]}/folded_bias"
        for name, value in zip(names, folded, strict=True):
            tensor = tensors.setdefault(name, onnx.TensorProto())
            tensor.CopyFrom(numpy_helper.from_array(value.astype(np.float32), name))
        graph.initializer.append(tensors[names[1]])
        convolution.input[:] = [convolution.input[0], *names]
        convolution.output[0] = norm.output[0]
        graph.node.remove(norm)


def drop_unused(graph: onnx.GraphProto) -> None:
    """Leave out constants that nothing reads.

    Also the empty tensors that tf2onnx gives a Resize for "not used", over which float16 conversion trips.
    """
    empty = {tensor.name for tensor in graph.initializer if 0 in tensor.dims}
    for node in graph.node:
        node.input[:] = ["" if name in empty else name for name in node.input]
    read = {name for node in graph.node for name in node.input}
    used = [tensor for tensor in graph.initializer if tensor.name in read]
    del graph.initializer[:]
    graph.initializer.extend(used)


def order_outputs(graph: onnx.GraphProto, names: Sequence[str]) -> None:
    """The outputs in the order of `names`."""
    in_order = sorted(graph.output, key=lambda value: names.index(value.name))
    del graph.output[:]
    graph.output.extend(in_order)


def name_dimensions(graph: onnx.GraphProto, dimensions: Mapping[str, Sequence[str | int | None]]) -> None:
    """Names for the open dimensions of inputs and outputs, in place of tf2onnx's `unk__7`."""
    for value in (*graph.input, *graph.output):
        for dimension, name in zip(value.type.tensor_type.shape.dim, dimensions[value.name], strict=True):
            if isinstance(name, str):
                dimension.dim_param = name
