"""Pictures of labels for people: overlays, side-by-side panels, a legend (NumPy, OpenCV and Pillow)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from training.data.classes import IGNORE, LabelSpace
from training.files.atomic import whole_file

COLUMN_TITLES = ("image", "before", "after", "pseudo-label", "truth")
OPACITY = 0.65
LEGEND_COLUMNS = 4
LONGEST_NAME = 245  # bytes: with "panel_" and ".png" what file systems allow

_BACKGROUND = (255, 255, 255)
_INK = (38, 38, 38)
_FRAME = (150, 150, 150)
_GAP = 8
_TITLE_HEIGHT = 30
_LARGEST_SIDE = 400  # of one column, in pixels: five columns stay below 2100


@dataclass(frozen=True)
class Example:
    """One picture with everything known about it; a part that is None has no column.

    `image` is uint8 `[h, w, 3]` RGB; the labels are uint8 `[any h, any w]` train ids with 255 = none.
    """

    name: str
    image: np.ndarray
    before: np.ndarray | None = None
    after: np.ndarray | None = None
    pseudo_label: np.ndarray | None = None
    truth: np.ndarray | None = None


def overlay(image: np.ndarray, label: np.ndarray, label_space: LabelSpace, opacity: float = OPACITY) -> np.ndarray:
    """The class colours laid over the picture: uint8 `[h, w, 3]` RGB.

    `image` is uint8 `[h, w, 3]`, `label` uint8 of any size (brought to the image's size by nearest neighbour),
    `opacity` 0 (only the picture) to 1 (only colours). Where the label is 255 the picture is grey and washed out, so
    that "no label" cannot be taken for a class.
    """
    height, width = image.shape[:2]
    if label.shape != (height, width):
        label = cv2.resize(label, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
    colours = label_space.colorize(label).astype(np.float32)
    blended = (1.0 - opacity) * image.astype(np.float32) + opacity * colours
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)[..., None]
    washed = (1.0 - opacity) * grey + opacity * 255.0
    return np.where((label == IGNORE)[..., None], washed, blended).round().astype(np.uint8)


def panel(
    image: np.ndarray,
    before: np.ndarray | None,
    after: np.ndarray | None,
    pseudo_label: np.ndarray | None,
    truth: np.ndarray | None,
    label_space: LabelSpace,
    names: Sequence[str] = COLUMN_TITLES,
) -> np.ndarray:
    """One RGB picture, uint8: a titled column for the image and for each label that is not None, left to right.

    The larger side of a column is at most 400 pixels. `names` are the five titles. Where the truth is known, the titles
    of the labels give the share of labelled pixels that are right in this picture.
    """
    shown = _fit(image)
    rights = ["" if truth is None else _share_right(label, truth) for label in (before, after, pseudo_label)]
    columns = [_column(shown, names[0])]
    for label, name, right in zip((before, after, pseudo_label, truth), names[1:], (*rights, ""), strict=True):
        if label is not None:
            columns.append(_column(overlay(shown, label, label_space), name + right))
    return _row(columns)


def _row(columns: Sequence[np.ndarray]) -> np.ndarray:
    """Columns of one height side by side, with gaps and a margin."""
    space = np.full((columns[0].shape[0], _GAP, 3), _BACKGROUND, np.uint8)
    row = [part for column in columns for part in (column, space)][:-1]
    return cv2.copyMakeBorder(np.hstack(row), 0, _GAP, _GAP, _GAP, cv2.BORDER_CONSTANT, value=_BACKGROUND)


def write_pasting(path: Path, frames: Iterable[tuple[np.ndarray, np.ndarray]], label_space: LabelSpace) -> Path | None:
    """Write what copy-paste made of some images: a line each, image and pseudo-label before and after.

    `frames`: pairs (before, after) of uint8 `[h, w, 4]`, RGB and the label, all of one size; none, no file.
    """
    titles = ("image", "pseudo-label", "image, pasted into", "its pseudo-label")
    rows = ([part for frame in pair for part in _image_and_label(frame, label_space)] for pair in frames)
    return _write_rows(path, rows, titles)


def write_translation(path: Path, examples: Iterable[Sequence[np.ndarray]], titles: Sequence[str]) -> Path | None:
    """Write what became of some source images, a line each.

    `examples`: uint8 `[h, w, 3]` RGB pictures, all of one size, as many per line as there are `titles`; none, no file.
    """
    rows = ([_fit(np.ascontiguousarray(picture)) for picture in example] for example in examples)
    return _write_rows(path, rows, titles)


def _write_rows(path: Path, rows: Iterable[Sequence[np.ndarray]], titles: Sequence[str]) -> Path | None:
    """Write lines of pictures of one size with their titles above; no line, no file."""
    lines = [_row([_column(picture, title) for picture, title in zip(row, titles, strict=True)]) for row in rows]
    if not lines:
        return None
    path.parent.mkdir(parents=True, exist_ok=True)
    _write_png(path, np.vstack(lines))
    return path


def write_mixing(path: Path, rows: Iterable[dict[str, np.ndarray]], label_space: LabelSpace) -> Path:
    """Write what ClassMix made of some pairs of images: a line each.

    Args:
        rows: "source", "target", "image" (mixed): uint8 `[h, w, 3]`; "label" uint8 and "weight" float in [0, 1], of the
            mixed image, `[any, any]`.
    """
    lines = []
    for row in rows:
        mixed = _fit(row["image"])
        weight = np.repeat((255 * np.clip(row["weight"], 0, 1)).round().astype(np.uint8)[..., None], 3, axis=2)
        columns = {
            "source": _fit(row["source"]),
            "target": _fit(row["target"]),
            "mixed": mixed,
            "its label": overlay(mixed, row["label"], label_space),
            f"its weight, target {row['target_weight']:.2f}": cv2.resize(
                weight, mixed.shape[1::-1], interpolation=cv2.INTER_NEAREST_EXACT
            ),
        }
        lines.append(_row([_column(picture, title) for title, picture in columns.items()]))
    path.parent.mkdir(parents=True, exist_ok=True)
    _write_png(path, np.vstack(lines))
    return path


def _image_and_label(frame: np.ndarray, label_space: LabelSpace) -> tuple[np.ndarray, np.ndarray]:
    shown = _fit(np.ascontiguousarray(frame[..., :3]))
    return shown, overlay(shown, frame[..., 3], label_space)


def _fit(image: np.ndarray) -> np.ndarray:
    height, width = image.shape[:2]
    scale = _LARGEST_SIDE / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)


def _column(picture: np.ndarray, title: str) -> np.ndarray:
    height, width = picture.shape[:2]
    canvas = Image.new("RGB", (width, height + _TITLE_HEIGHT), _BACKGROUND)
    canvas.paste(Image.fromarray(picture), (0, _TITLE_HEIGHT))
    draw = ImageDraw.Draw(canvas)
    draw.text((1, _TITLE_HEIGHT / 2), title, fill=_INK, font=_title_font(title, width), anchor="lm")
    draw.rectangle((0, _TITLE_HEIGHT, width - 1, height + _TITLE_HEIGHT - 1), outline=_FRAME)
    return np.asarray(canvas)


def _title_font(title: str, width: int) -> ImageFont.FreeTypeFont:
    size = 17
    while size > 8 and ImageFont.load_default(size).getlength(title) > width - 2:
        size -= 1
    return ImageFont.load_default(size)


def _share_right(label: np.ndarray | None, truth: np.ndarray) -> str:
    if label is None:
        return ""
    if label.shape != truth.shape:
        label = cv2.resize(label, truth.shape[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
    judged = (truth != IGNORE) & (label != IGNORE)
    return f"   {100 * np.mean(label[judged] == truth[judged]):.0f} % right" if judged.any() else ""


def legend(label_space: LabelSpace) -> np.ndarray:
    """The colours of a label space with their names, and how "no label" looks: uint8 RGB picture."""
    names = (*label_space.names, "no label")
    colours = (*label_space.colors, None)
    font = ImageFont.load_default(16)
    cell = 46 + max(round(font.getlength(name)) for name in names)
    rows = -(-len(names) // LEGEND_COLUMNS)
    canvas = Image.new("RGB", (_GAP + cell * min(LEGEND_COLUMNS, len(names)), _GAP + 30 * rows), _BACKGROUND)
    draw = ImageDraw.Draw(canvas)
    for index, (name, colour) in enumerate(zip(names, colours, strict=True)):
        left, top = _GAP + cell * (index // rows), _GAP + 30 * (index % rows)
        box = (left, top, left + 26, top + 20)
        draw.rectangle(box, fill=None if colour is None else tuple(colour), outline=_FRAME)
        if colour is None:
            canvas.paste(_grey_ramp(25, 19), (left + 1, top + 1))
        draw.text((left + 34, top + 10), name, fill=_INK, font=font, anchor="lm")
    return np.asarray(canvas)


def _grey_ramp(width: int, height: int) -> Image.Image:
    ramp = np.linspace(255 * OPACITY, 255, width).astype(np.uint8)
    return Image.fromarray(np.repeat(np.tile(ramp, (height, 1))[..., None], 3, axis=2))


def write_panels(
    folder: Path, examples: Iterable[Example], label_space: LabelSpace, after: str = COLUMN_TITLES[2]
) -> list[Path]:
    """Write `legend.png` and one `panel_<name>.png` per example into `folder`; returns the panels' paths, in order.

    after: the title of the labels after adaptation.
    """
    titles = tuple(after if title == COLUMN_TITLES[2] else title for title in COLUMN_TITLES)
    folder.mkdir(parents=True, exist_ok=True)
    _write_png(folder / "legend.png", legend(label_space))
    paths = []
    for example in examples:
        labels = (example.before, example.after, example.pseudo_label, example.truth)
        path = folder / panel_name(example)
        _write_png(path, panel(example.image, *labels, label_space, titles))
        paths.append(path)
    return paths


def panel_name(example: Example) -> str:
    """Of its file: "panel_NAME.png", of a long name the end."""
    end = example.name.replace("/", "_").encode()[-LONGEST_NAME:].decode(errors="ignore")  # no half of a letter
    return f"panel_{end}.png"


def _write_png(path: Path, picture: np.ndarray) -> None:
    with whole_file(path) as partial:
        Image.fromarray(picture).save(partial, compress_level=3)  # half the time for 8 % more bytes
