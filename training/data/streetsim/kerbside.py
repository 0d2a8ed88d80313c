"""What stands along the kerb: street trees, lamps, signs, bollards, poles, railings, traffic lights."""

import numpy as np

from training.data.streetsim.frontage import place_barrier, place_tree
from training.data.streetsim.furniture import draw_lamp, draw_pole, draw_sign, draw_traffic_light
from training.data.streetsim.road import Junction
from training.data.streetsim.scene import FAR, Scene, sign_of

_POST = np.array([(-0.07, -0.07), (0.07, -0.07), (0.07, 0.07), (-0.07, 0.07)])


def place_kerbside(scene: Scene, side: int) -> None:
    """Furnish one side of the street."""
    rng, style = scene.rng, scene.style
    edge = abs(scene.plan.road.edges[side])
    if rng.random() < style.street_trees:
        gap, height = rng.uniform(7, 14), rng.uniform(5, 11)
        for z in np.arange(rng.uniform(4, 12), FAR, gap):
            place_tree(scene, side, edge + rng.uniform(0.6, 1.2), z, height * rng.uniform(0.8, 1.2), "street")
    _place_lamps(scene, side, edge + 0.5)
    _place_signs(scene, side, edge)
    _place_posts(scene, side, edge + 0.4)
    if rng.random() < 0.18 * style.furniture:
        z = rng.uniform(3, 30)
        place_barrier(scene, side, edge + 0.35, (z, z + rng.uniform(6, 25)), "railing")


def _place_lamps(scene: Scene, side: int, out: float) -> None:
    rng, sign = scene.rng, sign_of(side)
    gap = rng.uniform(20, 38)
    for z in np.arange(rng.uniform(4, 25), 110, gap):
        if rng.random() < 0.85 and not scene.blocked(side, z):
            at = scene.plan.road.point(sign * out, z)
            scene.add(z, lambda canvas, own, at=at: draw_lamp(canvas, own, at, -sign))
            scene.shadows.box(at[[0, 2]] + _POST, 7.0)


def _place_signs(scene: Scene, side: int, edge: float) -> None:
    rng = scene.rng
    for _ in range(rng.poisson(2.2 * scene.style.furniture)):
        z = rng.uniform(5, 55)
        if not scene.blocked(side, z):
            at = scene.plan.road.point(sign_of(side) * (edge + rng.uniform(0.35, 0.9)), z)
            scene.add(z, lambda canvas, own, at=at: draw_sign(canvas, own, at))


def _place_posts(scene: Scene, side: int, out: float) -> None:
    """Rows of bollards, and single tall poles."""
    rng = scene.rng
    for _ in range(rng.poisson(0.8 * scene.style.furniture)):
        bollard, first = rng.random() < 0.6, rng.uniform(4, 40)
        height, thick, gap = (rng.uniform(0.8, 1.1), 0.12, 1.8) if bollard else (rng.uniform(4, 8), 0.15, 30)
        for z in first + np.arange(rng.integers(1, 6)) * gap:
            if not scene.blocked(side, z):
                _place_post(scene, scene.plan.road.point(sign_of(side) * out, z), height, thick)


def _place_post(scene: Scene, at: np.ndarray, height: float, thick: float) -> None:
    scene.add(at[2], lambda canvas, own: draw_pole(canvas, own, at, height, thick))


def place_signals(scene: Scene, junction: Junction) -> None:
    """Traffic lights before and behind a crossing street, on both sides."""
    for side in (0, 1):
        sign, out = sign_of(side), abs(scene.plan.road.edges[side]) + 0.6
        for ahead in (-1, 1):
            z = junction.z + ahead * (junction.half + 0.8)
            at, facing = scene.plan.road.point(sign * out, z), ahead < 0 or scene.rng.random() < 0.6

            def draw(canvas, own, at=at, sign=sign, facing=facing):
                draw_traffic_light(canvas, own, at, -sign, facing)

            scene.add(z, draw)
