"""The encoder's levels: which maps they are, and that a network which gives them is still the same network."""

import keras
import numpy as np
import pytest

from models.catalogue import NETWORKS
from models.levels import LEVELS, with_levels
from models.segmenter import build_segmenter

HEIGHT, WIDTH = 64, 96
PICTURE = np.random.default_rng(0).integers(0, 256, (2, HEIGHT, WIDTH, 3)).astype("float32")


@pytest.mark.parametrize(
    "name",
    [
        *("compact", "deeplab_v3plus_mobilenet_v2", "segformer_mit_b0"),
        pytest.param("deeplab_v2_resnet18_v2", marks=pytest.mark.slow),
    ],
)
def test_a_network_with_levels_is_the_same_network_and_so_is_a_clones(name):
    network = build_segmenter(name, 3)
    clone = keras.models.clone_model(network)
    clone.set_weights(network.get_weights())
    whole, of_clone, expected = with_levels(network), with_levels(clone), network(PICTURE)
    assert whole.name == name
    assert {id(weight) for weight in whole.weights} == {id(weight) for weight in network.weights}
    for result in (whole(PICTURE), of_clone(PICTURE)):
        assert set(result) == {"logits", "features", "levels"}
        for key, value in expected.items():
            np.testing.assert_allclose(result[key], value, atol=1e-5)
    for mine, theirs in zip(whole(PICTURE)["levels"], of_clone(PICTURE)["levels"], strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-5)


def test_the_levels_of_a_padded_image_end_where_the_image_ends():
    """Else a cell of a feature map would be compared with the label of another place."""
    network = build_segmenter("compact", 3)
    levels = with_levels(network)(PICTURE[:, :50, :70])["levels"]
    assert [tuple(level.shape[1:3]) for level in levels] == [(13, 18), (7, 9), (4, 5)]


def test_every_backbone_of_the_catalogue_has_levels_and_no_other():
    assert set(LEVELS) == {network.backbone for network in NETWORKS.values()}
