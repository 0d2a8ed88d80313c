"""What a run writes, and how it resumes: one directory, self-describing.

recipe.json         the resolved experiment (recipe, data, model, seed), the warm start and the command line, with the
                    working directory that its relative paths start from
environment.json    versions and machine, and what else it was continued with
classes.json        the user's own label space, as it was when the run began (`--classes FILE`)
images.json         the images it began with, where they lie in folders of the user's; the range of 16-bit ones; target
                    photos that were left out, and what was said of them
state.json          finished stages with their figures, the warm start; state.previous.json is the one before
lock                held while a run writes here; lock.json says by whom
metrics.csv         one row for every logged step and metric
tensorboard/        the same, and pictures; only ever appended to
checkpoints/        of each finished stage NAME (see `training/stages/plan.py`)
                      NAME.weights.h5           its result; with a mean teacher the teacher
                      NAME.lasting.npz          what else is kept for later stages: a student, a discriminator ...
                      NAME.watch.npz            the watch's predictions
                      NAME.sha256               digests of all files of the stage, its pseudo-labels among them,
                                                but not of pictures in report/
                    of the stage under way
                      partial/NAME-STEP.npz     all that moves, and the seconds so far, at the last two checkpoints
                      partial.sha256            their digests
                      partial.entropies-NAME.npy  what the draws of soft-balance sampling follow
spatial_prior.npy   counted in round 1
class_counts_*.npy  labelled pixels of each image and class, for rare class and soft-balance sampling
pseudo_labels/      round_N/*.png with manifest.json
translated/         NAME.png of each source image, where the run has translated them itself
report/             report.md, summary.json, per_class_iou.csv, pictures
final.weights.h5    the chosen round
*.onnx, *.json, MODEL_CARD.md  the exports

A run can be killed at any moment. Every file is written beside its place and moved there (`training/files/atomic.py`),
and a stage is finished when state.json says so, after its files and their digests are on the disk. `--resume`
(`resuming.py`)

1. takes the lock, refuses a live run and a changed recipe, and says if another version began the run;
2. removes half-written files, and checks the digests of the finished stages: at the first damaged file it goes back to
   the stage before and says so; images in translated/ that are lost are made again, where a stage still needs them, and
   cost no stage unless they become others than they were;
3. loads the last finished stage and begins the next one again, up to training: labels are made anew, from the same
   weights;
4. training goes on from the last sound partial checkpoint (`checkpoint.py`), and metrics.csv loses the rows after it.

What a stage draws depends on seed, stage and step alone (`data/sampling.py`), so nothing else has to be kept. Report
and exports are made afresh.
"""

import contextlib
import hashlib
import json
import os
import platform
import shutil
import time
from collections.abc import Sequence
from dataclasses import replace
from importlib import metadata
from pathlib import Path

from models.terminal import shell_words
from training.data.classes import own_label_space
from training.errors import UserError
from training.experiment_json import VERSION, experiment_from_json, experiment_to_json
from training.files.atomic import PARTIAL, check_room, digest_of, whole_file, write_atomically
from training.files.reading import read_json
from training.run_directory.checks import check_links, checked_state
from training.run_directory.digests import digests_of, read_digests, write_digests
from training.run_directory.lock import HOLDER, LOCK, lock_run
from training.settings.experiment import Experiment

HDF5_OVERHEAD = 8192  # bytes per variable, at most; HDF5 crashes the process when it meets a full disk
ADJUSTMENT = "adjustment"  # the stage of logit adjustment, which a warm start looks for in the other run
TRANSLATED = "translated"  # the stage of a source model on translated images, which starts from the initial weights
STUDENT = "student/"  # before the name of a stage whose result is its teacher: the student
PACKAGES = ("keras", "tensorflow", "keras-cv", "numpy", "onnx", "onnxruntime", "onnxruntime-gpu", "tf2onnx", "gradio")
STATE, STATE_BEFORE = "state.json", "state.previous.json"


class RunDirectory:
    """The paths of one run and its state.

    Use `create` for a new run, `reopen` to read one, and `training.run_directory.resuming.resume` to go on with one.
    """

    def __init__(self, path: Path):
        self.path = path
        self.checkpoints = path / "checkpoints"
        self.partials = self.checkpoints / "partial"
        self.partial_digests = self.checkpoints / "partial.sha256"
        self.pseudo_labels = path / "pseudo_labels"
        self.translated = path / "translated"
        self.report = path / "report"
        self.tensorboard = path / "tensorboard"
        self.metrics = path / "metrics.csv"
        self.images = path / "images.json"
        self.classes = path / "classes.json"
        self.spatial_prior = path / "spatial_prior.npy"
        self.final_weights = path / "final.weights.h5"
        self.stage_began = time.monotonic()  # of the stage under way; a checkpoint moves it back by what it has taken
        self._lock = None

    @classmethod
    def create(
        cls,
        path: Path,
        experiment: Experiment,
        arguments: Sequence[str] = (),
        warm_start: dict[str, str | None] | None = None,
    ) -> "RunDirectory":
        """Make and lock the directory; refuse one that already holds something.

        Args:
            arguments: of the command line, for the record and to tell what a resumed run is asked differently.
            warm_start: what the run begins with: {"path", "pixels"}, see `warm_start.py`.
        """
        run = cls(path)
        run._check_empty()
        own_label_space(experiment.data.label_space)  # refused before anything is written
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"cannot write to {path}: {error.strerror}; choose another --out") from error
        run.lock()
        run._check_empty()  # another run may just have begun here
        run.write_json("recipe.json", {
            "experiment": experiment_to_json(experiment),
            "warm_start": warm_start,
            "command": shell_words("python", "training/run.py", *arguments),
            "arguments": list(arguments),
            "working_directory": os.getcwd(),
        })  # fmt: skip
        run.begin(experiment.data.label_space)
        return run

    def _check_empty(self) -> None:
        """What a run leaves that was killed before it wrote its recipe does not count."""
        if self.path.exists() and (
            not self.path.is_dir()
            or any(
                entry.name not in (LOCK, HOLDER) and not entry.name.startswith(PARTIAL) for entry in self.path.iterdir()
            )
        ):
            raise UserError(
                f"{self.path} already exists and is not empty: choose another --out, or continue with --resume"
            )

    def discard_unused(self) -> None:
        """Remove what this run has written, if that is nothing to go on from: no stage and no checkpoint.

        So the next try may have the same directory. What others have put there stays.
        """
        if self.stages or self.partial_stage is not None:
            return
        self.unlock()  # Windows removes no locked file
        for folder in (self.checkpoints, self.pseudo_labels, self.report, self.tensorboard):
            shutil.rmtree(folder, ignore_errors=True)
        files = [self.path / name for name in ("recipe.json", "environment.json", STATE, STATE_BEFORE, LOCK, HOLDER)]
        files += [self.images, self.classes, self.metrics, self.spatial_prior]
        for file in [*files, *self.path.glob("class_counts_*.npy")]:
            file.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # not empty
            self.path.rmdir()

    def begin(self, label_space: str) -> None:
        """Make what every run holds besides its recipe, where it is not there yet."""
        self.checkpoints.mkdir(exist_ok=True)
        if not self.classes.exists() and (classes := own_label_space(label_space)) is not None:
            self.write_json(self.classes.name, classes)
        if not (self.path / "environment.json").exists():
            self.write_json("environment.json", environment())
        if not (self.path / STATE).exists() and not (self.path / STATE_BEFORE).exists():
            self.write_state({"version": VERSION, "stages": {}})

    @classmethod
    def reopen(cls, path: Path) -> tuple["RunDirectory", Experiment]:
        """The directory and the experiment of an earlier run."""
        run = cls(path)
        if not (path / "recipe.json").is_file():
            raise UserError(f"{path} is not a run: it holds no recipe.json; give the directory that --out named")
        check_links(path)
        experiment = run.asked_experiment
        if run.classes.is_file():  # the user's file may be another by now, or elsewhere
            experiment = replace(experiment, data=replace(experiment.data, label_space=str(run.classes.resolve())))
        return run, experiment

    @property
    def asked_experiment(self) -> Experiment:
        """The experiment as it was asked for: a label space of the user's is the file that the options named."""
        return experiment_from_json(self.read_json("recipe.json").get("experiment"), str(self.path / "recipe.json"))

    def lock(self) -> None:
        """Keep other runs from writing here until `unlock` or the end of the process."""
        self._lock = lock_run(self.path)

    def unlock(self) -> None:
        if self._lock is not None:
            self._lock.release()

    @property
    def begun_by(self) -> str:
        """Name and version of the program that began the run."""
        return f"StreetShift {self.read_json('environment.json').get('streetshift', '?')}"

    @property
    def warm_start(self) -> dict[str, str | None] | None:
        """What `--warm-start` asked for: {"path", "pixels"}, see `warm_start.py`; None without one.

        Raises:
            UserError: recipe.json has something else there.
        """
        start = self.read_json("recipe.json").get("warm_start")
        if start is None or (isinstance(start, dict) and isinstance(start.get("path"), str)):
            return start
        raise UserError(f"{self.path / 'recipe.json'} does not tell what the run started from: start a new run")

    def weights(self, stage: str) -> Path:
        return self.checkpoints / f"{stage}.weights.h5"

    def lasting(self, stage: str) -> Path:
        """What a stage keeps for later ones beside the weights of its result (`Method.lasting_variables`)."""
        return self.checkpoints / f"{stage}.lasting.npz"

    def observation(self, stage: str) -> Path:
        """The watch's predictions after a stage."""
        return self.checkpoints / f"{stage}.watch.npz"

    def class_counts(self, domain: str) -> Path:
        """Labelled pixels of each image and class of a domain."""
        return self.path / f"class_counts_{domain}.npy"

    def pasting_picture(self, stage: str) -> Path:
        return self.report / f"copy_paste_{stage}.png"

    def mixing_picture(self, stage: str) -> Path:
        return self.report / f"class_mix_{stage}.png"

    @property
    def translation_picture(self) -> Path:
        return self.report / "translation.png"

    def contrast_picture(self, stage: str) -> Path:
        return self.report / f"contrast_{stage}.png"

    def mode_pictures(self, stage: str) -> tuple[Path, Path]:
        """A map of embeddings and modes, and what the modes of some classes show."""
        return self.report / f"modes_{stage}.png", self.report / f"mode_patches_{stage}.png"

    def digests(self, stage: str) -> Path:
        return self.checkpoints / f"{stage}.sha256"

    def files_of(self, stage: str) -> list[Path]:
        """The files that every finished stage leaves, as far as they are there."""
        files = [self.weights(stage), self.lasting(stage), self.observation(stage)]
        return [path for path in [*files, *sorted((self.pseudo_labels / stage).glob("*"))] if path.is_file()]

    def read_json(self, name: str) -> dict:
        return read_json(self.path / name)

    def write_json(self, name: str, value: dict) -> None:
        write_atomically(self.path / name, (json.dumps(value, indent=2) + "\n").encode(), lasting=True)

    @property
    def stages(self) -> dict[str, dict]:
        """Figures of the finished stages, by stage name."""
        return self._state()["stages"]

    def _state(self) -> dict:
        return checked_state(self.read_json(STATE), self.path / STATE)

    def note(self, key: str, value) -> None:
        """Record something about the whole run in state.json, beside its stages."""
        self.write_json(STATE, self._state() | {key: value})

    def write_state(self, state: dict) -> None:
        """Write state.json with its own digest."""
        self.write_json(STATE, {**state, "sha256": digest_of_stages(state["stages"])})

    def finish_stage(self, name: str, figures: dict, more_files: Sequence[Path] = ()) -> None:
        """Record that a stage and all its files are complete; what it had for a resumed run is no longer needed.

        Args:
            more_files: what it has left beside `files_of`; files that are not there, or that a stage before has left,
                do not count, and pictures of the report do not: no later stage needs them.
        """
        earlier = {self.path / file for stage in self.stages for file in read_digests(self.digests(stage))}
        more = [path for path in more_files if path.is_file() and path.parent != self.report and path not in earlier]
        files = [*self.files_of(name), *more]
        write_digests(self.digests(name), digests_of(self.path, files))
        state = self._state()
        self.write_json(STATE_BEFORE, state)
        state["stages"][name] = {**figures, "digests": digest_of(self.digests(name))}
        self.write_state(state)
        self.remove_partials()

    def unfinish(self, stage: str) -> None:
        """Make a finished stage and those after it unfinished; their files stay."""
        state = self._state()
        names = list(state["stages"])
        kept = names[: names.index(stage)]
        self.write_state({**state, "stages": {name: state["stages"][name] for name in kept}})
        self.remove_partials()

    def partial_entropies(self, stage: str) -> Path:
        """What a stage that draws by classes began with."""
        return self.checkpoints / f"partial.entropies-{stage}.npy"

    @property
    def partial_stage(self) -> str | None:
        """The stage that the partial checkpoints are of; None if none counts."""
        names = [Path(name).stem.rsplit("-", 1)[0] for name in read_digests(self.partial_digests)]
        return names[-1] if names else None

    def remove_partials(self) -> None:
        self.partial_digests.unlink(missing_ok=True)
        for entropies in self.checkpoints.glob("partial.entropies-*.npy"):
            entropies.unlink()
        shutil.rmtree(self.partials, ignore_errors=True)

    def save_weights(self, network, path: Path) -> None:
        """Write the network's weights (`.weights.h5`) atomically."""
        path.parent.mkdir(exist_ok=True)
        with whole_file(path, lasting=True) as partial:
            check_room(partial, sum(weight.nbytes + HDF5_OVERHEAD for weight in network.get_weights()))
            network.save_weights(partial)


def digest_of_stages(stages: dict) -> str:
    """SHA-256 of the stages' figures as JSON."""
    return hashlib.sha256(json.dumps(stages).encode()).hexdigest()


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
