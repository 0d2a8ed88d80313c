"""The estimate of a step's memory: by hand, with the batch, with parts of it, and the optimiser."""

import pytest
import tensorflow as tf

from models.segmenter import build_segmenter
from tests.training.methods.tiny import tiny_network
from training.distribution.step_memory import BYTES_PER_OPERATOR, step_memory
from training.methods.mean_teacher import MeanTeacherTraining, teacher_of
from training.methods.optimizers import build_optimizer
from training.methods.source_training import SourceTraining
from training.methods.terms import CrossEntropyTerm
from training.settings.schedule import Optimizer
from training.stages.fitting import distributed_step


def estimate(method, rows: int, size: int = 32, accumulate: int = 1, optimizer: str = "sgd"):
    """Of a compiled method's step on batches of the source, and of the target where it is a teacher's."""
    settings = build_optimizer(Optimizer(optimizer, clip_norm=1.0), 10, [])
    settings.build(method.trained_variables)
    method.compile(optimizer=settings, accumulate=accumulate, jit_compile=False)
    image, label = tf.zeros((rows, size, size, 3)), tf.zeros((rows, size, size), tf.uint8)
    domain = {"image": image, "label": label}
    batch = {"source": domain}
    if isinstance(method, MeanTeacherTraining):
        batch["target"] = {**domain, "weak": image}
    return step_memory(distributed_step(method).get_concrete_function(batch), rows // accumulate)


def supervised(network):
    return SourceTraining(network, [CrossEntropyTerm("source")])


def test_by_hand():
    weight = tf.Variable(tf.ones(256))

    @tf.function
    def step(x):
        first = tf.exp(tf.reshape(x, (-1, 256)))
        second = tf.exp(tf.identity(first))
        return tf.reduce_sum(first * second * weight)

    traced = step.get_concrete_function(tf.zeros((4, 16, 16)))
    found = step_memory(traced, 4)
    row = 4 * 4 * 256
    assert found.activations == 3 * row  # first, second and their product
    assert found.variables == 4 * 256
    assert found.program == BYTES_PER_OPERATOR * len(traced.graph.get_operations())
    assert found.total == found.activations + found.variables + found.program
    assert found.with_part(0.5) == found.total - 3 * row / 2


@pytest.mark.parametrize("name", ["tiny", "compact"])
def test_activations_grow_with_the_batch_and_weights_do_not(name):
    few, many = (
        estimate(supervised(tiny_network() if name == "tiny" else build_segmenter("compact", 3)), rows, 192)
        for rows in (4, 8)
    )
    assert many.activations == pytest.approx(2 * few.activations, rel=0.02)
    assert (many.variables, many.program) == pytest.approx((few.variables, few.program), rel=0.02)
    # the estimate of a part of the batch is that of a smaller batch
    assert many.with_part(0.5) == pytest.approx(few.total, rel=0.02)


def test_parts_one_after_the_other_need_as_much_as_a_part_and_the_sum_of_gradients():
    whole = estimate(supervised(tiny_network()), 8, 64)
    parts = estimate(supervised(tiny_network()), 8, 64, accumulate=4)
    assert parts.activations < 0.6 * whole.activations  # the batch is there twice: whole, and in parts
    assert parts.variables == pytest.approx(whole.variables, abs=64)


def test_weights_of_the_optimiser_and_of_a_teacher_count():
    network = tiny_network()
    weights = sum(4 * weight.numpy().size for weight in network.weights)
    sgd = estimate(supervised(network), 2)
    adam = estimate(supervised(tiny_network()), 2, optimizer="adamw")
    terms = [CrossEntropyTerm("source"), CrossEntropyTerm("target")]
    teacher = estimate(MeanTeacherTraining(network, teacher_of(network), terms), 2)
    assert sgd.gradients == adam.gradients == weights
    assert sgd.variables == pytest.approx(2 * weights, abs=64)
    assert adam.variables == pytest.approx(3 * weights, abs=64)
    assert teacher.variables == pytest.approx(3 * weights, abs=64)


def test_a_device_is_asked_for_its_own_part():
    @tf.function
    def step(x):
        with tf.device("CPU:0"):
            here = tf.exp(x)
        with tf.device("GPU:1"):
            there = tf.exp(tf.concat([x, x], 1))
        return here, there

    traced = step.get_concrete_function(tf.zeros((4, 8)))
    assert step_memory(traced, 4, "CPU:0").activations == 4 * 4 * 8
    assert step_memory(traced, 4, "GPU:1").activations == 2 * 2 * 4 * 4 * 8


def test_weight_decay_waits_for_the_gradient():
    """Before it, the backward pass still reads the weights, and TensorFlow would copy each to move it."""
    method = supervised(tiny_network())
    settings = build_optimizer(Optimizer("adamw", weight_decay=0.1), 10, [])
    settings.build(method.trained_variables)
    method.compile(optimizer=settings, jit_compile=False)
    batch = {"source": {"image": tf.zeros((2, 32, 32, 3)), "label": tf.zeros((2, 32, 32), tf.uint8)}}
    operators = distributed_step(method).get_concrete_function(batch).graph.get_operations()
    decays = [operator for operator in operators if operator.type == "AssignSubVariableOp"]
    assert len(decays) == 2  # two kernels; biases do not decay
    for decay in decays:
        read = decay.inputs[1].op.inputs[0].op  # of the variable, for what is taken off it
        assert read.type == "ReadVariableOp"
        waits_for = [before.name for before in read.control_inputs]
        assert any("gradient_tape" in name for name in waits_for)
