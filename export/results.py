"""What `predict.py` writes: pictures by kind and name, pseudo-labels with their manifest, the table of class shares."""

import argparse
import contextlib
import csv
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from export.pictures import network_size
from export.segmenter import OnnxSegmenter, Segmentation
from export.video_writing import VideoWriter
from training.errors import UserError
from training.files.atomic import write_atomically
from training.prediction.label_files import LabelFolder
from training.prediction.label_images import count_kept, labelled
from training.probability_maps.scores import best_class
from training.pseudo_labels.spatial_prior import resize_label

USUAL_OPACITY = 0.5
CLASS, RAW = "class", "raw"
"""What labels/ hold: class ids, or the numbers of label files of the model's label space."""


@dataclass(frozen=True)
class Shares:
    """What the table says of a file. size: (height, width); confidence: mean, 0..1; by_class: shares, 0..1."""

    size: tuple[int, int]
    confidence: float
    by_class: dict[str, float]


@dataclass
class Results:
    """Writes what was asked for below `out`.

    opacity: of overlays, None = none. labels, confidence: whether to write them. pseudo_labels: None = none.
    numbers: by class id what stands for it in the labels, None = the class id.
    """

    out: Path
    opacity: float | None
    labels: bool
    confidence: bool
    pseudo_labels: "PseudoLabels | None"
    numbers: np.ndarray | None = None

    @classmethod
    def wanted(cls, arguments: argparse.Namespace, segmenter: OnnxSegmenter) -> "Results":
        """As the command line asks; overlays if it asks for nothing.

        Raises:
            UserError: an impossible opacity, a model without thresholds or without the numbers of label files, or a
                folder that cannot be made.
        """
        opacity = arguments.overlay
        if opacity is None and not (arguments.labels or arguments.confidence or arguments.pseudo_labels):
            opacity = USUAL_OPACITY
        if opacity is not None and not 0 <= opacity <= 1:
            raise UserError(f"--overlay {opacity:g}: expected 0 (only the picture) to 1 (only the colours).")
        pseudo_labels = PseudoLabels(arguments.out / "pseudo_labels", segmenter) if arguments.pseudo_labels else None
        numbers = file_numbers(segmenter) if arguments.labels == RAW else None
        make_folder(arguments.out)
        return cls(arguments.out, opacity, arguments.labels is not None, arguments.confidence, pseudo_labels, numbers)

    def write(self, name: str, segmentation: Segmentation) -> Shares:
        """Everything wanted of one picture; `name` may hold slashes.

        Raises:
            UserError: a file cannot be written.
        """
        self.write_maps(name, segmentation)  # first: JPEG does not hold every size
        if self.opacity is not None:
            overlay = Image.fromarray(segmentation.overlay(self.opacity))
            save(overlay, self.out / "overlays" / f"{name}.jpg", quality=92)
        return Shares(segmentation.labels.shape, float(segmentation.confidence.mean()), segmentation.class_shares())

    def write_maps(self, name: str, segmentation: Segmentation) -> None:
        """The wanted maps of one picture or one frame of a video; `name` may hold slashes.

        Raises:
            UserError: a file cannot be written.
        """
        if self.labels:
            labels = segmentation.labels if self.numbers is None else self.numbers[segmentation.labels]
            save(Image.fromarray(labels), self.out / "labels" / f"{name}.png")
        if self.confidence:
            certainty = np.round(segmentation.confidence * 255).astype(np.uint8)
            save(Image.fromarray(certainty), self.out / "confidence" / f"{name}.png")
        if self.pseudo_labels is not None:
            self.pseudo_labels.write(name, segmentation.image)

    def video(self, name: str, rate: float) -> VideoWriter:
        """The video that the overlays of a video's frames go to, at `rate` frames per second.

        Raises:
            UserError: no encoder works here, or the folder cannot be made.
        """
        path = self.out / "overlays" / name
        make_folder(path.parent)
        return VideoWriter(path.parent, path.name, rate)

    def finish(self) -> None:
        """Write what could only be known at the end: the manifest of the pseudo-labels."""
        if self.pseudo_labels is not None:
            self.pseudo_labels.write_manifest()


def file_numbers(segmenter: OnnxSegmenter) -> np.ndarray:
    """By class id the number of label files, uint8 or uint16 [classes].

    Raises:
        UserError: the model does not say.
    """
    numbers = segmenter.metadata.file_ids
    if numbers is None:
        raise UserError(f"{segmenter.path} does not hold the numbers of its label files: export the run again.")
    return np.array(numbers, np.uint8 if max(numbers) <= 255 else np.uint16)


class PseudoLabels:
    """Labels of the pixels that the selector of the model's last round keeps, as it was fitted then, 255 elsewhere.

    Pixels are selected at the network's input size, as in training, and enlarged by nearest neighbour.
    """

    def __init__(self, folder: Path, segmenter: OnnxSegmenter):
        """Raises UserError if the model was never adapted and so has no selector, or if `folder` is not empty."""
        if segmenter.metadata.selection is None:
            raise UserError(
                f"{segmenter.path} has no thresholds, because its run had no round of self-training: "
                "leave out --pseudo-labels, or export an adapted run."
            )
        if folder.is_dir() and any(folder.iterdir()):
            raise UserError(
                f"{folder} holds files already: choose another --out or delete them, so that old and new labels do not "
                "mix."
            )
        self.segmenter, self.fitted = segmenter, segmenter.metadata.selection.fitted
        self.writer = LabelFolder(folder)
        self.pixels = np.zeros(self.fitted.classes, np.int64)
        self.names: list[str] = []
        self.kept: list[tuple[np.ndarray, np.ndarray]] = []

    def write(self, name: str, image: np.ndarray) -> None:
        """Write the pseudo-label of one picture, uint8 [h, w, 3]."""
        size = network_size(image.shape[:2], self.segmenter.metadata.training_size)
        probs = self.segmenter.probs(image, size)
        label = self.fitted.label(probs)
        self.pixels += np.bincount(best_class(probs)[1].ravel(), minlength=len(self.pixels))
        self.kept.append(count_kept(label, probs))
        self.names.append(name)
        self.writer.write(name, resize_label(label, image.shape[:2]))

    def write_manifest(self) -> None:
        """manifest.json beside the labels: the selector, and what it kept of these pictures."""
        counts = np.array([counts for counts, _ in self.kept], np.int64).reshape(-1, len(self.pixels))
        sums = np.array([sums for _, sums in self.kept], np.float64).reshape(counts.shape)
        found = labelled(self.fitted, self.pixels, counts, sums, self.names, self.segmenter.names)
        self.writer.finish(found.manifest(self.segmenter.path.name))


class ShareTable:
    """class_shares.csv: file, height, width, mean confidence, share of each class; every row is on disk at once."""

    def __init__(self, out: Path, names: tuple[str, ...]):
        self.path, self.names = out / "class_shares.csv", names

    def __enter__(self) -> "ShareTable":
        try:
            self.file = open(self.path, "w", newline="", encoding="utf-8", errors="backslashreplace")
        except OSError as error:
            raise UserError(f"Cannot write {self.path} ({error.strerror}): choose another --out.") from error
        self.table = csv.writer(self.file)
        try:
            self._write_row(("file", "height", "width", "confidence", *self.names))
        except UserError:
            self.__exit__()
            raise
        return self

    def add(self, file: Path, shares: Shares) -> None:
        """One row; UserError where it cannot be written."""
        values = (shares.confidence, *(shares.by_class[name] for name in self.names))
        self._write_row((file, *shares.size, *(f"{value:.5f}" for value in values)))

    def _write_row(self, row: tuple) -> None:
        try:
            self.table.writerow(row)
            self.file.flush()
        except OSError as error:
            message = f"Cannot write {self.path} ({error.strerror}): free space or choose another --out."
            raise UserError(message) from error

    def __exit__(self, *exception) -> None:
        with contextlib.suppress(OSError):  # a row that the full disk did not take has been told of
            self.file.close()


def make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"Cannot make the folder {folder} ({error.strerror}): choose another --out.") from error


def save(image: Image.Image, path: Path, **options) -> None:
    """Write a picture whole or not at all, in the format of its ending."""
    make_folder(path.parent)
    encoded, form = io.BytesIO(), {".jpg": "JPEG", ".png": "PNG"}[path.suffix]
    try:
        image.save(encoded, format=form, **options)
    except (OSError, ValueError) as error:
        size = f"{image.width} x {image.height}"
        raise UserError(f"{path} cannot be written: {form} cannot hold {size} pixels ({error}).") from error
    write_atomically(path, encoded.getvalue())
