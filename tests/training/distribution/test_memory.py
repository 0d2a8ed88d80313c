"""The peak of a process' memory, with and without the module `resource`."""

import sys
from types import SimpleNamespace

import numpy as np
import psutil

from training.distribution.memory import peak_memory

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
