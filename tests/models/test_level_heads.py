"""Heads over several levels: SegFormer's all-MLP head and DAFormer's context-aware one."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from models.batch_norm import batch_norm_layers
from models.daformer_head import DILATIONS, daformer
from models.levels import encoder_levels
from models.segformer_head import segformer
from models.segmenter import build_segmenter

CLASSES = 5
CHANNELS = (8, 16, 24)
SIZES = ((13, 18), (7, 9), (4, 5))


def levels() -> list[keras.KerasTensor]:
    return [keras.Input((None, None, channels)) for channels in CHANNELS]


def maps(seed: int = 0) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    return [
        random.normal(size=(2, *size, channels)).astype("float32")
        for size, channels in zip(SIZES, CHANNELS, strict=True)
    ]


def lively(head, *arguments) -> keras.Model:
    """A head on its levels with nothing left at its start: biases, statistics and scales too."""
    inputs = levels()
    model, random = keras.Model(inputs, head(inputs, CLASSES, *arguments)), np.random.default_rng(1)
    model.set_weights([np.abs(random.normal(0.5, 0.2, weight.shape)) for weight in model.get_weights()])
    return model


def test_segformers_head_is_the_published_one_with_its_convolution_in_parts():
    model = lively(segformer, 12)
    layer = model.get_layer
    embedded = [layer(f"head_embed_{index}")(x) for index, x in enumerate(maps(), 1)]
    joined = tf.concat([tf.image.resize(x, SIZES[0]) for x in embedded], axis=-1)
    kernel = tf.concat([layer(f"head_fuse_{index}_conv").kernel for index in range(1, 4)], axis=2)
    assert kernel.shape == (1, 1, 36, 12)
    fused = tf.nn.relu(layer("head_fuse_bn")(tf.nn.conv2d(joined, kernel, 1, "SAME")))
    logits, features = model(maps())
    np.testing.assert_allclose(features, fused, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(logits, layer("head_classes")(fused), rtol=1e-4, atol=1e-4)


def test_daformers_head_is_a_separable_pyramid_over_all_levels():
    model = lively(daformer)
    layer = model.get_layer
    embedded = [layer(f"head_embed_{index}")(x) for index, x in enumerate(maps(), 1)]
    joined = tf.concat([tf.image.resize(x, SIZES[0]) for x in embedded], axis=-1)
    branches = []
    for dilation in (1, 6, 12, 18):
        x, name = joined, f"head_dilation_{dilation}"
        if dilation > 1:
            kernel = layer(f"{name}_depthwise_conv").kernel
            x = tf.nn.depthwise_conv2d(x, kernel, (1, 1, 1, 1), "SAME", dilations=(dilation, dilation))
            x = tf.nn.relu(layer(f"{name}_depthwise_bn")(x))
        x = tf.nn.conv2d(x, layer(f"{name}_conv").kernel, 1, "SAME")
        branches.append(tf.nn.relu(layer(f"{name}_bn")(x)))
    x = tf.nn.conv2d(tf.concat(branches, axis=-1), layer("head_bottleneck_conv").kernel, 1, "SAME")
    fused = tf.nn.relu(layer("head_bottleneck_bn")(x))
    logits, features = model(maps())
    np.testing.assert_allclose(features, fused, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(logits, layer("head_classes")(fused), rtol=1e-4, atol=1e-4)


def test_daformers_head_has_its_published_parameters():
    """On MiT-B1 to B5, 19 classes; trainable ones, counted from the released description."""
    widths = (64, 128, 320, 512)
    inputs = [keras.Input((None, None, width)) for width in widths]
    with keras.StatelessScope():
        model = keras.Model(inputs, daformer(inputs, 19))
    embed = sum(width * 256 + 256 for width in widths)
    branches = 4 * (1024 * 256 + 512) + 3 * (9 * 1024 + 2 * 1024)
    bottleneck, classes = 9 * 1024 * 256 + 512, 256 * 19 + 19
    assert sum(np.prod(variable.shape) for variable in model.trainable_variables) == (
        embed + branches + bottleneck + classes
    )


@pytest.mark.parametrize(("head", "arguments"), [(daformer, ()), (segformer, (32,))])
def test_heads_take_the_levels_of_a_convolutional_encoder(head, arguments):
    compact = build_segmenter("compact", CLASSES)
    model = keras.Model(compact.inputs[0], head(encoder_levels(compact, "compact"), CLASSES, *arguments))
    logits, features = model(np.zeros((2, 64, 96, 3), "float32"))
    assert logits.shape == (2, 16, 24, CLASSES)
    assert features.shape[1:3] == (16, 24)
    added = [layer.name for layer in model.layers if layer.name not in {old.name for old in compact.layers}]
    assert added
    assert all(name.startswith("head_") for name in added)


def test_batch_norms_are_mmsegmentations():
    norms = batch_norm_layers(lively(daformer))
    assert len(norms) == 2 * len(DILATIONS)  # one a branch, one more in front of each dilated one, and the bottleneck's
    assert {(norm.epsilon, norm.momentum) for norm in norms} == {(1e-5, 0.9)}


@pytest.mark.parametrize(("head", "arguments"), [(daformer, ()), (segformer, (12,))])
def test_a_tenth_is_dropped_in_training_alone(head, arguments):
    model = lively(head, *arguments)
    assert model.get_layer("head_dropout").rate == 0.1
    for norm in batch_norm_layers(model):
        norm.statistics = "frozen"
    logits, features = model(maps())
    dropped, same_features = model(maps(), training=True)
    np.testing.assert_array_equal(features, same_features)  # they are in front of the dropout
    assert np.abs(dropped - logits).max() > 1e-3
