"""Videos that browsers play: H.264 in MP4 where an encoder is there, else VP8 or VP9 in WebM, which OpenCV writes.

Browsers do not play the MPEG-4 Part 2 (mp4v) that OpenCV writes by default.
"""

import contextlib
import functools
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from export.video_reading import opencv, read_frames
from training.errors import UserError

_stderr_lock = threading.Lock()


@dataclass(frozen=True)
class Encoder:
    """One way to write videos: `program` is an FFmpeg and `codec` its encoder, or "" for OpenCV and a FourCC."""

    suffix: str
    codec: str
    program: str = ""
    options: tuple[str, ...] = ()

    def open(self, path: Path, size: tuple[int, int], rate: float) -> "_Ffmpeg | _OpenCv":
        """Begin a video of frames of `size` (height, width), both even, at `rate` per second."""
        return _Ffmpeg(self, path, size, rate) if self.program else _OpenCv(self, path, size, rate)


# At equal error VP8 takes a fifth of the processor time that OpenCV's VP9 takes.
OPENCV_ENCODERS = (Encoder(".mp4", "avc1"), Encoder(".webm", "VP80"), Encoder(".webm", "VP90"))
X264_OPTIONS = ("-preset", "veryfast", "-crf", "20")
OPENH264_OPTIONS = ("-b:v", "8M")


def video_encoder() -> Encoder:
    """The best encoder that works here.

    Raises:
        UserError: there is none.
    """
    return _first_working(shutil.which("ffmpeg") or "")


@functools.cache
def _first_working(ffmpeg: str) -> Encoder:
    programs = (
        Encoder(".mp4", "libx264", ffmpeg, X264_OPTIONS),
        Encoder(".mp4", "libopenh264", ffmpeg, OPENH264_OPTIONS),
    )
    for encoder in (*(programs if ffmpeg else ()), *OPENCV_ENCODERS):
        if _works(encoder):
            return encoder
    raise UserError(
        "No encoder for videos is here: install FFmpeg with libx264, or 'pip install opencv-python-headless', whose "
        "packages write WebM."
    )


def _works(encoder: Encoder) -> bool:
    """Whether a video of a few grey frames can be written and read again."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"probe{encoder.suffix}")
        try:
            sink = encoder.open(path, (144, 256), 25.0)
            for level in range(0, 200, 25):
                sink.write(np.full((144, 256, 3), level, np.uint8))
            sink.close()
        except UserError:
            return False
        return path.is_file() and next(read_frames(path), None) is not None


class VideoWriter:
    """A video of RGB frames of one size: `with VideoWriter(folder, name, rate) as video: video.add(frame)`.

    It is written whole or not at all, to `path`, whose suffix the encoder decides. Sides of an odd length, which codecs
    do not take, get one more row or column. Without a frame there is no file.
    """

    def __init__(self, folder: Path, name: str, rate: float):
        self.encoder, self.rate = video_encoder(), rate
        self.path = folder / f"{name}{self.encoder.suffix}"
        self._partial = folder / f".{name}{self.encoder.suffix}"
        self._sink: _Ffmpeg | _OpenCv | None = None

    def add(self, frame: np.ndarray) -> None:
        """Write one frame, uint8 [h, w, 3]; UserError where it cannot be written."""
        even = np.pad(frame, ((0, frame.shape[0] % 2), (0, frame.shape[1] % 2), (0, 0)), mode="edge")
        if self._sink is None:
            self._sink = self.encoder.open(self._partial, even.shape[:2], self.rate)
        self._sink.write(even)

    def __enter__(self) -> "VideoWriter":
        return self

    def __exit__(self, kind, *exception) -> None:
        try:
            if self._sink is not None:
                self._sink.close(whole=kind is None)
                if kind is None:
                    self._partial.replace(self.path)
        except OSError as error:
            raise UserError(f"Cannot write {self.path} ({error.strerror or error}): choose another folder.") from error
        finally:
            self._partial.unlink(missing_ok=True)


class _Ffmpeg:
    """Frames through a pipe to the FFmpeg program."""

    def __init__(self, encoder: Encoder, path: Path, size: tuple[int, int], rate: float):
        self.path = path
        # A file, because a pipe that nobody reads would fill up and stop FFmpeg.
        self._complaints = tempfile.TemporaryFile()  # noqa: SIM115
        shape = ("-pix_fmt", "rgb24", "-s", f"{size[1]}x{size[0]}", "-r", f"{rate:.6f}")
        made = ("-c:v", encoder.codec, *encoder.options, "-pix_fmt", "yuv420p", "-movflags", "+faststart")
        command = (encoder.program, "-v", "error", "-y", "-f", "rawvideo", *shape, "-i", "pipe:0", *made, _plain(path))
        try:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=self._complaints
            )
        except OSError as error:
            raise _unwritable(path, str(error)) from error

    def write(self, frame: np.ndarray) -> None:
        try:
            self._process.stdin.write(np.ascontiguousarray(frame).data)
        except OSError as error:  # FFmpeg is gone
            self._process.wait()
            raise _unwritable(self.path, self._last_complaint()) from error

    def close(self, whole: bool = True) -> None:
        if not whole:
            self._process.kill()
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        status = self._process.wait()
        complaint = self._last_complaint()
        self._complaints.close()
        if whole and status != 0:
            raise _unwritable(self.path, complaint)

    def _last_complaint(self) -> str:
        self._complaints.seek(0)
        lines = self._complaints.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else "FFmpeg stopped"


class _OpenCv:
    """OpenCV's own writer, which does not say when a disk is full."""

    def __init__(self, encoder: Encoder, path: Path, size: tuple[int, int], rate: float):
        self.path, cv2 = path, opencv()
        with _silent_stderr():
            self._writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*encoder.codec), rate, size[::-1])
        if not self._writer.isOpened():
            raise _unwritable(path, f"OpenCV cannot begin a video of {encoder.codec}")

    def write(self, frame: np.ndarray) -> None:
        self._writer.write(np.ascontiguousarray(frame[:, :, ::-1]))

    def close(self, whole: bool = True) -> None:
        self._writer.release()
        if whole and not (self.path.is_file() and self.path.stat().st_size):
            raise _unwritable(self.path, "nothing was written")


def _plain(path: Path) -> str:
    """The path such that FFmpeg cannot take it for an option or an address."""
    return f"file:{path}"


def _unwritable(path: Path, reason: str) -> UserError:
    return UserError(
        f"The video {path} cannot be written ({reason}): look for space on the disk, or choose another folder."
    )


@contextlib.contextmanager
def _silent_stderr() -> Iterator[None]:
    """OpenCV writes to the process's stderr, past Python, which codecs it tries: nothing that a user can act on."""
    with _stderr_lock, open(os.devnull, "wb") as nothing:
        sys.stderr.flush()
        kept = os.dup(2)
        os.dup2(nothing.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
