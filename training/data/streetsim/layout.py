"""Draws the plan of one street: road, camera, light, sky and ground colours, from a style's ranges."""

from dataclasses import dataclass

import numpy as np

from training.data.streetsim.camera import Camera
from training.data.streetsim.light import Light
from training.data.streetsim.road import GroundLook, Junction, Road, Side
from training.data.streetsim.sky import SkyLook
from training.data.streetsim.styles import Style, pick


@dataclass(frozen=True)
class Plan:
    """Everything that is settled before things are placed."""

    road: Road
    light: Light
    sky: SkyLook
    ground: GroundLook
    raining: bool
    bare: bool  # leafless season
    brick_share: float
    shops: float
    jitter: float


def draw_plan(style: Style, rng: np.random.Generator) -> Plan:
    """A random street of a style."""
    road = _draw_road(style, rng)
    raining = rng.random() < style.rain_share
    light, sky = _draw_light(style, rng, raining)
    jitter = style.colour_jitter * rng.random()
    return Plan(
        road=road, light=light, sky=sky, ground=_draw_ground(rng, light.wet, jitter), raining=raining,
        bare=rng.random() < style.bare_share, brick_share=float(np.clip(style.brick_share + rng.normal(0, 0.25), 0, 1)),
        shops=float(rng.choice([0.05, 0.4, 0.8])), jitter=jitter,
    )  # fmt: skip


def _draw_road(style: Style, rng: np.random.Generator) -> Road:
    lane = pick(rng, style.lane)
    lanes = tuple(
        1 + int(rng.random() < style.extra_lane_share) + int(rng.random() < 0.3 * style.extra_lane_share) for _ in "lr"
    )
    sides = tuple(_draw_side(style, rng) for _ in "lr")
    bend = rng.choice([-1, 1]) * rng.uniform(0.002, 0.012) if rng.random() < style.curve_share else 0.0
    junctions, zebras = [], []
    if rng.random() < style.junction_share:
        z, half = rng.uniform(9, 55), rng.uniform(3, 5.5)
        left = rng.random() < 0.75
        junctions.append(Junction(z, half, left, not left or rng.random() < 0.7))
        if rng.random() < 0.4:
            zebras.append(z - half - 4.5)
    if rng.random() < 0.15:
        zebras.append(rng.uniform(6, 40))
    return Road(
        lane=lane, lanes=lanes, sides=sides, bend=bend, bend_from=rng.uniform(0, 40), junctions=tuple(junctions),
        zebras=tuple(zebras), tram=rng.random() < style.tram_share, left_hand=rng.random() < style.left_hand_share,
        markings=str(rng.choice(["dashed", "dashed", "dashed", "solid", "none"])), yellow=rng.random() < 0.25,
    )  # fmt: skip


def _draw_side(style: Style, rng: np.random.Generator) -> Side:
    parking = rng.uniform(1.9, 2.4) if rng.random() < style.parking_share else 0.0
    verge = rng.uniform(0.8, 4.0) if rng.random() < style.verge_share else 0.0
    return Side(parking, verge, pick(rng, style.sidewalk), "grass" if rng.random() < 0.5 else "paved")


def draw_camera(style: Style, rng: np.random.Generator, road: Road, size: tuple[int, int]) -> Camera:
    """The ego camera in its lane; the same angles whatever the size, the field shared out by the aspect."""
    height, width = size
    view = np.deg2rad(pick(rng, style.view))
    focal = np.sqrt(height * width) / (2 * np.tan(view / 2) * np.sqrt(1.9))
    horizon, ours = pick(rng, style.horizon), -1 if road.left_hand else 1
    lane = rng.integers(road.lanes[0 if road.left_hand else 1])
    return Camera(
        size=size, focal=float(focal), altitude=pick(rng, style.altitude),
        lateral=float(ours * (lane + 0.5) * road.lane + rng.normal(0, 0.3)),
        yaw=float(np.deg2rad(pick(rng, style.yaw))), pitch=float(np.arctan((0.5 - horizon) * height / focal)),
        roll=float(np.deg2rad(pick(rng, style.roll))),
    )  # fmt: skip


def _draw_light(style: Style, rng: np.random.Generator, raining: bool) -> tuple[Light, SkyLook]:
    direct = rng.random() < style.direct_sun_share and not raining
    night = float(np.clip(pick(rng, style.night), 0, 1))
    azimuth, height = rng.uniform(0, 2 * np.pi), np.deg2rad(pick(rng, style.sun_height))
    sun = (np.cos(height) * np.sin(azimuth), np.sin(height), np.cos(height) * np.cos(azimuth))
    strength = pick(rng, style.sun_strength) * (1 - night) if direct else 0.04
    ambient = pick(rng, style.ambient) + (0.0 if direct else 0.16)
    ambient *= 1 - 0.72 * night
    warmth = rng.uniform(0, 0.10) + (0.06 if height < 0.4 else 0)
    blue = rng.uniform(0, 0.08) if direct else rng.uniform(-0.02, 0.05)
    sky = _draw_sky(style, rng, direct, night)
    fog_rgb = tuple(np.array(sky.horizon) * rng.uniform(0.85, 1.0))
    light = Light(
        sun=sun, sun_rgb=(strength * (1 + warmth), strength, strength * (1 - warmth)),
        ambient_rgb=(ambient * (1 - blue), ambient, ambient * (1 + blue)), fog_rgb=fog_rgb,
        fog_density=pick(rng, style.fog) * (1.8 if raining else 1.0), night=night,
        wet=rng.uniform(0.5, 1.0) if raining else 0.0,
    )  # fmt: skip
    return light, sky


def _draw_sky(style: Style, rng: np.random.Generator, direct: bool, night: float) -> SkyLook:
    if rng.random() < style.white_sky_share:
        grey = rng.uniform(212, 255)
        zenith = horizon = np.array((grey, grey + 1, grey + 3))
        zenith, cloud, cover = zenith * rng.uniform(0.9, 1), np.array((240, 241, 243)), rng.uniform(0, 0.6)
    else:
        zenith = np.array((74, 128, 205)) * rng.uniform(0.7, 1.2) + rng.uniform(0, 60)
        horizon = np.array((188, 210, 232)) * rng.uniform(0.9, 1.08)
        cloud, cover = np.array((238, 238, 240)) * rng.uniform(0.75, 1.02), pick(rng, style.cloud)
        if not direct:
            zenith = zenith * 0.3 + 0.7 * np.array((186, 192, 200))
            cover = max(cover, 0.6)
    if night:
        dusk = np.array(((0.34, 0.37, 0.42), (0.70, 0.60, 0.54))[int(rng.random() < 0.3)])
        zenith, cloud = zenith * (1 - night * (1 - dusk * 0.6)), cloud * (1 - night * (1 - dusk * 0.8))
        horizon = horizon * (1 - night * (1 - dusk))
    gain = rng.uniform(1.0, 1.25)  # the sky outshines the ground, often beyond what the sensor holds
    return SkyLook(
        tuple(zenith * gain),
        tuple(horizon * gain),
        tuple(cloud * gain),
        cover,
        rng.uniform(0.3, 1.0) if direct else 0.0,
    )


def _draw_ground(rng: np.random.Generator, wet: float, jitter: float) -> GroundLook:
    def tone(low: float, high: float, tint: float = 4) -> tuple[float, ...]:
        return tuple(np.clip(rng.uniform(low, high) + rng.normal(0, tint + 6 * jitter, 3), 12, 235))

    grass = np.array((92, 112, 56)) * rng.uniform(0.65, 1.2) + rng.normal(0, 6 + 14 * jitter, 3)
    if rng.random() < 0.2:
        grass = np.array((128, 112, 84)) * rng.uniform(0.7, 1.1)
    dim = 1 - 0.35 * wet
    return GroundLook(
        asphalt=tuple(np.array(tone(50, 120, 2.5)) * dim), sidewalk=tuple(np.array(tone(88, 164, 6)) * dim),
        grass=tuple(np.clip(grass, 20, 200)), kerb=tone(105, 175), paint=tone(190, 236, 3),
        sidewalk_texture=str(rng.choice(["slab", "slab", "setts", "asphalt", "brick"])),
        road_texture="setts" if rng.random() < 0.06 else "asphalt", roughness=rng.uniform(0.2, 0.9),
        wear=rng.uniform(0.0, 0.5),
    )  # fmt: skip
