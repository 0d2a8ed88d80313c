"""A style is a frozen value of ranges: what streets of one place, camera and weather may look like."""

from dataclasses import dataclass, replace

Range = tuple[float, float]


@dataclass(frozen=True)
class Style:
    """Ranges are drawn uniformly once a frame; `*_share` are probabilities; counts are means a frame."""

    name: str
    # camera
    view: Range = (34, 40)  # vertical angle of view at 1:1.9, degrees
    horizon: Range = (0.40, 0.48)  # height of the horizon, share of the image from the top
    altitude: Range = (1.3, 1.6)
    yaw: Range = (-5, 5)
    roll: Range = (-0.6, 0.6)
    left_hand_share: float = 0.0
    # layout
    lane: Range = (3.1, 3.7)
    extra_lane_share: float = 0.4
    sidewalk: Range = (2.5, 5.5)
    setback: Range = (0.0, 2.0)
    parking_share: float = 0.4
    verge_share: float = 0.25
    curve_share: float = 0.4
    junction_share: float = 0.5
    tram_share: float = 0.09
    storeys: Range = (2, 6)
    frontages: tuple[tuple[str, float], ...] = (
        ("terrace", 6), ("detached", 2), ("trees", 1.2), ("wall", 0.5), ("fence", 0.5), ("hedge", 0.5),
    )  # fmt: skip
    brick_share: float = 0.4
    # life
    traffic: float = 3.5
    parked: float = 0.55
    people: float = 7.0
    cyclists: float = 0.6
    bicycles: float = 0.7
    motorcycles: float = 0.35
    truck_share: float = 0.06
    bus_share: float = 0.05
    street_trees: float = 0.5
    bare_share: float = 0.2
    furniture: float = 1.0
    # light and weather
    direct_sun_share: float = 0.8
    sun_height: Range = (25, 65)
    sun_strength: Range = (0.55, 0.9)
    ambient: Range = (0.5, 0.68)
    night: Range = (0.0, 0.0)
    fog: Range = (0.0, 0.002)
    rain_share: float = 0.0
    cloud: Range = (0.1, 0.5)
    white_sky_share: float = 0.0
    colour_jitter: float = 0.0  # how far the colours of all surfaces are moved from the usual, 0 .. 1
    # sensor
    grey: Range = (112, 132)  # mean brightness the automatic exposure aims at, 0 .. 255
    contrast: Range = (1.0, 1.12)
    saturation: Range = (1.15, 1.4)
    gamma: Range = (0.95, 1.05)
    cast: Range = (0.0, 0.02)
    noise: Range = (0.5, 2.0)
    blur: Range = (0.0, 0.3)  # standard deviation as a share of 1/256 of the image height
    vignette: Range = (0.0, 0.1)
    haze: Range = (0.0, 0.0)  # grey veil of lens and windscreen
    jpeg: Range = (92, 98)
    bonnet_share: float = 0.0


GAME = Style("game")

CITY = Style(
    "city",
    view=(27, 33), horizon=(0.36, 0.46), altitude=(1.15, 1.45), yaw=(-7, 7), roll=(-1.2, 1.2),
    lane=(2.6, 3.1), extra_lane_share=0.12, sidewalk=(2.0, 5.0), setback=(0.0, 1.5),
    parking_share=0.5, verge_share=0.15, curve_share=0.5, junction_share=0.5, storeys=(3, 6),
    frontages=(("terrace", 7), ("detached", 1), ("trees", 1.1), ("wall", 0.6), ("fence", 0.6), ("hedge", 0.5)),
    brick_share=0.25, traffic=3.0, parked=0.55, people=9, cyclists=0.6, bicycles=1.2, bare_share=0.35,
    direct_sun_share=0.15, sun_strength=(0.2, 0.4), ambient=(0.6, 0.8), fog=(0.002, 0.009), cloud=(0.6, 1.0),
    white_sky_share=0.7, rain_share=0.12, grey=(78, 104), contrast=(0.75, 0.95), saturation=(0.4, 0.65),
    gamma=(0.95, 1.2), cast=(0.015, 0.04), noise=(4, 8), blur=(0.3, 0.7), vignette=(0.1, 0.35), haze=(0.02, 0.10),
    jpeg=(35, 70), bonnet_share=0.2,
)  # fmt: skip

DUSK = replace(
    CITY, name="dusk", direct_sun_share=0.0, ambient=(0.22, 0.45), night=(0.45, 1.0), rain_share=0.3,
    white_sky_share=0.2, grey=(42, 76), noise=(6, 12), cast=(0.03, 0.07), contrast=(0.9, 1.1), fog=(0.001, 0.006),
)  # fmt: skip

RANDOM = Style(
    "random",
    view=(26, 46), horizon=(0.37, 0.54), altitude=(1.1, 1.9), yaw=(-12, 12), roll=(-2, 2), left_hand_share=0.5,
    lane=(2.6, 3.9), extra_lane_share=0.25, sidewalk=(1.5, 6.0), setback=(0.0, 3.5), parking_share=0.35,
    verge_share=0.25, curve_share=0.5, junction_share=0.55, storeys=(1.6, 6),
    frontages=(("terrace", 6), ("detached", 2.2), ("trees", 1.5), ("wall", 0.7), ("fence", 1.0), ("hedge", 0.7)),
    brick_share=0.45, traffic=3.0, parked=0.55, people=8, cyclists=0.7, bicycles=1.1, motorcycles=0.3,
    street_trees=0.5, bare_share=0.45,
    direct_sun_share=0.6, sun_height=(8, 60), sun_strength=(0.4, 1.5), ambient=(0.26, 0.85), night=(-2.2, 0.6),
    fog=(0.0, 0.005), rain_share=0.07, cloud=(0.0, 1.0), white_sky_share=0.5, colour_jitter=0.6,
    grey=(56, 145), contrast=(0.9, 1.35), saturation=(0.45, 1.25), gamma=(0.75, 1.2), cast=(0.0, 0.05),
    noise=(0.3, 5.5), blur=(0.0, 0.75), vignette=(0.0, 0.35), haze=(0.0, 0.06), jpeg=(35, 98), bonnet_share=0.12,
)  # fmt: skip

STYLES: dict[str, Style] = {style.name: style for style in (GAME, CITY, DUSK, RANDOM)}


def pick(rng, bounds: Range) -> float:
    """A uniform draw from a range."""
    return float(rng.uniform(*bounds))
