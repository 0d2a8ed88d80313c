"""The peak of a process' memory, with and without the module `resource`; what a process has run out of."""

import sys
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
import tensorflow as tf

from training.distribution import memory
from training.distribution.memory import free_memory, out_of_memory_said, peak_memory
from training.errors import CannotWrite, OutOfMemory

HELD = 200 << 20


def test_it_is_the_peak_and_not_what_is_held_now():
    before = peak_memory()
    held = np.ones(HELD, np.uint8)
    now = psutil.Process().memory_info().rss
    del held
    assert now * 0.95 <= peak_memory() <= max(before, now * 1.5)
    assert psutil.Process().memory_info().rss < now - HELD / 2


def test_windows_tells_it_in_its_own_way(monkeypatch):
    monkeypatch.setitem(sys.modules, "resource", None)
    told = SimpleNamespace(memory_info=lambda: SimpleNamespace(rss=5, peak_wset=7))
    monkeypatch.setattr(psutil, "Process", lambda: told)
    assert peak_memory() == 7


EVENTS = "/runs/a/tensorboard/source/events.v2"


def exhausted(message: str) -> tf.errors.ResourceExhaustedError:
    return tf.errors.ResourceExhaustedError(None, None, message)


@pytest.mark.parametrize(
    ("error", "becomes", "said"),
    [
        (MemoryError(), OutOfMemory, "^too little$"),
        (exhausted("OOM when allocating tensor"), OutOfMemory, "^too little$"),
        (
            exhausted(f"{EVENTS}; No space left on device"),
            CannotWrite,
            f"{EVENTS}; No space left on device.*free space",
        ),
        (exhausted(f"{EVENTS}; Disk quota exceeded"), CannotWrite, "free space$"),
        (ValueError("No space left on device"), ValueError, "No space left"),
    ],
)
def test_a_full_disk_is_not_taken_for_too_little_memory(error, becomes, said):
    with pytest.raises(becomes, match=said), out_of_memory_said(lambda: "too little"):
        raise error


LIMIT = 1 << 20


@pytest.mark.parametrize(
    ("own", "version", "below"), [("0::/pod/run", 2, "pod"), ("0::/", 2, ""), ("3:cpu:/x\n2:memory:/pod", 1, "pod")]
)
def test_a_container_has_what_its_groups_leave_and_the_cache_of_files(tmp_path, monkeypatch, own, version, below):
    (tmp_path / "own").write_text(f"{own}\n")
    monkeypatch.setattr(memory, "OWN_CGROUPS", tmp_path / "own")
    moved = {name: (tmp_path / name, *files) for name, (_, *files) in memory.CGROUP_FILES.items()}
    monkeypatch.setattr(memory, "CGROUP_FILES", moved)
    root, limit, used, cache = moved["" if version == 2 else "memory"]
    (root / below).mkdir(parents=True, exist_ok=True)
    for name, text in ((limit, f"{LIMIT}"), (used, "900000"), ("memory.stat", f"anon 1\n{cache} 600000\nfile 700000")):
        (root / below / name).write_text(f"{text}\n")
    assert free_memory() == LIMIT - 300_000
    (root / below / limit).write_text("max\n")
    assert free_memory() > LIMIT
