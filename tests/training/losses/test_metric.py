"""The losses with several modes per class: the numbers of the specification, and what must hold for any numbers."""

from functools import partial

import numpy as np
import pytest
import tensorflow as tf

from training.losses import metric

MODES = tf.constant([[[0.0, 0.0], [1.0, 0.0]], [[0.0, 2.0], [3.0, 0.0]]])
EMBEDDINGS = tf.constant([[0.5, 0.5], [1.0, 1.0], [2.0, 0.0]])
LABEL = tf.constant([0, 0, 1])
SQUARED = metric.squared_distances(EMBEDDINGS, MODES)


def random_case(seed=0, classes=4, modes=3, samples=20, channels=5):
    random = np.random.default_rng(seed)
    embeddings = tf.constant(random.normal(size=(samples, channels)), tf.float32)
    points = tf.constant(random.normal(size=(classes, modes, channels)), tf.float32)
    return embeddings, points, tf.constant(random.integers(0, classes, samples), tf.int32)


def all_losses(embeddings, modes, label, forms=metric.FORMS) -> np.ndarray:
    squared = metric.squared_distances(embeddings, modes)
    found = [metric.triplet(squared, label), metric.triplet(squared, label, square=True)]
    return np.stack([*found, *(metric.mixture_cross_entropy(squared, label, form) for form in forms)])


# Numbers


def test_distances_are_those_by_hand_and_of_numpy():
    np.testing.assert_allclose(tf.reduce_min(SQUARED, axis=-1), [[0.5, 2.5], [1, 2], [1, 1]], atol=1e-6)
    embeddings, modes, _ = random_case()
    expected = ((embeddings.numpy()[:, None, None] - modes.numpy()) ** 2).sum(-1)
    np.testing.assert_allclose(metric.squared_distances(embeddings, modes), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("margin", "square", "expected"),
    [(1.0, False, [0.1259679, 0.5857864, 1.0]), (0.5, False, [0, 0.0857864, 0.5]), (1.0, True, [0, 0, 1])],
)
def test_triplets_by_hand(margin, square, expected):
    np.testing.assert_allclose(metric.triplet(SQUARED, LABEL, margin, square), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("literal", [0.5, 1.0, 1.0]),
        ("normalised", [0.1269280, 0.3132617, 0.6931472]),
        ("mixture", [0.0666367, 0.2486797, 0.7172693]),
        ("repmet", [3.83e-4, 0.0300994, 0.6931472]),
    ],
)
def test_cross_entropies_by_hand(form, expected):
    np.testing.assert_allclose(metric.mixture_cross_entropy(SQUARED, LABEL, form), expected, atol=1e-6)


def test_the_mixture_is_a_gaussian_mixtures_posterior():
    from scipy.special import logsumexp
    from scipy.stats import multivariate_normal

    density = np.array([
        [
            [multivariate_normal(mode, 0.5 * np.eye(2)).logpdf(each) for mode in of_class]
            for of_class in MODES.numpy()
        ]
        for each in EMBEDDINGS.numpy()
    ])  # fmt: skip
    per_class = logsumexp(density, axis=-1)
    expected = logsumexp(per_class, axis=-1) - per_class[np.arange(3), LABEL]
    np.testing.assert_allclose(metric.mixture_cross_entropy(SQUARED, LABEL, "mixture"), expected, atol=1e-6)


def test_another_form_is_refused():
    with pytest.raises(ValueError, match="normalised, literal"):
        metric.mixture_cross_entropy(SQUARED, LABEL, "other")


def test_consistency_by_hand():
    points = ([[0.0, 0.0]], [[0.3, 0.4]], [[0.6, 0.8]])
    assert float(metric.mode_consistency(*map(tf.constant, points))[0]) == pytest.approx(0.5)


def test_the_mean_of_both_domains_is_the_pooled_one():
    of_source = metric.total(tf.constant([1.0, 2.0, 6.0]), tf.ones(3))
    of_target = metric.total(tf.constant([5.0, np.nan]), tf.constant([1.0, 0.0]))
    sums, counts = zip(of_source, of_target, strict=True)
    assert float(sum(sums) / sum(counts)) == 3.5  # not (3 + 5) / 2


# Properties


def test_losses_stay_the_same_when_the_space_is_turned_and_shifted():
    embeddings, modes, label = random_case()
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(5, 5)))[0].astype(np.float32)
    moved = [tf.tensordot(each, turn, 1) + 0.5 for each in (embeddings, modes)]
    np.testing.assert_allclose(all_losses(*moved, label), all_losses(embeddings, modes, label), atol=1e-4)
    parts, turned = ([each[:6], each[6:12], each[12:18]] for each in (embeddings, moved[0]))
    np.testing.assert_allclose(metric.mode_consistency(*turned), metric.mode_consistency(*parts), atol=1e-4)


def test_modes_of_a_class_may_be_in_another_order():
    embeddings, modes, label = random_case()
    turned = tf.gather(modes, [2, 0, 1], axis=1)
    np.testing.assert_allclose(all_losses(embeddings, turned, label), all_losses(embeddings, modes, label), atol=1e-6)


def test_a_mode_twice_changes_the_mixture_alone():
    embeddings, modes, label = random_case()
    twice = tf.concat([modes, modes[:, :1]], axis=1)
    before, after = all_losses(embeddings, modes, label), all_losses(embeddings, twice, label)
    np.testing.assert_allclose(after[:-1], before[:-1], atol=1e-6)
    assert np.abs(after[-1] - before[-1]).max() > 1e-3


def test_no_loss_from_the_margin_on():
    modes = tf.constant([[[0.0]], [[3.0]]])
    squared = metric.squared_distances(tf.constant([[1.0], [0.99], [1.01]]), modes)
    np.testing.assert_allclose(metric.triplet(squared, tf.zeros(3, tf.int32)), [0, 0, 0.02], atol=1e-5)


def test_one_mode_is_the_nearest_centroid():
    embeddings, modes, label = random_case(modes=1)
    squared = metric.squared_distances(embeddings, modes)
    distance = np.linalg.norm(embeddings.numpy()[:, None] - modes.numpy()[:, 0], axis=-1)
    np.testing.assert_array_equal(tf.argmin(squared[..., 0], axis=-1), distance.argmin(-1))
    expected = tf.nn.sparse_softmax_cross_entropy_with_logits(label, -(distance**2))
    np.testing.assert_allclose(metric.mixture_cross_entropy(squared, label), expected, atol=1e-4)


@pytest.mark.parametrize("form", ["triplet", "normalised", "literal", "repmet", "mixture"])
def test_only_the_nearest_modes_get_a_gradient(form):
    """The one of the own class and, where classes compete, of the others; of a mixture all do."""
    modes = tf.Variable([[[0.0, 0.0], [1.0, 0.0]], [[0.0, 2.0], [3.0, 0.0]]])
    with tf.GradientTape() as tape:
        squared = metric.squared_distances(tf.constant([[0.4, 0.6]]), modes)
        label = tf.constant([0])
        of_form = metric.triplet if form == "triplet" else partial(metric.mixture_cross_entropy, form=form)
        value = tf.reduce_sum(of_form(squared, label))
    moved = np.abs(tf.convert_to_tensor(tape.gradient(value, modes))).sum(-1) > 0
    competes = form != "literal"
    np.testing.assert_array_equal(moved, [[True, form == "mixture"], [competes, form == "mixture"]])


def test_nothing_is_finite_with_gradients():
    modes = tf.Variable(MODES)
    with tf.GradientTape() as tape:
        squared = metric.squared_distances(EMBEDDINGS, modes)
        label, weight = tf.fill([3], 255), tf.zeros(3)
        losses = [
            metric.triplet(squared, label),
            *(metric.mixture_cross_entropy(squared, label, f) for f in metric.FORMS),
        ]
        sums = [metric.total(loss, weight) for loss in losses]
        value = tf.add_n([found for found, _ in sums])
    assert float(value) == 0
    assert {float(count) for _, count in sums} == {0.0}
    assert np.all(tf.convert_to_tensor(tape.gradient(value, modes)).numpy() == 0)
    # An embedding on its mode, and only one class.
    one = metric.squared_distances(tf.zeros((1, 2)), MODES[:1])
    assert float(metric.triplet(one, tf.zeros(1, tf.int32))[0]) == 0


# Which samples


def test_few_places_per_class_and_image_are_drawn_and_none_without_a_class():
    random = np.random.default_rng(0)
    label = np.where(random.random((2, 400)) < 0.7, 0, random.integers(1, 3, (2, 400)))
    label[:, :50], label[1, 50:] = 255, 1
    label[0, 60:64] = 3
    uniform = tf.constant(random.random((2, 400)), tf.float32)
    place, valid = metric.drawn_places(tf.constant(label, tf.int32), 4, 30, uniform)
    assert place.shape == (2, 120)
    for row in range(2):
        drawn = place.numpy()[row][valid.numpy()[row]]
        assert len(set(drawn)) == len(drawn)
        counts = np.bincount(label[row, drawn], minlength=256)
        expected = np.minimum(np.bincount(label[row], minlength=256), 30)
        expected[255] = 0
        np.testing.assert_array_equal(counts, expected)
    again, _ = metric.drawn_places(tf.constant(label, tf.int32), 4, 30, 1 - uniform)
    assert set(again.numpy()[0]) != set(place.numpy()[0])


@pytest.mark.parametrize("size", [(8, 12), (5, 7), (4, 6), (3, 4)])
def test_a_sample_is_what_the_enlarged_map_has_there(size):
    values = tf.constant(np.random.default_rng(0).normal(size=(2, 4, 6, 3)), tf.float32)
    place = tf.tile(tf.range(size[0] * size[1])[None], (2, 1))
    expected = tf.reshape(tf.image.resize(values, size), (2, -1, 3))
    np.testing.assert_allclose(metric.sampled(values, place, size), expected, atol=1e-6)


def test_partners_are_of_the_same_mode_and_of_another_class():
    random = np.random.default_rng(0)
    label, mode = (tf.constant(random.integers(0, 3, 60), tf.int32) for _ in range(2))
    valid = tf.constant((random.random(60) < 0.8) & ~((label.numpy() == 1) & (mode.numpy() == 2)))
    of_label, of_mode = (tf.constant(random.integers(0, 3, 500), tf.int32) for _ in range(2))
    uniform = tf.constant(random.random((500, 2)), tf.float32)
    found = metric.partners(label, mode, valid, of_label, of_mode, 3, 3, uniform)
    positive, negative, there = (each.numpy() for each in found)
    np.testing.assert_array_equal(there, ~((of_label.numpy() == 1) & (of_mode.numpy() == 2)))
    positive, negative, own = positive[there], negative[there], of_label.numpy()[there]
    np.testing.assert_array_equal(label.numpy()[positive], own)
    np.testing.assert_array_equal(mode.numpy()[positive], of_mode.numpy()[there])
    assert np.all(label.numpy()[negative] != own)
    assert valid.numpy()[positive].all()
    assert valid.numpy()[negative].all()
    assert len(set(negative)) > 30


def test_without_anything_to_draw_from_there_are_no_partners():
    nothing, one = tf.fill([4], False), tf.zeros(4, tf.int32)
    for valid in (nothing, tf.fill([4], True)):  # of one class alone there is no negative
        *places, there = metric.partners(one, one, valid, one, one, 2, 2, tf.zeros((4, 2)))
        assert not there.numpy().any()
        assert all(place.numpy().min() >= 0 and place.numpy().max() < 4 for place in places)
