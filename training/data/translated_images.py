"""A source whose images are translated already, by this run or by somebody else, such as the sets that BDL and CyCADA
publish: pictures with the names of the source's, and the source's labels."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np

from training.data.images import image_size
from training.data.input_pipeline import TrainingStream, load_frame
from training.data.readers import existing_folder, image_files
from training.data.readers_folders import by_name
from training.data.samples import Dataset, Sample, listing
from training.data.sampling import SampleOrder, batch_uniform
from training.errors import UserError
from training.progress import say_once

MEASURED = 8  # images whose proportions are compared: those of a data set are alike
SAME_PROPORTIONS = 0.03  # by how much height to width may differ: sizes are rounded
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
    return _in_place_of(source, [translated[key] for key in keys])


def stretched_sentence(source: Dataset, samples: Sequence[Sample], root: Path) -> str | None:
    """What to say where the first translated images of `root` have other proportions than their originals, as their
    headers tell; None where they do not.

    They are no mistake if the whole image was resized, as published sets are; of a crop the labels do not fit.

    Raises:
        UserError: a file that is no image.
    """
    for original, translated in zip(source.samples[:MEASURED], samples, strict=False):
        (height, width), (own_height, own_width) = image_size(original.image), image_size(translated.image)
        if abs(own_height * width / (own_width * height) - 1) > SAME_PROPORTIONS:
            return (
                f"The translated images in {root} have other proportions than the source's ({translated.image.name} is "
                f"{own_height}x{own_width}, its original {height}x{width}): they are stretched to the labels, which "
                "fit only if they show the whole image and not a part of it."
            )
    return None


def own_samples(source: Dataset, folder: Path) -> tuple[Sample, ...]:
    """The same for the pictures that a run has made itself: `own_picture` of each sample.

    Raises:
        UserError: some are missing, counted and the first few named.
    """
    files = [own_picture(folder, sample) for sample in source.samples]
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        raise UserError(f"{listing(missing)} missing in {folder}: --resume the run, which translates the images again")
    return _in_place_of(source, files)


def own_picture(folder: Path, sample: Sample) -> Path:
    """Where a run keeps what it has made of a sample of the source."""
    return folder / f"{sample.name}.png"


def _in_place_of(source: Dataset, files: Sequence[Path]) -> tuple[Sample, ...]:
    pairs = zip(source.samples, files, strict=True)
    return tuple(replace(sample, name=f"{sample.name}_translated", image=file) for sample, file in pairs)


@dataclass(frozen=True, eq=False)
class OriginalOrTranslated(SampleOrder):
    """The order of a data set that holds its originals first and then, in the same order, their translated images.

    Each position shows the sample that `originals` has there, a global batch in one form or the other, with probability
    1/2 each.

    originals: the order of the samples. count: how many there are, half of the data set. batch_size: samples per global
    batch.
    """

    originals: SampleOrder
    count: int
    batch_size: int = 1

    def indices(self, first: int, last: int, seed: int) -> np.ndarray:
        translated = batch_uniform(seed, _PURPOSE, first, last, self.batch_size)[:, 0] >= 0.5
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
        samples: of all images of the source, as `translated_samples` gives them.
        alongside: the originals are shown too, see `OriginalOrTranslated`.
    """

    samples: tuple[Sample, ...]
    alongside: bool

    titles: ClassVar[tuple[str, ...]] = ("source", "translated")

    @classmethod
    def of(cls, source: Dataset, root: Path, alongside: bool) -> "TranslatedFolder":
        """Of the images that somebody else has made; says, once, if they are stretched.

        Raises:
            UserError: one is missing, or is no image.
        """
        samples = translated_samples(source, root)
        if sentence := stretched_sentence(source, samples, root):
            say_once(sentence)
        return cls(samples, alongside)

    def applied_to(self, stream: TrainingStream) -> TrainingStream:
        source, translated = stream.dataset, self._translated(stream.dataset)
        if not self.alongside:
            return replace(stream, dataset=translated)
        both = replace(translated, samples=(*source.samples, *translated.samples))
        return replace(stream, dataset=both, order=OriginalOrTranslated(stream.order, len(source), stream.batch_size))

    def examples(self, stream: TrainingStream) -> Iterator[tuple[np.ndarray, ...]]:
        translated, count = self._translated(stream.dataset), stream.steps * stream.batch_size
        for index in stream.order.indices(0, count, stream.seed):
            frames = (load_frame(dataset, int(index), stream.size) for dataset in (stream.dataset, translated))
            yield tuple(frame[..., :3] for frame in frames)

    def _translated(self, source: Dataset) -> Dataset:
        """The source with the translated images, whose sizes may be others than those of the labels."""
        return replace(source, samples=self.samples, decode=replace(source.decode, same_size=False))
