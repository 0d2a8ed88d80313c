"""Trucks, buses and trams: boxes with textured faces."""

import numpy as np

from training.data.streetsim import noise
from training.data.streetsim.raster import Canvas, Sprite
from training.data.streetsim.vehicles import GLASS, Body, Pose, draw_wheel, patch

TRUCK, BUS, TRAIN = 14, 15, 16
_LIVERY = (
    (190, 30, 34),
    (226, 226, 222),
    (30, 78, 150),
    (240, 196, 40),
    (40, 110, 70),
    (210, 110, 30),
    (120, 124, 130),
)


def draw_heavy(canvas: Canvas, rng, pose: Pose, kind: str) -> None:
    """kind "truck" | "bus" | "double-decker" | "tram"."""
    length, width, height = {
        "truck": (rng.uniform(6, 10), 2.4, rng.uniform(2.9, 3.7)),
        "bus": (rng.uniform(9, 12), 2.5, 3.0),
        "double-decker": (10.5, 2.5, 4.3),
        "tram": (rng.uniform(18, 28), 2.4, 3.4),
    }[kind]
    body = Body(canvas, pose)
    corners = _corners(-length / 2, length / 2, 0, height, width)
    if body.depths(corners).min() < 0.8:
        return
    depth = float(body.depths(np.zeros((1, 3)))[0])
    label = {"truck": TRUCK, "tram": TRAIN}.get(kind, BUS)
    sprite = canvas.sprite(body.pixels(corners), depth, label)
    if sprite is None:
        return
    rgb = np.clip(np.array(_LIVERY[rng.integers(len(_LIVERY))]) + rng.normal(0, 14, 3), 10, 245)
    if kind == "truck":
        _truck(sprite, body, rng, length, width, height, rgb)
    else:
        _coach(sprite, body, rng, length, width, height, rgb, kind)
    sprite.commit(noise.crop("plaster", rng, sprite.label.shape, 1.5), 0.5)


def _corners(rear, front, low, high, width) -> np.ndarray:
    return np.array([(a, u, r) for a in (rear, front) for u in (low, high) for r in (-width / 2, width / 2)])


def _box(sprite: Sprite, body: Body, rear, front, low, high, width, rgb) -> int:
    """A box; returns which flank is seen (-1, 0, 1)."""
    half = width / 2
    if body.eye[1] > high:
        sprite.fill(
            body.pixels([(rear, high, -half), (rear, high, half), (front, high, half), (front, high, -half)]),
            sprite.paint(rgb, (0, 1, 0)),
        )
    side = 1 if body.eye[2] > half else -1 if body.eye[2] < -half else 0
    if side:
        flank = [
            (rear, low, side * half),
            (front, low, side * half),
            (front, high, side * half),
            (rear, high, side * half),
        ]
        sprite.fill(body.pixels(flank), sprite.paint(rgb, body.normal(0, 0, side)))
    for at, facing in ((front, 1), (rear, -1)):
        if (body.eye[0] - at) * facing > 0:
            end = [(at, low, -half), (at, low, half), (at, high, half), (at, high, -half)]
            sprite.fill(body.pixels(end), sprite.paint(rgb, body.normal(facing, 0, 0)))
    return side


def _flank(sprite, body, side, half, rear, front, low, high, rgb, glow=False) -> None:
    quad = [(rear, low, side * half), (front, low, side * half), (front, high, side * half), (rear, high, side * half)]
    sprite.tint(body.pixels(quad), sprite.paint(rgb, body.normal(0, 0, side), glow))


def _running_gear(sprite, body, rear, front, width, side) -> None:
    """Chassis shadow and wheels."""
    _box(sprite, body, rear + 0.2, front - 0.2, 0.12, 0.6, width * 0.96, (24, 24, 26))
    if side:
        for ahead in (front - 1.3, rear + 1.6, rear + 2.7):
            draw_wheel(sprite, body, ahead, side * width / 2, 0.46, True)


def _truck(sprite, body, rng, length, width, height, rgb) -> None:
    """A cab and a cargo box (or an open bed), the one farther away first."""
    cab, split = np.array((rgb, (226, 226, 222), rgb)[rng.integers(3)]), length / 2 - 2.0
    cargo = np.clip(np.array(((226, 226, 224), rgb, (150, 150, 146), (90, 94, 84))[rng.integers(4)]), 0, 250)
    side = 1 if body.eye[2] > width / 2 else -1 if body.eye[2] < -width / 2 else 0
    _running_gear(sprite, body, -length / 2, length / 2, width, side)
    top = height if rng.random() < 0.8 else 1.7
    parts = [
        ("cab", split, length / 2, 0.45, min(height, 2.7), cab),
        ("cargo", -length / 2, split - 0.15, 0.85, top, cargo),
    ]
    for name, rear, front, low, high, colour in parts if body.eye[0] < 0 else parts[::-1]:
        _box(sprite, body, rear, front, low, high, width, colour)
        if name == "cab" and side:
            _flank(sprite, body, side, width / 2, rear + 0.5, front - 0.15, 1.5, high - 0.3, GLASS)
        if name == "cargo" and side and rng.random() < 0.6:
            ink = np.array(_LIVERY[rng.integers(len(_LIVERY))])
            _flank(
                sprite,
                body,
                side,
                width / 2,
                rear + 0.8,
                front - 0.8,
                low + (high - low) * 0.4,
                low + (high - low) * 0.72,
                ink,
            )
    if side:
        for ahead in (length / 2 - 1.1, -length / 2 + 1.5):
            draw_wheel(sprite, body, ahead, side * width / 2, 0.46, True)
    _end_marks(sprite, body, length, width, min(height, 2.7), glazed_rear=False)


def _coach(sprite, body, rng, length, width, height, rgb, kind) -> None:
    """A bus or tram: window bands, doors, livery stripe."""
    half, tram = width / 2, kind == "tram"
    side = 1 if body.eye[2] > half else -1 if body.eye[2] < -half else 0
    if not tram:
        _running_gear(sprite, body, -length / 2, length / 2, width, side)
    _box(sprite, body, -length / 2, length / 2, 0.22 if tram else 0.35, height, width, rgb)
    bands = ((1.25, 2.15), (2.75, 3.75)) if kind == "double-decker" else ((1.25, height - 0.55),)
    night = body.canvas.light.night
    glass = (200, 180, 130) if night > 0.3 else np.array(GLASS) + rng.uniform(0, 30)
    if side:
        _flank(sprite, body, side, half, -length / 2, length / 2, 0.3, 0.75, np.array(rgb) * 0.6)
        if rng.random() < 0.6:
            _flank(sprite, body, side, half, -length / 2, length / 2, 0.8, 1.1, _LIVERY[rng.integers(len(_LIVERY))])
        step = rng.uniform(1.2, 2.0)
        for low, high in bands:
            for ahead in np.arange(-length / 2 + 0.3, length / 2 - 1.2, step):
                _flank(sprite, body, side, half, ahead, ahead + step - 0.14, low, high, glass, night > 0.3)
        for ahead in (length / 2 - 2.2, -0.6) if not tram else (length / 2 - 3, 0.5, -length / 2 + 3):
            _flank(sprite, body, side, half, ahead, ahead + 1.1, 0.45, 2.3, np.array(GLASS) * 0.8)
        if not tram:
            for ahead in (length / 2 - 2.4, -length / 2 + 2.6):
                draw_wheel(sprite, body, ahead, side * half, 0.48, True)
        else:
            for ahead in (length / 6, -length / 6):
                _flank(sprite, body, side, half, ahead - 0.25, ahead + 0.25, 0.3, height - 0.1, (44, 44, 46))
    _end_marks(sprite, body, length, width, height, glazed_rear=True)


def _end_marks(sprite, body, length, width, height, glazed_rear: bool) -> None:
    """Windscreen or rear doors, destination board, lamps and plate."""
    front = body.eye[0] > length / 2
    if not front and body.eye[0] > -length / 2:
        return
    at, half = length / 2 * (1 if front else -1), width / 2
    if front or glazed_rear:
        patch(sprite, body, at, 1.25 if front else 1.6, min(height - 0.45, 2.5), -half * 0.9, half * 0.9, GLASS)
    else:
        patch(sprite, body, at, 0.95, height * 1.1, -0.03, 0.03, (50, 50, 52))
    if height > 2.9:
        patch(
            sprite,
            body,
            at,
            height - 0.4,
            height - 0.14,
            -half * 0.6,
            half * 0.6,
            (230, 150, 40) if front else (30, 30, 32),
        )
    if height > 4:
        patch(sprite, body, at, 2.8, 3.75, -half * 0.9, half * 0.9, GLASS)
    patch(sprite, body, at, 0.3, 0.55, -half, half, (38, 38, 40))
    lamp = (250, 248, 236) if front else (190, 30, 26)
    for side in (-1, 1):
        inner, outer = sorted((side * half * 0.68, side * half * 0.94))
        patch(sprite, body, at, 0.62, 0.86, inner, outer, lamp, body.pose.lights)
    patch(sprite, body, at, 0.38, 0.52, -0.27, 0.27, (220, 220, 214))
