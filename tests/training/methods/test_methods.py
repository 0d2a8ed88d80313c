"""The train_step subclasses: they learn, they add up their terms, they move what they should and nothing else."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.training.methods.tiny import CLASSES, batch, compiled, tiny_network
from training.methods.optimizers import RampedPoly, build_optimizer, learning_rate
from training.methods.self_training import SelfTraining, SoftLabeller
from training.methods.source_training import SourceTraining
from training.methods.step import thin_label
from training.methods.terms import ConfidentRegionKLDTerm, CrossEntropyTerm, SoftCrossEntropyTerm
from training.settings.schedule import Optimizer


def test_source_training_learns():
    method = compiled(SourceTraining(tiny_network(), [CrossEntropyTerm("source")], loss_stride=2))
    losses = []
    for step in range(60):
        method.reset_metrics()
        losses.append(float(method.train_step({"source": batch(step)})["cross_entropy_source"]))
    assert losses[-1] < losses[0] / 2


def test_the_step_descends_the_weighted_sum_of_its_terms():
    """One SGD step equals a step by hand on the same sum."""
    terms = [CrossEntropyTerm("source"), CrossEntropyTerm("target", 0.5), ConfidentRegionKLDTerm(0.1)]
    data = {"source": batch(0), "target": batch(1, 0.3)}
    method = compiled(SelfTraining(tiny_network(), terms), 0.1, name="sgd", momentum=0.0, weight_decay=0.0)
    copy = tiny_network()
    values = method.train_step(data)
    with tf.GradientTape() as tape:
        twin = SelfTraining(copy, terms)
        step = twin.forward(data)
        total = sum(term.weight * term(step) for term in terms)
    for variable, gradient in zip(
        copy.trainable_variables, tape.gradient(total, copy.trainable_variables), strict=True
    ):
        variable.assign_sub(0.1 * gradient)
    assert set(values) == {"cross_entropy_source", "cross_entropy_target", "mrkld_target"}
    for ours, by_hand in zip(method.network.get_weights(), copy.get_weights(), strict=True):
        np.testing.assert_allclose(ours, by_hand, atol=1e-6)


def test_a_target_without_any_label_changes_nothing():
    data = {"source": batch(0), "target": batch(1, 0.0)}
    with_target = compiled(SelfTraining(tiny_network(), [CrossEntropyTerm("source"), CrossEntropyTerm("target")]))
    source_only = compiled(SourceTraining(tiny_network(), [CrossEntropyTerm("source")]))
    with_target.train_step(data)
    source_only.train_step(data)
    for first, second in zip(with_target.network.get_weights(), source_only.network.get_weights(), strict=True):
        np.testing.assert_allclose(first, second, atol=1e-6)


def test_lrent_soft_labels_follow_the_closed_form_and_train_only_the_student():
    network, labeller = tiny_network(), tiny_network(seed=1)
    thresholds, alpha = np.array([0.9, 0.5, 1.0], np.float32), 0.25
    soft = SoftLabeller(labeller, thresholds, alpha)
    data = {"source": batch(0), "target": batch(1, 0.5)}
    label = thin_label(data["target"]["label"], 2)
    probs = keras.ops.softmax(labeller(data["target"]["image"])["logits"]).numpy()
    ratio = (probs / thresholds) ** (1 / alpha)
    np.testing.assert_allclose(
        soft(data["target"]["image"], label), ratio / ratio.sum(-1, keepdims=True), rtol=1e-4, atol=1e-6
    )
    before = labeller.get_weights()
    data["target"]["weak"] = data["target"]["image"]
    method = compiled(SelfTraining(network, [CrossEntropyTerm("source"), SoftCrossEntropyTerm()], 2, soft))
    assert np.isfinite(float(method.train_step(data)["soft_cross_entropy_target"]))
    for old, new in zip(before, labeller.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    assert all(variable is not other for variable in method.network.weights for other in labeller.weights)


def test_lrent_soft_labels_of_several_scales_are_of_the_mean_prediction():
    labeller, image = tiny_network(seed=1), batch(1, 0.5)["image"]
    label = thin_label(batch(1, 0.5)["label"], 2)
    grid, size = label.shape[1:3], [round(1.5 * side) for side in image.shape[1:3]]
    larger = labeller(tf.image.resize(image[:, :, ::-1], size))["logits"][:, :, ::-1]
    views = [tf.nn.softmax(tf.image.resize(logits, grid)) for logits in (labeller(image)["logits"], larger)]
    soft = SoftLabeller(labeller, np.ones(views[0].shape[-1]), 1.0, (1.0, 1.5))
    np.testing.assert_allclose(soft(image, label), (views[0] + views[1]) / 2, rtol=1e-4, atol=1e-6)


def test_lrent_soft_labels_of_a_labeller_that_sees_larger_images():
    """Of a run of another network, trained at another size, `--warm-start` labels at that size."""
    labeller, image = tiny_network(seed=1), batch(1, 0.5)["image"]
    label = thin_label(batch(1, 0.5)["label"], 2)
    height, width = image.shape[1:3]
    larger = labeller(tf.image.resize(image, (2 * height, 3 * width)))["logits"]
    expected = tf.nn.softmax(tf.image.resize(larger, label.shape[1:3]))
    soft = SoftLabeller(labeller, np.ones(expected.shape[-1]), 1.0, larger=(2.0, 3.0))
    np.testing.assert_allclose(soft(image, label), expected, rtol=1e-4, atol=1e-6)


def test_the_head_learns_at_its_multiple():
    def moved(multiple):
        network = tiny_network()
        head = network.get_layer("head_classes").trainable_variables
        before = network.get_weights()
        settings = Optimizer("sgd", learning_rate=0.1, head_multiple=multiple, weight_decay=0.0)
        optimizer = build_optimizer(settings, 1000, head)
        optimizer.build(network.trainable_variables)
        optimizer.apply([tf.ones_like(variable) for variable in network.trainable_variables])
        return [float(np.mean(old - new)) for old, new in zip(before, network.get_weights(), strict=True)]

    body_kernel, body_bias, head_kernel, head_bias = moved(10.0)
    assert body_kernel == pytest.approx(0.1, rel=1e-4)
    assert body_bias == pytest.approx(0.1, rel=1e-4)
    assert head_kernel == pytest.approx(1.0, rel=1e-4)
    assert head_bias == pytest.approx(1.0, rel=1e-4)


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_what_is_given_another_value_stands_still_there_and_its_average_begins_with_it(name):
    variable = keras.Variable([1.0, 1.0])
    optimizer = build_optimizer(Optimizer(name, learning_rate=0.1, weight_decay=0.0), 10, [], average_weights=0.9)
    optimizer.build([variable])
    for _ in range(2):
        optimizer.apply([tf.ones(2)])
    average = optimizer._model_variables_moving_average[0]
    before, kept = np.asarray(variable), float(average[0])
    variable.assign([before[0], 5.0])
    optimizer.restart(variable, [False, True])
    assert np.asarray(average).tolist() == [kept, 5.0]
    optimizer.apply([tf.zeros(2)])  # the momentum alone
    assert float(variable[0]) < before[0] - 1e-3
    assert float(variable[1]) == 5.0
    optimizer.restart(variable, True)
    assert np.array_equal(average, variable)


def test_what_begins_late_makes_steps_as_if_it_were_the_first():
    """Else the bias correction of Adam (ICLR 2015, section 3) has faded, and with it its mean squares are too small."""
    steps = {}
    for name, before in (("first", 0), ("late", 80)):
        variables = [keras.Variable([1.0]), keras.Variable([1.0])]
        settings = Optimizer(learning_rate=0.01, schedule="constant", weight_decay=0.0)
        optimizer = build_optimizer(settings, 1000, [], late_variables=variables[1:])
        optimizer.build(variables)
        for _ in range(before):
            optimizer.apply([tf.ones(1), tf.zeros(1)])
        optimizer.begin_late()
        steps[name] = []
        for _ in range(5):
            early, late = (float(variable[0]) for variable in variables)
            optimizer.apply([tf.ones(1), tf.ones(1)])
            steps[name].append((early - float(variables[0][0]), late - float(variables[1][0])))
    np.testing.assert_allclose(steps["late"], 0.01, rtol=1e-3)
    np.testing.assert_allclose(steps["late"], steps["first"], rtol=1e-3)


@pytest.mark.parametrize("settings", [{"name": "adamw"}, {"name": "sgd"}, {"name": "sgd", "momentum": 0.0}])
def test_one_operator_a_variable_moves_it_as_keras_does(settings):
    decay = 0.1 if settings["name"] == "adamw" else 0.0  # that of Keras' SGD is decoupled
    settings = Optimizer(learning_rate=0.01, weight_decay=decay, clip_norm=1.0, **settings)
    common = {"weight_decay": decay, "global_clipnorm": 1.0, "use_ema": True, "ema_momentum": 0.9}
    schedule = RampedPoly(0.01, 10, settings.power)
    kerases = {"adamw": keras.optimizers.AdamW, "sgd": keras.optimizers.SGD}[settings.name]
    momentum = {"momentum": settings.momentum} if settings.name == "sgd" else {}
    optimizers = build_optimizer(settings, 10, [], 0.9), kerases(schedule, **momentum, **common)
    moved = []
    for optimizer in optimizers:
        variables = [keras.Variable([1.0, -2.0, 3.0]), keras.Variable([[0.5]])]
        optimizer.build(variables)
        for step in range(6):
            optimizer.apply([tf.sin([1.0, 2.0, 3.0]) * (step + 1.0), tf.fill((1, 1), 0.1 * step)], variables)
        moved.append([*variables, *optimizer.variables])
    for ours, its in zip(*moved, strict=True):
        np.testing.assert_allclose(ours.numpy(), its.numpy(), rtol=1e-6, atol=1e-7)


def test_weight_decay_of_sgd_is_pytorchs_and_of_adamw_decoupled_at_the_rate_of_the_variable():
    """g' = g + decay v; m = 0.9 m + g'; v -= rate m. With a constant rate, clipped gradients and a head."""
    common = {"learning_rate": 0.1, "weight_decay": 0.5, "clip_norm": 1.0, "schedule": "constant", "head_multiple": 3.0}
    body, head = keras.Variable([[2.0]]), keras.Variable([[2.0]])
    optimizer = build_optimizer(Optimizer("sgd", **common), 10, [head])
    optimizer.build([body, head])
    value, momentum = np.full(2, 2.0), np.zeros(2)
    for _ in range(4):
        optimizer.apply([tf.fill((1, 1), 3.0), tf.fill((1, 1), 4.0)])
        momentum = 0.9 * momentum + np.array([0.6, 0.8]) + 0.5 * value
        value = value - np.array([0.1, 0.3]) * momentum
    np.testing.assert_allclose([float(body[0, 0]), float(head[0, 0])], value, rtol=1e-5)

    body, head = keras.Variable([[2.0]]), keras.Variable([[2.0]])
    optimizer = build_optimizer(Optimizer("adamw", **common), 10, [head])
    optimizer.build([body, head])
    optimizer.apply([tf.zeros((1, 1))] * 2)
    np.testing.assert_allclose([float(body[0, 0]), float(head[0, 0])], [2 * (1 - 0.05), 2 * (1 - 0.15)], rtol=1e-5)


def test_weight_decay_spares_biases():
    network = tiny_network()
    network.get_layer("head_classes").bias.assign(np.ones(CLASSES))
    optimizer = build_optimizer(Optimizer("sgd", learning_rate=0.1, weight_decay=0.5), 1000, [])
    optimizer.build(network.trainable_variables)
    kernel = network.get_layer("head_classes").kernel.numpy()
    optimizer.apply([tf.zeros_like(variable) for variable in network.trainable_variables])
    np.testing.assert_allclose(network.get_layer("head_classes").bias.numpy(), 1.0)
    np.testing.assert_allclose(network.get_layer("head_classes").kernel.numpy(), kernel * (1 - 0.1 * 0.5), rtol=1e-5)


def test_the_learning_rate_ramps_up_and_falls_to_zero():
    schedule = RampedPoly(1.0, steps=100, power=0.9, ramp_steps=10)
    values = [float(schedule(step)) for step in (0, 9, 50, 100)]
    assert values == pytest.approx([0.1, 0.91**0.9, 0.5**0.9, 0.0])
    assert float(RampedPoly(2.0, 100, 0.0)(99)) == 2.0


def test_a_horizon_beyond_the_stage_ends_it_before_the_rate_has_fallen():
    """AdaptSegNet's: 120,000 of 250,000 steps."""
    for horizon, last in ((250, 0.52**0.9), (100, 0.0), (0, 0.0)):
        schedule = learning_rate(Optimizer(learning_rate=1.0, horizon=horizon), 120)
        assert [float(schedule(step)) for step in (0, 120)] == pytest.approx([1.0, last])


def test_the_cosine_falls_to_a_thousandth():
    schedule = learning_rate(Optimizer(learning_rate=2.0, schedule="cosine"), 100)
    assert [float(schedule(step)) for step in (0, 50, 100)] == pytest.approx([2.0, 1.001, 0.002], rel=1e-5)
    ramped = learning_rate(Optimizer(learning_rate=2.0, schedule="cosine", ramp_steps=20), 100)
    assert [float(ramped(step)) for step in (0, 10, 20, 100)] == pytest.approx([0.0, 1.0, 2.0, 0.002], rel=1e-5)


def test_thin_label_takes_the_middle_of_each_cell():
    label = tf.reshape(tf.range(64), (1, 8, 8))
    assert thin_label(label, 4).numpy()[0].tolist() == [[18, 22], [50, 54]]
    assert thin_label(label, 1).shape == (1, 8, 8)
