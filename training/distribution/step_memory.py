"""What one training step needs on one device, from the traced step: nothing is computed.

1. The step's graph is walked in the order in which it was traced. A tensor is live from the operator that makes it to
   the last one that reads it; what `Reshape` or `Identity` return shares the memory of what they are given.
2. The live bytes are kept for every operator in two rows: of tensors that have the batch as their first dimension, and
   of all others (gradients and copies of weights). So the peak with a smaller batch is known too.
3. Variables (weights of all networks, optimiser) come from what the graph captures, at their own size.
4. On a CPU oneDNN's convolutions bring filters to a layout of their own, and the gradient of a filter whose number of
   channels does not suit its vector registers writes a matrix of shifted images per thread. The graph itself and its
   kernels take about `BYTES_PER_OPERATOR`, measured. On a GPU the working space that cuDNN chooses is not counted.

`tests/benchmarks/step_memory.py` compares the estimate with what a process holds.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

SHARED = ("Identity", "IdentityN", "Reshape", "Squeeze", "ExpandDims", "StopGradient", "PreventGradient")
FREE = ("Placeholder", "Const", "ReadVariableOp", "VariableShape", "Shape")  # make no tensor, or a tiny one
LOOPS = ("While", "StatelessWhile")
CONVOLUTIONS = ("Conv2D", "Conv2DBackpropFilter", "Conv2DBackpropInput")
LANES = 16  # float32 in a vector register of AVX-512
BYTES_PER_OPERATOR = 20_000


@dataclass(frozen=True, eq=False)
class StepMemory:
    """Bytes that a step needs on one device.

    variables: weights and optimiser, which are there before the step. gradients: of all trained variables. program: the
    graph and its kernels. batched, other: live bytes at each operator, of tensors with the batch as their first
    dimension and of all others.
    """

    variables: int
    gradients: int
    program: int
    batched: np.ndarray
    other: np.ndarray

    @property
    def activations(self) -> int:
        """What the step makes and holds at its peak, beside the batch that it is given."""
        return self._peak(1.0)

    @property
    def total(self) -> int:
        return self.variables + self.program + self.activations

    def with_part(self, part: float, accumulated: bool = False) -> int:
        """The total with this part of the batch; `accumulated`: with a sum of gradients beside it."""
        return self.variables + self.program + self._peak(part) + self.gradients * accumulated

    def _peak(self, part: float) -> int:
        return int((self.other + part * self.batched).max(initial=0))


def step_memory(step, batch_size: int, device: str | None = None) -> StepMemory:
    """The estimate for a traced step.

    Args:
        step: the concrete function, traced for batches of known shape.
        batch_size: images of one replica.
        device: such as "GPU:0": its part of the step; None = all of it, in the memory of the machine.
    """
    variables = {id(handle): handle for handle in step.captured_inputs if handle.dtype == tf.resource}.values()
    shapes = [tuple(tf.raw_ops.VariableShape(input=handle).numpy()) for handle in variables if _is_on(handle, device)]
    operators = [operator for operator in step.graph.get_operations() if _is_on(operator, device)]
    on_cpu = device is None
    live = _live_bytes(operators, step.graph.outputs, batch_size, set(shapes), on_cpu)
    updates = [operator.inputs for operator in operators if operator.type.startswith("ResourceApply")]
    gradients = sum(max(map(_size, given)) for given in updates)  # beside a gradient they have numbers
    return StepMemory(
        variables=4 * int(sum(np.prod(shape, dtype=np.int64) for shape in shapes)),  # float32 under any precision
        gradients=gradients,
        program=BYTES_PER_OPERATOR * len(operators) * on_cpu,
        batched=live[0],
        other=live[1],
    )


def _is_on(thing, device: str | None) -> bool:
    """Is a tensor or an operator on this device? What names none may be on any."""
    return device is None or not thing.device or thing.device.upper().endswith(f"DEVICE:{device.upper()}")


def _live_bytes(operators: Sequence, outputs, batch_size: int, weight_shapes: set, on_cpu: bool) -> np.ndarray:
    """`[2, operators]`: live bytes at each operator, of tensors of the batch and of others."""
    # 1. Which tensors share memory, and who reads each last.
    owner: dict[int, int] = {}
    last: dict[int, int] = {}
    for number, operator in enumerate(operators):
        if operator.type in SHARED:
            for made, given in zip(operator.outputs, operator.inputs, strict=False):
                owner[id(made)] = owner.get(id(given), id(given))
        for given in operator.inputs:
            last[owner.get(id(given), id(given))] = number
    for kept in outputs:
        last[owner.get(id(kept), id(kept))] = len(operators)
    # 2. What each operator makes, and what is freed after it.
    change = np.zeros((2, len(operators) + 2), np.int64)
    for number, operator in enumerate(operators):
        if operator.type in FREE:
            continue
        for made in operator.outputs:
            if id(made) not in owner:
                kind = 0 if _has_batch(made, batch_size, weight_shapes) else 1
                change[kind, number] += _size(made)
                change[kind, max(last.get(id(made), number), number) + 1] -= _size(made)
        if operator.type in LOOPS:  # one round at a time
            body = operator.graph._get_function(operator.get_attr("body").name).graph
            inside = _live_bytes(body.get_operations(), body.outputs, batch_size, weight_shapes, on_cpu)
            fullest = inside[:, inside.sum(axis=0).argmax()]
            change[:, number] += fullest
            change[:, number + 1] -= fullest
        if on_cpu and operator.type in CONVOLUTIONS:
            scratch = _convolution_scratch(operator, batch_size)  # that of a layer's two gradients at the same time
            change[1, number] += scratch
            change[1, min(number + 2, len(operators) + 1)] -= scratch
    return change.cumsum(axis=1)[:, : len(operators)]


def _has_batch(tensor, batch_size: int, weight_shapes: set) -> bool:
    """Is its first dimension the batch, perhaps with height and width, and has it not a weight's shape?"""
    shape = tensor.shape
    return bool(shape.rank) and bool(shape[0]) and shape[0] % batch_size == 0 and tuple(shape) not in weight_shapes


def _size(tensor) -> int:
    """Bytes; 0 for what is no array, or whose size the trace does not tell (tiny reserved outputs of batch-norm)."""
    elements = None if tensor.dtype in (tf.resource, tf.variant, tf.string) else tensor.shape.num_elements()
    return (elements or 0) * tensor.dtype.size


def _convolution_scratch(operator, batch_size: int) -> int:
    """What oneDNN needs during a convolution or one of its gradients: bytes."""
    if operator.type == "Conv2D":
        return _size(operator.inputs[1])
    if operator.type == "Conv2DBackpropInput":
        return _size(operator.inputs[1])
    gradient, upstream = operator.outputs[0], operator.inputs[2]
    scratch = _size(gradient)
    if gradient.shape.is_fully_defined() and upstream.shape.is_fully_defined():
        height, width, channels, filters = gradient.shape
        if height * width > 1 and filters % LANES:
            threads = tf.config.threading.get_intra_op_parallelism_threads() or os.cpu_count() or 1
            places = upstream.shape[1] * upstream.shape[2]
            scratch += min(threads, batch_size) * height * width * channels * places * gradient.dtype.size
    return scratch
