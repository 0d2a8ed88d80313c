"""Label PNGs and manifests: atomic, complete, never mixed with an earlier labelling."""

import json

import numpy as np
import pytest
from PIL import Image

from training.errors import UserError
from training.prediction.label_files import (
    label_manifest,
    prepare_label_folder,
    write_label_png,
    write_manifest,
)
from training.pseudo_labels import Thresholds

THRESHOLDS = Thresholds(
    "cbst_sp", 0.2, 4, None, np.float32([0.3, np.inf]), np.array([10, 0]), np.array([3, 0]), images=2
)


def test_png_round_trip(tmp_path):
    label = np.random.default_rng(0).integers(0, 256, (5, 7)).astype(np.uint8)
    write_label_png(tmp_path / "a.png", label)
    with Image.open(tmp_path / "a.png") as image:
        assert image.mode == "L"
        np.testing.assert_array_equal(np.asarray(image), label)
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


@pytest.mark.parametrize("label", [np.zeros((2, 2), int), np.zeros((2, 2, 1), np.uint8)])
def test_other_arrays_are_no_labels(tmp_path, label):
    with pytest.raises(ValueError, match="expected uint8"):
        write_label_png(tmp_path / "a.png", label)


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    old, new = np.zeros((2, 2), np.uint8), np.ones((2, 2), np.uint8)
    write_label_png(tmp_path / "a.png", old)

    def full_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full_disk)
    with pytest.raises(UserError, match="No space left on device"):
        write_label_png(tmp_path / "a.png", new)
    assert np.asarray(Image.open(tmp_path / "a.png")).sum() == 0
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_manifest_tells_thresholds_exactly_and_shares(tmp_path):
    write_manifest(
        tmp_path, label_manifest(THRESHOLDS, np.array([4, 1]), ["x", "y"], "photos", ("road", "sky"), alpha=1)
    )
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert np.float32(manifest["thresholds"][0]) == np.float32(0.3)
    assert manifest["thresholds"][1] is None
    assert manifest["kept_share"] == [0.4, None]
    assert manifest["kept_share_all"] == 0.5
    assert (manifest["pixels"], manifest["kept_pixels"], manifest["ranked_pixels"]) == ([10, 0], [4, 1], [3, 0])
    assert (manifest["images"], manifest["source"], manifest["alpha"]) == (2, "photos", 1)
    assert manifest["files"] == ["x.png", "y.png"]
    assert manifest["class_names"] == ["road", "sky"]


def test_a_folder_is_new_empty_or_holds_an_earlier_labelling(tmp_path):
    folder = tmp_path / "a" / "labels"
    assert prepare_label_folder(folder) == []
    write_label_png(folder / "x.png", np.zeros((1, 1), np.uint8))
    with pytest.raises(UserError, match=r"not empty \(it holds x.png\)"):
        prepare_label_folder(folder)
    write_manifest(folder, label_manifest(THRESHOLDS, np.array([0, 0]), ["x", "gone"], "photos"))
    assert [path.name for path in prepare_label_folder(folder)] == ["manifest.json", "x.png"]
    (folder / "diary.txt").write_text("mine")
    with pytest.raises(UserError, match="diary"):
        prepare_label_folder(folder)


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "labels").write_text("")
    with pytest.raises(UserError, match="Cannot use"):
        prepare_label_folder(tmp_path / "labels")
    with pytest.raises(UserError, match="Cannot write"):
        write_label_png(tmp_path / "labels" / "a.png", np.zeros((1, 1), np.uint8))
