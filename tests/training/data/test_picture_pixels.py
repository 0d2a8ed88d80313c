"""Orientation and 16 bits: the same for training, predict.py and the page."""

import json

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from export.pictures import load_picture
from training.command_line import experiment_of, parse
from training.data.classes import LABEL_SPACES
from training.data.datasets import image_folder
from training.data.domains import load_domains
from training.data.fixed_lists import target_range, with_fixed_lists
from training.data.images import image_size, read_image
from training.data.picture_pixels import deep_colors, orientation_of, range_of_files, to_8_bits, turned
from training.errors import UserError

RANDOM = np.random.default_rng(0)
PICTURE = RANDOM.integers(0, 256, (6, 10, 3), dtype=np.uint8)


def exif(orientation: int) -> Image.Exif:
    found = Image.Exif()
    found[0x0112] = orientation
    return found


@pytest.mark.parametrize("orientation", range(1, 9))
def test_turning_is_that_of_pillow(orientation):
    image = Image.fromarray(PICTURE)
    image.getexif()[0x0112] = orientation
    np.testing.assert_array_equal(turned(PICTURE, orientation), np.array(ImageOps.exif_transpose(image)))


@pytest.mark.parametrize("orientation", [3, 5, 6, 8])
@pytest.mark.parametrize("suffix", ["png", "tif", "webp", "avif", "jpg"])
def test_size_and_pixels_agree_in_every_format(tmp_path, suffix, orientation):
    path = tmp_path / f"p.{suffix}"
    options = {"webp": {"lossless": True}, "jpg": {"quality": 100}}.get(suffix, {})
    flat = np.zeros((16, 32, 3), np.uint8)
    flat[:8, :16] = 255
    Image.fromarray(flat).save(path, exif=exif(orientation), **options)
    image = read_image(path)
    assert image_size(path) == image.shape[:2] == turned(flat, orientation).shape[:2]
    assert np.abs(image.astype(int) - turned(flat, orientation)).max() < 60
    np.testing.assert_array_equal(load_picture(path), image)


@pytest.mark.parametrize("value", [0, 9, 255])
def test_what_is_no_orientation_turns_nothing(tmp_path, value):
    Image.fromarray(PICTURE).save(tmp_path / "p.png", exif=exif(value))
    np.testing.assert_array_equal(read_image(tmp_path / "p.png"), PICTURE)


@pytest.mark.parametrize("suffix", ["png", "webp"])
def test_damaged_exif_damages_no_picture(tmp_path, suffix):
    path = tmp_path / f"p.{suffix}"
    Image.fromarray(PICTURE).save(
        path, exif=b"Exif\0\0no EXIF at all", **({"lossless": True} if suffix == "webp" else {})
    )
    with Image.open(path) as image:
        assert orientation_of(image) == 1


def thermal(folder, low=7200, high=8220, count=3):
    """16-bit pictures whose values span `low` to `high`; their paths."""
    paths = []
    for index in range(count):
        values = np.linspace(low, high, 600).round().reshape(20, 30).astype(np.uint16)
        paths.append(folder / f"{index}.png")
        Image.fromarray(values + np.uint16(index)).save(paths[-1])
    return paths


def test_narrow_16_bit_photos_are_stretched_the_same(tmp_path, capsys):
    paths = thermal(tmp_path)
    assert len(np.unique(read_image(paths[0]))) < 6  # the high byte alone
    data = image_folder(tmp_path, LABEL_SPACES["camvid11"]).with_sixteen_bit_range()
    assert "values 72" in capsys.readouterr().out
    low, high = data.sixteen_bit_range
    assert abs(low - 7200) < 5
    assert abs(high - 8222) < 5
    first, last = data.read_image(0), data.read_image(2)
    assert len(np.unique(first)) > 200
    assert (last.astype(int) - first).max() <= 1  # two steps of 1020 apart: not each to its own limits
    np.testing.assert_array_equal(load_picture(paths[0], sixteen_bit_range=data.sixteen_bit_range), first)


def test_full_range_and_8_bit_photos_are_left_alone(tmp_path):
    paths = thermal(tmp_path, 0, 60000)
    assert range_of_files(paths) is None
    values = np.array(Image.open(paths[0]))
    np.testing.assert_array_equal(read_image(paths[0])[:, :, 0], values >> 8)
    Image.fromarray(PICTURE).save(tmp_path / "eight.png")
    assert range_of_files([tmp_path / "eight.png"]) is None
    np.testing.assert_array_equal(read_image(tmp_path / "eight.png", (10, 20)), PICTURE)


def test_missing_values_do_not_widen_the_range(tmp_path):
    values = np.full((40, 40), 7500, np.uint16)
    values[:20] = 7600
    values[:4], values[-4:] = 0, 65535
    Image.fromarray(values).save(tmp_path / "p.png")
    assert range_of_files([tmp_path / "p.png"]) == (7500, 7600)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_narrow_16_bit_colours_are_stretched_too(tmp_path, suffix):
    colors = RANDOM.integers(0, 4096, (12, 17, 3)).astype(np.uint16)
    path = tmp_path / f"deep.{suffix}"
    cv2.imwrite(str(path), colors[:, :, ::-1])
    np.testing.assert_array_equal(deep_colors(path), colors)
    limits = range_of_files([path])
    np.testing.assert_array_equal(read_image(path, limits), to_8_bits(colors, limits))
    assert len(np.unique(read_image(path, limits))) > 150 > 16 == len(np.unique(read_image(path)))


def test_signed_values_are_stretched(tmp_path):
    values = np.linspace(-2000, 3000, 600).reshape(20, 30).astype(np.int32)
    Image.fromarray(values).save(tmp_path / "celsius.tif")
    limits = range_of_files([tmp_path / "celsius.tif"])
    grey = read_image(tmp_path / "celsius.tif", limits)[:, :, 0].ravel().astype(int)
    assert grey[0] == 0
    assert grey[-1] == 255
    assert (np.diff(grey) >= 0).all()


def test_a_run_keeps_the_range_it_began_with(tmp_path):
    """A resumed run and label.py stretch as the run began, whatever photos came later; evaluation as the target."""
    for part in ("images", "labels"):
        (tmp_path / "source" / part).mkdir(parents=True)
        Image.fromarray(np.zeros((20, 30), np.uint8)).save(tmp_path / "source" / part / "a.png")
    (tmp_path / "target").mkdir()
    (tmp_path / "val" / "images").mkdir(parents=True)
    (tmp_path / "val" / "labels").mkdir()
    thermal(tmp_path / "target")
    thermal(tmp_path / "val" / "images", 7300, 7400, count=1)
    Image.fromarray(np.zeros((20, 30), np.uint8)).save(tmp_path / "val" / "labels" / "0.png")
    places = {"source": tmp_path / "source", "target": tmp_path / "target", "eval": tmp_path / "val"}
    roots = [text for name, place in places.items() for text in (f"--{name}-root", str(place))]
    experiment = experiment_of(parse(["--data", "folders", "--classes", "camvid11", "--model", "compact", *roots]))
    path = tmp_path / "images.json"
    begun = with_fixed_lists(load_domains(experiment), experiment, path)
    assert begun.evaluation.sixteen_bit_range == begun.target.sixteen_bit_range == target_range(path) is not None
    assert begun.source.sixteen_bit_range is None
    Image.fromarray(np.full((20, 30), 20_000, np.uint16)).save(tmp_path / "target" / "later.png")
    found = load_domains(experiment)
    assert found.target.sixteen_bit_range != begun.target.sixteen_bit_range
    resumed = with_fixed_lists(found, experiment, path)
    assert resumed.target.sixteen_bit_range == resumed.evaluation.sixteen_bit_range == begun.target.sixteen_bit_range
    assert target_range(tmp_path / "none.json") is None


@pytest.mark.parametrize("ranges", [{"target": [5, 5]}, {"target": "x"}, [1, 2], {"target": [1.5, 2]}])
def test_a_bent_range_is_refused(tmp_path, ranges):
    (tmp_path / "images.json").write_text(json.dumps({"target": [], "sixteen_bit_ranges": ranges}))
    with pytest.raises(UserError, match="range of 16-bit images"):
        target_range(tmp_path / "images.json")
