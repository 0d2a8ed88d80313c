"""The state of a stage under way: all variables of the method at some step, in one file; the last two are kept."""

import re
from pathlib import Path

import numpy as np

from training.errors import UserError
from training.files.atomic import whole_file
from training.progress import console
from training.run_directory.digests import digests_of, is_sound, read_digests, write_digests
from training.run_directory.paths import RunDirectory


def save_partial(directory: RunDirectory, model, stage: str, step: int) -> None:
    """Write everything a resumed stage needs. `model` is a compiled method with a built optimiser.

    The file counts once it is in the list of digests; only then the last but one before it is removed.
    """
    path = directory.partials / f"{stage}-{step:07d}.npz"
    path.parent.mkdir(exist_ok=True)
    arrays = {f"variable_{index}": np.asarray(variable) for index, variable in enumerate(model.resumable_variables)}
    with whole_file(path, lasting=True) as partial:
        np.savez(partial, **arrays)
    new = digests_of(directory.path, [path])
    earlier = [entry for entry in _listed(directory, stage) if entry[0] not in new]
    kept = {**dict(earlier[-1:]), **new}
    write_digests(directory.partial_digests, kept)
    for old in directory.partials.iterdir():
        if old.relative_to(directory.path).as_posix() not in kept:
            old.unlink()


def load_partial(directory: RunDirectory, model, stage: str) -> int:
    """Restore `model` from the last sound file of the same stage; the number of steps already made, 0 without one."""
    for name, digest in reversed(_listed(directory, stage)):
        path = directory.path / name
        if is_sound(path, digest):
            _restore(path, model)
            return _stage_and_step(name)[1]
        console.print(f"{path} is damaged: going on from the checkpoint before it", style="yellow", markup=False)
    return 0


def _listed(directory: RunDirectory, stage: str) -> list[tuple[str, str]]:
    """Name and digest of the files of a stage, the oldest first."""
    return [entry for entry in read_digests(directory.partial_digests).items() if _stage_and_step(entry[0])[0] == stage]


def _stage_and_step(name: str) -> tuple[str, int]:
    found = re.fullmatch(r"(.+)-(\d+)", Path(name).stem)
    return (found[1], int(found[2])) if found else ("", 0)


def _restore(path: Path, model) -> None:
    variables = model.resumable_variables
    with np.load(path) as arrays:
        if [arrays[f"variable_{index}"].shape for index in range(len(arrays.files))] != [
            tuple(variable.shape) for variable in variables
        ]:
            raise UserError(f"{path} does not fit this network: it was written by another version of StreetShift")
        for index, variable in enumerate(variables):
            variable.assign(arrays[f"variable_{index}"])


def save_lasting(path: Path, groups: dict[str, list]) -> None:
    """Write variables by group, as `read_lasting` reads them."""
    arrays = {f"{name}/{index}": np.asarray(each) for name, group in groups.items() for index, each in enumerate(group)}
    with whole_file(path, lasting=True) as partial:
        np.savez(partial, **arrays)


def read_lasting(path: Path) -> dict[str, list[np.ndarray]]:
    """The arrays of each group, in their order."""
    groups: dict[str, list[np.ndarray]] = {}
    with np.load(path) as arrays:
        for name in arrays.files:
            groups.setdefault(name.split("/")[0], []).append(arrays[name])
    return groups


def lasting_groups(path: Path) -> set[str]:
    """The names of the groups in a file of `save_lasting`, without reading their arrays."""
    with np.load(path) as arrays:
        return {name.split("/")[0] for name in arrays.files}
