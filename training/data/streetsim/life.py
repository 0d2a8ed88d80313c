"""Who uses the street: cars, trucks, buses, trams, two-wheelers, people on the sidewalk and at crossings."""

import numpy as np

from training.data.streetsim.cycles import draw_cycle
from training.data.streetsim.heavy_vehicles import draw_heavy
from training.data.streetsim.people import draw_outfit, draw_person
from training.data.streetsim.road import Junction
from training.data.streetsim.scene import Scene, sign_of
from training.data.streetsim.styles import Style
from training.data.streetsim.vehicles import Pose, draw_car, draw_paint

_FOOTPRINTS = {  # length, width, height of the shadow
    "car": (4.2, 1.75, 1.4), "motorcycle": (1.9, 0.6, 1.0), "bicycle": (1.6, 0.4, 1.4), "tram": (23, 2.4, 3.4),
}  # fmt: skip
_CORNERS = ((1, 1), (1, -1), (-1, -1), (-1, 1))


def place_vehicle(
    scene: Scene, u: float, z: float, heading: float, kind: str, lights: bool = False, ridden: bool = False
) -> None:
    """A vehicle at (u, z), unless another stands there; `heading` is measured from the street's own direction.

    kind "car", "motorcycle", "bicycle", or one that draw_heavy knows.
    """
    rng, road = scene.rng, scene.plan.road
    length, width, height = _FOOTPRINTS.get(kind, (9, 2.5, 3.1))
    across = abs(np.sin(heading)) > 0.7
    if not scene.reserve(u, z, *((length / 2, width / 2) if across else (width / 2, length / 2))):
        return
    at, turned = road.point(u, z), heading + np.arctan(road.slope(z)) + rng.normal(0, 0.025)
    ahead, right = np.array([np.sin(turned), np.cos(turned)]), np.array([np.cos(turned), -np.sin(turned)])
    corners = at[[0, 2]] + np.array([a * ahead * length / 2 + r * right * width / 2 for a, r in _CORNERS])
    scene.shadows.box(corners, height)
    if width > 1:
        scene.shadows.under(corners)
    pose = Pose((at[0], at[2]), turned, lights, braking=abs(heading) < 0.1 and lights and rng.random() < 0.3)
    _add_vehicle(scene, pose, kind, ridden)


def _add_vehicle(scene: Scene, pose: Pose, kind: str, ridden: bool) -> None:
    rng, z = scene.rng, pose.at[1]
    if kind == "car":
        profile = str(rng.choice(["hatchback", "hatchback", "sedan", "estate", "suv", "van"]))
        rgb = draw_paint(rng, scene.plan.jitter)
        scene.add(z, lambda canvas, own: draw_car(canvas, own, pose, profile, rgb))
    elif kind in ("motorcycle", "bicycle"):
        rider = draw_outfit(rng, scene.plan.jitter) if ridden else None
        scene.add(z, lambda canvas, own: draw_cycle(canvas, own, pose, kind == "motorcycle", rider))
    else:
        scene.add(z, lambda canvas, own: draw_heavy(canvas, own, pose, kind))


def place_traffic(scene: Scene) -> None:
    """A tram on its line, vehicles in the lanes with and against us, two-wheelers at the edge."""
    rng, style, road = scene.rng, scene.style, scene.plan.road
    lamps = scene.plan.light.night > 0.1 or scene.plan.raining or rng.random() < 0.1
    if road.tram and rng.random() < 0.75:
        side = rng.integers(2)
        place_vehicle(scene, 0.5 * road.lane * sign_of(side), rng.uniform(18, 50), _heading(scene, side), "tram", lamps)
    for side in (0, 1):
        for lane in range(road.lanes[side]):
            _place_lane(scene, side, (lane + 0.5) * road.lane * sign_of(side), lamps)
    for kind, mean in (("bicycle", style.cyclists), ("motorcycle", style.motorcycles)):
        for _ in range(rng.poisson(mean)):
            side = rng.integers(2)
            u = (abs(road.edges[side]) - road.sides[side].parking - 0.7) * sign_of(side)
            place_vehicle(scene, u, rng.uniform(5, 35), _heading(scene, side), kind, lamps, ridden=True)


def _heading(scene: Scene, side: int) -> float:
    """0 on the side we drive on, half a turn on the other."""
    return 0.0 if (side == 1) != scene.plan.road.left_hand else np.pi


def _place_lane(scene: Scene, side: int, u: float, lamps: bool) -> None:
    rng, style = scene.rng, scene.style
    heading = _heading(scene, side)
    z = rng.uniform(5 if heading else 7, 30)
    while z < 120:
        if rng.random() < style.traffic / 8:
            kind = _heavy_or_car(rng, style)
            z += 0 if kind == "car" else 4
            place_vehicle(scene, u + rng.normal(0, 0.25), z, heading, kind, lamps or rng.random() < 0.1)
            z += 0 if kind == "car" else 4
        z += rng.uniform(7, 22)


def _heavy_or_car(rng: np.random.Generator, style: Style) -> str:
    draw = rng.random()
    if draw < style.truck_share:
        return "truck"
    if draw < style.truck_share + style.bus_share:
        return "bus" if rng.random() < 0.75 else "double-decker"
    return "car"


def place_parked(scene: Scene, side: int) -> None:
    """Vehicles in the parking lane of a side, with gaps at crossings."""
    rng, road = scene.rng, scene.plan.road
    if not road.sides[side].parking:
        return
    u = (abs(road.edges[side]) - road.sides[side].parking * 0.48) * sign_of(side)
    density, z = scene.style.parked * rng.uniform(0.3, 1.5), rng.uniform(3, 9)
    while z < 110:
        free = not scene.blocked(side, z, 3.5) and all(abs(z - zebra) > 4.5 for zebra in road.zebras)
        if free and rng.random() < density:
            turned = np.pi if rng.random() < 0.1 else 0.0
            kind = "truck" if rng.random() < 0.02 else "motorcycle" if rng.random() < 0.03 else "car"
            place_vehicle(scene, u + rng.normal(0, 0.1), z, _heading(scene, side) + turned, kind)
        z += rng.uniform(5.0, 6.8)


def place_sidewalk_life(scene: Scene, side: int) -> None:
    """People walking and standing, alone and in groups; parked bicycles."""
    rng, style, sidewalk = scene.rng, scene.style, scene.plan.road.sides[side]
    sign, inner = sign_of(side), abs(scene.plan.road.edges[side]) + sidewalk.verge
    for _ in range(rng.poisson(style.people / 2 * rng.uniform(0.3, 1.6))):
        z, u = 4 + 46 * rng.random() ** 1.3, inner + rng.uniform(0.4, max(0.5, sidewalk.sidewalk - 0.3))
        for _ in range(1 if rng.random() < 0.65 else rng.integers(2, 4)):
            sideways = float(np.clip(rng.normal(0, 0.5), -1, 1))
            _place_person(scene, sign * (u + rng.normal(0, 0.35)), z + rng.normal(0, 0.5), sideways)
    for _ in range(rng.poisson(style.bicycles / 2)):
        z, u = rng.uniform(5, 30), (scene.outer(side) - 0.5 if rng.random() < 0.7 else inner + 0.5)
        for k in range(0 if scene.blocked(side, z) else rng.integers(1, 5)):
            place_vehicle(scene, sign * u, z + 1.8 * k, rng.choice([0.0, np.pi, 0.6, -0.6]), "bicycle")


def _place_person(scene: Scene, u: float, z: float, sideways: float) -> None:
    rng = scene.rng
    at, outfit, walking = scene.plan.road.point(u, z), draw_outfit(rng, scene.plan.jitter), rng.random() < 0.7
    scene.add(z, lambda canvas, own: draw_person(canvas, own, at, outfit, walking, sideways))
    plan = at[[0, 2]] + np.array([(-0.22, -0.12), (0.22, -0.12), (0.22, 0.12), (-0.22, 0.12)])
    scene.shadows.box(plan, outfit.height)


def place_crossing_life(scene: Scene) -> None:
    """Cars crossing and waiting in side streets; people on the zebra crossings."""
    rng, road = scene.rng, scene.plan.road
    for junction in road.junctions:
        for _ in range(rng.poisson(0.7)):
            side, ahead = rng.integers(2), rng.choice([-1, 1])
            u = sign_of(side) * rng.uniform(0, 14 if (junction.left, junction.right)[side] else 3)
            place_vehicle(scene, u, junction.z - ahead * junction.half * 0.4, ahead * np.pi / 2, "car")
        for side, is_open in enumerate((junction.left, junction.right)):
            for _ in range(rng.poisson(1.0) if is_open else 0):
                _place_side_car(scene, junction, side)
    for zebra in road.zebras:
        for _ in range(rng.poisson(1.2)):
            _place_person(scene, rng.uniform(*road.edges), zebra + rng.uniform(-1.2, 1.2), float(rng.choice([-1, 1])))


def _place_side_car(scene: Scene, junction: Junction, side: int) -> None:
    rng = scene.rng
    u = sign_of(side) * (scene.outer(side) + rng.uniform(4, 22))
    z = junction.z + rng.choice([-1, 1]) * (junction.half - 1.1)
    place_vehicle(scene, u, z, np.pi / 2 * rng.choice([-1, 1]), "car")
