"""Trees in leaf, bare trees, conifers, bushes: sprites whose outline and shading come from noise."""

from functools import cache

import cv2
import numpy as np

from training.data.streetsim import noise
from training.data.streetsim.raster import UNSET, Canvas, Sprite

VEGETATION = 8
LEAVES = ((70, 92, 40), (84, 104, 52), (56, 78, 40), (98, 112, 50), (64, 84, 58), (110, 112, 62), (48, 66, 34))
AUTUMN = ((150, 110, 46), (140, 84, 40), (120, 60, 36))
BARK = ((84, 72, 60), (70, 62, 54), (104, 94, 82), (58, 48, 40))


def draw_tree(canvas: Canvas, rng, at: np.ndarray, height: float, kind: str, rgb) -> None:
    """A tree standing at world point `at`; kind "leafy" | "bare" | "conifer" | "bush"."""
    pixels, depths = canvas.camera.project(np.array([at]))
    depth = float(depths[0])
    if depth < 1.5:
        return
    base, scale = pixels[0], canvas.camera.focal / depth
    tall = height * scale
    wide = tall * {"leafy": rng.uniform(0.55, 1.0), "bare": rng.uniform(0.6, 1.0), "conifer": rng.uniform(0.35, 0.6),
                   "bush": rng.uniform(0.9, 1.8)}[kind]  # fmt: skip
    sprite = canvas.sprite(np.array([base - (wide * 0.56, tall * 1.06), base + (wide * 0.56, 0)]), depth, VEGETATION)
    if sprite is None or tall < 2:
        return
    bark = BARK[rng.integers(len(BARK))]
    if kind == "bare":
        _bare(sprite, rng, base, tall, wide, bark)
        return
    if kind == "leafy":
        _trunk(sprite, rng, base, tall, bark)
    _crown(sprite, rng, base, tall, wide, kind, rgb)


def _trunk(sprite: Sprite, rng, base, tall: float, bark, top: float = 0.55) -> None:
    half = max(0.7, tall * rng.uniform(0.015, 0.028))
    lean = rng.normal(0, 0.02) * tall
    up = base + (lean, -tall * top)
    sides = [base - (half * 1.2, 0), base + (half * 1.2, 0), up + (half * 0.6, 0), up - (half * 0.6, 0)]
    sprite.fill(sides, sprite.paint(bark))
    sprite.tint([base, base + (half * 1.2, 0), up + (half * 0.6, 0), up], sprite.paint(np.array(bark) * 0.7))


def _grid(sprite: Sprite) -> tuple[np.ndarray, np.ndarray]:
    x0, y0, x1, y1 = sprite.box
    return np.arange(x0, x1, dtype=np.float32)[None, :] + 0.5, np.arange(y0, y1, dtype=np.float32)[:, None] + 0.5


def _crown(sprite: Sprite, rng, base, tall: float, wide: float, kind: str, rgb) -> None:
    """Foliage: an ellipse, triangle or half-ellipse with a rim eaten by noise, shaded from the sun side."""
    x, y = _grid(sprite)
    low = {"leafy": rng.uniform(0.2, 0.38), "conifer": 0.06, "bush": 0.0}[kind]
    across = (x - base[0]) / (wide / 2)
    up = ((base[1] - y) / tall - low) / (1 - low)  # 0 at the foot of the crown, 1 at the top
    if kind == "conifer":
        inside = 1.05 - np.abs(across) - up
    elif kind == "bush":
        inside = 1 - np.hypot(across, up) * (1 - 0.25 * (up < 0.25))
    else:
        inside = 1 - np.hypot(across, 2 * up - 1)
    size = sprite.label.shape
    clumps = noise.crop("soft", rng, size, max(wide, 8) / 110).astype(np.float32) / 128 - 1
    leaves = noise.crop("foliage", rng, size, float(np.clip(wide / 150, 0.25, 2.2)))
    edge = inside - 0.18 + 0.6 * clumps + 0.22 * (leaves.astype(np.float32) / 128 - 1)
    crown = (edge > 0) & (up > 0.10 * clumps)
    sun = sprite.canvas.light.sun
    lift = 0.88 + 0.26 * np.clip(up, 0, 1) + 0.22 * np.sign(sun[0]) * abs(sun[0]) * across + 0.35 * clumps
    lit = np.array(sprite.canvas.light.shade((0, 0.8, -0.6)), np.float32)
    haze = sprite.canvas.light.haze(sprite.depth)
    grey = np.minimum(np.maximum(lift, 0.25) * leaves, 255).astype(np.uint8)
    values = np.arange(256)[:, None] / 128 * (np.array(rgb) * lit * (1 - haze))[None, :]
    table = np.clip(values + np.array(sprite.canvas.light.fog_rgb) * haze, 0, 255).astype(np.uint8)[:, None, :]
    colour = cv2.LUT(cv2.merge([grey, grey, grey]), table)
    holes = (edge < 0.22) & (leaves < 84)  # sky through the rim: seen in the image, still the tree's in the label
    mask = crown.view(np.uint8)
    kept = sprite.image.copy()
    cv2.copyTo(colour, mask, sprite.image)
    cv2.copyTo(kept, (holes & crown & (sprite.label == UNSET)).view(np.uint8), sprite.image)
    sprite.label[crown] = VEGETATION
    sprite.commit()


@cache
def _skeletons() -> tuple[tuple[np.ndarray, np.ndarray], ...]:
    """Bare trees, drawn once: cover of branches and the region an annotator would outline, uint8 [256, 256] each."""
    return tuple(_skeleton(np.random.default_rng([9, k])) for k in range(10))


def _skeleton(rng) -> tuple[np.ndarray, np.ndarray]:
    size = 768
    cover = np.zeros((size, size), np.uint8)
    droop, spread = rng.uniform(-0.02, 0.06), rng.uniform(0.32, 0.5)
    stems = [
        (
            size / 2,
            size - 1.0,
            -np.pi / 2 + rng.normal(0, 0.04),
            size * rng.uniform(0.15, 0.2),
            size * rng.uniform(0.014, 0.022),
            0,
        )
    ]
    while stems:
        x, y, angle, length, thick, level = stems.pop()
        for _ in range(3):
            angle += rng.normal(0, 0.10)
            x1, y1 = x + np.cos(angle) * length / 3, y + np.sin(angle) * length / 3
            cv2.line(cover, (round(x * 16), round(y * 16)), (round(x1 * 16), round(y1 * 16)), 255,
                     max(1, round(thick)), cv2.LINE_AA, 4)  # fmt: skip
            x, y = x1, y1
        if level < 7:
            for _ in range(3):
                turn = rng.normal(0, spread)
                stems.append(
                    (
                        x,
                        y,
                        angle + turn + droop * np.cos(angle),
                        length * rng.uniform(0.62, 0.9),
                        thick * 0.66,
                        level + 1,
                    )
                )
    rows, columns = np.nonzero(cover)
    half = int(min(max(np.percentile(np.abs(columns - size / 2), 99.7), 40), size // 2))
    cover = cover[int(np.percentile(rows, 0.1)) :, size // 2 - half : size // 2 + half]
    small = cv2.resize(cover, (256, 256), interpolation=cv2.INTER_AREA)
    density = cv2.GaussianBlur(small, (0, 0), 4.0)
    return small, np.where((density > 30) | (small > 128), 255, 0).astype(np.uint8)


def _bare(sprite: Sprite, rng, base, tall: float, wide: float, bark) -> None:
    """A winter tree: branches blended over what is behind; the label is the region they fill."""
    cover, region = _skeletons()[rng.integers(len(_skeletons()))]
    if rng.random() < 0.5:
        cover, region = cover[:, ::-1], region[:, ::-1]
    x0, y0, x1, y1 = sprite.box
    move = np.array([[wide / 256, 0, base[0] - wide / 2 - x0], [0, tall / 256, base[1] - tall - y0]])
    if wide < 256:
        shrink = (max(2, int(wide)), max(2, int(tall))) if tall < 256 else (max(2, int(wide)), 256)
        cover = cv2.resize(cover, shrink, interpolation=cv2.INTER_AREA)
        move[0, 0], move[1, 1] = wide / shrink[0], tall / shrink[1]
    size = (x1 - x0, y1 - y0)
    share = cv2.warpAffine(np.ascontiguousarray(cover), move, size, flags=cv2.INTER_LINEAR)
    region_move = np.array([[wide / 256, 0, move[0, 2]], [0, tall / 256, move[1, 2]]])
    inside = cv2.warpAffine(np.ascontiguousarray(region), region_move, size, flags=cv2.INTER_LINEAR) > 127
    mix = np.minimum(share.astype(np.float32) * 1.25, 255.0)[..., None] / 255
    colour = np.array(sprite.paint(np.array(bark) * rng.uniform(0.6, 1.15)), np.float32)
    sprite.image[:] = (sprite.image + mix * (colour - sprite.image)).astype(np.uint8)
    sprite.label[inside] = VEGETATION
    sprite.commit()


def hedge_texture(rng, size: tuple[int, int], rgb, table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Foliage for an upright plane: lit texture uint8 [h, w, 3] and alpha uint8 [h, w] with a ragged top."""
    picture = np.empty((*size, 3), np.uint8)
    picture[:] = np.array(rgb, np.uint8)
    noise.roughen(picture, noise.crop("foliage", rng, size, 0.8))
    rise = np.linspace(0, 1, size[0], dtype=np.float32)[:, None]
    ragged = rise - 0.13 + 0.16 * (noise.crop("soft", rng, size, 0.8).astype(np.float32) / 128 - 1)
    return cv2.LUT(picture, table), np.where(ragged > 0, 255, 0).astype(np.uint8)
