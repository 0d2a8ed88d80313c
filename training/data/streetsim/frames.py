"""Frames on disk: rendered once in parallel processes, written atomically, found again by what they depend on."""

import hashlib
import json
import multiprocessing
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from pathlib import Path

import cv2
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from training.data.streetsim import STYLES, VERSION, render
from training.errors import UserError
from training.files.cache import cache_folder

SPLITS = ("train", "val", "test")
_CHUNK = 16  # frames a task


def ensure_frames(
    style_name: str, split: str, count: int, size: tuple[int, int], seed: int = 0, cache: Path | str | None = None
) -> Path:
    """The folder that holds at least `count` frames of a style: images/000000.png ..., labels/000000.png ... .

    Images are uint8 RGB [h, w, 3], labels uint8 [h, w] of Cityscapes train ids (255 = nothing applies); the first
    `count` names in order are the frames asked for. Frames already there are kept, so a larger request extends a
    smaller one. `cache` defaults to $STREETSHIFT_CACHE, else ~/.cache/streetshift. Splits never share a frame.
    Raises UserError for an unknown style or split, a size under 32 pixels, or a cache that cannot be written.
    """
    _check(style_name, split, count, size)
    folder = (
        cache_folder(cache)
        / "streetsim"
        / f"{style_name}-{split}-{size[0]}x{size[1]}-{_digest(style_name, split, size, seed)}"
    )
    try:
        for kind in ("images", "labels"):
            (folder / kind).mkdir(parents=True, exist_ok=True)
        missing = _missing(folder, count)
        if missing:
            _render_all(style_name, split_seed(seed, split), missing, size, folder, f"streets {style_name}/{split}")
    except OSError as error:
        raise UserError(
            f"The cache folder {folder} cannot be written ({error.strerror or error}): free space there, or set "
            "STREETSHIFT_CACHE to a folder you may write to."
        ) from error
    return folder


def split_seed(seed: int, split: str) -> int:
    """The generator seed of a split: different for every (seed, split)."""
    return seed * len(SPLITS) + SPLITS.index(split)


def _check(style_name: str, split: str, count: int, size: tuple[int, int]) -> None:
    if style_name not in STYLES:
        raise UserError(f"There is no street style {style_name!r}: choose one of {', '.join(STYLES)}.")
    if split not in SPLITS:
        raise UserError(f"There is no split {split!r} of the streets: choose one of {', '.join(SPLITS)}.")
    if count < 1 or min(size) < 32:
        raise UserError(f"Cannot render {count} frames of {size[0]}x{size[1]}: ask for at least 1 frame of 32x32.")


def _digest(style_name: str, split: str, size: tuple[int, int], seed: int) -> str:
    told = json.dumps([asdict(STYLES[style_name]), VERSION, split, list(size), seed], sort_keys=True)
    return hashlib.sha256(told.encode()).hexdigest()[:12]


def frame_paths(folder: Path, index: int) -> tuple[Path, Path]:
    """Image and label file of frame `index`."""
    return folder / "images" / f"{index:06d}.png", folder / "labels" / f"{index:06d}.png"


def _missing(folder: Path, count: int) -> list[int]:
    """A label is written after its image, so a frame with a label is whole."""
    images, labels = ({entry.name for entry in os.scandir(folder / kind)} for kind in ("images", "labels"))
    return [k for k in range(count) if f"{k:06d}.png" not in images or f"{k:06d}.png" not in labels]


def _render_all(style_name: str, seed: int, missing: list[int], size, folder: Path, title: str) -> None:
    """Render `missing` frames, with a progress bar that tells the time left."""
    chunks = [missing[k : k + _CHUNK] for k in range(0, len(missing), _CHUNK)]
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns) as progress:
        task = progress.add_task(title, total=len(missing))
        for done in _run([(style_name, seed, chunk, size, folder) for chunk in chunks]):
            progress.advance(task, done)


def _run(tasks: list[tuple]) -> Iterator[int]:
    """Number of frames of each finished task; small requests stay in this process."""
    workers = min(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1, len(tasks))
    if workers < 2:
        yield from map(_render_chunk, tasks)
        return
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), initializer=_start_worker) as pool:
        yield from pool.map(_render_chunk, tasks)


def _start_worker() -> None:
    """One thread a worker, and no worker without its parent: a killed run must not go on rendering."""
    cv2.setNumThreads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    multiprocessing.parent_process().join()
    os._exit(1)


def _render_chunk(task: tuple) -> int:
    style_name, seed, indices, size, folder = task
    for index in indices:
        image, label = render(STYLES[style_name], seed, index, size)
        image_path, label_path = frame_paths(folder, index)
        _write_png(image_path, cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        _write_png(label_path, label)
    return len(indices)


def _write_png(path: Path, array) -> None:
    """Written beside and moved into place: a killed run leaves no half file under the final name."""
    packed = cv2.imencode(".png", array, [cv2.IMWRITE_PNG_COMPRESSION, 3])[1]
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_bytes(packed.tobytes())
    partial.replace(path)
