"""Frames: what they are made of, that they repeat, and that every class is there, rare ones rarely."""

import hashlib

import cv2
import numpy as np
import pytest

from training.data.streetsim import STYLES, noise, render
from training.data.streetsim.camera import Camera
from training.data.streetsim.frames import split_seed
from training.data.streetsim.road import Junction, Road, Side, kerb_distance

ROAD, BUILDING, VEGETATION, SKY, TRAIN = 0, 2, 8, 10, 16
SMALL = (64, 128)


def digest(style: str, seed: int, index: int, size=SMALL) -> str:
    image, label = render(STYLES[style], seed, index, size)
    return hashlib.sha256(image.tobytes() + label.tobytes()).hexdigest()


def test_there_are_the_four_styles_and_names_match():
    assert set(STYLES) == {"game", "city", "dusk", "random"}
    assert all(style.name == name for name, style in STYLES.items())


@pytest.mark.parametrize("style", sorted(STYLES))
@pytest.mark.parametrize("size", [SMALL, (97, 131), (120, 160)])
def test_shapes_and_values(style, size):
    image, label = render(STYLES[style], 3, 1, size)
    assert image.shape == (*size, 3)
    assert label.shape == size
    assert image.dtype == label.dtype == np.uint8
    assert set(np.unique(label)) <= {*range(19), 255}
    assert (label == 255).mean() < 0.15
    assert image.std() > 8


def test_a_frame_depends_on_style_seed_and_index_alone():
    first = digest("random", 5, 7)
    render(STYLES["dusk"], 1, 1, SMALL)
    np.random.default_rng(0).random()
    assert digest("random", 5, 7) == first
    others = {digest("random", 5, 8), digest("random", 6, 7), digest("city", 5, 7)}
    assert first not in others
    assert len(others) == 3


def test_another_size_shows_the_same_street():
    _, small = render(STYLES["game"], 2, 4, SMALL)
    _, large = render(STYLES["game"], 2, 4, (128, 256))
    shrunk = cv2.resize(large, SMALL[::-1], interpolation=cv2.INTER_NEAREST)
    assert (small == shrunk).mean() > 0.85


@pytest.mark.parametrize("style", [pytest.param("game", marks=pytest.mark.slow), "city"])
def test_every_class_occurs_in_the_validation_split_and_the_tail_is_long(style):
    counts = np.zeros(256, np.int64)
    for index in range(100):
        label = render(STYLES[style], split_seed(0, "val"), index, SMALL)[1]
        counts += np.bincount(label.ravel(), minlength=256)
        if index >= 39 and (counts[:19] >= 40).all():  # 40 pixels here are 160 at 128 x 256
            break
    assert (counts[:19] >= 40).all(), f"pixels a class: {counts[:19].tolist()}"
    share = counts[:19] / counts[:19].sum()
    assert share[[ROAD, BUILDING, VEGETATION, SKY]].sum() > 0.6
    assert (share < 0.02).sum() >= 7
    assert share[TRAIN] < 0.03


def test_the_horizon_lies_where_a_dash_camera_has_it():
    for index in range(6):
        label = render(STYLES["city"], 11, index, SMALL)[1]
        rows = np.arange(SMALL[0])[:, None]
        assert (rows * (label == ROAD)).sum() / (label == ROAD).sum() > 0.6 * SMALL[0]
        assert (label[: SMALL[0] // 4] != ROAD).all()


def test_kerbs_and_crossing_streets():
    side = Side(parking=0.0, verge=0.0, sidewalk=2.0, yard="paved")
    road = Road(
        3.0, (1, 1), (side, side), 0.0, 0.0, (Junction(20.0, 4.0, False, True),), (), False, False, "none", False
    )
    u, z = np.array([0.0, 2.0, 4.0, -4.0, 30.0, -30.0]), np.array([5.0, 5.0, 5.0, 20.0, 20.0, 20.0])
    distance = kerb_distance(road, u, z)
    np.testing.assert_allclose(distance[:4], [-3.0, -1.0, 1.0, 1.0])
    assert distance[4] < 0 < distance[5]


@pytest.mark.parametrize("name", ["brick", "foliage", "soft", "asphalt"])
def test_textures_are_neutral_seamless_and_of_the_size_asked(name):
    tile = noise.tile(name).astype(np.float32)
    assert 110 < tile.mean() < 146
    inside = np.abs(np.diff(tile, axis=1)).mean()
    assert np.abs(tile[:, 0] - tile[:, -1]).mean() < 3 * inside + 4
    rng = np.random.default_rng(1)
    for size, scale in (((5, 900), 1.0), ((40, 30), 0.05), ((700, 20), 3.0)):
        assert noise.crop(name, rng, size, scale).shape == size


def test_roughen_with_no_strength_changes_nothing():
    image = np.random.default_rng(2).integers(0, 256, (6, 7, 3), dtype=np.uint8)
    same = image.copy()
    noise.roughen(same, noise.tile("brick")[:6, :7], strength=0.0)
    np.testing.assert_array_equal(same, image)


def test_shrinking_a_camera_keeps_the_view():
    camera = Camera((120, 160), 140.0, 1.4, pitch=0.05)
    point = np.array([(2.0, 1.0, 12.0)])
    np.testing.assert_allclose(camera.shrunk(2).project(point)[0] * 2, camera.project(point)[0])
