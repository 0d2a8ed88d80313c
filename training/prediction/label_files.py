"""Pseudo-labels on disk: 8-bit PNGs of train ids (255 = ignore) and a JSON manifest beside them, written atomically."""

import io
import json
import tempfile
import zlib
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from training.errors import UserError
from training.files.atomic import write_atomically
from training.files.reading import read_json
from training.pseudo_labels import Fitted, from_json

MANIFEST_NAME = "manifest.json"
PICTURE_NAME = "entropies.png"  # of how the selector was fitted; beside labels of this name it gets another one


def write_label_png(path: Path, label: np.ndarray) -> None:
    """Write uint8 [h, w] as a greyscale PNG; a reader sees the old file or the whole new one, never a part."""
    if label.dtype != np.uint8 or label.ndim != 2:
        raise ValueError(f"expected uint8 [height, width], got {label.dtype} {label.shape}")
    encoded = io.BytesIO()
    Image.fromarray(label).save(encoded, format="PNG")
    write_atomically(path, encoded.getvalue())


class LabelFolder:
    """Writes labels and manifest of `label_images` into a folder, which is made if need be."""

    def __init__(self, folder: Path):
        self.folder = folder

    def write(self, name: str, label: np.ndarray) -> None:
        """One label as NAME.png; the name may hold slashes. Several threads and processes may write at once."""
        path = self.folder / f"{name}.png"
        make_folder(path.parent)
        write_label_png(path, label)

    def finish(self, manifest: dict[str, Any]) -> None:
        """Called once, after all labels."""
        make_folder(self.folder)
        write_manifest(self.folder, manifest)


class ReplacedLabels(LabelFolder):
    """Labels that wait in a folder inside, and take the place of older ones only when all of them are there.

    Use it as a context: what waits is removed at the end, whatever happened. old_files: what the new labels replace.
    """

    def __init__(self, folder: Path, old_files: list[Path]):
        super().__init__(folder)
        self.old_files, self.written = old_files, []

    def __enter__(self) -> "ReplacedLabels":
        try:
            self.unfinished = tempfile.TemporaryDirectory(dir=self.folder, prefix=".unfinished-")
        except OSError as error:
            raise UserError(
                f"Cannot write in {self.folder} ({error.strerror}): choose another folder for the labels."
            ) from error
        return self

    def __exit__(self, *exception) -> None:
        self.unfinished.cleanup()

    def write(self, name: str, label: np.ndarray) -> None:
        write_label_png(Path(self.unfinished.name) / f"{name}.png", label)
        self.written.append(f"{name}.png")

    def finish(self, manifest: dict[str, Any]) -> None:
        for file in self.old_files:
            file.unlink(missing_ok=True)
        for name in self.written:
            (Path(self.unfinished.name) / name).replace(self.folder / name)
        write_manifest(self.folder, manifest)


def picture_name(label_files: Collection[str]) -> str:
    """A name for the picture that none of the labels has."""
    name = PICTURE_NAME
    while name in label_files:
        name = f"_{name}"
    return name


def make_folder(folder: Path) -> None:
    """Make a folder and those above it; UserError if that cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"Cannot make the folder {folder} ({error.strerror}): choose another one.") from error


def read_fitted(folder: Path) -> Fitted:
    """What the labels of a folder were chosen with, as its manifest tells; UserError where there is none to read."""
    manifest = read_json(folder / MANIFEST_NAME)
    try:
        return from_json(manifest)
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError, zlib.error, UserError) as error:
        raise UserError(
            f"{folder / MANIFEST_NAME} does not tell how labels are selected ({error!r}): label the images again."
        ) from error


def write_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    """Write `manifest` as folder/manifest.json, atomically."""
    write_atomically(folder / MANIFEST_NAME, (json.dumps(manifest, indent=2) + "\n").encode())


def prepare_label_folder(folder: Path) -> list[Path]:
    """Make `folder`; the files of an earlier labelling in it, which new labels replace (remove them before writing).

    Raises UserError if it cannot be made, or holds anything but what an earlier manifest lists.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        files = list(folder.iterdir())
    except OSError as error:
        raise UserError(f"Cannot use {folder} for labels ({error.strerror}): choose another folder.") from error
    replaced = {MANIFEST_NAME, *_listed_files(folder / MANIFEST_NAME)}
    present = {path.name for path in files}
    if present - replaced:
        raise UserError(
            f"{folder} is not empty (it holds {min(present - replaced)}): choose a new folder, so that old and new "
            "labels do not mix."
        )
    if odd := sorted(path.name for path in files if path.is_dir() and not path.is_symlink()):
        raise UserError(f"{folder / odd[0]} is a folder where a label file was expected: choose another folder.")
    return sorted(files)


def _listed_files(manifest: Path) -> set[str]:
    """The labels, and the picture, that a manifest names; none if it is none."""
    try:
        content = read_json(manifest)
    except UserError:
        return set()
    files = content.get("files")
    names = [*(files if isinstance(files, list) else []), content.get("picture")]
    return {name for name in names if isinstance(name, str) and name.endswith(".png")}
