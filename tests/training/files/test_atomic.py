"""Files are whole or not there, also on a full disk."""

import errno
import os

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
