"""The canvas: image, label and depth drawn by the same rasteriser, so that labels are exact to the pixel.

Standing surfaces (facades, walls, fences) are textured planes with a depth test; objects (cars, people, trees) are
sprites, painted far to near and hidden where a plane is nearer.
"""

from dataclasses import dataclass, field

import cv2
import numpy as np

from training.data.streetsim.camera import Camera, clip_near
from training.data.streetsim.light import Light
from training.data.streetsim.noise import roughen

UNSET = 254
Seen = tuple[tuple[int, int, int, int], np.ndarray, np.ndarray]  # box, mask [h, w] bool, inverse depth [h, w]
_SHIFT = 4  # binary places of sub-pixel vertices
_FIXED = 1 << _SHIFT
_LIMIT = 20000.0  # vertices beyond are held back: OpenCV overflows on far larger ones


def fixed(points: np.ndarray) -> np.ndarray:
    """Pixel coordinates (pixel centres at .5) to OpenCV's fixed point, int32 [n, 2]."""
    held = np.minimum(np.maximum(points, -_LIMIT), _LIMIT)  # quicker than clip on a few points
    return np.rint((held - 0.5) * _FIXED).astype(np.int32)


@dataclass
class Canvas:
    """What is drawn on: `image` uint8 [h, w, 3], `label` uint8 [h, w], `near` float32 [h, w] inverse plane depth."""

    camera: Camera
    light: Light
    image: np.ndarray = field(init=False)
    label: np.ndarray = field(init=False)
    near: np.ndarray = field(init=False)
    glows: list = field(default_factory=list)  # lamps to bloom: (x, y, radius in pixels, rgb, depth)

    def __post_init__(self):
        self.image = np.zeros((*self.camera.size, 3), np.uint8)
        self.label = np.full(self.camera.size, 255, np.uint8)
        self.near = np.zeros(self.camera.size, np.float32)

    def box(self, points: np.ndarray, margin: float = 1.0) -> tuple[int, int, int, int] | None:
        """Whole-pixel box (x0, y0, x1, y1) around pixel points, cut to the image; None when empty."""
        height, width = self.camera.size
        low, high = points.min(axis=0) - margin, points.max(axis=0) + margin
        x0, y0 = max(0, int(np.floor(low[0]))), max(0, int(np.floor(low[1])))
        x1, y1 = min(width, int(np.ceil(high[0]))), min(height, int(np.ceil(high[1])))
        return None if x1 <= x0 or y1 <= y0 else (x0, y0, x1, y1)

    def sprite(self, points: np.ndarray, depth: float, label: int, margin: float = 2.0) -> "Sprite | None":
        """A patch to draw one object of class `label` on; None when outside the image or wholly hidden."""
        box = self.box(points, margin)
        if box is None or depth <= 0:
            return None
        x0, y0, x1, y1 = box
        hidden = self.near[y0:y1, x0:x1].min() > 1 / depth
        return None if hidden else Sprite(self, box, depth, label)

    def plane(
        self, plane: "Plane", seen: "Seen", label: int, texture: np.ndarray, alpha: np.ndarray | None = None
    ) -> None:
        """Draw a lit texture uint8 [h, w, 3] on the part of a plane that was `seen`.

        `alpha` uint8 [h, w] makes it see-through in the image. The label keeps the whole outline, as annotators do (a
        fence is one region with its gaps), unless the plane is `cut`: then it ends where alpha does (a hedge's top).
        """
        (x0, y0, x1, y1), visible, depth = seen
        size = (x1 - x0, y1 - y0)
        move = np.array([[1, 0, -x0 - 0.5], [0, 1, -y0 - 0.5], [0, 0, 1]]) @ plane.homography(texture.shape[:2])
        warped = cv2.warpPerspective(texture, move, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        target = self.image[y0:y1, x0:x1]
        labelled = visible
        if alpha is not None:
            share = cv2.warpPerspective(alpha, move, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
            mix = (share.astype(np.uint16) * visible)[..., None]
            warped = ((warped * mix + target * (255 - mix)) // 255).astype(np.uint8)
            labelled = visible & (share > 127) if plane.cut else visible
        cv2.copyTo(warped, visible.view(np.uint8), target)
        cv2.copyTo(np.full(size[::-1], label, np.uint8), labelled.view(np.uint8), self.label[y0:y1, x0:x1])
        np.copyto(self.near[y0:y1, x0:x1], depth, where=labelled)

    def seen(self, plane: "Plane") -> "Seen | None":
        """Box, mask and inverse depth of the part of a plane that no nearer plane hides; None when there is none."""
        pixels = plane.pixels()
        box = None if pixels is None else self.box(pixels)
        if box is None:
            return None
        x0, y0, x1, y1 = box
        mask = np.zeros((y1 - y0, x1 - x0), np.uint8)
        cv2.fillPoly(mask, [fixed(pixels - (x0, y0))], 1, shift=_SHIFT)
        a, b, c = plane.inverse_depth()
        across = (np.arange(x0, x1, dtype=np.float32) + 0.5) * a
        down = (np.arange(y0, y1, dtype=np.float32) + 0.5) * b + c
        depth = down.astype(np.float32)[:, None] + across.astype(np.float32)[None, :]
        visible = (depth > self.near[y0:y1, x0:x1]) & mask.view(bool)
        return (box, visible, depth) if visible.any() else None


class Plane:
    """A flat surface origin + s * along + t * down with s, t in [0, 1], seen by a camera; `cut` = alpha cuts labels."""

    def __init__(self, camera: Camera, origin, along, down, outline=((0, 0), (1, 0), (1, 1), (0, 1)), cut=False):
        self.camera, self.cut = camera, cut
        self.origin = camera.to_camera(np.asarray(origin, np.float64)[None])[0]
        self.along, self.down = camera.rotation @ np.asarray(along), camera.rotation @ np.asarray(down)
        self.corners = np.array([self.origin + s * self.along + t * self.down for s, t in outline])

    def pixels(self) -> np.ndarray | None:
        """Outline in pixels [n, 2], cut at the near plane; None when behind or seen edge-on."""
        seen = clip_near(self.corners)
        return None if len(seen) < 3 else self.camera.to_pixels(seen)

    @property
    def depth(self) -> float:
        """Middle depth of the part in front of the camera, metres."""
        return float(np.maximum(self.corners[:, 2], 0.5).mean())

    @property
    def nearest(self) -> float:
        """Depth of its nearest part in front of the camera, metres."""
        return float(max(self.corners[:, 2].min(), 0.5))

    def homography(self, texture_size: tuple[int, int]) -> np.ndarray:
        """Texture pixels to image pixels, [3, 3]: exact also where the plane passes beside the camera."""
        (height, width), (rows, columns) = self.camera.size, texture_size
        focal = self.camera.focal
        lens = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
        surface = np.stack([self.along / columns, self.down / rows, self.origin], axis=1)
        half = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
        return lens @ surface @ half

    def inverse_depth(self) -> tuple[float, float, float]:
        """(a, b, c) such that 1 / depth = a x + b y + c at pixel (x, y)."""
        height, width = self.camera.size
        (ax, ay, az), (bx, by, bz) = self.along, self.down
        normal = np.array([ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx])
        distance = normal @ self.origin
        distance = distance if abs(distance) > 1e-9 else 1e-9
        a, b, c = normal / distance
        focal = self.camera.focal
        return a / focal, b / focal, c - a * width / 2 / focal - b * height / 2 / focal


class Sprite:
    """One object's patch of the canvas: polygons go to image and label alike; `commit` puts it where it is visible."""

    def __init__(self, canvas: Canvas, box: tuple[int, int, int, int], depth: float, label: int):
        self.canvas, self.box, self.depth, self.default = canvas, box, depth, label
        x0, y0, x1, y1 = box
        self.origin = np.array([x0, y0], np.float64)
        self.image = canvas.image[y0:y1, x0:x1].copy()
        self.label = np.full((y1 - y0, x1 - x0), UNSET, np.uint8)

    def paint(self, rgb, normal=(0.0, 0.6, -0.8), glow: bool = False) -> tuple[float, float, float]:
        """The colour a surface of this object shows."""
        return self.canvas.light.colour(rgb, self.depth, normal, glow)

    def fill(self, points, colour, label: int | None = None) -> None:
        """A filled polygon, pixel coordinates [n, 2], of a colour as seen (see `paint`)."""
        corners = [fixed(np.asarray(points) - self.origin)]
        cv2.fillPoly(self.image, corners, colour, shift=_SHIFT)
        cv2.fillPoly(self.label, corners, self.default if label is None else label, shift=_SHIFT)

    def tint(self, points, colour) -> None:
        """A filled polygon in the image only, inside what is already labelled."""
        cv2.fillPoly(self.image, [fixed(np.asarray(points) - self.origin)], colour, shift=_SHIFT)

    def mark(self, points, label: int | None = None) -> None:
        """A filled polygon in the label only: the inside of a wheel belongs to the bicycle."""
        corners = [fixed(np.asarray(points) - self.origin)]
        cv2.fillPoly(self.label, corners, self.default if label is None else label, shift=_SHIFT)

    def line(self, points, colour, thickness: float, closed: bool = False, label: int | None = None) -> None:
        """A polyline at least one pixel thick."""
        corners, width = [fixed(np.asarray(points) - self.origin)], max(1, round(thickness))
        cv2.polylines(self.image, corners, closed, colour, width, shift=_SHIFT)
        cv2.polylines(self.label, corners, closed, self.default if label is None else label, width, shift=_SHIFT)

    def commit(self, texture: np.ndarray | None = None, strength: float = 1.0) -> None:
        """Copy the object to the canvas where no plane is nearer, its image multiplied by a grey texture [h, w]."""
        if texture is not None:
            roughen(self.image, texture, strength)
        x0, y0, x1, y1 = self.box
        visible = self.label != UNSET
        near = self.canvas.near[y0:y1, x0:x1]
        hidden = near > 1.0 / self.depth
        if hidden.any():
            visible &= ~hidden
        mask = visible.view(np.uint8)
        cv2.copyTo(self.image, mask, self.canvas.image[y0:y1, x0:x1])
        cv2.copyTo(self.label, mask, self.canvas.label[y0:y1, x0:x1])
