"""What a run prints, where the output knows few characters."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("encoding", ["utf-8", "cp1252", "ascii"])
def test_a_character_that_the_log_file_lacks_does_not_end_the_run(encoding):
    code = "from training.progress import console; console.print('mIoU 10.0 → 20.0'); print('road ▲')"
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    expected = ["mIoU 10.0 → 20.0", "road ▲"] if encoding == "utf-8" else ["mIoU 10.0 ? 20.0", "road ?"]
    assert done.stdout.decode(encoding).splitlines() == expected
