"""Arrays that are made once per run and read by all workers ever after: a resumed run goes on with the same."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from training.distribution.workers import on_chief
from training.errors import UserError
from training.files.atomic import whole_file
from training.files.npy import read_array


def keep_once(path: Path, make: Callable[[], np.ndarray], together: bool = False) -> None:
    """Write the array that `make` gives to the .npy file `path`, where it is not there yet.

    together: all workers make it, as they exchange parts of it; else the chief alone. The chief writes.
    """
    if together:
        if not on_chief(path.exists):
            array = make()
            on_chief(lambda: _write(path, array))
        return
    on_chief(lambda: None if path.exists() else _write(path, make()))


def kept_array(
    path: Path, make: Callable[[], np.ndarray], shape: tuple[int, ...], dtype: type, together: bool = False
) -> np.ndarray:
    """What the file holds after `keep_once`.

    Raises:
        UserError: the file is damaged, or holds an array of another shape or type.
    """
    keep_once(path, make, together)
    array = read_array(path)
    if array.shape != shape or array.dtype != dtype:
        raise UserError(
            f"{path} holds {array.dtype} of shape {array.shape}, where this run has {np.dtype(dtype)} of shape "
            f"{shape}: delete it, and the run makes it again"
        )
    return array


def _write(path: Path, array: np.ndarray) -> None:
    with whole_file(path, lasting=True) as partial:
        np.save(partial, array)
