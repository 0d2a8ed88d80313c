"""Pictures of a segmentation for the page: masks to hover over, certainty, changed pixels; and how they are encoded."""

import io
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from training.data.classes import IGNORE, LabelSpace
from training.data.images import resize_label

JPEG_QUALITY = 90
OPACITY = 0.6  # of the classes over a photo, until somebody moves the slider
STRONG_OPACITY = 0.7  # where the rest of the photo is grey


def certainty_map(confidence: np.ndarray) -> np.ndarray:
    """Confidence float32 [h, w] in 0..1 as colours uint8 [h, w, 3]: dark blue is unsure, yellow is sure (viridis)."""
    levels = (np.clip(confidence, 0.0, 1.0) * 255).astype(np.uint8)
    return cv2.cvtColor(cv2.applyColorMap(levels, cv2.COLORMAP_VIRIDIS), cv2.COLOR_BGR2RGB)


def changed_only(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Labels uint8 [h, w]: `after` where it differs from `before`, IGNORE elsewhere."""
    return np.where(before != after, after, np.uint8(IGNORE))


def png(picture: np.ndarray) -> bytes:
    """RGB uint8 [h, w, 3] or train ids uint8 [h, w] as a PNG file."""
    return _encoded(picture, format="PNG", compress_level=3)


def jpeg(picture: np.ndarray) -> bytes:
    """RGB uint8 [h, w, 3] as a JPEG file."""
    return _encoded(picture, format="JPEG", quality=JPEG_QUALITY)


def label_png(label: np.ndarray, size: tuple[int, int]) -> bytes:
    """Train ids uint8 [h, w] as an 8-bit PNG file of `size` (height, width), nearest neighbour."""
    return png(resize_label(label, size))


def _encoded(picture: np.ndarray, **options) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, **options)
    return file.getvalue()


def written(path: Path, content: bytes) -> Path:
    """`path`, once `content` is in it."""
    path.write_bytes(content)
    return path


def write_masks(folder: Path, label: np.ndarray, classes: list[int], space: LabelSpace) -> list[Path]:
    """One transparent PNG of one colour for each class, with a palette of two entries: a few kilobytes each."""
    paths = []
    for class_id in classes:
        mask = Image.fromarray((label == class_id).astype(np.uint8))
        mask.putpalette((0, 0, 0, *space.colors[class_id]))
        paths.append(folder / f"mask_{class_id}.png")
        mask.save(paths[-1], transparency=0, bits=1)
    return paths
