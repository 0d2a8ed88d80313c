"""A data set as a value: a tuple of file pairs, the label space it speaks, and how its label files are decoded."""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np

from training.data.classes import IGNORE, LabelSpace
from training.data.images import read_color_label, read_first_channel, read_id_image, read_image
from training.data.sampling import evenly_spaced
from training.errors import UserError

_UNKNOWN = -1


@dataclass(frozen=True)
class LabelDecoder:
    """How label files become train ids.

    `kind` "ids": one channel of ids; "synthia": ids in channel 0 of a 16-bit PNG; "rgb": colours.
    `lookup`: pairs (id in the file, or colour 0xRRGGBB; train id or IGNORE). 255 in a file of ids means IGNORE.
    `same_size`: label and image must agree in size; pseudo-labels may be smaller.
    """

    kind: Literal["ids", "synthia", "rgb"]
    lookup: tuple[tuple[int, int], ...]
    same_size: bool = True

    @classmethod
    def from_mapping(cls, kind: Literal["ids", "synthia", "rgb"], mapping: Mapping[int, int]) -> "LabelDecoder":
        """A decoder from a mapping file value -> train id."""
        return cls(kind, tuple(sorted(mapping.items())))

    def read(self, path: Path) -> np.ndarray:
        """Train ids uint8 [height, width] of a label file.

        Raises:
            UserError: the file is damaged, or holds values that the lookup does not know (file and values named).
        """
        return self.to_train_ids(path, self.read_raw(path))

    def read_raw(self, path: Path) -> np.ndarray:
        """Integers [height, width] as they stand in a label file (colours packed as 0xRRGGBB)."""
        if self.kind == "rgb":
            return read_color_label(path)
        return read_first_channel(path) if self.kind == "synthia" else read_id_image(path)

    def unknown_values(self, raw: np.ndarray) -> list[int]:
        """Values of `read_raw` that the lookup does not know, in ascending order."""
        known = [value for value, _ in self.lookup] + ([] if self.kind == "rgb" else [IGNORE])
        return np.setdiff1d(raw, known).tolist()

    def to_train_ids(self, path: Path, raw: np.ndarray) -> np.ndarray:
        """What `read_raw` gave for `path`, as train ids uint8 [height, width]; see `read` for the errors."""
        if self.kind == "rgb":
            colors, train_ids = _color_table(self.lookup)
            position = np.minimum(np.searchsorted(colors, raw), len(colors) - 1)
            label, known = train_ids[position], colors[position] == raw
        else:
            label = _id_table(self.lookup)[raw if raw.dtype == np.uint8 else np.clip(raw, 0, 256).astype(np.int32)]
            known = label != _UNKNOWN
        if not known.all():
            raise self._error(path, self.unknown_values(raw))
        return label.astype(np.uint8)

    def _error(self, path: Path, unknown: list[int]) -> UserError:
        values = [f"#{value:06x}" for value in unknown] if self.kind == "rgb" else unknown
        shown = ", ".join(map(str, values[:8])) + (f" and {len(values) - 8} more" if len(values) > 8 else "")
        what = "colours" if self.kind == "rgb" else "ids"
        known = f"the {len(self.lookup)} colours of the data set" if self.kind == "rgb" else _ranges(self.lookup)
        return UserError(
            f"Label {path} holds the {what} {shown}, which this label space does not know (known: {known}): "
            'choose the label space that these files use, or add the ids to "raw_ids" of your own.'
        )


@lru_cache(maxsize=32)
def _id_table(lookup: tuple[tuple[int, int], ...]) -> np.ndarray:
    """int16 [257]: train id, IGNORE, or _UNKNOWN; entry 256 stands for every larger id of a 16-bit file."""
    table = np.full(257, _UNKNOWN, np.int16)
    table[IGNORE] = IGNORE
    for raw, train_id in lookup:
        table[raw] = train_id
    return table


@lru_cache(maxsize=4)
def _color_table(lookup: tuple[tuple[int, int], ...]) -> tuple[np.ndarray, np.ndarray]:
    """Known colours in ascending order, and their train ids."""
    colors, train_ids = zip(*sorted(lookup), strict=True)
    return np.array(colors, np.uint32), np.array(train_ids, np.int16)


def _ranges(lookup: tuple[tuple[int, int], ...]) -> str:
    """'0-10, 255' for the ids of a lookup."""
    ids = sorted({raw for raw, _ in lookup} | {IGNORE})
    starts = [i for i in ids if i - 1 not in ids]
    ends = [i for i in ids if i + 1 not in ids]
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in zip(starts, ends, strict=True))


@dataclass(frozen=True)
class Sample:
    """One image, its label file if there is one, and a name unique in the data set (the stem of what is written)."""

    name: str
    image: Path
    label: Path | None = None


@dataclass(frozen=True)
class Dataset:
    """Samples that speak one label space; nothing is read before `read_image` and `read_label`."""

    name: str
    samples: tuple[Sample, ...] = field(repr=False)
    label_space: LabelSpace = field(repr=False)
    decode: LabelDecoder = field(repr=False)

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def labelled(self) -> bool:
        """Does every sample have a label file?"""
        return all(sample.label is not None for sample in self.samples)

    def read_image(self, index: int) -> np.ndarray:
        """RGB uint8 [height, width, 3] of sample `index`; raises UserError naming a damaged file."""
        return read_image(self.samples[index].image)

    def read_label(self, index: int) -> np.ndarray:
        """Train ids uint8 [height, width] of sample `index`, 255 = ignore.

        Raises:
            UserError: the sample has no label, the file is damaged, or it holds ids outside the label space.
        """
        sample = self.samples[index]
        if sample.label is None:
            raise UserError(f"{sample.image} of data set '{self.name}' has no label: labels were asked for.")
        return self.decode.read(sample.label)

    def read_pair(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Image and label of sample `index`; a sample without label gets one that is all IGNORE.

        Raises:
            UserError: as `read_label`, or image and label differ in size.
        """
        image = self.read_image(index)
        if self.samples[index].label is None:
            return image, np.full(image.shape[:2], IGNORE, np.uint8)
        label = self.read_label(index)
        if self.decode.same_size and label.shape != image.shape[:2]:
            raise wrong_size(self.samples[index], image.shape[:2], label.shape)
        return image, label

    def subset(self, indices: np.ndarray | list[int]) -> "Dataset":
        """The data set of these samples, in this order."""
        return replace(self, samples=tuple(self.samples[int(index)] for index in indices))

    def evenly_spaced(self, most: int) -> "Dataset":
        """Up to `most` of its samples, evenly spaced."""
        return self.subset(evenly_spaced(len(self), most))

    def without_labels(self) -> "Dataset":
        """The same images as an unlabelled target."""
        return replace(self, samples=tuple(replace(sample, label=None) for sample in self.samples))

    def with_label_folder(self, folder: Path) -> "Dataset":
        """The same images with pseudo-labels `folder/<sample name>.png` (train ids, 255 = ignore, any size).

        Raises:
            UserError: some label files are missing.
        """
        samples = tuple(replace(sample, label=Path(folder) / f"{sample.name}.png") for sample in self.samples)
        missing = [sample.label.name for sample in samples if not sample.label.is_file()]
        if missing:
            raise UserError(f"{listing(missing)} missing in {folder}: label the images again.")
        train_ids = {i: i for i in range(self.label_space.count)}
        return replace(
            self, samples=samples, decode=replace(LabelDecoder.from_mapping("ids", train_ids), same_size=False)
        )


def wrong_size(sample: Sample, image_size: tuple[int, int], label_size: tuple[int, int]) -> UserError:
    """The error for an image and a label that do not belong together."""
    return UserError(
        f"Image {sample.image} is {image_size[0]}x{image_size[1]} (height x width) but its label {sample.label} is "
        f"{label_size[0]}x{label_size[1]}: both must have the same size; replace or remove the pair."
    )


def listing(names: list[str], shown: int = 5) -> str:
    """'3 files (a.png, b.png, c.png)', or the first few and how many more."""
    more = f", ... {len(names) - shown} more" if len(names) > shown else ""
    return f"{len(names)} file{'s' * (len(names) != 1)} ({', '.join(names[:shown])}{more})"


def check_no_overlap(target: Dataset, evaluation: Dataset) -> None:
    """Refuse a target list that shares images with the evaluation list: adapting to the test images is no test.

    Two images are the same if they are one file, or if name and content agree.

    Raises:
        UserError: with the names of the shared images.
    """
    evaluated = {os.path.realpath(sample.image) for sample in evaluation.samples}
    by_name: dict[str, list[Path]] = {}
    for sample in evaluation.samples:
        by_name.setdefault(sample.image.name, []).append(sample.image)
    shared = [
        sample.image.name
        for sample in target.samples
        if os.path.realpath(sample.image) in evaluated
        or any(_same_content(sample.image, other) for other in by_name.get(sample.image.name, ()))
    ]
    if shared:
        raise UserError(
            f"The target '{target.name}' shares {listing(shared)} with the evaluation data '{evaluation.name}': "
            "give two disjoint folders, or the score would be of images the model adapted to."
        )


def _same_content(first: Path, second: Path) -> bool:
    try:
        if first.stat().st_size != second.stat().st_size:
            return False
        return _digest(first) == _digest(second)
    except OSError as error:
        raise UserError(f"Cannot read {error.filename}: {error.strerror}.") from error


def _digest(path: Path) -> bytes:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
