"""The discriminator has the published shape, pads as it says, and takes any size."""

import keras
import numpy as np
import pytest

from models.discriminator import build_discriminator, leaky_relu


def published_size(size: int, first_kernel: int) -> int:
    """Size after five convolutions of stride 2 with one pixel of padding."""
    for kernel in (first_kernel, 4, 4, 4, 4):
        size = (size + 2 - kernel) // 2 + 1
    return size


@pytest.mark.parametrize("first_kernel", [3, 4])
@pytest.mark.parametrize("size", [(32, 64), (45, 80), (128, 255)])
def test_size_of_the_scores(first_kernel, size):
    scores = build_discriminator(5, channels=4, first_kernel=first_kernel)(np.zeros((2, *size, 5), np.float32))
    assert scores.shape == (2, *(published_size(side, first_kernel) for side in size), 1)


def test_small_maps_are_padded_with_zeros():
    discriminator = build_discriminator(2, channels=4)
    small = np.random.default_rng(0).random((1, 7, 40, 2)).astype(np.float32)
    padded = np.pad(small, ((0, 0), (0, 25), (0, 0), (0, 0)))
    np.testing.assert_array_equal(discriminator(small), discriminator(padded))


def test_layers_are_the_published_ones():
    discriminator = build_discriminator(19)
    convolutions = [layer for layer in discriminator.layers if isinstance(layer, keras.layers.Conv2D)]
    assert [layer.kernel.shape for layer in convolutions] == [
        (4, 4, 19, 64),
        (4, 4, 64, 128),
        (4, 4, 128, 256),
        (4, 4, 256, 512),
        (4, 4, 512, 1),
    ]
    assert all(layer.strides == (2, 2) and layer.use_bias for layer in convolutions)
    between = [layer for layer in discriminator.layers if layer.name.startswith("leaky_")]
    assert [layer.activation for layer in between] == [leaky_relu] * 4
    np.testing.assert_allclose(leaky_relu(np.float32([-1, 0, 2])), [-0.2, 0, 2])
    assert build_discriminator(19, first_kernel=3).get_layer("convolution_1").kernel.shape == (3, 3, 19, 64)
    limit = 1 / np.sqrt(4 * 4 * 64)
    spread = np.abs(convolutions[1].kernel.numpy()).max()
    assert 0.99 * limit < spread <= limit


@pytest.mark.parametrize("size", [32, 33])
def test_one_row_and_column_of_zeros_lie_on_each_side(size):
    """A kernel that looks at its upper left pixel alone sees rows and columns -1, 1, 3 ..."""
    discriminator = build_discriminator(1, channels=1)
    first = discriminator.get_layer("convolution_1")
    kernel = np.zeros((4, 4, 1, 1), np.float32)
    kernel[0, 0] = 1.0
    first.set_weights([kernel, np.zeros(1, np.float32)])
    image = np.random.default_rng(0).random((1, size, size, 1)).astype(np.float32)
    seen = keras.Model(discriminator.input, first.output)(image).numpy()[0, :, :, 0]
    np.testing.assert_allclose(seen[1:, 1:], image[0, 1 : size - 2 : 2, 1 : size - 2 : 2, 0])
    assert not seen[0].any()
    assert not seen[:, 0].any()


def test_the_seed_makes_the_weights():
    first, again, other = (build_discriminator(3, 4, seed=seed).get_weights() for seed in (1, 1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))


def test_it_can_be_saved(tmp_path):
    discriminator = build_discriminator(3, 4)
    discriminator.save(tmp_path / "discriminator.keras")
    maps = np.random.default_rng(0).random((1, 40, 40, 3)).astype(np.float32)
    np.testing.assert_allclose(
        keras.models.load_model(tmp_path / "discriminator.keras")(maps), discriminator(maps), atol=1e-6
    )
