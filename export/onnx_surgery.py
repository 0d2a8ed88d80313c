"""What tf2onnx leaves to be done to a graph: weights, unused constants, names."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

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


def drop_unused(graph: onnx.GraphProto) -> None:
    """Leave out operators and constants that nothing reads.

    Also the empty tensors that tf2onnx gives a Resize for "not used", with which the float16 conversion fails.
    """
    empty = {tensor.name for tensor in graph.initializer if 0 in tensor.dims}
    for node in graph.node:
        node.input[:] = ["" if name in empty else name for name in node.input]
    nodes = used_nodes(graph.node, graph)
    del graph.node[:]
    graph.node.extend(nodes)
    read = {name for node in graph.node for name in node.input}
    used = [tensor for tensor in graph.initializer if tensor.name in read]
    del graph.initializer[:]
    graph.initializer.extend(used)


def used_nodes(nodes: Iterable[onnx.NodeProto], graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """Those of the nodes that an output of the graph depends on."""
    kept = list(nodes)
    while True:
        read = {name for node in kept for name in node.input} | {value.name for value in graph.output}
        used = [node for node in kept if read & set(node.output)]
        if len(used) == len(kept):
            return used
        kept = used


def modernise_resizes(graph: onnx.GraphProto) -> None:
    """Spell TensorFlow's nearest neighbour as today's ONNX does: its former name is an error to some programs."""
    for node in graph.node:
        modes = {entry.name: entry for entry in node.attribute}
        if node.op_type == "Resize" and modes["coordinate_transformation_mode"].s == b"tf_half_pixel_for_nn":
            modes["coordinate_transformation_mode"].s = b"half_pixel"
            modes["nearest_mode"].s = b"round_prefer_ceil"


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


def drop_unused_domains(model: onnx.ModelProto) -> None:
    """Declare no set of operators that no node comes from: a runtime that lacks one may refuse the file."""
    used = {node.domain for node in model.graph.node}
    kept = [entry for entry in model.opset_import if entry.domain in used]
    del model.opset_import[:]
    model.opset_import.extend(kept)


def in_one_order(graph: onnx.GraphProto) -> None:
    """Give operators, constants and descriptions of tensors an order that follows from what is computed alone.

    Each output in turn, and before an operator the makers of its inputs. The order of tf2onnx, and which of several
    equal operators it keeps, depend on names, which count everything that the process has made before.
    """
    makers = {output: node for node in graph.node for output in node.output if output}
    nodes: list[onnx.NodeProto] = []
    done: set[str] = set()  # first outputs of the nodes that have their place
    waiting = [makers[value.name] for value in reversed(graph.output)]
    while waiting:
        node = waiting[-1]
        missing = [makers[name] for name in node.input if name in makers and makers[name].output[0] not in done]
        if missing and node.output[0] not in done:
            waiting += reversed(missing)
            continue
        waiting.pop()
        nodes += [node] if node.output[0] not in done else []
        done.add(node.output[0])
    tensors = {name: None for node in nodes for name in (*node.input, *node.output)}
    place = {name: number for number, name in enumerate(tensors)}
    constants = sorted(graph.initializer, key=lambda tensor: place[tensor.name])
    known = sorted((value for value in graph.value_info if value.name in place), key=lambda value: place[value.name])
    for field, values in ((graph.node, nodes), (graph.initializer, constants), (graph.value_info, known)):
        del field[:]
        field.extend(values)


def name_by_order(graph: onnx.GraphProto, weights: Iterable[str]) -> None:
    """Names that follow from the order of the operators alone, so that equal networks give equal files.

    An operator is called by its kind and number, or a convolution as its weights, what it makes as itself, and a
    constant as its first reader. Inputs and outputs of the graph and the constants `weights`, those of layers, keep
    their names.
    """
    unused, counts = set(weights), Counter()
    names = {name: name for name in ("", *unused, *(value.name for value in (*graph.input, *graph.output)))}
    for node in graph.node:
        counts[node.op_type] += 1
        layer = node.input[1] if node.op_type == "Conv" else ""
        node.name = layer if layer in unused else f"{node.op_type}_{counts[node.op_type]}"
        unused.discard(layer)  # two operators that share weights have two names
        for number, name in enumerate(node.input):
            names.setdefault(name, f"{node.name}/input_{number}")
        for number, name in enumerate(node.output):
            names.setdefault(name, f"{node.name}:{number}")
        node.input[:] = [names[name] for name in node.input]
        node.output[:] = [names[name] for name in node.output]
    for value in (*graph.initializer, *graph.value_info):
        value.name = names[value.name]
    graph.doc_string = ""  # it has the number of the function that was converted
