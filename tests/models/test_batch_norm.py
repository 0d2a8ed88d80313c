"""The fused layer is Keras' layer: same outputs, gradients, moving statistics; and its policy does what it says."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from models.batch_norm import (
    BatchNormalization,
    StatisticsEstimator,
    batch_norm_layers,
    moving_statistics_kept,
    set_batch_norm,
    trained_batch_norm,
)
from models.generators import generator_states
from models.layers import Dropout


def with_random_weights(layer, channels: int, seed: int = 1):
    random = np.random.default_rng(seed)
    layer.build((None, None, None, channels))
    layer.set_weights([random.uniform(0.5, 1.5, weight.shape) for weight in layer.weights])
    return layer


def run(layer, images, *, training: bool):
    """Outputs, gradients with respect to input, gamma, beta, and the moving statistics afterwards."""

    @tf.function
    def step(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x, training=training)
            loss = tf.reduce_sum(tf.cast(y, "float32") ** 3)
        return [y, *tape.gradient(loss, [x, *[variable.value for variable in layer.trainable_variables]])]

    return [value.numpy() for value in step(images)] + [layer.moving_mean.numpy(), layer.moving_variance.numpy()]


@pytest.mark.parametrize("shape", [(4, 5, 7, 6), (1, 1, 2, 3)])
@pytest.mark.parametrize("training", [True, False])
def test_equals_keras_in_both_modes(training, shape):
    options = {"momentum": 0.7, "epsilon": 1e-3}
    ours = with_random_weights(BatchNormalization(**options), shape[-1])
    theirs = with_random_weights(keras.layers.BatchNormalization(**options), shape[-1])
    images = tf.constant(np.random.default_rng(0).normal(2.0, 3.0, shape), "float32")
    found, wanted = (run(layer, images, training=training) for layer in (ours, theirs))
    for mine, expected in zip(found, wanted, strict=True):
        np.testing.assert_allclose(mine, expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())


def test_moving_statistics_follow_keras_exactly_over_many_steps():
    ours, theirs = BatchNormalization(momentum=0.9), keras.layers.BatchNormalization(momentum=0.9)
    random = np.random.default_rng(0)
    for _ in range(20):
        images = random.normal(1.0, 2.0, (2, 3, 2, 4)).astype("float32")  # few pixels: the n / (n - 1) would show
        ours(images, training=True)
        theirs(images, training=True)
    np.testing.assert_allclose(ours.moving_mean, theirs.moving_mean, rtol=1e-5)
    np.testing.assert_allclose(ours.moving_variance, theirs.moving_variance, rtol=1e-5)


def test_one_pixel_alone_is_finite():
    layer = BatchNormalization()
    output = layer(np.full((1, 1, 1, 2), 5.0, "float32"), training=True)
    assert np.isfinite(output).all()
    assert np.isfinite(layer.moving_variance).all()


@pytest.mark.parametrize("options", [{"scale": False}, {"center": False}])
def test_without_gamma_or_beta(options):
    ours = with_random_weights(BatchNormalization(**options), 3)
    theirs = with_random_weights(keras.layers.BatchNormalization(**options), 3)
    images = np.random.default_rng(0).normal(size=(2, 4, 4, 3)).astype("float32")
    np.testing.assert_allclose(ours(images, training=True), theirs(images, training=True), atol=1e-5)
    np.testing.assert_allclose(ours(images), theirs(images), atol=1e-5)


def test_mixed_bfloat16_keeps_float32_statistics():
    layer = BatchNormalization(dtype="mixed_bfloat16")
    images = np.random.default_rng(0).normal(3.0, 2.0, (4, 8, 8, 3)).astype("float32")
    output = layer(images, training=True)
    assert output.dtype == tf.bfloat16
    assert layer.moving_mean.dtype == "float32"
    np.testing.assert_allclose(layer.moving_mean, 0.01 * images.mean((0, 1, 2)), rtol=0.02)
    reference = keras.layers.BatchNormalization()(images, training=True)
    np.testing.assert_allclose(tf.cast(output, "float32"), reference, atol=0.05)


def test_frozen_uses_and_keeps_the_moving_statistics_and_still_learns():
    layer = with_random_weights(BatchNormalization(statistics="frozen"), 3)
    before = [layer.moving_mean.numpy(), layer.moving_variance.numpy()]
    images = tf.constant(np.random.default_rng(0).normal(size=(2, 4, 4, 3)), "float32")
    output, _, gamma_gradient, beta_gradient, *after = run(layer, images, training=True)
    np.testing.assert_allclose(output, layer(images, training=False), atol=1e-6)
    np.testing.assert_array_equal(before, after)
    assert np.abs(gamma_gradient).min() > 0
    assert np.abs(beta_gradient).min() > 0


def test_a_layer_set_untrainable_behaves_as_in_keras():
    layer = BatchNormalization(trainable=False)
    layer(np.ones((2, 4, 4, 3), "float32"), training=True)
    np.testing.assert_array_equal(layer.moving_mean, np.zeros(3))


def test_rank_two_and_synchronized_use_kerass_computation():
    dense = np.random.default_rng(0).normal(size=(8, 3)).astype("float32")
    np.testing.assert_allclose(
        BatchNormalization()(dense, training=True), keras.layers.BatchNormalization()(dense, training=True), atol=1e-5
    )
    images = dense.reshape(2, 2, 2, 3)
    np.testing.assert_allclose(
        BatchNormalization(synchronized=True)(images, training=True),
        keras.layers.BatchNormalization()(images, training=True),
        atol=1e-5,
    )


def test_policy_survives_a_clone_and_reaches_nested_models():
    inner = keras.Sequential([keras.Input((4, 4, 3)), BatchNormalization(name="inner")])
    image = keras.Input((4, 4, 3))
    model = keras.Model(image, inner(BatchNormalization(name="outer")(image)))
    assert set_batch_norm(model, "frozen") == 2
    copy = keras.models.clone_model(model)
    assert [layer.statistics for layer in batch_norm_layers(copy)] == ["frozen", "frozen"]
    assert set_batch_norm(copy, "train") == 2
    assert [layer.statistics for layer in batch_norm_layers(copy)] == ["train", "train"]


def backbone_and_head() -> keras.Model:
    image = keras.Input((None, None, 3))
    features = BatchNormalization(momentum=0.5, name="norm")(image)
    return keras.Model(image, BatchNormalization(momentum=0.5, name="head_norm")(features))


def test_a_head_has_no_statistics_to_freeze():
    model, images = backbone_and_head(), np.random.default_rng(0).normal(3.0, 2.0, (4, 5, 6, 3)).astype("float32")
    for policy, statistics in (("frozen", ["frozen", "train"]), ("batch", ["batch", "batch"])):
        set_batch_norm(model, policy)
        assert [layer.statistics for layer in batch_norm_layers(model)] == statistics
    set_batch_norm(model, "frozen")
    model(images, training=True)
    np.testing.assert_array_equal(model.get_layer("norm").moving_mean, np.zeros(3))
    assert np.abs(model.get_layer("head_norm").moving_mean).min() > 0.5
    assert [layer.name for layer in trained_batch_norm(model, "frozen")] == ["head_norm"]
    assert len(trained_batch_norm(model, "train")) == 2


@pytest.mark.parametrize("policy", ["train", "frozen"])
def test_statistics_of_some_layers_are_estimated_with_the_others_as_they_are(policy):
    model, images = backbone_and_head(), np.random.default_rng(0).normal(3.0, 2.0, (4, 5, 6, 3)).astype("float32")
    set_batch_norm(model, policy)
    model.get_layer("norm").moving_mean.assign([1.0, 1.0, 1.0])
    StatisticsEstimator(model, trained_batch_norm(model, "frozen")).take([images])
    np.testing.assert_array_equal(model.get_layer("norm").moving_mean, np.ones(3))
    np.testing.assert_array_equal(model.get_layer("norm").moving_variance, np.ones(3))
    expected = (images - 1.0) / np.sqrt(1.0 + model.get_layer("norm").epsilon)
    np.testing.assert_allclose(model.get_layer("head_norm").moving_mean, expected.mean(axis=(0, 1, 2)), rtol=1e-4)
    np.testing.assert_allclose(model.get_layer("head_norm").moving_variance, expected.var(axis=(0, 1, 2)), rtol=1e-3)
    assert [layer.statistics for layer in batch_norm_layers(model)] == [policy, "train"]


def test_an_unknown_policy_is_refused():
    with pytest.raises(ValueError, match='"train", "batch" or "frozen", not "freeze"'):
        set_batch_norm(keras.Sequential([keras.Input((4, 4, 3)), BatchNormalization()]), "freeze")


def normaliser(images) -> keras.Model:
    model = keras.Sequential([keras.Input(images.shape[1:]), BatchNormalization(momentum=0.5)])
    model(images)
    return model


def test_the_batch_policy_normalises_like_train_in_any_mode_and_keeps_the_moving_statistics():
    images = np.random.default_rng(0).normal(3.0, 2.0, (4, 5, 6, 2)).astype("float32")
    model = normaliser(images)
    before = model.get_weights()
    set_batch_norm(model, "batch")
    normalised = [model(images, training=training) for training in (True, False)]
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    set_batch_norm(model, "train")
    for found in normalised:
        np.testing.assert_array_equal(found, model(images, training=True))


def test_a_pass_can_leave_the_moving_statistics_to_another():
    images = np.random.default_rng(0).normal(3.0, 2.0, (4, 5, 6, 2)).astype("float32")
    model = normaliser(images)
    before = model.get_weights()

    @tf.function
    def step():
        with moving_statistics_kept():
            return model(images, training=True)

    normalised = step()
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    np.testing.assert_array_equal(normalised, model(images, training=True))
    assert not np.array_equal(before[2], model.get_weights()[2])


def test_the_estimate_of_statistics_leaves_dropout_where_it_was():
    image = keras.Input((None, None, 3))
    model = keras.Model(image, BatchNormalization()(Dropout(0.5)(image)))
    images = tf.ones((2, 4, 4, 3))
    model(images, training=True)
    before = [state.numpy() for state in generator_states(model)]
    StatisticsEstimator(model).take([images])
    assert before
    for state, value in zip(generator_states(model), before, strict=True):
        np.testing.assert_array_equal(state, value)


def test_an_estimate_that_fails_leaves_the_policy_as_it_was():
    images = np.ones((2, 4, 4, 3), np.float32)
    model = normaliser(images)
    set_batch_norm(model, "frozen")

    def batches():
        yield images
        raise FileNotFoundError

    with pytest.raises(FileNotFoundError):
        StatisticsEstimator(model).take(batches())
    layer = batch_norm_layers(model)[0]
    assert (layer.statistics, layer.momentum) == ("frozen", 0.5)


def test_estimated_statistics_with_dropout_depend_on_the_images_alone():
    images = np.random.default_rng(0).normal(3.0, 2.0, (1, 8, 8, 2)).astype("float32")
    model = keras.Sequential([keras.Input(images.shape[1:]), Dropout(0.5), BatchNormalization()])
    found = []
    for passes in (0, 3):
        for _ in range(passes):
            model(images, training=True)
        StatisticsEstimator(model).take([images])
        found.append(model.get_weights())
    for first, second in zip(*found, strict=True):
        np.testing.assert_array_equal(first, second)


def test_estimated_statistics_are_the_mean_over_the_batches():
    batches = np.random.default_rng(0).normal(3.0, 2.0, (3, 4, 5, 6, 2)).astype("float32")
    model = normaliser(batches[0])
    set_batch_norm(model, "frozen")
    estimator = StatisticsEstimator(model)
    estimator.take(iter(batches[:1]))
    estimator.take(iter(batches))
    _, _, mean, variance = model.get_weights()
    np.testing.assert_allclose(mean, batches.mean(axis=(0, 1, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(variance, batches.var(axis=(1, 2, 3)).mean(axis=0), rtol=1e-4)
    layer = batch_norm_layers(model)[0]
    assert (layer.statistics, layer.momentum) == ("frozen", 0.5)
