"""Terms: settings become terms in order, a method refuses what it cannot compute, and views carry what terms need."""

from dataclasses import fields, replace

import numpy as np
import pytest
import tensorflow as tf

from tests.training.methods.tiny import CLASSES, batch, compiled, tiny_network
from training.errors import UserError
from training.losses import cross_entropy
from training.methods.adversarial import AdversarialTraining
from training.methods.mean_teacher import MeanTeacherTraining
from training.methods.self_training import SelfTraining
from training.methods.source_training import SourceTraining
from training.methods.step import Step, View, predict_domains
from training.methods.terms import TERMS, CrossEntropyTerm, Term, labelled_pixels, terms_of
from training.settings.losses import (
    Consistency,
    FeatureDistance,
    Losses,
    Masked,
    MinimumEntropy,
    Mrkld,
    PixelContrast,
    PrototypeContrast,
    RegionRegularisation,
)

LABELLED_LOSSES = Losses(Mrkld(0.1), RegionRegularisation(0.2, 0.3), Consistency(0.4, "all"), MinimumEntropy(0.5))
EVERY_LOSS = replace(
    LABELLED_LOSSES, feature_distance=FeatureDistance(0.6), masked=Masked(0.7), contrast=PrototypeContrast(weight=0.8)
)


def test_settings_become_terms_in_the_order_of_the_fields():
    assert {type(getattr(EVERY_LOSS, field.name)) for field in fields(Losses)} | {PixelContrast} == set(TERMS)
    terms = terms_of(EVERY_LOSS)
    assert [(term.setting, term.name, term.weight) for term in terms] == [
        ("losses.mrkld", "mrkld_target", 0.1),
        ("losses.regions", "kld_confident_target", 0.2),
        ("losses.regions", "entropy_ignored_target", 0.3),
        ("losses.consistency", "consistency_all_target", 0.4),
        ("losses.minimum_entropy", "minimum_entropy_target", 0.5),
        ("losses.feature_distance", "feature_distance", 0.6),
        ("losses.masked", "masked", 0.7),
        ("losses.contrast", "contrast", 0.8),
    ]
    assert terms_of(Losses()) == []


@pytest.mark.parametrize(
    ("method", "losses", "words"),
    [
        (SelfTraining, Losses(consistency=Consistency()), "losses.consistency needs adaptation.mean_teacher=on"),
        (AdversarialTraining, Losses(mrkld=Mrkld()), "losses.mrkld needs the pseudo-labels of adaptation: alignment"),
        (MeanTeacherTraining, EVERY_LOSS, "losses.feature_distance needs an adaptation of the kind Online: self-train"),
        (
            MeanTeacherTraining,
            replace(EVERY_LOSS, feature_distance=None),
            "losses.contrast needs an adaptation of the kind Online: self-training",
        ),
        (SourceTraining, Losses(minimum_entropy=MinimumEntropy()), "losses.minimum_entropy needs target: supervised"),
    ],
)
def test_a_method_refuses_a_loss_that_it_cannot_compute(method, losses, words):
    with pytest.raises(UserError, match=words) as caught:
        method.check_terms(terms_of(losses))
    assert "\n" not in str(caught.value)


def test_what_is_refused_is_refused_before_a_network_is_compiled():
    with pytest.raises(UserError, match=r"losses\.consistency needs adaptation\.mean_teacher=on"):
        SelfTraining(tiny_network(), terms_of(Losses(consistency=Consistency())))
    MeanTeacherTraining.check_terms(terms_of(LABELLED_LOSSES))


class FeatureTerm(Term):
    """Mean square of the features."""

    name, weight, needs = "features_source", 0.3, ("features",)

    def __call__(self, step):
        return tf.reduce_mean(step.source.features**2)


def test_features_are_kept_only_for_a_term_that_needs_them():
    network, data = tiny_network(), {"source": batch(0)}
    without = SourceTraining(network, [CrossEntropyTerm("source")]).forward(data)
    assert without.source.features is None
    step = SourceTraining(network, [CrossEntropyTerm("source"), FeatureTerm()]).forward(data)
    np.testing.assert_array_equal(step.source.features, network(data["source"]["image"])["features"])


def test_weights_and_positions_of_a_batch_are_in_the_view():
    weight = np.random.default_rng(0).random((4, 16, 16)).astype(np.float32)
    source = {**batch(0), "weight": tf.constant(weight), "position": tf.range(8, 12, dtype=tf.int64)}
    step = predict_domains(tiny_network(), {"source": source, "target": batch(1)}, 2)
    np.testing.assert_array_equal(step.source.weight, weight[:, 1::2, 1::2])
    assert step.source.positions.numpy().tolist() == [8, 9, 10, 11]
    assert (step.target.weight, step.target.positions, step.mixed) == (None, None, None)


def view(seed: int, label_share: float, weight=None) -> View:
    random = np.random.default_rng(seed)
    label = np.where(random.random((2, 4, 4)) < label_share, random.integers(0, CLASSES, (2, 4, 4)), 255)
    return View(tf.constant(random.normal(size=(2, 4, 4, CLASSES)), tf.float32), tf.constant(label), weight)


def test_the_weighted_cross_entropy_of_the_mixed_view_is_a_mean_over_all_its_pixels():
    """DAFormer's loss: the ignored pixels are in the divisor, the weights are not."""
    weight = tf.constant(np.random.default_rng(3).random((2, 4, 4)), tf.float32)
    mixed = view(2, 0.5, weight)
    step = Step(source=view(0, 1.0), mixed=mixed)
    probs = tf.nn.softmax(mixed.logits).numpy()
    rows = [index for index in np.ndindex(2, 4, 4) if mixed.label.numpy()[index] != 255]
    by_hand = -sum(weight.numpy()[i] * np.log(probs[i][mixed.label.numpy()[i]]) for i in rows) / 32
    assert float(CrossEntropyTerm("mixed", over_all=True)(step)) == pytest.approx(by_hand, rel=1e-5)


def test_the_joint_mean_counts_the_labelled_pixels_of_all_domains():
    step = Step(view(0, 1.0), view(1, 0.25), view(2, 0.5))
    counts = [int((part.label.numpy() != 255).sum()) for part in (step.source, step.target, step.mixed)]
    assert float(labelled_pixels(step)) == sum(counts)
    own = float(cross_entropy(step.mixed.logits, step.mixed.label))
    assert float(CrossEntropyTerm("mixed")(step)) == pytest.approx(own * counts[2] / sum(counts), rel=1e-5)
    assert float(CrossEntropyTerm("mixed", own_mean=True)(step)) == pytest.approx(own, rel=1e-6)


@pytest.mark.parametrize(("domain", "adjusted"), [("source", [True, True]), ("mixed", [True, False])])
def test_logit_adjustment_adds_the_prior_where_the_label_is_the_sources(domain, adjusted):
    logits, label = tf.constant([[[[0.2, -0.4], [1.0, 0.3]]]]), tf.constant([[[0, 1]]])
    prior = np.array([0.5, -0.5], np.float32)
    view = View(logits, label, pasted=tf.constant([[[True, False]]]) if domain == "mixed" else None)
    value = CrossEntropyTerm(domain, over_all=True, prior=prior)(Step(**{domain: view}))
    values = logits.numpy()[0, 0] + prior * np.array(adjusted, np.float32)[:, None]
    probs = np.exp(values) / np.exp(values).sum(-1, keepdims=True)
    assert float(value) == pytest.approx(-np.log(probs[[0, 1], [0, 1]]).mean(), rel=1e-5)


def test_by_default_nothing_lasts_and_the_result_is_the_network():
    method = compiled(SourceTraining(tiny_network(), [CrossEntropyTerm("source")]))
    assert method.lasting_variables == {}
    assert [id(v) for v in method.trained_variables] == [id(v) for v in method.network.trainable_variables]
    for found, weight in zip(method.result_weights(), method.network.get_weights(), strict=True):
        np.testing.assert_array_equal(found, weight)
