"""Variables of a method in files: all of them at some step of the stage under way, and those kept between stages.

Of the stage under way the last two files are kept.
"""

import contextlib
import re
import time
import zipfile
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np

from training.errors import UserError
from training.files.atomic import whole_file
from training.files.npy import Header, check_claim, damage_reported, read_header, read_values
from training.files.reading import open_file
from training.methods.method import Method
from training.progress import console
from training.run_directory.digests import digests_of, is_sound, read_digests, write_digests
from training.run_directory.paths import RunDirectory

PARTIAL_GROUP = "stage"
SECONDS = "seconds"  # the group of the time that the stage has taken


def save_lasting(path: Path, groups: Mapping[str, list]) -> None:
    """Write groups of variables (`Method.lasting_variables`) to one .npz, whole or not at all.

    The arrays are named "<group>/<index>".

    Raises:
        CannotWrite: the folder cannot be written, or the disk is full.
    """
    path.parent.mkdir(exist_ok=True)
    with whole_file(path, lasting=True) as partial:
        np.savez(partial, **{name: np.asarray(variable) for name, variable in _named(groups).items()})


def load_lasting(path: Path, groups: Mapping[str, list]) -> None:
    """Give the variables of `groups` the values that `save_lasting` wrote; other groups of the file are not read.

    Raises:
        UserError: the file cannot be read, or does not hold these groups in these shapes: then no variable has changed.
    """
    variables = _named(groups)
    with _opened(path) as archive:
        # Compare all shapes before the first variable is changed.
        found = {}
        for name in filter(lambda name: _group(name) in groups, _names(archive)):
            with _array(archive, name, path) as (header, _):
                found[name] = header.shape
        expected = {name: tuple(variable.shape) for name, variable in variables.items()}
        if found != expected:
            raise UserError(f"{path} does not fit this network: {_difference(found, expected)}")
        # One array in memory at a time.
        for name, variable in variables.items():
            with _array(archive, name, path) as (header, stream):
                variable.assign(read_values(stream, header))


def read_lasting(path: Path, groups: Collection[str] | None = None) -> dict[str, list[np.ndarray]]:
    """The arrays of each group that `save_lasting` wrote, or of those of `groups` that are there, in their order.

    Raises:
        UserError: the file cannot be read.
    """
    found: dict[str, list[np.ndarray]] = {}
    with _opened(path) as archive:
        for name in _names(archive):
            if groups is not None and _group(name) not in groups:
                continue
            with _array(archive, name, path) as (header, stream):
                found.setdefault(_group(name), []).append(read_values(stream, header))
    return found


def lasting_groups(path: Path) -> set[str]:
    """The names of the groups in a file of `save_lasting`, without reading their arrays.

    Raises:
        UserError: the file cannot be read.
    """
    with _opened(path) as archive:
        return {_group(name) for name in _names(archive)}


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    with open_file(path) as file, damage_reported(path), zipfile.ZipFile(file) as archive:
        yield archive


def _names(archive: zipfile.ZipFile) -> list[str]:
    return [entry.removesuffix(".npy") for entry in archive.namelist()]


@contextlib.contextmanager
def _array(archive: zipfile.ZipFile, name: str, path: Path) -> Iterator[tuple[Header, BinaryIO]]:
    """Header and values of one array; the header is compared with the file before anything of its size is read."""
    member = archive.getinfo(f"{name}.npy")
    with archive.open(member) as stream:
        header = read_header(stream, str(path))
        check_claim(header, member.file_size - stream.tell(), f"The array {name} in {path}")
        yield header, stream


def _group(name: str) -> str:
    """Of the array "<group>/<index>"."""
    return name.rpartition("/")[0]


def _named(groups: Mapping[str, list]) -> dict:
    return {
        f"{group}/{index}": variable for group, variables in groups.items() for index, variable in enumerate(variables)
    }


def _difference(found: Mapping[str, tuple], expected: Mapping[str, tuple]) -> str:
    """The first array that the file has otherwise than expected, in words."""
    for name in expected:
        if name not in found:
            return f"it has no array {name}; the run was begun with another recipe, model or version"
        if found[name] != expected[name]:
            return f"its array {name} has the shape {found[name]}, expected was {expected[name]}"
    extra = next(name for name in found if name not in expected)
    return f"it has an array {extra} that is not expected; the run was begun with another recipe, model or version"


def save_partial(directory: RunDirectory, method: Method, stage: str, step: int) -> None:
    """Write everything a resumed stage needs. `method` is compiled and its optimiser built.

    The file counts once it is in the list of digests; only then the last but one before it is removed.
    """
    path = directory.partials / f"{stage}-{step:07d}.npz"
    seconds = np.float64(time.monotonic() - directory.stage_began)
    save_lasting(path, {PARTIAL_GROUP: method.resumable_variables, SECONDS: [seconds]})
    new = digests_of(directory.path, [path])
    earlier = [entry for entry in _listed(directory, stage) if entry[0] not in new]
    kept = {**dict(earlier[-1:]), **new}
    write_digests(directory.partial_digests, kept)
    for old in directory.partials.iterdir():
        if old.relative_to(directory.path).as_posix() not in kept:
            old.unlink()


def load_partial(directory: RunDirectory, method: Method, stage: str) -> int:
    """Restore `method` from the last sound file of the same stage; the number of steps already made, 0 without one.

    `directory.stage_began` becomes earlier by the seconds that the stage had taken then.
    """
    for name, digest in reversed(_listed(directory, stage)):
        path = directory.path / name
        if is_sound(path, digest):
            load_lasting(path, {PARTIAL_GROUP: method.resumable_variables})
            directory.stage_began -= sum(float(each) for each in read_lasting(path, {SECONDS}).get(SECONDS, []))
            return _stage_and_step(name)[1]
        console.print(f"{path} is damaged: going on from the checkpoint before it", style="yellow", markup=False)
    return 0


def _listed(directory: RunDirectory, stage: str) -> list[tuple[str, str]]:
    """Name and digest of the files of a stage, the oldest first."""
    return [entry for entry in read_digests(directory.partial_digests).items() if _stage_and_step(entry[0])[0] == stage]


def _stage_and_step(name: str) -> tuple[str, int]:
    found = re.fullmatch(r"(.+)-(\d+)", Path(name).stem)
    return (found[1], int(found[2])) if found else ("", 0)
