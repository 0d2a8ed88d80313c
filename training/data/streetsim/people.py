"""People: articulated figures of head, torso and limbs, standing or walking, in varied clothes."""

from dataclasses import dataclass

import numpy as np

from training.data.streetsim import noise
from training.data.streetsim.raster import Canvas, Sprite

PERSON = 11
CLOTHES = ((28, 30, 36), (44, 48, 62), (70, 72, 76), (96, 84, 66), (120, 36, 40), (40, 66, 110), (150, 150, 148),
           (60, 78, 56), (214, 210, 202), (170, 120, 60), (190, 60, 90), (84, 60, 96), (210, 180, 60),
           (36, 100, 110))  # fmt: skip
TROUSERS = ((30, 32, 40), (44, 54, 78), (60, 70, 96), (26, 26, 28), (84, 76, 64), (120, 112, 96), (64, 64, 66))
SKIN = ((224, 178, 150), (204, 152, 120), (150, 102, 74), (96, 64, 48), (236, 196, 172))
HAIR = ((30, 24, 20), (60, 42, 28), (110, 78, 44), (168, 140, 92), (120, 118, 114), (20, 18, 18))


@dataclass(frozen=True)
class Outfit:
    """Colours and shape of one person."""

    top: tuple
    legs: tuple
    skin: tuple
    hair: tuple
    height: float
    girth: float
    coat: float  # hem, share of the height
    skirt: bool
    bag: bool
    hat: bool


def draw_outfit(rng: np.random.Generator, jitter: float = 0.0) -> Outfit:
    """A random person; now and then a child."""
    vary = rng.normal(0, 8 + 40 * jitter, 3)
    return Outfit(
        top=tuple(np.clip(np.array(CLOTHES[rng.integers(len(CLOTHES))]) * rng.uniform(0.7, 1.2) + vary, 8, 245)),
        legs=tuple(np.clip(np.array(TROUSERS[rng.integers(len(TROUSERS))]) * rng.uniform(0.7, 1.3), 8, 235)),
        skin=SKIN[rng.integers(len(SKIN))], hair=HAIR[rng.integers(len(HAIR))],
        height=rng.uniform(1.58, 1.9) if rng.random() < 0.9 else rng.uniform(1.0, 1.45),
        girth=rng.uniform(0.88, 1.25), coat=rng.uniform(0.28, 0.5), skirt=rng.random() < 0.15,
        bag=rng.random() < 0.35, hat=rng.random() < 0.2,
    )  # fmt: skip


def draw_person(canvas: Canvas, rng, at: np.ndarray, outfit: Outfit, walking: bool, sideways: float) -> None:
    """A person at world point `at`; `sideways` -1 .. 1: how far it is seen from the side, and which way it faces."""
    pixels, depths = canvas.camera.project(np.array([at]))
    depth = float(depths[0])
    if depth < 2.0:
        return
    scale = canvas.camera.focal / depth * outfit.height
    base = pixels[0]
    sprite = canvas.sprite(np.array([base - (0.4 * scale, 1.06 * scale), base + (0.4 * scale, 0)]), depth, PERSON)
    if sprite is None or scale < 3:
        return

    def place(points):
        return base + np.asarray(points, np.float64) * (scale, -scale)

    stride = rng.uniform(0.15, 0.5) if walking else rng.uniform(0.0, 0.1)
    _legs(sprite, place, outfit, stride, sideways)
    _upper(sprite, place, rng, outfit, stride, sideways)
    sprite.commit(noise.crop("stain", rng, sprite.label.shape, 0.7), 1.0)


def limb(sprite: Sprite, place, start, end, thick0: float, thick1: float, colour) -> None:
    """A tapering limb between two points of the figure."""
    start, end = np.array(start, np.float64), np.array(end, np.float64)
    across = np.array([-(end - start)[1], (end - start)[0]])
    across /= max(np.hypot(*across), 1e-6)
    sprite.fill(
        place([start - across * thick0, start + across * thick0, end + across * thick1, end - across * thick1]), colour
    )


def _legs(sprite, place, outfit: Outfit, stride: float, sideways: float) -> None:
    far, near = sprite.paint(np.array(outfit.legs) * 0.7), sprite.paint(outfit.legs)
    shoe = sprite.paint((26, 24, 24))
    spread = 0.05 * (1 - 0.6 * abs(sideways)) * outfit.girth
    for sign, colour in ((-1, far), (1, near)):
        swing = sign * stride * 0.36 * (sideways if abs(sideways) > 0.3 else 0.3)
        lift = 0.05 * stride if sign < 0 else 0.0
        knee = (sign * spread + swing * 0.45 + 0.02 * sideways, 0.27)
        foot = (sign * spread + swing, 0.03 + lift)
        limb(sprite, place, (sign * spread * 0.9, 0.50), knee, 0.052 * outfit.girth, 0.042, colour)
        limb(sprite, place, knee, foot, 0.042, 0.028, colour)
        toe = 0.06 * np.sign(sideways) if abs(sideways) > 0.3 else 0.0
        outline = np.array([(-0.03, 0.02), (0.035 + toe, -0.01), (0.03 + toe, -0.03), (-0.035, -0.03)])
        sprite.fill(place(outline + foot), shoe)


def _upper(sprite, place, rng, outfit: Outfit, stride: float, sideways: float) -> None:
    """Torso, arms, bag, head and hair, from back to front."""
    wide = outfit.girth * (0.125 - 0.04 * abs(sideways))
    top, shade = sprite.paint(outfit.top), sprite.paint(np.array(outfit.top) * 0.68)
    swing = stride * 0.25 * (sideways if abs(sideways) > 0.3 else 0.2)
    limb(sprite, place, (-wide * 0.9, 0.80), (-wide * 1.05 - swing, 0.47), 0.034, 0.026, shade)
    if outfit.bag:
        sprite.fill(
            place([(wide * 0.7, 0.6), (wide * 1.7, 0.6), (wide * 1.6, 0.38), (wide * 0.8, 0.38)]),
            sprite.paint((50, 40, 36)),
        )
    hem = (0.30 if outfit.skirt else outfit.coat) if outfit.skirt or outfit.coat < 0.4 else 0.46
    flare = 1.25 if outfit.skirt else 0.95
    half = [(wide * 0.45, 0.86), (wide, 0.815), (wide * 0.82, 0.6), (wide * flare, hem)]
    torso = half + [(-x, y) for x, y in reversed(half)]
    sprite.fill(place(torso), top)
    side = 1 if sprite.canvas.light.sun[0] < 0 else -1
    sprite.tint(
        place([(side * wide * 0.25, 0.85), (side * wide, 0.815), (side * wide * flare, hem), (side * wide * 0.3, hem)]),
        shade,
    )
    limb(sprite, place, (wide * 0.9, 0.80), (wide * 1.05 + swing, 0.47), 0.034, 0.026, top)
    skin = sprite.paint(outfit.skin)
    for hand in (-wide * 1.05 - swing, wide * 1.05 + swing):
        sprite.fill(
            place([(hand - 0.018, 0.475), (hand + 0.018, 0.475), (hand + 0.015, 0.43), (hand - 0.015, 0.43)]), skin
        )
    head(sprite, place, rng, outfit, 0.0, 0.925, sideways)


def head(sprite, place, rng, outfit: Outfit, x: float, y: float, sideways: float) -> None:
    """Neck, face, and hair or hat; mostly hair when seen from behind."""
    angles = np.linspace(0, 2 * np.pi, 13)[:-1]
    oval = np.column_stack([np.cos(angles) * 0.048, np.sin(angles) * 0.07])
    sprite.fill(
        place(np.array([(-0.025, -0.03), (0.025, -0.03), (0.03, -0.09), (-0.03, -0.09)]) + (x, y)),
        sprite.paint(np.array(outfit.skin) * 0.8),
    )
    sprite.fill(place(oval + (x, y)), sprite.paint(outfit.skin))
    behind = rng.random() < 0.45 and abs(sideways) < 0.6
    cover = oval[oval[:, 1] > (-0.04 if behind else 0.012)] * 1.12
    cap = outfit.top if outfit.hat else outfit.hair
    sprite.fill(place(cover + (x - 0.012 * np.sign(sideways), y)), sprite.paint(cap))
