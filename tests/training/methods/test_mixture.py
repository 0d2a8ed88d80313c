"""The second head with several modes per class: who is a sample, and whom the losses teach."""

import threading
from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf

from models.heads import deeplab_v2, dilations_at, embedding_block
from models.segmenter import build_segmenter
from tests.training.methods.tiny import CLASSES, give_levels, tiny_network
from tests.training.methods.tiny_contrast import TINY_SPACE, TinyContext
from tests.training.methods.tiny_mixture import SOME, terms_with
from training.data.classes import LABEL_SPACES
from training.losses.metric import nearest_mode
from training.methods import mixture
from training.methods.mixture import TARGET_PLACES, mixture_head, mixture_terms
from training.methods.source_training import SourceTraining
from training.methods.step import Step, View
from training.methods.term import TermContext
from training.settings.losses import Mixture


@pytest.fixture(autouse=True)
def levels(monkeypatch):
    give_levels(monkeypatch)


def view(seed, label=None, **more) -> View:
    random = np.random.default_rng(seed)
    blocks = np.repeat(np.repeat(random.integers(0, CLASSES, (2, 4, 4)), 4, axis=1), 4, axis=2)
    label = blocks if label is None else np.full((2, 16, 16), label)
    features = tf.constant(random.normal(size=(2, 8, 8, 8)), tf.float32)
    given = {"levels": [features], "positions": tf.constant([6, 7], tf.int64), **more}
    return View(logits=tf.zeros((2, 16, 16, CLASSES)), label=tf.constant(label, tf.int32), **given)


def values_and_gradients(terms, step: Step):
    """The values by name, and the gradients of their sum by the features of each view, the modes and the block."""
    head, views = mixture_head(terms), [each for each in (step.source, step.target, step.mixed) if each is not None]
    watched = [each.levels[-1] for each in views]
    with tf.GradientTape() as tape:
        tape.watch(watched)
        values = {term.name: term(step) for term in terms}
        whole = tf.add_n(list(values.values()))
    gradients = tape.gradient(whole, [*watched, *head.trained])
    return {name: float(value) for name, value in values.items()}, gradients


# The embedding block


def test_the_block_has_the_published_number_of_parameters():
    assert embedding_block(2048, 256, 8, 0).count_params() == 18_875_392
    features = keras.Input((None, None, 2048))
    assert keras.Model(features, deeplab_v2(features, 19, dilations_at(8))).count_params() == 1_400_908
    cityscapes = LABEL_SPACES["cityscapes19"]
    head = mixture_head(mixture_terms(Mixture(), TinyContext(tiny_network(), cityscapes, 0, 1)))
    assert head.modes.shape == (19, 3, 256)
    assert np.prod(head.modes.shape) == 14_592


def test_the_block_covers_the_same_image_distance_at_every_stride_and_starts_by_the_seed():
    for stride, expected in ((8, [6, 12, 18, 24]), (16, [3, 6, 9, 12]), (32, [1, 3, 4, 6])):
        block = embedding_block(8, 4, stride, seed=1)
        assert block(tf.zeros((1, 10, 14, 8))).shape == (1, 10, 14, 4)
        assert [layer.dilation_rate[0] for layer in block.layers if "branch" in layer.name] == expected
    keras.utils.set_random_seed(5)
    again = embedding_block(8, 4, 32, seed=1)
    for one, other in zip(block.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


# Samples


def test_samples_are_of_labelled_places_and_never_of_pasted_or_weightless_ones():
    head = mixture_head(terms_with())
    pasted = tf.broadcast_to((tf.range(16) < 8)[None, :, None], (2, 16, 16))
    weight = tf.cast(tf.broadcast_to((tf.range(16) < 12)[None, None], (2, 16, 16)), tf.float32)
    given = view(0, pasted=pasted, weight=0.5 * weight)
    found = head.of_view(given, TARGET_PLACES)
    counts = tf.reshape(found.weight > 0, (2, -1)).numpy().sum(axis=1)
    label = given.label.numpy()[:, 8:, :12].reshape(2, -1)
    expected = [sum(min(20, (row == number).sum()) for number in range(CLASSES)) for row in label]
    np.testing.assert_array_equal(counts, expected)
    assert set(found.weight.numpy()) == {0.0, 0.5}
    assert not np.any(head.of_view(view(0), TARGET_PLACES, 0.0).weight)


def test_draws_follow_from_seed_and_position_alone():
    head = mixture_head(terms_with())
    first = head.of_view(view(0), 20).embeddings
    assert np.array_equal(first, head.of_view(view(0), 20).embeddings)
    other = head.of_view(view(0, positions=tf.constant([8, 9], tf.int64)), 20).embeddings
    assert not np.array_equal(first, other)


def test_the_label_is_thinned_to_the_reduction():
    for reduction, stride, expected in ((8, 1, 2 * 2), (8, 4, 8 * 8), (2, 4, 16 * 16)):
        context = TinyContext(tiny_network(), TINY_SPACE, 3, 20, loss_stride=stride)
        head = mixture_head(mixture_terms(replace(SOME, label_reduction=reduction, samples=999), context))
        assert head.of_view(view(0), 20).per_image == expected


@pytest.mark.parametrize("reduction", [1, 2, 4])
def test_the_embedding_of_a_sample_is_that_of_its_place_in_the_enlarged_map(reduction):
    head = mixture_head(terms_with(replace(SOME, label_reduction=reduction)))
    levels = [tf.constant(np.random.default_rng(0).normal(size=(1, 8, 8, 8)), tf.float32)]
    enlarged = head.thinned(tf.image.resize(head.block(levels[-1]), (16, 16)))
    count = enlarged.shape[1] * enlarged.shape[2]
    found = head.embedded(levels, tf.range(count)[None], (16, 16))
    np.testing.assert_allclose(found[0], tf.reshape(enlarged, (count, -1)), atol=1e-6)


def test_the_block_is_on_the_classifiers_map_if_the_settings_say_so():
    network, settings = build_segmenter("compact", 3), replace(SOME, level="classifier")
    terms = mixture_terms(settings, TermContext(network, TINY_SPACE, 3, 20, 4, 16))
    block = mixture_head(terms).block
    assert block.input.shape[-1] == network.output["features"].shape[-1]
    assert [layer.dilation_rate for layer in block.layers if "branch" in layer.name] == [
        (rate, rate) for rate in dilations_at(8)
    ]
    assert {need for term in terms for need in term.needs} == {"features"}
    # What is embedded is that map, and the last level plays no part.
    head = mixture_head(terms_with(settings))
    features = tf.constant(np.random.default_rng(5).normal(size=(2, 8, 8, 8)), tf.float32)
    expected = mixture_head(terms_with(SOME)).of_view(view(0, levels=[features]), 20).embeddings
    np.testing.assert_array_equal(head.of_view(view(0, levels=None, features=features), 20).embeddings, expected)


def test_embeddings_are_of_length_one_only_if_the_settings_say_so():
    lengths = {}
    for normalize in (False, True):
        head = mixture_head(terms_with(replace(SOME, normalize=normalize)))
        lengths[normalize] = np.linalg.norm(head.of_view(view(0), 20).embeddings, axis=1)
    np.testing.assert_allclose(lengths[True], 1.0, atol=1e-5)
    assert lengths[False].std() > 0.01


# The terms


def test_all_three_teach_features_modes_and_block():
    terms = terms_with()
    values, gradients = values_and_gradients(terms, Step(source=view(0), target=view(1)))
    assert list(values) == ["mode_triplet", "mode_cross_entropy", "mode_consistency"]
    assert all(value > 0 for value in values.values())
    assert all(np.abs(gradient).max() > 0 for gradient in gradients)
    assert not any(term.splits for term in terms)


def test_the_triplets_of_both_domains_have_one_mean():
    triplet = terms_with()[0]
    target = view(1, label=255)
    label = np.full((2, 16, 16), 255)
    label[0, :2, :4] = 1  # 8 samples beside the source's 120
    target = replace(target, label=tf.constant(label, tf.int32))
    alone = [float(triplet(step)) for step in (Step(source=view(0)), Step(target=target))]
    count = float(tf.reduce_sum(triplet.head.of_view(view(0), 20).weight))
    pooled = (count * alone[0] + 8 * alone[1]) / (count + 8)
    assert float(triplet(Step(source=view(0), target=target))) == pytest.approx(pooled, rel=1e-5)


@pytest.mark.parametrize(("source", "target"), [(255, 255), (255, None), (None, 255), (1, 2)])
def test_missing_labels_and_classes_are_finite(source, target):
    values, gradients = values_and_gradients(terms_with(), Step(source=view(0, source), target=view(1, target)))
    assert values["mode_consistency"] == 0
    assert np.isfinite(list(values.values())).all()
    assert all(np.isfinite(gradient).all() for gradient in gradients)
    if source == target == 255:
        assert set(values.values()) == {0.0}


def test_the_source_alone_and_a_target_without_weight_teach_the_same():
    alone = {term.name: float(term(Step(source=view(0)))) for term in terms_with()}
    control = {term.name: float(term(Step(source=view(0), target=view(1)))) for term in terms_with(target_weight=0.0)}
    assert control == pytest.approx(alone)
    assert alone["mode_consistency"] == 0


def test_the_consistency_is_between_samples_of_the_same_nearest_mode_and_moves_no_mode(monkeypatch):
    given, partners = {}, mixture.partners

    def noted(*arguments):
        given.update(zip(("label", "mode", "valid", "of_label", "of_mode"), arguments, strict=False))
        given["found"] = partners(*arguments)
        return given["found"]

    monkeypatch.setattr(mixture, "partners", noted)
    terms = terms_with()
    step, head, consistency = Step(source=view(0), target=view(1)), mixture_head(terms), terms[2]
    with tf.GradientTape() as tape:
        value = consistency(step)
    assert tape.gradient(value, head.modes.value) is None
    samples = head.samples(step)
    for name, (label, mode) in {"source": ("label", "mode"), "target": ("of_label", "of_mode")}.items():
        each, counts = samples[name], samples[name].weight.numpy() > 0
        np.testing.assert_array_equal(given[label].numpy()[counts], each.label.numpy()[counts])
        np.testing.assert_array_equal(given[mode], nearest_mode(each.squared, given[label]))
    positive, _, there = given["found"]
    mine = np.flatnonzero(there & (samples["target"].weight > 0))
    np.testing.assert_array_equal(given["mode"].numpy()[positive.numpy()[mine]], given["of_mode"].numpy()[mine])


def test_mixed_images_stand_for_the_target():
    pasted = tf.zeros((2, 16, 16), tf.bool)
    triplet = terms_with()[0]
    as_mixed = triplet(Step(source=view(0), mixed=view(1, pasted=pasted), target=view(2)))
    assert float(as_mixed) == pytest.approx(float(triplet(Step(source=view(0), target=view(1)))))


def test_each_replica_draws_the_samples_of_its_step_once():
    """Replicas are traced in threads of their own, which take turns."""
    head, mine, other = mixture_head(terms_with()), Step(source=view(0)), Step(source=view(1))
    drawn = head.samples(mine)
    thread = threading.Thread(target=head.samples, args=(other,))
    thread.start()
    thread.join()
    assert head.samples(mine) is drawn
    assert head.samples(other) is not drawn


def test_an_inactive_head_is_silent():
    terms = terms_with()
    mixture_head(terms).active.assign(0.0)
    values, gradients = values_and_gradients(terms, Step(source=view(0), target=view(1)))
    assert set(values.values()) == {0.0}
    assert all(not np.any(gradient) for gradient in gradients)


def test_terms_without_a_weight_are_left_out():
    assert [term.name for term in mixture_terms(SOME, adapts=False)] == ["mode_triplet", "mode_cross_entropy"]
    assert mixture_terms(replace(SOME, triplet=0.0, cross_entropy=0.0, consistency=0.0)) == []
    assert mixture_terms(None) == []


def test_accumulation_is_refused_by_the_settings_name():
    from training.errors import UserError

    with pytest.raises(UserError, match=r"adaptation\.mixture needs the whole batch"):
        SourceTraining.check_terms(mixture_terms(SOME), accumulate=2)
