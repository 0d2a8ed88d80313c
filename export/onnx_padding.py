"""Explicit pads in place of `auto_pad`, right at every size of the image.

`auto_pad=SAME_UPPER` leaves the number of zeros to the program that reads the file, and OpenCV 5.0's DNN module gets it
wrong at stride 2. TensorFlow's rule: an axis of `n` values gives `ceil(n / stride)`, the zeros that this takes are
split evenly, and the odd one goes behind. At stride 2 the zeros in front of a 3x3 kernel therefore depend on whether
the size is even. Where that is not known a Pad with computed amounts adds the one that only odd sizes have.
"""

import math
from collections.abc import Mapping

import numpy as np
import onnx
from onnx import helper

from export.onnx_speed import Editing

SIZE_KEPT = {"Add", "BatchNormalization", "Cast", "Clip", "Mul", "Relu", "Sub", "Transpose"}


def explicit_pads(graph: onnx.GraphProto, padded: Mapping[str, int]) -> None:
    """Give every convolution and pooling that has `auto_pad` the `pads` that do the same.

    padded: layer -> number: the layer pads the image to multiples of the number.

    Raises:
        ValueError: an `auto_pad` that TensorFlow does not write.
    """
    edit, multiples = Editing(graph), known_multiples(graph, padded)
    for node in [node for node in graph.node if automatic_padding(node)]:
        if automatic_padding(node) != "SAME_UPPER":
            raise ValueError(f"{node.name} has auto_pad {automatic_padding(node)}")
        multiple = multiples.get(node.input[0], 1)
        axes = [possible_pads(*axis, multiple) for axis in zip(kernel_extents(node), strides(node), strict=True)]
        front = [min(before for before, _ in possible) for possible in axes]
        behind = [max(after for _, after in possible) for possible in axes]
        kept = [entry for entry in node.attribute if entry.name not in ("auto_pad", "pads")]
        del node.attribute[:]
        node.attribute.extend([*kept, helper.make_attribute("pads", [*front, *behind])])
        varying = {before for possible in axes for before, _ in possible} - set(front)
        if varying:
            pad_odd_sizes(edit, node)


def possible_pads(kernel: int, stride: int, multiple: int) -> list[tuple[int, int]]:
    """(zeros in front, zeros behind) of "SAME_UPPER" for each remainder that a multiple of `multiple` leaves."""
    remainders = range(0, stride, math.gcd(multiple, stride))
    totals = [max(kernel - (remainder or stride), 0) for remainder in remainders]
    return [(total // 2, total - total // 2) for total in totals]


def pad_odd_sizes(edit: Editing, node: onnx.NodeProto) -> None:
    """Put a Pad in front of a node of stride 2: one more row on top and one more column on the left of odd sizes.

    A pooling takes the neighbour's value in place of zero, which is in the same window and so never a new maximum.

    Raises:
        ValueError: another stride than 2, or axes that differ: no network has them.
    """
    if {*strides(node)} != {2} or len({*kernel_extents(node)}) != 1:
        raise ValueError(f"{node.name}: kernel {kernel_extents(node)} at stride {strides(node)}")
    place = list(edit.graph.node).index(node)

    def add(kind: str, step: str, *inputs: str, **attributes) -> str:
        nonlocal place
        name = f"{node.name}/{step}"
        edit.graph.node.insert(place, helper.make_node(kind, inputs, [name], name, **attributes))
        place += 1
        return name

    def constant(step: str, *values: int) -> str:
        return edit.set_constant(f"{node.name}/{step}", np.array(values, np.int64))

    # height % 2 and width % 2, spelled without Mod, which TensorRT 8 lacks.
    size = add("Gather", "size", add("Shape", "shape", node.input[0]), constant("axes", 2, 3))
    two = constant("two", 2)
    odd = add("Sub", "odd", size, add("Mul", "even", add("Div", "half", size, two), two))
    # Zeros in front of (batch, channels, height, width), then behind.
    zeros, more_zeros = constant("zeros", 0, 0), constant("more_zeros", 0, 0, 0, 0)
    amounts = add("Concat", "amounts", zeros, odd, more_zeros, axis=0)
    mode = "edge" if node.op_type == "MaxPool" else "constant"
    node.input[0] = add("Pad", "padded", node.input[0], amounts, mode=mode)


def known_multiples(graph: onnx.GraphProto, padded: Mapping[str, int]) -> dict[str, int]:
    """Map -> a number that its height and width are multiples of, where one above 1 is known.

    The numbers of `padded` are followed through what keeps the size and through what divides it.
    """
    known: dict[str, int] = {}
    for node in graph.node:
        incoming = [known.get(name, 1) for name in node.input]
        multiple = 1
        if node.op_type == "Pad":
            multiple = math.lcm(*[number for layer, number in padded.items() if f"/{layer}_1/" in node.name])
        elif node.op_type in SIZE_KEPT:
            multiple = math.lcm(*incoming)  # all have one size, but for maps of 1 x 1, of which nothing is known
        elif node.op_type in ("Conv", "MaxPool") and keeps_or_divides(node):
            multiple = math.gcd(
                *[incoming[0] // stride if incoming[0] % stride == 0 else 1 for stride in strides(node)]
            )
        if multiple > 1:
            known[node.output[0]] = multiple
    return known


def keeps_or_divides(node: onnx.NodeProto) -> bool:
    """Whether a node gives `ceil(n / stride)` of `n` values: it pads automatically, or all that stride 1 needs."""
    pads = attribute(node, "pads", [0, 0, 0, 0])
    needed = [extent - 1 for extent in kernel_extents(node)]
    return automatic_padding(node) is not None or (
        {*strides(node)} == {1} and [front + behind for front, behind in zip(pads[:2], pads[2:], strict=True)] == needed
    )


def automatic_padding(node: onnx.NodeProto) -> str | None:
    """The `auto_pad` of a convolution or pooling; None where it has none, or one without meaning."""
    value = attribute(node, "auto_pad", b"NOTSET").decode()
    return None if value == "NOTSET" else value


def kernel_extents(node: onnx.NodeProto) -> list[int]:
    """Height and width that a kernel spans, dilation included."""
    kernel = attribute(node, "kernel_shape", [1, 1])
    dilations = attribute(node, "dilations", [1, 1])
    return [(size - 1) * dilation + 1 for size, dilation in zip(kernel, dilations, strict=True)]


def strides(node: onnx.NodeProto) -> list[int]:
    """Along height and width."""
    return attribute(node, "strides", [1, 1])


def attribute(node: onnx.NodeProto, name: str, default):
    """The value of a node's attribute."""
    return next((helper.get_attribute_value(entry) for entry in node.attribute if entry.name == name), default)
