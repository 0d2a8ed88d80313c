"""Videos that browsers play, with FFmpeg and without."""

import shutil

import cv2
import numpy as np
import pytest

from export import video_writing
from export.video_reading import read_frames
from export.video_writing import VideoWriter, video_encoder
from training.errors import UserError

PLAYED_BY_BROWSERS = {".mp4": ("h264", "avc1"), ".webm": ("VP80", "VP90")}


@pytest.fixture(params=["ffmpeg", "opencv"])
def encoder(request, monkeypatch):
    """The choice with and without an FFmpeg on the PATH."""
    found = shutil.which("ffmpeg")
    if request.param == "ffmpeg" and found is None:
        pytest.skip("no FFmpeg: apt-get install -y ffmpeg")
    monkeypatch.setattr(video_writing.shutil, "which", lambda name: found if request.param == "ffmpeg" else None)
    return video_encoder()


def grey_frames(count: int, shape: tuple[int, int]) -> list[np.ndarray]:
    return [np.full((*shape, 3), 20 * number, np.uint8) for number in range(count)]


@pytest.mark.parametrize("rate", [0.881, 25.0])
def test_frames_and_rate_come_back_from_a_codec_of_browsers(encoder, tmp_path, rate):
    frames = grey_frames(8, (66, 130))
    with VideoWriter(tmp_path, "drive.2024", rate) as writer:
        for frame in frames:
            writer.add(frame)
    assert [path.name for path in tmp_path.iterdir()] == [f"drive.2024{encoder.suffix}"]
    video = cv2.VideoCapture(str(writer.path))
    assert video.get(cv2.CAP_PROP_FPS) == pytest.approx(rate, rel=1e-3)
    codec = int(video.get(cv2.CAP_PROP_FOURCC)).to_bytes(4, "little").decode()
    assert codec in PLAYED_BY_BROWSERS[encoder.suffix]
    read = list(read_frames(writer.path))
    assert len(read) == 8
    for frame, again in zip(frames, read, strict=True):
        assert np.abs(frame.astype(int) - again).mean() < 4


def test_an_odd_size_gets_one_more_row_and_column(encoder, tmp_path):
    with VideoWriter(tmp_path, "odd", 5) as writer:
        for frame in grey_frames(3, (67, 131)):
            writer.add(frame)
    assert [frame.shape for frame in read_frames(writer.path)] == [(68, 132, 3)] * 3


def test_what_is_stopped_midway_leaves_no_file(encoder, tmp_path):
    def stopped() -> None:
        with VideoWriter(tmp_path, "stopped", 5) as writer:
            writer.add(grey_frames(2, (64, 64))[1])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_to_is_told(encoder, tmp_path):
    def write() -> None:
        with VideoWriter(tmp_path / "missing", "film", 5) as writer:
            writer.add(np.zeros((64, 64, 3), np.uint8))

    with pytest.raises(UserError, match="cannot be written"):
        write()


def test_a_name_that_is_taken_by_a_folder_is_told(encoder, tmp_path):
    def write() -> None:
        with VideoWriter(tmp_path, "film", 5) as writer:
            writer.path.mkdir()
            writer.add(np.zeros((64, 64, 3), np.uint8))

    with pytest.raises(UserError, match=r"Cannot write .*film\."):
        write()


def test_without_any_encoder_it_is_told_what_to_install(monkeypatch):
    monkeypatch.setattr(video_writing, "OPENCV_ENCODERS", ())
    monkeypatch.setattr(video_writing.shutil, "which", lambda name: None)
    video_writing._first_working.cache_clear()
    try:
        with pytest.raises(UserError, match="install FFmpeg"):
            video_encoder()
    finally:
        video_writing._first_working.cache_clear()


def test_the_search_for_an_encoder_says_nothing(monkeypatch, capfd):
    monkeypatch.setattr(video_writing.shutil, "which", lambda name: None)
    video_writing._first_working.cache_clear()
    video_encoder()
    assert capfd.readouterr().err == ""
