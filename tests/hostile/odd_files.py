"""Odd pictures, odd things in place of files, and odd folders of labelled images."""

import io
import os
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from tests.hostile import material

FORMS = {"PNG": ".png", "JPEG": ".jpg", "BMP": ".bmp", "WEBP": ".webp", "TIFF": ".tif", "GIF": ".png", "PPM": ".png"}
MODES = {
    "PNG": ("RGB", "L", "RGBA", "P", "1", "I;16", "LA"), "JPEG": ("RGB", "L", "CMYK"), "GIF": ("P",),
    "TIFF": ("RGB", "L", "I;16", "F", "I"),
}  # fmt: skip
PAIR_SIZE = (20, 30)


def picture_bytes(random: np.random.Generator) -> tuple[bytes, str]:
    """A small picture of any format and mode, mostly damaged; and the ending of its name."""
    form = material.draw(random, list(FORMS))
    size = (int(random.integers(1, 40)), int(random.integers(1, 40)))
    mode, options = material.draw(random, MODES.get(form, ("RGB",))), {}
    image = Image.fromarray(random.integers(0, 256, (*size, 3), dtype=np.uint8))
    if mode == "I;16":
        image = Image.fromarray(random.integers(0, 65536, size, dtype=np.uint16))
    else:
        image = image.quantize(20) if mode == "P" else image.convert(mode)
    if form in ("JPEG", "TIFF", "WEBP", "PNG") and random.random() < 0.4:
        options["exif"] = Image.Exif()
        options["exif"][0x0112] = int(random.integers(0, 12))
    content = material.encoded(image, form, **options)
    return material.damaged(random, content) if random.random() < 0.85 else content, FORMS[form]


@cache
def bombs() -> tuple[bytes, ...]:
    """Small files that claim, or unpack to, far more than they are."""
    claim = material.png_claiming
    return (
        claim(20_000, 20_000), claim(0, 5), claim(2**31 - 1, 2**31 - 1), claim(1, 2**31 - 1), claim(9_400, 9_400,
        kind=0),
        claim(9_500, 9_500, depth=16), claim(30_000, 30_000, depth=16), claim(100, 100, depth=3),
        material.png_bomb(10_000), material.text_bomb(), material.EPS,
    )  # fmt: skip


def pipe(path: Path) -> None:
    os.mkfifo(path)


def folder(path: Path) -> None:
    path.mkdir()


def circle(path: Path) -> None:
    path.symlink_to(path)


def dangling(path: Path) -> None:
    path.symlink_to("nowhere.png")


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def upwards(path: Path) -> None:
    path.symlink_to(path.parent.parent)


def many_circles(path: Path) -> None:
    """Three links to the folder they are in: followed blindly, 3^40 paths."""
    path.mkdir()
    for name in ("one", "two", "three"):
        (path / name).symlink_to(path)


def unreadable(path: Path) -> None:
    path.write_bytes(b"x")
    path.chmod(0)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def no_text(path: Path) -> None:
    """A file whose name is no UTF-8."""
    Path(os.fsdecode(os.fsencode(path.parent) + b"/\xff\xfe.png")).write_bytes(b"")


NO_FILES = (pipe, folder, circle, dangling, device, unreadable)
ODD_THINGS = (*NO_FILES, upwards, many_circles, empty, no_text)
CLASHES = (
    ("P0.png",), ("p0.jpg",), ("a/p0.png", "b/p0.png"), ("a/x.png", "a_x.png"), ("\xfc.png", "u\u0308.png"),
    ("x" * 200 + "/" + "y" * 200 + ".png", "z/" + "y" * 200 + ".png"),
)  # fmt: skip


def good_pair(root: Path, name: str, random: np.random.Generator) -> None:
    """An image and its label, camvid11 ids, in images/ and labels/ of `root`."""
    label = np.full(PAIR_SIZE, random.integers(11), np.uint8)
    image = random.integers(0, 256, (*PAIR_SIZE, 3), dtype=np.uint8)
    for part, pixels in (("images", image), ("labels", label)):
        (root / part / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(root / part / name, format="PNG")


def odd_folder(random: np.random.Generator, place: Path) -> Path:
    """A folder of labelled images with one or two odd things in it."""
    root = place / material.draw(random, ("data", "da\nta", "[/bold]", "-x", "\xfc", "..x"))
    for number in range(3):
        good_pair(root, f"p{number}.png", random)
    way, part = random.random(), material.draw(random, ("images", "labels"))
    if way < 0.5:
        odd = root / part / material.draw(random, ("p0.png", "new.png", "deeper"))
        odd.unlink(missing_ok=True)
        material.draw(random, ODD_THINGS)(odd)
    elif way < 0.8:
        for _ in range(3):
            good_pair(root, material.draw(random, material.ODD_NAMES), random)
    else:
        for name in material.draw(random, CLASHES):
            good_pair(root, name, random)
    if random.random() < 0.3:
        (root / part / "p1.png").write_bytes(picture_bytes(random)[0])
    return root


RUN = ("recipe.json", "state.json", "report/decoy_panel.png", "pseudo_labels/round_1/decoy.png")
LABELLED = ("manifest.json", "decoy_a.png", "deeper/decoy_b.png")
PREDICTED = ("class_shares.csv", "overlays/decoy_a.png", "labels/decoy_a.png", "confidence/decoy_a.png")
DATA_SET = ("images/photo_a.png", "labels/decoy_a.png", "classes.json", "decoy_legend.png")
PLAIN = ("photo_a.png", "day/photo_b.png", "masks/photo_c.png", "notes.txt")


def nested_folders(random: np.random.Generator, root: Path, depth: int = 0, hidden: bool = False) -> None:
    """Photos, photo*.png, and pictures that are none, decoy*.png, in folders of up to three kinds in one another."""
    kind = material.draw(random, (RUN, LABELLED, PREDICTED, DATA_SET, PLAIN) if depth else (PLAIN, DATA_SET))
    for name in kind:
        shown = name.replace("photo", "decoy") if hidden else name
        (root / shown).parent.mkdir(parents=True, exist_ok=True)
        picture = random.integers(0, 256, (*PAIR_SIZE, 3), dtype=np.uint8)
        if name.endswith(".png"):
            Image.fromarray(picture).save(root / shown)
        else:
            (root / shown).write_text('{"selector": "cbst", "files": []}')
    if random.random() < 0.2:
        (root / "again").symlink_to(root.parent)
    inside = {RUN: True, LABELLED: True, PREDICTED: hidden, DATA_SET: hidden, PLAIN: hidden}
    place = root / "images" if kind is DATA_SET else root
    for number in range(int(random.integers(0, 3)) if depth < 3 else 0):
        nested_folders(random, place / f"part{number}", depth + 1, inside[kind])


def saved_arrays(**arrays: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()
