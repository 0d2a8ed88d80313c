"""What lines the street behind the sidewalk: terraces, houses, gardens, walls, fences, hedges, trees; the far end."""

import numpy as np

from training.data.streetsim.buildings import Building
from training.data.streetsim.facades import FacadeLook, draw_look
from training.data.streetsim.furniture import draw_barrier
from training.data.streetsim.road import Junction
from training.data.streetsim.scene import FAR, Scene, sign_of
from training.data.streetsim.styles import pick
from training.data.streetsim.vegetation import AUTUMN, LEAVES, draw_tree

_ROOFS = ((120, 66, 50), (86, 78, 76), (70, 72, 80), (140, 84, 60), (100, 92, 84))
_PIECE = 5.0  # metres of wall, fence or hedge drawn at once


def place_frontage(scene: Scene, side: int) -> None:
    """Runs of one kind of frontage after another along the back of the sidewalk, with gaps where streets cross."""
    rng, style = scene.rng, scene.style
    setback, z = pick(rng, style.setback), rng.uniform(-8, 0)
    kind, storeys = _choose(rng, style.frontages), pick(rng, style.storeys)
    while z < FAR:
        if scene.blocked(side, z, 0.5):
            z += 1.0
            continue
        length = {"terrace": rng.uniform(6, 18), "detached": rng.uniform(8, 13)}.get(kind, rng.uniform(10, 28))
        end = z
        while end < z + length and not scene.blocked(side, end + 0.5, 0.5):
            end += 0.5
        if end - z > 2.5:
            _place_stretch(scene, side, kind, (z, end), setback, storeys)
        z = end + (rng.uniform(2, 7) if kind == "detached" else 0.0 if rng.random() < 0.85 else rng.uniform(1, 4))
        if rng.random() < 0.22:
            kind, setback = _choose(rng, style.frontages), pick(rng, style.setback)


def _choose(rng: np.random.Generator, weighted: tuple[tuple[str, float], ...]) -> str:
    weights = np.array([weight for _, weight in weighted])
    return weighted[rng.choice(len(weighted), p=weights / weights.sum())][0]


def _place_stretch(
    scene: Scene, side: int, kind: str, span: tuple[float, float], setback: float, storeys: float
) -> None:
    """One piece of frontage over the span (z0, z1)."""
    out = scene.outer(side)
    if kind == "terrace":
        _place_building(scene, side, span, out + setback, storeys, 0.35)
    elif kind == "detached":
        _place_building(scene, side, span, out + 2.5 + setback * 1.5, min(storeys, 2.4), 0.9)
        _place_garden(scene, side, span, setback)
    else:
        _place_green(scene, side, kind, span, storeys)


def _place_garden(scene: Scene, side: int, span: tuple[float, float], setback: float) -> None:
    """Front garden of a house: something round it, and bushes."""
    rng, out = scene.rng, scene.outer(side)
    if rng.random() < 0.6:
        kind = str(rng.choice(["wall", "hedge", "railing", "boards"]))
        place_barrier(scene, side, out + 0.1, (span[0] - 2, span[1] + 3), kind)
    for _ in range(rng.integers(0, 3)):
        at = out + rng.uniform(0.6, 2.5 + setback)
        place_tree(scene, side, at, rng.uniform(*span), rng.uniform(0.8, 2.2), "bush")


def _place_green(scene: Scene, side: int, kind: str, span: tuple[float, float], storeys: float) -> None:
    """A row of trees, or a wall, fence or hedge with trees and perhaps a building behind."""
    rng, out, trees = scene.rng, scene.outer(side), kind == "trees"
    if not trees:
        barrier = str(rng.choice(["railing", "boards", "mesh"])) if kind == "fence" else kind
        place_barrier(scene, side, out + 0.1, span, barrier)
        if rng.random() < 0.55:
            _place_building(scene, side, span, out + rng.uniform(6, 14), storeys, 0.4)
    for z in np.arange(*span, rng.uniform(3.0, 6.0)):
        if trees or rng.random() < 0.6:
            place_tree(scene, side, out + rng.uniform(1.5, 12), z + rng.uniform(-1, 1), rng.uniform(5, 13), "any")
        if trees and rng.random() < 0.8:
            place_tree(scene, side, out + rng.uniform(1.5, 6), z + rng.uniform(-2, 2), rng.uniform(0.8, 2.6), "bush")


def _look(scene: Scene, shops: float) -> FacadeLook:
    plan = scene.plan
    return draw_look(scene.rng, plan.brick_share, shops, plan.light.night, plan.jitter)


def _place_building(
    scene: Scene, side: int, span: tuple[float, float], out: float, storeys: float, pitched_share: float
) -> None:
    """One building with its front at |u| = out, and its shadow."""
    rng, road, sign = scene.rng, scene.plan.road, sign_of(side)
    look = _look(scene, scene.plan.shops)
    height = look.storey * max(1.3, storeys + rng.normal(0, 0.5)) + rng.uniform(0.3, 0.9)
    near, far = (road.point(sign * out, z)[[0, 2]] for z in span)
    along = (far - near) / max(np.linalg.norm(far - near), 1e-6)
    inward = np.array([along[1], -along[0]]) * sign
    depth = rng.uniform(7, 13)
    roof = ("pitched" if rng.random() < 0.7 else "gable") if rng.random() < pitched_share else "flat"
    roof_rgb = tuple(np.array(_ROOFS[rng.integers(len(_ROOFS))]) * rng.uniform(0.75, 1.2))
    chimney, seed = rng.random() < 0.5, int(rng.integers(2**31))
    scene.buildings.append(
        Building(tuple(near), tuple(far), tuple(inward), depth, height, roof, roof_rgb, look, chimney, seed)
    )
    scene.shadows.box(np.array([near, far, far + inward * depth, near + inward * depth]), height)


def place_barrier(scene: Scene, side: int, out: float, span: tuple[float, float], kind: str) -> None:
    """A wall, fence or hedge in pieces of a few metres, so that it follows bends and sorts by distance."""
    rng, road, sign = scene.rng, scene.plan.road, sign_of(side)
    height = {"wall": rng.uniform(0.7, 2.4), "hedge": rng.uniform(1.0, 2.4)}.get(kind, rng.uniform(0.9, 1.7))
    rgb, seed = LEAVES[rng.integers(len(LEAVES))], int(rng.integers(2**31))
    for z in np.arange(*span, _PIECE):
        end_z = min(z + _PIECE, span[1])
        if scene.blocked(side, z, 0.5) or scene.blocked(side, end_z, 0.5):
            continue
        ends = road.point(sign * out, z), road.point(sign * out, end_z)

        def draw(canvas, own, ends=ends):
            alike = own if kind == "hedge" else np.random.default_rng(seed)  # pieces of one fence match
            draw_barrier(canvas, alike, *ends, height, kind, rgb)

        scene.add(z + _PIECE / 2, draw)


def place_tree(scene: Scene, side: int, out: float, z: float, height: float, kind: str) -> None:
    """A tree or bush at |u| = out; kind "any", "street" (no conifer), or one that draw_tree knows."""
    rng, plan = scene.rng, scene.plan
    if z < (6 if kind == "bush" else 5) or scene.blocked(side, z, 0.5):
        return
    if kind in ("any", "street"):
        if kind == "any" and rng.random() < 0.12:
            kind = "conifer"
        else:
            kind = "bare" if rng.random() < (0.8 if plan.bare else 0.08) else "leafy"
    colours = AUTUMN if plan.bare and rng.random() < 0.3 else LEAVES
    rgb = np.array(colours[rng.integers(len(colours))]) * rng.uniform(0.7, 1.25)
    rgb = np.clip(rgb + rng.normal(0, 4 + 25 * plan.jitter, 3), 10, 220)
    at = plan.road.point(sign_of(side) * out, z)
    scene.add(z, lambda canvas, own: draw_tree(canvas, own, at, height, kind, rgb))
    shade, lift = (120 if kind == "bare" else 230), (0.3 if kind == "bush" else height * 0.6)
    scene.shadows.spot(at[[0, 2]], height * 0.32, lift, shade)


def place_vista(scene: Scene) -> None:
    """What closes the street: far buildings and trees across the view."""
    rng = scene.rng
    for _ in range(26):
        x, z = float(scene.plan.road.centre(FAR)) + rng.normal(0, 75), FAR + rng.uniform(5, 60)
        if rng.random() < 0.5:
            _place_far_tree(scene, x, z, rng.uniform(6, 16))
        else:
            _place_front(scene, x, x + rng.uniform(10, 30), z, rng.uniform(5, 16), "flat", 0.0)


def _place_far_tree(scene: Scene, x: float, z: float, height: float) -> None:
    rng = scene.rng
    at, rgb = np.array([x, 0, z]), np.array(LEAVES[rng.integers(len(LEAVES))]) * rng.uniform(0.7, 1.1)
    kind = "bare" if scene.plan.bare and rng.random() < 0.7 else "leafy"
    scene.add(z, lambda canvas, own: draw_tree(canvas, own, at, height, kind, rgb))


def _place_front(scene: Scene, x0: float, x1: float, z: float, height: float, roof: str, shops: float) -> None:
    """A building that faces us across the view."""
    rng = scene.rng
    look, roof_rgb = _look(scene, shops), _ROOFS[rng.integers(len(_ROOFS))]
    chimney, seed = rng.random() < 0.5, int(rng.integers(2**31))
    scene.buildings.append(Building((x0, z), (x1, z), (0.0, 1.0), 9.0, height, roof, roof_rgb, look, chimney, seed))


def place_side_street(scene: Scene, junction: Junction, side: int) -> None:
    """Fronts and trees on the far side of a crossing street, facing us."""
    rng, road, sign = scene.rng, scene.plan.road, sign_of(side)
    z = junction.z + junction.half + rng.uniform(1.5, 4)
    x = abs(float(road.point(sign * (scene.outer(side) + 12), junction.z)[0]))
    storeys = pick(rng, scene.style.storeys)
    while x < 75:
        wide = rng.uniform(7, 16)
        if rng.random() < 0.75:
            height = rng.uniform(2.7, 3.7) * max(1.3, storeys + rng.normal(0, 0.5)) + 0.5
            roof = str(rng.choice(["flat", "pitched", "gable"]))
            _place_front(scene, sign * x, sign * (x + wide), z, height, roof, scene.plan.shops)
        else:
            _place_far_tree(scene, sign * (x + wide / 2), z + 2, rng.uniform(4, 9))
        x += wide + rng.choice([0, 0, 3])
