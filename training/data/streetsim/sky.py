"""The sky: gradient, clouds, sun glow, or the white sky of an over-exposed photo."""

from dataclasses import dataclass

import cv2
import numpy as np

from training.data.streetsim import noise
from training.data.streetsim.raster import Canvas

SKY = 10


@dataclass(frozen=True)
class SkyLook:
    """Colours at the top of the sky, at the horizon and of clouds; `cover` 0 (clear) .. 1 (overcast)."""

    zenith: tuple[float, float, float]
    horizon: tuple[float, float, float]
    cloud: tuple[float, float, float]
    cover: float
    glow: float


def draw_sky(canvas: Canvas, look: SkyLook, rng: np.random.Generator) -> None:
    """Fill the whole canvas; the ground and all else is drawn over it."""
    height, width = canvas.camera.size
    camera = canvas.camera.shrunk(4)  # a sky is soft
    dx, dy, dz = camera.rays(slice(0, camera.size[0]))
    rise = np.clip(dy, 0.0, 1.0)
    mix = (np.clip(rise * 2.6, 0, 1) ** 0.7)[..., None]
    colour = np.array(look.horizon, np.float32) * (1 - mix) + np.array(look.zenith, np.float32) * mix
    offset = rng.uniform(0, noise.TILE, 2)
    far = 26.0 / (rise + 0.16)
    clouds = cv2.remap(
        noise.tile("cloud"), (dx * far + offset[0]).astype(np.float32), (dz * far + offset[1]).astype(np.float32),
        cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP,
    )  # fmt: skip
    density = clouds.astype(np.float32) / 255 + look.cover - 0.72
    share = np.clip(density * 2.6, 0, 1)[..., None]
    body = np.array(look.cloud, np.float32) * (1.08 - 0.30 * np.clip(density, 0, 1))[..., None]
    colour += share * (body - colour)
    if look.glow > 0:
        sun = canvas.light.sun
        length = np.sqrt(dx * dx + dy * dy + dz * dz)
        facing = np.clip((dx * sun[0] + dy * sun[1] + dz * sun[2]) / length, 0, 1)
        colour += (look.glow * (90 * facing**6 + 160 * facing**120))[..., None]
    drawn = np.clip(colour, 0, 255).astype(np.uint8)
    canvas.image[:] = cv2.resize(drawn, (width, height), interpolation=cv2.INTER_LINEAR)
    canvas.label[:] = SKY
