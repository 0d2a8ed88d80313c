"""Are the pictures of a run whole, and of the shape of its data? Looked at before anything is trained.

Each file is decoded as coarsely as its format allows: a JPEG at an eighth of its size, of a PNG the checksums alone. A
file that does not come through is given to its reader, which has the last word: what can be read is never refused.
Pictures of large data sets are read once: see `checked_pictures.py`.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from math import sqrt
from pathlib import Path
from statistics import median

from PIL import Image

from training.data.checked_pictures import CheckedPictures
from training.data.images import image_size, read_image
from training.data.picture_files import opened_picture
from training.data.picture_pixels import measured
from training.data.samples import Dataset, Sample, listing
from training.distribution.threads import in_order
from training.errors import UserError
from training.progress import PATIENCE, tracked

MOST_SQUEEZE = 1.25  # one side against the other, before it is said
SIDE_UNIT = 32  # of the sides of a size that is proposed

Size = tuple[int, int]


def check_labelled(dataset: Dataset, size: Size) -> str | None:
    """Refuse labelled data of which an image or a label cannot be read; a progress bar, if it takes long.

    Returns:
        `shape_note` of its images, which are brought to `size` (height, width).

    Raises:
        UserError: that of the first such file, and how many there are.
    """
    looked = list(_looked_at(dataset))
    broken = [found for found in looked if isinstance(found, UserError)]
    if broken:
        more = f" ({len(broken)} such images or labels of {dataset.name} in all)" if len(broken) > 1 else ""
        raise UserError(f"{broken[0]}{more}")
    return shape_note(dataset.name, looked, size)


def usable_photos(dataset: Dataset, size: Size) -> tuple[Dataset, tuple[str, ...]]:
    """The unlabelled photos that can be read, and sentences on those left out and on those of another shape than
    `size` (height, width), to which all are brought; a progress bar, if it takes long.

    Raises:
        UserError: none can be read.
    """
    looked = list(zip(dataset.samples, _looked_at(dataset), strict=True))
    broken = [(sample, found) for sample, found in looked if isinstance(found, UserError)]
    whole = [(sample, found) for sample, found in looked if not isinstance(found, UserError)]
    if not whole:
        raise UserError(f"None of the {len(dataset)} photos of {dataset.name} can be used; the first: {broken[0][1]}")
    notes = (_left_out(dataset, broken), shape_note(dataset.name, [found for _, found in whole], size))
    kept = replace(dataset, samples=tuple(sample for sample, _ in whole)) if broken else dataset
    return kept, tuple(note for note in notes if note)


def _left_out(dataset: Dataset, broken: list[tuple[Sample, UserError]]) -> str | None:
    """Which photos are left out; the error of the first one tells what can be done."""
    if not broken:
        return None
    names = listing([sample.image.name for sample, _ in broken])
    return f"Left out of the {len(dataset)} photos of {dataset.name}, for they cannot be used: {names}. {broken[0][1]}"


def shape_note(name: str, sizes: Sequence[Size], size: Size) -> str | None:
    """What to do about photos that are squeezed to `size` by more than MOST_SQUEEZE; None where there are none.

    Args:
        name: of the data set. sizes: (height, width) of its photos, upright.
    """
    squeezed = _squeezed(sizes, size)
    if not squeezed:
        return None
    # A size of as many pixels and of the shape of the middle photo, if it suits more of them.
    side, shape = sqrt(size[0] * size[1]), sqrt(median(height / width for height, width in sizes))
    height, width = (max(SIDE_UNIT, round(each / SIDE_UNIT) * SIDE_UNIT) for each in (side * shape, side / shape))
    if len(_squeezed(sizes, (height, width))) < len(squeezed):
        advice = f"--size {height}x{width} suits more of them; it is for another run"
    else:
        advice = "they are best left out, or cut to that shape (--size HEIGHTxWIDTH sets another one)"
    return (
        f"Photos of {name} of another shape than {size[0]}x{size[1]} (height x width), such as "
        f"{squeezed[0][0]}x{squeezed[0][1]}, are squeezed to it ({len(squeezed)} of {len(sizes)}): {advice}."
    )


def _squeezed(sizes: Sequence[Size], size: Size) -> list[Size]:
    """Those that change their shape by more than MOST_SQUEEZE where they are brought to `size`."""
    wanted = size[0] / size[1]
    shapes = [(each, each[0] / each[1] / wanted) for each in sizes]
    return [each for each, change in shapes if max(change, 1 / change) > MOST_SQUEEZE]


def _looked_at(dataset: Dataset) -> Iterator[Size | UserError]:
    """Of each sample (height, width) of its image, or what is wrong with its image or label."""

    pictures = CheckedPictures(len(dataset))

    def checked(path: Path, read: Callable[[Path], object]) -> Size:
        size = pictures.size_of(path)
        if size is None:
            size = checked_size(path, read)
            pictures.remember(path, size)
        return size

    def look(sample: Sample) -> Size | UserError:
        try:
            size = checked(sample.image, read_image)
            if sample.label is not None:
                checked(sample.label, dataset.decode.read_raw)
        except UserError as error:
            return error
        return size

    looked = in_order(look, ((sample,) for sample in dataset.samples))
    try:
        yield from tracked(looked, f"checking the pictures of {dataset.name}", len(dataset), patience=PATIENCE)
    finally:
        pictures.keep()


def checked_size(path: Path, read: Callable[[Path], object]) -> Size:
    """(height, width) of an upright picture of which the whole file has been looked at.

    Args:
        read: its reader, for a file that the quick look is in doubt about.

    Raises:
        UserError: the file cannot be read, is damaged, no picture, or too large.
    """
    with opened_picture(path) as image:
        found = _quick_look(image)
    if found is None:
        read(path)
        return image_size(path)
    return found


def _quick_look(image: Image.Image) -> Size | None:
    """(height, width) of an opened picture that came through; None where its reader must say."""
    if image.mode == "F":
        return None
    try:
        size = measured(image).upright  # before a draft, which changes it
        if image.format == "PNG":
            image.verify()
        else:
            image.draft(None, (max(1, image.width // 8), max(1, image.height // 8)))  # of JPEG; others ignore it
            image.load()
    except Exception:  # on damaged bytes Pillow raises nearly anything
        return None
    return size
