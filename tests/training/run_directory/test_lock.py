"""The lock of a run directory: who is refused, with which words, and when it is free again."""

import errno
import json
import os
import platform
import re
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

from training.errors import UserError
from training.run_directory.lock import lock_run

ROOT = Path(__file__).resolve().parents[3]
HOLD = (
    "import sys, time; from pathlib import Path; from training.run_directory.lock import lock_run;"
    "lock = lock_run(Path(sys.argv[1])); print('held', flush=True); time.sleep(600)"
)


@pytest.fixture
def other(tmp_path):
    """Another process that holds the lock of `tmp_path`."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


def test_the_second_is_told_who_holds_the_lock_and_since_when(tmp_path, other):
    with pytest.raises(UserError) as refused:
        lock_run(tmp_path)
    holder = rf"process {other.pid} on {re.escape(platform.node())} since \d{{4}}-\d\d-\d\d \d\d:\d\d"
    assert re.search(rf"is in use by another run \({holder}\): wait for its end or stop it first$", str(refused.value))
    assert json.loads((tmp_path / "lock.json").read_text())["process"] == other.pid, "the refused one changes nothing"


def test_a_killed_process_holds_nothing(tmp_path, other):
    other.kill()
    other.wait()
    lock_run(tmp_path).release()
    assert json.loads((tmp_path / "lock.json").read_text())["process"] == os.getpid()


@pytest.mark.parametrize("content", [None, b"", b"[]", b"{}", b"\xff"])
def test_an_unknown_holder_is_not_named(tmp_path, other, content):
    (tmp_path / "lock.json").unlink() if content is None else (tmp_path / "lock.json").write_bytes(content)
    with pytest.raises(UserError, match="is in use by another run: wait"):
        lock_run(tmp_path)


def test_a_released_lock_is_free(tmp_path):
    lock_run(tmp_path).release()
    lock_run(tmp_path).release()


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_said_and_the_run_goes_on(tmp_path, monkeypatch, capsys, number):
    def no_locks(self):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(FileLock, "_acquire", no_locks)
    lock_run(tmp_path).release()
    told = f"{tmp_path} cannot be locked ({os.strerror(number)}): let no second run write there\n"
    assert capsys.readouterr().out == told


def test_no_lock_without_the_system(tmp_path):
    """A lock that is only a file's existence would outlive a killed process."""
    lock = lock_run(tmp_path)
    assert not lock.fallback_to_soft
    lock.release()


def test_a_folder_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "lock").mkdir()
    with pytest.raises(UserError, match=r"cannot write to .*; choose another --out"):
        lock_run(tmp_path)
