"""NumPy's .npy data of unknown origin: the header is read first, and its claims are compared with the file.

`numpy.load` believes the header: it asks for as much memory as that claims, and parses as long a header as there is.
"""

import contextlib
import math
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.lib import format as npy_format

from training.errors import UserError
from training.files.reading import open_file

MOST_VALUES = 1 << 28  # of one array: 19 classes at 14 megapixels, 1 GiB at 32 bits
_LONGEST_READ = 1 << 16  # bytes: of a header
_READ_AT_ONCE = 1 << 20  # bytes: archives make a copy of what is read


@dataclass(frozen=True)
class Header:
    """shape, type and order (Fortran's or C's) of an array in a file."""

    shape: tuple[int, ...]
    dtype: np.dtype
    fortran_order: bool

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


class _HeaderStream:
    """Refuses to read a header of gigabytes, which may be deflated to kilobytes."""

    def __init__(self, stream: BinaryIO):
        self.stream = stream

    def read(self, size: int) -> bytes:
        if size > _LONGEST_READ:
            raise ValueError("the header is too long")
        return self.stream.read(size)


def read_header(stream: BinaryIO, place: str) -> Header:
    """The header of the .npy data that begins here; the stream stands at the first value then.

    Raises:
        UserError: it is no .npy data, or of Python objects.
    """
    limited = _HeaderStream(stream)
    readers = {(1, 0): npy_format.read_array_header_1_0, (2, 0): npy_format.read_array_header_2_0}
    try:
        shape, fortran_order, dtype = readers[npy_format.read_magic(limited)](limited)
    except (zipfile.BadZipFile, zlib.error, OSError) as error:
        raise damaged(place) from error
    except Exception as error:  # it parses Python text: on damaged bytes nearly anything may be raised
        raise UserError(
            f"{place} is not in NumPy's .npy format, or damaged: write it again with numpy.save."
        ) from error
    if dtype.hasobject or dtype.itemsize == 0 or min(shape, default=1) < 0:
        raise UserError(f"{place} has type {dtype} and shape {shape}: expected an array of numbers.")
    return Header(shape, dtype, fortran_order)


def check_claim(header: Header, stored: int, place: str) -> None:
    """Raise UserError unless exactly the claimed values are `stored` (bytes behind the header)."""
    if header.nbytes != stored:
        raise UserError(
            f"{place} is damaged: it claims {header.nbytes} bytes, {header.dtype} of shape {header.shape}, and holds "
            f"{stored}: write it again."
        )


def check_size(header: Header, place: str, most: int = MOST_VALUES) -> None:
    """Raise UserError for an array of more than `most` values."""
    if math.prod(header.shape) > most:
        raise UserError(f"{place} has shape {header.shape}, more than {most} values: make it smaller.")


def read_array(path: Path, most: int = MOST_VALUES) -> np.ndarray:
    """The array of an .npy file.

    Raises:
        UserError: the file cannot be read, is damaged, no .npy file, or has more than `most` values.
    """
    with open_file(path) as stream, damage_reported(path):
        header = read_header(stream, str(path))
        check_size(header, str(path), most)
        place = stream.tell()
        check_claim(header, stream.seek(0, 2) - place, str(path))
        stream.seek(place)
        return read_values(stream, header)


def npz_array(path: Path, name: str, most: int = MOST_VALUES) -> np.ndarray:
    """The array `name` of an .npz file; UserError as `archive_member`, or if it has more than `most` values."""
    with archive_member(path, name) as (header, stream):
        check_size(header, f"The array {name} in {path}", most)
        return read_values(stream, header)


def read_values(stream: BinaryIO, header: Header) -> np.ndarray:
    """The values that a header announced, an array of its own; EOFError if there are fewer."""
    values = np.empty(header.nbytes, np.uint8)
    taken, view = 0, memoryview(values)
    while taken < header.nbytes:
        count = stream.readinto(view[taken : taken + _READ_AT_ONCE])
        if not count:
            raise EOFError("fewer values than announced")
        taken += count
    return values.view(header.dtype).reshape(header.shape, order="F" if header.fortran_order else "C")


@contextlib.contextmanager
def archive_member(path: Path, name: str) -> Iterator[tuple[Header, BinaryIO]]:
    """The header of the array `name` of an .npz file, checked against the file, and its values as a stream.

    Raises:
        UserError: the file cannot be read, is damaged, no archive, or has no such array.
    """
    with open_file(path) as file, damage_reported(path):
        if not zipfile.is_zipfile(file):
            raise UserError(f"{path} is no .npz file: expected one with the array {name}.")
        with zipfile.ZipFile(file) as archive:
            arrays = [entry.removesuffix(".npy") for entry in archive.namelist()]
            if name not in arrays:
                found = ", ".join(arrays[:8]) or "no arrays"
                raise UserError(f"{path} holds {found}: expected an array named {name}.")
            member = archive.getinfo(f"{name}.npy")
            with archive.open(member) as stream:
                header = read_header(stream, str(path))
                check_claim(header, member.file_size - stream.tell(), f"The array {name} in {path}")
                yield header, stream


@contextlib.contextmanager
def damage_reported(path: Path) -> Iterator[None]:
    """Raise what reading a damaged file raises as a UserError; NotImplementedError, RuntimeError: zips of odd kinds."""
    try:
        yield
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, OSError, NotImplementedError, RuntimeError) as error:
        raise damaged(str(path)) from error


def damaged(place: str) -> UserError:
    return UserError(f"{place} is damaged and cannot be read to its end: write it again.")
