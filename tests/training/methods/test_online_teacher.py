"""The online teacher: what it mixes, when it moves, and that its labels are all that adaptation sees of the target."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.training.methods.tiny import CLASSES, assert_weights, batch, compiled, tiny_network
from training.data.classes import LABEL_SPACES
from training.errors import UserError
from training.losses import cross_entropy
from training.methods.block_mask import BlockMasker
from training.methods.class_mix import MASKED_COLOURS, ClassMixer
from training.methods.mean_teacher import decay_of, teacher_of
from training.methods.online_labels import ImageWeights, OnlineLabels, ThresholdedLabels
from training.methods.online_teacher import OnlineTeacher
from training.methods.term import TermContext
from training.methods.terms import (
    CrossEntropyTerm,
    FeatureDistanceTerm,
    MaskedTerm,
    MinimumEntropyTerm,
    TeacherConsistencyTerm,
    TeacherWeightTerm,
    terms_of,
)
from training.settings.losses import FeatureDistance, Losses, Masked
from training.settings.sampling import ClassMix
from training.settings.teacher import ImageConfidence, MeanTeacher, RunningThresholds

UNCHANGED = ClassMix(jitter_probability=0.0, blur_probability=0.0)
SGD = {"name": "sgd", "momentum": 0.0, "weight_decay": 0.0}
RAMPED = decay_of(MeanTeacher(decay=0.999, decay_steps=40_000, ramp=True), 40_000)


def both(seed: int = 0) -> dict:
    """Source and target; the corner of a target image is beyond its frame."""
    source, target = batch(seed), batch(seed + 1000)
    label = target["label"].numpy()
    label[3, 8:, 8:] = 254
    position = tf.range(4, dtype=tf.int64) + 4 * seed
    target = {"image": 255.0 - 0.8 * target["image"], "label": tf.constant(label), "position": position}
    return {"source": {**source, "position": position}, "target": target}


def dacs_terms(*more) -> list:
    crossed = [CrossEntropyTerm(domain, over_all=True) for domain in ("source", "mixed")]
    return [*crossed, TeacherWeightTerm(), *more]


class Given(OnlineLabels):
    """Labels and weights that do not ask the teacher."""

    def __init__(self, label: int, weight: float):
        self.label, self.weight = label, weight

    def __call__(self, probs, region):
        return tf.fill(tf.shape(region), self.label), self.weight * region


def method_of(*terms, settings=UNCHANGED, labels=None, seed=0, teacher=None, network=None, **more) -> OnlineTeacher:
    network = network or tiny_network()
    labels = labels or ImageWeights(ImageConfidence(threshold=0.4), CLASSES)
    more = {"decay": RAMPED, **more}
    return OnlineTeacher(
        network, teacher or teacher_of(network), dacs_terms(*terms), labels, ClassMixer(settings, seed), **more
    )


# What is mixed


def test_every_mixed_pixel_comes_from_one_domain():
    method, data = method_of(labels=Given(2, 0.25), target_weight=0.8), both()
    found = method.mixed(data)["mixed"]
    pasted, outside = found["pasted"].numpy(), data["target"]["label"].numpy() == 254
    assert 0 < pasted.mean() < 1
    source, target = data["source"], data["target"]
    np.testing.assert_array_equal(found["image"], np.where(pasted[..., None], source["image"], target["image"]))
    np.testing.assert_array_equal(found["label"], np.where(pasted, source["label"], np.where(outside, 254, 2)))
    np.testing.assert_allclose(found["weight"], np.where(pasted, 1, np.where(outside, 0, 0.2)), atol=1e-7)


def test_on_a_coarser_grid_label_weight_and_pasted_are_of_the_same_pixels():
    fine, coarse = (method_of(labels=Given(2, 0.5), loss_stride=stride).mixed(both())["mixed"] for stride in (1, 2))
    for name in ("label", "weight", "pasted"):
        np.testing.assert_array_equal(coarse[name], fine[name][:, 1::2, 1::2])
    np.testing.assert_array_equal(coarse["image"], fine["image"])


def test_with_every_class_pasted_the_mixed_batch_is_the_source_and_its_loss_plain_cross_entropy():
    method, data = method_of(settings=ClassMix(1.0, 0.2, 0.0, 0.0)), both()
    prepared = method.prepared(data)
    np.testing.assert_array_equal(prepared["mixed"]["image"], data["source"]["image"])
    np.testing.assert_array_equal(prepared["mixed"]["label"], data["source"]["label"])
    np.testing.assert_array_equal(prepared["mixed"]["weight"], np.ones((4, 16, 16)))
    step = method.forward(prepared)
    expected = cross_entropy(step.source.logits, data["source"]["label"])
    assert float(CrossEntropyTerm("mixed", over_all=True)(step)) == pytest.approx(float(expected), rel=1e-6)


def test_with_nothing_pasted_the_mixed_batch_is_the_target_with_the_teachers_weight():
    data = both()
    for found in (
        method_of(labels=Given(1, 0.75), target_weight=0.8, mixes=False).mixed(data),
        method_of(labels=Given(1, 0.75), target_weight=0.8).mixed(
            {**data, "source": {**data["source"], "label": tf.fill((4, 16, 16), tf.constant(255, tf.uint8))}}
        ),
    ):
        inside = data["target"]["label"].numpy() != 254
        assert not found["mixed"]["pasted"].numpy().any()
        np.testing.assert_array_equal(found["mixed"]["image"], data["target"]["image"])
        np.testing.assert_array_equal(found["mixed"]["label"], np.where(inside, 1, 254))
        np.testing.assert_allclose(found["mixed"]["weight"], np.where(inside, 0.6, 0.0), atol=1e-6)


def test_the_mix_depends_on_the_positions_and_not_on_the_batch():
    method, data = method_of(settings=ClassMix()), both()
    alone = method.mixed(tf.nest.map_structure(lambda values: values[2:3], data))["mixed"]
    for name, value in method.mixed(data)["mixed"].items():
        np.testing.assert_allclose(value[2:3], alone[name], atol=1e-4, err_msg=name)


def test_weighted_cross_entropy_by_hand():
    logits = tf.constant([[[[2.0, 0.0], [0.0, 2.0], [1.0, 1.0], [0.0, 0.0]]]])
    label, weight = tf.constant([[[0, 0, 1, 255]]]), tf.constant([[[1.0, 0.75, 0.75, 0.75]]])
    each = [0.1269280, 2.1269280, 0.6931472, 0.0]
    for pixel, expected in enumerate(each):
        one = tf.one_hot(pixel, 4)[None, None]
        assert float(cross_entropy(logits, label, 1.0, one)) == pytest.approx(expected, abs=1e-6)
    values = [0.7367509, 0.9823344, 0.5604961]  # over all pixels, over the labelled ones, unweighted over all
    weighted = float(cross_entropy(logits, label, 1.0, weight))
    assert float(cross_entropy(logits, label, 4.0)) == pytest.approx(values[0], abs=1e-6)
    assert float(cross_entropy(logits, label)) == pytest.approx(values[1], abs=1e-6)
    assert weighted / 4 == pytest.approx(values[2], abs=1e-6)
    assert float(cross_entropy(logits, label, 4.0, weight)) == pytest.approx(values[2], abs=1e-6)


# When the teacher moves


@pytest.mark.parametrize(
    ("step", "decay"), [(0, 0.0), (1, 0.5), (2, 2 / 3), (9, 0.9), (99, 0.99), (999, 0.999), (5000, 0.999)]
)
def test_the_decay_of_a_step(step, decay):
    assert float(RAMPED(step)) == pytest.approx(decay, abs=1e-6)


def test_the_teacher_is_the_student_at_the_first_step_and_half_way_at_the_second():
    network = tiny_network()
    method = compiled(method_of(network=network, teacher=teacher_of(tiny_network(1))))
    before = network.get_weights()
    method.train_step(both(0))
    assert_weights(method.teacher, before)
    between = network.get_weights()
    assert max(np.abs(new - old).max() for new, old in zip(between, before, strict=True)) > 1e-3
    method.train_step(both(1))
    assert_weights(method.teacher, [(a + b) / 2 for a, b in zip(before, between, strict=True)], atol=1e-6)


def test_no_gradient_reaches_teacher_or_frozen_network():
    network, frozen, levels = level_networks()
    teacher = teacher_of(network)
    method = with_levels_of(levels, method_of, FeatureDistanceTerm(1.0), MaskedTerm(Masked()), network=network,
                            teacher=teacher, frozen=frozen, masker=BlockMasker(Masked(), 0))  # fmt: skip
    method.terms[3].things = (0, 1)
    others = [variable.value for variable in (*teacher.weights, *frozen.weights)]
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(others)
        step = method.forward(method.prepared(both()))
        values = [term(step) for term in method.terms]
        total = tf.add_n(values)
    assert all(gradient is None for gradient in tape.gradient(total, others))
    assert all(gradient is not None for gradient in tape.gradient(total, network.trainable_variables))
    assert not teacher.trainable_variables


# What the target's weight decides


@pytest.mark.parametrize("more", [(), (MaskedTerm(Masked()),)], ids=["mixed", "masked"])
def test_without_weight_the_labels_of_the_teacher_teach_nothing(more):
    def trained(labels, target_weight):
        masker = BlockMasker(Masked(), 0)
        method = compiled(method_of(*more, labels=labels, target_weight=target_weight, masker=masker), **SGD)
        for number in range(2):
            method.train_step(both(number))
        return method.network.get_weights()

    one, other = (trained(Given(label, weight), 0.0) for label, weight in ((0, 1.0), (2, 0.3)))
    for first, second in zip(one, other, strict=True):
        np.testing.assert_array_equal(first, second)
    learnt = trained(Given(0, 1.0), 1.0)
    assert max(np.abs(a - b).max() for a, b in zip(one, learnt, strict=True)) > 1e-3


def test_the_weight_is_logged():
    method = compiled(method_of(labels=Given(1, 0.5), target_weight=0.8))
    data = both()
    data["target"]["label"] = tf.zeros((4, 16, 16), tf.uint8)
    pasted = method.mixed(data)["mixed"]["pasted"].numpy()
    assert float(method.train_step(data)["teacher_weight"]) == pytest.approx(0.4 * (1 - pasted.mean()), abs=1e-6)


def test_it_learns_the_target_from_the_source():
    method = compiled(method_of(settings=ClassMix(jitter=0.02), labels=ThresholdedLabels(RunningThresholds(), CLASSES)))
    step = tf.function(method.train_step)

    def darker(number):
        data = both(number)
        return {**data, "target": {**data["target"], "image": 0.7 * batch(number + 1000)["image"]}}

    def accuracy():
        logits = tf.image.resize(method.teacher(darker(500)["target"]["image"], training=False)["logits"], (16, 16))
        return (tf.argmax(logits, axis=-1).numpy() == batch(1500)["label"].numpy()).mean()

    before = accuracy()
    for number in range(60):
        step(darker(number))
    assert accuracy() > before + 0.2


# Terms


def test_masked_images_have_hidden_blocks_changed_colours_and_the_teachers_labels():
    settings, masker = ClassMix(jitter_probability=1.0), BlockMasker(Masked(block=0.25, ratio=0.5), 7)
    method, data = method_of(MaskedTerm(Masked()), settings=settings, masker=masker, target_weight=0.5), both()
    prepared = method.prepared(data)
    masked, taught, position = prepared["masked"], prepared["teacher"]["target"], data["target"]["position"]
    recoloured = method.mixer.recoloured(data["target"]["image"], position, MASKED_COLOURS)
    np.testing.assert_array_equal(masked["image"], masker.hidden(recoloured, position))
    np.testing.assert_array_equal(masked["label"], taught["label"])
    np.testing.assert_array_equal(masked["weight"], taught["weight"])
    step = method.forward(prepared)
    expected = cross_entropy(step.masked.logits, masked["label"], 4 * 16 * 16, masked["weight"])
    assert float(MaskedTerm(Masked())(step)) == pytest.approx(float(expected), rel=1e-6)


def test_a_loss_on_the_target_sees_its_images_before_mixing():
    method, data = method_of(MinimumEntropyTerm(0.1)), both()
    step = method.forward(method.prepared(data))
    logits = tf.image.resize(method.network(data["target"]["image"], training=True)["logits"], (16, 16))
    np.testing.assert_allclose(step.target.logits, logits, atol=1e-5)
    assert "minimum_entropy_target" in compiled(method).train_step(data)


def test_pseudo_labels_are_what_it_does_not_have():
    with pytest.raises(UserError, match="needs the pseudo-labels of adaptation: online self-training cannot"):
        OnlineTeacher.check_terms([TeacherConsistencyTerm(0.5)])


def level_networks():
    """`(network, frozen copy with other weights, with_levels)` of a network whose levels are its features."""

    def with_levels(model):
        return keras.Model(model.inputs[0], {**model.output, "levels": [model.output["features"]]})

    return tiny_network(), tiny_network(1), with_levels


def with_levels_of(levels, make, *arguments, **more):
    with pytest.MonkeyPatch.context() as patch:
        for place in ("method", "online_teacher"):
            patch.setattr(f"training.methods.{place}.with_levels", levels)
        return make(*arguments, **more)


def test_the_feature_distance_is_on_things_of_the_source():
    network, frozen, levels = level_networks()
    context = TermContext(network, LABEL_SPACES["cityscapes19"], seed=0, steps=1)
    (term,) = terms_of(Losses(feature_distance=FeatureDistance(weight=1.0)), context)
    assert term.things == (6, 7, *range(11, 19))
    term.things = (2,)
    method, data = with_levels_of(levels, method_of, term, network=network, frozen=frozen), both()
    step = method.forward(method.prepared(data))
    ours, theirs = (model(data["source"]["image"])["features"].numpy() for model in (network, frozen))
    shares = (data["source"]["label"].numpy() == 2).reshape(4, 8, 2, 8, 2).mean(axis=(2, 4))
    distance = np.sqrt(((ours - theirs) ** 2).sum(-1))[shares >= 0.75].mean()
    assert float(term(step)) == pytest.approx(distance, rel=1e-4)
    term.things = ()
    assert float(term(step)) == 0


# Going on


@pytest.mark.parametrize("group", ["resumable", "lasting"])
def test_another_method_goes_on_bit_equal(group):
    def fresh(seed):
        network = tiny_network(seed, batch_norm=True, dropout=0.2)
        labels = ThresholdedLabels(RunningThresholds(beta=0.5), CLASSES)
        return compiled(
            method_of(MaskedTerm(Masked()), network=network, labels=labels, masker=BlockMasker(Masked(), 0))
        )

    def variables(method):
        if group == "resumable":
            return method.resumable_variables
        return [variable for variables in method.lasting_variables.values() for variable in variables]

    straight, resumed = fresh(0), fresh(1)
    straight.train_step(both(0))
    for variable, value in zip(variables(resumed), variables(straight), strict=True):
        variable.assign(value)
    for method in (straight, resumed):
        method.train_step(both(5))
    for first, second in zip(variables(straight), variables(resumed), strict=True):
        np.testing.assert_array_equal(first, second)
    assert np.ptp(straight.labels.thresholds.numpy()) > 0


def test_the_teacher_is_the_result():
    method = compiled(method_of())
    method.train_step(both())
    for found, weight in zip(method.result_weights(), method.teacher.get_weights(), strict=True):
        np.testing.assert_array_equal(found, weight)
