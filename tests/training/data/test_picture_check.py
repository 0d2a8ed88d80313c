"""Pictures are looked at before a run begins: what readers would refuse is found, what they read is never refused."""

import re
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from training.data import checked_pictures, picture_check
from training.data.classes import LABEL_SPACES
from training.data.datasets import folders, image_folder
from training.data.images import read_image
from training.data.picture_check import check_labelled, checked_size, shape_note, usable_photos
from training.data.picture_files import MAX_PIXELS
from training.errors import UserError

SPACE = LABEL_SPACES["camvid11"]
SIZE = (48, 64)
FORMATS = ("jpg", "png", "webp", "tif", "bmp", "gif", "avif")


def photo(path: Path, size: tuple[int, int] = SIZE, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(len(path.name))
    Image.fromarray(random.integers(0, 255, (*size, 3), np.uint8)).save(path, **options)
    return path


def cut(path: Path, share: float = 0.7) -> Path:
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    return path


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_cut_picture_is_found_and_a_whole_one_is_not_read_twice(tmp_path, suffix):
    path = photo(tmp_path / f"a.{suffix}")
    assert checked_size(path, read=None) == SIZE
    cut(path)
    with pytest.raises(UserError, match=rf"a\.{suffix}"):
        checked_size(path, read_image)


def test_a_progressive_photo_and_one_of_a_camera_that_lies_on_its_side(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = photo(tmp_path / "a.jpg", progressive=True, exif=exif)
    assert checked_size(path, read=None) == SIZE[::-1]
    with pytest.raises(UserError, match="is damaged"):
        checked_size(cut(path), read_image)


def test_what_the_reader_reads_in_spite_of_a_wrong_checksum_stays(tmp_path):
    path = photo(tmp_path / "a.png")
    content = bytearray(path.read_bytes())
    content[content.index(b"IEND") - 5] ^= 1  # the last byte of the checksum of the pixels
    path.write_bytes(content)
    assert read_image(path).shape == (*SIZE, 3)
    assert checked_size(path, read_image) == SIZE


def test_other_files_that_no_reader_takes(tmp_path):
    Image.fromarray(np.zeros((4, 4), np.float32)).save(tmp_path / "numbers.tif")
    (tmp_path / "empty.jpg").touch()
    Image.new("1", (MAX_PIXELS // 1000 + 1, 1000)).save(tmp_path / "large.png")
    for name, said in (("numbers.tif", "floating-point"), ("empty.jpg", "no image"), ("large.png", "megapixels")):
        with pytest.raises(UserError, match=said):
            checked_size(tmp_path / name, read_image)


def test_photos_that_cannot_be_used_are_left_out_and_named(tmp_path, capsys):
    for name in "abcde":
        photo(tmp_path / "photos" / f"{name}.jpg")
    cut(tmp_path / "photos" / "b.jpg")
    (tmp_path / "photos" / "d.jpg").write_bytes(b"")
    found = image_folder(tmp_path / "photos", SPACE)
    kept, (note,) = usable_photos(found, SIZE)
    assert [sample.name for sample in kept.samples] == ["a", "c", "e"]
    assert note.startswith(
        "Left out of the 5 photos of photos, for they cannot be used: 2 files (b.jpg, d.jpg). "
        f"{tmp_path / 'photos' / 'b.jpg'} is damaged"
    )
    assert usable_photos(kept, SIZE) == (kept, ())
    assert capsys.readouterr().out == ""  # it was quick
    for name in "ace":
        cut(tmp_path / "photos" / f"{name}.jpg", 0.1)
    with pytest.raises(UserError, match=r"^None of the 5 photos of photos can be used; the first: .*a\.jpg"):
        usable_photos(found, SIZE)


def test_a_check_that_takes_long_shows_how_far_it_is(tmp_path, capsys, monkeypatch):
    for name in "ab":
        photo(tmp_path / "photos" / f"{name}.png")
    monkeypatch.setattr("training.data.picture_check.PATIENCE", 0.05)
    monkeypatch.setattr("training.data.picture_check.checked_size", lambda *_: time.sleep(0.1) or SIZE)
    usable_photos(image_folder(tmp_path / "photos", SPACE), SIZE)
    assert "checking the pictures of photos: 2/2 in" in capsys.readouterr().out


def test_pictures_of_large_data_sets_are_read_once(tmp_path, monkeypatch):
    monkeypatch.setenv("STREETSHIFT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(checked_pictures, "LEAST", 3)
    read = []
    monkeypatch.setattr(picture_check, "checked_size", lambda path, reader: read.append(path.name) or SIZE)
    folder = tmp_path / "photos"
    for name in "ab":
        photo(folder / f"{name}.jpg")
    usable_photos(image_folder(folder, SPACE), SIZE)  # few: not kept
    assert not (tmp_path / "cache").exists()
    photo(folder / "c.jpg")
    read.clear()
    usable_photos(image_folder(folder, SPACE), SIZE)
    assert sorted(read) == ["a.jpg", "b.jpg", "c.jpg"]
    # Those that are new or have changed are read; a file that is gone, and a damaged cache, do no harm.
    cut(folder / "b.jpg")
    photo(folder / "d.jpg")
    (folder / "a.jpg").unlink()
    read.clear()
    kept, notes = usable_photos(image_folder(folder, SPACE), SIZE)
    assert (sorted(read), len(kept), notes) == (["b.jpg", "d.jpg"], 3, ())
    (tmp_path / "cache" / "checked_pictures.json").write_text('{"x": [1], "y": 2, ')
    read.clear()
    usable_photos(image_folder(folder, SPACE), SIZE)
    assert len(read) == 3
    usable_photos(image_folder(folder, SPACE), SIZE)
    assert len(read) == 3


def test_a_broken_labelled_picture_is_an_error(tmp_path):
    for name in "abc":
        photo(tmp_path / "data" / "images" / f"{name}.jpg")
        (tmp_path / "data" / "labels").mkdir(exist_ok=True)
        Image.fromarray(np.arange(SIZE[0] * SIZE[1], dtype=np.uint8).reshape(SIZE) % 11).save(
            tmp_path / "data" / "labels" / f"{name}.png"
        )
    data = folders(tmp_path / "data", SPACE)
    assert check_labelled(data, SIZE) is None
    assert "Photos of data of another shape than 48x128" in check_labelled(data, (48, 128))
    cut(tmp_path / "data" / "images" / "b.jpg")
    with pytest.raises(UserError, match=r"b\.jpg is damaged.*remove it\.$"):
        check_labelled(data, SIZE)
    cut(tmp_path / "data" / "labels" / "a.png")
    with pytest.raises(UserError, match=r"a\.png is damaged.*\(2 such images or labels of data in all\)$"):
        check_labelled(data, SIZE)


LYING, STANDING, WIDE = (3000, 4000), (4000, 3000), (1000, 4000)


@pytest.mark.parametrize(
    ("sizes", "said"),
    [
        ([LYING] * 3, None),
        ([LYING, (2400, 4000)], None),  # a quarter is borne
        ([*[STANDING] * 3, LYING], "Photos of x .*4000x3000, are squeezed to it .3 of 4.*--size 320x256 suits"),
        ([WIDE, *[LYING] * 3], "squeezed to it .1 of 4.*best left out, or cut"),
    ],
)
def test_photos_of_another_shape_are_told_of(sizes, said):
    note = shape_note("x", sizes, (240, 320))
    assert note is None if said is None else re.search(said, note)
