"""Weights of other projects for Mix Transformers: every layer gets exactly its tensor, and the rest is listed."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from models import hub
from models.foreign_names import AUTHORS_HEADS, AUTHORS_PARTS, MODULE_PARTS, PUBLISHED_PARTS
from models.loaded_weights import layers_with_weights
from models.segmenter import build_segmenter
from models.weights import load_weights
from tests.models.foreign_files import (
    PUBLISHED_HEAD,
    File,
    add_all_mlp_head,
    kernel,
    mit_file,
    published_file,
    refused,
    vector,
)


@pytest.fixture(scope="module")
def network():
    return build_segmenter("segformer_mit_b0", 19)


def assert_blocks_hold(model: keras.Model, file: File, parts: dict[str, str], prefix: str = ""):
    """Every layer of the encoder holds the transformed tensor of the module that `parts` names."""
    checked = 0
    for layer in layers_with_weights(model):
        if layer.name.startswith("head_"):
            continue
        stage, *rest = layer.name.split("_")
        block = int(rest.pop(0).removeprefix("block")) - 1 if rest[0].startswith("block") else 0
        number, part = int(stage.removeprefix("stage")), "_".join(rest)
        module = prefix + parts[part].format(stage=number - 1, number=number, block=block)
        weight, bias = file.tensors[f"{module}.weight"], file.tensors[f"{module}.bias"]
        if parts["key"] == parts["value"] and part in ("key", "value"):
            half = len(bias) // 2
            rows = slice(0, half) if part == "key" else slice(half, None)
            weight, bias = weight[rows], bias[rows]
        if part == "depthwise":
            expected = np.stack([weight[channel, 0] for channel in range(len(weight))], axis=-1)[..., None]
        elif weight.ndim == 4:
            expected = np.moveaxis(weight, (0, 1), (3, 2))
        elif weight.ndim == 2:
            expected = weight.T[None, None]
        else:
            expected = weight
        np.testing.assert_array_equal(kernel(model, layer.name), expected)
        np.testing.assert_array_equal(vector(model, layer.name), bias)
        checked += 1
    assert checked == sum(model.get_layer(layer.name).name.startswith("stage") for layer in layers_with_weights(model))


def assert_all_mlp_head_holds(model: keras.Model, file: File, embed, fuse, norm, classes, first: int):
    for level in (1, 2, 3, 4):
        weight = file.tensors[embed.format(level - 1 + first) + ".weight"]
        np.testing.assert_array_equal(kernel(model, f"head_embed_{level}")[0, 0], weight.T)
    # The file's convolution reads the coarsest level first.
    fused = file.tensors[f"{fuse}.weight"][:, :, 0, 0].T
    for level, rows in ((4, slice(0, 256)), (3, slice(256, 512)), (2, slice(512, 768)), (1, slice(768, 1024))):
        np.testing.assert_array_equal(kernel(model, f"head_fuse_{level}_conv")[0, 0], fused[rows])
    for place, tensor in enumerate(("weight", "bias", "running_mean", "running_var")):
        np.testing.assert_array_equal(vector(model, "head_fuse_bn", place), file.tensors[f"{norm}.{tensor}"])
    np.testing.assert_array_equal(kernel(model, "head_classes")[0, 0], file.tensors[f"{classes}.weight"][:, :, 0, 0].T)


def test_hugging_face_names_fill_the_whole_segformer(network, tmp_path):
    file = published_file()
    report = load_weights(network, file.save(tmp_path))
    assert (report.kind, report.missing, report.mismatched, report.unexpected) == ("checkpoint", (), (), ())
    assert len(report.loaded) == len(layers_with_weights(network))
    assert_blocks_hold(network, file, PUBLISHED_PARTS, "segformer.")
    assert_all_mlp_head_holds(network, file, *PUBLISHED_HEAD, "decode_head.classifier", 0)


@pytest.mark.parametrize("prefix", ["", "segformer.", "module.segformer."])
@pytest.mark.parametrize("parts", [PUBLISHED_PARTS, MODULE_PARTS], ids=["published", "modules"])
def test_an_encoder_loads_with_and_without_prefix(network, tmp_path, parts, prefix):
    file = mit_file({part: prefix + name for part, name in parts.items()})
    report = load_weights(network, file.save(tmp_path))
    assert report.kind == "backbone"
    assert all(name.startswith("head_") for name in report.missing)
    assert len(report.missing) == 10
    assert_blocks_hold(network, file, parts, prefix)


def test_authors_names_with_joint_keys_and_values(network, tmp_path):
    file = mit_file({part: f"backbone.{name}" for part, name in AUTHORS_PARTS.items()})
    head = ("decode_head.linear_c{}.proj", "decode_head.linear_fuse.conv", "decode_head.linear_fuse.bn")
    add_all_mlp_head(file, *head, "decode_head.linear_pred", 1)
    file.add("decode_head.conv_seg", 19, 128, 1, 1)  # the released files hold it, and nothing uses it
    report = load_weights(network, file.save(tmp_path))
    assert (report.missing, report.unexpected) == ((), ("decode_head.conv_seg.bias", "decode_head.conv_seg.weight"))
    assert "2 tensors of the file are not used (decode_head.conv_seg.bias, " in str(report)
    assert_blocks_hold(network, file, AUTHORS_PARTS, "backbone.")
    assert_all_mlp_head_holds(network, file, *head, "decode_head.linear_pred", 1)


def test_the_head_of_daformer(tmp_path):
    network, file = build_segmenter("daformer_mit_b0", 19), mit_file(AUTHORS_PARTS)
    modules = {source.name for source in AUTHORS_HEADS["daformer"].values()}
    for layer, source in AUTHORS_HEADS["daformer"].items():
        weights = network.get_layer(layer).get_weights()
        if layer.endswith("_bn"):
            file.add_batch_norm(source.name, len(weights[0]))
        else:
            height, width, inputs, outputs = weights[0].shape
            shape = (inputs, 1, height, width) if "depthwise" in layer else (outputs, inputs, height, width)
            file.add(source.name, *shape, bias=len(weights) == 2)
    report = load_weights(network, file.save(tmp_path))
    assert (report.kind, report.missing, report.mismatched, report.unexpected) == ("checkpoint", (), (), ())
    assert "decode_head.fuse_layer.aspp_modules.3.pointwise_conv.bn" in modules
    weight = file.tensors["decode_head.fuse_layer.aspp_modules.2.depthwise_conv.conv.weight"]
    np.testing.assert_array_equal(
        kernel(network, "head_dilation_12_depthwise_conv")[..., 0], np.moveaxis(weight[:, 0], 0, 2)
    )


def test_another_number_of_classes_leaves_the_classifier_at_random(network, tmp_path):
    report = load_weights(network, published_file(count=150).save(tmp_path))
    assert report.mismatched == ("head_classes",)
    assert "1 differ in shape and start at random (head_classes)" in str(report)


def test_single_missing_and_unexpected_tensors_are_listed(network, tmp_path):
    file = published_file()
    start = network.get_layer("stage2_block1_project").get_weights()
    del file.tensors["segformer.encoder.block.1.0.attention.output.dense.bias"]
    file.add("classifier", 1000, 256)
    report = load_weights(network, file.save(tmp_path))
    assert report.missing == ("stage2_block1_project",)
    for found, expected in zip(network.get_layer("stage2_block1_project").get_weights(), start, strict=True):
        np.testing.assert_array_equal(found, expected)
    assert report.unexpected == (
        "classifier.bias",
        "classifier.weight",
        "encoder.block.1.0.attention.output.dense.weight",
    )


def test_the_licence_is_told_of(network, tmp_path):
    assert "not for commercial use: https://github.com/NVlabs/SegFormer" in str(
        load_weights(network, published_file().save(tmp_path))
    )


def test_half_precision_becomes_float32(network, tmp_path):
    bfloat16 = tf.bfloat16.as_numpy_dtype
    file = published_file()
    file.tensors = {
        name: values.astype(np.float16 if "bias" in name else bfloat16) for name, values in file.tensors.items()
    }
    load_weights(network, file.save(tmp_path))
    name = "segformer.encoder.block.0.1.mlp.dense2.weight"
    expected = file.tensors[name].astype(np.float32).T[None, None]
    np.testing.assert_array_equal(kernel(network, "stage1_block2_shrink"), expected)


# The hub


def test_imagenet_weights_come_from_the_hub(network, tmp_path, monkeypatch):
    asked, file = [], mit_file(AUTHORS_PARTS)

    def download(repository, name, revision):
        asked.append((repository, name, revision))
        return str(file.save(tmp_path))

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    report = load_weights(network, "imagenet")
    assert asked == [("smp-hub/mit_b0.imagenet", "model.safetensors", "9ce53d104d92d75aabb00aae70677aaab67e7c84")]
    assert (report.origin, report.kind, len(report.missing)) == ("imagenet", "backbone", 10)
    assert "not for commercial use" in str(report)
    assert_blocks_hold(network, file, AUTHORS_PARTS)


def test_offline_the_sentence_says_which_file_to_get(network, monkeypatch):
    def offline(*_, **__):
        raise OSError("An error happened while trying to locate the file on the Hub.\nMore lines.")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", offline)
    sentence = refused(network, "imagenet", "ImageNet weights of SegFormer, MiT-B0 are neither cached nor")
    assert f"pass --weights FILE with a copy of {hub.address('mit_b0')}, or --weights none" in sentence


def test_every_mix_transformer_has_its_file():
    assert sorted(hub.REPOSITORIES) == [f"mit_b{size}" for size in range(6)]
    assert len({revision for _, revision in hub.REPOSITORIES.values()}) == 6
