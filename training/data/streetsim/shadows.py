"""Shadows on the ground: outlines of things laid down along the sun's rays, gathered in one soft mask."""

import cv2
import numpy as np

from training.data.streetsim import noise
from training.data.streetsim.camera import Camera
from training.data.streetsim.raster import fixed


class ShadowMask:
    """Share of direct light taken from each ground pixel, plus the darkness under things standing on the ground."""

    def __init__(self, camera: Camera, sun: tuple[float, float, float]):
        self.camera = camera
        self.cast = np.zeros(camera.size, np.uint8)
        self.contact = np.zeros(camera.size, np.uint8)
        self.offset = np.array([-sun[0], -sun[2]]) / max(sun[1], 0.12)  # ground metres per metre of height

    def _fill(self, mask: np.ndarray, corners_xz: np.ndarray, value: int) -> None:
        points = np.column_stack([corners_xz[:, 0], np.zeros(len(corners_xz)), corners_xz[:, 1]])
        outline = self.camera.outline(points)
        if outline is not None:
            cv2.fillPoly(mask, [fixed(outline)], value, shift=4)

    def box(self, corners_xz: np.ndarray, height: float) -> None:
        """Shadow of an upright box of this ground plan [4, 2]."""
        both = np.concatenate([corners_xz, corners_xz + self.offset * height]).astype(np.float32)
        self._fill(self.cast, cv2.convexHull(both)[:, 0].astype(np.float64), 255)

    def under(self, corners_xz: np.ndarray) -> None:
        """The dark patch beneath a vehicle."""
        self._fill(self.contact, corners_xz, 255)

    def spot(self, at_xz: np.ndarray, radius: float, height: float, value: int = 220) -> None:
        """A round shadow cast from `height` metres above `at_xz`."""
        angles = np.linspace(0, 2 * np.pi, 13)[:-1]
        stretch = 1 + 0.3 * np.abs(self.offset)
        ring = at_xz + self.offset * height + np.column_stack([np.cos(angles), np.sin(angles)]) * radius * stretch
        self._fill(self.cast, ring, value)

    def finish(self, rng: np.random.Generator, contrast: float) -> np.ndarray:
        """Float32 [h, w] in [0, 1]: cast shadows by the `contrast` of the light, contact shadows always."""
        soft = max(0.5, self.camera.size[0] / 300)
        dapple = noise.crop("stain", rng, self.camera.size, 1.5).astype(np.float32) / 128
        cast = cv2.GaussianBlur(self.cast, (0, 0), soft).astype(np.float32) / 255
        leafy = (self.cast > 0) & (self.cast < 250)
        cast = np.where(leafy, cast * np.clip(dapple, 0.4, 1), cast)
        contact = cv2.GaussianBlur(self.contact, (0, 0), soft * 1.6).astype(np.float32) / 255
        return np.maximum(contrast * cast, 0.75 * contact)
