"""What a run prints, where the output knows few characters."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from training.progress import tracked

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("encoding", ["utf-8", "cp1252", "ascii"])
def test_a_character_that_the_log_file_lacks_does_not_end_the_run(encoding):
    code = "from training.progress import console; console.print('mIoU 10.0 → 20.0'); print('road ▲')"
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    expected = ["mIoU 10.0 → 20.0", "road ▲"] if encoding == "utf-8" else ["mIoU 10.0 ? 20.0", "road ?"]
    assert done.stdout.decode(encoding).splitlines() == expected


@pytest.mark.parametrize("terminal", [False, True])
@pytest.mark.parametrize(("patience", "seconds", "shown"), [(0.0, 0.0, True), (5.0, 0.0, False), (0.05, 0.1, True)])
def test_nothing_is_shown_of_work_that_ends_soon(capsys, monkeypatch, terminal, patience, seconds, shown):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)
    for _ in tracked(range(3), "reading", 3, patience=patience):
        time.sleep(seconds)
    said = capsys.readouterr().out
    assert ("reading" in said and ("3/3 in 0 s" in said) != terminal) if shown else said == ""
