"""Street furniture: lamp posts, bollards, traffic lights, signs of several shapes, fences, walls and hedges."""

import cv2
import numpy as np

from training.data.streetsim import noise
from training.data.streetsim.raster import Canvas, Plane, Sprite
from training.data.streetsim.vegetation import VEGETATION, hedge_texture

WALL, FENCE, POLE, LIGHT, SIGN = 3, 4, 5, 6, 7
_METAL = ((120, 124, 126), (70, 74, 76), (46, 50, 50), (150, 152, 150), (56, 70, 60))
_WALLS = (
    ("brick", (146, 92, 72)),
    ("stone", (160, 152, 134)),
    ("plaster", (196, 190, 178)),
    ("panel", (140, 140, 138)),
    ("brick", (176, 150, 112)),
)


class _Post:
    """An upright thing at one ground point, drawn in metres to the right of it and up."""

    def __init__(self, canvas: Canvas, at: np.ndarray, label: int, reach: float, height: float):
        pixels, depths = canvas.camera.project(np.array([at]))
        self.depth, self.base = float(depths[0]), pixels[0]
        self.scale = canvas.camera.focal / max(self.depth, 0.6)
        corners = np.array(
            [self.base + (-reach * self.scale, -height * self.scale), self.base + (reach * self.scale, 0)]
        )
        self.sprite: Sprite | None = canvas.sprite(corners, self.depth, label) if self.depth > 1.6 else None

    def place(self, points) -> np.ndarray:
        """Metres (right, up) [n, 2] to pixels [n, 2]."""
        return self.base + np.asarray(points, np.float64) * (self.scale, -self.scale)

    def bar(self, x0, y0, x1, y1, thick, rgb, label=None) -> None:
        """A bar at least a pixel thick, lit on one side."""
        ends, half = self.place([(x0, y0), (x1, y1)]), max(thick * self.scale, 1.15) / 2
        along = ends[1] - ends[0]
        across = np.array([-along[1], along[0]]) / max(np.hypot(*along), 1e-6) * half
        quad = [ends[0] - across, ends[0] + across, ends[1] + across, ends[1] - across]
        self.sprite.fill(quad, self.sprite.paint(rgb), label)
        if half > 1.2:
            dark = [ends[0], ends[0] + across, ends[1] + across, ends[1]]
            self.sprite.tint(dark, self.sprite.paint(np.array(rgb) * 0.7))

    def shape(self, points, rgb, label=None, glow=False) -> None:
        """A filled polygon."""
        self.sprite.fill(self.place(points), self.sprite.paint(rgb, glow=glow), label)

    def commit(self) -> None:
        """Put it on the canvas."""
        self.sprite.commit(noise.crop("stain", np.random.default_rng(3), self.sprite.label.shape), 0.6)


def draw_lamp(canvas: Canvas, rng, at: np.ndarray, towards: float) -> None:
    """A street lamp with its arm towards the road (`towards` -1 | 1)."""
    height, arm = rng.uniform(5, 9), rng.uniform(0.6, 2.2)
    post = _Post(canvas, at, POLE, arm + 0.8, height + 0.6)
    if post.sprite is None:
        return
    rgb = _METAL[rng.integers(len(_METAL))]
    post.bar(0, 0, 0, height, 0.14, rgb)
    post.bar(0, 0, 0, 1.2, 0.22, rgb)
    post.bar(0, height, towards * arm, height + 0.35, 0.09, rgb)
    lamp = [
        (towards * arm, height + 0.42),
        (towards * (arm + 0.6), height + 0.40),
        (towards * (arm + 0.6), height + 0.26),
        (towards * arm, height + 0.26),
    ]
    lit = canvas.light.night > 0.15
    post.shape(lamp, (255, 220, 150) if lit else (170, 172, 172), glow=lit)
    if lit:
        x, y = post.place([(towards * (arm + 0.3), height + 0.3)])[0]
        canvas.glows.append((x, y, 0.7 * post.scale, (255, 206, 130), post.depth))
    post.commit()


def draw_pole(canvas: Canvas, rng, at: np.ndarray, height: float, thick: float) -> None:
    """A plain pole or bollard."""
    post = _Post(canvas, at, POLE, 0.5, height)
    if post.sprite is None:
        return
    post.bar(0, 0, 0, height, thick, _METAL[rng.integers(len(_METAL))])
    post.commit()


def draw_traffic_light(canvas: Canvas, rng, at: np.ndarray, towards: float, facing: bool) -> None:
    """A signal head on a pole, sometimes a second one on an arm over the road."""
    height, arm = rng.uniform(2.9, 3.6), rng.uniform(2.5, 5) if rng.random() < 0.3 else 0.0
    post = _Post(canvas, at, POLE, arm + 0.6, 6.6 if arm else height + 0.3)
    if post.sprite is None:
        return
    rgb = _METAL[rng.integers(len(_METAL))]
    post.bar(0, 0, 0, 6.0 if arm else height - 0.2, 0.13, rgb)
    state = rng.integers(3)
    _signal(canvas, post, towards * 0.0, height, state, facing)
    if arm:
        post.bar(0, 5.9, towards * arm, 6.1, 0.12, rgb)
        _signal(canvas, post, towards * arm, 6.4, state, facing)
    post.commit()


def _signal(canvas: Canvas, post: _Post, x: float, top: float, state: int, facing: bool) -> None:
    """Three lamps in a dark housing; the back of it when not facing."""
    post.shape([(x - 0.19, top), (x + 0.19, top), (x + 0.19, top - 1.0), (x - 0.19, top - 1.0)], (24, 26, 26), LIGHT)
    if not facing:
        return
    angles = np.linspace(0, 2 * np.pi, 11)[:-1]
    for k, (on, off) in enumerate(
        (((255, 50, 40), (70, 20, 20)), ((255, 190, 40), (70, 54, 20)), ((60, 255, 150), (16, 56, 36)))
    ):
        lit, y = k == state, top - 0.2 - 0.3 * k
        disc = np.column_stack([x + 0.12 * np.cos(angles), y + 0.12 * np.sin(angles)])
        post.shape(disc, on if lit else off, LIGHT, glow=lit)
        if lit:
            px, py = post.place([(x, y)])[0]
            canvas.glows.append((px, py, 0.22 * post.scale, on, post.depth))


def draw_sign(canvas: Canvas, rng, at: np.ndarray) -> None:
    """A traffic sign on its pole: round, triangular, octagonal, square, or a direction board."""
    kind = rng.choice(["round", "triangle", "blue", "square", "board", "back", "stop"])
    height = rng.uniform(2.2, 3.0)
    post = _Post(canvas, at, POLE, 1.6, height + 1.2)
    if post.sprite is None:
        return
    post.bar(0, 0, 0, height + (0.6 if kind == "board" else 0.1), 0.085, _METAL[rng.integers(len(_METAL))])
    angles = np.linspace(0, 2 * np.pi, 17)[:-1]
    disc = np.column_stack([np.cos(angles), np.sin(angles)])
    radius, centre = rng.uniform(0.32, 0.45), np.array([0.0, height])
    red, white, blue = (196, 30, 36), (236, 236, 232), (30, 84, 170)
    if kind in ("round", "stop", "blue", "back"):
        outline = (
            disc if kind != "stop" else np.column_stack([np.cos(a := np.arange(8) * np.pi / 4 + np.pi / 8), np.sin(a)])
        )
        post.shape(
            outline * radius + centre, {"round": red, "stop": red, "blue": blue, "back": (128, 130, 130)}[kind], SIGN
        )
        if kind == "round":
            post.shape(disc * radius * 0.72 + centre, white if rng.random() < 0.8 else blue, SIGN)
        if kind in ("stop", "blue"):
            post.shape(
                np.array([(-0.7, 0.18), (0.7, 0.18), (0.7, -0.18), (-0.7, -0.18)]) * radius + centre, white, SIGN
            )
    elif kind == "triangle":
        corners = np.array([(0, 1.1), (1, -0.65), (-1, -0.65)])
        corners = -corners if rng.random() < 0.3 else corners
        post.shape(corners * radius * 1.1 + centre, red, SIGN)
        post.shape(corners * radius * 0.68 + centre, white, SIGN)
    else:
        wide, tall = (
            (rng.uniform(0.3, 0.45), rng.uniform(0.3, 0.6))
            if kind == "square"
            else (rng.uniform(0.6, 1.3), rng.uniform(0.3, 0.6))
        )
        rgb = ((24, 84, 160), (236, 236, 232), (230, 190, 40), (20, 100, 66))[rng.integers(4)]
        box = np.array([(-1, 1), (1, 1), (1, -1), (-1, -1)]) * (wide, tall)
        post.shape(box + centre, rgb, SIGN)
        ink = (240, 240, 236) if np.mean(rgb) < 140 else (40, 40, 44)
        for row in (0.45, -0.1, -0.55):
            post.shape(box * (rng.uniform(0.4, 0.8), 0.13) + centre + (0, row * tall), ink, SIGN)
    post.commit()


def draw_barrier(canvas: Canvas, rng, start: np.ndarray, end: np.ndarray, height: float, kind: str, rgb=None) -> None:
    """A wall, fence or hedge between two ground points; kind "wall" | "railing" | "boards" | "mesh" | "hedge"."""
    along = end - start
    plane = Plane(canvas.camera, start + (0, height, 0), along, (0, -height, 0), cut=kind == "hedge")
    seen = canvas.seen(plane)
    if seen is None:
        return
    width = float(np.hypot(along[0], along[2]))
    scale = float(np.clip(canvas.camera.focal / plane.nearest, 4, 48))
    size = (max(3, round(height * scale)), max(4, round(width * scale)))
    normal = np.array([along[2], 0, -along[0]]) / max(width, 1e-6)
    normal = normal if normal @ (canvas.camera.position - start) > 0 else -normal
    table = canvas.light.table(plane.depth, tuple(normal))
    if kind == "hedge":
        texture, alpha = hedge_texture(rng, size, rgb, table)
        canvas.plane(plane, seen, VEGETATION, texture, alpha)
    elif kind == "wall":
        canvas.plane(plane, seen, WALL, cv2.LUT(_wall_texture(rng, size), table))
    else:
        texture, alpha = _fence_texture(rng, size, kind, scale)
        canvas.plane(plane, seen, FENCE, cv2.LUT(texture, table), alpha)


def _wall_texture(rng, size) -> np.ndarray:
    name, rgb = _WALLS[rng.integers(len(_WALLS))]
    picture = np.empty((*size, 3), np.uint8)
    picture[:] = np.clip(np.array(rgb) * rng.uniform(0.7, 1.1), 0, 255)
    noise.roughen(picture, noise.crop(name, rng, size, 0.6))
    noise.roughen(picture, noise.crop("stain", rng, size))
    picture[: max(1, size[0] // 12)] = np.clip(np.array(rgb) * 1.15, 0, 255)
    return picture


def _fence_texture(rng, size, kind: str, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """Bars with gaps between them, boards, or a mesh; unlit colour and alpha."""
    height, width = size
    picture = np.empty((*size, 3), np.uint8)
    alpha = np.zeros(size, np.uint8)
    x = np.arange(width) / scale
    if kind == "boards":
        picture[:] = np.array((122, 96, 70)) * rng.uniform(0.6, 1.2)
        board = (x / 0.16).astype(int)
        picture[:] = np.clip(picture * rng.uniform(0.8, 1.15, board.max() + 1)[board][None, :, None], 0, 255)
        noise.roughen(picture, noise.crop("stain", rng, size))
        alpha[:] = 255
        return picture, alpha
    picture[:] = _METAL[rng.integers(len(_METAL))] if rng.random() < 0.75 else (206, 206, 202)
    step, bar = (0.14, 0.035) if kind == "railing" else (0.06, 0.014)
    cover = 255 if scale * bar > 1 else max(70, int(255 * bar / step * 1.6))
    alpha[:, (x % step) < max(bar, 1.0 / scale)] = cover
    rail = max(1, round(0.06 * scale))
    alpha[:rail] = 255
    alpha[int(height * 0.82) : int(height * 0.82) + rail] = 255
    alpha[:, (x % 2.2) < 0.08] = 255
    return picture, alpha
