"""Buildings as boxes along the street: textured front and near end, flat or pitched roofs, chimneys."""

from dataclasses import dataclass, replace

import cv2
import numpy as np

from training.data.streetsim import noise
from training.data.streetsim.facades import FacadeLook, facade, lit_texture
from training.data.streetsim.raster import Canvas, Plane

BUILDING = 2
_FINEST = 30.0  # texture pixels a metre, at most


@dataclass(frozen=True)
class Building:
    """Ground plan corners (x, z): front near, front far; `inward` (x, z) points to the back, `depth` metres deep."""

    near: tuple[float, float]
    far: tuple[float, float]
    inward: tuple[float, float]
    depth: float
    height: float
    roof: str  # "flat" | "pitched" | "gable" (gable end to the street)
    roof_rgb: tuple[float, float, float]
    look: FacadeLook
    chimney: bool
    seed: int


def draw_building(canvas: Canvas, building: Building) -> None:
    """Draw what can be seen of a building from the street."""
    rng = np.random.default_rng(building.seed)
    near, far = np.array(building.near), np.array(building.far)
    inward = np.array(building.inward)
    _wall(canvas, rng, building, near, far, building.look)
    blank = rng.random() < 0.4
    end = building.look if not blank else _without_windows(building.look)
    _wall(canvas, rng, building, near, near + inward * building.depth, end)
    if building.roof == "flat":
        return
    rise = building.depth * 0.5 * (0.5 + 0.5 * rng.random())
    if building.roof == "pitched":
        _pitched(canvas, rng, building, near, far, inward, rise)
    else:
        _gable(canvas, rng, building, near, far, inward, rise)
    if building.chimney:
        _chimney(canvas, rng, building, near + (far - near) * rng.uniform(0.1, 0.8) + inward * building.depth / 2, rise)


def _without_windows(look: FacadeLook) -> FacadeLook:
    return replace(look, ground_floor="blank", bay=40.0, window=(0.05, 0.3), lit_share=0.0)


def _scale(canvas: Canvas, plane: Plane) -> float:
    """Texture pixels a metre that the nearest part of a plane needs."""
    return float(np.clip(1.1 * canvas.camera.focal / plane.nearest, 2.0, _FINEST))


def _normal(start: np.ndarray, end: np.ndarray, camera_xz: np.ndarray) -> tuple[float, float, float]:
    """Unit normal of an upright plane, towards the camera."""
    along = (end - start) / max(np.linalg.norm(end - start), 1e-6)
    normal = np.array([-along[1], along[0]])
    normal = normal if normal @ (camera_xz - start) > 0 else -normal
    return (float(normal[0]), 0.0, float(normal[1]))


def _wall(canvas: Canvas, rng, building: Building, start, end, look: FacadeLook) -> None:
    height, camera = building.height, canvas.camera
    plane = Plane(camera, (start[0], height, start[1]), (end[0] - start[0], 0, end[1] - start[1]), (0, -height, 0))
    seen = canvas.seen(plane)
    if seen is None:
        return
    width = float(np.linalg.norm(end - start))
    picture, lit = facade(rng, look, width, height, _scale(canvas, plane))
    picture, lit = _shrink(picture, lit, plane.pixels())
    normal = _normal(start, end, camera.position[[0, 2]])
    canvas.plane(plane, seen, BUILDING, lit_texture(picture, lit, canvas.light, plane.depth, normal, rng))


def _shrink(picture: np.ndarray, lit: np.ndarray, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Average a texture down to about the size it will be seen at, against shimmer on slanting faces."""
    wanted = np.maximum(np.ptp(pixels, axis=0) * 1.4, 2)
    width = int(min(picture.shape[1], wanted[0]))
    height = int(min(picture.shape[0], wanted[1]))
    if (height, width) == picture.shape[:2]:
        return picture, lit
    shrunk = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
    return shrunk, cv2.resize(lit, (width, height), interpolation=cv2.INTER_NEAREST)


def _slope(canvas: Canvas, rng, building: Building, plane: Plane, normal) -> None:
    """A tiled roof surface."""
    seen = canvas.seen(plane)
    if seen is None:
        return
    picture = np.empty((64, 96, 3), np.uint8)
    picture[:] = np.array(building.roof_rgb, np.uint8)
    noise.roughen(picture, noise.crop("roof", rng, picture.shape[:2], 0.6))
    noise.roughen(picture, noise.crop("stain", rng, picture.shape[:2]), 0.6)
    canvas.plane(plane, seen, BUILDING, cv2.LUT(picture, canvas.light.table(plane.depth, normal)))


def _pitched(canvas, rng, building, near, far, inward, rise) -> None:
    """Slope towards the street and the gable of the near end."""
    top, ridge = building.height, near + inward * building.depth / 2
    eaves = near - inward * 0.3
    down = np.array([eaves[0] - ridge[0], -rise, eaves[1] - ridge[1]])
    along = np.array([far[0] - near[0], 0, far[1] - near[1]])
    slope = Plane(canvas.camera, (ridge[0], top + rise, ridge[1]), along, down)
    run = np.hypot(rise, building.depth / 2)
    normal = (-inward[0] * rise / run, building.depth / 2 / run, -inward[1] * rise / run)
    _slope(canvas, rng, building, slope, normal)
    _triangle(canvas, rng, building, eaves, near + inward * (building.depth + 0.3), rise)


def _gable(canvas, rng, building, near, far, inward, rise) -> None:
    """A gable to the street, with the near slope of the roof behind it."""
    middle = (near + far) / 2
    down = np.array([near[0] - middle[0], -rise, near[1] - middle[1]])
    back = inward * building.depth
    slope = Plane(canvas.camera, (middle[0], building.height + rise, middle[1]), (back[0], 0, back[1]), down)
    _slope(canvas, rng, building, slope, (0.0, 0.8, -0.6))
    _triangle(canvas, rng, building, near, far, rise)


def _triangle(canvas, rng, building, start, end, rise) -> None:
    outline = ((0.5, 0), (1, 1), (0, 1))
    along = (end[0] - start[0], 0, end[1] - start[1])
    plane = Plane(canvas.camera, (start[0], building.height + rise, start[1]), along, (0, -rise, 0), outline)
    seen = canvas.seen(plane)
    if seen is None:
        return
    look = _without_windows(building.look)
    picture, lit = facade(rng, look, float(np.linalg.norm(end - start)), rise, min(12.0, _scale(canvas, plane)))
    normal = _normal(start, end, canvas.camera.position[[0, 2]])
    canvas.plane(plane, seen, BUILDING, lit_texture(picture, lit, canvas.light, plane.depth, normal, rng))


def _chimney(canvas, rng, building, at, rise) -> None:
    """A small stack through the ridge: two faces of plain brick."""
    base, tall = building.height + rise * 0.6, rise * 0.4 + rng.uniform(1.0, 2.0)
    for along in ((0.9, 0, 0), (0, 0, 1.2)):
        side = np.sign(at[0] - canvas.camera.lateral)
        start = (at[0] - (0.45 if along[0] else 0.45 * side), base + tall, at[1])
        plane = Plane(canvas.camera, start, along, (0, -tall, 0))
        seen = canvas.seen(plane)
        if seen is None:
            continue
        picture = np.empty((12, 8, 3), np.uint8)
        picture[:] = canvas.light.colour(building.look.wall, plane.depth, (-side, 0, 0) if along[2] else (0, 0, -1.0))
        noise.roughen(picture, noise.crop("brick", rng, (12, 8), 0.5))
        canvas.plane(plane, seen, BUILDING, picture)
