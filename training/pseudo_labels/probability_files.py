"""Anyone's class probabilities on disk, one map in memory at a time: an .npz archive or a folder of .npy files."""

import contextlib
import math
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.lib import format as npy_format

from training.errors import UserError
from training.pseudo_labels.scores import MAX_CLASSES

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
    if not (probs.min() >= 0 and probs.max() < np.inf):
        raise UserError(f"{place} holds NaN, infinite or negative values: expected probabilities between 0 and 1.")
    return float(np.abs(probs.sum(axis=-1, dtype=np.float32) - 1).max())


def load_prior(path: Path, classes: int) -> np.ndarray:
    """Spatial prior float [h, w, c] from an .npy file, or the array `prior` of an .npz file.

    Stored as [c, h, w] (the published layout) or [h, w, c]: told by where the number of classes stands; the former if
    it stands at both ends. Raises UserError for anything else.
    """
    try:
        stored = np.load(path)
        prior = stored["prior"] if isinstance(stored, np.lib.npyio.NpzFile) else stored
    except FileNotFoundError as error:
        raise UserError(f"There is no prior at {path}: expected an .npy file.") from error
    except KeyError as error:
        raise UserError(f"{path} has no array named prior: save it as such, or as an .npy file.") from error
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} is no NumPy file, or damaged: expected an .npy file with the prior.") from error
    if prior.ndim != 3 or classes not in (prior.shape[0], prior.shape[-1]) or prior.dtype.kind != "f":
        raise UserError(
            f"The prior {path} is {prior.dtype} of shape {prior.shape}: expected floats [{classes}, height, width] or "
            f"[height, width, {classes}], for {classes} classes."
        )
    if not (prior.min() >= 0 and prior.max() < np.inf):
        raise UserError(f"The prior {path} holds NaN, infinite or negative values: expected frequencies from 0 up.")
    return np.moveaxis(prior, 0, -1) if prior.shape[0] == classes else prior


def _open_archive(path: Path) -> ProbabilityMaps:
    if not zipfile.is_zipfile(path):
        raise UserError(f"{path} is no .npz file: expected one with the array {ARRAY} [n, classes, height, width].")
    with _damage_reported(path), zipfile.ZipFile(path) as archive:
        arrays = [name.removesuffix(".npy") for name in archive.namelist()]
        if ARRAY not in arrays:
            raise UserError(f"{path} holds {', '.join(arrays) or 'no arrays'}: expected {ARRAY} [n, classes, h, w].")
        with archive.open(f"{ARRAY}.npy") as stream:
            shape, fortran_order, dtype = _header(stream, path)
    _check_array(shape, dtype, "[n, classes, height, width]", f"The array {ARRAY} in {path}")
    count, classes, height, width = shape
    read = _whole_archive(path) if fortran_order else lambda: _stream_archive(path)
    return ProbabilityMaps(
        names=tuple(f"{index:06d}" for index in range(count)),
        places=tuple(f"map {index} of {path}" for index in range(count)),
        shape=(height, width, classes),
        read=read,
    )


def _stream_archive(path: Path) -> Iterator[np.ndarray]:
    """The maps of an archive in C order, each a new array: np.load would bring all of them into memory."""
    with _damage_reported(path), zipfile.ZipFile(path) as archive, archive.open(f"{ARRAY}.npy") as stream:
        (count, *shape), _, dtype = _header(stream, path)
        size = math.prod(shape) * dtype.itemsize
        for _ in range(count):
            values = np.frombuffer(stream.read(size), dtype)
            yield np.moveaxis(values.reshape(shape), 0, -1)


def _whole_archive(path: Path) -> Callable[[], Iterator[np.ndarray]]:
    """Fortran order scatters each map over the file: loaded once, as a whole."""
    with _damage_reported(path), np.load(path) as archive:
        maps = archive[ARRAY]
    return lambda: (np.moveaxis(single, 0, -1) for single in maps)


def _open_folder(path: Path) -> ProbabilityMaps:
    files = sorted(path.rglob("*.npy"))
    if not files:
        raise UserError(f"{path} holds no .npy files: expected one [height, width, classes] for each image.")
    names = tuple(flat_stem(file, path) for file in files)
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise UserError(f"Two files in {path} would both be labelled as {twice}.png: rename one of them.")
    shapes = [_file_shape(file) for file in files]
    for file, shape in zip(files, shapes, strict=True):
        if shape[-1] != shapes[0][-1]:
            raise UserError(f"{file} has {shape[-1]} classes but {files[0]} has {shapes[0][-1]}: expected the same.")
    return ProbabilityMaps(names, tuple(map(str, files)), shapes[0], lambda: _stream_files(files))


def _stream_files(files: list[Path]) -> Iterator[np.ndarray]:
    for file in files:
        with _damage_reported(file):
            yield np.load(file)


def _file_shape(file: Path) -> tuple[int, ...]:
    with file.open("rb") as stream:
        shape, _, dtype = _header(stream, file)
    _check_array(shape, dtype, "[height, width, classes]", str(file))
    return shape


@contextlib.contextmanager
def _damage_reported(path: Path) -> Iterator[None]:
    try:
        yield
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, OSError) as error:
        raise UserError(f"{path} is damaged and cannot be read to its end: write it again.") from error


def _header(stream: BinaryIO, path: Path) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, whether in Fortran order, and type of the .npy data that begins here."""
    readers = {(1, 0): npy_format.read_array_header_1_0, (2, 0): npy_format.read_array_header_2_0}
    try:
        return readers[npy_format.read_magic(stream)](stream)
    except (ValueError, KeyError, EOFError) as error:
        raise UserError(f"{path} is not in NumPy's .npy format, or damaged: write it again with numpy.save.") from error


def _check_array(shape: tuple[int, ...], dtype: np.dtype, layout: str, place: str) -> None:
    if len(shape) != layout.count(",") + 1 or 0 in shape:
        raise UserError(f"{place} has shape {shape}: expected {layout}, none of them 0.")
    if dtype.kind != "f":
        raise UserError(f"{place} has type {dtype}: expected floating-point probabilities.")
    classes = shape[layout.strip("[]").split(", ").index("classes")]
    if classes > MAX_CLASSES:
        raise UserError(f"{place} has {classes} classes (shape {shape}): expected at most {MAX_CLASSES}, as {layout}.")
