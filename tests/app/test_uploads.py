"""Every odd picture becomes a right one or one clear sentence."""

import contextlib
import io
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from app.endpoints import uploads_of
from app.limits import JPEG_PIXELS, WORKING_SIDE
from app.uploads import Upload, check_opacity, fitted, range_for, read_photo, unique_stems
from training.data.photo_files import pillow_heif
from training.errors import UserError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def ramp() -> np.ndarray:
    """uint8 [40, 60, 3], every pixel different from its neighbours, dark at the upper left."""
    rows, columns = np.mgrid[:40, :60]
    return np.stack([rows * 6, columns * 4, rows + columns], axis=-1).astype(np.uint8)


def test_an_ordinary_photo_comes_as_it_is(save, ramp):
    photo = read_photo(save("a street.png", ramp))
    assert np.array_equal(photo.image, ramp)
    assert (photo.name, photo.own_size) == ("a street", (40, 60))


def test_a_large_photo_is_worked_on_at_a_bounded_size(save):
    photo = read_photo(save("large.jpg", Image.new("RGB", (2400, 1800), (10, 200, 30))))
    assert photo.own_size == (1800, 2400)
    assert photo.image.shape == (WORKING_SIDE * 3 // 4, WORKING_SIDE, 3)
    assert np.abs(photo.image.reshape(-1, 3).mean(axis=0) - (10, 200, 30)).max() < 3


def test_grey_cmyk_transparent_and_palette_pictures_keep_their_colours(save, ramp):
    grey = ramp[:, :, 1]
    assert np.array_equal(read_photo(save("grey.png", grey)).image, np.repeat(grey[:, :, None], 3, axis=2))
    rgb = Image.fromarray(ramp)
    transparent = rgb.copy()
    transparent.putalpha(120)
    assert np.array_equal(read_photo(save("alpha.png", transparent)).image, ramp)
    cmyk = read_photo(save("cmyk.jpg", rgb.convert("CMYK"), quality=98)).image
    assert np.abs(cmyk.astype(int) - ramp).mean() < 4
    palette = Image.new("P", (8, 8), 1)
    palette.putpalette((0, 0, 0, 9, 99, 199))
    assert (read_photo(save("palette.png", palette)).image == (9, 99, 199)).all()


def test_sixteen_bits_are_scaled_not_clipped(save):
    grey = (np.arange(64, dtype=np.uint16) * 1024).reshape(8, 8)
    photo = read_photo(save("deep.png", Image.fromarray(grey)))
    assert np.array_equal(photo.image[:, :, 0], grey >> 8)


def test_an_animation_gives_its_first_picture(save):
    frames = [Image.new("RGB", (16, 16), colour) for colour in ((250, 0, 0), (0, 250, 0))]
    photo = read_photo(save("moving.gif", frames[0], save_all=True, append_images=frames[1:]))
    assert (photo.image[..., 0] > 200).all()
    assert (photo.image[..., 1] < 50).all()


@pytest.mark.parametrize(("name", "options"), [("turned.jpg", {"quality": 95}), ("turned.tif", {}), ("turned.png", {})])
def test_an_exif_rotated_photo_stands_upright(save, ramp, name, options):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    photo = read_photo(save(name, ramp, exif=exif, **options))
    assert photo.own_size == (60, 40)
    assert np.abs(photo.image.astype(int) - np.rot90(ramp, -1)).mean() < 6


def test_a_turned_grey_tiff_stands_upright(save, ramp):
    """Opened by its path, Pillow 12.3 would mix up its rows."""
    exif = Image.Exif()
    exif[0x0112] = 6
    photo = read_photo(save("grey.tif", ramp[:, :, 0], exif=exif))
    assert np.array_equal(photo.image[:, :, 0], np.rot90(ramp[:, :, 0], -1))


def test_one_pixel_is_a_photo(save):
    assert read_photo(save("dot.png", np.full((1, 1, 3), 7, np.uint8))).image.tolist() == [[[7, 7, 7]]]


@pytest.mark.parametrize("content", [b"", b"just text, whatever its name", b"\x89PNG\r\n\x1a\n" + bytes(40)])
def test_what_is_no_picture_is_told_so(tmp_path, content):
    path = tmp_path / "0f3a" / "renamed.png"
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"^holiday\.png is damaged") as error:
        read_photo(Upload(path, "holiday.png"))
    assert "0f3a" not in str(error.value)


def test_a_photo_cut_short_is_told_so(save, ramp):
    upload = save("short.jpg", np.tile(ramp, (10, 10, 1)))
    upload.path.write_bytes(upload.path.read_bytes()[:4000])
    with pytest.raises(UserError, match=r"^short\.jpg is damaged"):
        read_photo(upload)


def test_a_huge_picture_is_refused_by_its_header(tmp_path):
    """400 million pixels in a few hundred bytes: nothing is decoded."""
    side = 20_000
    assert side * side > JPEG_PIXELS
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    content = (
        b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(b"")) + _chunk(b"IEND", b"")
    )
    (tmp_path / "huge.png").write_bytes(content)
    with pytest.raises(UserError, match=r"huge\.png is too large"):
        read_photo(Upload(tmp_path / "huge.png", "huge.png"))


@pytest.mark.parametrize(
    ("name", "mode", "options"),
    [
        ("phone.jpg", "RGB", {}),
        ("screen.png", "RGB", {"compress_level": 1}),
        ("layer.png", "RGBA", {"compress_level": 1}),
        ("few.png", "P", {"compress_level": 1}),
        ("scan.tif", "L", {}),
    ],
)
def test_a_photo_above_forty_megapixels_is_shrunk_and_that_is_said(save, name, mode, options):
    """48 megapixels, as many phones take them: green above, dark below."""
    picture = Image.new("RGB", (8000, 6000), (20, 200, 30))
    picture.paste((10, 20, 30), (0, 3000, 8000, 6000))
    photo = read_photo(save(name, picture.convert(mode), **options))
    assert photo.own_size == (6000, 8000)
    assert photo.image.shape == (WORKING_SIDE * 3 // 4, WORKING_SIDE, 3)
    assert photo.image[300].mean() - photo.image[900].mean() > 40
    assert photo.note.startswith(f"{name} has 48 megapixels (8000 x 6000): it was shrunk to 1600 x 1200")


def test_an_ordinary_photo_needs_no_note(save, ramp):
    assert read_photo(save("a.png", ramp)).note == ""


@pytest.mark.parametrize("name", ["turned.jpg", "turned.tif"])
def test_a_turned_photo_above_forty_megapixels_stands_upright(save, name):
    """The left half is dark; turned by 90 degrees clockwise, it is the upper one."""
    picture = Image.new("L", (8000, 6000), 220)
    picture.paste(20, (0, 0, 4000, 6000))
    exif = Image.Exif()
    exif[0x0112] = 6
    photo = read_photo(save(name, picture, exif=exif))
    assert (photo.own_size, photo.image.shape[:2]) == ((8000, 6000), (1600, 1200))
    assert (photo.image[:780] < 40).all()
    assert (photo.image[820:] > 200).all()


@pytest.mark.parametrize(
    ("name", "mode", "size", "limit"),
    [
        ("deep.tif", "I;16", (8000, 6000), 40),
        ("wide.png", "1", (10_000, 9000), 80),
        ("sky.jpg", "L", (15_000, 11_800), 175),
    ],
)
def test_what_is_too_large_is_told_so_and_not_called_damaged(save, name, mode, size, limit):
    upload = save(name, Image.new(mode, size))
    with pytest.raises(UserError) as error:
        read_photo(upload)
    width, height = size
    assert str(error.value).startswith(f"{name} is too large ({width} x {height}): this page takes photos of this kind")
    assert f"up to {limit} megapixels" in str(error.value)


def test_numbers_with_a_fraction_are_not_called_damaged(save):
    with pytest.raises(UserError, match=r"depth\.tif holds floating-point numbers"):
        read_photo(save("depth.tif", Image.fromarray(np.ones((4, 4), np.float32))))


MEASURE = """
import resource, sys
from pathlib import Path
from app.uploads import Upload, read_photo
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
read_photo(Upload(Path(sys.argv[1]), "large.jpg"))
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss has other units elsewhere")
def test_a_jpeg_of_a_hundred_megapixels_is_never_held_whole(save):
    """Whole it would take 324 MB."""
    path = save("large.jpg", Image.new("RGB", (12_000, 9000), (10, 90, 200))).path
    done = subprocess.run([sys.executable, "-c", MEASURE, path], cwd=ROOT, capture_output=True, text=True, check=True)
    assert float(done.stdout) < 120


def test_a_bomb_in_a_text_chunk_is_refused(tmp_path):
    """A PNG of one pixel whose comment unpacks to 3 MB, more than Pillow allows."""
    picture = io.BytesIO()
    Image.new("RGB", (1, 1)).save(picture, format="PNG")
    bomb = _chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(3_000_000)))
    content = picture.getvalue()
    (tmp_path / "bomb.png").write_bytes(content[:33] + bomb + content[33:])
    with pytest.raises(UserError, match=r"bomb\.png is damaged"):
        read_photo(Upload(tmp_path / "bomb.png", "bomb.png"))


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def test_a_format_that_would_start_another_program_is_refused(tmp_path):
    (tmp_path / "drawing.png").write_bytes(
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n"
    )
    with pytest.raises(UserError, match="no picture"):
        read_photo(Upload(tmp_path / "drawing.png", "drawing.png"))


def test_a_deleted_upload_is_told_so(tmp_path):
    with pytest.raises(UserError, match="upload it again"):
        read_photo(Upload(tmp_path / "gone.png", "gone.png"))


def test_sizes_keep_their_shape_and_are_never_enlarged():
    assert fitted((100, 200), 1000) == (100, 200)
    assert fitted((3000, 4000), 1000) == (750, 1000)
    assert fitted((1, 100_000), 1000) == (1, 1000)


def test_result_names_are_unique_and_safe():
    names = ["a.png", "a.jpg", "A.png", "../../etc/passwd", "<img src=x>.png", "", "x" * 300 + ".png"]
    stems = unique_stems(names)
    assert stems[:4] == ["a", "a-2", "A-3", "passwd"]
    assert len({stem.lower() for stem in stems}) == len(names)
    assert all(stem and len(stem) < 90 and not set(stem) & set('/\\<>:"|?*') for stem in stems)


@pytest.mark.parametrize("opacity", [-0.1, 1.1, float("nan"), "0.5", None, True])
def test_an_impossible_opacity_is_told_so(opacity):
    with pytest.raises(UserError, match="opacity"):
        check_opacity(opacity)


@pytest.mark.skipif(pillow_heif is not None, reason="pillow-heif is installed: HEIC is read")
def test_a_heic_is_called_one(tmp_path):
    (tmp_path / "x").write_bytes(b"\x00\x00\x00\x1cftypheic\x00\x00\x00\x00mif1heicmiaf" + bytes(40))
    with pytest.raises(UserError, match=r"^IMG_1\.HEIC is a HEIC photo.*pillow-heif"):
        read_photo(Upload(tmp_path / "x", "IMG_1.HEIC"))


def test_narrow_16_bit_photos_are_stretched_over_all_uploads(save):
    values = np.linspace(7200, 8220, 2400).reshape(40, 60).astype(np.uint16)
    uploads = [save(f"{index}.png", Image.fromarray(values + np.uint16(1000 * index))) for index in range(2)]
    limits = range_for(None, uploads)
    first, second = (read_photo(upload, sixteen_bit_range=limits).image for upload in uploads)
    assert first.min() < 3 < 120 < first.max() < 135
    assert second.max() > 252
    assert range_for((1, 2), uploads) == (1, 2)


def test_the_range_is_found_in_one_picture_at_a_time_and_none_above_the_limit(save, monkeypatch):
    decoded = []

    class Recorder(contextlib.nullcontext):
        def __enter__(self):
            decoded.append(True)

    monkeypatch.setattr("app.uploads._one_large_picture", Recorder())
    monkeypatch.setattr("app.uploads.USUAL_PIXELS", 64)
    uploads = [save(f"{side}.png", np.full((side, side), 7000 + side, np.uint16)) for side in (8, 9)]
    assert range_for(None, uploads) == (7008, 7009)
    assert len(decoded) == 1


def test_damaged_16_bit_colours_are_told_by_the_uploads_name(save):
    content = np.random.default_rng(0).integers(0, 65536, (64, 64, 3)).astype(np.uint16)
    path = save("x.png", np.zeros((1, 1), np.uint8)).path
    cv2.imwrite(str(path), content)
    path.write_bytes(path.read_bytes()[:9000])
    with pytest.raises(UserError, match=r"^holiday\.png is damaged") as error:
        read_photo(Upload(path, "holiday.png"), sixteen_bit_range=(0, 1000))
    assert str(path) not in str(error.value)


@pytest.mark.parametrize("name", ["short.png", "short.webp"])
def test_a_photo_with_a_part_of_an_exif_is_read_as_it_is_stored(save, ramp, name):
    photo = read_photo(save(name, ramp, exif=b"Exif\0\0II*\0"))
    assert photo.own_size == photo.image.shape[:2] == ramp.shape[:2]


def test_a_turned_tiff_has_its_turned_size(save, ramp):
    exif = Image.Exif()
    exif[0x0112] = 6
    photo = read_photo(save("turned.tif", ramp, exif=exif))
    assert photo.own_size == photo.image.shape[:2] == (60, 40)


def test_hidden_files_of_systems_are_no_uploads(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    payload = [{"path": str(tmp_path / name), "orig_name": name} for name in ("._a.jpg", "a.jpg", ".DS_Store")]
    assert [upload.name for upload in uploads_of(payload)] == ["a.jpg"]
