"""Cars and vans: a side profile pulled out to a body, with windows, wheels, lights and plates."""

from dataclasses import dataclass

import numpy as np

from training.data.streetsim import noise
from training.data.streetsim.raster import Canvas, Sprite

CAR = 13
# (ahead, up) in shares of length and height, from the front bumper over the roof to the rear; `belt` = window line
PROFILES = {
    "hatchback": ((0.5, 0.22), (0.5, 0.42), (0.46, 0.54), (0.25, 0.63), (0.08, 0.97), (-0.05, 1.0), (-0.30, 0.97),
                  (-0.46, 0.66), (-0.49, 0.55), (-0.5, 0.22)),
    "sedan": ((0.5, 0.22), (0.5, 0.42), (0.46, 0.54), (0.22, 0.64), (0.07, 0.96), (-0.05, 1.0), (-0.20, 0.96),
              (-0.35, 0.68), (-0.48, 0.64), (-0.5, 0.22)),
    "estate": ((0.5, 0.22), (0.5, 0.42), (0.46, 0.54), (0.24, 0.63), (0.10, 0.96), (-0.05, 1.0), (-0.40, 0.97),
               (-0.48, 0.64), (-0.5, 0.52), (-0.5, 0.22)),
    "suv": ((0.5, 0.24), (0.5, 0.48), (0.46, 0.58), (0.25, 0.64), (0.12, 0.96), (0.0, 1.0), (-0.42, 0.98),
            (-0.49, 0.62), (-0.5, 0.5), (-0.5, 0.24)),
    "van": ((0.5, 0.18), (0.5, 0.36), (0.48, 0.45), (0.36, 0.55), (0.24, 0.92), (0.10, 1.0), (-0.44, 1.0),
            (-0.5, 0.93), (-0.5, 0.5), (-0.5, 0.18)),
}  # fmt: skip
SIZES = {  # length, width, height, belt
    "hatchback": (3.9, 1.68, 1.46, 0.63), "sedan": (4.5, 1.76, 1.43, 0.64), "estate": (4.5, 1.76, 1.47, 0.63),
    "suv": (4.5, 1.84, 1.70, 0.63), "van": (5.0, 1.92, 2.05, 0.57),
}  # fmt: skip
PAINTS = (
    ((226, 228, 230), 3), ((176, 180, 184), 4), ((104, 108, 114), 3), ((30, 31, 34), 4), ((38, 56, 96), 2),
    ((130, 26, 30), 1.5), ((62, 84, 132), 1), ((28, 66, 52), 0.6), ((150, 134, 104), 0.5), ((196, 160, 40), 0.3),
    ((120, 60, 34), 0.3), ((92, 140, 170), 0.6),
)  # fmt: skip
GLASS = (34, 40, 46)


@dataclass(frozen=True)
class Pose:
    """Where a vehicle stands: `at` on the ground (x, z), `heading` radians clockwise from straight ahead."""

    at: tuple[float, float]
    heading: float
    lights: bool = False
    braking: bool = False


class Body:
    """Vehicle axes (ahead, up, right) to pixels, and which faces look at the camera."""

    def __init__(self, canvas: Canvas, pose: Pose):
        self.canvas, self.pose = canvas, pose
        sine, cosine = np.sin(pose.heading), np.cos(pose.heading)
        self.axes = np.array([[sine, 0, cosine], [0, 1, 0], [cosine, 0, -sine]])
        self.base = np.array([pose.at[0], 0.0, pose.at[1]])
        self.eye = self.axes @ (canvas.camera.position - self.base)

    def pixels(self, points) -> np.ndarray:
        """Vehicle points [n, 3] to pixels [n, 2]."""
        return self.canvas.camera.project(np.asarray(points, np.float64) @ self.axes + self.base)[0]

    def depths(self, points) -> np.ndarray:
        """Depths [n] of vehicle points [n, 3] before the camera."""
        return self.canvas.camera.to_camera(np.asarray(points, np.float64) @ self.axes + self.base)[:, 2]

    def normal(self, ahead: float, up: float, right: float) -> tuple[float, float, float]:
        """A direction in vehicle axes as a world direction."""
        return tuple(np.array([ahead, up, right]) @ self.axes)


def draw_paint(rng: np.random.Generator, jitter: float = 0.0) -> tuple[float, ...]:
    """A car colour, the common ones common."""
    weights = np.array([weight for _, weight in PAINTS])
    rgb = np.array(PAINTS[rng.choice(len(PAINTS), p=weights / weights.sum())][0])
    return tuple(np.clip(rgb * rng.uniform(0.85, 1.12) + rng.normal(0, 5 + 25 * jitter, 3), 12, 250))


def draw_car(canvas: Canvas, rng, pose: Pose, kind: str, rgb) -> None:
    """A car or van of class car."""
    body = Body(canvas, pose)
    length, width, height, belt = np.array(SIZES[kind]) * (*rng.uniform(0.94, 1.06, 3), 1)
    reach = np.array(
        [[a, u, r] for a in (-length / 2, length / 2) for u in (0, height) for r in (-width / 2, width / 2)]
    )
    if body.depths(reach).min() < 0.7:
        return
    depth = float(body.depths(np.zeros((1, 3)))[0])
    sprite = canvas.sprite(body.pixels(reach), depth, CAR)
    if sprite is None:
        return
    fine = canvas.camera.focal / depth > 14
    profile = np.array(PROFILES[kind]) * (length, height)
    _underside(sprite, body, length, width)
    _shell(sprite, body, rng, profile, width, belt * height, rgb, kind)
    side = 1 if body.eye[2] > width / 2 else -1 if body.eye[2] < -width / 2 else 0
    if side:
        _side(sprite, body, profile, width * side, belt * height, rgb, kind, fine)
    wheel = 0.315 if kind != "van" else 0.34
    if side:
        for ahead in (0.31 * length, -0.29 * length):
            draw_wheel(sprite, body, ahead, width / 2 * side, wheel * (1.1 if kind == "suv" else 1), fine)
    _ends(sprite, body, rng, length, width, height, belt, fine)
    sprite.commit(noise.crop("plaster", rng, sprite.label.shape, 1.5), 0.4)


def _underside(sprite: Sprite, body: Body, length: float, width: float) -> None:
    """The dark gap under the body and the far wheels."""
    dark = sprite.paint((16, 16, 17))
    for ahead in (length / 2 - 0.45, -length / 2 + 0.45):
        sprite.fill(body.pixels([(ahead, 0.10, -width / 2 + 0.05), (ahead, 0.10, width / 2 - 0.05),
                                 (ahead, 0.45, width / 2 - 0.05), (ahead, 0.45, -width / 2 + 0.05)]), dark)  # fmt: skip
        for right in (-width / 2 + 0.02, width / 2 - 0.22):
            sprite.fill(body.pixels([(ahead - 0.3, 0.02, right), (ahead - 0.3, 0.02, right + 0.2),
                                     (ahead - 0.3, 0.5, right + 0.2), (ahead - 0.3, 0.5, right)]), dark)  # fmt: skip


def _half_width(up: np.ndarray, width: float, belt: float, height: float) -> np.ndarray:
    """Bodies narrow above the window line."""
    above = np.clip((up - belt) / max(height - belt, 1e-6), 0, 1)
    return width / 2 * (1 - 0.20 * above)


def _shell(sprite: Sprite, body: Body, rng, profile, width, belt, rgb, kind) -> None:
    """Bonnet, windscreen, roof, rear: strips across the body, those facing the camera, far ones first."""
    half = _half_width(profile[:, 1], width, belt, profile[:, 1].max())
    strips = []
    for k in range(len(profile) - 1):
        (a0, u0), (a1, u1) = profile[k], profile[k + 1]
        normal = np.array([u0 - u1, a1 - a0]) / max(np.hypot(a1 - a0, u1 - u0), 1e-6)
        normal = normal * (1 if normal @ (np.array([(a0 + a1) / 2, (u0 + u1) / 2]) - (0, 0.5)) > 0 else -1)
        if (body.eye[0] - a0) * normal[0] + (body.eye[1] - u0) * normal[1] <= 0:
            continue
        quad = np.array([(a0, u0, -half[k]), (a0, u0, half[k]), (a1, u1, half[k + 1]), (a1, u1, -half[k + 1])])
        glazed = max(u0, u1) > belt + 0.12 and abs(normal[0]) > 0.2 and min(u0, u1) >= belt * 0.93
        glazed = glazed and not (kind == "van" and normal[0] < 0 and rng.random() < 0.6)
        strips.append((body.depths(quad).mean(), quad, normal, glazed))
    for _, quad, normal, glazed in sorted(strips, key=lambda strip: -strip[0]):
        facing = body.normal(normal[0], normal[1], 0)
        shown = body.pixels(quad)
        sprite.fill(shown, sprite.paint(rgb, facing))
        if glazed:
            _pane(sprite, shown, facing)


def _pane(sprite: Sprite, quad: np.ndarray, facing) -> None:
    """A window set into its quad: dark glass, the sky mirrored in its upper part."""
    middle = quad.mean(axis=0)
    inner = middle + (quad - middle) * 0.86
    sprite.tint(inner, sprite.paint(GLASS, facing))
    top = inner[np.argsort(inner[:, 1])]
    upper = np.array([top[0], top[1], (top[1] + top[3]) / 2, (top[0] + top[2]) / 2])
    sprite.tint(upper[np.argsort(np.arctan2(*(upper - upper.mean(axis=0)).T))], sprite.paint((92, 104, 114), facing))


def _side(sprite, body, profile, width, belt, rgb, kind, fine) -> None:
    """The flank that faces the camera: lower body, greenhouse, windows, door lines, shine along the shoulder."""
    side = np.sign(width)
    facing = body.normal(0, 0.1, side)
    height = profile[:, 1].max()

    def at(points):
        points = np.asarray(points, np.float64)
        half = _half_width(points[:, 1], abs(width), belt, height) * side
        return body.pixels(np.column_stack([points, half]))

    sprite.fill(at(profile), sprite.paint(rgb, facing))
    front, rear, low = profile[:, 0].max(), profile[:, 0].min(), profile[0, 1]
    sprite.tint(
        at([(front, low), (front, low + 0.18), (rear, low + 0.18), (rear, low)]),
        sprite.paint(np.array(rgb) * 0.55, facing),
    )
    if fine:
        shine = np.minimum(np.array(rgb) * 1.18 + 14, 255)
        shoulder = [(front * 0.9, 0.80), (front * 0.9, 0.92), (rear * 0.96, 0.97), (rear * 0.96, 0.86)]
        sprite.tint(at(np.array(shoulder) * (1, belt)), sprite.paint(shine, facing))
    cabin = profile[profile[:, 1] >= belt * 0.99]
    cabin = np.clip(cabin, (rear * 0.9, belt + 0.03), (front, height - 0.09))
    inner = cabin[:, 0].mean() + (cabin[:, 0] - cabin[:, 0].mean()) * 0.90
    shape = np.column_stack([inner, cabin[:, 1]])
    glass = sprite.paint(GLASS, facing)
    if kind == "van":
        shape[:, 0] = np.maximum(shape[:, 0], front * 0.25)
    sprite.tint(at(shape), glass)
    if fine:
        for ahead in (0.02, -0.26) if kind != "van" else (0.2,):
            x = ahead * (front - rear)
            sprite.tint(
                at([(x - 0.05, belt), (x + 0.05, belt), (x + 0.02, height - 0.1), (x - 0.08, height - 0.1)]),
                sprite.paint(rgb, facing),
            )
            sprite.tint(at([(x - 0.012, low + 0.1), (x + 0.012, low + 0.1), (x + 0.012, belt), (x - 0.012, belt)]),
                        sprite.paint(np.array(rgb) * 0.45, facing))  # fmt: skip


def draw_wheel(sprite: Sprite, body: Body, ahead: float, right: float, radius: float, fine: bool) -> None:
    """Wheel arch, tyre and rim on a flank."""
    angles = np.linspace(0, 2 * np.pi, 13)[:-1]
    ring = np.column_stack([np.cos(angles), np.sin(angles), np.zeros(12)])
    middle = np.array([ahead, radius, right])
    arch = ring[ring[:, 1] > -0.3] * (radius * 1.18) + middle
    sprite.tint(body.pixels(arch), sprite.paint((20, 20, 22)))
    sprite.fill(body.pixels(ring * radius + middle), sprite.paint((30, 30, 32)))
    if fine:
        facing = body.normal(0, 0.2, np.sign(right))
        sprite.tint(body.pixels(ring * radius * 0.64 + middle), sprite.paint((128, 130, 134), facing))
        sprite.tint(body.pixels(ring * radius * 0.22 + middle), sprite.paint((60, 60, 64), facing))


def patch(sprite: Sprite, body: Body, ahead, low, high, left, right, rgb, glow=False) -> None:
    """A rectangle on the front (ahead > 0) or rear face."""
    facing = body.normal(np.sign(ahead), 0, 0)
    quad = body.pixels([(ahead, low, left), (ahead, low, right), (ahead, high, right), (ahead, high, left)])
    sprite.tint(quad, sprite.paint(rgb, facing, glow))


def _ends(sprite, body, rng, length, width, height, belt, fine) -> None:
    """Bumper, lights, grille and plate of the end that faces the camera."""
    front = body.eye[0] > length / 2
    rear = body.eye[0] < -length / 2
    if not (front or rear):
        return
    at, half = length / 2 * (1 if front else -1), width / 2
    patch(sprite, body, at, 0.2 * height, 0.27 * height, -half * 0.98, half * 0.98, (34, 34, 36))
    plate = (224, 224, 220) if front or rng.random() < 0.6 else (214, 178, 50)
    if front:
        patch(sprite, body, at, 0.30 * height, 0.40 * height, -half * 0.5, half * 0.5, (26, 26, 28))
        lamp, glow = ((255, 250, 235), True) if body.pose.lights else ((200, 204, 208), False)
        low, high = 0.36, 0.46
    else:
        lamp, glow = ((255, 40, 30), True) if body.pose.lights or body.pose.braking else ((150, 26, 24), False)
        low, high = 0.44, 0.62
    for side in (-1, 1):
        inner, outer = sorted((side * half * 0.66, side * half * 0.98))
        patch(sprite, body, at, low * height, high * height, inner, outer, lamp, glow)
    if fine:
        patch(
            sprite, body, at, (0.26 if front else 0.38) * height, (0.33 if front else 0.45) * height, -0.26, 0.26, plate
        )
    if body.pose.lights or body.pose.braking:
        _glow(body, at, (low + high) / 2 * height, half * 0.82, front)


def _glow(body: Body, ahead: float, up: float, right: float, front: bool) -> None:
    """Remember the lamps, to be bloomed when the car is drawn."""
    depth = max(float(body.depths([(ahead, up, 0)])[0]), 1.0)
    strength = 1.0 if front else 0.5
    for pixel in body.pixels([(ahead, up, -right), (ahead, up, right)]):
        radius = 0.30 * strength * body.canvas.camera.focal / depth
        rgb = (255, 244, 214) if front else (255, 50, 34)
        body.canvas.glows.append((pixel[0], pixel[1], radius, rgb, depth))
