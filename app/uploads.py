"""From an uploaded file to a photo: every odd file becomes a right picture or one clear sentence."""

import contextlib
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from app.limits import LARGE_PIXELS, PHOTO_PIXELS, PICTURE_FORMATS_TOLD, WORKING_SIDE
from export.pictures import load_picture
from training.data.images import resize_image
from training.data.picture_files import FORMATS, HEAD_BYTES, told_by
from training.data.picture_pixels import Range, low_byte_tiles, measured, range_of_files, read_rgb
from training.errors import UserError

_one_large_picture = threading.Lock()

# What Pillow raises, besides OSError, for files that somebody damaged or built to do harm.
DAMAGES = (OSError, ValueError, SyntaxError, EOFError, IndexError, TypeError)


@dataclass(frozen=True)
class Upload:
    """An uploaded file, where it lies in the upload folder and what its owner called it."""

    path: Path
    name: str


@dataclass(frozen=True)
class Photo:
    """A photo to work on: uint8 `[h, w, 3]` RGB, its longer side at most `WORKING_SIDE`; `own_size` is the file's
    (height, width) as it is looked at, after its EXIF orientation."""

    name: str
    image: np.ndarray
    own_size: tuple[int, int]


def range_for(known: Range | None, uploads: Iterable[Upload]) -> Range | None:
    """From which values 16-bit photos are stretched: `known`, of the model's training, or else those of all uploads."""
    return known or range_of_files([upload.path for upload in uploads])


def read_photo(upload: Upload, longest_side: int = WORKING_SIDE, sixteen_bit_range: Range | None = None) -> Photo:
    """Decode a photo of any kind (grey, CMYK, 16-bit, transparent, animated: its first picture; EXIF-rotated).

    sixteen_bit_range: see `range_for`.

    Raises:
        UserError: the file is no picture, is damaged, or has more than `PHOTO_PIXELS` pixels (told from its header).
    """
    try:
        with Image.open(upload.path, formats=FORMATS) as picture:  # an EPS would start another program
            own_size = _checked_size(picture, upload.name)
            image = _decoded(picture, upload.path, fitted(own_size, longest_side), sixteen_bit_range)
    except Image.DecompressionBombError as error:
        raise _too_large(upload.name) from error
    except FileNotFoundError as error:
        raise UserError(
            f"{upload.name} is no longer here, uploads are deleted after a while: upload it again."
        ) from error
    except Image.UnidentifiedImageError as error:
        raise _no_photo(upload) from error
    except (UserError, *DAMAGES) as error:
        raise UserError(f"{upload.name} is damaged: copy or download the photo again, or choose another.") from error
    return Photo(Path(upload.name).stem, image, own_size)


def fitted(size: tuple[int, int], longest_side: int) -> tuple[int, int]:
    """(height, width) of the same shape with the longer side at most `longest_side`; nothing is enlarged."""
    scale = min(1.0, longest_side / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _checked_size(picture: Image.Image, name: str) -> tuple[int, int]:
    """(height, width) as the picture is looked at, from its header."""
    if picture.width * picture.height > PHOTO_PIXELS:
        raise _too_large(name, f" ({picture.width} x {picture.height})")
    return measured(picture).upright


def _no_photo(upload: Upload) -> UserError:
    """What the file is, where its first bytes tell."""
    with open(upload.path, "rb") as file:
        start = file.read(HEAD_BYTES)
    what = told_by(start) or f"is damaged or no picture: upload a photo as {PICTURE_FORMATS_TOLD}."
    return UserError(f"{upload.name} {what}")


def _decoded(picture: Image.Image, path: Path, size: tuple[int, int], sixteen_bit_range: Range | None) -> np.ndarray:
    """uint8 [*size, 3]. A JPEG is decoded at an eighth, quarter or half where that is enough; of others, which have to
    be decoded whole, one large one at a time."""
    picture.draft(None, (max(size), max(size)))
    large = picture.width * picture.height > LARGE_PIXELS
    with _one_large_picture if large else contextlib.nullcontext():
        if sixteen_bit_range is not None and low_byte_tiles(picture) is not None:
            return resize_image(read_rgb(path, PHOTO_PIXELS, sixteen_bit_range), size)
        return resize_image(load_picture(picture, PHOTO_PIXELS, sixteen_bit_range), size)


def _too_large(name: str, size: str = "") -> UserError:
    return UserError(
        f"{name} is too large{size}: this page takes photos of up to {PHOTO_PIXELS // 1_000_000} million pixels, "
        "so make it smaller first."
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
