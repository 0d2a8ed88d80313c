"""Facade textures: wall material, rows of windows, ground floors with doors or shops; drawn unlit, in facade metres."""

from dataclasses import dataclass

import cv2
import numpy as np

from training.data.streetsim import noise
from training.data.streetsim.light import Light

_BRICK = ((142, 84, 66), (165, 108, 82), (181, 150, 108), (196, 170, 128), (120, 76, 64), (150, 120, 98))
_PLASTER = ((226, 222, 210), (238, 234, 228), (214, 198, 168), (205, 190, 178), (220, 205, 150), (186, 192, 198),
            (208, 172, 150), (168, 178, 160), (150, 146, 142), (232, 214, 190))  # fmt: skip
_STONE = ((178, 166, 142), (150, 142, 128), (200, 188, 162), (128, 122, 114))
_CONCRETE = ((158, 156, 150), (134, 134, 132), (190, 188, 182), (110, 112, 116))
_SHOP = ((40, 44, 52), (20, 60, 110), (150, 30, 34), (24, 86, 60), (235, 232, 224), (210, 120, 30), (70, 26, 60),
         (230, 190, 40), (16, 18, 22), (120, 90, 60))  # fmt: skip
_FRAME = ((236, 236, 232), (236, 236, 232), (60, 58, 56), (96, 70, 50), (150, 150, 148), (40, 60, 50))


@dataclass(frozen=True)
class FacadeLook:
    """One building's face: material colour and texture, storeys and window grid, ground floor kind."""

    wall: tuple[float, float, float]
    texture: str
    storey: float
    bay: float  # metres from window to window
    window: tuple[float, float]  # share of bay and storey that is glass
    frame: tuple[float, float, float]
    glass: tuple[float, float, float]
    ground_floor: str  # "shop" | "home" | "blank"
    trim: float  # brightness factor of lintels, sills and cornices
    lit_share: float  # windows with light in them


def draw_look(rng: np.random.Generator, brick_share: float, shops: float, night: float, jitter: float) -> FacadeLook:
    """A random building face."""
    kind = rng.random()
    if kind < brick_share:
        wall, texture = _BRICK[rng.integers(len(_BRICK))], "brick"
    elif kind < brick_share + (1 - brick_share) * 0.62:
        wall, texture = _PLASTER[rng.integers(len(_PLASTER))], "plaster"
    elif kind < brick_share + (1 - brick_share) * 0.8:
        wall, texture = _STONE[rng.integers(len(_STONE))], "stone"
    else:
        wall, texture = _CONCRETE[rng.integers(len(_CONCRETE))], "panel"
    modern = texture == "panel" or rng.random() < 0.15
    wall = np.clip(np.array(wall) * rng.uniform(0.75, 1.1) + rng.normal(0, 6 + 14 * jitter, 3), 15, 250)
    window = (
        (rng.uniform(0.6, 0.97), rng.uniform(0.5, 0.8)) if modern else (rng.uniform(0.3, 0.6), rng.uniform(0.42, 0.65))
    )
    return FacadeLook(
        wall=tuple(wall), texture=texture, storey=rng.uniform(2.7, 3.7), window=window,
        bay=rng.uniform(1.5, 3.4) * (1.3 if modern else 1), frame=_FRAME[rng.integers(len(_FRAME))],
        glass=tuple(rng.uniform(25, 95) + rng.uniform(-6, 18, 3)),
        ground_floor="shop" if rng.random() < shops else "home", trim=rng.uniform(0.7, 1.3),
        lit_share=night * rng.uniform(0.1, 0.6),
    )  # fmt: skip


class _Face:
    """A texture under work, addressed in metres from the bottom left."""

    def __init__(self, width: float, height: float, scale: float):
        self.scale, self.height = scale, height
        size = (max(4, round(height * scale)), max(4, round(width * scale)))
        self.image = np.zeros((*size, 3), np.uint8)
        self.lit = np.zeros(size, np.uint8)
        self._stretched: dict[tuple, tuple] = {}  # (id, size): the picture, kept so that its id stays its own; at size

    def span(self, x0, y0, x1, y1) -> tuple[slice, slice]:
        """Rows and columns of a rectangle."""
        rows, scale = self.image.shape[0], self.scale
        top, bottom = rows - round(y1 * scale), rows - round(y0 * scale)
        return slice(max(top, 0), max(bottom, 0)), slice(max(round(x0 * scale), 0), max(round(x1 * scale), 0))

    def rectangle(self, x0, y0, x1, y1, rgb) -> None:
        """Fill a rectangle with one colour."""
        rows, columns = self.span(x0, y0, x1, y1)
        if rows.stop > rows.start and columns.stop > columns.start:
            colour = [int(min(max(float(c), 0.0), 255.0)) for c in rgb]
            last = columns.stop - 1, rows.stop - 1
            cv2.rectangle(self.image, (columns.start, rows.start), last, colour, cv2.FILLED)

    def block(self, x0, y0, x1, y1, picture, lit=None) -> None:
        """Paste a picture, stretched to the rectangle."""
        rows, columns = self.span(x0, y0, x1, y1)
        target = self.image[rows, columns]
        if target.size:
            target[:] = self._at_size(picture, target.shape[1::-1])
            if lit:
                self.lit[rows, columns] = 1

    def _at_size(self, picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """`picture`, which the face's other blocks may show too, as (width, height) pixels."""
        key = id(picture), size
        if key not in self._stretched:
            self._stretched[key] = picture, cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
        return self._stretched[key][1]


def facade(
    rng: np.random.Generator, look: FacadeLook, width: float, height: float, scale: float
) -> tuple[np.ndarray, np.ndarray]:
    """An unlit face of `width` x `height` metres at `scale` pixels a metre: uint8 [h, w, 3], lit-window mask [h, w]."""
    face = _Face(width, height, scale)
    face.image[:] = np.array(look.wall, np.float32)
    size = face.image.shape[:2]
    texel = {"brick": 0.011, "plaster": 0.02, "stone": 0.012, "panel": 0.02}[look.texture]  # metres
    noise.roughen(face.image, noise.crop(look.texture, rng, size, scale * texel))
    noise.roughen(face.image, noise.crop("stain", rng, size, scale * 0.04), 0.45)
    ground = min(height, look.storey * (1.15 if look.ground_floor == "shop" else 1.0))
    _windows(face, rng, look, width, height, ground)
    if look.ground_floor == "shop":
        _shop(face, rng, look, width, ground)
    elif look.ground_floor == "home":
        _doors(face, rng, look, width, ground)
    _trims(face, rng, look, width, height, ground)
    rows = np.linspace(1.06, 0.86, size[0], dtype=np.float32)[:, None, None]
    face.image[:] = cv2.multiply(face.image, np.broadcast_to(rows, face.image.shape).copy(), dtype=cv2.CV_8U)
    return face.image, face.lit


def _pane(rng: np.random.Generator, look: FacadeLook, lit: bool) -> np.ndarray:
    """One window as a small picture: frame, panes with a reflection, perhaps a curtain; uint8 [24, 16, 3]."""
    pane = np.empty((24, 16, 3), np.float32)
    pane[:] = look.frame
    glass = np.array((235, 195, 120)) * rng.uniform(0.6, 1.0) if lit else np.array(look.glass) * rng.uniform(0.6, 1.5)
    shine = np.linspace(rng.uniform(0.9, 2.0), rng.uniform(0.6, 1.1), 20)[:, None, None]
    pane[2:22, 2:14] = glass * (1.0 if lit else shine)
    if rng.random() < 0.35:
        pane[2 : rng.integers(5, 16), 2:14] = rng.uniform(120, 220)  # blind
    if rng.random() < 0.6:
        pane[:, 7:9] = look.frame
    if rng.random() < 0.6:
        pane[10:12] = look.frame
    return np.clip(pane, 0, 255).astype(np.uint8)


def _windows(face: _Face, rng, look: FacadeLook, width: float, height: float, ground: float) -> None:
    """The window grid above the ground floor (from the ground up on a home or blank face)."""
    start = ground if look.ground_floor == "shop" else 0.0
    columns = max(1, int(width / look.bay))
    bay = width / columns
    fine = face.scale > 7
    panes = [(_pane(rng, look, False), False) for _ in range(4 if fine else 2)]
    glowing = [(_pane(rng, look, True), True) for _ in range(2 if look.lit_share else 0)]
    sill = look.storey * (0.5 - look.window[1] / 2) + 0.15
    level = start
    while level + look.storey * 0.9 <= height:
        for column in range(columns):
            x0 = (column + 0.5 - look.window[0] / 2) * bay
            x1, y0 = x0 + look.window[0] * bay, level + sill
            y1 = y0 + look.window[1] * look.storey
            choice = glowing if look.lit_share and rng.random() < look.lit_share else panes
            picture, lit = choice[rng.integers(len(choice))]
            if fine and look.trim != 1 and look.texture != "panel":
                face.rectangle(x0 - 0.1, y0 - 0.16, x1 + 0.1, y0, np.array(look.wall) * look.trim)
                face.rectangle(x0 - 0.1, y1, x1 + 0.1, y1 + 0.2, np.array(look.wall) * look.trim)
            face.block(x0, y0, x1, y1, picture, lit)
        level += look.storey


def _shop(face: _Face, rng, look: FacadeLook, width: float, ground: float) -> None:
    """Shop fronts: plinth, wide glass with goods behind, a fascia with lettering, now and then an awning."""
    left = 0.0
    while left < width - 1.0:
        wide = min(rng.uniform(4, 9), width - left)
        sign = np.array(_SHOP[rng.integers(len(_SHOP))], np.float32)
        lit = rng.random() < 0.25 + look.lit_share
        face.rectangle(left, 0, left + wide, ground, np.clip(sign * 0.8 + 14, 0, 255))
        goods = noise.crop("foliage", rng, (12, 24))[..., None] * np.array(rng.uniform(0.35, 1.0, 3))
        goods = np.clip(goods * (1.3 if lit else 0.55), 0, 255).astype(np.uint8)
        panes = max(1, round(wide / rng.uniform(1.5, 3)))
        door = rng.integers(panes)
        for pane in range(panes):
            x0, x1 = left + 0.12 + pane * wide / panes, left + (pane + 1) * wide / panes - 0.12
            face.block(x0, 0.05 if pane == door else 0.5, x1, ground - 0.95, goods, lit and look.lit_share > 0)
        face.rectangle(left, ground - 0.8, left + wide, ground - 0.1, sign)
        ink = (240, 236, 225) if sign.mean() < 130 else (30, 30, 40)
        x, end = left + wide * rng.uniform(0.1, 0.3), left + wide * rng.uniform(0.6, 0.9)
        while x < end:
            step = rng.uniform(0.1, 0.35)
            face.rectangle(x, ground - 0.62, x + step, ground - rng.uniform(0.26, 0.34), ink)
            x += step + rng.uniform(0.06, 0.14)
        if rng.random() < 0.2:
            face.rectangle(left, ground - 1.5, left + wide, ground - 0.75, _SHOP[rng.integers(len(_SHOP))])
        left += wide


def _doors(face: _Face, rng, look: FacadeLook, width: float, ground: float) -> None:
    """House doors between the ground-floor windows."""
    for x in np.arange(rng.uniform(0.6, 3.0), width - 1.2, rng.uniform(4.5, 9.0)):
        colour = np.array(_SHOP[rng.integers(len(_SHOP))])
        face.rectangle(x - 0.2, 0, x + 1.2, min(2.6, ground), np.array(look.wall) * look.trim)
        face.rectangle(x, 0, x + 1.0, 2.1, colour)
        face.rectangle(x + 0.15, 1.4, x + 0.85, 1.95, colour * 0.5)


def _trims(face: _Face, rng, look: FacadeLook, width: float, height: float, ground: float) -> None:
    """Cornices, the plinth, drain pipes and balconies."""
    trim = np.array(look.wall) * look.trim
    face.rectangle(0, height - 0.35, width, height, trim)
    if rng.random() < 0.4:
        face.rectangle(0, ground - 0.08, width, ground + 0.12, trim)
    if look.ground_floor != "shop":
        face.rectangle(0, 0, width, rng.uniform(0.2, 0.7), np.array(look.wall) * 0.6)
    for x in rng.uniform(0, width, rng.integers(0, 3)):
        face.rectangle(x, 0.2, x + 0.12, height - 0.3, rng.uniform(30, 110) * np.ones(3))
    if rng.random() < 0.2:
        for level in np.arange(ground, height - 2.0, look.storey):
            x = rng.uniform(0, max(0.1, width - 4))
            face.rectangle(x, level, x + 3.5, level + 1.0, trim * 0.55)


def lit_texture(picture: np.ndarray, lit: np.ndarray, light: Light, depth: float, normal, rng) -> np.ndarray:
    """The face as seen: shaded by the light, with haze, lit windows keeping their own glow."""
    shaded = cv2.LUT(picture, light.table(depth, normal))
    if light.contrast > 0.25 and rng.random() < 0.7:
        height, width = lit.shape
        line = height * (1 - rng.uniform(-0.1, 0.9) - np.array([0, rng.normal(0, 0.15)]))  # the houses opposite
        shadow = np.zeros_like(lit)
        cv2.fillPoly(
            shadow, [np.array([(0, line[0]), (width, line[1]), (width, height), (0, height)]).astype(np.int32)], 1
        )
        cv2.copyTo(cv2.LUT(picture, light.table(depth, (0.0, 0.0, 0.0))), shadow, shaded)
    if light.night > 0 and lit.any():
        cv2.copyTo(picture, lit, shaded)
    return shaded
