"""Files are whole or not there, also on a full disk."""

import errno
import os
import stat

import pytest

from training.errors import CannotWrite
from training.files.atomic import check_room, digest_of, remove_leftovers, whole_file, write_atomically

FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def stopped_by(error: BaseException, path) -> None:
    with whole_file(path) as partial:
        partial.write_bytes(b"half")
        raise error


@pytest.mark.parametrize("lasting", [False, True])
def test_the_new_file_takes_the_place_of_the_old(tmp_path, lasting):
    write_atomically(tmp_path / "a", b"old", lasting)
    write_atomically(tmp_path / "a", b"new", lasting)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert digest_of(tmp_path / "a") == "11507a0e2f5e69d5dfa40a62a1bd7b6ee57e6bcd85c67c9b8431b36fff21c437"


def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path):
    write_atomically(tmp_path / "a", b"old")
    with pytest.raises(CannotWrite, match="No space left on device"):
        stopped_by(FULL, tmp_path / "a")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_bytes() == b"old"


def test_what_a_kill_leaves_is_known(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        stopped_by(KeyboardInterrupt(), tmp_path / "a.weights.h5")
    assert [path.name for path in tmp_path.iterdir()] == [".partial-a.weights.h5"]
    remove_leftovers(tmp_path)
    assert not list(tmp_path.iterdir())


def test_room_is_asked_for_byte_by_byte(tmp_path):
    check_room(tmp_path / "a", (1 << 20) + 5)
    assert (tmp_path / "a").stat().st_size == (1 << 20) + 5


def test_lasting_files_where_no_folder_can_be_opened(tmp_path, monkeypatch):
    """As on Windows: no descriptor of a folder, and nothing to wait for on one that only reads."""
    open_file, wait, waited = os.open, os.fsync, []

    def open_no_folder(path, *arguments, **options):
        if os.path.isdir(path):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return open_file(path, *arguments, **options)

    def wait_for_written(descriptor):
        os.write(descriptor, b"")  # fails on a descriptor that only reads
        waited.append(descriptor)
        wait(descriptor)

    monkeypatch.setattr(os, "open", open_no_folder)
    monkeypatch.setattr(os, "fsync", wait_for_written)
    write_atomically(tmp_path / "a", b"new", lasting=True)
    assert (tmp_path / "a").read_bytes() == b"new"
    assert len(waited) == 1


def test_lasting_files_wait_for_their_name_too(tmp_path, monkeypatch):
    waited = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: waited.append(stat.S_ISDIR(os.fstat(descriptor).st_mode)))
    write_atomically(tmp_path / "a", b"new", lasting=True)
    assert waited == [False, True]
