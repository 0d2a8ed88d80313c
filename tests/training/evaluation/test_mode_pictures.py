"""Maps of modes and patches: which classes, pixels and places they show, and that the files are there."""

import numpy as np
from PIL import Image

from training.data.classes import LABEL_SPACES
from training.evaluation.feature_map import PixelFeatures
from training.evaluation.mode_pictures import (
    ModeMoment,
    hardest_classes,
    nearest_class,
    nearest_pixels,
    patch_around,
    write_mode_map,
    write_mode_patches,
)
from training.evaluation.modes_section import modes_part

MODES = np.array([[[0.0, 0], [1, 0]], [[0, 5], [1, 5]], [[9, 9], [8, 9]]])


def pixels(wrong=(0.0, 0.5, 0.1)):
    """100 of each class, at a mode of their own but for a share that is at another class'."""
    features, label = [], np.repeat([0, 1, 2], 100)
    for number, share in enumerate(wrong):
        own, other = MODES[number, 1], MODES[(number + 1) % 3, 0]
        features.append(np.where(np.arange(100)[:, None] < 100 * share, other, own))
    return PixelFeatures(np.concatenate(features), label)


def test_the_hardest_classes_have_the_fewest_pixels_at_their_own_modes():
    assert nearest_class(np.array([[0.9, 4.0], [8.0, 8.0]]), MODES).tolist() == [1, 2]
    assert hardest_classes(pixels(), MODES, count=2) == [1, 2]
    assert hardest_classes(pixels(), MODES, least=101) == []


def test_nearest_pixels_are_of_different_images():
    distances, image = np.array([3.0, 1.0, 2.0, 0.5, 4.0]), np.array([7, 7, 8, 7, 9])
    assert nearest_pixels(distances, image, 2).tolist() == [3, 2]
    assert nearest_pixels(distances, image, 9).tolist() == [3, 2, 4]
    assert nearest_pixels(distances[:0], image[:0], 3).tolist() == []


def test_a_patch_lies_inside_the_picture():
    picture = np.arange(6 * 8 * 3, dtype=np.uint8).reshape(6, 8, 3)
    np.testing.assert_array_equal(patch_around(picture, 3, 4, 2), picture[2:4, 3:5])
    np.testing.assert_array_equal(patch_around(picture, 5, 0, 4), picture[2:6, :4])
    assert patch_around(picture, 0, 0, 50).shape == (6, 6, 3)


def test_both_pictures_are_written(tmp_path):
    moment = ModeMoment({"source": pixels(), "target": pixels().some(20)}, MODES)
    space = LABEL_SPACES["cityscapes19"]
    write_mode_map(tmp_path / "map.png", {"before": moment, "after": moment}, [1, 2], space)
    patch = np.full((8, 8, 3), 200, np.uint8)
    rows = [("car 1", {"source": [patch, patch], "target": []}), ("car 2", {"source": [], "target": [patch]})]
    write_mode_patches(tmp_path / "patches.png", rows)
    write_mode_patches(tmp_path / "none.png", [("car 1", {"source": [patch, patch], "target": []})])
    for name in ("map.png", "patches.png", "none.png"):
        with Image.open(tmp_path / name) as picture:
            assert np.asarray(picture).std() > 1


def test_the_report_tells_how_modes_are_used():
    used, apart = {"road": [0.4, 0.0, 0.6], "train": None}, {"road": [1.234, 0.5], "train": [2.0, None]}
    both = {"source": used, "distances": apart, "moved": {"road": 1}}
    entry = {"title": "Round 1", "modes": {**both, "target": {"road": [0.04, 0.9, 0.06]}}}
    text = "\n".join(modes_part([entry]))
    assert "| road | 40 / 0 / 60 | 4 / 90 / 6 | 1.23 | 0.50 |" in text
    assert "| train | — | — | 2.00 | — |" in text
    assert "that began anew: Round 1: road 1." in text
    assert "on the source: 2 of 3 after round 1." in text
    source = {**both, "moved": {}, "start": {"source": {"road": [0.3, 0.3, 0.4]}, "distances": apart}}
    text = "\n".join(modes_part([entry], source))
    assert "on the source: 3 of 3 after k-means, 2 of 3 after warm-up, 2 of 3 after round 1." in text
    assert "| road | 40 / 0 / 60 | — |" in "\n".join(modes_part([], source))
    assert modes_part([{"title": "Round 1"}]) == []


def test_of_many_modes_a_smaller_share_is_use():
    shares = {"road": [0.03] * 20 + [0.005] * 5 + [0.075] * 5}
    entry = {"title": "Round 1", "modes": {"source": shares, "distances": {"road": [1.0, None]}, "moved": {}}}
    assert "Modes with 1.7 % of their class, on the source: 25 of 30 after round 1." in "\n".join(modes_part([entry]))
