"""Which networks of the catalogue tests build whole: one of each kind."""

import pytest

from models.catalogue import NETWORKS

# Mix Transformers from B1 on have more channels and blocks of what B0 has, EfficientNet-Lite2 of what Lite0 has.
LARGER_TRANSFORMERS = tuple(name for name in NETWORKS if "_mit_b" in name and not name.endswith("_mit_b0"))
KINDS = tuple(name for name in NETWORKS if name not in (*LARGER_TRANSFORMERS, "deeplab_v3plus_efficientnet_lite2"))

# ResNet-50 has fewer blocks of what ResNet-101 has: nightly.
EACH_KIND = [pytest.param(name, marks=pytest.mark.slow) if "resnet50" in name else name for name in KINDS]
