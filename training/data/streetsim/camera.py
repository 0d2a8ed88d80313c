"""The perspective camera: world metres (x right, y up, z ahead) to pixels, near clipping, rays to the ground."""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

NEAR = 0.6  # metres; nothing nearer is drawn


@dataclass(frozen=True)
class Camera:
    """A pinhole camera `altitude` metres above the ground at x = `lateral`, z = 0.

    `size` is (height, width) in pixels, `focal` in pixels, `yaw` (to the right), `pitch` (down) and `roll` in radians.
    """

    size: tuple[int, int]
    focal: float
    altitude: float
    lateral: float = 0.0
    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0

    @cached_property
    def rotation(self) -> np.ndarray:
        """World to camera axes (right, down, ahead), [3, 3]."""
        cy, sy, cp, sp = np.cos(self.yaw), np.sin(self.yaw), np.cos(self.pitch), np.sin(self.pitch)
        ahead = np.array([sy * cp, -sp, cy * cp])
        right = np.array([cy, 0.0, -sy])
        down = np.cross(right, ahead)
        cr, sr = np.cos(self.roll), np.sin(self.roll)
        return np.stack([cr * right + sr * down, cr * down - sr * right, ahead])

    @cached_property
    def position(self) -> np.ndarray:
        """World point of the lens, [3]."""
        return np.array([self.lateral, self.altitude, 0.0])

    def to_camera(self, points: np.ndarray) -> np.ndarray:
        """World points [n, 3] to camera axes [n, 3]; the last column is the depth."""
        return (np.asarray(points, np.float64) - self.position) @ self.rotation.T

    def to_pixels(self, seen: np.ndarray) -> np.ndarray:
        """Camera-axes points [n, 3], all in front, to pixels (x, y) [n, 2]."""
        height, width = self.size
        pixels = seen[:, :2] * (self.focal / seen[:, 2:])
        pixels += (width / 2, height / 2)
        return pixels

    def project(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """World points [n, 3] to pixels [n, 2] and depths [n]; depths under NEAR are held at NEAR."""
        seen = self.to_camera(points)
        depths = seen[:, 2].copy()
        seen[:, 2] = np.maximum(depths, NEAR)
        return self.to_pixels(seen), depths

    def outline(self, points: np.ndarray) -> np.ndarray | None:
        """A world polygon [n, 3] to pixels [m, 2], cut at the near plane; None where it lies behind the camera."""
        seen = clip_near(self.to_camera(points))
        return None if len(seen) < 3 else self.to_pixels(seen)

    def rays(self, rows: slice) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """World direction (x, y, z) of each pixel centre in `rows`, scaled to depth 1: three float32 [rows, width]."""
        height, width = self.size
        across = ((np.arange(width, dtype=np.float32) + 0.5 - width / 2) / self.focal)[None, :]
        down = ((np.arange(rows.start, rows.stop, dtype=np.float32) + 0.5 - height / 2) / self.focal)[:, None]
        matrix = self.rotation.astype(np.float32)
        return tuple(across * matrix[0, k] + down * matrix[1, k] + matrix[2, k] for k in range(3))

    def shrunk(self, factor: int) -> "Camera":
        """The same view with `factor` times fewer rows and columns."""
        return replace(self, size=(self.size[0] // factor, self.size[1] // factor), focal=self.focal / factor)

    @property
    def horizon_row(self) -> float:
        """Row of the horizon at the middle of the image."""
        return self.size[0] / 2 - self.focal * np.tan(self.pitch)


def clip_near(seen: np.ndarray) -> np.ndarray:
    """Sutherland-Hodgman against depth = NEAR, for a polygon in camera axes [n, 3]."""
    depths = seen[:, 2]
    if depths.min() >= NEAR:
        return seen
    kept = []
    for k in range(len(seen)):
        here, after = seen[k], seen[(k + 1) % len(seen)]
        if here[2] >= NEAR:
            kept.append(here)
        if (here[2] >= NEAR) != (after[2] >= NEAR):
            kept.append(here + (after - here) * ((NEAR - here[2]) / (after[2] - here[2])))
    return np.array(kept).reshape(-1, 3)
