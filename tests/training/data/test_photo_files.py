"""One rule for what a photo is, and a sentence for what is left out."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from training.data import photo_files, picture_files
from training.data.classes import LABEL_SPACES
from training.data.datasets import image_folder
from training.data.photo_files import left_out_sentence, photos_in
from training.errors import UserError

ROOT = Path(__file__).resolve().parents[3]
HEIC = b"\x00\x00\x00\x1cftypheic\x00\x00\x00\x00mif1heicmiaf" + bytes(40)


@pytest.fixture
def junk(tmp_path) -> Path:
    """Two photos among what systems and downloads leave."""
    picture = Image.fromarray(np.zeros((8, 12, 3), np.uint8))
    picture.save(tmp_path / "a.JPG", "JPEG")
    picture.save(tmp_path / "b.jfif", "JPEG")
    for name in ("._a.jpg", ".DS_Store", "c.jpg.part", ".thumbnails/t.jpg", "__MACOSX/m.jpg", "@eaDir/e.jpg", "d.HEIC"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(HEIC if name.endswith("HEIC") else b"\x00\x05\x16\x07")
    return tmp_path


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.jpg", True), ("deeper/A.PNG", True), ("a.jfif", True), ("a.avif", True), ("a.gif", True),
        ("a.jpg.part", False), ("._a.jpg", False), ("a.txt", False), ("jpg", False), ("a.jpg.crdownload", False),
        (".hidden/a.jpg", False), ("$RECYCLE.BIN/a.jpg", False),
    ],
)  # fmt: skip
def test_what_a_photo_is(tmp_path, name, expected):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(b"x")
    assert photos_in(tmp_path)[0] == ([tmp_path / name] if expected else [])


def test_photos_and_what_is_left_out(junk):
    photos, others = photos_in(junk)
    assert [file.name for file in photos] == ["a.JPG", "b.jfif"]
    sentence = left_out_sentence(junk, others)
    assert "1 .heic (d.HEIC)" in sentence
    assert "1 .part (c.jpg.part)" in sentence
    assert "pillow-heif" in sentence
    assert left_out_sentence(junk, []) is None


def test_training_says_what_it_leaves_out_once(junk, capsys):
    for _ in range(2):
        data = image_folder(junk, LABEL_SPACES["camvid11"])
        assert [sample.image.name for sample in data.samples] == ["a.JPG", "b.jfif"]
    assert capsys.readouterr().out.count("d.HEIC") == 1


def test_avif_is_read(tmp_path):
    grey = Image.fromarray(np.full((16, 24, 3), 90, np.uint8))
    grey.save(tmp_path / "a.avif")
    data = image_folder(tmp_path, LABEL_SPACES["camvid11"])
    assert np.abs(data.read_image(0).astype(int) - 90).max() < 4


@pytest.mark.skipif(photo_files.pillow_heif is not None, reason="pillow-heif is installed: HEIC is read")
def test_a_heic_is_called_one(tmp_path):
    (tmp_path / "p.heic").write_bytes(HEIC)
    with (
        pytest.raises(UserError, match=r"p\.heic is a HEIC photo.*pip install pillow-heif"),
        picture_files.opened_picture(tmp_path / "p.heic"),
    ):
        pass


@pytest.mark.parametrize(
    ("start", "words"),
    [
        (b"%PDF-1.7", "PDF"), (b"\x00\x05\x16\x07\x00", "macOS"), (b"\xff\x0a\x00", "JPEG XL"),
        (b"version https://git-lfs.github.com/spec/v1", "git lfs pull"), (b"hello", "damaged or no image"),
    ],
)  # fmt: skip
def test_other_files_are_called_what_they_are(tmp_path, start, words):
    (tmp_path / "p.png").write_bytes(start)
    with pytest.raises(UserError, match=rf"p\.png .*{words}"), picture_files.opened_picture(tmp_path / "p.png"):
        pass


def test_the_rule_needs_no_heavy_package():
    heavy = "{'cv2', 'rich', 'pydantic', 'tensorflow', 'keras'}"
    modules = "training.data.photo_files, training.data.picture_files, training.data.picture_pixels"
    code = f"import sys, {modules}; sys.exit(int(bool({heavy} & set(sys.modules))))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
