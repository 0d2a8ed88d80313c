"""Tiny trees in the layout in which each data set is published, made on the fly from one kind of street frame.

The colour of a frame's pixels is the official Cityscapes colour of their class, so a test can tell from the image
alone what the label must be.
"""

from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from training.data.classes import CITYSCAPES_COLORS, CITYSCAPES_LABEL_IDS, IGNORE
from training.data.readers_camvid import CAMVID_CLASSES
from training.data.readers_published import ROBOTCAR_IDS, SYNTHIA_IDS

SIZE = (24, 48)


def street_label(index: int, size: tuple[int, int] = SIZE, classes: int = 19) -> np.ndarray:
    """Train ids uint8 [h, w]: blocks of random classes and a few ignored pixels; a pure function of the arguments."""
    generator = np.random.default_rng((7, index))
    blocks = generator.integers(0, classes, (4, 6)).astype(np.uint8)
    label = cv2.resize(blocks, (size[1], size[0]), interpolation=cv2.INTER_NEAREST)
    label[:2, :3] = IGNORE
    return label


def color_coded(label: np.ndarray, colors=CITYSCAPES_COLORS) -> np.ndarray:
    """RGB uint8 [h, w, 3] of a label in its class colours; IGNORE is black."""
    palette = np.zeros((256, 3), np.uint8)
    palette[: len(colors)] = colors
    return palette[label]


def save(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def inverted(mapping: dict[int, int], label: np.ndarray) -> np.ndarray:
    """File ids of a label of train ids, through the first id that `mapping` gives to each."""
    table = np.zeros(256, np.uint8)
    for raw, train_id in sorted(mapping.items(), reverse=True):
        table[train_id] = raw
    return table[label]


def write_gta5(root: Path, count: int = 3, sizes: dict[int, tuple[int, int]] | None = None) -> Path:
    """images/00001.png and labels/00001.png (palette of labelIDs); `sizes` sets the size of single frames."""
    for index in range(1, count + 1):
        label = street_label(index, (sizes or {}).get(index, SIZE))
        save(root / f"images/{index:05d}.png", color_coded(label))
        palette_image = Image.fromarray(inverted(CITYSCAPES_LABEL_IDS, label))
        palette_image.putpalette([value for color in range(256) for value in (color, 255 - color, 7)])
        (root / "labels").mkdir(exist_ok=True)
        palette_image.save(root / f"labels/{index:05d}.png")
    return root


def write_synthia(root: Path, count: int = 3) -> Path:
    """RGB/ and GT/LABELS/ with 16-bit PNGs: ids in channel 0, instance numbers above 255 in channel 1."""
    for index in range(count):
        label = street_label(index)
        save(root / f"RGB/{index:07d}.png", color_coded(label))
        red = inverted(SYNTHIA_IDS, label).astype(np.uint16)
        blue_green_red = np.dstack([np.zeros_like(red), np.full_like(red, 300 + index), red])
        (root / "GT/LABELS").mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(root / f"GT/LABELS/{index:07d}.png"), blue_green_red)
    return root


def write_cityscapes(root: Path, split: str = "train", cities: tuple[str, ...] = ("aachen", "bochum")) -> Path:
    """leftImg8bit/ and gtFine/ with one frame a city, and the other files that the archives hold."""
    for index, city in enumerate(cities):
        label, stem = street_label(index), f"{city}_000000_{index:06d}"
        save(root / f"leftImg8bit/{split}/{city}/{stem}_leftImg8bit.png", color_coded(label))
        fine = root / f"gtFine/{split}/{city}"
        save(fine / f"{stem}_gtFine_labelIds.png", inverted(CITYSCAPES_LABEL_IDS, label))
        save(fine / f"{stem}_gtFine_instanceIds.png", label)
        save(fine / f"{stem}_gtFine_color.png", color_coded(label))
    return root


def write_bdd100k(root: Path, split: str = "train", count: int = 2, older: bool = False) -> Path:
    """images/10k + labels/sem_seg/masks, or the older seg/ with *_train_id.png."""
    images, labels, suffix = (
        (f"seg/images/{split}", f"seg/labels/{split}", "_train_id.png")
        if older
        else (f"images/10k/{split}", f"labels/sem_seg/masks/{split}", ".png")
    )
    for index in range(count):
        label = street_label(index)
        save(root / images / f"{index:08x}-00.jpg", color_coded(label))
        save(root / labels / f"{index:08x}-00{suffix}", label)
    return root


def write_cross_city(root: Path, city: str = "Rome") -> Path:
    """NTHU_Datasets/<City>: two unlabelled training images and one labelled test image."""
    base = root / "NTHU_Datasets" / city
    for index in range(2):
        save(base / f"Images/Train/pano_{index:05d}_0_0.png", color_coded(street_label(index)))
    label = street_label(5)
    save(base / "Images/Test/pano_00900_0_0.png", color_coded(label))
    save(base / "Labels/Test/pano_00900_0_0_eval.png", inverted(CITYSCAPES_LABEL_IDS, label))
    return root


def write_robotcar(root: Path) -> Path:
    """train/ without labels, val/ with labels in anno/; the label's classes are those of robotcar9."""
    for index in range(2):
        save(root / f"train/{index:016d}.png", color_coded(street_label(index)))
    label = street_label(4, classes=9)
    save(root / "val/1418381798.png", color_coded(label))
    save(root / "anno/1418381798.png", inverted(ROBOTCAR_IDS, label))
    return root


CAMVID_STEMS = {"train": "0006R0_f00930", "val": "0016E5_07959", "test": "Seq05VD_f00000"}


def write_camvid_original(root: Path) -> Path:
    """701_StillsRaw_full and LabeledApproved_full; the labels hold all 32 colours, one column each."""
    colors = np.array([[value >> 16, value >> 8 & 255, value & 255] for value, _ in CAMVID_CLASSES.values()], np.uint8)
    label = np.repeat(np.repeat(colors[None], 4, axis=0), 2, axis=1)
    for stem in CAMVID_STEMS.values():
        save(root / f"701_StillsRaw_full/{stem}.png", np.zeros_like(label))
        save(root / f"LabeledApproved_full/{stem}_L.png", label)
    return root


def write_camvid_segnet(root: Path) -> Path:
    """train/, trainannot/ and so on, ids 0-10 and 11 = void."""
    for index, (split, stem) in enumerate(CAMVID_STEMS.items()):
        label = street_label(index, classes=11)
        save(root / f"{split}/{stem}.png", color_coded(label))
        save(root / f"{split}annot/{stem}.png", np.where(label == IGNORE, 11, label).astype(np.uint8))
    return root


def write_folders(root: Path, count: int = 3, size: tuple[int, int] = SIZE, classes: int = 19) -> Path:
    """images/ and labels/ of train ids."""
    for index in range(count):
        label = street_label(index, size, classes)
        save(root / f"images/{index:03d}.png", color_coded(label))
        save(root / f"labels/{index:03d}.png", label)
    return root
