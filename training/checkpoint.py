"""The state of a stage under way: all variables of the method and the step, in one file written atomically."""

import io
from pathlib import Path

import numpy as np

from training.errors import UserError
from training.files import write_atomically


def save_partial(path: Path, model, stage: str, step: int) -> None:
    """Write everything a resumed stage needs. `model` is a compiled method with a built optimiser."""
    arrays = {f"variable_{index}": np.asarray(variable) for index, variable in enumerate(model.resumable_variables)}
    buffer = io.BytesIO()
    np.savez(buffer, stage=stage, step=step, **arrays)
    write_atomically(path, buffer.getvalue())


def load_partial(path: Path, model, stage: str) -> int:
    """Restore `model` from the file of the same stage; the number of steps already made, 0 if there is no such file."""
    if not path.is_file():
        return 0
    with np.load(path) as arrays:
        if str(arrays["stage"]) != stage:
            return 0
        variables = model.resumable_variables
        if len(arrays.files) != len(variables) + 2:
            raise UserError(f"{path} does not fit this network: delete it to start the stage '{stage}' again")
        for index, variable in enumerate(variables):
            variable.assign(arrays[f"variable_{index}"])
        return int(arrays["step"])
