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
from training.run_directory.paths import RunDirectory
from training.settings import Experiment


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
        load_own_weights(self.network, weights_of(self.directory, stage))


def load_trained(path: Path, stage: str = "final") -> TrainedModel:
    """The network of the run in `path` as it was after `stage`, in float32.

    Stages: "final", "source", "adversarial", "round_1" ...; of a mean teacher's student "student/round_1" ...

    Raises:
        UserError: no run there, or no such stage in it.
    """
    directory, experiment = RunDirectory.reopen(path)
    weights = weights_of(directory, stage)
    space = load_label_space(experiment.data.label_space)
    model = replace(experiment.model, weights="none")
    network = build_segmenter(model.network, space.count, output_stride=model.output_stride)
    load_own_weights(network, weights)
    return TrainedModel(network, experiment, space, directory)


def weights_of(directory: RunDirectory, stage: str) -> Path:
    """The file with the weights of a stage, "final" among them; UserError where there is none."""
    weights = directory.final_weights if stage == "final" else directory.weights(stage)
    if not weights.is_file():
        files = sorted(directory.checkpoints.rglob("*.weights.h5"))
        stages = [str(file.relative_to(directory.checkpoints)).removesuffix(".weights.h5") for file in files]
        finished = ", ".join(stages) or "nothing yet"
        raise UserError(f"{directory.path} has no weights of stage '{stage}': it holds {finished}")
    return weights


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
