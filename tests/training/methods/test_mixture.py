"""The second head with several modes per class: who is a sample, whom the losses teach, and modes outside of steps."""

import threading
from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf

from models.heads import embedding_block
from tests.training.methods.tiny import CLASSES, batch, tiny_network
from tests.training.methods.tiny_contrast import TINY_SPACE
from training.methods.mixture import TARGET_PLACES, mixture_head, mixture_terms
from training.methods.modes import restarted, started_modes, usage
from training.methods.optimizers import build_optimizer
from training.methods.self_training import SelfTraining
from training.methods.source_training import SourceTraining
from training.methods.step import Step, View
from training.methods.term import TermContext
from training.methods.terms import CrossEntropyTerm
from training.settings.losses import Mixture
from training.settings.schedule import Optimizer

SOME = Mixture(dimension=4, samples=20, label_reduction=1, consistency=0.1)


def terms_with(settings=SOME, network=None, target_weight=1.0, adapts=True):
    """The terms of an active head."""
    context = TermContext(network or tiny_network(), TINY_SPACE, 3, 20)
    terms = mixture_terms(settings, context, target_weight, adapts)
    head = mixture_head(terms)
    head.start_with(np.asarray(head.modes))
    return terms


def view(seed, label=None, **more) -> View:
    random = np.random.default_rng(seed)
    blocks = np.repeat(np.repeat(random.integers(0, CLASSES, (2, 4, 4)), 4, axis=1), 4, axis=2)
    label = blocks if label is None else np.full((2, 16, 16), label)
    features = tf.constant(random.normal(size=(2, 8, 8, 8)), tf.float32)
    given = {"features": features, "positions": tf.constant([6, 7], tf.int64), **more}
    return View(logits=tf.zeros((2, 16, 16, CLASSES)), label=tf.constant(label, tf.int32), **given)


def values_and_gradients(terms, step: Step):
    """The values by name, and the gradients of their sum by the features of each view, the modes and the block."""
    head, views = mixture_head(terms), [each for each in (step.source, step.target, step.mixed) if each is not None]
    watched = [each.features for each in views]
    with tf.GradientTape() as tape:
        tape.watch(watched)
        values = {term.name: term(step) for term in terms}
        whole = tf.add_n(list(values.values()))
    gradients = tape.gradient(whole, [*watched, *head.trained])
    return {name: float(value) for name, value in values.items()}, gradients


# The embedding block


def test_the_block_has_the_published_number_of_parameters():
    assert embedding_block(2048, 256, 8, 0).count_params() == 18_875_392
    head = mixture_head(mixture_terms(Mixture(), TermContext(tiny_network(), replace(TINY_SPACE), 0, 1)))
    assert head.modes.shape == (CLASSES, 3, 256)


def test_the_block_brings_fine_features_to_stride_eight_and_starts_by_the_seed():
    block = embedding_block(8, 4, 4, seed=1)
    assert block(tf.zeros((1, 10, 14, 8))).shape == (1, 5, 7, 4)
    assert [layer.dilation_rate[0] for layer in block.layers if "branch" in layer.name] == [6, 12, 18, 24]
    coarse = embedding_block(8, 4, 16, seed=1)
    assert [layer.dilation_rate[0] for layer in coarse.layers if "branch" in layer.name] == [3, 6, 9, 12]
    keras.utils.set_random_seed(5)
    again = embedding_block(8, 4, 4, seed=1)
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
        context = TermContext(tiny_network(), TINY_SPACE, 3, 20, loss_stride=stride)
        head = mixture_head(mixture_terms(replace(SOME, label_reduction=reduction, samples=999), context))
        assert head.of_view(view(0), 20).per_image == expected


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


# In training


def trained(method, steps=8, rate=0.02):
    optimizer = build_optimizer(Optimizer(learning_rate=rate), 1000, [])
    optimizer.build(method.trained_variables)
    method.compile(optimizer=optimizer)
    values = []
    for number in range(steps):
        position = tf.range(4, dtype=tf.int64) + 4 * number
        method.reset_metrics()
        domains = {name: {**batch(seed), "position": position} for name, seed in (("source", 0), ("target", 50))}
        values.append({name: float(value) for name, value in method.train_step(domains).items()})
    return values


def test_the_losses_fall_and_the_head_is_kept_once():
    network = tiny_network()
    method = SelfTraining(network, [CrossEntropyTerm("source"), *terms_with(network=network)])
    head = mixture_head(method.terms)
    modes = np.asarray(head.modes)
    values = trained(method, 25)
    assert values[-1]["mode_triplet"] < values[0]["mode_triplet"] - 0.1
    assert np.abs(np.asarray(head.modes) - modes).max() > 0
    assert list(method.lasting_variables) == ["mixture"]
    assert len(method.lasting_variables["mixture"]) == len(head.variables)
    assert len({id(variable) for variable in method.resumable_variables}) == len(method.resumable_variables)
    assert not {id(variable) for variable in head.variables} & {id(variable) for variable in network.weights}


def test_accumulation_is_refused_by_the_settings_name():
    from training.errors import UserError

    with pytest.raises(UserError, match=r"adaptation\.mixture needs the whole batch"):
        SourceTraining.check_terms(mixture_terms(SOME), accumulate=2)


# Modes outside of steps


def clouds(counts=(200, 200, 200), label=1):
    """Samples of one class around three points."""
    random = np.random.default_rng(0)
    points = np.repeat([[0, 0], [5, 0], [0, 5]], counts, axis=0) + random.normal(0, 0.1, (sum(counts), 2))
    return points.astype(np.float32), np.full(sum(counts), label)


def test_modes_start_where_k_means_finds_them():
    values, label = clouds()
    before = np.ones((CLASSES, 3, 2), np.float32)
    modes = started_modes(values, label, before, seed=0)
    np.testing.assert_allclose(sorted(modes[1].round().tolist()), [[0, 0], [0, 5], [5, 0]])
    np.testing.assert_array_equal(modes[[0, 2]], before[[0, 2]])
    np.testing.assert_array_equal(modes, started_modes(values, label, before, seed=0))
    shares = usage(values, label, modes)
    np.testing.assert_allclose(shares[1], 1 / 3)
    assert shares[0] is None


@pytest.mark.filterwarnings("error")
def test_a_class_with_fewer_samples_than_modes_has_them_all():
    modes = started_modes(np.array([[1.0, 2.0]], np.float32), np.array([0]), np.zeros((1, 3, 2), np.float32), 0)
    np.testing.assert_allclose(modes, np.broadcast_to([1.0, 2.0], (1, 3, 2)))


def test_a_dead_mode_starts_anew_where_samples_are_far_from_the_others():
    values, label = clouds()
    modes = np.zeros((CLASSES, 3, 2), np.float32)
    modes[1] = [[0, 0], [5, 0], [100, 100]]
    found, moved = restarted(values, label, modes, seed=0)
    assert moved == [0, 1, 0]
    np.testing.assert_array_equal(found[1, :2], modes[1, :2])
    np.testing.assert_allclose(found[1, 2], [0, 5], atol=0.5)
    np.testing.assert_array_equal(found, restarted(values, label, modes, seed=0)[0])
    assert restarted(values, label, found, seed=0)[1] == [0, 0, 0]
    few, of_few = clouds((20, 20, 20))
    assert restarted(few, of_few, modes, seed=0)[1] == [0, 0, 0]  # of so few samples nothing is said
    same = restarted(np.zeros((500, 2), np.float32), np.ones(500, int), modes, seed=0)
    assert same[1] == [0, 0, 0]
