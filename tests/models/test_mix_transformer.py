"""Mix Transformers: the published sizes, names, grids and functions; stochastic depth."""

import gc
import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from models.catalogue import NETWORKS
from models.generators import generator_states, restart_generators
from models.layers import Dropout
from models.mix_transformer import SIZES, Attention, Gelu, attention, mix_transformer, patches
from models.segmenter import build_segmenter
from tests.kinds import LARGER_TRANSFORMERS

PUBLISHED_MILLIONS = {"mit_b1": 13.2, "mit_b2": 24.2, "mit_b3": 44.1, "mit_b4": 60.8, "mit_b5": 81.4}
RANDOM = np.random.default_rng(0)


def noise(*shape: int) -> np.ndarray:
    return RANDOM.normal(size=shape).astype("float32")


@pytest.fixture(scope="module")
def smallest() -> keras.Model:
    return mix_transformer("mit_b0")


def test_the_smallest_encoder_has_the_published_parameters(smallest):
    assert smallest.count_params() == 3_319_392


# The paper's and a small one; the others, of the same builders, are nightly.
@pytest.mark.parametrize(
    "name",
    [
        name if name in ("segformer_mit_b1", "daformer_mit_b5") else pytest.param(name, marks=pytest.mark.slow)
        for name in LARGER_TRANSFORMERS
    ],
)
def test_larger_networks_have_the_published_encoders_and_the_parameters_of_the_catalogue(name):
    with keras.StatelessScope():  # weights of these shapes, without values
        network = build_segmenter(name, 19)
    assert network.count_params() == NETWORKS[name].parameters
    encoder = sum(layer.count_params() for layer in network.layers if layer.name.startswith("stage"))
    assert round(encoder / 1e6, 1) == PUBLISHED_MILLIONS[NETWORKS[name].backbone]
    del network
    keras.backend.clear_session()
    gc.collect()


def test_layers_with_weights_have_the_agreed_names(smallest):
    expected = []
    for stage, blocks in enumerate(SIZES["mit_b0"].blocks, 1):
        expected += [f"stage{stage}_embed", f"stage{stage}_embed_norm", f"stage{stage}_norm"]
        parts = ["norm1", "query", "key", "value", "project", "norm2", "expand", "depthwise", "shrink"]
        parts += ["reduce", "reduce_norm"] if stage < 4 else []
        expected += [f"stage{stage}_block{block}_{part}" for block in range(1, blocks + 1) for part in parts]
    assert {layer.name for layer in smallest.layers if layer.weights} == set(expected)


def test_normalisations_have_the_released_epsilons(smallest):
    norms = [layer for layer in smallest.layers if isinstance(layer, keras.layers.LayerNormalization)]
    assert {layer.epsilon for layer in norms if layer.name.endswith(("embed_norm", "reduce_norm"))} == {1e-5}
    assert {layer.epsilon for layer in norms if layer.name.endswith(("norm1", "norm2"))} == {1e-6}
    assert {smallest.get_layer(f"stage{stage}_norm").epsilon for stage in range(1, 5)} == {1e-6}


@pytest.mark.parametrize(("height", "width"), [(64, 96), (33, 127), (200, 41)])
def test_stages_have_the_grids_of_their_strides(smallest, height, width):
    maps = smallest(noise(1, height, width, 3))
    cells = [(-(-height // stride), -(-width // stride)) for stride in (4, 8, 16, 32)]
    assert [tuple(x.shape[1:3]) for x in maps] == cells
    assert [x.shape[3] for x in maps] == list(SIZES["mit_b0"].channels)


def test_a_transposed_image_gives_transposed_maps_with_transposed_kernels(smallest):
    """Height and width are never mixed up: sizes are not square."""
    transposed = mix_transformer("mit_b0")
    swapped = [w.transpose(1, 0, 2, 3) if w.ndim == 4 else w for w in smallest.get_weights()]
    transposed.set_weights(swapped)
    image = RANDOM.integers(0, 256, (2, 75, 140, 3)).astype("float32")
    for mine, theirs in zip(smallest(image), transposed(image.transpose(0, 2, 1, 3)), strict=True):
        np.testing.assert_allclose(mine, tf.transpose(theirs, (0, 2, 1, 3)), atol=1e-4)


def test_patches_are_centred_on_every_stride_th_pixel():
    """Zeros on both sides, as released; "same" would put all of them, or one more, behind."""
    image = keras.Input((None, None, 1))
    model = keras.Model(image, patches(image, 1, 7, 4, name="embed"))
    convolution = keras.Model(image, model.get_layer("embed").output)
    convolution.set_weights([np.ones((7, 7, 1, 1)), np.zeros(1)])
    counts = convolution(np.ones((1, 8, 9, 1), "float32"))[0, ..., 0]
    np.testing.assert_allclose(counts, np.outer([4, 7], [4, 7, 4]))  # rows 0 to 3, 1 to 7; columns the same, 5 to 8


def test_reduction_leaves_out_cells_that_fill_no_whole_window():
    x = keras.Input((None, None, 4))
    model = keras.Model(x, attention(x, 1, 2, name="block"))
    seen = keras.Model(x, model.get_layer("block_reduce").output)
    assert seen(noise(1, 5, 7, 4)).shape[1:3] == (2, 3)
    image = noise(1, 5, 7, 4)
    changed = image.copy()
    changed[:, 4], changed[:, :, 6] = 9, 9
    np.testing.assert_array_equal(seen(image), seen(changed))


@pytest.mark.parametrize("heads", [1, 2, 5])
def test_attention_is_the_soft_max_of_scaled_products(heads):
    channels, query, key, value = 10, noise(2, 3, 5, 10), noise(2, 2, 3, 10), noise(2, 2, 3, 10)
    expected = np.zeros_like(query)
    width = channels // heads
    for b, h, w, head in np.ndindex(2, 3, 5, heads):
        part = slice(head * width, (head + 1) * width)
        scores = key[b, ..., part].reshape(-1, width) @ query[b, h, w, part] / math.sqrt(width)
        weights = np.exp(scores) / np.exp(scores).sum()
        expected[b, h, w, part] = weights @ value[b, ..., part].reshape(-1, width)
    np.testing.assert_allclose(Attention(heads)(query, key, value), expected, atol=1e-5)


def test_gelu_is_exact():
    x = np.linspace(-6, 6, 101, dtype="float32")
    np.testing.assert_allclose(Gelu()(x), [v * (1 + math.erf(v / math.sqrt(2))) / 2 for v in x], atol=1e-6)


def test_stochastic_depth_rises_linearly_to_a_tenth(smallest):
    rates = [layer.rate for layer in smallest.layers if isinstance(layer, Dropout)]
    expected = [0.1 * index / 7 for index in range(1, 8) for _ in range(2)]  # the first block keeps all
    np.testing.assert_allclose(rates, expected)


def test_stochastic_depth_drops_whole_images_in_training_alone():
    layer, ones = Dropout(0.5, noise_shape=(None, 1, 1, 1)), np.ones((64, 2, 3, 4), "float32")
    np.testing.assert_array_equal(layer(ones), ones)
    kept = layer(ones, training=True).numpy().reshape(64, -1)
    assert set(np.unique(kept)) == {0, 2}
    assert (kept == kept[:, :1]).all()
    assert 16 < np.count_nonzero(kept[:, 0]) < 48


def test_a_training_pass_can_be_drawn_again_and_inference_draws_nothing():
    network = build_segmenter("segformer_mit_b0", 3)
    image = RANDOM.integers(0, 256, (4, 64, 64, 3)).astype("float32")
    states = generator_states(network)
    assert len(states) == 15  # two in each block but the first, and the head's
    np.testing.assert_array_equal(network(image)["logits"], network(image, training=False)["logits"])
    before = [state.numpy() for state in states]
    network(image)
    np.testing.assert_array_equal(before, [state.numpy() for state in states])
    network.get_layer("head_fuse_bn").statistics = "frozen"
    drawn = []
    for seed in (1, 1, 2):
        restart_generators(network, seed)
        drawn.append([network(image, training=True)["logits"].numpy() for _ in range(2)])
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert (drawn[0][0] != drawn[0][1]).any()
    assert (drawn[0][0] != drawn[2][0]).any()


def test_small_images_are_padded_to_one_window():
    network = build_segmenter("segformer_mit_b0", 3)
    image = RANDOM.integers(0, 256, (1, 9, 40, 3)).astype("float32")
    padded = np.pad(image, ((0, 0), (0, 23), (0, 0), (0, 0)), constant_values=128)
    logits = network(image)["logits"]
    assert logits.shape == (1, 3, 10, 3)
    np.testing.assert_allclose(logits, network(padded)["logits"][:, :3], atol=1e-5)
