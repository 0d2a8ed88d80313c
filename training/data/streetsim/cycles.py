"""Bicycles and motorcycles, parked or ridden, and their riders."""

import numpy as np

from training.data.streetsim import noise
from training.data.streetsim.people import Outfit, head
from training.data.streetsim.raster import Canvas
from training.data.streetsim.vehicles import Body, Pose

RIDER, MOTORCYCLE, BICYCLE = 12, 17, 18
_FRAMES = ((30, 30, 34), (150, 30, 34), (40, 80, 140), (190, 192, 196), (40, 100, 60), (220, 220, 214), (210, 120, 30))


def draw_cycle(canvas: Canvas, rng, pose: Pose, motor: bool, rider: Outfit | None) -> None:
    """A two-wheeler at `pose`; with an outfit it is ridden (class rider for the person on it)."""
    body = Body(canvas, pose)
    reach = np.array([(a, u, r) for a in (-1.1, 1.1) for u in (0, 1.9) for r in (-0.35, 0.35)])
    depths = body.depths(reach)
    if depths.min() < 1.5:
        return
    depth = float(depths.mean())
    sprite = canvas.sprite(body.pixels(reach), depth, MOTORCYCLE if motor else BICYCLE)
    if sprite is None:
        return
    pixel = canvas.camera.focal / depth  # pixels a metre
    rgb = np.array(_FRAMES[rng.integers(len(_FRAMES))]) * rng.uniform(0.8, 1.15)
    (_motorcycle if motor else _bicycle)(sprite, body, pixel, rgb)
    if rider is not None:
        _rider(sprite, body, rng, pixel, rider, motor)
    sprite.commit(noise.crop("stain", rng, sprite.label.shape, 0.7), 0.8)


def _ring(ahead: float, radius: float, count: int = 16, right: float = 0.0) -> np.ndarray:
    angles = np.linspace(0, 2 * np.pi, count + 1)[:-1]
    return np.column_stack([ahead + radius * np.cos(angles), radius + radius * np.sin(angles), np.full(count, right)])


def _bicycle(sprite, body: Body, pixel: float, rgb) -> None:
    """Thin wheels (their inside labelled too, as annotators do), diamond frame, saddle, handlebar."""
    tyre, frame, metal = sprite.paint((24, 24, 26)), sprite.paint(rgb), sprite.paint((120, 122, 126))
    for ahead in (-0.52, 0.52):
        ring = body.pixels(_ring(ahead, 0.34))
        sprite.mark(ring)
        if pixel > 60:
            for k in range(8):
                sprite.line([ring[k], ring[k + 8]], metal, pixel * 0.006)
        sprite.line(ring, tyre, pixel * 0.05, closed=True)
    hub, crank, seat, stem, fork = (-0.52, 0.34), (-0.08, 0.30), (-0.22, 0.86), (0.34, 0.88), (0.52, 0.34)
    for start, end in ((hub, crank), (hub, seat), (crank, seat), (crank, stem), (seat, stem), (stem, fork)):
        sprite.line(body.pixels([(*start, 0), (*end, 0)]), frame, pixel * 0.045)
    triangle = body.pixels([(*hub, 0), (*crank, 0), (*stem, 0), (*seat, 0)])
    sprite.mark(triangle)
    sprite.line(body.pixels([(-0.36, 0.96, 0), (-0.10, 0.95, 0)]), tyre, pixel * 0.07)
    sprite.line(body.pixels([(0.34, 1.02, -0.27), (0.34, 1.02, 0.27)]), tyre, pixel * 0.045)
    sprite.line(body.pixels([(0.34, 0.88, 0), (0.34, 1.02, 0)]), metal, pixel * 0.04)


def _motorcycle(sprite, body: Body, pixel: float, rgb) -> None:
    """Fat wheels, engine, tank and seat, screen and lamp."""
    tyre, paint, engine = sprite.paint((26, 26, 28)), sprite.paint(rgb), sprite.paint((74, 74, 78))
    for ahead in (-0.70, 0.70):
        for right in (-0.06, 0.06):
            sprite.fill(body.pixels(_ring(ahead, 0.31, right=right)), tyre)
        sprite.tint(body.pixels(_ring(ahead, 0.31) * (1, 0.5, 1) + (0, 0.155, 0)), engine)
    for right in (-0.17, 0.17):
        sprite.fill(
            body.pixels([(-0.35, 0.25, right), (0.35, 0.25, right), (0.3, 0.6, right), (-0.4, 0.6, right)]), engine
        )
        sprite.fill(body.pixels([(-0.85, 0.78, right), (-0.1, 0.72, right), (0.4, 0.95, right), (0.5, 0.7, right),
                                 (0.3, 0.55, right), (-0.5, 0.55, right)]), paint)  # fmt: skip
    sprite.fill(body.pixels([(0.45, 0.6, -0.2), (0.45, 0.6, 0.2), (0.4, 1.2, 0.16), (0.4, 1.2, -0.16)]), paint)
    sprite.fill(body.pixels([(-0.8, 0.5, -0.14), (-0.8, 0.5, 0.14), (-0.8, 0.82, 0.14), (-0.8, 0.82, -0.14)]), tyre)
    sprite.tint(
        body.pixels(_ring(0.0, 0.09) @ np.array([[0, 0, 1], [0, 1, 0], [1, 0, 0]]) + (0.46, 0.78, 0)),
        sprite.paint((230, 226, 200)),
    )
    sprite.line(body.pixels([(0.36, 1.02, -0.36), (0.36, 1.02, 0.36)]), tyre, pixel * 0.05)
    sprite.line(body.pixels([(0.45, 0.85, 0), (0.70, 0.31, 0)]), engine, pixel * 0.09)


def _rider(sprite, body: Body, rng, pixel: float, outfit: Outfit, motor: bool) -> None:
    """A person on the saddle: legs to the pedals, leaning torso, arms to the handlebar, head or helmet."""
    default, sprite.default = sprite.default, RIDER
    seat = (-0.3, 0.80 if motor else 0.96)
    shoulder, hands = (0.02, seat[1] + 0.52), (0.34, 1.05)
    top, legs = sprite.paint(outfit.top), sprite.paint(outfit.legs)
    dark = sprite.paint(np.array(outfit.top) * 0.7)

    def bone(start, end, right, thick, colour):
        ends = body.pixels([(*start, right), (*end, right)])
        along = ends[1] - ends[0]
        across = np.array([-along[1], along[0]]) / max(np.hypot(*along), 1e-6) * thick * pixel / 2
        sprite.fill([ends[0] - across, ends[0] + across, ends[1] + across, ends[1] - across], colour)

    for right, foot, colour in (
        (-0.12, (0.0, 0.22), sprite.paint(np.array(outfit.legs) * 0.7)),
        (0.12, (-0.1, 0.42), legs),
    ):
        knee = (0.16, 0.62 + (foot[1] - 0.3) * 0.6)
        bone(seat, knee, right, 0.15, colour)
        bone(knee, foot, right, 0.11, colour)
    bone(shoulder, hands, -0.2, 0.08, dark)
    back = body.pixels([(*seat, -0.16), (*seat, 0.16), (*shoulder, 0.21), (*shoulder, -0.21)])
    sprite.fill(back, top)
    bone(seat, shoulder, 0.0, 0.26, top)
    bone(shoulder, hands, 0.2, 0.08, top)
    crown = body.pixels([(shoulder[0] + 0.06, shoulder[1] + 0.22, 0)])[0]

    def place(points):
        return crown + np.asarray(points, np.float64) * (1.75 * pixel, -1.75 * pixel)

    head(sprite, place, rng, outfit, 0.0, 0.0, 0.5)
    if motor or rng.random() < 0.5:
        angles = np.linspace(-0.3, np.pi + 0.3, 9)
        sprite.fill(
            place(np.column_stack([np.cos(angles) * 0.07, np.sin(angles) * 0.085 + 0.005])), sprite.paint(outfit.hair)
        )
    sprite.default = default
