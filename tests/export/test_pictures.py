"""Any picture becomes RGB, or a clear sentence."""

import contextlib
import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from export.pictures import load_picture, network_size, resized
from training.data import picture_files
from training.data.images import read_image, resize_image
from training.errors import UserError

RANDOM = np.random.default_rng(0)
RGB = RANDOM.integers(0, 256, (12, 17, 3), dtype=np.uint8)
GREY = RANDOM.integers(0, 256, (12, 17), dtype=np.uint8)


def saved(image: Image.Image, path, **options):
    image.save(path, **options)
    return path


@pytest.mark.parametrize("mode", ["L", "LA", "1", "P", "RGBA", "CMYK", "I;16"])
def test_files_of_every_mode_are_read_as_in_training(mode, tmp_path):
    deep = Image.fromarray(GREY.astype(np.uint16) * 256 + 77)
    image = deep if mode == "I;16" else Image.fromarray(RGB).convert(mode)
    path = saved(image, tmp_path / ("picture.tif" if mode == "CMYK" else "picture.png"))
    picture = load_picture(path)
    assert picture.shape == (12, 17, 3)
    np.testing.assert_array_equal(picture, read_image(path))
    if mode == "I;16":
        np.testing.assert_array_equal(picture[:, :, 0], GREY)


def test_arrays_and_pillow_images():
    np.testing.assert_array_equal(load_picture(RGB), RGB)
    np.testing.assert_array_equal(load_picture(np.dstack([RGB, GREY])), RGB)
    np.testing.assert_array_equal(load_picture(GREY[:, :, None])[:, :, 2], GREY)
    np.testing.assert_array_equal(load_picture(RGB.astype(np.uint16) * 256 + 9), RGB)
    np.testing.assert_array_equal(load_picture(Image.fromarray(GREY))[:, :, 1], GREY)


@pytest.mark.parametrize("array", [RGB / 255.0, RGB[:, :, :2], RGB[0, 0], np.zeros((0, 4, 3), np.uint8)], ids=str)
def test_other_arrays_are_refused(array):
    with pytest.raises(UserError, match="picture"):
        load_picture(array)


@pytest.mark.parametrize("picture", [None, [[1, 2]], b"abc", 3], ids=str)
def test_what_is_no_picture_at_all_is_named(picture):
    with pytest.raises(UserError, match=f"not {type(picture).__name__}"):
        load_picture(picture)


def test_floating_point_pictures_are_refused_rather_than_seen_black(tmp_path):
    path = saved(Image.fromarray((GREY / 255).astype(np.float32)), tmp_path / "float.tif")
    with pytest.raises(UserError, match=r"float\.tif holds floating-point numbers"):
        load_picture(path)


def test_exif_orientation_turns_the_picture(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter to the right
    path = saved(Image.fromarray(RGB), tmp_path / "turned.png", exif=exif)
    np.testing.assert_array_equal(load_picture(path), np.rot90(RGB, -1))


def test_the_first_frame_of_an_animation(tmp_path):
    frames = [Image.new("RGB", (8, 6), colour) for colour in ("red", "blue")]
    path = saved(frames[0], tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    assert (load_picture(path) == (255, 0, 0)).all()


def png_start(height: int, width: int) -> bytes:
    """The first bytes of a grey PNG of any size: all that a decompression bomb shows before it is decoded."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(1000))))
    packed = (
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("side", [20_000, 9_300, 9_000])
def test_too_many_pixels_are_refused_before_decoding(side, tmp_path):
    (tmp_path / "huge.png").write_bytes(png_start(side, side))
    with pytest.raises(UserError, match=r"huge\.png (is far too large|has \d+ megapixels).* shrink it"):
        load_picture(tmp_path / "huge.png")


def test_the_limit_can_be_lowered_and_raised(tmp_path, monkeypatch):
    path = saved(Image.new("L", (60, 50)), tmp_path / "picture.png")
    with pytest.raises(UserError, match="more than the limit"):
        load_picture(path, max_pixels=2999)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    monkeypatch.setattr(picture_files, "MAX_PIXELS", 900)
    with pytest.raises(UserError, match="far too large"):
        load_picture(path, max_pixels=900)
    assert load_picture(path, max_pixels=3000).shape == (50, 60, 3)
    assert Image.MAX_IMAGE_PIXELS == 1000


def test_missing_and_wrong_files_are_named(tmp_path):
    (tmp_path / "text.png").write_text("hello")
    for name, sentence in (("none.png", "Cannot read .*none.png: No such file"), ("text.png", "text.png is damaged")):
        with pytest.raises(UserError, match=sentence):
            load_picture(tmp_path / name)


@pytest.mark.filterwarnings("ignore")  # Pillow's remarks on the damage
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "TIFF", "WEBP", "BMP"])
def test_damaged_bytes_give_a_picture_or_a_sentence(kind, tmp_path):
    encoded = io.BytesIO()
    Image.fromarray(RGB).save(encoded, format=kind)
    path, random = tmp_path / "file", np.random.default_rng(1)
    for _ in range(40):
        content = np.frombuffer(encoded.getvalue(), np.uint8).copy()
        content[random.integers(0, len(content), 8)] = random.integers(0, 256, 8)
        path.write_bytes(content[: random.integers(1, len(content) + 1)].tobytes())
        with contextlib.suppress(UserError):  # any other error fails the test
            assert load_picture(path, max_pixels=10_000).dtype == np.uint8


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        ((256, 512), (128, 256)),
        ((128, 256), (128, 256)),
        ((64, 96), (128, 192)),
        ((4032, 3024), (171, 128)),  # a portrait photo: the same scale as the landscape one
        ((3024, 4032), (128, 171)),
        ((1, 1), (128, 128)),
        ((1, 5000), (1, 2048)),
    ],
)
def test_the_network_sees_the_scale_of_training(own, expected):
    assert network_size(own, (128, 256)) == expected


@pytest.mark.parametrize(("size", "most"), [((60, 85), 1), ((240, 340), 1), ((77, 109), 8)])
def test_resizing_is_nearly_trainings(size, most):
    picture = np.asarray(Image.fromarray(RGB).resize((170, 120), Image.Resampling.BICUBIC))
    difference = np.abs(resized(picture, size).astype(int) - resize_image(picture, size))
    assert difference.max() <= most
