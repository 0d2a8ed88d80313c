"""A data set as a value: a tuple of file pairs, its label space, and how its label files are decoded."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np

from training.data.classes import IGNORE, LabelSpace
from training.data.images import read_color_label, read_first_channel, read_id_image, read_image
from training.data.picture_pixels import Range, range_of_files, range_sentence, turned
from training.data.sampling import evenly_spaced
from training.errors import UserError
from training.files.atomic import digest_of
from training.progress import say_once

_UNKNOWN = -1
_TABLES = {np.dtype(np.uint8): 1 << 8, np.dtype(np.uint16): 1 << 16}  # types of so few values that a table holds all


@dataclass(frozen=True)
class LabelDecoder:
    """How label files become train ids.

    `kind` "ids": one channel of ids; "synthia": ids in channel 0 of a 16-bit PNG; "rgb": colours.
    `lookup`: pairs (id in the file, any whole number, or colour 0xRRGGBB; train id or IGNORE). 255 in a file of ids
    means IGNORE where the lookup does not say otherwise; no other number is ignored unasked, nor is one clipped.
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
        return np.setdiff1d(raw, [value for value, _ in self._known]).tolist()

    @property
    def _known(self) -> tuple[tuple[int, int], ...]:
        """The lookup, with what 255 means in a file of ids."""
        return self.lookup if self.kind == "rgb" else tuple(({IGNORE: IGNORE} | dict(self.lookup)).items())

    def to_train_ids(self, path: Path, raw: np.ndarray) -> np.ndarray:
        """What `read_raw` gave for `path`, as train ids uint8 [height, width]; see `read` for the errors."""
        if raw.dtype in _TABLES:
            label = _dense_table(self._known, _TABLES[raw.dtype])[raw]
            known = label != _UNKNOWN
        else:
            values, train_ids = _sorted_table(self._known)
            position = np.minimum(np.searchsorted(values, raw), len(values) - 1)
            label, known = train_ids[position], values[position] == raw
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
            'choose the label space that these files use, or add the ids to "raw_ids" of your own (255 = ignored).'
        )


@lru_cache(maxsize=32)
def _dense_table(lookup: tuple[tuple[int, int], ...], length: int) -> np.ndarray:
    """int16 [length]: the train id, IGNORE or _UNKNOWN of every number below `length`."""
    table = np.full(length, _UNKNOWN, np.int16)
    for raw, train_id in lookup:
        if 0 <= raw < length:
            table[raw] = train_id
    return table


@lru_cache(maxsize=32)
def _sorted_table(lookup: tuple[tuple[int, int], ...]) -> tuple[np.ndarray, np.ndarray]:
    """Known numbers or colours in ascending order, int64, and their train ids."""
    values, train_ids = zip(*sorted(lookup), strict=True)
    return np.array(values, np.int64), np.array(train_ids, np.int16)


def _ranges(lookup: tuple[tuple[int, int], ...]) -> str:
    """'-1, 0-10, 255' for the ids of a lookup."""
    ids = sorted({raw for raw, _ in lookup} | {IGNORE})
    starts = [i for i in ids if i - 1 not in ids or i == 0]
    ends = [i for i in ids if i + 1 not in ids or i == -1]
    pairs = zip(starts, ends, strict=True)
    return ", ".join(str(a) if a == b else f"{a} to {b}" if a < 0 else f"{a}-{b}" for a, b in pairs)


@dataclass(frozen=True)
class Sample:
    """One image, its label file if there is one, and a name unique in the data set (the stem of what is written).

    `label_orientation`: the EXIF orientation by which the label is turned when it is read, as its image is; 1 = not.
    """

    name: str
    image: Path
    label: Path | None = None
    label_orientation: int = 1


@dataclass(frozen=True)
class Dataset:
    """Samples of one label space; nothing is read before `read_image` and `read_label`.

    `sixteen_bit_range`: the values of 16-bit images that become 0 and 255, the same for all; None: their high byte.
    `notes`: sentences on how its files were read and what was left out.
    """

    name: str
    samples: tuple[Sample, ...] = field(repr=False)
    label_space: LabelSpace = field(repr=False)
    decode: LabelDecoder = field(repr=False)
    sixteen_bit_range: Range | None = None
    notes: tuple[str, ...] = field(default=(), repr=False)

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def labelled(self) -> bool:
        """Does every sample have a label file?"""
        return all(sample.label is not None for sample in self.samples)

    def read_image(self, index: int) -> np.ndarray:
        """RGB uint8 [height, width, 3] of sample `index`; raises UserError naming a damaged file."""
        return read_image(self.samples[index].image, self.sixteen_bit_range)

    def read_label(self, index: int) -> np.ndarray:
        """Train ids uint8 [height, width] of sample `index`, 255 = ignore.

        Raises:
            UserError: the sample has no label, the file is damaged, or it holds ids outside the label space.
        """
        sample = self.samples[index]
        if sample.label is None:
            raise UserError(f"{sample.image} of data set '{self.name}' has no label: labels were asked for.")
        return turned(self.decode.read(sample.label), sample.label_orientation)

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

    def with_sixteen_bit_range(self, sixteen_bit_range: Range | None = None) -> "Dataset":
        """The same images, 16-bit ones stretched from this range, or from their own; the latter is told of, once."""
        if sixteen_bit_range is None:
            sixteen_bit_range = range_of_files([sample.image for sample in self.samples])
            if sixteen_bit_range is not None:
                say_once(range_sentence(self.name, sixteen_bit_range))
        return replace(self, sixteen_bit_range=sixteen_bit_range)

    def subset(self, indices: np.ndarray | list[int]) -> "Dataset":
        """The data set of these samples, in this order."""
        return replace(self, samples=tuple(self.samples[int(index)] for index in indices))

    def evenly_spaced(self, most: int) -> "Dataset":
        """Up to `most` of its samples, evenly spaced."""
        return self.subset(evenly_spaced(len(self), most))

    def without_labels(self) -> "Dataset":
        """The same images as an unlabelled target."""
        return replace(self, samples=tuple(Sample(sample.name, sample.image) for sample in self.samples))

    def with_label_folder(self, folder: Path) -> "Dataset":
        """The same images with pseudo-labels `folder/<sample name>.png` (train ids, 255 = ignore, any size).

        Raises:
            UserError: some label files are missing.
        """
        samples = tuple(Sample(each.name, each.image, Path(folder) / f"{each.name}.png") for each in self.samples)
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

    Raises:
        UserError: with the names of the shared images.
    """
    if shared := shared_images(target, evaluation):
        raise UserError(
            f"The target '{target.name}' shares {listing(shared)} with the evaluation data '{evaluation.name}': "
            "give two disjoint folders, or the score would be of images the model adapted to."
        )


def shared_images(first: Dataset, second: Dataset) -> list[str]:
    """Names of the images of `first` that are in `second` too: they are one file, or name and content agree.

    Raises:
        UserError: an image with the name of another cannot be read.
    """
    files = {os.path.realpath(sample.image) for sample in second.samples}
    by_name: dict[str, list[Path]] = {}
    for sample in second.samples:
        by_name.setdefault(sample.image.name, []).append(sample.image)
    return [
        sample.image.name
        for sample in first.samples
        if os.path.realpath(sample.image) in files
        or any(_same_content(sample.image, other) for other in by_name.get(sample.image.name, ()))
    ]


def _same_content(first: Path, second: Path) -> bool:
    try:
        if first.stat().st_size != second.stat().st_size:
            return False
        return digest_of(first) == digest_of(second)
    except OSError as error:
        raise UserError(f"Cannot read {error.filename}: {error.strerror}.") from error
