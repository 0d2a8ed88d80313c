"""A source whose images somebody has translated already, such as the sets that BDL and CyCADA publish: pictures with
the names of the source's, and the source's labels."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np

from training.data.input_pipeline import TrainingStream, load_frame
from training.data.readers import existing_folder, image_files
from training.data.readers_folders import by_name
from training.data.samples import Dataset, Sample, listing
from training.data.sampling import SampleOrder, position_uniform
from training.errors import UserError

_PURPOSE = 0x5452  # keeps these random numbers apart from others of the same seed and position


def translated_samples(source: Dataset, root: Path) -> tuple[Sample, ...]:
    """The source's samples with the pictures below `root` in place of their images, in the same order.

    They belong together by stem if stems are unique on both sides, else by the path below the folder that all images
    of the source are in; the suffix may be another. Pictures that belong to none are not used.

    Raises:
        UserError: there is no such folder, or images without a translated one, counted and the first few named.
    """
    existing_folder(root, "the folder of the translated images, with the names of the source's")
    images, found = [sample.image for sample in source.samples], image_files(root)
    images_root = Path(os.path.commonpath([image.parent for image in images]))
    by_stem = all(len({file.stem for file in files}) == len(files) for files in (images, found))
    translated = by_name(root, found, by_stem)
    keys = by_name(images_root, images, by_stem)
    missing = [str(image.relative_to(images_root)) for key, image in keys.items() if key not in translated]
    if missing:
        raise UserError(
            f"{listing(missing)} of the {len(images)} of the source '{source.name}' without a translated image in "
            f"{root}: give the folder that holds one for each, called as the source's (.png, .jpg ...)."
        )
    files = zip(source.samples, keys, strict=True)
    return tuple(replace(sample, name=f"{sample.name}_translated", image=translated[key]) for sample, key in files)


@dataclass(frozen=True, eq=False)
class OriginalOrTranslated(SampleOrder):
    """The order of a data set that holds its originals first and then, in the same order, their translated images.

    Each position shows the sample that `originals` has there, in one form or the other, with probability 1/2 each.

    originals: the order of the samples. count: how many there are, half of the data set.
    """

    originals: SampleOrder
    count: int

    def indices(self, first: int, last: int, seed: int) -> np.ndarray:
        translated = position_uniform(seed, _PURPOSE, first, last)[:, 0] >= 0.5
        return self.originals.indices(first, last, seed) + self.count * translated

    def classes(self, first: int, last: int, seed: int) -> np.ndarray:
        return self.originals.classes(first, last, seed)

    def check(self, samples: int) -> None:
        if samples != 2 * self.count:
            raise IndexError(f"an order of twice {self.count} images does not fit a data set of {samples} samples")
        self.originals.check(self.count)


@dataclass(frozen=True, eq=False)
class TranslatedFolder:
    """A folder of translated images as a translation (`translation.Translation`) of the source.

    Attributes:
        root: the folder.
        samples: of all images of the source, as `translated_samples` gives them.
        alongside: the originals are shown too, see `OriginalOrTranslated`.
    """

    root: Path
    samples: tuple[Sample, ...]
    alongside: bool

    titles: ClassVar[tuple[str, ...]] = ("source", "translated")

    @classmethod
    def of(cls, source: Dataset, root: Path, alongside: bool) -> "TranslatedFolder":
        """Raises UserError where a translated image is missing."""
        return cls(root, translated_samples(source, root), alongside)

    @property
    def words(self) -> str:
        return f"the images in {self.root}"

    def applied_to(self, stream: TrainingStream) -> TrainingStream:
        source, translated = stream.dataset, self._translated(stream.dataset)
        if not self.alongside:
            return replace(stream, dataset=translated)
        both = replace(translated, samples=(*source.samples, *translated.samples))
        return replace(stream, dataset=both, order=OriginalOrTranslated(stream.order, len(source)))

    def examples(self, stream: TrainingStream) -> Iterator[tuple[np.ndarray, ...]]:
        translated, count = self._translated(stream.dataset), stream.steps * stream.batch_size
        for index in stream.order.indices(0, count, stream.seed):
            frames = (load_frame(dataset, int(index), stream.size) for dataset in (stream.dataset, translated))
            yield tuple(frame[..., :3] for frame in frames)

    def _translated(self, source: Dataset) -> Dataset:
        """The source with the translated images, whose sizes may be others than those of the labels."""
        return replace(source, samples=self.samples, decode=replace(source.decode, same_size=False))
