"""The street as a line with a cross-section, and the ground it lies on: asphalt, markings, kerbs, sidewalks, grass."""

from dataclasses import dataclass

import cv2
import numpy as np

from training.data.streetsim import noise
from training.data.streetsim.raster import Canvas

ROAD, SIDEWALK, TERRAIN = 0, 1, 9
GROUND_SHRINK = 2  # the ground is drawn at the frame's own size, not the supersampled one
REACH = 420.0  # metres; the ground beyond takes the look of its far end
_CORNER = 4.0  # radius of kerbs at junctions


@dataclass(frozen=True)
class Side:
    """One side of the street, metres from the kerb outwards: `parking` lies on the carriageway, inside the kerb."""

    parking: float
    verge: float
    sidewalk: float
    yard: str  # what lies behind the sidewalk: "grass" | "paved"


@dataclass(frozen=True)
class Junction:
    """A crossing street from z - half to z + half, open to the left and / or right."""

    z: float
    half: float
    left: bool
    right: bool


@dataclass(frozen=True)
class Road:
    """Street coordinates: u metres to the right of the line between the two directions, z metres ahead.

    The line bends by `bend` (1/m) from z = `bend_from` on. `lanes` (left, right) of `lane` metres each.
    """

    lane: float
    lanes: tuple[int, int]
    sides: tuple[Side, Side]
    bend: float
    bend_from: float
    junctions: tuple[Junction, ...]
    zebras: tuple[float, ...]
    tram: bool
    left_hand: bool
    markings: str  # "dashed" | "solid" | "none"
    yellow: bool

    @property
    def edges(self) -> tuple[float, float]:
        """u of the left and right kerb."""
        return (
            -self.lanes[0] * self.lane - self.sides[0].parking,
            self.lanes[1] * self.lane + self.sides[1].parking,
        )

    def centre(self, z):
        """x of the line at z; its slope never exceeds 0.7."""
        ahead = np.maximum(z - self.bend_from, 0.0)
        straight = 0.7 / max(abs(self.bend), 1e-9)
        bent = np.minimum(ahead, straight)
        return self.bend * bent * bent / 2 + np.sign(self.bend) * 0.7 * np.maximum(ahead - straight, 0.0)

    def slope(self, z: float) -> float:
        """dx / dz of the line at z."""
        return float(np.clip(self.bend * max(z - self.bend_from, 0.0), -0.7, 0.7))

    def point(self, u: float, z: float, y: float = 0.0) -> np.ndarray:
        """World point [3] of street coordinates."""
        return np.array([float(self.centre(z)) + u, y, z])


@dataclass(frozen=True)
class GroundLook:
    """Colours of the ground and how worn it is."""

    asphalt: tuple[float, float, float]
    sidewalk: tuple[float, float, float]
    grass: tuple[float, float, float]
    kerb: tuple[float, float, float]
    paint: tuple[float, float, float]
    sidewalk_texture: str
    road_texture: str
    roughness: float
    wear: float


def kerb_distance(road: Road, u: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Metres from the carriageway (negative on it), with rounded corners where streets cross; float32 like u."""
    left, right = road.edges
    distance = np.maximum(left - u, u - right)
    for junction in road.junctions:
        across = np.abs(z - junction.z) - junction.half
        open_here = ((u < 0) & junction.left) | ((u >= 0) & junction.right)
        corner = _CORNER - np.hypot(np.maximum(_CORNER - distance, 0), np.maximum(_CORNER - across, 0))
        joined = np.where((distance < _CORNER) & (across < _CORNER), corner, np.minimum(distance, across))
        distance = np.where(open_here, joined, distance)
    return distance


def _zones(road: Road, u: np.ndarray, distance: np.ndarray) -> np.ndarray:
    """0 road, 1 kerb, 2 verge, 3 sidewalk, 4 grass yard, 5 paved yard; uint8 like u."""
    zone = np.zeros(u.shape, np.uint8)
    for index, side in enumerate(road.sides):
        here = (u < 0) if index == 0 else (u >= 0)
        beyond = side.verge + side.sidewalk
        zone[here & (distance >= 0)] = 1
        zone[here & (distance >= 0.16)] = 3
        if side.verge:
            zone[here & (distance >= 0.16) & (distance < side.verge)] = 2
        zone[here & (distance >= beyond)] = 4 if side.yard == "grass" else 5
    return zone


_ZONE_LABELS = np.array([ROAD, SIDEWALK, TERRAIN, SIDEWALK, TERRAIN, SIDEWALK], np.uint8)


def _sample(name: str, x: np.ndarray, z: np.ndarray, texels: float) -> np.ndarray:
    """Texture looked up at ground positions, uint8."""
    return cv2.remap(noise.tile(name), x * texels, z * texels, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)


def _fade(grey: np.ndarray, footprint: np.ndarray, texels: float) -> np.ndarray:
    """Texture contrast as float32 around 0, gone where one pixel covers many texels."""
    return (grey.astype(np.float32) - 128) * (np.minimum(1.0, 1.2 / (footprint * texels)) / 128)


def _texture(look: GroundLook, x, z, u, zone, footprint) -> np.ndarray:
    """Brightness factor of the ground, float32 around 1."""
    fine = _sample(look.road_texture, x, z, 42.0)
    slabs = _sample(look.sidewalk_texture, u, z, 90.0 if look.sidewalk_texture == "slab" else 60.0)
    grass = _sample("grass", x, z, 36.0)
    paved = (zone == 1) | (zone == 3) | (zone == 5)
    cv2.copyTo(slabs, paved.view(np.uint8), fine)
    cv2.copyTo(grass, ((zone == 2) | (zone == 4)).view(np.uint8), fine)
    factor = 1 + look.roughness * _fade(fine, footprint, 30.0)
    factor += 0.7 * look.roughness * _fade(_sample("stain", x, z, 7.0), footprint, 7.0)
    return factor + 0.3 * (_sample("soft", u * 1.6, z * 0.4, 3.0).astype(np.float32) - 128) / 128


def _stripe(u: np.ndarray, at: float, width: float, footprint: np.ndarray) -> np.ndarray:
    """Coverage 0 .. 1 of a line along the street, softened to a pixel."""
    return np.clip((width / 2 - np.abs(u - at)) / footprint + 0.5, 0, 1) * np.minimum(1, width / footprint)


def _paint(road: Road, look: GroundLook, u, z, footprint) -> tuple[np.ndarray, np.ndarray]:
    """Coverage of white and of yellow markings, float32."""
    white = np.zeros_like(u)
    left, right = road.edges
    dashes = ((z + 3.0) % 6.5 < 2.6) | (z > 70)
    if road.markings != "none":
        solid = road.markings == "solid"
        white = np.maximum(white, _stripe(u, 0.0, 0.13, footprint) * (1 if solid else dashes))
        for side, count in zip((-1, 1), road.lanes, strict=True):
            for lane in range(1, count):
                white = np.maximum(white, _stripe(u, side * lane * road.lane, 0.12, footprint) * dashes)
    for side, edge in zip(road.sides, (left, right), strict=True):
        inward = np.sign(-edge)
        if side.parking:
            white = np.maximum(white, _stripe(u, edge + inward * side.parking, 0.1, footprint))
    yellow = np.zeros_like(u)
    if road.yellow:
        for edge in (left + 0.3, left + 0.5, right - 0.3, right - 0.5):
            yellow = np.maximum(yellow, _stripe(u, edge, 0.07, footprint))
    for junction in road.junctions:
        inside = np.abs(z - junction.z) < junction.half + 1.0
        white, yellow = white * ~inside, yellow * ~inside
    return _cross_marks(road, u, z, white), yellow * (0.9 - look.wear)


def _cross_marks(road: Road, u: np.ndarray, z: np.ndarray, white: np.ndarray) -> np.ndarray:
    """Zebra crossings, and stop lines before junctions."""
    left, right = road.edges
    ours = (u > 0) if not road.left_hand else (u < 0)
    for at in road.zebras:
        band = np.abs(z - at) < 1.7
        white = np.where(band, ((u - left) % 1.05 < 0.52) & (u > left + 0.2) & (u < right - 0.2), white)
    for junction in road.junctions:
        line = np.abs(z - (junction.z - junction.half - 1.6)) < 0.17
        white = np.where(line & ours & (u > left) & (u < right), 1.0, white)
    return white


def _colours(road: Road, look: GroundLook, zone, u, z, footprint, factor) -> np.ndarray:
    """Unlit ground colours, float32 [rows, width, 3]."""
    palette = np.array([look.asphalt, look.kerb, look.grass, look.sidewalk, look.grass, look.sidewalk], np.float32)
    colour = palette[zone] * factor[..., None]
    white, yellow = _paint(road, look, u, z, footprint)
    worn = np.clip(1.15 - look.wear + 1.4 * look.wear * (factor - 1), 0, 1)
    on_road = zone == 0
    for cover, rgb in ((white, look.paint), (yellow, (214.0, 172.0, 62.0))):
        share = (cover * worn * on_road)[..., None]
        colour += share * (np.array(rgb, np.float32) - colour)
    if road.tram:
        rails = np.zeros_like(u)
        for track in (-0.5, 0.5):
            for rail in (-0.72, 0.72):
                rails = np.maximum(rails, _stripe(u, track * road.lane * 1.0 + rail, 0.09, footprint))
        colour *= 1 - 0.5 * (rails * on_road)[..., None]
    return colour


def draw_ground(canvas: Canvas, road: Road, look: GroundLook, shadow: np.ndarray) -> None:
    """Fill all under the horizon; `shadow` float32 [h, w] in [0, 1], of the shrunk camera, is the light lost."""
    light = canvas.light
    camera = canvas.camera.shrunk(GROUND_SHRINK)
    height, width = camera.size
    first = int(np.clip(camera.horizon_row - 0.5 * width * abs(np.tan(camera.roll)) - 2, 0, height - 1))
    rows = slice(first, height)
    dx, dy, dz = camera.rays(rows)
    ground = dy < -1e-4
    depth = np.minimum(camera.altitude / np.maximum(-dy, 1e-4), REACH)
    x, z = camera.lateral + depth * dx, depth * dz
    u = x - road.centre(z).astype(np.float32)
    footprint = depth / camera.focal
    distance = kerb_distance(road, u, z)
    zone = _zones(road, u, distance)
    factor = _texture(look, x, z, u, zone, footprint)
    factor -= 0.22 * ((distance < 0) & (distance > -0.35)) * np.minimum(1, 0.2 / footprint)  # dirt in the gutter
    colour = _colours(road, look, zone, u, z, footprint, factor)
    lit = colour * light.shade().astype(np.float32) * (1 - shadow[rows])[..., None]
    haze = (1 - np.exp(-light.fog_density * depth))[..., None]
    lit += haze * (np.array(light.fog_rgb, np.float32) - lit)
    whole = slice(GROUND_SHRINK * first, GROUND_SHRINK * height)
    size = (GROUND_SHRINK * width, GROUND_SHRINK * (height - first))
    mask = cv2.resize(ground.view(np.uint8), size, interpolation=cv2.INTER_NEAREST)
    picture = cv2.resize(np.clip(lit, 0, 255).astype(np.uint8), size, interpolation=cv2.INTER_LINEAR)
    cv2.copyTo(picture, mask, canvas.image[whole])
    cv2.copyTo(cv2.resize(_ZONE_LABELS[zone], size, interpolation=cv2.INTER_NEAREST), mask, canvas.label[whole])
