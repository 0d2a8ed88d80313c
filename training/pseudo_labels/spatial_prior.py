"""Spatial priors: how often each class occurs at each place, from source labels (CBST, section 4.2)."""

import base64
import math
import zlib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from training.errors import UserError
from training.probability_maps.scores import MAX_CLASSES

KERNEL = 70.0  # pixels of an image of this height:
REFERENCE_HEIGHT = 1024
SIGMAS_PER_KERNEL = 6.0  # the published text gives the support only; three sigmas to each side
PACKED_SIZE = (64, 128)  # height and width of a packed prior, at most


def spatial_prior(
    labels: Iterable[np.ndarray], classes: int, size: tuple[int, int], kernel: float = KERNEL
) -> np.ndarray:
    """Frequency of each class at each pixel over the source labels, smoothed; float32 [h, w, c], mean 1 per class.

    labels: ints [any height, any width] of train ids, everything >= classes ignored; brought to `size` (h, w) by
    nearest neighbour. kernel: support of the Gaussian (sigma = kernel / 6, reflecting border) in pixels of an image
    1024 high; it scales with the height. A class absent from the source is 0 everywhere: it is never selected.
    Normalising the mean to 1 instead of the sum scales all classes alike, which changes no selected pixel.
    """
    counts = np.zeros((classes, *size), np.float64)
    number = 0
    for label in labels:
        resized = resize_label(np.asarray(label), size)
        for class_id in np.flatnonzero(np.bincount(resized.reshape(-1), minlength=classes)[:classes]):
            counts[class_id] += resized == class_id
        number += 1
    if number == 0:
        raise UserError("There are no source labels to make a spatial prior from: expected at least one.")
    scale = kernel / REFERENCE_HEIGHT * size[0]
    rows, columns = (smoothing_matrix(length, scale) for length in size)
    return _normalised(_apply(counts, rows, columns))


def resize_prior(prior: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The prior [h, w, c] at another size, linearly interpolated (averaged when shrinking), mean 1 per class again."""
    rows, columns = (resize_matrix(old, new) for old, new in zip(prior.shape[:2], size, strict=True))
    return _normalised(_apply(np.moveaxis(prior, -1, 0).astype(np.float64), rows, columns))


class PriorAtSizes:
    """A spatial prior float32 [h, w, c] at the size of each image, or None; the last size is kept."""

    def __init__(self, prior: np.ndarray | None):
        self.prior, self._last = prior, prior

    def __call__(self, size: tuple[int, int]) -> np.ndarray | None:
        """At the height and width of an image; several threads may ask."""
        last = self._last
        if last is None or last.shape[:2] == size:
            return last
        self._last = resized = self.prior if self.prior.shape[:2] == size else resize_prior(self.prior, size)
        return resized


def resize_label(label: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Nearest neighbour with aligned image borders: label [h, w] -> [size]."""
    rows, columns = (
        ((np.arange(new) + 0.5) * old / new).astype(np.intp) for old, new in zip(label.shape, size, strict=True)
    )
    return label[rows[:, None], columns]


def pack_prior(prior: np.ndarray) -> dict[str, Any]:
    """A spatial prior float32 [h, w, c] in some 50 kB: at most 64 x 128, square roots in 8 bits, deflated, base64.

    The Gaussian that smoothed it spans less than a pixel there; the root gives small values the finer steps; the
    differences from the left and upper neighbours (modulo 256) deflate to less than half.
    """
    size = tuple(min(own, most) for own, most in zip(prior.shape[:2], PACKED_SIZE, strict=True))
    same = size == prior.shape[:2]  # what was packed before is packed to the same again
    small = np.moveaxis(prior if same else resize_prior(prior, size), -1, 0)
    scale = np.maximum(small.max(axis=(1, 2)), np.finfo(np.float32).tiny)
    coded = np.round(255 * np.sqrt(small / scale[:, None, None])).astype(np.uint8)
    for axis in (1, 2):
        coded = np.diff(coded, axis=axis, prepend=np.uint8(0))
    packed = base64.b64encode(zlib.compress(coded.tobytes(), 9)).decode("ascii")
    return {"shape": list(coded.shape), "scale": scale.tolist(), "deflated": packed}


def unpack_prior(content: Mapping[str, Any]) -> np.ndarray:
    """The spatial prior float32 [h, w, c] that `pack_prior` packed, within half a step of its square root.

    Raises:
        ValueError, KeyError, TypeError, zlib.error: what was packed is something else; it is not unpacked further than
            its shape says.
    """
    shape, scale = content["shape"], content["scale"]
    most = (MAX_CLASSES, *PACKED_SIZE)
    if len(shape) != 3 or not all(type(n) is int and 0 < n <= m for n, m in zip(shape, most, strict=True)):
        raise ValueError(f"a prior of shape {str(shape)[:80]}")
    if len(scale) != shape[0] or not all(type(number) in (int, float) and 0 <= number < 1e6 for number in scale):
        raise ValueError("a scale for each class was expected")
    packed = zlib.decompressobj().decompress(base64.b64decode(content["deflated"]), math.prod(shape) + 1)
    coded = np.frombuffer(packed, np.uint8).reshape(shape)
    for axis in (1, 2):
        coded = np.cumsum(coded, axis=axis, dtype=np.uint8)
    return (np.float32(scale) * (np.moveaxis(coded, 0, -1) / np.float32(255)) ** 2).astype(np.float32)


def smoothing_matrix(length: int, kernel: float) -> np.ndarray:
    """float64 [length, length]: truncated Gaussian of support `kernel` pixels; rows sum to 1, border reflected."""
    sigma = kernel / SIGMAS_PER_KERNEL
    reach = math.ceil(kernel / 2)
    offsets = np.arange(-reach, reach + 1)
    weights = _gaussian_mass(offsets, kernel / 2, sigma)
    matrix = np.zeros((length, length))
    for offset, weight in zip(offsets.tolist(), weights.tolist(), strict=True):
        position = (np.arange(length) + offset) % (2 * length)
        matrix[np.arange(length), np.minimum(position, 2 * length - 1 - position)] += weight
    return matrix


def resize_matrix(old: int, new: int) -> np.ndarray:
    """float64 [new, old]: triangle filter, half-pixel centres, widened when shrinking; rows sum to 1."""
    width = max(1.0, old / new)
    centre = (np.arange(new) + 0.5) * old / new - 0.5
    weights = np.maximum(0.0, 1.0 - np.abs(np.arange(old) - centre[:, None]) / width)
    return weights / weights.sum(axis=1, keepdims=True)


def _gaussian_mass(offsets: np.ndarray, half: float, sigma: float) -> np.ndarray:
    """Mass of the Gaussian, cut off at +-half, that falls on each pixel: exact for fractional and tiny kernels."""
    edges = np.clip(np.append(offsets - 0.5, offsets[-1] + 0.5), -half, half)
    cumulative = np.array([math.erf(edge / (sigma * math.sqrt(2.0))) for edge in edges])
    mass = np.diff(cumulative)
    return mass / mass.sum()


def _apply(maps: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """rows @ map @ columns^T for every map of [c, h, w]."""
    return np.stack([rows @ single @ columns.T for single in maps])


def _normalised(maps: np.ndarray) -> np.ndarray:
    """[c, h, w] -> float32 [h, w, c] with mean 1 per class (all 0 stays 0)."""
    means = maps.mean(axis=(1, 2), keepdims=True)
    scaled = maps / np.where(means > 0, means, 1.0)
    return np.ascontiguousarray(np.moveaxis(scaled, 0, -1), np.float32)
