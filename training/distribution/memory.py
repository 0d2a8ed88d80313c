"""What a process holds in memory, what its devices have left, and an error that tells that there was too little."""

import contextlib
import errno
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

from training.errors import CannotWrite, OutOfMemory

CGROUPS = Path("/sys/fs/cgroup")
OWN_CGROUPS = Path("/proc/self/cgroup")
CGROUP_FILES = {
    "": (CGROUPS, "memory.max", "memory.current", "inactive_file"),
    "memory": (CGROUPS / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
}
"""By controller, of version 2 and 1 of control groups: their root; the files of limit and use of a group's memory (a
container's); and how memory.stat calls the cache of files in it, which the system gives back when memory is needed."""

FULL_DISK = tuple(getattr(errno, name) for name in ("ENOSPC", "EDQUOT") if hasattr(errno, name))
"""Errors of the system that mean a full disk, or that a user's share of it is."""


def peak_memory() -> int:
    """The most memory that this process has held at once, in bytes; child processes do not count."""
    try:
        import resource  # not on Windows
    except ImportError:
        import psutil  # which has no peak elsewhere

        return psutil.Process().memory_info().peak_wset
    unit = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes, Linux KiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def free_memory() -> int:
    """Bytes that this process may still take: of the machine, and of its control group where that has a limit."""
    import psutil

    free = psutil.virtual_memory().available
    for group, limit, used, cache in _memory_groups():
        with contextlib.suppress(OSError, ValueError):  # no such group, or its limit is "max"
            most, now = (int((group / name).read_text(encoding="utf-8")) for name in (limit, used))
            free = min(free, most - now + _cached(group, cache))
    return max(free, 0)


def _memory_groups() -> Iterator[tuple[Path, str, str, str]]:
    """The control groups of this process and those above, each limiting those below: folder, files, name of cache."""
    try:
        lines = OWN_CGROUPS.read_text(encoding="utf-8").splitlines()
    except OSError:  # not on Linux
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        files = CGROUP_FILES.get("memory" if "memory" in controllers.split(",") else controllers)
        if files is None:
            continue
        root, *names = files
        group = root / path.lstrip("/")  # in a container the path may be that outside: then only the root is there
        for folder in (group, *group.parents):
            yield (folder, *names)
            if folder == root:
                break


def _cached(group: Path, name: str) -> int:
    """Bytes of `name` in a group's memory.stat; 0 where it does not tell."""
    with contextlib.suppress(OSError, ValueError):
        rows = dict(line.split() for line in (group / "memory.stat").read_text(encoding="utf-8").splitlines())
        return int(rows.get(name, 0))
    return 0


def free_on_gpu(device: str) -> int | None:
    """Bytes that TensorFlow may still take on a logical device such as "GPU:0"; None where it does not tell.

    Its limit is that of `tf.config.set_logical_device_configuration`, or else what TensorFlow found free on the card
    when it started.
    """
    import tensorflow as tf
    from tensorflow.python.client import device_lib  # tf.config tells no limit

    limits = {found.name.rpartition("device:")[2]: found.memory_limit for found in device_lib.list_local_devices()}
    if not limits.get(device):
        return None
    return max(limits[device] - tf.config.experimental.get_memory_info(device)["current"], 0)


def gigabytes(count: float) -> str:
    """Bytes for people, in units of 10 ** 9."""
    return f"{count / 1e9:.1f} GB" if count >= 5e7 else f"{count / 1e9:.2f} GB"


def out_of_resources(error: BaseException) -> Literal["memory", "disk"] | None:
    """What there was too little of; None for any other error. TensorFlow, where it is in use, has one for both."""
    tensorflow = sys.modules.get("tensorflow")
    if tensorflow is not None and isinstance(error, tensorflow.errors.ResourceExhaustedError):
        return "disk" if any(os.strerror(number) in str(error) for number in FULL_DISK) else "memory"
    return "memory" if isinstance(error, MemoryError) else None


@contextlib.contextmanager
def out_of_memory_said(sentence: Callable[[], str]) -> Iterator[None]:
    """Raise an error of too little memory as `OutOfMemory` with this sentence.

    Raises:
        OutOfMemory: there was too little memory within.
        CannotWrite: TensorFlow met a full disk.
    """
    try:
        yield
    except Exception as error:
        short_of = out_of_resources(error)
        if short_of is None:
            raise
        if short_of == "disk":
            raise CannotWrite(f"Cannot write a file ({error}): free space") from error
        raise OutOfMemory(sentence()) from error


def out_of_memory_predicting(images: int, size: tuple[int, int]) -> str:
    """The sentence for too little memory where a trained network predicts so many images of a size at once."""
    several, free = f"{images} images" if images > 1 else "one image", gigabytes(free_memory())
    return (
        f"out of memory while predicting {several} of {size[0]}x{size[1]} at a time ({free} of this machine are free): "
        "end other programs, or begin another run with a smaller --size, which predictions have too"
    )
