"""Pseudo-labels on disk: 8-bit PNGs of train ids (255 = ignore) and a JSON manifest beside them, written atomically."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from training.errors import UserError
from training.files.atomic import write_atomically
from training.files.reading import read_json
from training.pseudo_labels.thresholds import Thresholds, thresholds_from_json

MANIFEST_NAME = "manifest.json"


def write_label_png(path: Path, label: np.ndarray) -> None:
    """Write uint8 [h, w] as a greyscale PNG; a reader sees the old file or the whole new one, never a part."""
    if label.dtype != np.uint8 or label.ndim != 2:
        raise ValueError(f"expected uint8 [height, width], got {label.dtype} {label.shape}")
    encoded = io.BytesIO()
    Image.fromarray(label).save(encoded, format="PNG")
    write_atomically(path, encoded.getvalue())


def label_manifest(
    thresholds: Thresholds,
    kept: np.ndarray,
    names: list[str],
    source: str,
    class_names: tuple[str, ...] | None = None,
    **extra: Any,
) -> dict[str, Any]:
    """What a folder of pseudo-labels holds and how it was made; every list is by class.

    kept: int64 [c], selected pixels per label. thresholds: null = never selected. kept_share: selected pixels over the
    pixels whose arg-max is that class, null where there are none (above 1 when re-weighting moves pixels to a class).
    extra: further entries, such as alpha or the digest of the model.
    """
    counts = thresholds.counts
    total = int(counts.sum())
    return {
        "selector": thresholds.selector,
        "portion": thresholds.portion,
        "stride": thresholds.stride,
        "compat": thresholds.compat,
        "source": source,
        "images": len(names),
        "classes": len(counts),
        "class_names": None if class_names is None else list(class_names),
        "thresholds": [float(value) if np.isfinite(value) else None for value in thresholds.values],
        "pixels": counts.tolist(),
        "ranked_pixels": thresholds.pool_counts.tolist(),
        "kept_pixels": kept.tolist(),
        "kept_share": [k / n if n else None for k, n in zip(kept.tolist(), counts.tolist(), strict=True)],
        "kept_share_all": int(kept.sum()) / total if total else 0.0,
        **extra,
        "files": [f"{name}.png" for name in names],
    }


def read_thresholds(folder: Path) -> Thresholds:
    """The thresholds that a folder's manifest tells of; UserError where there is no manifest to read."""
    manifest = read_json(folder / MANIFEST_NAME)
    try:
        return thresholds_from_json(manifest, "pixels", "ranked_pixels")
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{folder / MANIFEST_NAME} does not tell of thresholds ({error!r}): label the images again."
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
    """The labels that a manifest names; none if it is none."""
    try:
        files = read_json(manifest).get("files")
    except UserError:
        return set()
    return (
        {name for name in files if isinstance(name, str) and name.endswith(".png")}
        if isinstance(files, list)
        else set()
    )
