"""timm's weights for MobileNetV2: every layer gets its tensor, for images in another range."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from models.foreign_names import DEVIATION, MEAN
from models.segmenter import build_segmenter
from models.weights import load_weights
from tests.models.foreign_files import bottlenecks, kernel, mobilenet_file


@pytest.fixture(scope="module")
def mobilenet():
    return build_segmenter("deeplab_v2_mobilenet_v2_035", 11)


def test_timm_names_fill_mobilenet(mobilenet, tmp_path):
    file = mobilenet_file(bottlenecks(mobilenet))
    report = load_weights(mobilenet, file.save(tmp_path))
    assert len(report.loaded) == 102
    assert all(name.startswith("head_dilation_") for name in report.missing)
    assert (report.mismatched, report.unexpected) == ((), ("conv_head.weight",))
    for layer, module in (
        ("expanded_conv_project", "blocks.0.0.conv_pw"),
        ("block_1_expand", "blocks.1.0.conv_pw"),
        ("block_9_project", "blocks.3.3.conv_pwl"),
        ("block_16_project", "blocks.6.0.conv_pwl"),
    ):
        np.testing.assert_array_equal(kernel(mobilenet, layer)[0, 0], file.tensors[f"{module}.weight"][:, :, 0, 0].T)
    depthwise = file.tensors["blocks.4.1.conv_dw.weight"][:, 0]
    np.testing.assert_array_equal(kernel(mobilenet, "block_11_depthwise")[..., 0], np.moveaxis(depthwise, 0, 2))


def test_gamma_makes_up_for_the_other_epsilon(mobilenet, tmp_path):
    file = mobilenet_file(bottlenecks(mobilenet))
    load_weights(mobilenet, file.save(tmp_path))
    gamma, beta, mean, variance = (
        file.tensors[f"blocks.2.1.bn3.{name}"] for name in ("weight", "bias", "running_mean", "running_var")
    )
    x = np.random.default_rng(3).normal(size=(1, 4, 4, len(gamma))).astype(np.float32)
    expected = (x - mean) / np.sqrt(variance + 1e-5) * gamma + beta
    found = mobilenet.get_layer("block_4_project_BN")(x, training=False)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_the_first_convolution_takes_the_image_in_its_own_range(mobilenet, tmp_path):
    """Away from the border it gives what timm's gives for a standardised image."""
    file = mobilenet_file(bottlenecks(mobilenet))
    load_weights(mobilenet, file.save(tmp_path))
    image = np.random.default_rng(5).uniform(0, 255, (1, 33, 33, 3)).astype(np.float32)
    tapped = keras.Model(mobilenet.inputs[0], mobilenet.get_layer("bn_Conv1").output)
    weights = np.moveaxis(file.tensors["conv_stem.weight"], (0, 1), (3, 2))
    x = tf.nn.conv2d((image / 255 - MEAN) / DEVIATION, weights.astype(np.float64), 2, [[0, 0], [1, 1], [1, 1], [0, 0]])
    gamma, beta, mean, variance = (
        file.tensors[f"bn1.{name}"] for name in ("weight", "bias", "running_mean", "running_var")
    )
    expected = (x - mean) / np.sqrt(variance + 1e-5) * gamma + beta
    found = tapped(image, training=False)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found[:, 1:-1, 1:-1], expected[:, 1:-1, 1:-1], rtol=1e-3, atol=1e-3)


def test_timm_weights_are_told_of_with_what_differs(mobilenet, tmp_path):
    assert "timm pads with its mean colour" in str(
        load_weights(mobilenet, mobilenet_file(bottlenecks(mobilenet)).save(tmp_path))
    )
