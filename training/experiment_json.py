"""An experiment as JSON (recipe.json) and back: every number within its bounds, or one sentence says where not."""

from models.catalogue import NETWORKS
from training.errors import UserError
from training.settings import Experiment

VERSION = "0.1.0"


def experiment_to_json(experiment: Experiment) -> dict:
    from pydantic import TypeAdapter

    return TypeAdapter(Experiment).dump_python(experiment, mode="json")


def experiment_from_json(value: object, place: str = "recipe.json") -> Experiment:
    """The experiment that `value` describes, every number within its bounds; UserError, saying `place`, if none."""
    from pydantic import TypeAdapter, ValidationError

    try:
        experiment = TypeAdapter(Experiment).validate_python(value)
    except ValidationError as error:
        first = error.errors()[0]
        spot = ".".join(str(part) for part in first["loc"])
        raise UserError(
            f"{place} does not fit StreetShift {VERSION} at '{spot}' ({first['msg']}): use the version that wrote it"
        ) from error
    model = experiment.model
    if model.network not in NETWORKS:
        raise UserError(f"{place} names the model '{model.network}', which this version does not have")
    strides = NETWORKS[model.network].strides
    if model.output_stride not in (None, *strides):
        raise UserError(f"{place}: {model.network} has the output stride {' or '.join(map(str, strides))}")
    return experiment
