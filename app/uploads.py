"""From an uploaded file to a photo: every odd file becomes a right picture or one clear sentence."""

import contextlib
import struct
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from app.limits import (
    JPEG_PIXELS,
    LARGE_PIXELS,
    PICTURE_FORMATS_TOLD,
    USUAL_PIXELS,
    WHOLE_PIXELS,
    WORKING_SIDE,
)
from export.pictures import load_picture
from training.data.images import resize_image
from training.data.picture_files import FORMATS, HEAD_BYTES, damaged, told_by
from training.data.picture_pixels import Range, low_byte_tiles, measured, range_of_files, read_rgb
from training.errors import UserError
from training.files.reading import open_file

# What is converted before it is reduced: Pillow averages no palettes, and would weight colours by transparency.
PLAIN_MODES = {"1": "L", "P": "RGB", "LA": "L", "PA": "RGB", "RGBA": "RGB"}
REDUCIBLE = ("L", "RGB", "CMYK", "YCbCr", *PLAIN_MODES)
_one_large_picture = threading.Lock()

# What Pillow raises, besides OSError, for files that somebody damaged or built to do harm.
DAMAGES = (OSError, ValueError, SyntaxError, EOFError, IndexError, TypeError, struct.error)


@dataclass(frozen=True)
class Upload:
    """An uploaded file, where it lies in the upload folder and what its owner called it."""

    path: Path
    name: str


@dataclass(frozen=True)
class Photo:
    """A photo to work on: uint8 `[h, w, 3]` RGB, its longer side at most `WORKING_SIDE`.

    own_size: the file's (height, width) as it is looked at, after its EXIF orientation. note: what is to be told of it.
    """

    name: str
    image: np.ndarray
    own_size: tuple[int, int]
    note: str = ""


def range_for(known: Range | None, uploads: Iterable[Upload]) -> Range | None:
    """From which values 16-bit photos are stretched: `known`, of the model's training, or else those of all uploads."""
    return known or range_of_files([upload.path for upload in uploads], USUAL_PIXELS, _one_large_picture)


def read_photo(upload: Upload, longest_side: int = WORKING_SIDE, sixteen_bit_range: Range | None = None) -> Photo:
    """Decode a photo of any kind (grey, CMYK, 16-bit, transparent, animated: its first picture; EXIF-rotated).

    sixteen_bit_range: see `range_for`.

    Raises:
        UserError: the file is no picture, is damaged, or has more pixels than its kind may have (told from its header).
    """
    try:
        # Other formats are left out, because an EPS would start another program. Not by its path: Pillow would map
        # the pixels of a plain TIFF into memory, wrongly where an orientation turns it.
        with opened(upload) as file, Image.open(file, formats=FORMATS) as picture:
            own_size = _checked_size(picture, upload.name)
            image = _decoded(picture, upload, fitted(own_size, longest_side), sixteen_bit_range)
    except UserError:
        raise
    except Image.DecompressionBombError as error:
        raise _too_large(upload.name, "", JPEG_PIXELS) from error
    except Image.UnidentifiedImageError as error:
        raise _no_photo(upload) from error
    except DAMAGES as error:
        raise _damaged(upload) from error
    return Photo(Path(upload.name).stem, image, own_size, _note(upload.name, own_size, image.shape))


def _note(name: str, own_size: tuple[int, int], shape: tuple[int, ...]) -> str:
    """That a very large photo was shrunk."""
    height, width = own_size
    if height * width <= USUAL_PIXELS:
        return ""
    return (
        f"{name} has {height * width / 1e6:.0f} megapixels ({width} x {height}): it was shrunk to "
        f"{shape[1]} x {shape[0]} while it was read. The label PNG has the photo's own size."
    )


def fitted(size: tuple[int, int], longest_side: int) -> tuple[int, int]:
    """(height, width) of the same shape with the longer side at most `longest_side`; nothing is enlarged."""
    scale = min(1.0, longest_side / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _checked_size(picture: Image.Image, name: str) -> tuple[int, int]:
    """(height, width) after the EXIF orientation, from the header."""
    limit = _pixel_limit(picture)
    if picture.width * picture.height > limit:
        raise _too_large(name, f" ({picture.width} x {picture.height})", limit)
    return measured(picture).upright


def _pixel_limit(picture: Image.Image) -> int:
    """How many pixels may be decoded: more of what needs less memory. A progressive JPEG is held whole meanwhile."""
    if isinstance(picture, JpegImageFile) and not picture.info.get("progressive"):
        return JPEG_PIXELS
    reducible = picture.mode in REDUCIBLE and low_byte_tiles(picture) is None
    return WHOLE_PIXELS if reducible else USUAL_PIXELS


def opened(upload: Upload) -> BinaryIO:
    """The upload, opened for reading; UserError where the page has deleted it."""
    try:
        return open_file(upload.path)
    except UserError as error:
        told = f"{upload.name} is no longer here, uploads are deleted after a while: upload it again."
        raise UserError(told) from error


def _damaged(upload: Upload) -> UserError:
    return UserError(f"{upload.name} is damaged: copy or download the photo again, or choose another.")


def _no_photo(upload: Upload) -> UserError:
    """What the file is, where its first bytes tell."""
    with opened(upload) as file:
        start = file.read(HEAD_BYTES)
    what = told_by(start) or f"is damaged or no picture: upload a photo as {PICTURE_FORMATS_TOLD}."
    return UserError(f"{upload.name} {what}")


def _decoded(
    picture: Image.Image, upload: Upload, size: tuple[int, int], sixteen_bit_range: Range | None
) -> np.ndarray:
    """uint8 [*size, 3]. A JPEG is decoded at an eighth, quarter or half where that is enough; of others, which have to
    be decoded whole, one large one at a time."""
    longest, own = max(size), (picture.height, picture.width)
    picture.draft(None, fitted(own, longest)[::-1])
    large = picture.width * picture.height > LARGE_PIXELS
    with _one_large_picture if large else contextlib.nullcontext():
        if sixteen_bit_range is not None and low_byte_tiles(picture) is not None:
            try:
                return resize_image(read_rgb(upload.path, USUAL_PIXELS, sixteen_bit_range), size)
            except UserError as error:  # it names the file in the upload folder
                raise _damaged(upload) from error
        if picture.width * picture.height > USUAL_PIXELS:
            picture = _reduced(picture, max(picture.size) // longest, upload.name)
        return resize_image(load_picture(picture, USUAL_PIXELS, sixteen_bit_range, upload.name), size)


def _reduced(picture: Image.Image, factor: int, name: str) -> Image.Image:
    """The picture at a whole part of its size, the mean of the pixels there, with its EXIF orientation."""
    try:
        picture.load()  # a TIFF is turned upright by this, and has no orientation afterwards
        exif = picture.getexif().tobytes()
        plain = picture.convert(PLAIN_MODES[picture.mode]) if picture.mode in PLAIN_MODES else picture
        small = plain.reduce(max(1, factor))
    except Exception as error:  # on damaged bytes Pillow's decoders raise nearly anything
        raise damaged(name, error) from error
    small.info["exif"] = exif
    return small


def _too_large(name: str, size: str, limit: int) -> UserError:
    return UserError(
        f"{name} is too large{size}: this page takes photos of this kind of up to {limit // 1_000_000} megapixels "
        f"(JPEG that is not progressive: {JPEG_PIXELS // 1_000_000}), so make it smaller first."
    )


def check_opacity(opacity: float) -> float:
    """The opacity, if it is one; UserError otherwise (programs may send anything)."""
    if isinstance(opacity, bool) or not isinstance(opacity, int | float) or not 0.0 <= opacity <= 1.0:
        raise UserError(f"The opacity is {opacity!r}: expected a number from 0 (the photo) to 1 (the classes).")
    return float(opacity)


def unique_stems(names: Iterable[str]) -> list[str]:
    """File stems for results, one for each name, in order; equal names get a number."""
    stems: list[str] = []
    taken: set[str] = set()
    for name in names:
        safe = (letter if letter.isalnum() or letter in "-_. " else "_" for letter in Path(name).stem)
        stem = "".join(safe).strip(" .")[:80] or "photo"
        free, number = stem, 2
        while free.lower() in taken:
            free, number = f"{stem}-{number}", number + 1
        taken.add(free.lower())
        stems.append(free)
    return stems
