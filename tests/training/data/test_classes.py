"""The label spaces are as their authors define them, and a user's own file is checked."""

import json

import numpy as np
import pytest

from training.data.classes import CITYSCAPES_LABEL_IDS, CITYSCAPES_NAMES, IGNORE, LABEL_SPACES, load_label_space
from training.errors import UserError


def test_cityscapes_label_ids_are_paired_by_name():
    official = {7: 0, 8: 1, 11: 2, 12: 3, 13: 4, 17: 5, 19: 6, 20: 7, 21: 8, 22: 9, 23: 10, 24: 11, 25: 12, 26: 13,
                27: 14, 28: 15, 31: 16, 32: 17, 33: 18}  # fmt: skip
    assert {raw: i for raw, i in CITYSCAPES_LABEL_IDS.items() if i != IGNORE} == official
    assert sorted(CITYSCAPES_LABEL_IDS) == list(range(35))


@pytest.mark.parametrize("space", LABEL_SPACES.values(), ids=LABEL_SPACES)
def test_space_is_complete_and_consistent(space):
    assert len(space.colors) == len(set(space.names)) == space.count
    assert len(space.from_cityscapes) == 19
    assert {i for i in space.from_cityscapes if i != IGNORE} == set(range(space.count))  # every class can be taught
    assert next(iter(space.class_sets.values())) == tuple(range(space.count))


@pytest.mark.parametrize("name", ["cityscapes19", "synthia16", "cross_city13"])
def test_subsets_keep_the_cityscapes_names(name):
    space = LABEL_SPACES[name]
    for cityscapes_id, own_id in enumerate(space.from_cityscapes):
        assert own_id == IGNORE or space.names[own_id] == CITYSCAPES_NAMES[cityscapes_id]


def test_synthia_reports_16_and_13_classes():
    space = LABEL_SPACES["synthia16"]
    assert [len(ids) for ids in space.class_sets.values()] == [16, 13]
    left_out = set(range(16)) - set(space.class_sets["13"])
    assert {space.names[i] for i in left_out} == {"wall", "fence", "pole"}


def test_camvid_groups_cityscapes_classes():
    expected = {10: 0, 2: 1, 3: 1, 5: 2, 0: 3, 1: 4, 8: 5, 9: 5, 6: 6, 7: 6, 4: 7, 13: 8, 14: 8, 15: 8, 16: 8, 11: 9,
                12: 10, 17: 10, 18: 10}  # fmt: skip
    space = LABEL_SPACES["camvid11"]
    assert dict(enumerate(space.from_cityscapes)) == expected
    assert space.raw_ids[11] == IGNORE
    assert space.raw_ids[10] == 10


def test_robotcar_groups_cityscapes_classes():
    expected = {0: 8, 1: 7, 2: 6, 6: 5, 7: 4, 10: 0, 11: 1, 12: 1, 13: 3, 14: 3, 15: 3, 17: 2, 18: 2}
    space = LABEL_SPACES["robotcar9"]
    assert {i: own for i, own in enumerate(space.from_cityscapes) if own != IGNORE} == expected


def test_colorize():
    space = LABEL_SPACES["cityscapes19"]
    label = np.array([[0, 13], [IGNORE, 18]], np.uint8)
    assert space.colorize(label).tolist() == [[[128, 64, 128], [0, 0, 142]], [[0, 0, 0], [119, 11, 32]]]


def test_own_space_from_json(tmp_path):
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({"name": "mine", "names": ["road", "rest"], "raw_ids": {"7": 0, "9": 255}}))
    space = load_label_space(path)
    assert (space.name, space.count, space.raw_ids) == ("mine", 2, {7: 0, 9: IGNORE})
    assert space.from_cityscapes == (0,) + (IGNORE,) * 18  # paired by name
    assert len(set(space.colors)) == 2
    assert space.class_sets == {"2": (0, 1)}


@pytest.mark.parametrize(
    ("space", "names"),
    [
        ("camvid11", ["sign", "car", "pedestrian", "bicyclist"]),
        ("robotcar9", ["person", "two-wheel", "vehicle", "traffic sign", "traffic light"]),
        ("synthia16", ["traffic light", "traffic sign", "person", "rider", "car", "bus", "motorcycle", "bicycle"]),
    ],
)
def test_things_are_paired_with_those_of_cityscapes(space, names):
    space = LABEL_SPACES[space]
    assert [space.names[thing] for thing in space.things] == names


def test_things_of_an_own_space_are_those_named_or_paired_or_all(tmp_path):
    def things(**content):
        path = tmp_path / "mine.json"
        path.write_text(json.dumps({"name": "mine", "names": ["yard", "crane", "car"], **content}))
        return load_label_space(path).things

    assert things() == (2,)
    assert things(things=["crane"]) == (1,)
    assert things(things=["car", "crane", "car"]) == (1, 2)
    assert things(names=["yard", "crane"]) == (0, 1)
    with pytest.raises(UserError, match="a list of some of the class names"):
        things(things=["bus"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "damaged or no JSON"),
        ("[1]", "a JSON object"),
        ({"names": []}, "1 to 254 different"),
        ({"names": ["a", "a"]}, "1 to 254 different"),
        ({"names": ["a"], "colours": []}, "unknown key 'colours'"),
        ({"names": ["a"], "colors": [[0, 0]]}, "1 triples"),
        ({"names": ["a"], "raw_ids": {"7": 1}}, "raw_ids"),
        ({"names": ["a"], "raw_ids": {"x": 0}}, "raw_ids"),
        ({"names": ["a"], "raw_ids": [0]}, "raw_ids"),
        ({"names": ["a"], "from_cityscapes": [0] * 18}, "19 numbers"),
        ({"names": ["a"], "class_sets": {"some": [3]}}, "class_sets"),
        ({"names": ["a"], "things": "a"}, "things"),
        ({"names": ["a"], "things": []}, "things"),
        ({"names": ["a"], "things": [0]}, "things"),
    ],
)
def test_contradictory_space_is_refused(tmp_path, content, message):
    path = tmp_path / "mine.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(UserError, match=message):
        load_label_space(path)


def test_unknown_and_missing_space():
    with pytest.raises(UserError, match="choose cityscapes19, synthia16"):
        load_label_space("citiscapes")
    with pytest.raises(UserError, match="No such file"):
        load_label_space("nowhere/my.json")


NUMBERED = {  # ids as their tools write them, of one class each that the tables could confuse
    "cityscapes19_ids": {7: "road", 0: None, 33: "bicycle", 34: None},
    "kitti": {7: "road", 26: "car", 29: None},
    "mapillary_v1.2": {13: "road", 41: "road", 2: "sidewalk", 50: "traffic sign", 49: None, 58: "train", 65: None},
    "idd": {0: "road", 2: None, 5: "terrain", 7: None, 12: "car", 17: "train", 26: "pole", 33: "sky", 39: None},
    "idd_level3": {0: "road", 1: None, 3: "terrain", 9: "car", 12: None, 20: "pole", 25: "sky"},
    "camvid32": {0: None, 2: "rider", 17: "road", 27: None, 30: None, 31: "wall"},
}


@pytest.mark.parametrize("name", NUMBERED)
def test_published_numbers_of_the_19_classes(name):
    space = load_label_space(name)
    assert (space.names, space.count) == (CITYSCAPES_NAMES, 19)
    counts = {"cityscapes19_ids": 35, "kitti": 35, "mapillary_v1.2": 66, "idd": 40, "idd_level3": 26, "camvid32": 32}
    assert sorted(space.raw_ids) == list(range(counts[name]))
    for raw, expected in NUMBERED[name].items():
        train_id = space.raw_ids[raw]
        assert (None if train_id == IGNORE else CITYSCAPES_NAMES[train_id]) == expected, raw
    unnamed = {"idd_level3": {"train"}, "idd": set()}.get(name, set())
    unnamed |= {"terrain", "truck", "bus", "bicycle"} if name == "camvid32" else set()
    assert {CITYSCAPES_NAMES[i] for i in range(19)} - {
        CITYSCAPES_NAMES[i] for i in space.raw_ids.values() if i < 19
    } == (unnamed)


def test_each_level_of_idd_is_one_of_the_classes_that_it_merges():
    """level3Id of the ids 0 to 34, from the tools of the data set."""
    levels = [0, 1, 1, 2, 3, 3, 4, 4, 5, 6, 7, 8, 9, 10, 11, 12, 12, 12, 12, 13, 14, 15, 16, 17, 18, 19, 20, 20, 21,
              22, 23, 23, 24, 25, 25]  # fmt: skip
    by_id, by_level = (load_label_space(name).raw_ids for name in ("idd", "idd_level3"))
    for level in range(26):
        assert by_level[level] in {by_id[raw] for raw, each in enumerate(levels) if each == level}


def test_camvid32_agrees_in_ids_and_colours():
    space = load_label_space("camvid32")
    assert list(space.raw_colors.values()) == list(space.raw_ids.values())
    assert space.raw_colors[0x804080] == CITYSCAPES_NAMES.index("road")
