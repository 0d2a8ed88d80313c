"""Tileable grey textures, made once per process from fixed seeds: what keeps surfaces from being flat."""

from functools import cache

import cv2
import numpy as np

TILE = 512
NEUTRAL = 128  # a texture value of 128 leaves the colour as it is


def _spectral(seed: int, slope: float) -> np.ndarray:
    """Periodic noise with an amplitude spectrum of 1 / frequency ** slope, mean 0, deviation 1, float32 [512, 512]."""
    rng = np.random.default_rng([7, seed])
    frequency = np.hypot(np.fft.fftfreq(TILE)[:, None], np.fft.rfftfreq(TILE)[None, :]) * TILE
    frequency[0, 0] = np.inf
    spectrum = np.fft.rfft2(rng.standard_normal((TILE, TILE))) / np.maximum(frequency, 1) ** slope
    field = np.fft.irfft2(spectrum, (TILE, TILE))
    return (field / field.std()).astype(np.float32)


def _to_bytes(field: np.ndarray, deviation: float) -> np.ndarray:
    return np.clip(NEUTRAL + field * deviation, 0, 255).astype(np.uint8)


def _courses(seed: int, rows: int, columns: int, joint: int, spread: float, bond: float) -> np.ndarray:
    """Bricks, slabs or tiles: `rows` x `columns` a tile, each block with its own brightness, joints darker."""
    rng = np.random.default_rng([8, seed])
    blocks = rng.normal(0, spread, (rows, columns))
    ys, xs = np.arange(TILE) * rows / TILE, np.arange(TILE) * columns / TILE
    row = ys.astype(int)
    shifted = (xs[None, :] + (row % 2)[:, None] * bond) % columns
    field = blocks[row[:, None], shifted.astype(int)]
    edge_y = (ys % 1.0) * TILE / rows < joint
    edge_x = (shifted % 1.0) * TILE / columns < joint
    field = np.where(edge_y[:, None] | edge_x, -1.6 * spread - 22, field) + 12 * _spectral(seed + 50, 0.5)
    return np.clip(NEUTRAL + field, 0, 255).astype(np.uint8)


def _foliage(seed: int) -> np.ndarray:
    """Clumps of leaves with dark gaps: two scales of noise, the dark side stretched."""
    field = 0.6 * _spectral(seed, 1.1) + 0.55 * _spectral(seed + 1, 0.35) + 0.5 * _spectral(seed + 2, 1.9)
    return np.clip(NEUTRAL + np.where(field < 0, 62, 48) * field, 8, 255).astype(np.uint8)


def _asphalt(seed: int) -> np.ndarray:
    field = 0.75 * _spectral(seed, 0.15) + 0.6 * _spectral(seed + 1, 1.3)
    cracks = np.abs(_spectral(seed + 2, 1.9)) < 0.02
    return np.clip(NEUTRAL + 17 * field - 34 * cracks, 0, 255).astype(np.uint8)


_MAKERS = {
    "soft": lambda: _to_bytes(_spectral(1, 1.7), 38),
    "stain": lambda: _to_bytes(_spectral(2, 1.3), 30),
    "cloud": lambda: _to_bytes(_spectral(3, 1.85), 52),
    "grain": lambda: _to_bytes(_spectral(4, 0.1), 24),
    "plaster": lambda: _to_bytes(0.5 * _spectral(5, 0.4) + 0.9 * _spectral(6, 1.5), 15),
    "asphalt": lambda: _asphalt(10),
    "grass": lambda: _to_bytes(0.8 * _spectral(14, 0.25) + 0.7 * _spectral(15, 1.2), 34),
    "foliage": lambda: _foliage(20),
    "brick": lambda: _courses(30, 64, 22, 1, 17, 0.5),
    "stone": lambda: _courses(31, 20, 10, 2, 20, 0.5),
    "slab": lambda: _courses(32, 8, 8, 3, 9, 0.5),
    "setts": lambda: _courses(33, 42, 42, 2, 16, 0.5),
    "roof": lambda: _courses(34, 40, 30, 2, 13, 0.5),
    "panel": lambda: _courses(35, 6, 5, 2, 6, 0.0),
}


@cache
def tile(name: str) -> np.ndarray:
    """The texture `name`, uint8 [512, 512], neutral at 128, seamless at its borders."""
    return _MAKERS[name]()


@cache
def _sheet(name: str, halvings: int) -> np.ndarray:
    """The tile shrunk by 2 ** halvings and repeated to 2 TILE x 2 TILE, to cut windows from."""
    side, repeats = TILE >> halvings, 2 << halvings
    shrunk = cv2.resize(tile(name), (side, side), interpolation=cv2.INTER_AREA) if halvings else tile(name)
    return np.tile(shrunk, (repeats, repeats))


def crop(name: str, rng: np.random.Generator, size: tuple[int, int], scale: float = 1.0) -> np.ndarray:
    """A random window of texture `name`, uint8 [h, w]; `scale` = output pixels per texel."""
    height, width = size
    halvings = int(np.clip(np.floor(np.log2(1 / scale) + 0.3), 0, 4)) if scale < 1 else 0
    side, scale = TILE >> halvings, scale * 2**halvings
    rows, columns = (int(min(max(np.ceil(length / scale), 1), 2 * TILE - side)) for length in size)
    top, left = (rng.random(2) * side).astype(int)
    window = _sheet(name, halvings)[top : top + rows, left : left + columns]
    if window.shape == (height, width):
        return window
    return cv2.resize(window, (width, height), interpolation=cv2.INTER_LINEAR)


def roughen(image: np.ndarray, grey: np.ndarray, strength: float = 1.0) -> None:
    """Multiply `image` [h, w, 3] in place by the texture `grey` [h, w]; strength 0 leaves it as it is."""
    if image.size == 0:
        return
    gain = cv2.convertScaleAbs(grey, alpha=strength, beta=NEUTRAL * (1 - strength)) if strength != 1 else grey
    image[:] = cv2.multiply(image, cv2.merge([gain, gain, gain]), scale=1 / NEUTRAL)
