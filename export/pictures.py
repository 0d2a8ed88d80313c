"""Any picture to RGB, and to the size at which a network looks at it (NumPy and Pillow only)."""

import os
from pathlib import Path

import numpy as np
from PIL import Image

from training.data.picture_files import MAX_PIXELS, check_pixels
from training.data.picture_pixels import Range, read_rgb, rgb, to_8_bits
from training.errors import UserError

LONGEST_SIDE = 8  # in training widths: a picture ten thousand times as wide as high is not enlarged without end

Picture = str | Path | Image.Image | np.ndarray


def load_picture(
    picture: Picture,
    max_pixels: int = MAX_PIXELS,
    sixteen_bit_range: Range | None = None,
    name: str = "the picture",
) -> np.ndarray:
    """RGB uint8 [height, width, 3] of a file, a Pillow image or an array.

    Files and Pillow images may be grey, palette, RGBA, CMYK, 16-bit or animated (the first frame), and are turned
    upright as their EXIF orientation says. Arrays are uint8 or uint16, [h, w], [h, w, 1], [h, w, 3] or [h, w, 4] (RGB).
    Alpha is left out. The values `sixteen_bit_range` of 16 bits become 0 and 255, as in training; None: the high byte.
    name: of a Pillow image, for sentences about it.

    Raises:
        UserError: no such file, damaged, no picture, of floating-point numbers, more than `max_pixels`, or an array of
            another kind.
    """
    if isinstance(picture, np.ndarray):
        return _from_array(picture, max_pixels, sixteen_bit_range)
    if isinstance(picture, Image.Image):
        check_pixels(picture.height, picture.width, name, max_pixels)
        return rgb(picture, name, sixteen_bit_range)
    if not isinstance(picture, str | os.PathLike):
        raise UserError(f"A picture is a path, a Pillow image or an array, not {type(picture).__name__}.")
    return read_rgb(Path(picture), max_pixels, sixteen_bit_range)


def _from_array(array: np.ndarray, max_pixels: int, sixteen_bit_range: Range | None) -> np.ndarray:
    channels = array.shape[2] if array.ndim == 3 else 1 if array.ndim == 2 else 0
    if array.dtype not in (np.uint8, np.uint16) or channels not in (1, 3, 4):
        raise UserError(
            f"A picture as an array must be uint8 or uint16 [height, width], [height, width, 3] or [height, width, 4], "
            f"not {array.dtype} {list(array.shape)}."
        )
    check_pixels(*array.shape[:2], "the picture", max_pixels)
    narrow = to_8_bits(array, sixteen_bit_range) if array.dtype == np.uint16 else array
    if channels == 1:
        return np.repeat(narrow.reshape(*array.shape[:2], 1), 3, axis=2)
    return np.ascontiguousarray(narrow[:, :, :3])


def network_size(own: tuple[int, int], training: tuple[int, int]) -> tuple[int, int]:
    """(height, width) at which the network sees a picture as large as it saw those of its training; aspect kept.

    own, training: (height, width). The shorter side becomes as long as the training pictures are high, so that a
    portrait photo shows things at the scale of the same camera's landscape photo.
    """
    scale = min(training[0] / min(own), LONGEST_SIDE * training[1] / max(own))
    return tuple(max(1, round(length * scale)) for length in own)


def resized(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """uint8 [h, w, 3] at `size` (height, width), as near to training's OpenCV as Pillow comes.

    Enlarging is bilinear in both. Shrinking is the mean of the pixels there: exactly so for whole factors, and nearly
    with a Hamming window for others (99 % equal labels on photos, against 97 % with Pillow's box or triangle).
    """
    if image.shape[:2] == tuple(size):
        return image
    own = image.shape[:2]
    method = Image.Resampling.BILINEAR
    if size[0] < own[0]:
        whole = own[0] % size[0] == own[1] % size[1] == 0
        method = Image.Resampling.BOX if whole else Image.Resampling.HAMMING
    return np.asarray(Image.fromarray(image).resize((size[1], size[0]), method))
