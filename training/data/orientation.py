"""Photos with an EXIF orientation and labels without one: turn both, or refuse.

A photo is turned upright as its EXIF orientation says, and a label file with an orientation of its own is too. Most
labels have none: they may have been drawn on the photo as its pixels are stored, or as viewers show it. The rule, the
same for every labelled pair:

1. Photo and label have the same orientation: each is turned by its own.
2. Only the photo has one, and it swaps height and width: the label's size tells. The stored size means that the label
   was drawn on the stored pixels, so it is turned as its photo; the turned size means that it is upright already.
3. Only the photo has one, and sizes cannot tell (half a turn, mirrored, square): as for the pairs of the data set that
   rule 2 decides, where these agree; else the data set is refused.
4. Only the label has one, or another one than its photo: the data set is refused.

Turned labels are told of on the console.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from training.data.images import measure
from training.data.picture_pixels import LYING, Measured
from training.data.samples import Sample, listing
from training.errors import UserError
from training.progress import say_once

Size = tuple[int, int]


def oriented(samples: tuple[Sample, ...]) -> tuple[tuple[Sample, ...], list[tuple[Size, Size]]]:
    """The samples with `label_orientation` set, and the (height, width) of each upright image and its label.

    Raises:
        UserError: it cannot be told how a label lies; names EXIF, the files, and what to do. A file is damaged.
    """
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(_measured_pair, samples, chunksize=256))

    # what sizes tell of each pair: the label's orientation, or None where it stays open
    orientations = [_by_size(image, label) for image, label in found]
    decided = {
        told > 1
        for told, (image, label) in zip(orientations, found, strict=True)
        if told is not None and image.orientation != label.orientation
    }

    # the open ones: as the decided ones, where these agree and the label has no mark of its own
    still_open = [
        (sample, label) for sample, told, (_, label) in zip(samples, orientations, found, strict=True) if told is None
    ]
    if still_open and (len(decided) != 1 or any(label.orientation > 1 for _, label in still_open)):
        raise _cannot_tell([sample for sample, _ in still_open])
    turn_open = decided == {True}
    chosen = [
        (image.orientation if turn_open else 1) if told is None else told
        for told, (image, _) in zip(orientations, found, strict=True)
    ]
    _tell(samples, found, chosen)
    oriented_samples = tuple(
        sample if told == 1 else replace(sample, label_orientation=told)
        for sample, told in zip(samples, chosen, strict=True)
    )
    return oriented_samples, [
        (image.upright, Measured(label.upright, told).upright)
        for (image, label), told in zip(found, chosen, strict=True)
    ]


def _measured_pair(sample: Sample) -> tuple[Measured, Measured]:
    """Image and label; of a sample without label twice the upright image."""
    image = measure(sample.image)
    return (image, measure(sample.label)) if sample.label is not None else (Measured(image.upright),) * 2


def _by_size(image: Measured, label: Measured) -> int | None:
    """The orientation to turn the label by, beyond its own; None where it cannot be told by size."""
    if image.orientation == label.orientation:
        return 1
    if label.orientation == 1 and image.orientation in LYING and image.size != image.upright:
        return image.orientation if label.size == image.size else 1
    return None


def _cannot_tell(samples: list[Sample]) -> UserError:
    names = listing([sample.image.name for sample in samples])
    one = f"{samples[0].image} and its label {samples[0].label}"
    return UserError(
        f"EXIF orientation: {names} are to be turned or mirrored, their labels are not marked so, and the sizes do not "
        f"tell whether the labels were drawn on the stored pixels or on the turned photo (the first pair: {one}). If "
        "on the stored pixels, remove the mark (exiftool -Orientation= PHOTOS); if on the photo as viewers show it, "
        "turn its pixels (mogrify -auto-orient PHOTOS)."
    )


def _tell(samples: tuple[Sample, ...], found: list[tuple[Measured, Measured]], chosen: list[int]) -> None:
    """Say which photos have an EXIF orientation that their labels have not, and what is made of it."""
    pairs = list(zip(samples, found, chosen, strict=True))
    turned = [sample.image.name for sample, _, orientation in pairs if orientation > 1]
    upright = [
        sample.image.name
        for sample, (image, label), orientation in pairs
        if orientation == 1 and image.orientation > 1 and label.orientation == 1
    ]
    if turned:
        say_once(
            f"EXIF orientation: {listing(turned)} in {samples[0].image.parent} are turned, and their labels, drawn on "
            "the stored pixels, with them."
        )
    if upright:
        say_once(
            f"EXIF orientation: {listing(upright)} in {samples[0].image.parent} are turned; their labels were drawn on "
            "the turned photo and stay as they are."
        )
