"""Every usual kind of picture is read right; every damaged one is an error that names it."""

import cv2
import numpy as np
import pytest
from PIL import Image

from training.data.images import image_size, read_first_channel, read_id_image, read_image, resize_image, resize_label
from training.errors import UserError


@pytest.fixture
def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (6, 10, 3), dtype=np.uint8)


def test_grey_alpha_palette_and_16_bit(tmp_path, picture):
    grey = picture[:, :, 0]
    Image.fromarray(grey).save(tmp_path / "grey.png")
    Image.fromarray(np.dstack([picture, grey])).save(tmp_path / "alpha.png")
    Image.fromarray(picture).quantize(60).save(tmp_path / "palette.png")
    cv2.imwrite(str(tmp_path / "grey16.png"), grey.astype(np.uint16) * 256 + 5)
    cv2.imwrite(str(tmp_path / "color16.png"), picture[:, :, ::-1].astype(np.uint16) * 256 + 5)
    np.testing.assert_array_equal(read_image(tmp_path / "grey.png"), np.dstack([grey] * 3))
    np.testing.assert_array_equal(read_image(tmp_path / "alpha.png"), picture)
    np.testing.assert_array_equal(read_image(tmp_path / "palette.png"), picture)
    np.testing.assert_array_equal(read_image(tmp_path / "grey16.png"), np.dstack([grey] * 3))
    np.testing.assert_array_equal(read_image(tmp_path / "color16.png"), picture)


def test_exif_rotation_turns_image_and_size(tmp_path):
    upright = np.zeros((16, 32, 3), np.uint8)
    upright[:, :16] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rows are columns
    Image.fromarray(upright).save(tmp_path / "turned.jpg", exif=exif, quality=100)
    image = read_image(tmp_path / "turned.jpg")
    assert image.shape == (32, 16, 3)
    assert image_size(tmp_path / "turned.jpg") == (32, 16)
    assert image[:12].mean() > 250 > 5 > image[20:].mean()


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "webp", "tif"])
def test_size_from_the_header_alone(tmp_path, picture, suffix):
    path = tmp_path / f"picture.{suffix}"
    Image.fromarray(picture).save(path)
    assert image_size(path) == read_image(path).shape[:2] == (6, 10)


@pytest.mark.parametrize("suffix", ["png", "jpg"])
@pytest.mark.parametrize("damage", ["cut", "empty", "text"])
@pytest.mark.parametrize("read", [read_image, read_id_image, read_first_channel])
def test_damaged_file_is_named(tmp_path, suffix, damage, read):
    path = tmp_path / f"bad.{suffix}"
    noise = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    content = path.read_bytes()
    path.write_bytes({"cut": content[: len(content) // 2], "empty": b"", "text": b"<html>Not Found</html>"}[damage])
    lossy = {read_first_channel: "where a PNG was expected", read_id_image: "a JPEG cannot hold labels"}
    expected = lossy.get(read, "is damaged") if (suffix, damage) == ("jpg", "cut") else "is damaged"
    with pytest.raises(UserError, match=rf"bad\.{suffix} .*{expected}"):
        read(path)


def test_flipped_bits_are_noticed(tmp_path):
    path = tmp_path / "flipped.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)).save(path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"flipped\.png is damaged"):
        read_id_image(path)


def test_missing_file_is_named(tmp_path):
    for read in (read_image, read_id_image, read_first_channel, image_size):
        with pytest.raises(UserError, match=r"nowhere\.png"):
            read(tmp_path / "nowhere.png")


def test_label_of_colours_is_refused(tmp_path, picture):
    Image.fromarray(picture).save(tmp_path / "label.png")
    with pytest.raises(UserError, match=r"label\.png holds colours"):
        read_id_image(tmp_path / "label.png")


def test_palette_label_gives_indices_not_colours(tmp_path):
    label = np.arange(60, dtype=np.uint8).reshape(6, 10)
    image = Image.fromarray(label)
    image.putpalette([255 - value for value in range(256) for _ in range(3)])
    image.save(tmp_path / "label.png")
    np.testing.assert_array_equal(read_id_image(tmp_path / "label.png"), label)


def test_resizing_keeps_image_and_label_aligned():
    label = np.zeros((40, 60), np.uint8)
    label[10:25, 20:50] = 1
    image = np.dstack([label * 200] * 3)
    for size in ((20, 30), (80, 120), (27, 44), (16, 90)):
        small_image, small_label = resize_image(image, size), resize_label(label, size)
        assert small_image.shape == (*size, 3)
        assert small_label.shape == size
        inside = (small_image[:, :, 0] > 100).astype(np.uint8)
        assert np.mean(inside != small_label) < 0.01
        assert set(np.unique(small_label)) <= {0, 1}
