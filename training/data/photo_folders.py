"""Where photos are looked for: one rule for the target of a run, `label.py --images` and `predict.py --images`.

A place is a folder, a text file of paths, or a pattern such as 'drives/*/front/*.jpg'. `photo_files` says which names
are photos; here is which folders hold some. Left out, and told of, are

- of a data set (images/ and labels/ side by side, or as other data sets call them) all but its images;
- label files that lie beside their photo (NAME_mask.png beside NAME.jpg);
- runs of this program, their reports, its pseudo-labels, and the results of `export/predict.py` and of the page.

Nothing beyond Pillow is imported.
"""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from training.data.photo_files import IMAGE_SUFFIXES, is_junk, left_out_sentence, photos_in, with_text_name
from training.errors import UserError
from training.files.reading import read_file, read_json

LIST_SUFFIXES = (".txt", ".lst")
MOST_LIST_BYTES = 1 << 28
NAMED = 6  # folders that a sentence names

DATA_SET_FOLDERS = (
    (("images", "image", "imgs", "img"), ("labels", "label", "masks", "mask", "annotations", "gt")),
    (("leftimg8bit",), ("gtfine", "gtcoarse")),  # Cityscapes, IDD
    (("image_2",), ("semantic", "semantic_rgb")),  # KITTI
    (("rgb",), ("gt",)),  # SYNTHIA
    (("jpegimages",), ("segmentationclass",)),  # Pascal VOC
    (("701_stillsraw_full",), ("labeledapproved_full",)),  # CamVid
)
"""Names of the folders of images, and of the folders of labels beside them, in small letters."""

LABEL_PREFIXES = ("_gtFine", "_gtCoarse", "_gt")
"""What may stand before the ending of a label file. _gt: ACDC, Dark Zurich."""

LABEL_ENDINGS = (
    *("_labelIds", "_labelTrainIds", "_instanceIds", "_instanceTrainIds", "_color", "_labelColor"),
    *("_trainIds", "_train_id"),
    *("_mask", "_masks", "_label", "_labels", "_seg", "_segmentation", "_gt", "_groundtruth"),
)
"""What the name of a label file has behind the name of its photo."""

IMAGE_ENDINGS = ("", "_leftImg8bit", "_rgb", "_rgb_anon", "_image", "_img")
"""What the name of a photo has behind the name that it shares with its label files."""

PREDICTION_FOLDERS = ("overlays", "labels", "confidence", "pseudo_labels")
PREDICTION_TABLE = "class_shares.csv"


class LeftOut(NamedTuple):
    """A folder of which pictures are left out, and why."""

    folder: Path
    reason: str


@dataclass(frozen=True)
class FoundPhotos:
    """The photos of a place, sorted; how many pictures are left out where and why; files of other formats."""

    place: Path
    photos: tuple[Path, ...]
    left_out: Counter[LeftOut] = field(default_factory=Counter)
    others: tuple[Path, ...] = ()

    @property
    def folder(self) -> Path:
        """The folder that all photos lie below; UserError where there is none, as on two drives of Windows."""
        parents = {os.path.abspath(photo.parent) for photo in self.photos}
        if self.place.is_dir() or not parents:
            return self.place
        try:
            return Path(os.path.commonpath(parents))
        except ValueError as error:
            raise UserError(f"The photos of {self.place} lie on several drives: name those of one drive.") from error

    @property
    def sentences(self) -> list[str]:
        """What was left out; empty where nothing was."""
        parts = [f"{count} in {folder} ({reason})" for (folder, reason), count in sorted(self.left_out.items())]
        more = f", and in {len(parts) - NAMED} more folders" if len(parts) > NAMED else ""
        pictures = [f"Left out of {self.place}: {', '.join(parts[:NAMED])}{more}."] if parts else []
        others = left_out_sentence(self.place, self.others)
        return [*pictures, *([others] if others else [])]


def is_list(place: Path) -> bool:
    """Is it a text file of paths?"""
    return place.suffix.lower() in LIST_SUFFIXES and place.is_file()


def is_pattern(place: Path) -> bool:
    """Is it a pattern of paths, and no path that exists?"""
    return any(map(_is_magic, place.parts)) and not os.path.lexists(place)


def _is_magic(part: str) -> bool:
    return any(letter in part for letter in "*?[")


def found_photos(
    place: Path, suffixes: tuple[str, ...] = IMAGE_SUFFIXES, results: Path | None = None, judge_root: bool = True
) -> FoundPhotos:
    """The photos that a folder, a text file of paths or a pattern means. A file that is named is taken as it is.

    Args:
        suffixes: the endings of what counts as a photo.
        results: a folder that will be written to: nothing in it is a photo.
        judge_root: may the folder `place` itself be left out, as a run or its labels?

    Raises:
        UserError: a path of a list does not exist, a file that is no list, a pattern that is none, a name that is no
            text.
    """
    search = _Search(suffixes, None if results is None else Path(os.path.realpath(results)))
    if place.is_dir():
        search.add_folder(place, judge_root)
    elif is_list(place):
        for entry in listed_paths(place):
            search.add_folder(entry, judge_root) if entry.is_dir() else search.photos.add(with_text_name(entry))
    else:
        search.add_pattern(place)
    return FoundPhotos(place, tuple(sorted(search.photos)), search.left_out, tuple(sorted(search.others)))


class _Search:
    """Collects the photos of several folders and patterns."""

    def __init__(self, suffixes: tuple[str, ...], results: Path | None):
        self.suffixes, self.results = suffixes, results
        self.photos: set[Path] = set()
        self.others: set[Path] = set()
        self.left_out: Counter[LeftOut] = Counter()

    def add_folder(self, folder: Path, judge_root: bool) -> None:
        self._sort(_Folders(folder, judge_root), *photos_in(folder, self.suffixes))

    def add_pattern(self, pattern: Path) -> None:
        """The files that match, judged below the part of the pattern without wild cards; else the folders that do."""
        fixed = [part for part in pattern.parts if _is_magic(part)][:1]
        root = Path(*pattern.parts[: pattern.parts.index(fixed[0])]) if fixed else pattern.parent
        asked = (*self.suffixes, pattern.suffix.lower()) if pattern.suffix[1:].isalnum() else self.suffixes
        found = (path for path in matching(pattern) if not any(map(is_junk, path.parts[len(root.parts) :])))
        matches = [with_text_name(path) for path in found]
        files = {path for path in matches if path.is_file()}
        photos = {path for path in files if path.name.lower().endswith(asked)}
        self._sort(_Folders(root, judge_root=False), photos, files - photos)
        if photos:
            return
        searched: set[Path] = set()
        for folder in sorted(path for path in matches if path.is_dir()):
            if not searched & {folder, *folder.parents}:  # '**' matches every folder
                searched.add(folder)
                self.add_folder(folder, judge_root=True)

    def _sort(self, folders: "_Folders", photos: Iterable[Path], others: Iterable[Path]) -> None:
        """Take those that are not left out; count those that are."""
        for photo in (each for each in photos if not self._is_result(each) and each not in self.photos):
            reason = folders.left_out_file(photo)
            if reason is None:
                self.photos.add(photo)
            else:
                self.left_out[reason] += 1
        self.others |= {each for each in others if not self._is_result(each) and folders.left_out(each.parent) is None}

    def _is_result(self, file: Path) -> bool:
        return self.results is not None and self.results in Path(os.path.realpath(file)).parents


class _Content(NamedTuple):
    """Names in a folder; stems: of the files."""

    files: frozenset[str]
    folders: frozenset[str]
    stems: frozenset[str]


class _Folders:
    """Which folders below `root` are left out, each looked at once; `judge_root`: may `root` itself be?"""

    def __init__(self, root: Path, judge_root: bool):
        self.root, self.judge_root = root, judge_root
        self._found: dict[Path, LeftOut | None] = {}
        self._contents: dict[Path, _Content] = {}

    def left_out(self, folder: Path) -> LeftOut | None:
        """The folder at or above `folder` that is left out, and why; None = `folder` may hold photos."""
        if folder not in self._found:
            self._found[folder] = self._judged(folder)
        return self._found[folder]

    def left_out_file(self, file: Path) -> LeftOut | None:
        """As `left_out`, of a picture."""
        found = self.left_out(file.parent)
        if found is not None:
            return found
        content = self._content(file.parent)
        if pair := data_set_of(content.folders):
            return LeftOut(file.parent, f"beside {pair[0]}/ and {pair[1]}/")
        if is_label_of_sibling(file.stem, content.stems):
            return LeftOut(file.parent, "labels by their names, beside their photos")
        return None

    def _judged(self, folder: Path) -> LeftOut | None:
        if folder != self.root:
            if above := self.left_out(folder.parent):
                return above
            if reason := _reason_beside(folder.name, self._content(folder.parent)):
                return LeftOut(folder, reason)
        elif not self.judge_root:
            return None
        reason = _reason_inside(folder, self._content(folder).files)
        return reason and LeftOut(folder, reason)

    def _content(self, folder: Path) -> _Content:
        if folder not in self._contents:
            try:
                names = os.listdir(folder)
            except OSError as error:
                raise UserError(f"Cannot list the folder {folder}: {error.strerror}.") from error
            folders = frozenset(name for name in names if os.path.isdir(folder / name))
            files = frozenset(names) - folders
            self._contents[folder] = _Content(files, folders, frozenset(os.path.splitext(name)[0] for name in files))
        return self._contents[folder]


def data_set_of(folders: Iterable[str]) -> tuple[str, str] | None:
    """The folder of images and the first one of labels among the names of sibling folders; None = no data set."""
    by_name = {name.lower(): name for name in sorted(folders)}
    for images, labels in DATA_SET_FOLDERS:
        found = [[by_name[name] for name in names if name in by_name] for names in (images, labels)]
        if all(found):
            return found[0][0], found[1][0]
    return None


def is_label_of_sibling(stem: str, stems: Set[str]) -> bool:
    """Does a file of this stem lie beside its photo, as NAME_mask.png beside NAME.jpg does? `stems`: of all files."""
    ending = next((ending for ending in LABEL_ENDINGS if stem.endswith(ending)), None)
    if ending is None:
        return False
    name = stem.removesuffix(ending)
    names = {name, *(name.removesuffix(prefix) for prefix in LABEL_PREFIXES)}
    return any(f"{each}{image_ending}" in stems for each in names for image_ending in IMAGE_ENDINGS)


def _reason_beside(name: str, siblings: _Content) -> str | None:
    """Why a folder is left out for what lies beside it."""
    if name in PREDICTION_FOLDERS and PREDICTION_TABLE in siblings.files:
        return "results of this program"
    if name.endswith("annot") and name.removesuffix("annot") in siblings.folders:
        return f"labels, beside {name.removesuffix('annot')}/"
    pair = data_set_of(siblings.folders)
    if pair is None or name == pair[0]:
        return None
    return f"labels, beside {pair[0]}/" if name == pair[1] else f"beside {pair[0]}/ and {pair[1]}/"


def _reason_inside(folder: Path, files: frozenset[str]) -> str | None:
    """Why a folder is left out for what lies in it."""
    if "recipe.json" in files and files & {"state.json", "state.previous.json"}:
        return "a run of this program"
    if {"report.md", "summary.json"} <= files:
        return "the report of a run"
    return "pseudo-labels of this program" if "manifest.json" in files and _is_ours(folder / "manifest.json") else None


def _is_ours(manifest: Path) -> bool:
    try:
        return {"selector", "files"} <= read_json(manifest).keys()
    except UserError:
        return False


def listed_paths(file: Path) -> list[Path]:
    """The paths in a text file, one per line, each once; relative ones start at the file's folder.

    Empty lines and lines that begin with # are passed over.

    Raises:
        UserError: the file is no text or names nothing, or a path does not exist.
    """
    try:
        text = read_file(file, MOST_LIST_BYTES).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{file} is no text (UTF-8): expected a list of photos, one path per line.") from error
    paths, missing = [], []
    for number, line in enumerate(text.splitlines(), 1):
        entry = line.strip()
        if not entry or entry.startswith("#"):
            continue
        path = file.parent / os.path.expanduser(entry)  # Path.expanduser fails where there is no such user
        paths.append(path)
        if not _exists(path):
            missing.append(f"line {number}: {entry}")
    if missing:
        more = f" and {len(missing) - NAMED} more" if len(missing) > NAMED else ""
        raise UserError(
            f"{file} names what does not exist ({'; '.join(missing[:NAMED])}{more}): expected one path of a photo or a "
            f"folder per line, relative ones from {file.parent}."
        )
    if not paths:
        raise UserError(f"{file} names no photo: expected one path of a photo or a folder per line.")
    return list(dict.fromkeys(paths))


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # too long, or with a zero byte
        return False


def matching(pattern: Path) -> Iterator[Path]:
    """The paths that a pattern means. Unlike glob.glob, Path.glob does not run in circles where links do.

    Raises:
        UserError: it is no pattern.
    """
    # A folder that exists may have brackets in its name.
    root = next((each for each in pattern.parents if os.path.lexists(each)), Path(pattern.anchor or "."))
    inner = pattern.relative_to(root)
    try:
        yield from root.glob(str(inner))
    except (ValueError, NotImplementedError, IndexError, OSError) as error:
        raise UserError(f"{pattern} is no pattern of files ({error}): give one such as 'photos/*.jpg'.") from error
