"""Which files are photos: one rule for training, the commands and the page. Nothing beyond Pillow is imported.

A photo is a file with one of `IMAGE_SUFFIXES`, in any case. Hidden files and folders (`.thumbnails`, `._IMG_1.jpg` of
macOS) and the folders that systems put among photos (`JUNK_FOLDERS`) hold none. What else lies there is left out, and
`left_out_sentence` says so.
"""

import os
import unicodedata
from collections.abc import Callable, Iterable
from pathlib import Path

from PIL import features

from training.errors import UserError

try:
    import pillow_heif
except ImportError:  # an optional package
    pillow_heif = None

HEIC_SUFFIXES = (".heic", ".heif")
READABLE = {
    "PNG": (".png",),
    "JPEG": (".jpg", ".jpeg", ".jfif"),
    "BMP": (".bmp",),
    "WEBP": (".webp",),
    "TIFF": (".tif", ".tiff"),
    "GIF": (".gif",),
    **({"AVIF": (".avif",)} if features.check("avif") else {}),
    **({"HEIF": HEIC_SUFFIXES} if pillow_heif is not None else {}),
}
"""The formats that are read here, by Pillow's names, with the endings of their files."""

IMAGE_SUFFIXES = tuple(suffix for suffixes in READABLE.values() for suffix in suffixes)
JUNK_FOLDERS = frozenset({"__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information"})
NAMED = 3  # files of each ending that a sentence names

HEIC_ADVICE = (
    "HEIC photos are read once the package pillow-heif is installed (pip install pillow-heif); or convert them to JPEG "
    "(heif-convert IN.heic OUT.jpg; on a Mac: sips -s format jpeg IN.heic --out OUT.jpg)"
)
AVIF_ADVICE = "AVIF photos are read by Pillow 11.3 or newer; or convert them to PNG"
OTHER_ADVICE = "Convert what of it is a photo to PNG or JPEG"


def is_junk(name: str) -> bool:
    """Is a file or folder of this name hidden, or one that a system puts among photos?"""
    return name.startswith(".") or name in JUNK_FOLDERS


def files_in(folder: Path, accept: Callable[[str], bool]) -> list[Path]:
    """Files below `folder` whose name passes, in alphabetical order of their path; see `is_junk` for what is left out.

    Links to folders are followed, each folder once: they may lead in circles.

    Raises:
        UserError: a folder cannot be listed, or a name is no text.
    """

    def unlistable(error: OSError):
        raise UserError(f"Cannot list the folder {error.filename}: {error.strerror}.") from error

    found, seen = [], set()
    for parent, folders, names in os.walk(folder, followlinks=True, onerror=unlistable):
        state = os.stat(parent)
        if (state.st_dev, state.st_ino) in seen:
            folders.clear()
            continue
        seen.add((state.st_dev, state.st_ino))
        folders[:] = sorted(name for name in folders if not is_junk(name))
        found += [Path(parent, name) for name in names if not is_junk(name) and accept(name)]
    return [with_text_name(file) for file in sorted(found)]


def with_text_name(file: Path) -> Path:
    """`file`, if its path is text.

    Raises:
        UserError: it holds bytes that are no UTF-8, so that no report or table could name it.
    """
    try:
        str(file).encode()
    except UnicodeEncodeError as error:
        raise UserError(f"The name of {file} is no text (UTF-8): rename it.") from error
    return file


def photos_in(folder: Path, suffixes: tuple[str, ...] = IMAGE_SUFFIXES) -> tuple[list[Path], list[Path]]:
    """`(files with one of the suffixes, files with another ending)` below `folder`; raises as `files_in`."""
    photos, others = [], []
    for file in files_in(folder, lambda name: True):
        (photos if file.name.lower().endswith(suffixes) else others).append(file)
    return photos, others


def left_out_sentence(folder: Path | str, files: Iterable[Path]) -> str | None:
    """What of `folder` is not read, by its ending: counts, the first names, what to do; None where there is nothing."""
    by_suffix: dict[str, list[str]] = {}
    for file in files:
        by_suffix.setdefault(file.suffix.lower() or "no ending", []).append(file.name)
    if not by_suffix:
        return None
    parts = [
        f"{len(names)} {suffix} ({', '.join(names[:NAMED])}{', ...' if len(names) > NAMED else ''})"
        for suffix, names in sorted(by_suffix.items())
    ]
    advice = [HEIC_ADVICE] if by_suffix.keys() & set(HEIC_SUFFIXES) else []
    advice += [AVIF_ADVICE] if ".avif" in by_suffix else []
    advice += [OTHER_ADVICE] if by_suffix.keys() - {*HEIC_SUFFIXES, ".avif"} else []
    return f"Left out of {folder}, as no photos of a format that is read: {', '.join(parts)}. {'. '.join(advice)}."


def folded_name(name: str) -> str:
    """What file systems that tell neither case nor composed letters apart make of a name."""
    return name.lower() if name.isascii() else unicodedata.normalize("NFC", name).casefold()
