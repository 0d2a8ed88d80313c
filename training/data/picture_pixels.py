"""From an opened picture to upright RGB: EXIF orientation and 16-bit values (NumPy and Pillow only).

A photo is turned as its EXIF orientation says. A TIFF Pillow turns itself while it decodes it; of a PNG only what
stands before its pixels counts. 16 bits become 8 by `to_8_bits`.
"""

import struct
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from training.data.picture_files import MAX_PIXELS, damaged, opened_picture
from training.data.sampling import evenly_spaced
from training.errors import UserError

ORIENTATION = 0x0112  # EXIF's tag
LYING = (5, 6, 7, 8)  # orientations that swap height and width
PNG_EXIF = {"exif", "Raw profile type exif", "XML:com.adobe.xmp"}  # where a PNG may hold its orientation

FULL_RANGE = (0, 65535)
PERCENTILES = (0.1, 99.9)  # of the values of a data set, which become 0 and 255
RANGE_HEADERS, RANGE_PICTURES, RANGE_PIXELS = 500, 50, 20_000  # looked at to find them, at most

Range = tuple[int, int]


class Measured(NamedTuple):
    """`size` (height, width) as the pixels are stored, and the EXIF orientation, 1 to 8."""

    size: tuple[int, int]
    orientation: int = 1

    @property
    def upright(self) -> tuple[int, int]:
        """(height, width) after turning."""
        return self.size[::-1] if self.orientation in LYING else self.size


def measured(image: Image.Image) -> Measured:
    """Size and orientation of a picture that is not decoded yet."""
    orientation = orientation_of(image)
    size = (image.height, image.width)
    turned_by_pillow = image.format == "TIFF" and orientation in LYING
    return Measured(size[::-1] if turned_by_pillow else size, orientation)


def orientation_of(image: Image.Image) -> int:
    """EXIF orientation of a picture that is not decoded yet, 1 to 8; 1 = as stored, also for what is no orientation."""
    if image.format == "PNG" and not PNG_EXIF & image.info.keys():
        return 1
    try:
        value = Image.Image.getexif(image).get(ORIENTATION, 1)  # a PNG's own method would decode the whole picture
    except (OSError, SyntaxError, ValueError, struct.error):  # the pixels may be whole all the same
        return 1
    return value if isinstance(value, int) and 2 <= value <= 8 else 1


def turned(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Stored pixels [h, w, ...] as an EXIF orientation 1 to 8 wants them seen."""
    if orientation in LYING:
        pixels = np.swapaxes(pixels, 0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels[:, ::-1] if orientation in (2, 3, 6, 7) else pixels)


def read_rgb(path: Path, max_pixels: int = MAX_PIXELS, sixteen_bit_range: Range | None = None) -> np.ndarray:
    """Upright RGB uint8 [height, width, 3] of a file; `sixteen_bit_range` as in `to_8_bits`.

    Raises:
        UserError: the file cannot be read, is damaged, no image, of floating-point numbers, or too large.
    """
    with opened_picture(path, max_pixels) as image:
        deep = sixteen_bit_range is not None and low_byte_tiles(image) is not None
        if not deep:
            return rgb(image, str(path), sixteen_bit_range)
    return to_8_bits(deep_colors(path, max_pixels), sixteen_bit_range)


def rgb(image: Image.Image, name: str, sixteen_bit_range: Range | None = None) -> np.ndarray:
    """As `read_rgb`, of an opened picture; of 16-bit colours Pillow decodes the high byte only."""
    if image.mode == "F":  # in 0..1, 0..255 or metres: no telling, and Pillow would clip it
        raise UserError(f"{name} holds floating-point numbers: save it with 8 or 16 bits.")
    try:
        orientation = 1 if image.format == "TIFF" else orientation_of(image)
        if image.mode.startswith("I"):  # 16 bits, which Pillow would clip to 8 instead of scaling
            grey = to_8_bits(np.asarray(image), sixteen_bit_range)
            return turned(np.repeat(grey[:, :, None], 3, axis=2), orientation)
        return turned(np.array(image.convert("RGB")), orientation)
    except Exception as error:  # on damaged bytes Pillow's decoders raise nearly anything
        raise damaged(name, error) from error


def low_byte_tiles(image: Image.Image) -> list | None:
    """What makes Pillow decode the low bytes of 16-bit colours; None for every other picture."""
    if image.mode not in ("RGB", "RGBA") or image.format not in ("PNG", "TIFF") or not image.tile:
        return None
    swapped = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}
    tiles = []
    for tile in image.tile:
        first, *rest = tile.args if isinstance(tile.args, tuple) else (tile.args,)
        if not str(first).startswith(("RGB;16", "RGBA;16")):
            return None
        mode = f"{first[:-1]}{swapped[first[-1]]}"
        tiles.append(tile._replace(args=(mode, *rest) if isinstance(tile.args, tuple) else mode))
    return tiles


def deep_colors(path: Path, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Upright uint16 [height, width, 3] of a file of 16-bit colours: decoded twice, as Pillow gives one byte."""
    with opened_picture(path, max_pixels) as image:
        high = rgb(image, str(path)).astype(np.uint16)
    with opened_picture(path, max_pixels) as image:
        image.tile = low_byte_tiles(image)
        return high << 8 | rgb(image, str(path))


def to_8_bits(pixels: np.ndarray, sixteen_bit_range: Range | None) -> np.ndarray:
    """uint8 of integers: the range, of a data set, is stretched over 0 to 255; None: the high byte of 0 to 65535."""
    if sixteen_bit_range is None:
        return (np.clip(pixels, *FULL_RANGE) >> 8).astype(np.uint8)
    low, high = sixteen_bit_range
    stretched = (pixels.astype(np.float32) - low) * (255 / (high - low))
    return np.clip(np.rint(stretched), 0, 255).astype(np.uint8)


def range_of_files(
    paths: Sequence[Path], max_pixels: int = MAX_PIXELS, decoding: AbstractContextManager | None = None
) -> Range | None:
    """The `sixteen_bit_range` for these pictures: percentiles 0.1 and 99.9 of values of some of them, evenly spaced.

    None where none of those looked at has 16 bits, or where their values span half of what 16 bits can hold: these
    lose nothing by the high byte. 0 and 65535, which mark missing values, are not counted. Files that cannot be read,
    or have more than `max_pixels`, are passed over: whoever reads them says so. decoding: entered while a picture is
    decoded, a lock for example.
    """
    headers = [paths[place] for place in evenly_spaced(len(paths), RANGE_HEADERS)]
    deep = [path for path in headers if _is_deep(path, max_pixels)]
    chosen = [deep[place] for place in evenly_spaced(len(deep), RANGE_PICTURES)]
    return range_of_values([values for path in chosen for values in _values(path, max_pixels, decoding)])


def range_of_values(values: Sequence[np.ndarray]) -> Range | None:
    """`range_of_files` of the values themselves, one array per picture."""
    if not values:
        return None
    everything = np.concatenate([array.ravel() for array in values])
    counted = everything[(everything != FULL_RANGE[0]) & (everything != FULL_RANGE[1])]
    low, high = np.percentile(counted if counted.size else everything, PERCENTILES)
    low, high = int(np.floor(low)), int(np.ceil(high))
    if FULL_RANGE[0] <= low and high <= FULL_RANGE[1] and high - low >= FULL_RANGE[1] // 2:
        return None
    return low, max(high, low + 1)


def range_sentence(name: str, sixteen_bit_range: Range) -> str:
    """What is done with the 16-bit photos of `name`."""
    low, high = sixteen_bit_range
    return f"16-bit photos of {name}: the values {low} to {high} become 0 to 255, the same in all of them."


def _is_deep(path: Path, max_pixels: int) -> bool:
    try:
        with opened_picture(path, max_pixels) as image:
            return image.mode.startswith("I") or low_byte_tiles(image) is not None
    except UserError:
        return False


def _values(path: Path, max_pixels: int, decoding: AbstractContextManager | None) -> list[np.ndarray]:
    """Evenly spaced values of a picture of 16 bits; none where it is damaged."""
    try:
        with decoding or nullcontext():
            with opened_picture(path, max_pixels) as image:
                values = np.asarray(image) if image.mode.startswith("I") else None
            values = (deep_colors(path, max_pixels) if values is None else values).ravel()
            return [values[:: max(1, values.size // RANGE_PIXELS)].copy()]
    except Exception:  # as in `rgb`
        return []
