"""Readers of the user's own data: any two folders images/ + labels/, and any folder of pictures."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

from training.data.classes import LabelSpace
from training.data.readers import (
    checked_sizes,
    dataset,
    existing_folder,
    files_by_key,
    image_files,
    own_id_decoder,
    paired,
    train_id_decoder,
    unique_names,
)
from training.data.samples import Dataset, Sample, listing
from training.errors import UserError


def folders(root: Path | str, label_space: LabelSpace) -> Dataset:
    """Labelled data in `root/images` and `root/labels`, matched by file stem, subfolders included.

    Labels are single-channel PNGs of the label space's raw ids (or train ids where it has none), 255 = ignore. Where
    stems repeat in subfolders, the path below images/ and labels/ must agree.

    Raises:
        UserError: missing folder, image without label or the reverse, a pair of different sizes.
    """
    root = existing_folder(Path(root), "labelled data with the folders images/ and labels/")
    data = image_and_label_folders(root / "images", root / "labels", label_space)
    return replace(data, name=root.name)


def streetsim(root: Path | str, count: int, label_space: LabelSpace) -> Dataset:
    """The first `count` frames of the embedded street generator in `root/images`, `root/labels` (Cityscapes train ids).

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
    return dataset(Path(root).name, samples, label_space, train_id_decoder(label_space, "the embedded streets"))


def image_folder(root: Path | str, label_space: LabelSpace) -> Dataset:
    """Every picture in and below `root`, of any size, unlabelled: the target of an adaptation.

    Raises:
        UserError: the folder does not exist or holds no picture.
    """
    root = existing_folder(Path(root), "a folder of images")
    files = image_files(root)
    images = dict(zip(unique_names(files, root), files, strict=True))
    return dataset(root.name, paired(images, None, root, None), label_space, own_id_decoder(label_space))


def image_and_label_folders(images: Path | str, labels: Path | str, label_space: LabelSpace) -> Dataset:
    """As `folders`, the two folders given one by one."""
    images = existing_folder(Path(images), "the folder of images")
    labels = existing_folder(Path(labels), "the folder of label PNGs")
    samples = checked_sizes(matched(images, labels))
    return dataset(images.name, samples, label_space, own_id_decoder(label_space))


def matched(image_root: Path, label_root: Path) -> tuple[Sample, ...]:
    """Pairs of all pictures below the two folders: by stem if stems are unique on both sides, else by the path below.

    Raises:
        UserError: image without label or the reverse, or two files that only differ in their ending.
    """
    images, labels = image_files(image_root), image_files(label_root)
    by_stem = all(len({file.stem for file in files}) == len(files) for files in (images, labels))

    def keyed(root: Path, files: list[Path]) -> dict[str, Path]:
        keys = [file.stem if by_stem else file.relative_to(root).with_suffix("").as_posix() for file in files]
        if repeated := [key for key, count in Counter(keys).items() if count > 1]:
            raise UserError(
                f"{listing(repeated)} in {root} occur with several endings (.png, .jpg ...): keep one of each."
            )
        return dict(zip(keys, files, strict=True))

    pairs = paired(keyed(image_root, images), keyed(label_root, labels), image_root, label_root)
    names = unique_names([pair.image for pair in pairs], image_root)
    return tuple(Sample(name, pair.image, pair.label) for name, pair in zip(names, pairs, strict=True))
