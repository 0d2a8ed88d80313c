"""The command line of inference: one bad file does not stop the rest."""

import csv
import json
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from PIL import Image

from export import video_reading
from export.predict import found_files, main, named
from export.progress import Progress
from export.results import RAW, Results, ShareTable, save
from export.segmenter import OnnxSegmenter
from export.video import segment_video
from export.video_reading import read_frames
from export.video_writing import video_encoder
from tests.export.some_metadata import some_metadata
from training.data.classes import load_label_space
from training.data.photo_files import pillow_heif
from training.data.readers import own_id_decoder
from training.errors import UserError


def predict(report, *arguments) -> int:
    return main(["--model", str(report.path), "--device", "cpu", *map(str, arguments)])


def test_a_folder_with_a_bad_file(report, photos, segmenter, streets, tmp_path, capsys):
    out = tmp_path / "out"
    wanted = ("--overlay", "0.4", "--labels", "--confidence", "--pseudo-labels")
    assert predict(report, "--images", photos, "--out", out, *wanted) == 1
    said = capsys.readouterr()
    assert "broken.png is damaged or no image" in said.err
    assert "3 files done" in said.out
    for name, picture in zip(("a", "b", "deeper/c"), streets, strict=True):
        expected = segmenter(photos / f"{name}{'.jpg' if name == 'b' else '.png'}")
        np.testing.assert_array_equal(np.array(Image.open(out / "labels" / f"{name}.png")), expected.labels)
        certainty = np.array(Image.open(out / "confidence" / f"{name}.png"))
        np.testing.assert_allclose(certainty / 255, expected.confidence, atol=0.003)
        overlay = np.array(Image.open(out / "overlays" / f"{name}.jpg")).astype(int)
        assert np.abs(overlay - expected.overlay(0.4)).mean() < 8  # JPEG
        kept = np.array(Image.open(out / "pseudo_labels" / f"{name}.png"))
        assert kept.shape == picture.shape[:2]
        assert 0 < np.mean(kept != 255) < 1
    manifest = json.loads((out / "pseudo_labels" / "manifest.json").read_text())
    assert manifest["files"] == ["a.png", "b.png", "deeper/c.png"]
    assert manifest["selector"] == "cbst_sp"
    assert sum(manifest["pixels"]) == 3 * 64 * 128


@pytest.mark.parametrize("classes", ["cityscapes19_ids", "camvid32", "yard"])
def test_labels_to_correct_are_read_in_the_same_label_space(tmp_path, classes):
    """Class ids of such a space would be other classes, or ignored, in `--eval-root` and `evaluate.py`."""
    (tmp_path / "yard.json").write_text(
        '{"names": ["ground", "crane", "person"], "raw_ids": {"0": 255, "7": 0, "8": 0, "900": 1, "24": 2}}'
    )
    space = load_label_space(str(tmp_path / "yard.json") if classes == "yard" else classes)
    read = [i for i in range(space.count) if i in space.raw_ids.values()]
    labels = np.array([read, read[::-1]], np.uint8)
    model = SimpleNamespace(metadata=some_metadata(space.names, file_ids=space.file_ids), path="model.onnx")
    arguments = SimpleNamespace(out=tmp_path, overlay=None, labels=RAW, confidence=False, pseudo_labels=False)
    Results.wanted(arguments, model).write_maps("a", SimpleNamespace(labels=labels))
    np.testing.assert_array_equal(own_id_decoder(space).read(tmp_path / "labels" / "a.png"), labels)


def test_an_earlier_export_does_not_know_the_numbers_of_label_files(tmp_path):
    model = SimpleNamespace(metadata=some_metadata(("road",)), path="model.onnx")
    arguments = SimpleNamespace(out=tmp_path, overlay=None, labels=RAW, confidence=False, pseudo_labels=False)
    with pytest.raises(UserError, match="not hold the numbers of its label files: export the run again"):
        Results.wanted(arguments, model)


def test_old_and_new_pseudo_labels_do_not_mix(report, photos, tmp_path, capsys):
    (tmp_path / "pseudo_labels").mkdir()
    (tmp_path / "pseudo_labels" / "old.png").touch()
    assert predict(report, "--images", photos, "--out", tmp_path, "--pseudo-labels") == 2
    assert "old and new labels do not mix" in capsys.readouterr().err


def test_a_picture_that_its_format_cannot_hold_is_told():
    with pytest.raises(UserError, match="JPEG cannot hold 70000 x 1 pixels"):
        save(Image.new("RGB", (70_000, 1)), Path("overlays") / "wide.jpg")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here, a file on a full disk")
def test_a_full_disk_is_told_in_one_sentence(tmp_path):
    (tmp_path / "class_shares.csv").symlink_to("/dev/full")
    told = r"class_shares\.csv \(No space left on device\): free space"
    with pytest.raises(UserError, match=told), ShareTable(tmp_path, ("road",)):
        pass


def test_the_table_of_class_shares(report, photos, segmenter, tmp_path):
    predict(report, "--images", photos / "*.png", "--out", tmp_path)
    with open(tmp_path / "class_shares.csv", newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["file"] == str(photos / "a.png")
    assert (row["height"], row["width"]) == ("64", "128")
    for name, share in segmenter(photos / "a.png").class_shares().items():
        assert float(row[name]) == pytest.approx(share, abs=1e-5)
    assert (tmp_path / "overlays" / "a.jpg").is_file()  # what is written when nothing is asked for


def test_a_second_run_does_not_read_the_first_ones_results(report, photos, tmp_path, capsys):
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    Image.open(photos / "a.png").save(pictures / "a.png")
    for _ in range(2):
        assert predict(report, "--images", pictures, "--out", pictures / "out", "--labels") == 0
        assert capsys.readouterr().out.startswith("1 file on the CPU")


def test_names_are_unique_and_short_where_they_can_be(tmp_path):
    assert list(named([tmp_path / "a.png", tmp_path / "sub" / "a.png"])) == ["a", "sub/a"]
    assert list(named([tmp_path / "a.png", tmp_path / "a.jpg"])) == ["a.png", "a.jpg"]
    assert list(named([tmp_path / "sub" / "a.png"])) == ["a"]
    assert list(named([tmp_path / "IMG_1.JPG", tmp_path / "img_1.png"])) == ["IMG_1.JPG", "img_1.png"]
    frame = tmp_path / "clip" / "000001.png"  # where the first frame's label of clip.mp4 would go
    assert list(named([tmp_path / "clip.mp4", frame])) == ["clip.mp4", "clip/000001.png"]


def test_files_on_several_drives_are_refused(tmp_path, monkeypatch):
    def commonpath(paths):
        raise ValueError("Paths don't have the same drive")

    monkeypatch.setattr("os.path.commonpath", commonpath)
    with pytest.raises(UserError, match="several drives"):
        named([tmp_path / "a.png"])


def test_results_may_go_above_the_pictures(photos, tmp_path):
    inside = tmp_path / "list.txt"
    inside.write_text(f"{photos}\n")
    for place in (photos, photos / "*", inside):
        assert {file.name for file in found_files(str(place), photos.parent)} >= {"a.png", "b.jpg"}


def test_maps_are_written_where_jpeg_cannot_hold_the_overlay(tmp_path):
    wide = np.zeros((1, 66_000), np.uint8)
    there = SimpleNamespace(labels=wide, overlay=lambda opacity: np.repeat(wide[:, :, None], 3, axis=2))
    with pytest.raises(UserError, match="JPEG cannot hold"):
        Results(tmp_path, 0.5, labels=True, confidence=False, pseudo_labels=None).write("wide", there)
    assert Image.open(tmp_path / "labels" / "wide.png").width == 66_000


def test_a_video_without_a_frame_that_can_be_decoded_is_one_sentence(clip, tmp_path, monkeypatch):
    monkeypatch.setattr("export.video.read_frames", lambda file: iter(()))
    results = Results(tmp_path, None, labels=True, confidence=False, pseudo_labels=None)
    with pytest.raises(UserError, match=r"clip\.mp4 holds no frame that can be read: convert"):
        segment_video(SimpleNamespace(names=()), clip, "clip", results, Progress(1))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--images", "{photos}/none.png", "--out", "{out}"), "names no picture or video"),
        (("--images", "{photos}", "--out", "{photos}"), "choose another"),
        (("--images", "{photos}", "--out", "{photos}/a.png"), "Cannot make the folder"),
        (("--images", "{photos}", "--out", "{out}", "--overlay", "7"), "--overlay 7: expected 0"),
        (("--images", "{photos}", "--out", "{out}", "--model", "{out}/no.onnx"), "no model at"),
    ],
)
def test_mistakes_are_one_sentence_and_status_2(report, photos, tmp_path, capsys, arguments, words):
    filled = [argument.format(photos=photos, out=tmp_path / "out") for argument in arguments]
    assert predict(report, *filled) == 2
    error = capsys.readouterr().err
    assert words in error
    assert len(error.strip().splitlines()) == 1


def test_pseudo_labels_need_thresholds(report, photos, tmp_path, capsys, monkeypatch):
    from dataclasses import replace

    opened = OnnxSegmenter.__init__

    def without_selection(self, *arguments, **keywords):
        opened(self, *arguments, **keywords)
        self.metadata = replace(self.metadata, selection=None)

    monkeypatch.setattr(OnnxSegmenter, "__init__", without_selection)
    assert predict(report, "--images", photos, "--out", tmp_path, "--pseudo-labels") == 2
    assert "has no thresholds" in capsys.readouterr().err


@pytest.fixture
def clip(streets, tmp_path):
    path = tmp_path / "clip.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 5, (128, 64))
    for picture in streets:
        writer.write(np.ascontiguousarray(picture[:, :, ::-1]))
    writer.release()
    return path


def test_a_video_in_and_out(report, clip, tmp_path, capsys):
    assert predict(report, "--images", clip, "--out", tmp_path / "out") == 0
    (made,) = (tmp_path / "out" / "overlays").iterdir()
    assert (made.stem, made.suffix) == ("clip", video_encoder().suffix)
    assert cv2.VideoCapture(str(made)).get(cv2.CAP_PROP_FPS) == 5
    assert [frame.shape for frame in read_frames(made)] == [(64, 128, 3)] * 3
    table = (tmp_path / "out" / "class_shares.csv").read_text().splitlines()
    assert table[1].startswith(f"{clip},64,128,")
    assert "Variable" not in capsys.readouterr().out


def test_the_maps_of_a_video_are_one_per_frame(report, clip, segmenter, tmp_path):
    out = tmp_path / "out"
    assert predict(report, "--images", clip, "--out", out, "--labels", "--confidence", "--pseudo-labels") == 0
    names = [f"{number:06d}.png" for number in (1, 2, 3)]
    for kind in ("labels", "confidence", "pseudo_labels"):
        assert sorted(path.name for path in (out / kind / "clip").iterdir()) == names
    assert not (out / "overlays").exists()  # as with pictures, where something else is asked for
    for name, frame in zip(names, read_frames(clip), strict=True):
        np.testing.assert_array_equal(np.array(Image.open(out / "labels" / "clip" / name)), segmenter(frame).labels)
    manifest = json.loads((out / "pseudo_labels" / "manifest.json").read_text())
    assert manifest["files"] == [f"clip/{name}" for name in names]
    assert sum(manifest["pixels"]) == 3 * 64 * 128


def test_the_rate_of_a_slow_video_stays_and_that_it_is_a_mean_is_told(report, shared_dir, tmp_path, capsys):
    file = shared_dir / "cases/videos/slow1fps.mp4"
    assert predict(report, "--images", file, "--out", tmp_path, "--overlay", "--labels") == 0
    (made,) = (tmp_path / "overlays").iterdir()
    assert cv2.VideoCapture(str(made)).get(cv2.CAP_PROP_FPS) == pytest.approx(0.881, abs=1e-3)
    assert len(list((tmp_path / "labels" / "slow1fps").iterdir())) == 4
    assert "slow1fps.mp4: Variable frame rate: the result has the mean rate, 0.8811" in capsys.readouterr().out


def test_a_damaged_video_and_a_missing_opencv_do_not_stop_pictures(report, photos, tmp_path, capsys, monkeypatch):
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    Image.open(photos / "a.png").save(pictures / "a.png")
    (pictures / "b.mp4").write_text("no video")
    assert predict(report, "--images", pictures, "--out", tmp_path / "out") == 1
    assert "b.mp4 is damaged or no video" in capsys.readouterr().err

    def missing():
        raise UserError("Videos need OpenCV")

    monkeypatch.setattr(video_reading, "opencv", missing)
    assert predict(report, "--images", pictures, "--out", tmp_path / "out") == 1
    assert "Videos need OpenCV" in capsys.readouterr().err
    assert (tmp_path / "out" / "overlays" / "a.jpg").is_file()


def test_what_systems_leave_among_photos_is_not_tried(report, photos, tmp_path, capsys):
    pictures = tmp_path / "pictures"
    for name in ("p.jpg", "._p.jpg", ".thumbnails/t.jpg", "__MACOSX/m.jpg", "p.jpg.part", "q.HEIC"):
        (pictures / name).parent.mkdir(parents=True, exist_ok=True)
        (pictures / name).write_bytes(b"\x00\x05\x16\x07")
    Image.open(photos / "a.png").save(pictures / "p.jpg")
    for asked, out in ((pictures, "folder"), (pictures / "*", "pattern")):
        assert predict(report, "--images", asked, "--out", tmp_path / out, "--labels") == 0
        said = capsys.readouterr().out
        assert "1 file done" in said
        assert "1 .part (p.jpg.part)" in said
        assert "q.HEIC" in said


def test_labels_and_earlier_results_among_the_pictures_are_left_out(report, photos, tmp_path, capsys):
    place, names = tmp_path / "place", ("images/p.jpg", "images/q.png", "labels/p.png", "legend.png", "run/panel.png")
    for name in names:
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        Image.open(photos / "a.png").save(place / name)
    for name in ("recipe.json", "state.json"):
        (place / "run" / name).write_text("{}")
    (tmp_path / "list.txt").write_text("place/images\nplace/images/p.jpg\n")
    asked = (place, place / "*/*", tmp_path / "list.txt", place / "imag*")
    for number, each in enumerate(asked):
        out = tmp_path / f"out{number}"
        assert predict(report, "--images", each, "--out", out, "--labels", "--confidence") == 0
        assert "2 files done" in (said := capsys.readouterr().out)
        assert ("labels, beside images/" in said) == (number < 2)
        assert len(list(out.glob("labels/**/*.png"))) == 2
    assert predict(report, "--images", tmp_path, "--out", tmp_path / "all") == 0
    said = capsys.readouterr().out
    assert "2 files done" in said
    assert said.count("results of this program") == 6
    assert "and in 5 more folders" in said
    assert predict(report, "--images", tmp_path / "out0", "--out", tmp_path / "none") == 2
    assert "results of this program" in capsys.readouterr().err


def test_a_list_that_names_nothing_is_refused(report, tmp_path, capsys):
    (tmp_path / "list.txt").write_text("none.jpg\n")
    assert predict(report, "--images", tmp_path / "list.txt", "--out", tmp_path / "out") == 2
    assert "line 1: none.jpg" in capsys.readouterr().err


def test_a_heic_is_called_one(report, shared_dir, tmp_path, capsys):
    if pillow_heif is not None:
        pytest.skip("pillow-heif is installed: HEIC is read")
    place = shared_dir / "cases" / "realheic"
    assert predict(report, "--images", place, "--out", tmp_path) == 2
    assert predict(report, "--images", place / "IMG_0001.HEIC", "--out", tmp_path) == 1
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 2
    for sentence in errors:
        assert "HEIC" in sentence
        assert "pip install pillow-heif" in sentence


def test_narrow_16_bit_photos_are_seen_as_in_training(report, tmp_path, capsys):
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    values = np.linspace(7200, 8220, 64 * 128).reshape(64, 128).astype(np.uint16)
    for index in range(2):
        Image.fromarray(values + np.uint16(400 * index)).save(pictures / f"{index}.png")
    assert predict(report, "--images", pictures, "--out", tmp_path / "out", "--overlay", "0") == 0
    assert "16-bit photos" in capsys.readouterr().out
    shown = [np.array(Image.open(tmp_path / "out" / "overlays" / f"{index}.jpg")).mean() for index in range(2)]
    assert shown[1] - shown[0] > 40  # one range for both
    known = OnnxSegmenter(report.path)
    known.sixteen_bit_range = (7200, 8220)
    stretched = known(pictures / "0.png").image
    assert (stretched.min(), stretched.max()) == (0, 255)
