"""The list of what will be drawn in one frame, and the order it is drawn in."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from training.data.streetsim.buildings import Building, draw_building
from training.data.streetsim.layout import Plan
from training.data.streetsim.raster import Canvas
from training.data.streetsim.shadows import ShadowMask
from training.data.streetsim.styles import Style
from training.data.streetsim.weather import add_glows

FAR = 150.0  # metres; how far along the street things are placed
Draw = Callable[[Canvas, np.random.Generator], None]


@dataclass
class Scene:
    """Buildings (depth-tested planes) and items (distance, seed, drawing function), placed from one generator."""

    style: Style
    plan: Plan
    rng: np.random.Generator
    shadows: ShadowMask
    buildings: list[Building] = field(default_factory=list)
    items: list[tuple[float, int, Draw]] = field(default_factory=list)
    taken: list[tuple[float, float, float, float]] = field(default_factory=list)

    def add(self, z: float, draw: Draw) -> None:
        """An item at distance z, with a seed of its own: how it is drawn never changes where others stand."""
        self.items.append((z, int(self.rng.integers(2**31)), draw))

    def reserve(self, u: float, z: float, half_width: float, half_length: float) -> bool:
        """Take a rectangle of street for a vehicle; False when another stands there."""
        for other_u, other_z, other_width, other_length in self.taken:
            if abs(u - other_u) < half_width + other_width and abs(z - other_z) < half_length + other_length:
                return False
        self.taken.append((u, z, half_width, half_length))
        return True

    def outer(self, side: int) -> float:
        """|u| of the back of the sidewalk on a side (0 left, 1 right)."""
        road = self.plan.road
        return abs(road.edges[side]) + road.sides[side].verge + road.sides[side].sidewalk

    def blocked(self, side: int, z: float, margin: float = 1.0) -> bool:
        """Whether a crossing street opens on this side at z."""
        return any((j.left, j.right)[side] and abs(z - j.z) < j.half + margin for j in self.plan.road.junctions)

    def draw(self, canvas: Canvas) -> None:
        """Buildings first, near to far, so that hidden ones cost nothing; then everything else from far to near."""
        for building in sorted(self.buildings, key=lambda building: np.hypot(*building.near)):
            draw_building(canvas, building)
        for _, seed, draw in sorted(self.items, key=lambda item: -item[0]):
            draw(canvas, np.random.default_rng(seed))
            add_glows(canvas)


def sign_of(side: int) -> int:
    """-1 for the left side (0), 1 for the right side (1)."""
    return 1 if side else -1
