"""One frame from (style, seed, index): plan, populate, draw at twice the size, shrink, develop."""

import cv2
import numpy as np

from training.data.streetsim.frontage import place_frontage, place_side_street, place_vista
from training.data.streetsim.kerbside import place_kerbside, place_signals
from training.data.streetsim.layout import draw_camera, draw_plan
from training.data.streetsim.life import place_crossing_life, place_parked, place_sidewalk_life, place_traffic
from training.data.streetsim.raster import Canvas
from training.data.streetsim.road import GROUND_SHRINK, draw_ground
from training.data.streetsim.scene import Scene
from training.data.streetsim.sensor import develop
from training.data.streetsim.shadows import ShadowMask
from training.data.streetsim.sky import draw_sky
from training.data.streetsim.styles import Style
from training.data.streetsim.weather import add_rain, add_reflections

SUPERSAMPLE = 2
_BONNET = 255


def render(style: Style, seed: int, index: int, size: tuple[int, int] = (256, 512)) -> tuple[np.ndarray, np.ndarray]:
    """Draw frame `index` of a style.

    Returns the image uint8 [h, w, 3] RGB and the label uint8 [h, w] of Cityscapes train ids (255 on the bonnet).
    Depends on (style, seed, index, size) alone; another size shows the same street.
    """
    plan_rng, camera_rng, scene_rng, draw_rng, sensor_rng = (np.random.default_rng([seed, index, k]) for k in range(5))
    plan = draw_plan(style, plan_rng)
    inner = (size[0] * SUPERSAMPLE, size[1] * SUPERSAMPLE)
    camera = draw_camera(style, camera_rng, plan.road, inner)
    scene = Scene(style, plan, scene_rng, ShadowMask(camera.shrunk(GROUND_SHRINK), plan.light.sun))
    _populate(scene)
    canvas = Canvas(camera, plan.light)
    draw_sky(canvas, plan.sky, draw_rng)
    draw_ground(canvas, plan.road, plan.ground, scene.shadows.finish(draw_rng, plan.light.contrast))
    scene.draw(canvas)
    add_reflections(canvas, plan.light.wet)
    if draw_rng.random() < style.bonnet_share:
        _draw_bonnet(canvas, draw_rng)
    image, label = _shrink(canvas, size)
    if plan.raining:
        add_rain(image, draw_rng, draw_rng.uniform(0.2, 1.0))
    return develop(image, style, sensor_rng), label


def _populate(scene: Scene) -> None:
    """Fill a scene, background first."""
    for side in (0, 1):
        place_frontage(scene, side)
        place_kerbside(scene, side)
        place_parked(scene, side)
        place_sidewalk_life(scene, side)
    place_vista(scene)
    place_traffic(scene)
    for junction in scene.plan.road.junctions:
        for side, is_open in enumerate((junction.left, junction.right)):
            if is_open:
                place_side_street(scene, junction, side)
        if scene.rng.random() < 0.6:
            place_signals(scene, junction)
    place_crossing_life(scene)


def _shrink(canvas: Canvas, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Average the image; of each block of label pixels keep one, the same corner everywhere."""
    image = cv2.resize(canvas.image, size[::-1], interpolation=cv2.INTER_AREA)
    return image, np.ascontiguousarray(canvas.label[SUPERSAMPLE - 1 :: SUPERSAMPLE, SUPERSAMPLE - 1 :: SUPERSAMPLE])


def _draw_bonnet(canvas: Canvas, rng: np.random.Generator) -> None:
    """The top of our own car, at the lower edge; labelled 255."""
    height, width = canvas.camera.size
    rise, sag = rng.uniform(0.02, 0.10) * height, rng.uniform(0.2, 0.8)
    across = np.linspace(0, 1, 24)
    top = height - rise * (1 - sag * (2 * across - 1) ** 2)
    points = np.concatenate([np.column_stack([across * width, top]), [(width, height), (0, height)]]).astype(np.int32)
    rgb = np.array(canvas.light.colour(rng.uniform(15, 190) * np.ones(3), 0.5))
    cv2.fillPoly(canvas.label, [points], _BONNET)
    for k in range(4):
        points[:24, 1] = np.minimum(points[:24, 1] + k * 0.25 * rise, height)
        cv2.fillPoly(canvas.image, [points], tuple(np.clip(rgb * (1.15 - 0.18 * k), 0, 255)))
