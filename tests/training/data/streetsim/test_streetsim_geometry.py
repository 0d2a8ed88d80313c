"""Camera and rasteriser: projection by hand, rays and planes against it, occlusion, image and label pixel for pixel."""

import numpy as np
import pytest

from training.data.streetsim.camera import NEAR, Camera, clip_near
from training.data.streetsim.light import Light
from training.data.streetsim.raster import Canvas, Plane

LEVEL = Camera(size=(100, 200), focal=100.0, altitude=1.5)
TILTED = Camera(size=(120, 160), focal=130.0, altitude=1.4, lateral=1.7, yaw=0.1, pitch=0.06, roll=0.02)
NOON = Light(
    sun=(0.0, 1.0, 0.0),
    sun_rgb=(0.0, 0.0, 0.0),
    ambient_rgb=(1.0, 1.0, 1.0),
    fog_rgb=(0.0, 0.0, 0.0),
    fog_density=0.0,
    night=0.0,
    wet=0.0,
)


def canvas(camera: Camera = LEVEL) -> Canvas:
    return Canvas(camera, NOON)


def upright(camera: Camera, depth: float, x: float = -1.0, width: float = 2.0) -> Plane:
    """A wall across the view, 3 m high, standing on the ground."""
    return Plane(camera, (x, 3.0, depth), (width, 0.0, 0.0), (0.0, -3.0, 0.0))


def paint(target: Canvas, plane: Plane, label: int, grey: int) -> None:
    seen = target.seen(plane)
    if seen is not None:
        target.plane(plane, seen, label, np.full((8, 8, 3), grey, np.uint8))


def test_projection_by_hand():
    pixels, depths = LEVEL.project(np.array([(2.0, 0.0, 10.0), (0.0, 1.5, 40.0)]))
    np.testing.assert_allclose(pixels, [(120.0, 65.0), (100.0, 50.0)])
    np.testing.assert_allclose(depths, [10.0, 40.0])


def test_pitch_down_raises_the_horizon_and_yaw_right_moves_things_left():
    ahead = np.array([(0.0, 1.5, 1000.0)])
    down = Camera(size=(100, 200), focal=100.0, altitude=1.5, pitch=0.1)
    right = Camera(size=(100, 200), focal=100.0, altitude=1.5, yaw=0.1)
    assert down.project(ahead)[0][0, 1] == pytest.approx(down.horizon_row, abs=0.1)
    assert down.horizon_row < 50
    assert right.project(ahead)[0][0, 0] < 100


def test_rays_pass_through_the_pixels_they_belong_to():
    dx, dy, dz = TILTED.rays(slice(40, 120))
    for row, column in ((0, 0), (35, 80), (79, 159)):
        direction = np.array([dx[row, column], dy[row, column], dz[row, column]])
        pixels, depths = TILTED.project((TILTED.position + 7.0 * direction)[None])
        np.testing.assert_allclose(pixels[0], (column + 0.5, row + 40.5), atol=1e-3)
        assert depths[0] == pytest.approx(7.0, rel=1e-5)


def test_clipping_keeps_what_lies_ahead():
    crossing = np.array([(0.0, 0.0, -1.0), (1.0, 0.0, 4.0), (-1.0, 0.0, 4.0)])
    kept = clip_near(crossing)
    assert len(kept) == 4
    assert kept[:, 2].min() == pytest.approx(NEAR)
    assert len(clip_near(crossing - (0, 0, 10))) == 0


def test_plane_homography_and_depth_agree_with_projection():
    plane = Plane(TILTED, (3.0, 6.0, 9.0), (0.5, 0.0, 8.0), (0.0, -6.0, 0.0))
    world = np.array([(3.0, 6.0, 9.0), (3.5, 6.0, 17.0), (3.5, 0.0, 17.0), (3.0, 0.0, 9.0)])
    pixels, depths = TILTED.project(world)
    texture = np.array([(-0.5, -0.5, 1), (31.5, -0.5, 1), (31.5, 15.5, 1), (-0.5, 15.5, 1)])
    mapped = texture @ plane.homography((16, 32)).T
    np.testing.assert_allclose(mapped[:, :2] / mapped[:, 2:], pixels, atol=1e-6)
    a, b, c = plane.inverse_depth()
    np.testing.assert_allclose(pixels @ (a, b) + c, 1 / depths, rtol=1e-9)


@pytest.mark.parametrize("order", [(6.0, 9.0), (9.0, 6.0)])
def test_the_nearer_plane_wins_whatever_the_order(order):
    target = canvas()
    for depth in order:
        paint(target, upright(LEVEL, depth), label=int(depth), grey=int(depth) * 10)
    assert target.label[50, 100] == 6
    np.testing.assert_array_equal(target.image[50, 100], 60)


def test_a_plane_changes_image_and_label_at_the_same_pixels():
    target = canvas(TILTED)
    paint(target, Plane(TILTED, (3.0, 6.0, 2.0), (0.5, 0.0, 9.0), (0.0, -6.0, 0.0)), label=2, grey=90)
    np.testing.assert_array_equal(target.image.any(axis=2), target.label == 2)
    assert 500 < (target.label == 2).sum() < target.label.size


def test_a_sprite_changes_image_and_label_at_the_same_pixels():
    target = canvas()
    triangle = np.array([(20.3, 70.9), (90.1, 80.2), (55.7, 15.4)])
    sprite = target.sprite(triangle, depth=5.0, label=13)
    sprite.fill(triangle, (200.0, 100.0, 50.0))
    sprite.commit()
    np.testing.assert_array_equal(target.image.any(axis=2), target.label == 13)
    (ax, ay), (bx, by) = triangle[1] - triangle[0], triangle[2] - triangle[0]
    area = abs(ax * by - ay * bx) / 2
    assert (target.label == 13).sum() == pytest.approx(area, rel=0.08)


def test_a_sprite_is_hidden_by_nearer_planes_only():
    square = np.array([(90.0, 40.0), (110.0, 40.0), (110.0, 60.0), (90.0, 60.0)])
    target = canvas()
    paint(target, upright(LEVEL, 8.0), label=2, grey=90)
    assert target.sprite(square, depth=9.0, label=11) is None
    sprite = target.sprite(square, depth=7.0, label=11)
    sprite.fill(square, (10.0, 10.0, 10.0))
    sprite.commit()
    assert target.label[50, 100] == 11


def test_haze_and_shade_of_light():
    light = Light((0.0, 1.0, 0.0), (0.5,) * 3, (0.5,) * 3, (200.0,) * 3, np.log(2) / 100, 0.0, 0.0)
    assert light.haze(100.0) == pytest.approx(0.5)
    np.testing.assert_allclose(light.shade((0, 1, 0)), 1.0)
    assert light.shade((0, -1, 0)).max() < light.shade((1, 0, 0)).max() < 1
    np.testing.assert_allclose(light.colour((100, 100, 100), 100.0, (0, 1, 0)), 150.0)
    assert light.table(100.0)[100, 0, 0] == 150
    assert light.contrast == pytest.approx(0.5)
