"""Label PNGs and manifests: atomic, complete, never mixed with an earlier labelling."""

import json

import numpy as np
import pytest
from PIL import Image

from training.errors import UserError
from training.prediction.label_files import (
    LabelFolder,
    ReplacedLabels,
    prepare_label_folder,
    read_fitted,
    write_label_png,
    write_manifest,
)
from training.prediction.label_images import LabelledImages
from training.pseudo_labels import ClassBalancedSelector
from training.pseudo_labels.thresholds import ThresholdFitted

FITTED = ThresholdFitted(
    ClassBalancedSelector(portion=0.2, prior=np.ones((1, 1, 2), np.float32)),
    np.float32([0.3, np.inf]),
    np.array([10, 0]),
    2,
    np.array([3, 0]),
)


def manifest_of(names, kept, class_names=None) -> dict:
    """Of images that keep `kept` pixels per class in the first, none in the others."""
    counts = np.zeros((len(names), 2), np.int64)
    counts[0] = kept
    means = np.array([0.75, np.nan])
    return LabelledImages(FITTED, tuple(names), class_names, FITTED.pixels, counts, means).manifest("photos")


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
    write_manifest(tmp_path, manifest_of(["x", "y"], [4, 1], ("road", "sky")))
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert np.float32(manifest["thresholds"][0]) == np.float32(0.3)
    assert manifest["thresholds"][1] is None
    assert manifest["kept_share"] == [0.4, None]
    assert manifest["kept_share_all"] == 0.5
    assert (manifest["pixels"], manifest["kept_pixels"], manifest["ranked_pixels"]) == ([10, 0], [4, 1], [3, 0])
    assert (manifest["images"], manifest["source"], manifest["selector"]) == (2, "photos", "cbst_sp")
    assert (manifest["portion"], manifest["mean_confidence"]) == (0.2, [0.75, None])
    assert manifest["files"] == ["x.png", "y.png"]
    assert manifest["class_names"] == ["road", "sky"]


def test_a_folder_is_new_empty_or_holds_an_earlier_labelling(tmp_path):
    folder = tmp_path / "a" / "labels"
    assert prepare_label_folder(folder) == []
    write_label_png(folder / "x.png", np.zeros((1, 1), np.uint8))
    with pytest.raises(UserError, match=r"not empty \(it holds x.png\)"):
        prepare_label_folder(folder)
    write_manifest(folder, manifest_of(["x", "gone"], [0, 0]))
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


def test_what_selected_is_read_from_the_manifest(tmp_path):
    write_manifest(tmp_path, manifest_of(["x"], [4, 1]))
    probs = np.float32([[[0.4, 0.6], [0.2, 0.8]]])
    assert read_fitted(tmp_path).label(probs).tolist() == FITTED.label(probs).tolist() == [[0, 255]]
    (tmp_path / "manifest.json").write_text('{"kind": "class_balanced"}')
    with pytest.raises(UserError, match=r"manifest\.json does not tell how labels are selected"):
        read_fitted(tmp_path)


def test_a_label_folder_makes_the_folders_of_names_with_slashes(tmp_path):
    writer = LabelFolder(tmp_path / "labels")
    writer.write("rome/a", np.zeros((1, 1), np.uint8))
    writer.finish(manifest_of(["rome/a"], [1, 0]))
    assert (tmp_path / "labels/rome/a.png").exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="Cannot make the folder"):
        LabelFolder(tmp_path / "file").write("rome/a", np.zeros((1, 1), np.uint8))


def test_new_labels_replace_old_ones_only_once_they_are_all_there(tmp_path):
    def files():
        return {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    for name in ("a", "b"):
        write_label_png(tmp_path / f"{name}.png", np.zeros((1, 1), np.uint8))
    write_manifest(tmp_path, manifest_of(["a", "b"], [1, 0]))
    before = files()
    with ReplacedLabels(tmp_path, prepare_label_folder(tmp_path)) as writer:
        writer.write("a", np.ones((1, 1), np.uint8))  # and then something stops it
    assert files() == before
    with ReplacedLabels(tmp_path, prepare_label_folder(tmp_path)) as writer:
        writer.write("a", np.ones((1, 1), np.uint8))
        assert {path.name for path in tmp_path.glob("[!.]*")} == set(before)
        writer.finish(manifest_of(["a"], [0, 1]))
    assert set(files()) == {"a.png", "manifest.json"}
    assert np.asarray(Image.open(tmp_path / "a.png")).tolist() == [[1]]
