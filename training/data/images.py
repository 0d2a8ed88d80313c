"""Image and label files to arrays: every odd file is an error that names it."""

import struct
from pathlib import Path

import cv2
import numpy as np
from PIL import ImageOps

from training.data.picture_files import check_pixels, damaged, opened_picture
from training.errors import UserError
from training.files.reading import open_file

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")
_ROTATED = (5, 6, 7, 8)  # EXIF orientations that swap height and width
_WITH_EXIF = ("JPEG", "MPO", "TIFF", "WEBP")


def image_size(path: Path) -> tuple[int, int]:
    """(height, width) of the picture as `read_image` returns it, from the file's header alone.

    Raises:
        UserError: the file cannot be read, is no image, or too large.
    """
    size = _png_size(path)
    if size is not None:
        return size
    with opened_picture(path) as image:
        width, height = image.size
        try:
            turned = image.format in _WITH_EXIF and image.getexif().get(0x0112, 1) in _ROTATED
        except Exception as error:  # as in `read_image`
            raise damaged(path, error) from error
    return (width, height) if turned else (height, width)


def _png_size(path: Path) -> tuple[int, int] | None:
    """Size from the first 24 bytes of a PNG: several times quicker than opening it, which counts at 50 000 files."""
    with open_file(path) as file:
        header = file.read(24)
    if len(header) < 24 or header[:8] != b"\x89PNG\r\n\x1a\n":
        return None
    width, height = struct.unpack(">II", header[16:24])
    check_pixels(height, width, str(path))
    return height, width


def read_image(path: Path) -> np.ndarray:
    """RGB uint8 [height, width, 3]; grey, palette, alpha, 16-bit and EXIF-rotated pictures are converted.

    Raises:
        UserError: the file cannot be read, is damaged, no image, of floating-point numbers, or too large.
    """
    with opened_picture(path) as image:
        if image.mode == "F":  # in 0..1, 0..255 or metres: no telling, and Pillow would clip it
            raise UserError(f"{path} holds floating-point numbers: save it with 8 or 16 bits.")
        try:
            if image.format in _WITH_EXIF:
                image = ImageOps.exif_transpose(image)
            if image.mode.startswith("I;16") or image.mode == "I":  # Pillow would clip instead of scaling
                grey = (np.asarray(image).astype(np.uint32) >> 8).astype(np.uint8)
                return np.repeat(grey[:, :, None], 3, axis=2)
            return np.array(image.convert("RGB"))
        except Exception as error:  # on damaged bytes Pillow's decoders raise nearly anything
            raise damaged(path, error) from error


def read_id_image(path: Path) -> np.ndarray:
    """Integers [height, width] of a single-channel label file; of a palette PNG the indices, not the colours.

    Raises:
        UserError: the file cannot be read, is damaged, too large, or holds colours.
    """
    with opened_picture(path) as image:
        if image.mode not in ("L", "P", "1", "I") and not image.mode.startswith("I;16"):
            raise UserError(
                f"Label {path} holds colours (mode {image.mode}) where one channel of class ids was expected: "
                "convert it to an 8-bit single-channel PNG."
            )
        try:
            return np.array(image)
        except Exception as error:  # as in `read_image`
            raise damaged(path, error) from error


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
