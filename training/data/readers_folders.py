"""Readers of the user's own data: any two folders images/ + labels/, and any folder of pictures."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

from training.data.classes import LabelSpace
from training.data.label_endings import Endings, endings_of, space_of_ending
from training.data.photo_files import IMAGE_SUFFIXES
from training.data.photo_folders import found_photos, is_list, is_pattern
from training.data.picture_files import opened_picture
from training.data.readers import (
    checked_sizes,
    existing_folder,
    files_by_key,
    image_files,
    own_id_decoder,
    paired,
    train_id_decoder,
    unique_names,
)
from training.data.samples import Dataset, LabelDecoder, Sample, listing
from training.errors import UserError
from training.progress import say_once


def folders(root: Path | str, label_space: LabelSpace) -> Dataset:
    """Labelled data in `root/images` and `root/labels`, matched by file stem, subfolders included.

    Labels are single-channel PNGs of the label space's raw ids (or train ids where it has none), 255 = ignore; or hold
    its colours. Their names may have an ending, see `label_endings`. Where stems repeat in subfolders, the path below
    images/ and labels/ must agree.

    Raises:
        UserError: missing folder, image without label or the reverse, a pair of different sizes.
    """
    root = existing_folder(Path(root), "labelled data with the folders images/ and labels/")
    data = image_and_label_folders(root / "images", root / "labels", label_space)
    return replace(data, name=root.name)


def streetsim(root: Path | str, count: int, label_space: LabelSpace) -> Dataset:
    """The first `count` frames of the built-in streets in `root/images`, `root/labels` (Cityscapes train ids).

    Raises:
        UserError: fewer frames than `count`.
    """
    images, labels = (
        files_by_key(existing_folder(Path(root) / part, "rendered streets")) for part in ("images", "labels")
    )
    keys = sorted(images.keys() & labels.keys())[:count]  # another process may be adding later frames just now
    if len(keys) < count:
        raise UserError(
            f"{root} holds {len(keys)} rendered streets where {count} are needed: delete it to render again."
        )
    samples = tuple(Sample(key, images[key], labels[key]) for key in keys)
    return Dataset(Path(root).name, samples, label_space, train_id_decoder(label_space, "the built-in streets"))


def image_folder(root: Path | str, label_space: LabelSpace, results: Path | None = None) -> Dataset:
    """Every photo that `root` means, of any size, unlabelled: the target of an adaptation.

    Args:
        root: a folder, of which `photo_folders` says what is left out; a text file of paths; or a pattern.
        results: a folder that will be written to, which holds no photos.

    Raises:
        UserError: there is no such place, or no photo there.
    """
    root = Path(root)
    if not is_list(root) and not is_pattern(root):
        existing_folder(root, "a folder of images, a text file of their paths (.txt), or a pattern such as 'a/*/*.jpg'")
    found = found_photos(root, results=results)
    if not found.photos:
        raise UserError(" ".join((f"There are no images ({' '.join(IMAGE_SUFFIXES)}) in {root}.", *found.sentences)))
    names = unique_names(list(found.photos), found.folder)
    samples = tuple(Sample(name, photo) for name, photo in sorted(zip(names, found.photos, strict=True)))
    name = str(root) if is_pattern(root) else root.name
    data = Dataset(name, samples, label_space, own_id_decoder(label_space))
    for sentence in found.sentences:
        say_once(sentence)
    return replace(data, notes=tuple(found.sentences))


def image_and_label_folders(images: Path | str, labels: Path | str, label_space: LabelSpace) -> Dataset:
    """As `folders`, the two folders given one by one."""
    images = existing_folder(Path(images), "the folder of images")
    labels = existing_folder(Path(labels), "the folder of label PNGs")
    samples, endings, notes = matched(images, labels)
    numbers = space_of_ending(endings.label, label_space)
    if numbers is not label_space:
        notes = (*notes, f"*{endings.label} holds numbers of {numbers.name}: they are read as such.")
    for note in notes:
        say_once(note)
    data = Dataset(images.name, checked_sizes(samples), label_space, _own_decoder(numbers, samples[0].label))
    return replace(data, notes=notes)


def _own_decoder(label_space: LabelSpace, label: Path) -> LabelDecoder:
    """Of the label space's own ids; or of its colours, where it has some and the label file holds colours."""
    if label_space.raw_colors is not None:
        with opened_picture(label) as picture:
            if picture.mode in ("RGB", "RGBA"):
                return LabelDecoder.from_mapping("rgb", label_space.raw_colors)
    return own_id_decoder(label_space)


def matched(image_root: Path, label_root: Path) -> tuple[tuple[Sample, ...], Endings, tuple[str, ...]]:
    """`(pairs, endings, notes)` of all pictures below the two folders.

    They belong together by stem if stems are unique on both sides, else by the path below; without the `endings` that
    all images and their labels have. `notes` tell of the latter.

    Raises:
        UserError: image without label or the reverse, several label files for an image, or two files that only differ
            in their suffix.
    """
    images, labels = image_files(image_root), image_files(label_root)
    by_stem = all(len({file.stem for file in files}) == len(files) for files in (images, labels))

    by_image, by_label = by_name(image_root, images, by_stem), by_name(label_root, labels, by_stem)
    endings = endings_of(by_image, by_label)
    by_image = {key.removesuffix(endings.image): file for key, file in by_image.items()}
    of_kind = {key.removesuffix(endings.label): file for key, file in by_label.items() if key.endswith(endings.label)}
    pairs = paired(by_image, of_kind, image_root, label_root)
    names = unique_names([pair.image for pair in pairs], image_root)
    samples = tuple(Sample(name, pair.image, pair.label) for name, pair in zip(names, pairs, strict=True))
    return samples, endings, _ending_notes(label_root, endings, len(labels) - len(of_kind))


def by_name(root: Path, files: list[Path], by_stem: bool) -> dict[str, Path]:
    """The files by their stem, or by their path below `root` without the suffix, in their order.

    Raises:
        UserError: two files only differ in their suffix.
    """
    keys = [file.stem if by_stem else file.relative_to(root).with_suffix("").as_posix() for file in files]
    if repeated := [key for key, count in Counter(keys).items() if count > 1]:
        raise UserError(f"{listing(repeated)} in {root} occur with several endings (.png, .jpg ...): keep one of each.")
    return dict(zip(keys, files, strict=True))


def _ending_notes(label_root: Path, endings: Endings, others: int) -> tuple[str, ...]:
    if not endings.label:
        return ()
    rest = f"; {others} other picture{'s' * (others != 1)} there {'are' if others != 1 else 'is'} not read"
    names = f"NAME{endings.label} for the image NAME{endings.image}"
    return (f"The labels in {label_root} are the files {names}{rest if others else ''}.",)
