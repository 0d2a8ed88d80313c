"""Under which names other projects keep the tensors of backbones and heads that this one has too.

A `NamingScheme` tells for a layer of ours which module of theirs holds its tensors. A module of PyTorch holds `weight`,
`bias` and, for batch-norm, `running_mean` and `running_var`; `foreign_weights.py` brings these into Keras' order.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Tensors = dict[str, np.ndarray]

LEVELS = (1, 2, 3, 4)  # of a Mix Transformer, from fine to coarse


@dataclass(frozen=True)
class Source:
    """The module `name`; of its output channels (axis 0) or input channels (axis 1) the `part`-th of `parts`."""

    name: str
    part: int = 0
    parts: int = 1
    axis: int = 0


@dataclass(frozen=True)
class NamingScheme:
    """The names of one project for one architecture.

    title: what such a file holds, in sentences. backbone: `catalogue.Network.backbone` begins with it where it fits.
    landmark: a tensor that every such file has; what stands before it is a prefix, see `foreign_weights.unprefixed`.
    source: `(network, layer) -> Source | None` by their names here; None where such a file has nothing for the layer.
    block: regular expression of what begins the name of a tensor in one of the backbone's blocks.
    adapted: changes tensors before they are taken, for another normalisation of images. epsilon: of the batch-norms.
    note: a sentence for the user. refusal: says by the backbone here why such weights cannot serve although the
    architecture's name is the same; None where they can.
    """

    title: str
    backbone: str
    landmark: str
    source: Callable[[str, str], Source | None] = lambda network, layer: None
    block: str = r"(?!)"
    adapted: Callable[[Tensors], Tensors] = lambda tensors: tensors
    epsilon: float = 1e-5  # PyTorch's own
    note: str = ""
    refusal: Callable[[str], str] | None = None


# Mix Transformers. By part of our layer's name; {stage} and {block} count from 0, {number} is the stage from 1.
PUBLISHED_PARTS = {  # Hugging Face, as its files are (also those of newer versions)
    "embed": "encoder.patch_embeddings.{stage}.proj",
    "embed_norm": "encoder.patch_embeddings.{stage}.layer_norm",
    "norm1": "encoder.block.{stage}.{block}.layer_norm_1",
    "query": "encoder.block.{stage}.{block}.attention.self.query",
    "key": "encoder.block.{stage}.{block}.attention.self.key",
    "value": "encoder.block.{stage}.{block}.attention.self.value",
    "reduce": "encoder.block.{stage}.{block}.attention.self.sr",
    "reduce_norm": "encoder.block.{stage}.{block}.attention.self.layer_norm",
    "project": "encoder.block.{stage}.{block}.attention.output.dense",
    "norm2": "encoder.block.{stage}.{block}.layer_norm_2",
    "expand": "encoder.block.{stage}.{block}.mlp.dense1",
    "depthwise": "encoder.block.{stage}.{block}.mlp.dwconv.dwconv",
    "shrink": "encoder.block.{stage}.{block}.mlp.dense2",
    "norm": "encoder.layer_norm.{stage}",
}
MODULE_PARTS = {  # Hugging Face, `model.state_dict()` of transformers 5
    "embed": "stages.{stage}.patch_embeddings.proj",
    "embed_norm": "stages.{stage}.patch_embeddings.layer_norm",
    "norm1": "stages.{stage}.blocks.{block}.layernorm_before",
    "query": "stages.{stage}.blocks.{block}.attention.q_proj",
    "key": "stages.{stage}.blocks.{block}.attention.k_proj",
    "value": "stages.{stage}.blocks.{block}.attention.v_proj",
    "reduce": "stages.{stage}.blocks.{block}.attention.sequence_reduction.sequence_reduction",
    "reduce_norm": "stages.{stage}.blocks.{block}.attention.sequence_reduction.layer_norm",
    "project": "stages.{stage}.blocks.{block}.attention.o_proj",
    "norm2": "stages.{stage}.blocks.{block}.layernorm_after",
    "expand": "stages.{stage}.blocks.{block}.mlp.fc1",
    "depthwise": "stages.{stage}.blocks.{block}.mlp.dwconv.dwconv",
    "shrink": "stages.{stage}.blocks.{block}.mlp.fc2",
    "norm": "stages.{stage}.layer_norm",
}
AUTHORS_PARTS = {  # github.com/NVlabs/SegFormer, and projects that took its code over
    "embed": "patch_embed{number}.proj",
    "embed_norm": "patch_embed{number}.norm",
    "norm1": "block{number}.{block}.norm1",
    "query": "block{number}.{block}.attn.q",
    "key": "block{number}.{block}.attn.kv",
    "value": "block{number}.{block}.attn.kv",
    "reduce": "block{number}.{block}.attn.sr",
    "reduce_norm": "block{number}.{block}.attn.norm",
    "project": "block{number}.{block}.attn.proj",
    "norm2": "block{number}.{block}.norm2",
    "expand": "block{number}.{block}.mlp.fc1",
    "depthwise": "block{number}.{block}.mlp.dwconv.dwconv",
    "shrink": "block{number}.{block}.mlp.fc2",
    "norm": "norm{number}",
}
JOINT = {"key": 0, "value": 1}  # the two halves of `kv`
MIX_TRANSFORMER_LAYER = re.compile(r"stage(?P<stage>\d+)(_block(?P<block>\d+))?_(?P<part>\w+)")


def segformer_head(embed: str, fuse: str, fuse_norm: str, classes: str, first: int) -> dict[str, Source]:
    """The all-MLP head. Theirs joins the levels from coarse to fine in front of one convolution, ours sums four."""
    return {
        **{f"head_embed_{level}": Source(embed.format(level - 1 + first)) for level in LEVELS},
        **{f"head_fuse_{level}_conv": Source(fuse, part=4 - level, parts=4, axis=1) for level in LEVELS},
        "head_fuse_bn": Source(fuse_norm),
        "head_classes": Source(classes),
    }


def daformer_head() -> dict[str, Source]:
    """The context-aware head as github.com/lhoyer/DAFormer keeps it, in mmsegmentation's names."""
    head = {f"head_embed_{level}": Source(f"decode_head.embed_layers.{level - 1}.proj") for level in LEVELS}
    fused = "decode_head.fuse_layer"
    modules = {"head_dilation_1": f"{fused}.aspp_modules.0", "head_bottleneck": f"{fused}.bottleneck"}
    for place, dilation in enumerate((6, 12, 18), 1):
        modules[f"head_dilation_{dilation}_depthwise"] = f"{fused}.aspp_modules.{place}.depthwise_conv"
        modules[f"head_dilation_{dilation}"] = f"{fused}.aspp_modules.{place}.pointwise_conv"
    for name, module in modules.items():
        head |= {f"{name}_conv": Source(f"{module}.conv"), f"{name}_bn": Source(f"{module}.bn")}
    return {**head, "head_classes": Source("decode_head.conv_seg")}


HUGGING_FACE_HEADS = {
    "segformer": segformer_head(
        "decode_head.linear_c.{}.proj",
        "decode_head.linear_fuse",
        "decode_head.batch_norm",
        "decode_head.classifier",
        first=0,
    )
}
MODULE_HEADS = {
    "segformer": {
        **HUGGING_FACE_HEADS["segformer"],
        **{f"head_embed_{level}": Source(f"decode_head.linear_projections.{level - 1}.proj") for level in LEVELS},
    }
}
AUTHORS_HEADS = {
    "segformer": segformer_head(
        "decode_head.linear_c{}.proj",
        "decode_head.linear_fuse.conv",
        "decode_head.linear_fuse.bn",
        "decode_head.linear_pred",
        first=1,
    ),
    "daformer": daformer_head(),
}


def mix_transformer(parts: dict[str, str], heads: dict[str, dict[str, Source]]) -> Callable[[str, str], Source | None]:
    def source(network: str, layer: str) -> Source | None:
        found = MIX_TRANSFORMER_LAYER.fullmatch(layer)
        if found is None:
            return heads.get(network.split("_")[0], {}).get(layer)
        part, number = found["part"], int(found["stage"])
        name = parts[part].format(number=number, stage=number - 1, block=int(found["block"] or 1) - 1)
        is_joint = part in JOINT and parts["key"] == parts["value"]
        return Source(name, JOINT[part], 2) if is_joint else Source(name)

    return source


# MobileNetV2 in timm's names: its blocks lie in stages of these lengths; ours are counted through.
MOBILENET_STAGES = (1, 2, 3, 4, 3, 3, 1)
# Of timm's images: RGB / 255, minus the mean, divided by the deviation.
MEAN, DEVIATION = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


def mobilenet_v2_modules() -> dict[str, Source]:
    modules = {"Conv1": "conv_stem", "bn_Conv1": "bn1"}
    places = [(stage, place) for stage, length in enumerate(MOBILENET_STAGES) for place in range(length)]
    for number, (stage, place) in enumerate(places):
        ours, theirs = f"block_{number}" if number else "expanded_conv", f"blocks.{stage}.{place}"
        steps = {"expand": "conv_pw", "depthwise": "conv_dw", "project": "conv_pwl"}
        if number == 0:  # it does not expand
            steps = {"depthwise": "conv_dw", "project": "conv_pw"}
        for norm, (step, module) in enumerate(steps.items(), 1):
            modules |= {f"{ours}_{step}": f"{theirs}.{module}", f"{ours}_{step}_BN": f"{theirs}.bn{norm}"}
    return {layer: Source(module) for layer, module in modules.items()}


MOBILENET_MODULES = mobilenet_v2_modules()


def for_signed_images(tensors: Tensors) -> Tensors:
    """The first convolution for images in [-1, 1] instead of timm's: `(v / 255 - mean) / deviation`.

    With `u = v / 127.5 - 1` that is `u / (2 deviation) + (1 - 2 mean) / (2 deviation)`: a factor for the kernel, and a
    constant that the batch-norm behind it takes off its mean. A first convolution that is not of this kind is left out.
    """
    kernel, mean = tensors.get("conv_stem.weight"), tensors.get("bn1.running_mean")
    if kernel is None or mean is None or kernel.ndim != 4 or kernel.shape[1] != 3:
        return {name: value for name, value in tensors.items() if name != "conv_stem.weight"}
    scaled = kernel / (2 * DEVIATION)[:, None, None]  # [filters, channels of the image, 3, 3]
    constant = (scaled * (1 - 2 * MEAN)[:, None, None]).sum(axis=(1, 2, 3))
    changed = {"conv_stem.weight": scaled, "bn1.running_mean": mean - constant}
    return tensors | {name: value.astype(np.float32) for name, value in changed.items()}


# EfficientNet-Lite as converted from TensorFlow's checkpoints. By part of our layer's name.
LITE_PARTS = {
    "expand_conv": "_expand_conv",
    "expand_bn": "_bn0",
    "depthwise_conv": "_depthwise_conv",
    "depthwise_bn": "_bn1",
    "project_conv": "_project_conv",
    "project_bn": "_bn2",
}
LITE_STEM = {"stem_conv": Source("_conv_stem"), "stem_bn": Source("_bn0")}
LITE_LAYER = re.compile(r"block_(?P<block>\d+)_(?P<part>\w+)")


def efficientnet_lite(network: str, layer: str) -> Source | None:
    found = LITE_LAYER.fullmatch(layer)
    return Source(f"_blocks.{found['block']}.{LITE_PARTS[found['part']]}") if found else LITE_STEM.get(layer)


def resnet_refusal(backbone: str) -> str:
    if backbone.endswith("_v2"):
        return "these normalise behind each convolution, {network} in front of it"
    return (
        "these halve the map in the 3x3 convolution of a stage's first block, {network} in the 1x1 convolution "
        "in front of it, so that the same weights compute something else"
    )


SCHEMES = (
    NamingScheme(
        title="a Mix Transformer in Hugging Face's names",
        backbone="mit_",
        landmark="encoder.patch_embeddings.0.proj.weight",
        source=mix_transformer(PUBLISHED_PARTS, HUGGING_FACE_HEADS),
        block=r"encoder\.block\.\d+\.\d+\.",
    ),
    NamingScheme(
        title="a Mix Transformer in the names of transformers 5",
        backbone="mit_",
        landmark="stages.0.patch_embeddings.proj.weight",
        source=mix_transformer(MODULE_PARTS, MODULE_HEADS),
        block=r"stages\.\d+\.blocks\.\d+\.",
    ),
    NamingScheme(
        title="a Mix Transformer in its authors' names",
        backbone="mit_",
        landmark="patch_embed1.proj.weight",
        source=mix_transformer(AUTHORS_PARTS, AUTHORS_HEADS),
        block=r"block\d+\.\d+\.",
    ),
    NamingScheme(
        title="an EfficientNet or a deeper MobileNetV2 in timm's names",
        backbone="efficientnet_lite",
        landmark="blocks.5.3.conv_dw.weight",  # MobileNetV2 has three blocks there
        refusal=lambda backbone: "an EfficientNet-Lite is read in the names of efficientnet_pytorch alone",
    ),
    NamingScheme(
        title="a MobileNetV2 in timm's names",
        backbone="mobilenet_v2",
        landmark="blocks.0.0.conv_dw.weight",
        source=lambda network, layer: MOBILENET_MODULES.get(layer),
        block=r"blocks\.\d+\.\d+\.",
        adapted=for_signed_images,
        note="The backbone computes what timm's does, but for a grid that lies up to one cell further down and right "
        "where sizes are even, and for the border, where timm pads with its mean colour",
    ),
    NamingScheme(
        title="an EfficientNet-Lite in the names of efficientnet_pytorch",
        backbone="efficientnet_lite",
        landmark="_blocks.0._depthwise_conv.weight",
        source=efficientnet_lite,
        block=r"_blocks\.\d+\.",
        epsilon=1e-3,  # TensorFlow's
    ),
    NamingScheme(
        title="a ResNet in torchvision's and timm's names",
        backbone="resnet",
        landmark="layer1.0.conv1.weight",
        refusal=resnet_refusal,
    ),
)
