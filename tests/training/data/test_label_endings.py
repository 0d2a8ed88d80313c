"""Labels that are called after their image with an ending, and what their numbers mean."""

import re

import numpy as np
import pytest

from tests.training.data.published_layouts import inverted, save, street_label
from training.data import datasets
from training.data.class_maps import CAMVID_32
from training.data.classes import CITYSCAPES_LABEL_IDS, CITYSCAPES_NAMES, IGNORE, LABEL_SPACES
from training.data.label_endings import endings_of, space_of_ending
from training.errors import UserError

CITYSCAPES = LABEL_SPACES["cityscapes19"]


@pytest.mark.parametrize(
    ("images", "labels", "endings"),
    [
        (["a", "b"], ["a", "b"], ("", "")),
        (["a", "b"], ["a_mask", "b_mask"], ("", "_mask")),
        (["a", "a_1"], ["a_mask", "a_1_mask"], ("", "_mask")),
        (["day/a", "night/a"], ["day/a_labelIds", "night/a_labelIds"], ("", "_labelIds")),
        (["a_leftImg8bit"], ["a_gtFine_labelIds", "a_gtFine_color"], ("_leftImg8bit", "_gtFine_labelIds")),
        (["a_rgb_anon"], ["a_gt_labelIds", "a_gt_labelColor"], ("_rgb_anon", "_gt_labelIds")),
        (["a", "b"], ["a-classes", "b-classes"], ("", "-classes")),
        (["1", "12"], ["1", "123"], ("", "")),  # 123 is no label of 12
        (["a", "b"], ["c", "d"], ("", "")),
        (["a", "b"], ["a_x", "b_y"], ("", "")),
        ([], ["a"], ("", "")),
    ],
)
def test_endings(images, labels, endings):
    assert endings_of(images, labels) == endings


@pytest.mark.parametrize("labels", [["a", "a_mask"], ["a_labelIds", "a_labelTrainIds"], ["a_gt", "b_mask"]])
def test_several_kinds_are_refused(labels):
    with pytest.raises(UserError, match=r"several label files for an image .*: leave one kind in labels/"):
        endings_of(["a", "b"], labels)


def test_an_ending_of_idd_and_of_cityscapes_needs_the_classes():
    with pytest.raises(UserError, match="may hold ids of IDD or of Cityscapes"):
        space_of_ending("_labelids", CITYSCAPES)


def test_labels_with_an_ending_are_taken_and_told_of(tmp_path):
    for index in range(3):
        label = street_label(index)
        save(tmp_path / f"images/{index}.jpg", np.zeros((*label.shape, 3), np.uint8))
        save(tmp_path / f"labels/{index}_mask.png", label)
        save(tmp_path / f"labels/{index}_mask_color.png", np.zeros((*label.shape, 3), np.uint8))
    data = datasets.folders(tmp_path, CITYSCAPES)
    assert [(sample.name, sample.label.name) for sample in data.samples] == [
        (f"{i}", f"{i}_mask.png") for i in range(3)
    ]
    np.testing.assert_array_equal(data.read_label(2), street_label(2))
    assert "NAME_mask for the image NAME; 3 other pictures there are not read" in data.notes[0]
    (tmp_path / "labels/1_mask.png").unlink()
    with pytest.raises(UserError, match=r"1 file \(1\.jpg\) .* without a label"):
        datasets.folders(tmp_path, CITYSCAPES)


@pytest.mark.parametrize(
    ("ending", "classes", "numbers"),
    [
        ("_gtFine_labelIds", "cityscapes19", CITYSCAPES_LABEL_IDS),  # 7, road, is not train id 7
        ("_labelIds", "cityscapes19_ids", CITYSCAPES_LABEL_IDS),
        ("_labelIds", "kitti", CITYSCAPES_LABEL_IDS),
        ("_gtFine_labelTrainIds", "cityscapes19_ids", {i: i for i in range(19)}),
        ("_train_id", "cityscapes19", {i: i for i in range(19)}),
        ("_gtFine_labellevel3Ids", "idd", LABEL_SPACES["idd_level3"].raw_ids),
        ("_gtFine_labelids", "idd_level3", LABEL_SPACES["idd"].raw_ids),
        ("_mask", "idd", LABEL_SPACES["idd"].raw_ids),
        ("_labelids", "cityscapes19_ids", CITYSCAPES_LABEL_IDS),
        ("_gt_labelTrainIds", "cityscapes19_ids", {i: i for i in range(19)}),
    ],
)
def test_an_ending_tells_what_the_numbers_mean(tmp_path, ending, classes, numbers):
    label = street_label(3)
    label[np.isin(label, list(numbers.values()), invert=True)] = IGNORE
    void = next((raw for raw, train_id in numbers.items() if train_id == IGNORE), IGNORE)
    written = np.where(label == IGNORE, void, inverted(numbers, label)).astype(np.uint8)
    save(tmp_path / "images/a.png", np.zeros((*label.shape, 3), np.uint8))
    save(tmp_path / f"labels/a{ending}.png", written)
    data = datasets.folders(tmp_path, LABEL_SPACES[classes])
    np.testing.assert_array_equal(data.read_label(0), label)
    told = any(re.search(r"holds numbers of", note) for note in data.notes)
    assert told == (numbers is not CITYSCAPES_LABEL_IDS or classes == "cityscapes19") * (ending != "_mask") * (
        (ending, classes) != ("_train_id", "cityscapes19")
    )


def test_an_own_label_space_is_not_overruled(tmp_path):
    from dataclasses import replace

    own = replace(CITYSCAPES, name="mine")
    save(tmp_path / "images/a.png", np.zeros((4, 4, 3), np.uint8))
    save(tmp_path / "labels/a_labelIds.png", np.full((4, 4), 7, np.uint8))
    assert (datasets.folders(tmp_path, own).read_label(0) == 7).all()


@pytest.mark.parametrize("kind", ["colours", "ids"])
def test_camvid32_holds_colours_or_ids(tmp_path, kind):
    colors = [color for color, _ in CAMVID_32.values()]
    rows = [[color >> 16, color >> 8 & 255, color & 255] for color in colors]
    pixels = np.array([rows] if kind == "colours" else [range(32)], np.uint8)
    save(tmp_path / "images/a.png", np.zeros((1, 32, 3), np.uint8))
    save(tmp_path / f"labels/{'a_L' if kind == 'colours' else 'a_P'}.png", pixels)
    found = datasets.folders(tmp_path, LABEL_SPACES["camvid32"]).read_label(0)[0]
    names = [CITYSCAPES_NAMES[i] if i != IGNORE else None for i in found]
    assert names == [name for _, name in CAMVID_32.values()]
