"""Many photos, or one short video, to a zip. One bad file never stops the rest."""

import contextlib
import csv
import io
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from app.drawing import certainty_map, jpeg, label_png
from app.limits import BATCH_PHOTOS
from app.loaded_model import LoadedModel
from app.segmenting import Segmented, segment
from app.uploads import Photo, Upload, range_for, read_photo, unique_stems
from app.video import UploadedVideo, is_video
from export.video_writing import VideoWriter
from training.data.picture_pixels import range_sentence
from training.errors import UserError

PREVIEWS = 8
CONTENTS = ("labels", "overlays", "confidence")
Report = Callable[[float, str], None]  # (share done, what is being done)


@dataclass(frozen=True)
class Line:
    """What became of one file: the shares of its classes by id and what is to be told of it, or the sentence that says
    what is wrong with it. stem: what its results in the zip are called, without their endings."""

    name: str
    stem: str
    shares: tuple[tuple[int, float], ...] = ()
    problem: str = ""
    note: str = ""


@dataclass(frozen=True)
class Batch:
    """lines: one per file, in order (of a video: one per frame). previews: (JPEG, name) of the first overlays.

    film: the video of overlays, which is in the zip too, where one was made. note: what is to be told of a video.
    """

    lines: tuple[Line, ...]
    archive: Path
    previews: tuple[tuple[bytes, str], ...]
    film: Path | None = None
    note: str = ""

    @property
    def done(self) -> int:
        return sum(not line.problem for line in self.lines)


def process(
    model: LoadedModel,
    uploads: Sequence[Upload],
    archive: Path,
    contents: Sequence[str],
    opacity: float,
    report: Report,
) -> Batch:
    """Segment every file and write `archive`: labels/, overlays/ and confidence/ as chosen in `contents`,
    class_shares.csv, classes.csv and, if a file failed, problems.txt.

    Raises:
        UserError: nothing to do, too much of it, photos mixed with a video, or not one file that could be read.
    """
    _check(uploads, contents)
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as bundle:  # pictures are compressed already
        work = _Work(model, bundle, frozenset(contents), opacity, report)
        if is_video(uploads[0].name):
            film, note = work.video(uploads[0], archive.parent)
        else:
            film, note = None, work.photos(uploads)
        bundle.writestr("class_shares.csv", _shares_csv(work.lines, model))
        bundle.writestr("classes.csv", _classes_csv(model))
        problems = [f"{line.problem}\n" for line in work.lines if line.problem]
        if problems:
            bundle.writestr("problems.txt", "".join(problems))
    batch = Batch(tuple(work.lines), archive, tuple(work.previews), film, note)
    if batch.done == 0:
        raise UserError(batch.lines[0].problem if len(batch.lines) == 1 else _none_readable(batch))
    return batch


def _none_readable(batch: Batch) -> str:
    return f"None of the {len(batch.lines)} files is a photo this page can read; the first: {batch.lines[0].problem}"


def _check(uploads: Sequence[Upload], contents: Sequence[str]) -> None:
    if not uploads:
        raise UserError("There is nothing to segment: upload photos or one short video.")
    if len(uploads) > BATCH_PHOTOS:
        raise UserError(f"{len(uploads)} files are too many at once: upload at most {BATCH_PHOTOS}.")
    if len(uploads) > 1 and any(is_video(upload.name) for upload in uploads):
        raise UserError("Upload either photos or one video, not both and not several videos.")
    unknown = [choice for choice in contents if choice not in CONTENTS]
    if unknown or not contents:
        raise UserError(f"Choose what the zip shall hold: {', '.join(CONTENTS)}.")


class _Work:
    """Fills the zip, file after file; keeps a line for each and the first previews."""

    def __init__(self, model, bundle: zipfile.ZipFile, contents: frozenset[str], opacity: float, report: Report):
        self.model, self.bundle, self.contents, self.opacity, self.report = model, bundle, contents, opacity, report
        self.lines: list[Line] = []
        self.previews: list[tuple[bytes, str]] = []

    def photos(self, uploads: Sequence[Upload]) -> str:
        """All photos; what is to be told of them together."""
        stems = unique_stems(upload.name for upload in uploads)
        known = self.model.metadata.sixteen_bit_range
        limits = range_for(known, uploads)
        for number, (upload, stem) in enumerate(zip(uploads, stems, strict=True), start=1):
            self.report((number - 1) / len(uploads), f"photo {number} of {len(uploads)}")
            try:
                result = segment(self.model, read_photo(upload, sixteen_bit_range=limits))
            except UserError as error:
                self.lines.append(Line(upload.name, stem, problem=str(error)))
                continue
            overlaid = self._add(result, stem)
            self.lines.append(Line(upload.name, stem, result.shares, note=result.photo.note))
            if len(self.previews) < PREVIEWS:
                self.previews.append((overlaid, upload.name))
        return "" if limits == known else range_sentence("these uploads", limits)

    def video(self, upload: Upload, folder: Path) -> tuple[Path | None, str]:
        """The video of overlays in `folder`, or None if they were not chosen, and what is to be told of it."""
        video, stem = UploadedVideo(upload), unique_stems([upload.name])[0]
        total = video.timing.frames
        wanted = "overlays" in self.contents
        writer = VideoWriter(folder, f"{stem}_overlay", video.timing.rate) if wanted else None
        with writer or contextlib.nullcontext():
            for number, frame in enumerate(video.frames()):
                self.report(number / total, f"frame {number + 1} of {total}")
                result = segment(self.model, Photo(stem, frame, video.own_size))
                self._add_frame(result, f"frame_{number:05d}", writer)
        if not self.lines:
            raise UserError(f"{upload.name} holds no frame that can be read: record or convert the video again.")
        if writer is None:
            return None, video.cut_note
        self.bundle.write(writer.path, writer.path.name)
        return writer.path, f"{video.cut_note} {video.timing.note}".strip()

    def _add_frame(self, result: Segmented, name: str, writer: VideoWriter | None) -> None:
        picture = result.segmentation.overlay(self.opacity)
        if writer is not None:
            writer.add(picture)
        self._add_maps(result, name)
        if len(self.previews) < PREVIEWS and len(self.lines) % 30 == 0:
            self.previews.append((jpeg(picture), name))
        self.lines.append(Line(name, name, result.shares))

    def _add(self, result: Segmented, stem: str) -> bytes:
        """Add what was chosen of one photo; its overlay as JPEG."""
        overlaid = jpeg(result.segmentation.overlay(self.opacity))
        if "overlays" in self.contents:
            self.bundle.writestr(f"overlays/{stem}.jpg", overlaid)
        self._add_maps(result, stem)
        return overlaid

    def _add_maps(self, result: Segmented, stem: str) -> None:
        if "labels" in self.contents:
            self.bundle.writestr(f"labels/{stem}.png", label_png(result.segmentation.labels, result.photo.own_size))
        if "confidence" in self.contents:
            self.bundle.writestr(f"confidence/{stem}.jpg", jpeg(certainty_map(result.segmentation.confidence)))


def _shares_csv(lines: Sequence[Line], model: LoadedModel) -> str:
    text = io.StringIO()
    table = csv.writer(text)
    table.writerow(["name", "file", *model.space.names])
    for line in lines:
        if not line.problem:
            shares = dict(line.shares)
            by_class = (f"{shares.get(class_id, 0.0):.6f}" for class_id in range(model.space.count))
            table.writerow([_not_a_formula(line.name), _not_a_formula(line.stem), *by_class])
    return text.getvalue()


def _not_a_formula(name: str) -> str:
    """Spreadsheets run what begins like a formula."""
    return f"'{name}" if name[:1] in "=+-@" else name


def _classes_csv(model: LoadedModel) -> str:
    text = io.StringIO()
    table = csv.writer(text)
    table.writerow(["id", "name", "red", "green", "blue"])
    for class_id, (name, colour) in enumerate(zip(model.space.names, model.space.colors, strict=True)):
        table.writerow([class_id, name, *colour])
    return text.getvalue()
