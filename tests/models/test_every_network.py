"""What every network of the catalogue must do, one of each kind; each is built once.

Of the larger Mix Transformers `test_mix_transformer.py` counts the parameters.
"""

import gc
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from models.batch_norm import batch_norm_layers, set_batch_norm, trained_batch_norm
from models.catalogue import NETWORKS
from models.heads import classifier_bias, head_variables
from models.levels import with_levels
from models.segmenter import BUILDERS, build_segmenter
from tests.kinds import EACH_KIND, SMALL, each_kind

ROOT = Path(__file__).resolve().parents[2]

CLASSES = 19


@pytest.fixture(scope="module", params=EACH_KIND)
def network(request):
    yield build_segmenter(request.param, CLASSES)
    keras.backend.clear_session()
    gc.collect()  # the large ones' memory, before the next is built


def picture(height: int, width: int, batch: int = 1, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (batch, height, width, 3), dtype=np.uint8)


def test_the_catalogue_tells_the_truth(network):
    entry = NETWORKS[network.name]
    assert network.count_params() == entry.parameters
    assert entry.default_stride in entry.strides


def test_layers_have_the_published_shapes(network):
    published = {
        "deeplab_v2_resnet101": {"conv5_block3_3_conv": (1, 1, 512, 2048), "head_dilation_24": (3, 3, 2048, CLASSES)},
        "fcn8s_vgg16": {"fc1": (7, 7, 512, 4096), "fc2": (1, 1, 4096, 4096)},
        "segformer_mit_b0": {
            "stage1_embed": (7, 7, 3, 32),
            "stage1_block1_reduce": (8, 8, 32, 32),
            "stage4_block2_expand": (1, 1, 256, 1024),
            "stage4_block2_depthwise": (3, 3, 1024, 1),
            "head_fuse_4_conv": (1, 1, 256, 256),
        },
        "daformer_resnet101": {"head_embed_4": (1, 1, 2048, 256), "head_bottleneck_conv": (3, 3, 1024, 256)},
        "wide_resnet38": {"level_7_2_conv": (3, 3, 1024, 2048), "head_hidden": (3, 3, 4096, 512)},
    }
    for name, shape in published.get(network.name, {}).items():
        assert tuple(network.get_layer(name).kernel.shape) == shape
    if network.name == "wide_resnet38":  # named for its layers: 37 convolutions and the classifier
        trunk = [x.name for x in network.layers if x.name.endswith("_conv") and "shortcut" not in x.name]
        assert len(trunk) == 37


def test_input_contract(network):
    (image,) = network.inputs
    assert image.name == "image"
    assert image.shape == (None, None, None, 3)


def test_the_classifiers_bias_adds_to_the_logits_of_every_pixel(network):
    image, bias = picture(33, 50).astype("float32"), classifier_bias(network)
    before, added = network(image, training=False)["logits"], np.linspace(-1, 1, CLASSES, dtype=np.float32)
    bias.assign(bias + added)
    after = network(image, training=False)["logits"]
    bias.assign(bias - added)
    scale = float(np.abs(before).max())
    np.testing.assert_allclose(after - before, np.broadcast_to(added, before.shape), atol=1e-5 * max(scale, 1))


def test_one_graph_serves_any_size_and_gives_ceil_of_the_stride(network):
    stride = NETWORKS[network.name].logits_stride or NETWORKS[network.name].default_stride
    infer = tf.function(network, input_signature=[tf.TensorSpec((None, None, None, 3), tf.float32)])
    for height, width in ((64, 96), (33, 50), (1, 1), (5, 41)):
        result = infer(picture(height, width, batch=2).astype("float32"))
        assert set(result) == {"logits", "features"}
        assert result["logits"].shape == (2, -(-height // stride), -(-width // stride), CLASSES)
        assert result["features"].shape[0] == 2
        assert all(value.dtype == tf.float32 and np.isfinite(value).all() for value in result.values())
    kinds = {operation.type for operation in infer.get_concrete_function().graph.get_operations()}
    assert not kinds & {"PartitionedCall", "StatefulPartitionedCall"}  # XLA, where Keras cannot tell the channels


def test_levels_go_from_stride_4_to_the_output_stride(network):
    height, width = 64, 96
    whole = with_levels(network)
    if network.name == "compact":  # its padded size is known at run time alone
        levels = whole(picture(height, width))["levels"]
    else:  # shapes without a run
        traced = tf.function(whole).get_concrete_function(tf.TensorSpec((1, height, width, 3)))
        levels = traced.structured_outputs["levels"]
    own = {"compact": 16, "fcn8s_vgg16": 32}
    coarsest = own.get(network.name, NETWORKS[network.name].default_stride)
    strides = [height // level.shape[1] for level in levels]
    assert strides == [min(stride, coarsest) for stride in (4, 8, 16, 32)[: len(levels)]]
    assert [width // level.shape[2] for level in levels] == strides
    channels = [level.shape[3] for level in levels]
    assert channels == sorted(set(channels))
    assert [weight.path for weight in whole.weights] == [weight.path for weight in network.weights]


def test_uint8_and_float32_images_give_the_same():
    image, compact = picture(32, 48), build_segmenter("compact", CLASSES)
    np.testing.assert_allclose(compact(image)["features"], compact(image.astype("float32"))["features"], atol=1e-5)


def test_gradients_reach_every_variable_and_statistics_move_unless_frozen(network):
    layers = batch_norm_layers(network)
    assert bool(layers) == (network.name != "fcn8s_vgg16")
    assert not any(type(layer) is keras.layers.BatchNormalization for layer in network.layers)  # ignores the policy
    before = [layer.moving_mean.numpy() for layer in layers]
    set_batch_norm(network, "frozen")
    network(picture(32, 64), training=True)
    moved = [layer for layer, old in zip(layers, before, strict=True) if (layer.moving_mean.numpy() != old).any()]
    assert moved == trained_batch_norm(network, "frozen")  # those of a head, which no weights come with
    assert all(layer.name.startswith("head_") for layer in moved)
    assert bool(moved) == NETWORKS[network.name].head_norm
    set_batch_norm(network, "train")
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(network(picture(32, 64), training=True)["logits"])  # two cells at stride 32
    gradients = tape.gradient(loss, network.trainable_variables)
    assert [v.path for v, g in zip(network.trainable_variables, gradients, strict=True) if g is None] == []
    assert all((layer.moving_mean.numpy() != old).any() for layer, old in zip(layers, before, strict=True))


def test_the_head_is_found_by_name_and_ends_the_network(network):
    variables = head_variables(network)
    assert any(variable.shape[-1] == CLASSES for variable in variables)
    assert len(variables) < len(network.trainable_variables)
    biases = {variable.name for variable in network.trainable_variables if len(variable.shape) == 1}
    assert biases <= {"bias", "gamma", "beta"}  # what weight decay leaves out


@pytest.mark.parametrize("network", each_kind(SMALL), indirect=True)
def test_weights_survive_a_file(network, tmp_path):
    file = tmp_path / "network.weights.h5"
    sums = [float(tf.reduce_sum(weight)) for weight in network.weights]
    network.save_weights(file)
    for weight in network.weights:
        weight.assign(weight + 1)
    network.load_weights(file)
    file.unlink()  # half a gigabyte for the largest
    assert [float(tf.reduce_sum(weight)) for weight in network.weights] == sums


@pytest.mark.parametrize("name", each_kind(SMALL))
def test_mixed_bfloat16_keeps_images_outputs_and_weights_in_float32_at_every_other_stride(name):
    """Two in one, because building the large ones takes most of the time."""
    entry = NETWORKS[name]
    assert len(entry.strides) <= 2
    stride = next((stride for stride in entry.strides if stride != entry.default_stride), entry.default_stride)
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        mixed = build_segmenter(name, 3, output_stride=stride)
    finally:
        keras.config.set_dtype_policy("float32")
    cell = entry.logits_stride or stride
    assert mixed(picture(32, 48))["logits"].shape == (1, 32 // cell, 48 // cell, 3)
    assert {output.dtype for output in mixed.outputs} == {"float32"}
    assert {variable.dtype for variable in mixed.trainable_variables} == {"float32"}
    assert mixed.get_layer("normalise").compute_dtype == "float32"
    del mixed
    keras.backend.clear_session()
    gc.collect()


def test_mixed_bfloat16_gives_nearly_the_same():
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        mixed = build_segmenter("compact", CLASSES)
    finally:
        keras.config.set_dtype_policy("float32")
    image = picture(64, 96)
    expected = build_segmenter("compact", CLASSES)(image)["features"]
    error = np.abs(mixed(image)["features"] - expected)
    assert error.max() < 0.05 * np.abs(expected).max()
    assert error.max() > 0  # it did compute in bfloat16


@pytest.mark.parametrize("name", ["compact", "deeplab_v2_mobilenet_v2_035", "segformer_mit_b0"])  # a clone is one
def test_the_seed_decides_the_weights_and_nothing_else_is_touched(name):
    import random

    random.seed(5)
    first, again, other = (build_segmenter(name, 5, seed=seed).get_weights() for seed in (1, 1, 2))
    drawn = random.random()
    random.seed(5)
    assert drawn == random.random()
    assert all((a == b).all() for a, b in zip(first, again, strict=True))
    assert any((a != b).any() for a, b in zip(first, other, strict=True))


def test_wrong_requests_are_clear():
    with pytest.raises(ValueError, match="no network 'compakt': choose from compact, "):
        build_segmenter("compakt", 19)
    with pytest.raises(ValueError, match="compact has output stride 4, not 16"):
        build_segmenter("compact", 19, output_stride=16)
    with pytest.raises(ValueError, match="classes"):
        build_segmenter("compact", 0)


def test_catalogue_and_builders_name_the_same_networks_and_listing_needs_no_tensorflow():
    assert list(BUILDERS) == list(NETWORKS)
    code = "import sys, models.catalogue; print('tensorflow' in sys.modules or 'keras' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
