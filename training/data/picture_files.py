"""Opening a picture file of unknown origin: by its header alone, refused before anything large is decoded (Pillow)."""

import contextlib
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from PIL import Image, UnidentifiedImageError

from training.errors import UserError
from training.files.reading import open_file

MAX_PIXELS = 80_000_000
"""Pictures above this are refused before they are decoded; Pillow itself warns from 89 million on."""

FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "TIFF", "GIF", "PPM")
"""What is read, whatever the file is called; for some of the other formats Pillow would start another program."""

_bomb_limit = threading.Lock()
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)  # `check_pixels` says it in a sentence


@contextlib.contextmanager
def opened_picture(path: Path, max_pixels: int = MAX_PIXELS) -> Iterator[Image.Image]:
    """The picture with its size and mode known, not decoded yet.

    Raises:
        UserError: the file cannot be read, is damaged, no picture, or has more than `max_pixels`.
    """
    with open_file(path) as file, _opened(file, path, max_pixels) as image:
        check_pixels(image.height, image.width, str(path), max_pixels)
        yield image


def _opened(file: BinaryIO, path: Path, max_pixels: int) -> Image.Image:
    try:
        return _unlimited(file) if max_pixels > MAX_PIXELS else _open(file)
    except UnidentifiedImageError as error:
        raise UserError(f"{path} is damaged or no image: replace the file or remove it.") from error
    except Image.DecompressionBombError as error:
        raise UserError(f"{path} is far too large ({error}): shrink it first.") from error
    except Exception as error:  # on damaged headers Pillow's plugins raise nearly anything
        raise damaged(path, error) from error


def _open(file: BinaryIO) -> Image.Image:
    return Image.open(file, formats=FORMATS)


def _unlimited(file: BinaryIO) -> Image.Image:
    """Pillow refuses pictures of twice its own limit on opening; for a caller who allows more that limit is lifted."""
    with _bomb_limit:
        usual, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return _open(file)
        finally:
            Image.MAX_IMAGE_PIXELS = usual


def damaged(path: Path | str, error: Exception) -> UserError:
    """The sentence for a file whose decoder raised `error`."""
    return UserError(f"{path} is damaged ({error}): download or copy the file again, or remove it.")


def check_pixels(height: int, width: int, name: str, max_pixels: int = MAX_PIXELS) -> None:
    """Raise UserError for a picture without pixels or with more than `max_pixels`."""
    if min(height, width) < 1:
        raise UserError(f"{name} is damaged or empty: it has no pixels ({height}x{width}).")
    if height * width > max_pixels:
        raise UserError(
            f"{name} has {height * width / 1e6:.0f} megapixels ({height}x{width}), more than the limit of "
            f"{max_pixels / 1e6:.0f}: shrink it."
        )
