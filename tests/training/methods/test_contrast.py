"""The terms of pixel contrast: prototypes, queues, who is an anchor and a negative, and what no gradient reaches."""

import numpy as np
import pytest
import tensorflow as tf

from tests.training.methods.tiny import CLASSES, batch, compiled
from tests.training.methods.tiny_contrast import ENTRIES, built, contrast_method, some_prototype_contrast
from training.losses.contrast import contrast_features
from training.methods import contrast
from training.methods.step import Step, View
from training.settings.losses import PixelContrast

pytestmark = pytest.mark.usefixtures("graphs_as_traced")

SIZE = (8, 8)
CHANNELS = 8


def view(seed, label=None, positions=(0, 1), **more) -> View:
    """Random features of two 32 x 32 images, labels in blocks, a teacher that is sure and mostly right."""
    random = np.random.default_rng(seed)
    blocks = np.repeat(np.repeat(random.integers(0, CLASSES, (2, 4, 4)), 2, axis=1), 2, axis=2)
    label = blocks if label is None else np.full((2, *SIZE), label)
    logits = 4.0 * np.eye(CLASSES)[np.minimum(blocks, CLASSES - 1)] + random.normal(0, 1.5, (2, *SIZE, CLASSES))
    filled = {
        "logits": tf.zeros((2, *SIZE, CLASSES)),
        "label": tf.constant(label, tf.int32),
        "levels": [tf.constant(random.normal(size=(2, *SIZE, CHANNELS)), tf.float32)],
        "teacher_levels": [tf.constant(random.normal(size=(2, *SIZE, CHANNELS)), tf.float32)],
        "teacher_probs": tf.nn.softmax(tf.constant(logits, tf.float32)),
        "positions": tf.constant(positions, tf.int64),
        "pasted": tf.fill((2, *SIZE), False),
        "target_frame": tf.ones((2, *SIZE)),
    }
    return View(**{**filled, **more})


def step(seed=0, **more) -> Step:
    return Step(source=view(seed, **more), mixed=view(100 + seed, **more))


def value_and_gradients(term, of_step):
    """The term and its gradients by the student's levels of both views."""
    watched = [of_step.source.levels[0], of_step.mixed.levels[0]]
    with tf.GradientTape() as tape:
        tape.watch(watched)
        value = term(of_step)
    return float(value), tape.gradient(value, watched)


def features_of(domain: View) -> np.ndarray:
    return contrast_features(domain.teacher_levels, SIZE).numpy().reshape(-1, CHANNELS)


# Shares, prototypes


@pytest.mark.parametrize(("made", "share"), [(0, 0.20), (5, 0.15), (10, 0.10), (20, 0.0), (25, 0.0)])
def test_shares_go_from_the_first_to_the_last_value(made, share):
    term = built(some_prototype_contrast(), steps=20)
    term.steps_made.assign(made)
    assert float(term.share_at_step((0.2, 0.0))) == pytest.approx(share, abs=1e-7)
    assert float(term.share_at_step((0.2, 0.2))) == pytest.approx(0.2)


def test_reliable_and_unreliable_pixels_are_those_of_numpys_percentiles():
    term, probs = built(some_prototype_contrast(reliable=(0.3, 0.3), unreliable=(0.4, 0.0))), view(0).teacher_probs
    inside = np.random.default_rng(1).random((2, *SIZE)) < 0.7
    entropy = -(probs.numpy() * np.log(probs.numpy())).sum(-1)
    reliable, unreliable = term.reliability(probs, tf.constant(inside))
    np.testing.assert_array_equal(reliable, inside & (entropy <= np.percentile(entropy[inside], 30)))
    np.testing.assert_array_equal(unreliable, inside & (entropy >= np.percentile(entropy[inside], 60)))


def test_the_prototypes_are_means_of_the_teachers_features_at_first():
    term, given = built(some_prototype_contrast(reliable=(0.0, 0.0))), step()
    probs = given.mixed.teacher_probs.numpy()
    term(given)
    # Of the target the one pixel with the lowest entropy is reliable.
    surest = (probs * np.log(probs)).sum(-1).argmax()
    features = np.concatenate([features_of(given.source), features_of(given.mixed)[[surest]]])
    label = np.append(given.source.label.numpy().ravel(), probs.reshape(-1, CLASSES)[surest].argmax())
    means = [features[label == each].mean(axis=0) for each in range(CLASSES)]
    np.testing.assert_allclose(term.prototypes, means, atol=1e-6)
    assert np.asarray(term.seen).tolist() == [1] * CLASSES


def test_prototypes_are_moving_averages_and_an_absent_class_keeps_its_own():
    term = built(some_prototype_contrast())
    one, two = tf.ones((4, CHANNELS)), 2.0 * tf.ones((4, CHANNELS))
    term.move_prototypes([one], [tf.constant([0, 0, 1, 255])])
    term.move_prototypes([two], [tf.constant([0, 0, 0, 255])])
    np.testing.assert_allclose(np.asarray(term.prototypes)[:, 0], [1.5, 1.0, 0.0])  # m = 0, then 1/2
    assert np.asarray(term.seen).tolist() == [2, 1, 0]
    term.seen.assign([5000, 5000, 0])
    term.move_prototypes([two], [tf.constant([0, 255, 255, 255])])
    assert float(term.prototypes[0, 0]) == pytest.approx(0.999 * 1.5 + 0.001 * 2.0)


# Queues


def pushed(term, values, mask):
    """Push the features `[value, 0, ...]`, each where its row of the mask says so."""
    features = np.zeros((len(values), CHANNELS), np.float32)
    features[:, 0] = values
    mask = tf.constant(np.asarray(mask)[None, None], tf.bool)
    nothing = tf.zeros_like(mask)
    taught = [tf.constant(features), tf.zeros((len(values), CHANNELS))]
    term.push(taught, (mask, nothing), tf.constant([7], tf.int64))


def queued(term, number):
    queue = np.asarray(term.queues.rows).reshape(CLASSES, term.queues.entries, CHANNELS)
    return queue[number, :, 0].tolist()


def test_a_queue_is_first_in_first_out_and_never_longer_than_its_size():
    term = built(some_prototype_contrast(queue_megabytes=0.01, pushed=4))
    term.queues.entries, term.pushes = 5, 4
    only_0, all_rows = np.eye(CLASSES)[0], np.ones((1, CLASSES))
    pushed(term, [1, 2, 3], np.repeat(only_0[None], 3, axis=0))
    queue = np.asarray(term.queues.rows)[:5, 0].tolist()
    assert queue == [1, 2, 3, 0, 0]
    assert term.queue_fill().numpy().tolist() == pytest.approx([0.6, 0, 0])
    pushed(term, [4, 5, 6, 7], np.repeat(only_0[None], 4, axis=0))
    assert np.asarray(term.queues.rows)[:5, 0].tolist() == [6, 7, 3, 4, 5]
    assert term.queue_fill().numpy().tolist() == [1.0, 0, 0]
    assert np.asarray(term.queues.pushed).tolist() == [7, 0, 0]
    # Classes do not share places.
    pushed(term, [8], all_rows)
    assert np.asarray(term.queues.rows)[:15, 0].tolist() == [6, 7, 8, 4, 5, 8, 0, 0, 0, 0, 8, 0, 0, 0, 0]


def test_the_size_of_the_queues_is_stated_in_megabytes():
    term = built(some_prototype_contrast())
    assert term.queues.entries == ENTRIES
    assert np.asarray(term.queues.rows).dtype == np.float16
    large = built(some_prototype_contrast(queue_megabytes=1.0))
    assert 0.99e6 < np.asarray(large.queues.rows).nbytes <= 1e6


def test_more_negatives_than_enter_in_a_step_are_spread_over_the_batch():
    term = built(some_prototype_contrast())
    pushed(term, np.arange(100), np.ones((100, CLASSES)))
    entered = queued(term, 0)[:20]
    assert entered == sorted(set(entered))
    assert entered[0] < 5
    assert entered[-1] >= 95


def test_negatives_are_source_confusions_and_unlikely_classes_of_unreliable_pixels():
    term = built(some_prototype_contrast())  # 3 classes: ranks 0 and 1 are first choices, rank 2 is unlikely
    probs = tf.constant([[[[0.7, 0.2, 0.1], [0.1, 0.3, 0.6], [0.2, 0.5, 0.3]]]])
    source_class = tf.constant([[[0, 0, 255]]])
    unreliable = tf.constant([[[True, False, True]]])
    confused, unlikely = term.negative_masks(source_class, probs, probs, unreliable)
    assert confused.numpy()[0, 0].tolist() == [[False, True, False], [False, True, True], [False, False, False]]
    assert unlikely.numpy()[0, 0].tolist() == [[False, False, True], [False, False, False], [True, False, False]]


# The terms


@pytest.mark.parametrize("settings", [some_prototype_contrast(), PixelContrast(grid=4, pixels=50)], ids=["P", "C"])
def test_the_student_learns_and_nobody_else(settings):
    term = built(settings)
    for seed in range(3):
        given = step(seed)
        value, gradients = value_and_gradients(term, given)
        assert np.isfinite(value)
        assert value > 0
        assert all(np.abs(gradient).max() > 0 for gradient in gradients)
    fixed = [given.source.teacher_levels[0], given.mixed.teacher_levels[0]]
    kept = [variable.value for variable in term.variables if "float" in variable.dtype]
    with tf.GradientTape() as tape:
        tape.watch([*fixed, given.source.teacher_probs, *kept])
        value = term(given)
    assert tape.gradient(value, [*fixed, given.source.teacher_probs, *kept]) == [None] * (3 + len(kept))


def test_the_contrast_ignores_how_long_features_are():
    for settings in (some_prototype_contrast(), PixelContrast(grid=4)):
        given, scaled = step(), step()
        scaled.source.levels[0] = 5 * given.source.levels[0]
        scaled.mixed.teacher_levels[0] = 3 * given.mixed.teacher_levels[0]
        assert float(built(settings)(scaled)) == pytest.approx(float(built(settings)(given)), rel=1e-4)


def test_features_that_follow_the_classes_have_the_smaller_loss():
    """Features in another order than the labels are noticed."""
    for settings in (some_prototype_contrast(), PixelContrast(grid=4)):
        given = step()
        for domain in (given.source, given.mixed):
            classes = tf.argmax(domain.teacher_probs, axis=-1) if domain is given.mixed else domain.label
            domain.levels[0] = domain.teacher_levels[0] = tf.one_hot(classes, CHANNELS) + 0.1
        value = float(built(settings)(given))
        for domain in (given.source, given.mixed):
            domain.levels[0] = tf.reverse(domain.levels[0], axis=[0, 2])
        assert float(built(settings)(given)) > value + 0.1


def reversed_rows(domain: View) -> View:
    """The images of a view in the opposite order."""
    filled = {name: value for name, value in vars(domain).items() if value is not None}
    return View(**{name: tf.nest.map_structure(lambda x: x[::-1], value) for name, value in filled.items()})


def test_images_may_be_in_another_order():
    given, settings = step(), PixelContrast(grid=4, pixels=None)
    turned = Step(source=reversed_rows(given.source), mixed=reversed_rows(given.mixed))
    assert float(built(settings)(turned)) == pytest.approx(float(built(settings)(given)), rel=1e-5)


@pytest.mark.parametrize("label", [255, 254, 1])
@pytest.mark.parametrize("settings", [some_prototype_contrast(), PixelContrast(grid=4, pixels=50)], ids=["P", "C"])
def test_without_labels_or_with_one_class_the_loss_is_zero_and_finite(settings, label):
    one = tf.one_hot(tf.ones((2, *SIZE), tf.int32), CLASSES)
    given = step(label=label, teacher_probs=one, target_frame=tf.cast(tf.fill((2, *SIZE), label == 1), tf.float32))
    value, gradients = value_and_gradients(built(settings), given)
    assert value == 0
    assert all((gradient.numpy() == 0).all() for gradient in gradients)


def test_empty_queues_give_no_loss():
    term = built(some_prototype_contrast())
    term.push = lambda *arguments: None
    value, gradients = value_and_gradients(term, step())
    assert value == 0
    assert all((gradient.numpy() == 0).all() for gradient in gradients)


@pytest.mark.parametrize(("negatives", "pool"), [(10, 256), (300, 300)])
def test_the_negatives_of_an_anchor_can_all_be_different(negatives, pool, monkeypatch):
    def seen(anchors, prototypes, pool_of, chosen, *more):
        assert len(pool_of(0)) == pool
        assert chosen.shape[2] == negatives
        assert pool - 20 < int(tf.reduce_max(chosen)) < pool
        return tf.zeros(anchors.shape[:2])

    monkeypatch.setattr(contrast, "prototype_contrast", seen)
    built(some_prototype_contrast(negatives=negatives))(step())


def test_what_is_pasted_is_no_anchor_of_the_target_and_what_is_beyond_the_frame_neither():
    for hidden in ({"pasted": tf.fill((2, *SIZE), True)}, {"target_frame": tf.zeros((2, *SIZE))}):
        term = built(some_prototype_contrast())
        _, gradients = value_and_gradients(term, step(**hidden))
        assert np.abs(gradients[0]).max() > 0
        assert (gradients[1].numpy() == 0).all()


def test_an_anchor_needs_the_teachers_belief():
    term = built(some_prototype_contrast(confidence=0.3))
    label = tf.constant([[[0, 1, 2, 255]]])
    probs = tf.constant([[[[0.31, 0.5, 0.19], [0.6, 0.3, 0.1], [0.0, 0.1, 0.9], [0.1, 0.1, 0.8]]]])
    assert term.believed(label, probs).numpy().tolist() == [[[0, 255, 2, 255]]]


def test_draws_follow_from_the_seed_and_the_position_alone():
    def value(seed=3, positions=(0, 1)):
        return float(built(some_prototype_contrast(), seed=seed)(step(positions=positions)))

    assert value() == value()
    assert len({value(), value(seed=4), value(positions=(2, 3))}) == 3


def test_few_pixels_of_a_grid_are_drawn_from_the_labelled_ones():
    whole = built(PixelContrast(grid=4, pixels=None))(step())
    assert float(built(PixelContrast(grid=4, pixels=10_000))(step())) == pytest.approx(float(whole), rel=1e-5)
    assert float(built(PixelContrast(grid=4, pixels=20))(step())) != pytest.approx(float(whole), rel=1e-3)


def test_the_weight_of_a_pixel_counts():
    half = tf.fill((2, *SIZE), 0.5)
    settings = PixelContrast(grid=4, pixels=None)
    one, weighted = (built(settings).among(view(0, weight=weight), SIZE, 0) for weight in (None, half))
    assert float(weighted) == pytest.approx(0.25 * float(one), rel=1e-5)


def test_neither_term_can_be_computed_on_parts_of_a_batch():
    assert not built(some_prototype_contrast()).splits
    assert not built(PixelContrast()).splits


# In training


def batches(count):
    for number in range(count):
        position = tf.range(4 * number, 4 * number + 4, dtype=tf.int64)
        yield {name: {**batch(seed + number), "position": position} for name, seed in (("source", 0), ("target", 50))}


def test_a_resumed_stage_is_bit_equal_and_its_queues_and_prototypes_last():
    make, data = contrast_method(some_prototype_contrast()), list(batches(6))
    unbroken, broken = compiled(make()), compiled(make())
    for given in data:
        unbroken.train_step(given)
    for given in data[:3]:
        broken.train_step(given)
    kept = [np.asarray(variable) for variable in broken.resumable_variables]
    resumed = compiled(make())
    for variable, value in zip(resumed.resumable_variables, kept, strict=True):
        variable.assign(value)
    for given in data[3:]:
        resumed.train_step(given)
    for one, other in zip(unbroken.resumable_variables, resumed.resumable_variables, strict=True):
        np.testing.assert_array_equal(np.asarray(one), np.asarray(other))
    lasting = unbroken.lasting_variables["contrast"]
    assert [variable.name for variable in lasting] == ["prototypes", "seen", "queue", "pushed_count", "steps_made"]
    assert all(np.any(np.asarray(variable)) for variable in lasting)
    assert {id(variable) for variable in lasting} <= {id(variable) for variable in unbroken.resumable_variables}
    assert int(lasting[-1]) == 6


def test_the_contrast_falls_when_it_is_trained():
    method, values = compiled(contrast_method(some_prototype_contrast())(), 0.02), []
    data = next(iter(batches(1)))
    for _ in range(30):
        method.reset_metrics()
        values.append(float(method.train_step(data)["contrast"]))
    assert np.mean(values[-5:]) < values[1] - 0.05
