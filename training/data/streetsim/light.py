"""Sun, sky light, fog and night: how bright a surface of a given direction looks at a given depth."""

from dataclasses import dataclass

import numpy as np

UP = (0.0, 1.0, 0.0)


@dataclass(frozen=True)
class Light:
    """`sun` is the unit vector towards the sun; rgb triples are multipliers of a surface's own colour.

    `fog_rgb` in [0, 255], `fog_density` per metre, `night` 0 (day) .. 1 (lamps and windows lit), `wet` 0 .. 1.
    """

    sun: tuple[float, float, float]
    sun_rgb: tuple[float, float, float]
    ambient_rgb: tuple[float, float, float]
    fog_rgb: tuple[float, float, float]
    fog_density: float
    night: float
    wet: float

    def shade(self, normal: tuple[float, float, float] = UP) -> np.ndarray:
        """Multiplier rgb [3] of a surface with this unit normal: sky light from above, the sun where it faces it."""
        return np.array(self._shade(normal))

    def _shade(self, normal) -> tuple[float, float, float]:
        x, up, z = (float(n) for n in normal)
        facing = max(0.0, x * self.sun[0] + up * self.sun[1] + z * self.sun[2])
        dome = 0.78 + 0.22 * up
        return tuple(a * dome + s * facing for a, s in zip(self.ambient_rgb, self.sun_rgb, strict=True))

    def haze(self, depth: float) -> float:
        """Share of fog in the colour of a surface at `depth` metres, 0 .. 1."""
        return 1.0 - float(np.exp(-self.fog_density * max(depth, 0.0)))

    def colour(self, rgb, depth: float, normal=UP, glow: bool = False) -> tuple[float, float, float]:
        """A surface colour as the camera sees it; `glow` for what shines by itself."""
        shade = (1.0, 1.0, 1.0) if glow else self._shade(normal)
        haze = self.haze(depth)
        return tuple(
            min(255.0, float(c) * s * (1 - haze) + f * haze) for c, s, f in zip(rgb, shade, self.fog_rgb, strict=True)
        )

    def table(self, depth: float, normal=UP) -> np.ndarray:
        """The same for a whole texture: look-up table uint8 [256, 1, 3] for cv2.LUT."""
        haze = self.haze(depth)
        values = np.arange(256)[:, None] * (self.shade(normal) * (1 - haze))[None, :] + np.array(self.fog_rgb) * haze
        return np.clip(values, 0, 255).astype(np.uint8)[:, None, :]

    @property
    def contrast(self) -> float:
        """How much of the light on level ground a shadow takes away, 0 .. 1."""
        whole = self.shade(UP).mean()
        return float(1 - np.mean(self.ambient_rgb) / max(whole, 1e-6))
