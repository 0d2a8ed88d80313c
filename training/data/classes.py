"""Label spaces: which classes a network tells apart, their colours, and how other data sets' ids map onto them.

NumPy only: the exported model's helpers and the web page import this module without TensorFlow.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from training.data.class_maps import CAMVID_32, IDD, IDD_LEVEL3, MAPILLARY_12
from training.errors import UserError
from training.files.reading import read_json

MOST_BYTES = 1 << 20  # of a label space file
LONGEST_NAME = 80  # characters, of a class or label space: it stands in tables and charts
IGNORE = 255
LEAST_RAW_ID, MOST_RAW_ID = -(2**31), 2**32 - 1  # what a label file of up to 32 bits a pixel can hold
MOST_FILE_ID = 2**16 - 1  # what a PNG of one channel can hold
OUTSIDE = 254  # of an augmented label: beyond the frame, where there is no picture to say anything of

CITYSCAPES_NAMES = (
    "road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign", "vegetation", "terrain",
    "sky", "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle",
)  # fmt: skip
CITYSCAPES_THINGS = (6, 7, *range(11, 19))
CITYSCAPES_COLORS = (
    (128, 64, 128), (244, 35, 232), (70, 70, 70), (102, 102, 156), (190, 153, 153), (153, 153, 153), (250, 170, 30),
    (220, 220, 0), (107, 142, 35), (152, 251, 152), (70, 130, 180), (220, 20, 60), (255, 0, 0), (0, 0, 142),
    (0, 0, 70), (0, 60, 100), (0, 80, 100), (0, 0, 230), (119, 11, 32),
)  # fmt: skip

# Name of every labelID of the Cityscapes annotation; GTA5 and NTHU Cross-City label files use the same numbers.
CITYSCAPES_LABEL_NAMES = (
    "unlabeled", "ego vehicle", "rectification border", "out of roi", "static", "dynamic", "ground", "road",
    "sidewalk", "parking", "rail track", "building", "wall", "fence", "guard rail", "bridge", "tunnel", "pole",
    "polegroup", "traffic light", "traffic sign", "vegetation", "terrain", "sky", "person", "rider", "car", "truck",
    "bus", "caravan", "trailer", "train", "motorcycle", "bicycle", "license plate",
)  # fmt: skip
CITYSCAPES_LABEL_IDS: Mapping[int, int] = {
    label_id: CITYSCAPES_NAMES.index(name) if name in CITYSCAPES_NAMES else IGNORE
    for label_id, name in enumerate(CITYSCAPES_LABEL_NAMES)
}
"""Cityscapes labelID (0-34) -> Cityscapes train id or IGNORE, paired by class name."""


@dataclass(frozen=True)
class LabelSpace:
    """The classes of a network: train id `i` has name `names[i]` and colour `colors[i]`.

    `from_cityscapes[t]` is this space's id of Cityscapes train id `t`, or IGNORE. `raw_ids` maps the numbers in the
    label files of a `folders` data set, any whole numbers, to train ids (None: the files hold train ids), `raw_colors`
    the colours 0xRRGGBB of label files that hold some. `class_sets` names the subsets whose mean IoU is reported; the
    first holds every class. `own_things`: ids that a file names as things, see `things`.
    """

    name: str
    names: tuple[str, ...]
    colors: tuple[tuple[int, int, int], ...]
    from_cityscapes: tuple[int, ...]
    raw_ids: Mapping[int, int] | None = field(default=None, hash=False)
    class_sets: Mapping[str, tuple[int, ...]] = field(default_factory=dict, hash=False)
    raw_colors: Mapping[int, int] | None = field(default=None, hash=False)
    own_things: tuple[int, ...] | None = None

    @property
    def things(self) -> tuple[int, ...]:
        """Ids of the classes of countable objects: those named, else those of Cityscapes' objects; of all if none are.

        DAFormer (CVPR 2022) counts traffic lights, signs, persons and vehicles among them.
        """
        paired = sorted({self.from_cityscapes[i] for i in CITYSCAPES_THINGS} - {IGNORE})
        return self.own_things or tuple(paired) or tuple(range(self.count))

    @property
    def count(self) -> int:
        """Number of classes."""
        return len(self.names)

    @property
    def file_ids(self) -> tuple[int, ...]:
        """By train id the number that a label file has for it, 0..65535: the least of several.

        IGNORE for a class that no such number stands for. Without raw ids it is the train id.
        """
        raw_ids = self.raw_ids or {i: i for i in range(self.count)}
        numbers = {raw_ids[raw]: raw for raw in sorted(raw_ids, reverse=True) if 0 <= raw <= MOST_FILE_ID}
        return tuple(numbers.get(i, IGNORE) for i in range(self.count))

    def colorize(self, labels: np.ndarray) -> np.ndarray:
        """Train ids uint8 [...] -> RGB uint8 [..., 3]; IGNORE and ids outside the space become black."""
        palette = np.zeros((256, 3), np.uint8)
        palette[: self.count] = self.colors
        return palette[labels]


def _subset(name: str, cityscapes_ids: tuple[int, ...], class_sets: Mapping[str, tuple[int, ...]]) -> LabelSpace:
    """A space made of some Cityscapes classes, numbered in the given order."""
    return LabelSpace(
        name=name,
        names=tuple(CITYSCAPES_NAMES[i] for i in cityscapes_ids),
        colors=tuple(CITYSCAPES_COLORS[i] for i in cityscapes_ids),
        from_cityscapes=tuple(cityscapes_ids.index(i) if i in cityscapes_ids else IGNORE for i in range(19)),
        class_sets=class_sets,
    )


_SYNTHIA_16 = (0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12, 13, 15, 17, 18)  # without terrain, truck, train
_CROSS_CITY_13 = (0, 1, 2, 6, 7, 8, 10, 11, 12, 13, 15, 17, 18)

# CamVid's 32 classes in the grouping of the SegNet authors (Badrinarayanan et al. 2017).
_CAMVID_11 = LabelSpace(
    name="camvid11",
    names=(
        "sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian", "bicyclist",
    ),
    colors=(
        (128, 128, 128), (128, 0, 0), (192, 192, 128), (128, 64, 128), (60, 40, 222), (128, 128, 0), (192, 128, 128),
        (64, 64, 128), (64, 0, 128), (64, 64, 0), (0, 128, 192),
    ),
    from_cityscapes=(3, 4, 1, 1, 7, 2, 6, 6, 5, 5, 0, 9, 10, 8, 8, 8, 8, 10, 10),
    raw_ids={**{i: i for i in range(11)}, 11: IGNORE},
    class_sets={"11": tuple(range(11))},
)  # fmt: skip

# Cityscapes -> Oxford RobotCar with 9 classes, as HIAST and MRNet use it; trains have no counterpart there.
_ROBOTCAR_9 = LabelSpace(
    name="robotcar9",
    names=(
        "sky", "person", "two-wheel", "vehicle", "traffic sign", "traffic light", "building", "sidewalk", "road",
    ),
    colors=tuple(CITYSCAPES_COLORS[i] for i in (10, 11, 18, 13, 7, 6, 2, 1, 0)),
    from_cityscapes=(
        8, 7, 6, IGNORE, IGNORE, IGNORE, 5, 4, IGNORE, IGNORE, 0, 1, 1, 3, 3, 3, IGNORE, 2, 2,
    ),
    class_sets={"9": tuple(range(9))},
)  # fmt: skip


def _numbered(name: str, cityscapes_names: Iterable[str | None], colors: Iterable[int] | None = None) -> LabelSpace:
    """The 19 Cityscapes classes, in label files with other ids: that of each one's Cityscapes class, in their order."""
    train_ids = [IGNORE if each is None else CITYSCAPES_NAMES.index(each) for each in cityscapes_names]
    space = _subset(name, tuple(range(19)), {"19": tuple(range(19))})
    raw_colors = None if colors is None else dict(zip(colors, train_ids, strict=True))
    return replace(space, raw_ids=dict(enumerate(train_ids)), raw_colors=raw_colors)


_CITYSCAPES_BY_ID = [name if name in CITYSCAPES_NAMES else None for name in CITYSCAPES_LABEL_NAMES]

LABEL_SPACES: dict[str, LabelSpace] = {
    space.name: space
    for space in (
        _subset("cityscapes19", tuple(range(19)), {"19": tuple(range(19))}),
        _subset(
            "synthia16", _SYNTHIA_16, {"16": tuple(range(16)), "13": tuple(i for i in range(16) if i not in (3, 4, 5))}
        ),
        _subset("cross_city13", _CROSS_CITY_13, {"13": tuple(range(13))}),
        _ROBOTCAR_9,
        _CAMVID_11,
        _numbered("cityscapes19_ids", _CITYSCAPES_BY_ID),
        _numbered("kitti", _CITYSCAPES_BY_ID),  # KITTI semantics (Alhaija et al. 2018) has the ids of Cityscapes
        _numbered("mapillary_v1.2", (name for _, name in MAPILLARY_12)),
        _numbered("idd", (name for _, name in IDD)),
        _numbered("idd_level3", map(dict(IDD).get, IDD_LEVEL3)),
        _numbered("camvid32", (name for _, name in CAMVID_32.values()), (color for color, _ in CAMVID_32.values())),
    )
}


def load_label_space(name_or_json_path: str | Path) -> LabelSpace:
    """A built-in label space by name, or the user's own from a JSON file.

    The file holds {"name", "names", "colors"} and, if wanted, "raw_ids", "from_cityscapes" (19 ids, 255 = no such
    class; without it classes are paired by name), "class_sets" and "things" (names of the classes of countable
    objects).

    Raises:
        UserError: unknown name, unreadable file, or contents that contradict each other.
    """
    if str(name_or_json_path) in LABEL_SPACES:
        return LABEL_SPACES[str(name_or_json_path)]
    path = Path(name_or_json_path)
    if path.suffix != ".json":
        raise UserError(
            f"Unknown label space '{name_or_json_path}': choose {', '.join(LABEL_SPACES)}, "
            "or give the path of a .json file."
        )
    return _parse_label_space(path, read_json(path, MOST_BYTES))


def own_label_space(name_or_json_path: str | Path) -> dict | None:
    """What the user's file of a label space holds, with its name; None for a built-in one. UserError as above."""
    space = load_label_space(name_or_json_path)
    if str(name_or_json_path) in LABEL_SPACES:
        return None
    return {"name": space.name, **read_json(Path(name_or_json_path), MOST_BYTES)}


def _parse_label_space(path: Path, content: dict) -> LabelSpace:
    known = {"name", "names", "colors", "raw_ids", "from_cityscapes", "class_sets", "things"}
    if unknown := sorted(set(content) - known):
        raise UserError(f"{path} has the unknown key {unknown[0]!r}: a label space knows {', '.join(sorted(known))}.")
    names = _string_list(path, content.get("names"))
    raw_ids = content.get("raw_ids")
    return LabelSpace(
        name=_name(path, content.get("name", path.stem)),
        names=names,
        colors=_colors(path, content.get("colors"), len(names)),
        from_cityscapes=_from_cityscapes(path, content.get("from_cityscapes"), names),
        raw_ids=None if raw_ids is None else _raw_ids(path, raw_ids, len(names)),
        class_sets=_class_sets(path, content.get("class_sets"), len(names)),
        own_things=_things(path, content.get("things"), names),
    )


def _name(path: Path, name: object) -> str:
    if not _is_name(name):
        raise UserError(f'"name" in {path} must be a text of 1 to {LONGEST_NAME} printable characters.')
    return name


def _is_name(name: object) -> bool:
    return isinstance(name, str) and 0 < len(name) <= LONGEST_NAME and name.isprintable()


def _string_list(path: Path, names: object) -> tuple[str, ...]:
    valid = isinstance(names, list) and 0 < len(names) <= 254 and all(map(_is_name, names))
    if not valid or len(set(names)) != len(names):
        raise UserError(
            f'"names" in {path} must be a list of 1 to 254 different class names of at most {LONGEST_NAME} printable '
            "characters."
        )
    return tuple(names)


def _colors(path: Path, colors: object, count: int) -> tuple[tuple[int, int, int], ...]:
    """The file's colours, or well separated ones when it has none."""
    if colors is None:
        hues = np.arange(count) * 0.61803398875 % 1.0  # golden-ratio steps keep neighbours apart
        wheel = np.clip(np.abs((hues[:, None] * 6 + np.array([0, 4, 2])) % 6 - 3) - 1, 0, 1)
        return tuple(tuple(int(value) for value in row) for row in 40 + 200 * wheel)
    valid = isinstance(colors, list) and len(colors) == count and all(_is_ids(c, 3, 256) for c in colors)
    if not valid:
        raise UserError(f'"colors" in {path} must hold {count} triples [red, green, blue] of 0-255, one for each name.')
    return tuple(tuple(color) for color in colors)


def _is_ids(values: object, length: int, below: int) -> bool:
    """Is it a list of `length` integers, each 0 <= value < below or IGNORE?"""
    return (
        isinstance(values, list)
        and len(values) == length
        and all(type(value) is int and (0 <= value < below or value == IGNORE) for value in values)
    )


def _from_cityscapes(path: Path, ids: object, names: tuple[str, ...]) -> tuple[int, ...]:
    if ids is None:
        return tuple(names.index(name) if name in names else IGNORE for name in CITYSCAPES_NAMES)
    if not _is_ids(ids, 19, len(names)):
        raise UserError(
            f'"from_cityscapes" in {path} must hold 19 numbers: for every Cityscapes train id the class here '
            f"(0-{len(names) - 1}), or 255 where there is none."
        )
    return tuple(ids)


def _things(path: Path, things: object, names: tuple[str, ...]) -> tuple[int, ...] | None:
    if things is None:
        return None
    if not isinstance(things, list) or not things or not all(thing in names for thing in things):
        raise UserError(f'"things" in {path} must be a list of some of the class names, such as ["{names[-1]}"].')
    return tuple(sorted({names.index(thing) for thing in things}))


def _raw_ids(path: Path, raw_ids: object, count: int) -> dict[int, int]:
    try:
        table = {int(raw): train_id for raw, train_id in raw_ids.items()}
    except (AttributeError, ValueError):
        table = {}
    valid = all(LEAST_RAW_ID <= raw <= MOST_RAW_ID for raw in table)
    if not table or not valid or not _is_ids(list(table.values()), len(table), count):
        raise UserError(
            f'"raw_ids" in {path} must map the whole numbers in the label files, from {LEAST_RAW_ID} to {MOST_RAW_ID}, '
            f'to classes 0-{count - 1} or 255 (ignored), for example {{"7": 0, "8": 1, "-1": 255}}.'
        )
    return table


def _class_sets(path: Path, class_sets: object, count: int) -> dict[str, tuple[int, ...]]:
    everything = {str(count): tuple(range(count))}
    if class_sets is None:
        return everything
    valid = isinstance(class_sets, dict) and all(
        _is_name(name) and isinstance(ids, list) and _is_ids(ids, len(ids), count) and 0 < len(ids) == len({*ids})
        for name, ids in class_sets.items()
    )
    valid = valid and not any(IGNORE in ids for ids in class_sets.values())
    if not valid:
        raise UserError(f'"class_sets" in {path} must map a name to a list of different classes 0-{count - 1}.')
    return everything | {name: tuple(ids) for name, ids in class_sets.items()}
