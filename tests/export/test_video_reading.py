"""The rate of a video is what its frames' times say; its own claim counts where it fits them."""

import shutil
import subprocess

import numpy as np
import pytest

from export.video_reading import USUAL_RATE, mean_rate, read_frames, read_timing


def test_an_even_video_keeps_its_rate():
    assert mean_rate(np.arange(10) / 30, 30.0) == (30.0, False)
    in_milliseconds = np.round(np.arange(600) * 1001 / 30) / 1000  # as WebM keeps times
    assert mean_rate(in_milliseconds, 30000 / 1001) == (30000 / 1001, False)


def test_a_claim_that_the_times_contradict_is_not_believed():
    """Browsers' recordings claim 1000 frames per second, and some containers the rate of their first frames."""
    assert mean_rate(np.arange(61) / 30, 1000.0) == (pytest.approx(30.0), False)
    assert mean_rate(np.arange(61) / 30, 0.0) == (pytest.approx(30.0), False)
    uneven = np.concatenate([np.arange(30) / 30, 1 + np.arange(10)])
    assert mean_rate(uneven, 30.0) == (pytest.approx(39 / 10), True)


def test_the_time_that_the_last_frame_is_shown_counts():
    """Four frames in 4.54 seconds, the last of them for 0.04 seconds."""
    rate, variable = mean_rate(np.arange(4) * 1.5, 4 / 4.54)
    assert rate == pytest.approx(4 / 4.54)
    assert variable


@pytest.mark.parametrize(("times", "claimed", "rate"), [([], 0, USUAL_RATE), ([0], 12, 12), ([0, 0], 9e4, USUAL_RATE)])
def test_without_times_there_is_the_claim_or_the_usual_rate(times, claimed, rate):
    assert mean_rate(np.array(times, float), claimed) == (rate, False)


def test_real_files(shared_dir):
    plain = read_timing(shared_dir / "cases/videos/plain.mp4")
    assert (plain.frames, plain.more, plain.rate, plain.note) == (25, False, 25.0, "")
    slow = read_timing(shared_dir / "cases/videos/slow1fps.mp4")
    assert (slow.frames, slow.rate) == (4, pytest.approx(0.881, abs=1e-3))
    assert "0.8811 frames per second" in slow.note


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "webm"])
def test_a_variable_rate_is_measured_over_all_frames(tmp_path, suffix):
    """Three seconds at 30 frames per second and three at 3; Matroska claims 30 for all of it."""
    if shutil.which("ffmpeg") is None:
        pytest.skip("no FFmpeg, which makes the video: apt-get install -y ffmpeg")
    file = tmp_path / f"variable.{suffix}"
    source = ["-f", "lavfi", "-i", "testsrc=size=160x90:rate=30:duration=6"]
    thinned = ["-vf", "select='if(lt(t,3),1,not(mod(n,10)))'", "-vsync", "vfr"]
    done = subprocess.run(["ffmpeg", "-v", "error", *source, *thinned, str(file)], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"this FFmpeg cannot make the video: {done.stderr}")
    timing = read_timing(file)
    assert timing.frames == len(list(read_frames(file))) == 99
    assert timing.rate == pytest.approx(98 / (170 / 30), rel=0.01)
    assert timing.variable
    assert read_timing(file, frames=60).rate == pytest.approx(30.0, rel=0.01)
    first = read_timing(file, seconds=1.0)
    assert (first.frames, first.more) == (30, True)
