"""The mean teacher: it follows the student and nothing else, and predicts the weak view only if a term needs it."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from models.batch_norm import BatchNormalization
from tests.training.methods.tiny import CLASSES, assert_weights, batch, compiled, optimizer_for, tiny_network
from training.methods.mean_teacher import MeanTeacherTraining, decay_of, ramped, teacher_of
from training.methods.self_training import SelfTraining, SoftLabeller
from training.methods.step import on_grid_of
from training.methods.terms import (
    ConfidentRegionKLDTerm,
    CrossEntropyTerm,
    IgnoredRegionEntropyTerm,
    SoftCrossEntropyTerm,
    TeacherConsistencyTerm,
)
from training.settings.teacher import MeanTeacher

SGD = {"name": "sgd", "momentum": 0.0, "weight_decay": 0.0}


def two_views(seed=1, label_share=0.3):
    target = batch(seed, label_share)
    return {**target, "weak": target["image"], "image": 255.0 - 0.8 * target["image"]}


def both(seed=0):
    return {"source": batch(seed), "target": two_views(seed + 1)}


def hiast_terms():
    return [
        CrossEntropyTerm("target"),
        ConfidentRegionKLDTerm(0.1, per_class=True),
        IgnoredRegionEntropyTerm(1.0),
        TeacherConsistencyTerm(0.5),
    ]


def test_the_moving_average_agrees_with_hiast(shared_dir):
    vectors = np.load(shared_dir / "reference" / "losses.npz")

    def weights(prefix):
        kernel = np.transpose(vectors[f"{prefix}__0.weight"], (2, 3, 1, 0))
        names = ("0.bias", "1.weight", "1.bias", "1.running_mean", "1.running_var")
        return [kernel, *(vectors[f"{prefix}__{name}"] for name in names)]

    image = keras.Input((None, None, 3))
    network = keras.Model(image, {"logits": BatchNormalization()(keras.layers.Conv2D(4, 3)(image))})
    teacher = teacher_of(network)
    network.set_weights(weights("ema_student"))
    teacher.set_weights(weights("ema_before"))
    MeanTeacherTraining(network, teacher, [CrossEntropyTerm("target")], decay=0.999).move_teacher(0)
    assert_weights(teacher, weights("ema_after"), atol=1e-7)


def test_only_the_average_moves_the_teacher():
    network = tiny_network(batch_norm=True)
    teacher = teacher_of(tiny_network(1, batch_norm=True))
    before = teacher.get_weights()
    method = compiled(MeanTeacherTraining(network, teacher, [CrossEntropyTerm("source"), *hiast_terms()], decay=0.9))
    method.train_step(both())
    student = network.get_weights()
    kinds = [weight.path.split("/")[-1] for weight in network.weights]
    assert kinds == ["kernel", "bias", "gamma", "beta", "moving_mean", "moving_variance", "kernel", "bias"]
    expected = [0.9 * old + 0.1 * new for old, new in zip(before, student, strict=True)]
    expected[4:6] = student[4:6]
    assert_weights(teacher, expected, atol=1e-6)
    assert np.abs(student[4]).max() > 0.01


def test_without_a_consistency_the_student_learns_as_in_self_training():
    terms = [CrossEntropyTerm("source"), CrossEntropyTerm("target"), IgnoredRegionEntropyTerm(1.0)]
    plain = compiled(SelfTraining(tiny_network(), terms), **SGD)
    plain.train_step(both())
    network = tiny_network()
    taught = compiled(MeanTeacherTraining(network, teacher_of(network), terms), **SGD)
    taught.train_step(both())
    assert_weights(network, plain.network.get_weights(), atol=1e-7)


def test_the_teacher_predicts_the_weak_view_in_inference_mode():
    network, teacher = tiny_network(batch_norm=True), teacher_of(tiny_network(1, batch_norm=True))
    data = both()
    target = MeanTeacherTraining(network, teacher, hiast_terms(), loss_stride=2).forward(data).target
    logits = teacher(data["target"]["weak"], training=False)["logits"]
    np.testing.assert_allclose(target.teacher_probs, keras.ops.softmax(logits), atol=1e-6)
    assert target.teacher_probs.shape == (4, 8, 8, CLASSES)


@pytest.mark.parametrize("more", [[], [TeacherConsistencyTerm(0.0)]])
def test_a_teacher_that_no_term_needs_makes_no_pass_but_follows(more, monkeypatch):
    terms = [CrossEntropyTerm("target"), *more]
    network, teacher = tiny_network(), teacher_of(tiny_network(1))
    before = teacher.get_weights()
    method = compiled(MeanTeacherTraining(network, teacher, terms, decay=0.5))

    def refuse(weak, label):
        raise AssertionError("the teacher made a forward pass")

    monkeypatch.setattr(method, "predict_with_teacher", refuse)
    assert set(method.train_step(both())) == {"cross_entropy_target"}
    halfway = [0.5 * (old + new) for old, new in zip(before, network.get_weights(), strict=True)]
    assert_weights(teacher, halfway, atol=1e-6)


def test_the_teacher_predicts_the_mean_of_its_scales():
    network = tiny_network()
    teacher = teacher_of(network)
    image, label = batch(0)["image"], tf.zeros((4, 16, 16), tf.int32)
    one, half, both = (
        MeanTeacherTraining(network, teacher, [], scales=scales).predict_with_teacher(image, label)
        for scales in ((1.0,), (0.5,), (1.0, 0.5))
    )
    np.testing.assert_allclose(both, (one + half) / 2, atol=1e-6)
    smaller = tf.image.resize(image, [size // 2 for size in image.shape[1:3]], antialias=True)
    np.testing.assert_allclose(half, tf.nn.softmax(on_grid_of(label, teacher(smaller)["logits"])), atol=1e-6)
    assert np.abs(one - half).max() > 1e-3


def test_the_student_comes_to_agree_with_a_teacher_that_stays():
    network, teacher = tiny_network(), teacher_of(tiny_network(1))
    method = compiled(MeanTeacherTraining(network, teacher, [TeacherConsistencyTerm(1.0, "all")], decay=1.0))
    fixed, losses = teacher.get_weights(), []
    target = two_views()
    for _ in range(30):
        method.reset_metrics()
        losses.append(float(method.train_step({"target": target})["consistency_all_target"]))
    assert losses[-1] < losses[0] - 0.01
    assert_weights(teacher, fixed)


def test_no_gradient_reaches_the_teacher():
    network, teacher = tiny_network(), teacher_of(tiny_network(1))
    method = MeanTeacherTraining(network, teacher, hiast_terms())
    with tf.GradientTape() as tape:
        tape.watch([variable.value for variable in teacher.weights])
        value = TeacherConsistencyTerm(1.0)(method.forward(both()))
    assert all(gradient is None for gradient in tape.gradient(value, [variable.value for variable in teacher.weights]))
    assert not teacher.trainable_variables


def test_the_source_may_be_left_out():
    data = {"target": two_views()}
    method = compiled(MeanTeacherTraining(tiny_network(), teacher_of(tiny_network()), hiast_terms(), loss_stride=2))
    values = method.train_step(data)
    assert list(values) == [
        "cross_entropy_target",
        "kld_confident_target",
        "entropy_ignored_target",
        "consistency_ignored_target",
    ]
    assert all(np.isfinite(float(value)) for value in values.values())


def test_a_target_with_every_pixel_labelled_or_none_is_finite():
    for label_share in (0.0, 1.0):
        method = compiled(MeanTeacherTraining(tiny_network(), teacher_of(tiny_network()), hiast_terms()))
        values = method.train_step({"target": two_views(label_share=label_share)})
        assert all(np.isfinite(float(value)) for value in values.values())
        assert all(np.isfinite(weight).all() for weight in method.network.get_weights())
        assert (float(values["consistency_ignored_target"]) == 0.0) == (label_share == 1.0)


def test_fit_makes_the_steps_that_train_step_makes():
    def trained(run):
        network = tiny_network(batch_norm=True)
        method = compiled(
            MeanTeacherTraining(network, teacher_of(network), [CrossEntropyTerm("source"), *hiast_terms()], 0.9)
        )
        run(method)
        return network.get_weights() + method.teacher.get_weights()

    batches = [both(0), both(5)]

    def fit(method):
        stream = tf.data.Dataset.from_tensor_slices(tf.nest.map_structure(lambda *parts: tf.stack(parts), *batches))
        method.fit(stream, epochs=1, verbose=0, shuffle=False)

    eager = trained(lambda method: [method.train_step(data) for data in batches])
    for ours, expected in zip(trained(fit), eager, strict=True):
        np.testing.assert_allclose(ours, expected, atol=1e-5)


def test_its_variables_are_all_that_a_resumed_stage_needs():
    def fresh():
        network = tiny_network(batch_norm=True)
        return compiled(
            MeanTeacherTraining(network, teacher_of(network), [CrossEntropyTerm("source"), *hiast_terms()], 0.9)
        )

    straight, resumed = fresh(), fresh()
    straight.train_step(both(0))
    for variable, value in zip(resumed.resumable_variables, straight.resumable_variables, strict=True):
        variable.assign(value)
    for method in (straight, resumed):
        method.train_step(both(5))
    assert_weights(resumed.network, straight.network.get_weights())
    assert_weights(resumed.teacher, straight.teacher.get_weights())


def ramped_method(decay=0.9):
    network = tiny_network()
    terms = [CrossEntropyTerm("target"), TeacherConsistencyTerm(0.5)]
    return compiled(MeanTeacherTraining(network, teacher_of(tiny_network(1)), terms, ramped(decay)))


def test_with_a_ramp_the_teacher_is_the_student_after_one_step_and_the_mean_of_all_after_more():
    method, students = ramped_method(), []
    step = tf.function(method.train_step)
    for number in range(3):
        step(both(number))
        students.append(method.network.get_weights())
        mean = [np.mean(weights, axis=0) for weights in zip(*students, strict=True)]
        assert_weights(method.teacher, mean, atol=1e-6 if number else 0)


def test_a_ramp_ends_at_the_constant_decay():
    assert [float(ramped(0.75)(step)) for step in (0, 1, 2, 3, 100)] == pytest.approx([0, 1 / 2, 2 / 3, 0.75, 0.75])


def test_a_ramp_goes_on_where_a_resumed_stage_goes_on():
    straight, resumed = ramped_method(), ramped_method()
    straight.train_step(both(0))
    straight.train_step(both(1))
    for variable, value in zip(resumed.resumable_variables, straight.resumable_variables, strict=True):
        variable.assign(value)
    before = resumed.teacher.get_weights()
    for method in (straight, resumed):
        method.train_step(both(2))
    for first, second in zip(straight.teacher.weights, resumed.teacher.weights, strict=True):
        np.testing.assert_array_equal(first, second)
    third = zip(before, resumed.network.get_weights(), strict=True)
    assert_weights(resumed.teacher, [2 / 3 * old + 1 / 3 * new for old, new in third], atol=1e-6)


def test_decay_is_stated_for_rounds_of_other_lengths():
    assert decay_of(MeanTeacher(decay=0.999, decay_steps=8000), 8000) == pytest.approx(0.999)
    assert decay_of(MeanTeacher(decay=0.999, decay_steps=8000), 800) == pytest.approx(0.99)
    assert decay_of(MeanTeacher(decay=0.9, decay_steps=100), 1) == 0.0
    with_ramp = decay_of(MeanTeacher(decay=0.999, decay_steps=8000, ramp=True), 800)
    assert [float(with_ramp(step)) for step in (0, 1, 1000)] == pytest.approx([0.0, 0.5, 0.99])


def test_the_student_lasts_and_the_teacher_is_the_result():
    network, teacher = tiny_network(), teacher_of(tiny_network(1))
    method = MeanTeacherTraining(network, teacher, hiast_terms())
    assert list(method.lasting_variables) == ["student"]
    for variable, weight in zip(method.lasting_variables["student"], network.weights, strict=True):
        assert variable is weight
    for found, weight in zip(method.result_weights(), teacher.get_weights(), strict=True):
        np.testing.assert_array_equal(found, weight)


def test_soft_labels_come_from_the_weak_view():
    network, labeller = tiny_network(), SoftLabeller(tiny_network(1), np.array([0.9, 0.5, 1.0], np.float32), 0.5)
    data = both()
    method = MeanTeacherTraining(network, teacher_of(network), [SoftCrossEntropyTerm()], soft_labeller=labeller)
    step = method.forward(data)
    np.testing.assert_allclose(step.target.soft_label, labeller(data["target"]["weak"], step.target.label))


def test_a_teacher_that_is_no_copy_is_refused():
    network = tiny_network()
    with pytest.raises(ValueError, match="another object than the network"):
        MeanTeacherTraining(network, network, hiast_terms())
    with pytest.raises(ValueError, match="do not have the network's shapes"):
        MeanTeacherTraining(network, tiny_network(batch_norm=True), hiast_terms())


def test_a_region_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="no region 'some'"):
        TeacherConsistencyTerm(0.5, region="some")


def test_the_optimizer_knows_the_student_only():
    network = tiny_network()
    optimizer = optimizer_for(network)
    method = MeanTeacherTraining(network, teacher_of(network), hiast_terms())
    method.compile(optimizer=optimizer)
    assert [id(variable) for variable in method.trainable_variables] == [id(v) for v in network.trainable_variables]
