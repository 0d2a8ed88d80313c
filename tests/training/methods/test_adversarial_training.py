"""Two networks, two optimisers, one pass: each update moves its own network, in the right direction."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from models.discriminator import build_discriminator
from tests.training.methods.tiny import (
    CLASSES,
    assert_weights,
    batch,
    compiled,
    give_levels,
    optimizer_for,
    tiny_network,
)
from tests.training.methods.tiny_contrast import TINY_SPACE
from training.losses import DOMAIN_LOSSES, discriminator_loss
from training.methods.adversarial import (
    DISCRIMINATOR_INPUTS,
    AdversarialMeanTeacher,
    AdversarialSelfTraining,
    AdversarialTraining,
)
from training.methods.class_mix import ClassMixer
from training.methods.mean_teacher import MeanTeacherTraining, teacher_of
from training.methods.mixture import mixture_head, mixture_terms
from training.methods.optimizers import build_optimizer
from training.methods.self_training import SelfTraining, SoftLabeller
from training.methods.term import TermContext
from training.methods.terms import CrossEntropyTerm, MinimumEntropyTerm, SoftCrossEntropyTerm, TeacherConsistencyTerm
from training.settings.losses import Mixture
from training.settings.sampling import ClassMix
from training.settings.schedule import Optimizer

pytestmark = pytest.mark.usefixtures("graphs_as_traced")

PLAIN = {"name": "sgd", "momentum": 0.0, "weight_decay": 0.0}


def domains(seed=0):
    """A dark source and a bright target."""
    source, target = batch(seed), batch(seed + 100, 0.0)
    dark, bright = 0.3 * source["image"], 200.0 + 0.2 * target["image"]
    return {"source": {**source, "image": dark}, "target": {**target, "image": bright}}


def ready(terms=None, rate=0.1, discriminator_rate=0.1, optimizer=PLAIN, kind=AdversarialTraining, **settings):
    network, discriminator = tiny_network(), build_discriminator(CLASSES, channels=4)
    method = kind(network, discriminator, terms or [CrossEntropyTerm("source")], **settings)
    method.compile(
        optimizer=optimizer_for(network, rate, **optimizer),
        discriminator_optimizer=optimizer_for(discriminator, discriminator_rate, **optimizer),
    )
    return method


def maps_of(network, name, data):
    """The maps of both domains at the images' size, as the discriminator should see them."""
    joint = tf.concat([data["source"]["image"], data["target"]["image"]], axis=0)
    logits = tf.image.resize(network(joint, training=True)["logits"], (16, 16))
    return tf.split(DISCRIMINATOR_INPUTS[name](logits), 2), logits


@pytest.mark.parametrize(("name", "loss"), [("softmax", "lsgan"), ("self_information", "bce")])
def test_one_step_equals_both_updates_by_hand(name, loss):
    data, domain_loss = domains(), DOMAIN_LOSSES[loss]
    method = ready(discriminator_input=name, loss=loss, weight=0.7)
    network, discriminator = tiny_network(), build_discriminator(CLASSES, channels=4)
    with tf.GradientTape() as tape:
        (_, target_map), logits = maps_of(network, name, data)
        supervised = tf.reduce_mean(
            keras.losses.sparse_categorical_crossentropy(data["source"]["label"], logits[:4], from_logits=True)
        )
        value = supervised + 0.7 * domain_loss(discriminator(target_map), 0.0)
    steps = tape.gradient(value, network.trainable_variables)
    (source_map, target_map), _ = maps_of(network, name, data)
    with tf.GradientTape() as tape:
        value = discriminator_loss(domain_loss, discriminator(source_map), discriminator(target_map))
    discriminator_steps = tape.gradient(value, discriminator.trainable_variables)
    logged = method.train_step(data)
    for model, found, gradients in (
        (network, method.network, steps),
        (discriminator, method.discriminator, discriminator_steps),
    ):
        assert max(float(tf.reduce_max(tf.abs(gradient))) for gradient in gradients) > 1e-4
        expected = [w - 0.1 * g.numpy() for w, g in zip(model.get_weights(), gradients, strict=True)]
        assert_weights(found, expected, atol=1e-6)
    assert float(logged["discriminator"]) == pytest.approx(float(value), rel=1e-4)
    assert float(logged["cross_entropy_source"]) == pytest.approx(float(supervised), rel=1e-4)


def test_a_step_of_self_training_is_uplrs_loss_by_hand():
    """L_s + w L_t + lambda L_adv, each cross-entropy a mean over the labelled pixels of its own domain."""
    data = domains()
    data["target"]["label"] = batch(100, 0.3)["label"]
    network, discriminator = tiny_network(), build_discriminator(CLASSES, channels=4)
    terms = [CrossEntropyTerm("source", own_mean=True), CrossEntropyTerm("target", 0.6, own_mean=True)]
    method = AdversarialSelfTraining(
        tiny_network(), build_discriminator(CLASSES, channels=4), terms, "softmax", "bce", 0.7
    )
    method.compile(
        optimizer=optimizer_for(method.network, 0.1, **PLAIN),
        discriminator_optimizer=optimizer_for(method.discriminator, 0.1, **PLAIN),
    )

    def mean_cross_entropy(labels, logits):
        chosen = labels != 255
        return tf.reduce_mean(
            keras.losses.sparse_categorical_crossentropy(labels[chosen], logits[chosen], from_logits=True)
        )

    with tf.GradientTape() as tape:
        (_, target_map), logits = maps_of(network, "softmax", data)
        source = mean_cross_entropy(data["source"]["label"], logits[:4])
        target = mean_cross_entropy(data["target"]["label"], logits[4:])
        value = source + 0.6 * target + 0.7 * DOMAIN_LOSSES["bce"](discriminator(target_map), 0.0)
    steps = tape.gradient(value, network.trainable_variables)
    logged = method.train_step(data)
    expected = [w - 0.1 * g.numpy() for w, g in zip(network.get_weights(), steps, strict=True)]
    assert_weights(method.network, expected, atol=1e-6)
    assert float(logged["cross_entropy_target"]) == pytest.approx(float(target), rel=1e-4)


def test_each_update_leaves_the_other_network_alone():
    method = ready(discriminator_rate=0.0)
    before = method.discriminator.get_weights()
    method.train_step(domains())
    assert_weights(method.discriminator, before)
    method = ready(rate=0.0)
    before = method.network.get_weights()
    method.train_step(domains())
    assert_weights(method.network, before)


ADAM = {"name": "adamw", "weight_decay": 0.0}


def train(method, steps):
    step = tf.function(method.train_step)
    for number in range(steps):
        step(domains(number))


@pytest.mark.parametrize("loss", DOMAIN_LOSSES)
@pytest.mark.parametrize("name", DISCRIMINATOR_INPUTS)
def test_the_discriminator_learns_to_tell_two_easy_domains_apart(name, loss):
    method = ready(rate=0.0, discriminator_rate=0.005, optimizer=ADAM, discriminator_input=name, loss=loss)
    method.network.set_weights([3.0 * weight for weight in method.network.get_weights()])
    train(method, steps=25)
    step = method.forward(domains(200))
    between = 0.5 if loss == "lsgan" else 0.0
    assert float(tf.reduce_max(step.source.scores)) < between < float(tf.reduce_min(step.target.scores))


def test_the_segmenter_moves_the_scores_of_the_target_towards_the_source():
    method = ready(terms=[MinimumEntropyTerm(0.0)], rate=0.0, discriminator_rate=0.005, optimizer=ADAM, weight=1.0)
    method.network.set_weights([3.0 * weight for weight in method.network.get_weights()])
    train(method, steps=25)
    method.compile(
        optimizer=optimizer_for(method.network, 0.01, **ADAM),
        discriminator_optimizer=optimizer_for(method.discriminator, 0.0, **PLAIN),
    )
    before = float(tf.reduce_mean(method.forward(domains(200)).target.scores))
    train(method, steps=10)
    after = float(tf.reduce_mean(method.forward(domains(200)).target.scores))
    assert after < before - 0.2


def test_soft_labels_stand_beside_the_term_in_self_training():
    data = domains()
    data["target"] |= {"label": batch(100)["label"], "weak": data["target"]["image"]}
    soft, terms = SoftLabeller(tiny_network(1), [0.5] * CLASSES, 0.25), [SoftCrossEntropyTerm()]
    plain = compiled(SelfTraining(tiny_network(), terms, soft_labeller=soft), 0.1, **PLAIN)
    method = ready(terms, kind=AdversarialSelfTraining, weight=0.0, soft_labeller=soft)
    expected, found = plain.train_step(data), method.train_step(data)
    name = "soft_cross_entropy_target"
    assert float(found[name]) == pytest.approx(float(expected[name]), rel=1e-5)
    assert float(found["adversarial"]) > 0
    assert_weights(method.network, plain.network.get_weights(), atol=1e-6)  # the term has no weight


def mixing():
    return ClassMixer(ClassMix(), 3)


def with_positions(data):
    """As in rounds: pseudo-labels on a part of the target, a weak view, and places in the stream."""
    data["target"] |= {"label": batch(100, 0.4)["label"], "weak": 0.5 * data["target"]["image"]}
    return {name: {**domain, "position": tf.range(4, dtype=tf.int64)} for name, domain in data.items()}


def rounds(kind):
    """By what a round has beside the labels: a maker of its method, with the options of the term or none."""
    both = [CrossEntropyTerm("source"), CrossEntropyTerm("target", 0.6)]

    def class_mix(network, **adversary):
        return (AdversarialSelfTraining if adversary else SelfTraining)(
            network, terms=both, mixer=mixing(), **adversary
        )

    def mean_teacher(network, **adversary):
        method = AdversarialMeanTeacher if adversary else MeanTeacherTraining
        terms = [*both, TeacherConsistencyTerm(0.5)]
        return method(network, teacher=teacher_of(network), terms=terms, decay=0.9, mixer=mixing(), **adversary)

    def mixture(network, **adversary):
        with pytest.MonkeyPatch.context() as patch:
            give_levels(patch)
            modes = mixture_terms(Mixture(dimension=4, consistency=0.5), TermContext(network, TINY_SPACE, 3, 10))
            found = (AdversarialSelfTraining if adversary else SelfTraining)(
                network, terms=[*both, *modes], **adversary
            )
        head = mixture_head(modes)
        head.start_with(np.asarray(head.modes), np.zeros(head.modes.shape[:2]))
        return found

    return {"class_mix": class_mix, "mean_teacher": mean_teacher, "mixture": mixture}[kind]


@pytest.mark.parametrize("kind", ["class_mix", "mean_teacher", "mixture"])
def test_beside_other_parts_of_a_round_the_gradient_is_the_sum_of_both(kind):
    data, make, weight = with_positions(domains()), rounds(kind), 0.7
    adversary = {"discriminator": build_discriminator(CLASSES, channels=4), "loss": "bce", "weight": weight}
    plain, method = make(tiny_network()), make(tiny_network(), **adversary)
    for each, more in (
        (plain, {}),
        (method, {"discriminator_optimizer": optimizer_for(method.discriminator, **PLAIN)}),
    ):
        optimizer = build_optimizer(Optimizer(learning_rate=0.1, **PLAIN), 1000, [])
        optimizer.build(each.trained_variables)
        each.compile(optimizer=optimizer, **more)
    values, gradients = plain.gradients_of_all(data)
    with tf.GradientTape() as tape:
        target = plain.prepared(data)["target"]
        logits = tf.image.resize(plain.network(target["image"], training=True)["logits"], (16, 16))
        term = DOMAIN_LOSSES["bce"](method.discriminator(tf.nn.softmax(logits)), 0.0)
    of_term = tape.gradient(term, plain.network.trainable_variables)
    assert max(float(tf.reduce_max(tf.abs(gradient))) for gradient in of_term) > 1e-4
    of_term += [0.0] * (len(gradients) - len(of_term))  # the second head's
    expected = [first + weight * second for first, second in zip(gradients, of_term, strict=True)]
    found_values, found = method.gradients_of_all(data)
    for first, second in zip(found, expected, strict=False):  # the discriminator's come after them
        np.testing.assert_allclose(first, second, atol=2e-6)
    np.testing.assert_allclose(found_values[:-2], values, rtol=1e-4)
    assert float(found_values[-2]) == pytest.approx(float(term), rel=1e-4)
    before = method.discriminator.get_weights()
    logged = method.train_step(data)
    assert {"adversarial", "discriminator"} <= set(logged)
    assert any((old != new).any() for old, new in zip(before, method.discriminator.get_weights(), strict=True))
    assert "discriminator" in method.lasting_variables


def test_the_teacher_follows_the_student_beside_the_term():
    adversary = {"discriminator": build_discriminator(CLASSES, channels=4), "loss": "bce", "weight": 0.7}
    method = rounds("mean_teacher")(tiny_network(), **adversary)
    start = method.network.get_weights()
    method.compile(
        optimizer=optimizer_for(method.network, 0.1, **PLAIN),
        discriminator_optimizer=optimizer_for(method.discriminator, 0.1, **PLAIN),
    )
    method.train_step(with_positions(domains()))
    for taught, old, new in zip(method.result_weights(), start, method.network.get_weights(), strict=True):
        np.testing.assert_allclose(taught, 0.9 * old + 0.1 * new, atol=1e-6)
    assert {"student", "discriminator"} <= set(method.lasting_variables)
    states = {id(variable) for variable in method.resumable_variables}
    assert states >= {id(weight) for model in (method.teacher, method.discriminator) for weight in model.weights}


def test_metrics_and_minimum_entropy():
    method = ready(terms=[CrossEntropyTerm("source"), MinimumEntropyTerm(3.0)], discriminator_input="self_information")
    logged = method.train_step(domains())
    assert list(logged) == ["cross_entropy_source", "minimum_entropy_target", "adversarial", "discriminator"]
    assert 0 < float(logged["minimum_entropy_target"]) <= 1


def test_it_fits_on_a_thinned_grid_and_finds_its_state_again():
    stream = tf.data.Dataset.from_tensors(domains())
    straight, resumed = (ready(optimizer=ADAM, loss_stride=2) for _ in range(2))
    straight.fit(stream, verbose=0)
    for variable, value in zip(resumed.resumable_variables, straight.resumable_variables, strict=True):
        variable.assign(value)
    for method in (straight, resumed):
        method.fit(stream, verbose=0)
    assert_weights(resumed.network, straight.network.get_weights())
    assert_weights(resumed.discriminator, straight.discriminator.get_weights())


def test_discriminator_and_its_optimiser_last():
    method = ready(optimizer=ADAM)
    method.train_step(domains())
    lasting = method.lasting_variables
    assert list(lasting) == ["discriminator", "discriminator_optimizer"]
    assert [id(variable) for variable in lasting["discriminator"]] == [id(w) for w in method.discriminator.weights]
    assert int(lasting["discriminator_optimizer"][0]) == 1  # its iterations
    for found, weight in zip(method.result_weights(), method.network.get_weights(), strict=True):
        assert (found == weight).all()


@pytest.mark.parametrize("choice", [{"discriminator_input": "logits"}, {"loss": "hinge"}])
def test_an_unknown_choice_is_refused(choice):
    with pytest.raises(ValueError, match="choose from"):
        ready(**choice)
