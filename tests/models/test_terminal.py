"""Commands to copy, for each system's shell, and output that knows few characters."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from models import terminal
from models.terminal import shell_words

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("word", "windows", "posix"),
    [
        (r"runs\best-folders-seed0", r"runs\best-folders-seed0", r"'runs\best-folders-seed0'"),
        (r"C:\my runs\1", r'"C:\my runs\1"', r"'C:\my runs\1'"),
        (r"runs\R&D (2)", r'"runs\R&D (2)"', r"'runs\R&D (2)'"),
        (r"runs\R&D", r'"runs\R&D"', r"'runs\R&D'"),
        ("runs/best-1", "runs/best-1", "runs/best-1"),
        ("", '""', "''"),
    ],
)
def test_a_command_is_quoted_for_the_shell_of_the_system(monkeypatch, word, windows, posix):
    for on_windows, expected in ((True, windows), (False, posix)):
        monkeypatch.setattr(terminal, "WINDOWS", on_windows)
        assert shell_words("python", "training/run.py", "--resume", word) == (
            f"python training/run.py --resume {expected}"
        )


@pytest.mark.parametrize("encoding", ["utf-8", "cp1252", "ascii"])
def test_a_character_that_the_log_file_lacks_does_not_end_a_command(encoding):
    code = (
        "from models.terminal import accept_all_characters; accept_all_characters(); print('road ▲')\n"
        "from training.progress import console; console.print('mIoU 10.0 → 20.0')"
    )
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    expected = ["road ▲", "mIoU 10.0 → 20.0"] if encoding == "utf-8" else ["road ?", "mIoU 10.0 ? 20.0"]
    assert done.stdout.decode(encoding).splitlines() == expected


def test_every_command_begins_with_it():
    files = [path for folder in ("app", "export", "models", "training") for path in (ROOT / folder).rglob("*.py")]
    commands = [text for path in files if "__main__" in (text := path.read_text(encoding="utf-8"))]
    assert len(commands) == 9
    for text in commands:
        body = text.partition("\ndef main(")[2].split("\ndef ")[0].split("\n")
        code = (line.strip() for line in body[1:])
        assert next(line for line in code if line and not line.startswith('"""')) == "accept_all_characters()"
