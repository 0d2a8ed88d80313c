"""CycleGAN's networks: the published ones by their parameters, any size, and what a score sees."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from models import translator
from models.translator import InstanceNormalization, build_generator, build_patch_discriminator


@pytest.fixture(scope="module")
def generator():
    return build_generator(channels=2, blocks=1)


def test_the_published_networks_have_their_parameters():
    assert build_generator(channels=64, blocks=9).count_params() == 11_378_179
    assert build_patch_discriminator(channels=64).count_params() == 2_764_737


@pytest.mark.parametrize("size", [(16, 16), (33, 50), (36, 47)])
def test_a_translated_image_has_the_size_of_the_image_and_its_range(generator, size):
    image = np.random.default_rng(0).integers(0, 256, (2, *size, 3)).astype(np.float32)
    found = generator(image).numpy()
    assert found.shape == image.shape
    assert found.min() >= 0
    assert found.max() <= 255
    np.testing.assert_allclose(generator(image[1:]).numpy(), found[1:], atol=1e-2)  # no image depends on another


def test_instance_normalisation_is_kerass():
    x = tf.random.stateless_normal((2, 5, 7, 3), (1, 2)) * 3.0 + 1.0
    expected = keras.layers.GroupNormalization(groups=-1, epsilon=1e-5, center=False, scale=False)(x)
    np.testing.assert_allclose(InstanceNormalization()(x), expected, atol=1e-5)


def test_the_way_up_is_the_adjoint_of_the_way_down():
    """<down(x), y> = <x, up(y)> with one kernel: nothing is shifted."""
    up = keras.Model(small := keras.Input((None, None, 2)), translator._doubled(small, 3, name="up"))
    x, y = (tf.random.stateless_normal(shape, (3, 4)) for shape in ((1, 8, 12, 3), (1, 4, 6, 2)))
    down = tf.nn.conv2d(tf.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))), up.get_layer("up").kernel, 2, "VALID")
    assert float(tf.reduce_sum(down * y)) == pytest.approx(float(tf.reduce_sum(x * up(y))), rel=1e-4)


def test_a_score_sees_a_patch_of_70_pixels(monkeypatch):
    monkeypatch.setattr(InstanceNormalization, "call", lambda self, x: x)  # the statistics are of the whole image
    network, image = build_patch_discriminator(channels=2), tf.Variable(tf.zeros((1, 128, 128, 3)))
    with tf.GradientTape() as tape:
        scores = network(image)
        middle = scores[0, 7, 7, 0]
    assert scores.shape == (1, 14, 14, 1)
    rows, columns = np.nonzero(np.abs(tape.gradient(middle, image)[0]).sum(-1))
    assert np.ptp(rows) + 1 == np.ptp(columns) + 1 == 70


def test_the_smallest_image_has_one_score(generator):
    image = np.zeros((1, translator.LEAST_SIDE, translator.LEAST_SIDE, 3), np.float32)
    assert build_patch_discriminator(channels=2)(generator(image)).shape == (1, 1, 1, 1)


def test_the_seed_decides_the_weights():
    first, same, other = (build_generator(2, 1, seed).get_weights() for seed in (3, 3, 4))
    for a, b in zip(first, same, strict=True):
        np.testing.assert_array_equal(a, b)
    assert (first[0] != other[0]).any()
    assert np.std(build_patch_discriminator(16).get_layer("convolution_3").kernel) == pytest.approx(0.02, rel=0.1)
