"""What makes a graph from tf2onnx quick in ONNX Runtime without changing what it computes.

Its kernels of blocked layout run convolution, sum and ReLU as one operator, and resize by whole factors. They are used
where every operator between two convolutions has such a kernel, and where two maps to be summed are known to be of one
size; each exception costs passes over whole maps.
"""

from collections.abc import Iterable, Iterator

import numpy as np
import onnx
from onnx import helper, numpy_helper

PASSED = ("Add", "Resize", "Transpose")  # a scale of channels behind these is one in front of them


class Editing:
    """Finds its way in a graph by the names of tensors."""

    def __init__(self, graph: onnx.GraphProto):
        self.graph = graph

    def constant(self, name: str) -> np.ndarray | None:
        found = [tensor for tensor in self.graph.initializer if tensor.name == name]
        return numpy_helper.to_array(found[0]) if found else None

    def set_constant(self, name: str, value: np.ndarray) -> str:
        """Add the constant, or replace it; returns its name."""
        for tensor in [tensor for tensor in self.graph.initializer if tensor.name == name]:
            self.graph.initializer.remove(tensor)
        self.graph.initializer.append(numpy_helper.from_array(value, name))
        return name

    def nodes(self, kind: str) -> list[onnx.NodeProto]:
        return [node for node in self.graph.node if node.op_type == kind]

    def maker(self, tensor: str) -> onnx.NodeProto | None:
        return next((node for node in self.graph.node if tensor in node.output), None)

    def readers(self, tensor: str) -> list[onnx.NodeProto]:
        """The nodes that read the values of a tensor, not only its shape."""
        return [node for node in self.graph.node if tensor in node.input and node.op_type != "Shape"]

    def calculation(self, tensor: str) -> Iterator[onnx.NodeProto]:
        """The maker of a tensor of sizes, those of what it reads, and so on, up to the shapes of maps."""
        node = self.maker(tensor)
        if node is not None and node.op_type != "Shape":
            yield node
            for name in node.input:
                yield from self.calculation(name)


def fold_batch_norms(graph: onnx.GraphProto) -> None:
    """Leave no inference-mode batch normalisation behind a convolution or a sum.

    It is multiplied into the convolution in front, or into all those whose sum it reads (resized perhaps, which only
    averages). Behind any other sum it becomes a depthwise 1x1 convolution, which can be fused and quantised.
    """
    edit = Editing(graph)
    for norm in edit.nodes("BatchNormalization"):
        scale, offset, mean, variance = (edit.constant(name) for name in norm.input[1:5])
        epsilon = next((entry.f for entry in norm.attribute if entry.name == "epsilon"), 1e-5)
        factor = scale / np.sqrt(variance + epsilon)
        shift = offset - mean * factor
        if convolutions := summed_convolutions(edit, norm.input[0]):
            edit.maker(norm.input[0]).output[0] = norm.output[0]
            graph.node.remove(norm)
            for convolution, shifted in zip(convolutions, (1, *[0] * len(convolutions)), strict=False):
                scale_convolution(edit, convolution, factor, shift * shifted)
        elif edit.maker(norm.input[0]).op_type == "Add":
            norm.CopyFrom(depthwise(edit, norm, factor, shift))


def summed_convolutions(edit: Editing, tensor: str) -> list[onnx.NodeProto]:
    """The convolutions whose sum `tensor` is, or the only one; none if anything else takes part or reads along."""
    node = edit.maker(tensor)
    if node is None or len(edit.readers(tensor)) != 1 or node.op_type not in ("Conv", *PASSED):
        return []
    if node.op_type == "Conv":
        return [node]
    parts = [summed_convolutions(edit, name) for name in node.input[: 2 if node.op_type == "Add" else 1]]
    return [convolution for part in parts for convolution in part] if all(parts) else []


def scale_convolution(edit: Editing, convolution: onnx.NodeProto, factor: np.ndarray, shift: np.ndarray) -> None:
    """Multiply each of a convolution's outputs by its factor, then add its shift."""
    kernel, *bias = (edit.constant(name) for name in convolution.input[1:])
    names = convolution.input[1], f"{convolution.input[1]}/folded_bias"
    values = kernel * factor[:, None, None, None], shift + (bias[0] * factor if bias else 0)
    for name, value in zip(names, values, strict=True):
        edit.set_constant(name, value.astype(np.float32))
    convolution.input[:] = [convolution.input[0], *names]


def depthwise(edit: Editing, norm: onnx.NodeProto, factor: np.ndarray, shift: np.ndarray) -> onnx.NodeProto:
    """A convolution that does what the batch normalisation does."""
    kernel = edit.set_constant(f"{norm.name}/factor", factor[:, None, None, None].astype(np.float32))
    bias = edit.set_constant(f"{norm.name}/shift", shift.astype(np.float32))
    reads, makes = [norm.input[0], kernel, bias], norm.output[:1]
    return helper.make_node("Conv", reads, makes, norm.name, kernel_shape=[1, 1], group=len(factor))


def divide_in_gelus(graph: onnx.GraphProto) -> None:
    """erf(x / sqrt 2) in place of erf(0.7071 x), as TensorFlow wrote it: so ONNX Runtime knows GELU and fuses it."""
    edit = Editing(graph)
    for scaling in [edit.maker(erf.input[0]) for erf in edit.nodes("Erf")]:
        factors = [name for name in scaling.input if edit.constant(name) is not None]
        if scaling.op_type == "Mul" and factors and np.allclose(edit.constant(factors[0]), 0.5**0.5, atol=1e-6):
            (x,) = (name for name in scaling.input if name not in factors)
            divisor = edit.set_constant(f"{scaling.name}/divisor", np.array(2**0.5, np.float32))
            scaling.CopyFrom(helper.make_node("Div", [x, divisor], scaling.output, scaling.name))


def double_by_a_constant(graph: onnx.GraphProto, layers: Iterable[str]) -> None:
    """Give the Resizes that came of the layers of these names the constant scale 2 in place of a computed size.

    The map and those added to it are declared to be of one size, which nothing could infer.

    Raises:
        ValueError: not one Resize came of a layer.
    """
    edit = Editing(graph)
    for layer in layers:
        resizes = [node for node in edit.nodes("Resize") if size_comes_from(edit, node, layer)]
        if len(resizes) != 1:
            raise ValueError(f"{len(resizes)} Resize operators came of the layer {layer}")
        (resize,) = resizes
        scales = edit.set_constant(f"{layer}/scales", np.array([1, 1, 2, 2], np.float32))
        resize.input[:] = [resize.input[0], "", scales]
        channels = len(edit.constant(edit.maker(resize.input[0]).input[1]))
        shape = ["batch", channels, f"{layer}_height", f"{layer}_width"]
        summed = {name for node in edit.readers(resize.output[0]) for name in (*node.input, *node.output)}
        graph.value_info.extend(
            helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name in sorted(summed)
        )


def size_comes_from(edit: Editing, resize: onnx.NodeProto, layer: str) -> bool:
    """Whether the size that a Resize reads was computed in the layer of this name."""
    return len(resize.input) > 3 and any(f"/{layer}_1/" in node.name for node in edit.calculation(resize.input[3]))


def rearrange_bytes(graph: onnx.GraphProto, image: str) -> None:
    """Pad and transpose the image while it is uint8: a quarter of the bytes to move.

    This changes places with the conversion to float32 and with a normalisation that is the same for all channels.
    """
    edit = Editing(graph)
    chain = behind_image(edit, image)
    moves = [node for node in chain if node.op_type in ("Pad", "Transpose")]
    if not moves or chain[0].op_type != "Cast":
        return
    for node in graph.node:
        if node.op_type == "Shape" and node.input[0] == chain[0].output[0]:
            node.input[0] = image
    for pad in [node for node in moves if node.op_type == "Pad"]:
        pad.input[2] = edit.set_constant(f"{pad.name}/grey", edit.constant(pad.input[2]).astype(np.uint8))
    place, names = list(graph.node).index(chain[-1]), [node.output[0] for node in chain]
    ordered = [*moves, *[node for node in chain if node not in moves]]
    for before, after, node in zip((image, *names), names, ordered, strict=False):
        values = next(index for index, name in enumerate(node.input) if name == image or name in names)
        node.input[values], node.output[0] = before, after
    for node in chain:
        graph.node.remove(node)
    for node in reversed(ordered):
        graph.node.insert(place + 1 - len(chain), node)


def fold_scale(graph: onnx.GraphProto, image: str) -> None:
    """Multiply a scale that is the same for all channels of the image into the first convolution.

    s x + o is s (x + o / s), also where the convolution pads with zeros.
    """
    edit, tensor, chain = Editing(graph), image, []
    while not (chain and chain[-1].op_type == "Conv") and len(readers := edit.readers(tensor)) == 1:
        chain += readers
        tensor = readers[0].output[0]
    if [node.op_type for node in chain[-3:]] != ["Mul", "Add", "Conv"]:
        return
    scaling, shifting, convolution = chain[-3:]
    (scale,), (offset,) = ([name for name in node.input if edit.constant(name) is not None] for node in chain[-3:-1])
    factor, kernel = edit.constant(scale), convolution.input[1]
    if factor.size == 1:
        unscaled = edit.set_constant(f"{offset}/unscaled", edit.constant(offset) / factor)
        shifting.input[:] = [next(name for name in scaling.input if name != scale), unscaled]
        edit.set_constant(kernel, edit.constant(kernel) * factor)
        graph.node.remove(scaling)


def overwrite_elements(graph: onnx.GraphProto) -> None:
    """ScatterElements in place of each ScatterND that overwrites numbers of a row one by one: twice as fast."""
    edit = Editing(graph)
    for scatter in edit.nodes("ScatterND"):
        data, places, values = scatter.input
        flattening = edit.maker(data)
        if flattening.op_type == "Reshape" and np.array_equal(edit.constant(flattening.input[1]), [-1]):
            in_a_row = helper.make_node("Reshape", [places, flattening.input[1]], [f"{scatter.name}/places"])
            in_a_row.name = in_a_row.output[0]
            graph.node.insert(list(graph.node).index(scatter), in_a_row)
            reads = [data, in_a_row.output[0], values]
            scatter.CopyFrom(helper.make_node("ScatterElements", reads, scatter.output, scatter.name, axis=0))


def behind_image(edit: Editing, image: str) -> list[onnx.NodeProto]:
    """The operators that alone read the image, then each other, up to the last that moves pixels."""
    chain, tensor = [], image
    while True:
        readers = edit.readers(tensor)
        if len(readers) != 1 or not moves_or_scales(edit, readers[0], first=not chain):
            break
        chain += readers
        tensor = readers[0].output[0]
    while chain and chain[-1].op_type not in ("Pad", "Transpose"):
        chain.pop()
    return chain


def moves_or_scales(edit: Editing, node: onnx.NodeProto, *, first: bool) -> bool:
    if node.op_type in ("Mul", "Add"):
        return any(constant is not None and constant.size == 1 for constant in map(edit.constant, node.input))
    return node.op_type in ("Pad", "Transpose") or (first and node.op_type == "Cast")
