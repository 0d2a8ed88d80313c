"""What a run writes, and how it resumes: one directory, self-describing.

recipe.json         the resolved experiment (recipe, data, model, seed) and the command line
environment.json    versions and machine
images.json         the images it began with, where they lie in folders of the user's
state.json          finished stages with their figures; written after each; what --warm-start was
metrics.csv         one row for every logged step
tensorboard/        the same, and pictures
checkpoints/        source.weights.h5, round_N.weights.h5, and partial.npz of the stage under way; with a mean teacher
                    round_N is the teacher and student/round_N.weights.h5 the student
pseudo_labels/      round_N/*.png with manifest.json
report/             report.md, summary.json, per_class_iou.csv, pictures
final.weights.h5    the chosen round
"""

import json
import os
import platform
import sys
from importlib import metadata
from pathlib import Path

from models.catalogue import NETWORKS
from training.errors import UserError
from training.files import write_atomically
from training.reading import read_json
from training.run_checks import check_links, checked_state
from training.settings import Experiment

VERSION = "0.1.0"
PACKAGES = ("keras", "tensorflow", "keras-cv", "numpy", "onnx", "onnxruntime-gpu", "tf2onnx", "gradio")


class RunDirectory:
    """The paths of one run and its state.

    Use `create` for a new run and `reopen` to resume one.
    """

    def __init__(self, path: Path):
        self.path = path
        self.checkpoints = path / "checkpoints"
        self.pseudo_labels = path / "pseudo_labels"
        self.report = path / "report"
        self.tensorboard = path / "tensorboard"
        self.metrics = path / "metrics.csv"
        self.partial = self.checkpoints / "partial.npz"
        self.spatial_prior = path / "spatial_prior.npy"
        self.final_weights = path / "final.weights.h5"

    @classmethod
    def create(cls, path: Path, experiment: Experiment) -> "RunDirectory":
        """Make the directory; refuse one that already holds something."""
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise UserError(f"{path} already exists and is not empty: choose another --out, or continue with --resume")
        run = cls(path)
        try:
            run.checkpoints.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"cannot write to {path}: {error.strerror}; choose another --out") from error
        run.write_json("recipe.json", {"experiment": experiment_to_json(experiment), "command": command_line()})
        run.write_json("environment.json", environment())
        run.write_json("state.json", {"version": VERSION, "stages": {}})
        return run

    @classmethod
    def reopen(cls, path: Path) -> tuple["RunDirectory", Experiment]:
        """The directory and the experiment of an earlier run."""
        run = cls(path)
        if not (path / "recipe.json").is_file():
            raise UserError(f"{path} is not a run: it holds no recipe.json; give the directory that --out named")
        check_links(path)
        return run, experiment_from_json(run.read_json("recipe.json").get("experiment"), str(path / "recipe.json"))

    def weights(self, stage: str) -> Path:
        return self.checkpoints / f"{stage}.weights.h5"

    def student_weights(self, stage: str) -> Path:
        """Of the rounds whose result is a teacher."""
        return self.checkpoints / "student" / f"{stage}.weights.h5"

    def read_json(self, name: str) -> dict:
        return read_json(self.path / name)

    def write_json(self, name: str, value: dict) -> None:
        write_atomically(self.path / name, (json.dumps(value, indent=2) + "\n").encode())

    @property
    def stages(self) -> dict[str, dict]:
        """Figures of the finished stages, by stage name."""
        return self._state()["stages"]

    def _state(self) -> dict:
        return checked_state(self.read_json("state.json"), self.path / "state.json")

    def note(self, key: str, value) -> None:
        """Record something about the whole run in state.json, beside its stages."""
        self.write_json("state.json", self.read_json("state.json") | {key: value})

    def finish_stage(self, name: str, figures: dict) -> None:
        """Record that a stage and all its files are complete; the partial checkpoint is no longer needed."""
        state = self._state()
        state["stages"][name] = figures
        self.write_json("state.json", state)
        self.partial.unlink(missing_ok=True)

    def save_weights(self, network, path: Path) -> None:
        """Write the network's weights (`.weights.h5`) atomically."""
        temporary = path.with_name(f"writing-{path.name}")
        try:
            path.parent.mkdir(exist_ok=True)
            network.save_weights(temporary)
            os.replace(temporary, path)
        except OSError as error:
            raise UserError(f"could not write {path}: {error}; free some space and resume the run") from error


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
        raise UserError(f"{place} does not fit this version at '{spot}': {first['msg']}") from error
    model = experiment.model
    if model.network not in NETWORKS:
        raise UserError(f"{place} names the model '{model.network}', which this version does not have")
    strides = NETWORKS[model.network].strides
    if model.output_stride not in (None, *strides):
        raise UserError(f"{place}: {model.network} has the output stride {' or '.join(map(str, strides))}")
    return experiment


def command_line() -> str:
    import shlex

    return shlex.join(["python", *sys.argv])


def environment() -> dict:
    """Versions and machine, for the record."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {
        "streetshift": VERSION,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "packages": versions,
    }
