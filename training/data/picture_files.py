"""Opening a picture file of unknown origin: by its header alone, refused before anything large is decoded (Pillow)."""

import contextlib
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from PIL import Image, UnidentifiedImageError

from training.data.photo_files import AVIF_ADVICE, HEIC_ADVICE, READABLE, pillow_heif
from training.errors import UserError
from training.files.reading import open_file

MAX_PIXELS = 80_000_000
"""Pictures above this are refused before they are decoded; Pillow itself warns from 89 million on."""

FORMATS = (*READABLE, "PPM")
"""What is read, whatever the file is called; for some of the other formats Pillow would start another program."""

NO_PICTURES = (
    (b"\x00\x05\x16\x07", "holds what macOS keeps beside a file (AppleDouble), no picture: remove it."),
    (b"\x00\x00\x00\x0cJXL ", "is a JPEG XL file, which is not read: convert it to PNG or JPEG."),
    (b"\xff\x0a", "is a JPEG XL file, which is not read: convert it to PNG or JPEG."),
    (b"\x00\x00\x00\x0cjP", "is a JPEG 2000 file, which is not read: convert it to PNG or JPEG."),
    (b"%PDF", "is a PDF file, no picture: save its pages as PNG."),
    (b"version https://git-lfs", "is a pointer of Git LFS, not the picture itself: fetch it with git lfs pull."),
)
"""First bytes of files that are often taken for a picture, and what to say of them."""

HEIC_BRANDS = {b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1"}
AVIF_BRANDS = {b"avif", b"avis"}
HEAD_BYTES = 64  # in which a file says what it is

_bomb_limit = threading.Lock()
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)  # `check_pixels` says it in a sentence
if pillow_heif is not None:
    pillow_heif.register_heif_opener()


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
        file.seek(0)
        raise no_picture(path, file.read(HEAD_BYTES)) from error
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


def no_picture(name: Path | str, start: bytes) -> UserError:
    """The sentence for a file that no reader knows: what it is, where its first bytes tell, and what to do."""
    what = told_by(start)
    return UserError(f"{name} {what}" if what else f"{name} is damaged or no image: replace the file or remove it.")


def told_by(start: bytes) -> str | None:
    """What a file that is not read is, by its first HEAD_BYTES bytes; None where they do not tell."""
    if start[4:8] == b"ftyp":
        brands = {start[8:12], *(start[place : place + 4] for place in range(16, len(start), 4))}
        if brands & AVIF_BRANDS and "AVIF" not in READABLE:
            return f"is an AVIF photo, which is not read here. {AVIF_ADVICE}."
        if brands & HEIC_BRANDS and "HEIF" not in READABLE:
            return f"is a HEIC photo, which is not read here. {HEIC_ADVICE}."
    return next((sentence for first, sentence in NO_PICTURES if start.startswith(first)), None)


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
