"""Photos with an EXIF orientation and labels without one: turned together, or refused; never trained apart."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from training.data.classes import LABEL_SPACES
from training.data.datasets import folders
from training.data.domains import load_domains
from training.data.fixed_lists import with_fixed_lists
from training.data.picture_pixels import turned
from training.errors import UserError

SPACE = LABEL_SPACES["camvid11"]
STORED = np.zeros((24, 40), np.uint8)
STORED[:10, :15] = 1
STORED[14:, 25:] = 2


def pair(root: Path, name: str, orientation: int, label: np.ndarray = STORED, label_orientation: int = 1) -> None:
    """A photo stored as STORED with this EXIF orientation, whose grey is 100 times the id; and a label."""
    for part, pixels, mark, suffix in (
        ("images", np.dstack([STORED * 100] * 3), orientation, "jpg"),
        ("labels", label, label_orientation, "png"),
    ):
        (root / part).mkdir(parents=True, exist_ok=True)
        exif = Image.Exif()
        if mark != 1:
            exif[0x0112] = mark
        options = {"quality": 100, "subsampling": 0} if suffix == "jpg" else {}
        Image.fromarray(pixels).save(root / part / f"{name}.{suffix}", exif=exif, **options)


def check_aligned(root: Path) -> None:
    data = folders(root, SPACE)
    for index in range(len(data)):
        image, label = data.read_pair(index)
        assert np.abs(image[:, :, 0].astype(int) - 100 * label.astype(int)).max() < 12


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_a_label_of_the_stored_size_is_turned_with_its_photo(tmp_path, capsys, orientation):
    pair(tmp_path, "a", orientation)
    pair(tmp_path, "b", 1)
    check_aligned(tmp_path)
    said = capsys.readouterr().out
    assert "EXIF" in said
    assert "1 file (a.jpg)" in said


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_a_label_of_the_turned_size_stays(tmp_path, capsys, orientation):
    pair(tmp_path, "a", orientation, turned(STORED, orientation))
    check_aligned(tmp_path)
    assert "a.jpg" in capsys.readouterr().out


@pytest.mark.parametrize("orientation", [2, 3, 4])
def test_what_sizes_cannot_tell_is_refused(tmp_path, orientation):
    pair(tmp_path, "a", orientation)
    pair(tmp_path, "b", 1)
    with pytest.raises(UserError, match=r"EXIF.*1 file \(a\.jpg\).*exiftool.*mogrify"):
        folders(tmp_path, SPACE)


@pytest.mark.parametrize("stored", [True, False])
def test_what_sizes_cannot_tell_follows_the_other_pairs(tmp_path, stored):
    for name, orientation in (("a", 3), ("b", 6)):
        pair(tmp_path, name, orientation, STORED if stored else turned(STORED, orientation))
    check_aligned(tmp_path)


def test_pairs_that_disagree_decide_nothing(tmp_path):
    pair(tmp_path, "a", 3)
    pair(tmp_path, "b", 6)
    pair(tmp_path, "c", 6, turned(STORED, 6))
    with pytest.raises(UserError, match=r"EXIF.*a\.jpg"):
        folders(tmp_path, SPACE)


@pytest.mark.parametrize("orientation", [3, 6])
def test_a_label_with_the_same_orientation_is_turned_by_its_own(tmp_path, orientation):
    pair(tmp_path, "a", orientation, STORED, orientation)
    check_aligned(tmp_path)


@pytest.mark.parametrize(("photo", "label"), [(1, 3), (3, 6)])
def test_a_label_with_another_orientation_is_refused(tmp_path, photo, label):
    pair(tmp_path, "a", photo, STORED, label)
    pair(tmp_path, "b", 6)
    with pytest.raises(UserError, match=r"EXIF.*a\.jpg"):
        folders(tmp_path, SPACE)


def test_a_resumed_run_turns_the_same_labels(tmp_path):
    from training.command_line import experiment_of, parse

    for name in ("a", "b"):
        pair(tmp_path / "source", name, 6)
    pair(tmp_path / "target", "t", 1)
    roots = ["--source-root", str(tmp_path / "source"), "--target-root", str(tmp_path / "target" / "images")]
    experiment = experiment_of(parse(["--data", "folders", "--classes", "camvid11", "--model", "compact", *roots]))
    lists = [with_fixed_lists(load_domains(experiment), experiment, tmp_path / "images.json") for _ in range(2)]
    assert [each.label_orientation for each in lists[1].source.samples] == [6, 6]
    assert lists[0].source == lists[1].source


def test_pseudo_labels_are_not_turned(tmp_path):
    pair(tmp_path, "a", 6)
    data = folders(tmp_path, SPACE)
    (tmp_path / "pseudo").mkdir()
    Image.fromarray(turned(STORED, 6)).save(tmp_path / "pseudo" / "a.png")
    np.testing.assert_array_equal(data.with_label_folder(tmp_path / "pseudo").read_label(0), turned(STORED, 6))


def test_the_shared_pictures(shared_dir):
    with pytest.raises(UserError, match=r"EXIF.*0\.jpg"):
        folders(shared_dir / "cases" / "exif180", SPACE)
    assert folders(shared_dir / "cases" / "exif90", SPACE).read_pair(0)[1].shape == (256, 128)
