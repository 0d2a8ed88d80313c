"""An experiment as JSON (recipe.json) and back: every number within its bounds, or one sentence says where not."""

import functools

from models.catalogue import NETWORKS
from training.errors import UserError
from training.settings.experiment import Experiment

VERSION = "0.1.0"

OPTIONS = "the options"
"""The `place` of an experiment that comes from the command line."""


@functools.cache
def _adapter():
    """Pydantic's of an experiment, made once: that takes a tenth of a second."""
    from pydantic import TypeAdapter

    return TypeAdapter(Experiment)


def experiment_to_json(experiment: Experiment) -> dict:
    return _adapter().dump_python(experiment, mode="json")


def experiment_from_json(value: object, place: str = "recipe.json") -> Experiment:
    """The experiment that `value` describes, every number within its bounds; UserError, saying `place`, if none."""
    from pydantic import ValidationError

    try:
        experiment = _adapter().validate_python(value)
    except ValidationError as error:
        spot, message = _what_is_wrong(error)
        raise UserError(
            f"{place} does not fit StreetShift {VERSION} at '{spot}' ({message}): use the version that wrote it"
            if place != OPTIONS
            else f"--set {spot.removeprefix('recipe.')}: {message}; --show prints the values there are"
        ) from error
    model = experiment.model
    if model.network not in NETWORKS:
        raise UserError(f"{place} names the model '{model.network}', which this version does not have")
    strides = NETWORKS[model.network].strides
    if model.output_stride not in (None, *strides):
        raise UserError(f"{place}: {model.network} has the output stride {' or '.join(map(str, strides))}")
    return experiment


def _what_is_wrong(error) -> tuple[str, str]:
    """`(where, message)` of the first error; of a union, the member whose kind was named counts."""
    errors = error.errors()
    other_kinds = [found["loc"][:-1] for found in errors if found["loc"][-1] == "kind"]
    fitting = [found for found in errors if not any(found["loc"][: len(kind)] == kind for kind in other_kinds)]
    spots: dict[str, list[str]] = {}
    for found in fitting or errors:
        # Pydantic puts the names of the union's members and of types between the fields'.
        names = [
            part for part in map(str, found["loc"]) if part == part.lower() and "[" not in part and "-" not in part
        ]
        spots.setdefault(".".join(names), []).append(found["msg"])
    spot, messages = next(iter(spots.items()))
    return spot, ", or ".join(messages)
