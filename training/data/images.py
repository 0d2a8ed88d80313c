"""Image and label files to arrays: every odd file is an error that names it."""

import struct
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from training.data.picture_files import check_pixels, damaged, opened_picture
from training.data.picture_pixels import Measured, Range, deep_colors, measured, orientation_of, read_rgb, turned
from training.errors import UserError
from training.files.reading import open_file

PNG_START = 2048  # bytes in which a PNG without EXIF has shown its size and the start of its pixels
BITS_PER_SAMPLE, SAMPLE_FORMAT = 258, 339  # tags of TIFF; format 2 = signed integers
LOSSY = ("JPEG", "MPO", "AVIF", "HEIF")


def image_size(path: Path) -> tuple[int, int]:
    """(height, width) of the picture as `read_image` returns it, from the file's header alone; raises as `measure`."""
    return measure(path).upright


def measure(path: Path) -> Measured:
    """Size as stored and EXIF orientation of a picture, from the file's header alone.

    Raises:
        UserError: the file cannot be read, is no image, or too large.
    """
    size = _png_size(path)
    if size is not None:
        return Measured(size)
    with opened_picture(path) as image:
        try:
            return measured(image)
        except Exception as error:  # on damaged bytes Pillow raises nearly anything
            raise damaged(path, error) from error


def _png_size(path: Path) -> tuple[int, int] | None:
    """Size from the first bytes of a PNG without EXIF: several times quicker than opening it, which counts at 50 000
    files."""
    with open_file(path) as file:
        header = file.read(PNG_START)
    before_pixels, pixels, _ = header.partition(b"IDAT")
    if len(header) < 24 or header[:8] != b"\x89PNG\r\n\x1a\n":
        return None
    if not pixels or any(mark in before_pixels for mark in (b"eXIf", b"exif", b"XML:com.adobe.xmp")):
        return None
    width, height = struct.unpack(">II", header[16:24])
    check_pixels(height, width, str(path))
    return height, width


def read_image(path: Path, sixteen_bit_range: Range | None = None) -> np.ndarray:
    """RGB uint8 [height, width, 3]; grey, palette, alpha, 16-bit and EXIF-rotated pictures are converted.

    sixteen_bit_range: the values of 16-bit pictures that become 0 and 255; None: their high byte.

    Raises:
        UserError: the file cannot be read, is damaged, no image, of floating-point numbers, or too large.
    """
    return read_rgb(path, sixteen_bit_range=sixteen_bit_range)


def read_id_image(path: Path) -> np.ndarray:
    """Integers [height, width] of a single-channel label file, of the type they are stored in, turned upright.

    Of a palette PNG the indices, not the colours. Grey repeated in three channels and grey with alpha count as one
    channel.

    Raises:
        UserError: the file cannot be read, is damaged, too large, of a format that changes ids, or holds colours.
    """
    with opened_picture(path) as image:
        _check_lossless(image, path)
        if image.mode == "F":
            raise UserError(f"Label {path} holds floating-point numbers: save class ids as whole numbers, in a PNG.")
        try:
            orientation = 1 if image.format == "TIFF" else orientation_of(image)
            stored, mode = _sample_type(image), image.mode
            ids = turned(np.array(image), orientation)
        except Exception as error:  # as in `measure`
            raise damaged(path, error) from error
    if ids.ndim == 3 and stored.itemsize > 1:  # Pillow cut them to the high byte
        ids = turned(_read_unchanged(path), orientation) if mode == "LA" else deep_colors(path)
    if ids.ndim == 3:
        ids = _one_channel(ids, path)
    ids = ids.astype(np.uint8 if ids.dtype == bool else ids.dtype.newbyteorder("="))
    return ids.view(stored) if ids.itemsize == stored.itemsize else ids


def _check_lossless(image: Image.Image, path: Path) -> None:
    """Refuse a label in a format that changes pixel values."""
    lossy = image.format in LOSSY
    if image.format == "WEBP":
        image.fp.seek(0)
        lossy = b"VP8L" not in image.fp.read(64)
        image.fp.seek(0)
    if lossy:
        name = "JPEG" if image.format == "MPO" else image.format
        raise UserError(
            f"Label {path} is a {name} file: its compression changes pixel values, so a {name} cannot hold labels. "
            "Save them as PNG, from where they were drawn; converting this file does not bring the ids back."
        )


def _sample_type(image: Image.Image) -> np.dtype:
    """The type of one channel of a picture as its file has it; Pillow's own has no 8-bit sign, and none of 32 bits
    without."""
    if image.format == "PNG":
        return np.dtype(np.uint16 if "16" in str(image.tile[0].args) else np.uint8)
    if image.format != "TIFF":
        return np.dtype(np.uint8)
    bits = max(image.tag_v2.get(BITS_PER_SAMPLE, (8,)))
    signed = 2 in image.tag_v2.get(SAMPLE_FORMAT, (1,))
    return np.dtype(f"{'i' if signed else 'u'}{max(1, bits // 8)}")


def _one_channel(pixels: np.ndarray, path: Path) -> np.ndarray:
    """The grey channel of [h, w, 2 to 4], alpha left out."""
    colors = pixels[:, :, : 1 if pixels.shape[2] == 2 else 3]
    if (colors != colors[:, :, :1]).any():
        raise UserError(
            f"Label {path} holds colours where one channel of class ids was expected: convert it to an 8-bit "
            "single-channel PNG."
        )
    return np.ascontiguousarray(colors[:, :, 0])


def read_first_channel(path: Path) -> np.ndarray:
    """Integers [height, width] of channel 0 (red) of a 2- or 3-channel 16-bit PNG, the form of SYNTHIA's labels.

    OpenCV reads it, because Pillow cuts 16-bit colours to their high byte, which here is always 0.
    """
    pixels = _read_unchanged(path)
    if pixels.ndim == 2:
        return pixels
    return pixels[:, :, 0] if pixels.shape[2] == 2 else pixels[:, :, 2]  # OpenCV's order is blue, green, red


def read_color_label(path: Path) -> np.ndarray:
    """Colours of a label picture, packed as 0xRRGGBB: uint32 [height, width]."""
    with opened_picture(path) as image:
        _check_lossless(image, path)
    pixels = read_image(path).astype(np.uint32)
    return pixels[:, :, 0] << 16 | pixels[:, :, 1] << 8 | pixels[:, :, 2]


def _read_unchanged(path: Path) -> np.ndarray:
    """As OpenCV reads it. It is given PNGs only, of a size known to be sane: what it needs is not bounded otherwise."""
    with opened_picture(path) as image:
        if image.format != "PNG":
            raise UserError(f"Label {path} is a {image.format} file, where a PNG was expected.")
    with open_file(path) as file:
        content = file.read()
    try:
        pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise damaged(path, error) from error
    if pixels is None:
        raise UserError(f"{path} is damaged or no image: download or copy the file again, or remove it.")
    return pixels


def resize_image(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize uint8 [h, w, 3] to `size` (height, width): area average when shrinking, bilinear when enlarging."""
    if image.shape[:2] == tuple(size):
        return image
    shrinks = size[0] < image.shape[0] and size[1] < image.shape[1]
    return cv2.resize(image, (size[1], size[0]), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def resize_label(label: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize ids uint8 [h, w] to `size` (height, width) by the nearest pixel centre, aligned with `resize_image`."""
    if label.shape == tuple(size):
        return label
    return cv2.resize(label, (size[1], size[0]), interpolation=cv2.INTER_NEAREST_EXACT)
