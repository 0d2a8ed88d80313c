"""Which networks of the catalogue tests build whole: one of each kind."""

import pytest

from models.catalogue import NETWORKS

# Mix Transformers from B1 on have more channels and blocks of what B0 has, EfficientNet-Lite2 of what Lite0 has.
LARGER_TRANSFORMERS = tuple(name for name in NETWORKS if "_mit_b" in name and not name.endswith("_mit_b0"))
KINDS = tuple(name for name in NETWORKS if name not in (*LARGER_TRANSFORMERS, "deeplab_v3plus_efficientnet_lite2"))


def each_kind(quick) -> list:
    """Parameters of a test: every kind, those not in `quick` nightly."""
    return [name if name in quick else pytest.param(name, marks=pytest.mark.slow) for name in KINDS]


# ResNet-50 has fewer blocks of what ResNet-101 has; daformer_resnet101 joins what two other networks have; the largest.
NIGHTLY = ("deeplab_v2_resnet50", "daformer_resnet50", "daformer_resnet101", "wide_resnet38")
EACH_KIND = each_kind([name for name in KINDS if name not in NIGHTLY])
# Small ones: each kind of layer, head and normalisation.
SMALL = (
    *("compact", "deeplab_v2_mobilenet_v2_035", "deeplab_v2_resnet18_v2"),
    *("daformer_mobilenet_v2", "segformer_mit_b0"),
)
