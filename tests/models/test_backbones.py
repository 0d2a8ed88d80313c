"""The dilated backbones are the published ones: same values on the coarse grid, same preprocessing, same weights."""

import keras
import numpy as np
import pytest

from models import backbones
from models.weights import copied

MOBILENET = keras.applications.mobilenet_v2.preprocess_input
RESNET = keras.applications.resnet.preprocess_input


def picture(height: int, width: int, batch: int = 2) -> np.ndarray:
    return np.random.default_rng(0).uniform(0, 255, (batch, height, width, 3)).astype("float32")


def with_lively_statistics(model: keras.Model) -> keras.Model:
    """Random batch-norm parameters, so that no error hides behind zeros and ones."""
    random = np.random.default_rng(1)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights([random.uniform(0.5, 1.5, weight.shape) for weight in layer.weights])
    return model


def with_weights_of(source: keras.Model, model: keras.Model) -> keras.Model:
    report = copied(source, model, "test")
    assert not report.missing
    assert not report.mismatched
    return model


def assert_equal_maps(found, expected):
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


@pytest.fixture(scope="module")
def mobilenet():
    return with_lively_statistics(backbones.pristine("mobilenet_v2_035"))


@pytest.fixture(scope="module")
def coarse_mobilenet(mobilenet):
    return with_weights_of(mobilenet, backbones.mobilenet_v2(0.35, 32))


@pytest.fixture(scope="module")
def resnet50():
    return with_lively_statistics(backbones.pristine("resnet50"))


@pytest.fixture(scope="module")
def coarse_resnet50(resnet50):
    return with_weights_of(resnet50, backbones.resnet(50, 32))


@pytest.mark.parametrize("stride", [8, 16])
@pytest.mark.parametrize(("height", "width"), [(64, 96)])
def test_mobilenet_sampled_equals_stride_32(mobilenet, coarse_mobilenet, stride, height, width):
    """TensorFlow's "same" puts the odd pixel of padding last: the last pixel of each cell is the coarse network's."""
    dense = with_weights_of(mobilenet, backbones.mobilenet_v2(0.35, stride))
    step = 32 // stride
    image = picture(height, width)
    assert dense(image).shape[1:3] == (height // stride, width // stride)
    assert_equal_maps(dense(image)[:, step - 1 :: step, step - 1 :: step], coarse_mobilenet(image))


@pytest.mark.parametrize("stride", [8, 16])
def test_resnet_sampled_equals_stride_32(resnet50, coarse_resnet50, stride):
    dense = with_weights_of(resnet50, backbones.resnet(50, stride))
    step = 32 // stride
    image = picture(64, 96)
    assert dense(image).shape[1:3] == (64 // stride, 96 // stride)
    assert_equal_maps(dense(image)[:, ::step, ::step], coarse_resnet50(image))


@pytest.mark.parametrize("size", [(64, 96), (97, 65), (33, 50)])
def test_mobilenet_at_stride_32_is_the_published_network_at_any_size(mobilenet, coarse_mobilenet, size):
    original = keras.applications.MobileNetV2(input_shape=(*size, 3), alpha=0.35, include_top=False, weights=None)
    original.set_weights(mobilenet.get_weights())
    tapped = keras.Model(original.inputs[0], original.get_layer("block_16_project_BN").output)
    image = picture(*size)
    assert_equal_maps(coarse_mobilenet(image), tapped(MOBILENET(image.copy())))


def test_resnet_at_stride_32_is_the_published_network(resnet50, coarse_resnet50):
    image = picture(224, 224, batch=1)
    assert_equal_maps(coarse_resnet50(image), resnet50(RESNET(image.copy())))


def test_resnet101_dilates_stage_four_by_two_and_stage_five_by_four():
    model = backbones.resnet(101, 8)
    for name, dilation, strides in (
        ("conv3_block1_1_conv", 1, 2),
        ("conv4_block1_0_conv", 1, 1),
        ("conv4_block1_1_conv", 1, 1),
        ("conv4_block1_2_conv", 2, 1),
        ("conv4_block23_2_conv", 2, 1),
        ("conv5_block1_0_conv", 1, 1),
        ("conv5_block3_2_conv", 4, 1),
    ):
        layer = model.get_layer(name)
        assert (layer.dilation_rate, layer.strides) == ((dilation, dilation), (strides, strides)), name


def test_mobilenet_keeps_momentum_and_epsilon():
    layer = backbones.mobilenet_v2(0.35, 16).get_layer("block_3_expand_BN")
    assert (layer.momentum, layer.epsilon, layer.statistics) == (0.999, 1e-3, "train")


def test_dense_weights_become_a_convolution_over_the_same_map():
    """As VGG16's fc1 does in FCN-8s: where the convolution sees the whole map it gives the dense layer's value."""
    flat = [keras.Input((7, 5, 3)), keras.layers.Flatten(), keras.layers.Dense(4, name="fc1")]
    source, target_input = keras.Sequential(flat), keras.Input((None, None, 3))
    target = keras.Model(target_input, keras.layers.Conv2D(4, (7, 5), padding="same", name="fc1")(target_input))
    with_weights_of(source, target)
    image = picture(7, 5)
    assert_equal_maps(target(image)[:, 3, 2], source(image))
