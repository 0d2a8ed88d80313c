"""Anyone's class probabilities on disk, one map in memory at a time: an .npz archive or a folder of .npy files."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from training.errors import UserError
from training.files.npy import (
    Header,
    archive_member,
    check_size,
    damage_reported,
    npz_array,
    read_array,
    read_header,
    read_values,
)
from training.files.reading import open_file
from training.probability_maps.scores import MAX_CLASSES

MOST_MAPS = 100_000  # of one archive, whose names are made up front
LARGEST = 1e6  # what is no probability but could still be one that was not normalised
ARRAY = "probs"


@dataclass(frozen=True)
class ProbabilityMaps:
    """names: unique stems for label files. shape: (h, w, c) of the first map. read: yields [h, w, c], afresh each call.

    places: what to call each map in a message.
    """

    names: tuple[str, ...]
    places: tuple[str, ...]
    shape: tuple[int, int, int]
    read: Callable[[], Iterator[np.ndarray]]


def open_probabilities(path: Path) -> ProbabilityMaps:
    """Probability maps of an .npz file (array `probs` [n, classes, h, w]) or a folder of .npy files [h, w, classes].

    Raises UserError for what is missing, damaged, of another rank or type, or has more than 255 classes.
    """
    if path.is_dir():
        return _open_folder(path)
    if not path.exists():
        raise UserError(
            f"There is nothing at {path}: expected an .npz file or a folder of .npy files of probabilities."
        )
    return _open_archive(path)


def flat_stem(path: Path, root: Path) -> str:
    """a/b/c.npy below the root -> a__b__c: a file name that stays unique without folders."""
    return "__".join(path.relative_to(root).with_suffix("").parts)


def check_probabilities(probs: np.ndarray, place: str) -> float:
    """Raise UserError for NaN, infinite or negative values; the largest difference of a pixel's sum from 1."""
    if not (probs.min() >= 0 and probs.max() <= LARGEST):
        raise UserError(
            f"{place} holds NaN, infinite or negative values, or some above a million: expected probabilities between "
            "0 and 1."
        )
    return float(np.abs(probs.sum(axis=-1, dtype=np.float32) - 1).max())


def load_prior(path: Path, classes: int, height_first: bool = False) -> np.ndarray:
    """Spatial prior float [h, w, c] from an .npy file, or the array `prior` of an .npz file.

    Stored as [c, h, w] (the published layout) or [h, w, c]: told by where the number of classes stands; the former if
    it stands at both ends, unless `height_first` (as a run writes it). Raises UserError for anything else.
    """
    if not path.exists():
        raise UserError(f"There is no prior at {path}: expected an .npy file.")
    prior = npz_array(path, "prior") if path.suffix == ".npz" else read_array(path)
    if prior.ndim != 3 or classes not in (prior.shape[0], prior.shape[-1]) or prior.dtype.kind != "f":
        raise UserError(
            f"The prior {path} is {prior.dtype} of shape {prior.shape}: expected floats [{classes}, height, width] or "
            f"[height, width, {classes}], for {classes} classes."
        )
    if 0 in prior.shape or not (prior.min() >= 0 and prior.max() <= LARGEST):
        raise UserError(
            f"The prior {path} holds NaN, infinite, negative or enormous values, or none: expected frequencies."
        )
    as_published = prior.shape[0] == classes and not (height_first and prior.shape[-1] == classes)
    by_class = prior if as_published else np.ascontiguousarray(np.moveaxis(prior, -1, 0))  # as `best_class` likes it
    return np.moveaxis(by_class, 0, -1)


def _open_archive(path: Path) -> ProbabilityMaps:
    with archive_member(path, ARRAY) as (header, _):
        place = f"The array {ARRAY} in {path}"
        _check_array(header, "[n, classes, height, width]", place)
        count, classes, height, width = header.shape
        check_size(header if header.fortran_order else replace(header, shape=header.shape[1:]), place)
        if count > MOST_MAPS:
            raise UserError(f"{place} has {count} maps: give at most {MOST_MAPS} at once.")
    return ProbabilityMaps(
        names=tuple(f"{index:06d}" for index in range(count)),
        places=tuple(f"map {index} of {path}" for index in range(count)),
        shape=(height, width, classes),
        read=_whole_archive(path) if header.fortran_order else lambda: _stream_archive(path, header),
    )


def _stream_archive(path: Path, expected: Header) -> Iterator[np.ndarray]:
    """The maps of an archive in C order, each a new array: np.load would bring all of them into memory."""
    with archive_member(path, ARRAY) as (header, stream):
        _check_unchanged(header, expected, path)
        one_map = replace(header, shape=header.shape[1:])
        for _ in range(header.shape[0]):
            yield np.moveaxis(read_values(stream, one_map), 0, -1)


def _whole_archive(path: Path) -> Callable[[], Iterator[np.ndarray]]:
    """Fortran order scatters each map over the file: loaded once, as a whole."""
    with archive_member(path, ARRAY) as (header, stream):
        maps = read_values(stream, header)
    return lambda: (np.moveaxis(single, 0, -1) for single in maps)


def _check_unchanged(header: Header, expected: Header, path: Path) -> None:
    if header != expected:
        raise UserError(f"{path} was changed while it was read: leave it alone until the labels are written.")


def _open_folder(path: Path) -> ProbabilityMaps:
    files = sorted(path.rglob("*.npy"))
    if not files:
        raise UserError(f"{path} holds no .npy files: expected one [height, width, classes] for each image.")
    names = tuple(flat_stem(file, path) for file in files)
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise UserError(f"Two files in {path} would both be labelled as {twice}.png: rename one of them.")
    headers = [_file_header(file) for file in files]
    shapes = [header.shape for header in headers]
    for file, shape in zip(files, shapes, strict=True):
        if shape[-1] != shapes[0][-1]:
            raise UserError(f"{file} has {shape[-1]} classes but {files[0]} has {shapes[0][-1]}: expected the same.")
    return ProbabilityMaps(names, tuple(map(str, files)), shapes[0], lambda: _stream_files(files, shapes))


def _stream_files(files: list[Path], shapes: list[tuple[int, ...]]) -> Iterator[np.ndarray]:
    for file, shape in zip(files, shapes, strict=True):
        probs = read_array(file)
        if probs.shape != shape or probs.dtype.kind != "f":
            raise UserError(f"{file} was changed while it was read: leave it alone until the labels are written.")
        yield probs


def _file_header(file: Path) -> Header:
    with open_file(file) as stream, damage_reported(file):
        header = read_header(stream, str(file))
    _check_array(header, "[height, width, classes]", str(file))
    check_size(header, str(file))
    return header


def _check_array(header: Header, layout: str, place: str) -> None:
    shape, dtype = header.shape, header.dtype
    if len(shape) != layout.count(",") + 1 or 0 in shape:
        raise UserError(f"{place} has shape {shape}: expected {layout}, none of them 0.")
    if dtype.kind != "f":
        raise UserError(f"{place} has type {dtype}: expected floating-point probabilities.")
    classes = shape[layout.strip("[]").split(", ").index("classes")]
    if classes > MAX_CLASSES:
        raise UserError(f"{place} has {classes} classes (shape {shape}): expected at most {MAX_CLASSES}, as {layout}.")
