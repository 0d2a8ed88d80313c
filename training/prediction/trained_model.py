"""A finished (or stopped) run as something to predict with."""

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import keras

from models.segmenter import build_segmenter
from models.weights import WeightsError, shapes_in, shapes_of
from training.data.classes import LabelSpace, load_label_space
from training.data.fixed_lists import target_range
from training.data.picture_pixels import Range
from training.errors import UserError
from training.run_directory.checkpoint import lasting_groups, read_lasting
from training.run_directory.paths import STUDENT, RunDirectory
from training.settings.experiment import Experiment

STUDENT_GROUP = STUDENT.strip("/")  # of `Method.lasting_variables`


@dataclass(frozen=True)
class TrainedModel:
    """The network of a run with the weights of one stage."""

    network: keras.Model
    experiment: Experiment
    label_space: LabelSpace
    directory: RunDirectory

    @cached_property
    def sixteen_bit_range(self) -> Range | None:
        """What 16-bit images are stretched from, as those of the target were; None: the run had none to stretch."""
        return target_range(self.directory.images)

    def take(self, stage: str) -> None:
        """Give the network the weights of another stage; raises as `load_trained` does."""
        load_stage(self.network, self.directory, stage)


def load_trained(path: Path, stage: str = "final") -> TrainedModel:
    """The network of the run in `path` as it was after `stage`, in float32.

    Stages: "final", or the name of a finished one; "student/NAME": the student of a stage whose result is its teacher.

    Raises:
        UserError: no run there, or no such stage in it.
    """
    directory, experiment = RunDirectory.reopen(path)
    check_stage(directory, stage)
    space = load_label_space(experiment.data.label_space)
    model = replace(experiment.model, weights="none")
    network = build_segmenter(model.network, space.count, output_stride=model.output_stride)
    load_stage(network, directory, stage)
    return TrainedModel(network, experiment, space, directory)


def load_stage(network: keras.Model, directory: RunDirectory, stage: str) -> None:
    """Give the network the weights of a stage of the run in `directory`; raises as `load_trained` does."""
    check_stage(directory, stage)
    if stage == "final":
        load_own_weights(network, directory.final_weights)
    elif not stage.startswith(STUDENT):
        load_own_weights(network, directory.weights(stage))
    else:
        path = directory.lasting(stage.removeprefix(STUDENT))
        weights = read_lasting(path)[STUDENT_GROUP]
        if [weight.shape for weight in weights] != [tuple(weight.shape) for weight in network.weights]:
            raise UserError(f"{path} holds the weights of another network than {network.name} with these classes.")
        network.set_weights(weights)


def check_stage(directory: RunDirectory, stage: str) -> None:
    """Raise UserError where the run has no weights of that stage; the sentence lists those it has."""
    held = stages_of(directory)
    if stage not in held and not (stage == "final" and directory.final_weights.is_file()):
        raise UserError(
            f"{directory.path} has no weights of stage '{stage}': it holds {', '.join(held) or 'nothing yet'}"
        )


def stages_of(directory: RunDirectory) -> list[str]:
    """The stages whose weights the run holds, students among them."""
    files = sorted(directory.checkpoints.glob("*.weights.h5"))
    names = [file.name.removesuffix(".weights.h5") for file in files]
    lasting = {name: directory.lasting(name) for name in names}
    students = [name for name, path in lasting.items() if path.is_file() and STUDENT_GROUP in lasting_groups(path)]
    return [*names, *(f"{STUDENT}{name}" for name in students)]


def load_own_weights(network: keras.Model, path: Path) -> None:
    """Load weights that a run of the same network and label space wrote.

    Raises:
        UserError: the file is damaged, or of another network.
    """
    try:
        if shapes_in(path) != shapes_of(network):  # before anything of a claimed size is read
            raise UserError(f"{path} holds the weights of another network than {network.name} with these classes.")
        network.load_weights(path)
    except WeightsError as error:
        raise UserError(str(error)) from error
    except UserError:
        raise
    except Exception as error:  # on damaged bytes the HDF5 library raises nearly anything
        raise UserError(f"{path} is damaged ({error}): take another stage, or repeat the run.") from error
