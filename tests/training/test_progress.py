"""Progress of long work; nothing of work that ends soon."""

import re
import sys
import time

import pytest

from training.progress import tracked


@pytest.mark.parametrize("terminal", [False, True])
@pytest.mark.parametrize(("patience", "seconds", "shown"), [(0.0, 0.0, True), (5.0, 0.0, False), (0.05, 0.1, True)])
def test_nothing_is_shown_of_work_that_ends_soon(capsys, monkeypatch, terminal, patience, seconds, shown):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)
    for _ in tracked(range(3), "reading", 3, patience=patience):
        time.sleep(seconds)
    said = capsys.readouterr().out
    assert ("reading" in said and (re.search(r"3/3 in \d+ s", said) is not None) != terminal) if shown else said == ""
