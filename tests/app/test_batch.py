"""Many photos, or a video, to a zip; one bad file never stops the rest."""

import csv
import io
import zipfile

import cv2
import numpy as np
import pytest
from PIL import Image

from app.batch import CONTENTS, process
from app.limits import BATCH_PHOTOS
from app.uploads import Upload
from app.video import UploadedVideo
from export.video_reading import read_frames, read_timing
from tests.app.tiny_model import NAMES, painted, street
from training.errors import UserError


def silent(share: float, what: str) -> None:
    assert 0 <= share <= 1
    assert what


def rows_of(archive, name: str) -> list[list[str]]:
    with zipfile.ZipFile(archive) as bundle:
        return list(csv.reader(io.StringIO(bundle.read(name).decode())))


def test_good_files_are_done_and_bad_ones_are_named(model, save, tmp_path):
    (tmp_path / "text.png").write_text("no picture")
    uploads = [
        save("one.png", painted(street())),
        Upload(tmp_path / "text.png", "text.png"),
        Upload(save("two.png", painted(street(200, 100))).path, "one.png"),
    ]
    done = process(model, uploads, tmp_path / "out.zip", CONTENTS, 0.5, silent)
    assert (done.done, len(done.lines), len(done.previews)) == (2, 3, 2)
    assert "text.png is damaged" in done.lines[1].problem
    with zipfile.ZipFile(done.archive) as bundle:
        assert sorted(bundle.namelist()) == sorted(
            [f"{kind}/{stem}" for kind, suffix in (("labels", "png"), ("overlays", "jpg"), ("confidence", "jpg"))
             for stem in (f"one.{suffix}", f"one-2.{suffix}")]
            + ["class_shares.csv", "classes.csv", "problems.txt"]
        )  # fmt: skip
        label = np.asarray(Image.open(bundle.open("labels/one-2.png")))
        assert label.shape == (200, 100)
        assert np.mean(label == street(200, 100)) > 0.97
        assert "text.png" in bundle.read("problems.txt").decode()
    shares = rows_of(done.archive, "class_shares.csv")
    assert shares[0] == ["name", "file", *NAMES]
    assert [row[:2] for row in shares[1:]] == [["one.png", "one"], ["one.png", "one-2"]]
    assert [float(value) for value in shares[1][2:]] == pytest.approx([0.4375, 0, 0.5, 0.0625, 0], abs=3e-4)
    assert rows_of(done.archive, "classes.csv")[4] == ["3", "car", "0", "0", "142"]


def test_a_name_that_a_spreadsheet_would_run_is_quoted(model, save, tmp_path):
    upload = Upload(save("x.png", painted(street())).path, "=HYPERLINK(1).png")
    done = process(model, [upload], tmp_path / "out.zip", ["labels"], 0.5, silent)
    assert rows_of(done.archive, "class_shares.csv")[1][0] == "'=HYPERLINK(1).png"


@pytest.mark.parametrize(
    ("count", "name", "contents", "message"),
    [
        (0, "a.png", ["labels"], "nothing to segment"),
        (BATCH_PHOTOS + 1, "a.png", ["labels"], "too many"),
        (2, "a.mp4", ["labels"], "not several"),
        (1, "a.png", [], "what the zip shall hold"),
        (1, "a.png", ["everything"], "what the zip shall hold"),
        (1, "a.png", ["labels"], "a.png"),
        (1, "a.mp4", ["labels"], "no video"),
    ],
)
def test_what_cannot_be_done_is_told(model, tmp_path, count, name, contents, message):
    (tmp_path / name).write_text("neither a picture nor a video")
    with pytest.raises(UserError, match=message):
        process(model, [Upload(tmp_path / name, name)] * count, tmp_path / "out.zip", contents, 0.5, silent)


@pytest.fixture
def video(tmp_path) -> Upload:
    """Ten frames of the painted street, 130 x 66 pixels."""
    path = tmp_path / "drive.mp4"
    frame = np.ascontiguousarray(painted(street(66, 130))[:, :, ::-1])
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 10.0, (130, 66))
    for _ in range(10):
        writer.write(frame)
    writer.release()
    return Upload(path, "drive.mp4")


def test_a_video_becomes_a_video_and_a_label_per_frame(model, video, tmp_path):
    done = process(model, [video], tmp_path / "out.zip", ["labels", "overlays"], 1.0, silent)
    assert (len(done.lines), done.note) == (10, "")
    assert done.film.stem == "drive_overlay"
    with zipfile.ZipFile(done.archive) as bundle:
        assert {done.film.name, "labels/frame_00000.png", "labels/frame_00009.png"} <= set(bundle.namelist())
        label = np.asarray(Image.open(bundle.open("labels/frame_00003.png")))
        assert bundle.read(done.film.name) == done.film.read_bytes()
    assert label.shape == (66, 130)
    assert np.mean(label == street(66, 130)) > 0.9
    frames = list(read_frames(done.film))
    assert len(frames) == 10
    assert read_timing(done.film).rate == 10
    assert np.abs(frames[5].astype(int) - painted(street(66, 130))).mean() < 20


def test_no_film_is_made_where_overlays_are_not_chosen(model, video, tmp_path):
    done = process(model, [video], tmp_path / "out.zip", ["labels"], 0.5, silent)
    assert done.film is None
    with zipfile.ZipFile(done.archive) as bundle:
        assert not [name for name in bundle.namelist() if "overlay" in name]


@pytest.mark.parametrize(("name", "rate", "told"), [("plain", 25, ""), ("slow1fps", 0.881, "mean rate, 0.8811 frames")])
def test_the_video_keeps_the_rate_of_its_source(model, shared_dir, tmp_path, name, rate, told):
    upload = Upload(shared_dir / "cases/videos" / f"{name}.mp4", f"{name}.mp4")
    done = process(model, [upload], tmp_path / "out.zip", ["overlays"], 0.5, silent)
    assert read_timing(done.film).rate == pytest.approx(rate, abs=1e-3)
    assert told in done.note
    assert bool(told) == bool(done.note)


def test_a_long_video_is_cut_and_that_is_said(model, video, tmp_path, monkeypatch):
    monkeypatch.setattr("app.video.VIDEO_SECONDS", 0.4)
    done = process(model, [video], tmp_path / "out.zip", ["labels"], 0.5, silent)
    assert len(done.lines) == 4
    assert done.note.startswith("Only the first 4 frames")


def test_a_video_that_was_deleted_meanwhile_is_asked_for_again(tmp_path):
    with pytest.raises(UserError, match=r"drive\.mp4 is no longer here"):
        UploadedVideo(Upload(tmp_path / "1.mp4", "drive.mp4"))


def test_a_playlist_that_calls_itself_a_video_is_refused(tmp_path):
    """FFmpeg would follow it to other files."""
    (tmp_path / "list.mp4").write_text("#EXTM3U\n#EXTINF:1,\n/etc/passwd\n")
    with pytest.raises(UserError, match="no video"):
        UploadedVideo(Upload(tmp_path / "list.mp4", "list.mp4"))
