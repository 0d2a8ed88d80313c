"""Files of weights as other projects write them, with random numbers."""

import keras
import numpy as np
import pytest
from safetensors.numpy import save_file

from models.foreign_names import PUBLISHED_PARTS
from models.weights import WeightsError, load_weights

CHANNELS, DEPTHS, REDUCTIONS = (32, 64, 160, 256), (2, 2, 2, 2), (8, 4, 2, 1)


class File:
    """Tensors under PyTorch's names, written to a folder."""

    def __init__(self, seed: int = 0):
        self.random, self.tensors = np.random.default_rng(seed), {}

    def add(self, module: str, *shape: int, bias: bool = True):
        self.tensors[f"{module}.weight"] = self.random.normal(size=shape).astype(np.float32)
        if bias:
            self.tensors[f"{module}.bias"] = self.random.normal(size=shape[:1]).astype(np.float32)

    def add_batch_norm(self, module: str, channels: int):
        self.add(module, channels)
        self.tensors[f"{module}.running_mean"] = self.random.normal(size=channels).astype(np.float32)
        self.tensors[f"{module}.running_var"] = self.random.uniform(0.01, 2, channels).astype(np.float32)
        self.tensors[f"{module}.num_batches_tracked"] = np.array(7)

    def save(self, folder, name: str = "model.safetensors"):
        save_file(self.tensors, folder / name)
        return folder / name


def mit_file(parts: dict[str, str], channels=CHANNELS, depths=DEPTHS, seed: int = 0) -> File:
    """A Mix Transformer in the names of `parts`, with the shapes of PyTorch's modules."""
    file, before = File(seed), 3
    for stage, (width, depth, reduction) in enumerate(zip(channels, depths, REDUCTIONS, strict=True)):
        named = lambda part, block=0, stage=stage: parts[part].format(stage=stage, number=stage + 1, block=block)  # noqa: E731
        kernel = 3 if stage else 7
        file.add(named("embed"), width, before, kernel, kernel)
        for part in ("embed_norm", "norm"):
            file.add(named(part), width)
        for block in range(depth):
            for part in ("norm1", "norm2"):
                file.add(named(part, block), width)
            if reduction > 1:
                file.add(named("reduce", block), width, width, reduction, reduction)
                file.add(named("reduce_norm", block), width)
            for part in ("query", "project"):
                file.add(named(part, block), width, width)
            if parts["key"] == parts["value"]:
                file.add(named("key", block), 2 * width, width)
            else:
                file.add(named("key", block), width, width)
                file.add(named("value", block), width, width)
            file.add(named("expand", block), 4 * width, width)
            file.add(named("depthwise", block), 4 * width, 1, 3, 3)
            file.add(named("shrink", block), width, 4 * width)
        before = width
    return file


def add_all_mlp_head(file: File, embed: str, fuse: str, norm: str, classes: str, first: int, count: int = 19):
    for level, width in enumerate(CHANNELS):
        file.add(embed.format(level + first), 256, width)
    file.add(fuse, 256, 1024, 1, 1, bias=False)
    file.add_batch_norm(norm, 256)
    file.add(classes, count, 256, 1, 1)


PUBLISHED_HEAD = ("decode_head.linear_c.{}.proj", "decode_head.linear_fuse", "decode_head.batch_norm")


def published_file(count: int = 19) -> File:
    file = mit_file({part: f"segformer.{name}" for part, name in PUBLISHED_PARTS.items()})
    add_all_mlp_head(file, *PUBLISHED_HEAD, "decode_head.classifier", 0, count)
    return file


def kernel(model: keras.Model, layer: str) -> np.ndarray:
    return model.get_layer(layer).get_weights()[0]


def vector(model: keras.Model, layer: str, place: int = 1) -> np.ndarray:
    return model.get_layer(layer).get_weights()[place]


def mobilenet_file(alpha_channels: list[tuple[int, int, int]]) -> File:
    """timm's `mobilenetv2`: `alpha_channels` holds (inputs, wide, outputs) of every bottleneck."""
    file, stages = File(), (1, 2, 3, 4, 3, 3, 1)
    places = [(stage, place) for stage, length in enumerate(stages) for place in range(length)]
    file.add("conv_stem", alpha_channels[0][1], 3, 3, 3, bias=False)
    file.add_batch_norm("bn1", alpha_channels[0][1])
    for (stage, place), (inputs, wide, outputs) in zip(places, alpha_channels, strict=True):
        block, expands = f"blocks.{stage}.{place}", stage > 0
        if expands:
            file.add(f"{block}.conv_pw", wide, inputs, 1, 1, bias=False)
            file.add_batch_norm(f"{block}.bn1", wide)
        file.add(f"{block}.conv_dw", wide, 1, 3, 3, bias=False)
        file.add_batch_norm(f"{block}.bn{1 + expands}", wide)
        file.add(f"{block}.conv_pw{'l' if expands else ''}", outputs, wide, 1, 1, bias=False)
        file.add_batch_norm(f"{block}.bn{2 + expands}", outputs)
    file.add("conv_head", 1280, alpha_channels[-1][2], 1, 1, bias=False)
    return file


def lite_file(model: keras.Model) -> File:
    """efficientnet_pytorch's EfficientNet-Lite of the size of `model`, with its classifier."""
    file, parts = File(), {"expand": ("_expand_conv", "_bn0"), "depthwise": ("_depthwise_conv", "_bn1")}
    parts["project"] = ("_project_conv", "_bn2")
    for layer in (layer for layer in model.layers if layer.weights and layer.name.endswith("_conv")):
        if layer.name.startswith("head_"):
            continue
        block, _, step = layer.name.removesuffix("_conv").rpartition("_")
        convolution, norm = parts.get(step, ("_conv_stem", "_bn0"))
        prefix = f"_blocks.{block.removeprefix('block_')}." if block else ""
        height, width, inputs, outputs = layer.get_weights()[0].shape
        shape = (inputs, 1, height, width) if step == "depthwise" else (outputs, inputs, height, width)
        file.add(f"{prefix}{convolution}", *shape, bias=False)
        file.add_batch_norm(f"{prefix}{norm}", shape[0])
    file.add("_conv_head", 1280, 320, 1, 1, bias=False)
    file.add("_fc", 1000, 1280)
    return file


def bottlenecks(model: keras.Model) -> list[tuple[int, int, int]]:
    """(inputs, wide, outputs) of every bottleneck of a MobileNetV2 here."""
    names = ["expanded_conv", *(f"block_{number}" for number in range(1, 17))]
    wide = [kernel(model, f"{name}_depthwise").shape[2] for name in names]
    outputs = [kernel(model, f"{name}_project").shape[3] for name in names]
    return list(zip([wide[0], *outputs[:-1]], wide, outputs, strict=True))


def refused(network: keras.Model, path, match: str) -> str:
    before = network.get_weights()
    with pytest.raises(WeightsError, match=match) as caught:
        load_weights(network, path)
    for found, expected in zip(network.get_weights(), before, strict=True):
        np.testing.assert_array_equal(found, expected)
    assert "\n" not in str(caught.value)
    return str(caught.value)
