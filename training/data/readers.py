"""What every reader shares: finding files, pairing images with labels, and saying clearly what does not fit."""

import os
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from training.data.classes import CITYSCAPES_LABEL_IDS, IGNORE, LabelSpace
from training.data.orientation import oriented
from training.data.photo_files import IMAGE_SUFFIXES, files_in, folded_name, left_out_sentence, photos_in
from training.data.samples import LabelDecoder, Sample, listing, wrong_size
from training.errors import UserError
from training.progress import say_once

LONGEST_NAME = 251  # bytes: with ".png" what file systems allow


class MissingFolder(UserError):
    """A folder of the expected layout is not there: the data were not downloaded, or lie elsewhere."""


def existing_folder(path: Path, purpose: str) -> Path:
    """`path` if it is a folder.

    Raises:
        MissingFolder: saying what was expected there.
    """
    if not path.is_dir():
        state = "is a file, not a folder" if path.exists() else "does not exist"
        raise MissingFolder(f"{path} {state}: expected {purpose}.")
    return path


def first_folder(root: Path, candidates: Iterable[str], purpose: str) -> Path:
    """The first of `root/<candidate>` that exists.

    Raises:
        MissingFolder: none does; the first candidate is named as the expected one.
    """
    existing_folder(root, f"the folder that holds {purpose}")
    candidates = list(candidates)
    for candidate in candidates:
        if (root / candidate).is_dir():
            return root / candidate
    looked = " or ".join(f"{candidate}/" for candidate in candidates)
    raise MissingFolder(f"{root} does not hold {purpose}: expected the folder {looked} in it.")


def label_folder(root: Path, candidates: str | Iterable[str], purpose: str, labelled: bool | None) -> Path | None:
    """Where the labels are; None if they are not wanted (False), or optional (None) and not there.

    Raises:
        MissingFolder: they are wanted (True) and not there.
    """
    candidates = [candidates] if isinstance(candidates, str) else list(candidates)
    if labelled is False or (labelled is None and not any((root / candidate).is_dir() for candidate in candidates)):
        return None
    return first_folder(root, candidates, purpose)


def image_files(folder: Path) -> list[Path]:
    """All pictures below `folder`; what else lies there is told of, once."""
    photos, others = photos_in(folder)
    if sentence := left_out_sentence(folder, others):
        say_once(sentence)
    return photos


def unique_names(files: list[Path], folder: Path) -> list[str]:
    """A name for each file that no other has: its stem, or its path below `folder` where stems repeat.

    Raises:
        UserError: two files cannot be told apart, or a path is too long for the name of one file.
    """
    stems = [file.stem for file in files]
    root = os.path.abspath(folder)
    below = [Path(os.path.abspath(file)).relative_to(root) for file in files]  # a path of a list may hold ".."
    paths = ["_".join(path.with_suffix("").parts) for path in below]
    with_suffix = [f"{path}_{file.suffix[1:]}" for path, file in zip(paths, files, strict=True)]
    for names in (stems, paths, with_suffix):
        if len({folded_name(name) for name in names}) == len(names):
            return _short(names, folder)
    repeated = [name for name, count in Counter(map(folded_name, with_suffix)).items() if count > 1]
    raise UserError(f"Files below {folder} cannot be told apart by name: rename {listing(repeated)}.")


def _short(names: list[str], folder: Path) -> list[str]:
    """`names`, each short enough for a file NAME.png."""
    for name in names:
        if len(name.encode()) > LONGEST_NAME:
            raise UserError(
                f"{name} below {folder} is too long a name for a label file, since it needs its folders to be told "
                f"apart from others: rename folders or files so that it has at most {LONGEST_NAME} bytes."
            )
    return names


def files_by_key(folder: Path, suffix: str | None = None) -> dict[str, Path]:
    """Pictures below `folder` by their stem; or the files that end in `suffix`, by their name without it.

    Raises:
        UserError: two files have the same key.
    """
    files = image_files(folder) if suffix is None else files_in(folder, lambda name: name.endswith(suffix))
    found: dict[str, Path] = {}
    repeated = []
    for file in files:
        key = file.stem if suffix is None else file.name.removesuffix(suffix)
        if found.setdefault(key, file) != file:
            repeated.append(str(file.relative_to(folder)))
    if repeated:
        raise UserError(f"{listing(repeated)} in {folder} have a name that another file has too: keep one of each.")
    return found


def pair_folders(
    image_folder: Path, label_folder: Path | None, label_suffix: str | None = None, image_suffix: str | None = None
) -> tuple[Sample, ...]:
    """Samples of two folders, paired by file name without suffix, sizes checked; no label folder = unlabelled.

    Raises:
        UserError: see `paired` and `checked_sizes`; or no file has the suffix.
    """
    images = required(files_by_key(image_folder, image_suffix), image_folder, "images", image_suffix)
    if label_folder is None:
        return paired(images, None, image_folder, None)
    labels = required(files_by_key(label_folder, label_suffix), label_folder, "labels", label_suffix)
    return checked_sizes(paired(images, labels, image_folder, label_folder))


def required(files: dict[str, Path], folder: Path, what: str, *suffixes: str | None) -> dict[str, Path]:
    """`files`, if there are any; UserError, saying which names were looked for."""
    if files:
        return files
    names = " or ".join(f"*{suffix}" for suffix in suffixes if suffix) or " ".join(IMAGE_SUFFIXES)
    raise UserError(f"There are no {what} in {folder}: looked for {names}, in its subfolders too.")


def paired(
    images: Mapping[str, Path], labels: Mapping[str, Path] | None, image_folder: Path, label_folder: Path | None
) -> tuple[Sample, ...]:
    """Samples from images and labels with the same key, in the order of the keys; labels None = unlabelled.

    Raises:
        UserError: no image at all, an image without label, a label without image; the first few are named.
    """
    if not images:
        raise UserError(f"There are no images ({' '.join(IMAGE_SUFFIXES)}) in {image_folder}.")
    if labels is None:
        return tuple(Sample(key, images[key]) for key in sorted(images))
    without_label = [images[key].name for key in sorted(images.keys() - labels.keys())]
    if without_label:
        raise UserError(
            f"{listing(without_label)} in {image_folder} without a label in {label_folder}: add the labels or remove "
            "the images."
        )
    without_image = [labels[key].name for key in sorted(labels.keys() - images.keys())]
    if without_image:
        raise UserError(
            f"{listing(without_image)} in {label_folder} without an image in {image_folder}: add the images or remove "
            "the labels."
        )
    return tuple(Sample(key, images[key], labels[key]) for key in sorted(images))


def differing_pairs(
    samples: tuple[Sample, ...],
) -> tuple[tuple[Sample, ...], list[tuple[Sample, UserError]], Counter]:
    """The samples, with their labels turned as their photos are; those whose image and label differ in size, each with
    its error; and how often each size occurs.

    Raises:
        UserError: as `oriented`.
    """
    samples, measured = oriented(samples)
    differing = [
        (sample, wrong_size(sample, image, label))
        for sample, (image, label) in zip(samples, measured, strict=True)
        if image != label
    ]
    return samples, differing, Counter(image for image, _ in measured)


def checked_sizes(samples: tuple[Sample, ...]) -> tuple[Sample, ...]:
    """`samples` as `differing_pairs` gives them, if every image has the size of its label.

    Raises:
        UserError: naming the first pair that differs, and how many there are; or as `oriented`.
    """
    samples, differing, _ = differing_pairs(samples)
    if differing:
        more = f" ({len(differing)} such pairs in all)" if len(differing) > 1 else ""
        raise UserError(f"{differing[0][1]}{more}")
    return samples


def require_cityscapes(label_space: LabelSpace, data_set: str) -> None:
    """Refuse a label space that cannot express Cityscapes classes.

    Raises:
        UserError: saying what to add to the user's JSON file.
    """
    if all(train_id == IGNORE for train_id in label_space.from_cityscapes):
        raise UserError(
            f"The labels of {data_set} are Cityscapes classes, and label space '{label_space.name}' has none of them: "
            'add "from_cityscapes" (19 numbers) to its JSON file.'
        )


def through_cityscapes(
    to_cityscapes: Mapping[int, int], label_space: LabelSpace, data_set: str, kind: str = "ids"
) -> LabelDecoder:
    """Decoder for files whose ids map to Cityscapes train ids, in the words of `label_space`."""
    require_cityscapes(label_space, data_set)
    to_space = {**dict(enumerate(label_space.from_cityscapes)), IGNORE: IGNORE}
    return LabelDecoder.from_mapping(kind, {raw: to_space[train_id] for raw, train_id in to_cityscapes.items()})


def label_id_decoder(label_space: LabelSpace, data_set: str) -> LabelDecoder:
    """Decoder for files of Cityscapes labelIDs (Cityscapes, GTA5, NTHU Cross-City)."""
    return through_cityscapes(CITYSCAPES_LABEL_IDS, label_space, data_set)


def train_id_decoder(label_space: LabelSpace, data_set: str) -> LabelDecoder:
    """Decoder for files of Cityscapes train ids (BDD100K, the built-in streets)."""
    return through_cityscapes({i: i for i in range(19)}, label_space, data_set)


def own_id_decoder(label_space: LabelSpace) -> LabelDecoder:
    """Decoder for files of the label space's own ids: its raw ids, or else train ids."""
    raw_ids = label_space.raw_ids or {i: i for i in range(label_space.count)}
    return LabelDecoder.from_mapping("ids", raw_ids)
