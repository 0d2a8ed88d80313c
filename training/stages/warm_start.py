"""`--warm-start`: what stands in for a run's own warm-up, or for the labeller of its first round.

* A finished run of the same network and classes: its weights take the place of the warm-up, and of the alignment if it
  was adapted. An .onnx file that lies in such a run's directory stands for the run. A recipe with a second head (DRSL)
  goes on with that run's, if it has one of these shapes.
* Anything else that can segment - a run of another network, anybody's ONNX or Keras file - cannot be trained on as this
  network. It is *distilled*: the network has its own warm-up on the source, then the other model labels the target for
  round 1, by the recipe's selector, and the network learns from these labels (and LRENT's soft ones). From round 2 on
  the network, by then adapted to the target, labels for itself. The other model never changes.

What was found is recorded in state.json, with the SHA-256 of the files, so that a resumed run goes on from the same.
"""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

from models.catalogue import NETWORKS
from training.data.classes import LabelSpace, load_label_space
from training.errors import UserError
from training.evaluation.watch import was_adapted, weights_stage
from training.files.atomic import digest_of
from training.methods.mixture import GROUP
from training.prediction.foreign_predictor import SUFFIXES, ForeignPredictor
from training.prediction.predictor import Predictor
from training.prediction.trained_model import load_trained
from training.run_directory.checkpoint import lasting_groups
from training.run_directory.paths import ADJUSTMENT, STATE, STUDENT, TRANSLATED, RunDirectory
from training.settings.experiment import Experiment, Model, Recipe


@dataclass(frozen=True)
class WarmStart:
    """path: absolute, a run directory or a file; file: the one that is read, with its sha256.

    role: "weights" = they take the place of the warm-up; "labeller" = it labels round 1. serves: name of the stage that
    needs it. adapted: weights that were trained on the target already (its batch-norm statistics alone do not count).
    logits: what their adjustment gave each class, None = they are not adjusted; logit_adjustment, label_shift: the
    settings of that. pixels: see `foreign_predictor.PIXELS`, None = the usual ones. modes: the file with that run's
    second head, with its modes_sha256; None: it has none, or the recipe.
    """

    path: str
    role: Literal["weights", "labeller"]
    file: str
    sha256: str
    serves: str
    adapted: bool = False
    logits: dict[str, float] | None = None
    logit_adjustment: float = 0.0
    label_shift: float = 0.0
    pixels: str | None = None
    modes: str | None = None
    modes_sha256: str | None = None

    def is_needed(self, stages: dict) -> bool:
        """Is the stage that it serves unfinished?"""
        return self.serves not in stages


def warm_start_of(
    directory: RunDirectory, experiment: Experiment, space: LabelSpace, baseline: str, labelled: str | None
) -> WarmStart | None:
    """What `--warm-start` of the run in `directory` is; None without one.

    recipe.json holds what was asked for, {"path", "pixels"}; state.json all of `WarmStart` once it has been found.

    Args:
        baseline: name of the stage whose model is the one before adaptation. labelled: of the first stage that learns
            from pseudo-labels, None if there is none.

    Raises:
        UserError: nothing usable there, other classes, a recipe without rounds to label for, pixels for a run, or a
            file that is not the recorded one any more and still needed.
    """
    asked, recorded = directory.warm_start, directory.read_json(STATE).get("warm_start")
    if asked is None:
        return None
    if recorded is None:
        start = _found(Path(asked["path"]), asked["pixels"], experiment, space, baseline, labelled)
        directory.note("warm_start", asdict(start))
        return start
    start = WarmStart(**recorded)
    if start.is_needed(directory.stages):
        _check_unchanged(start)
    return start


def open_labeller(start: WarmStart, space: LabelSpace, size: tuple[int, int]) -> Predictor | ForeignPredictor:
    """The model that labels round 1, of a `start` with that role: on images of the size that it was trained at.

    size: (height, width) of this run's images, for a file that does not say its own.
    """
    if Path(start.path).is_dir():
        trained = load_trained(Path(start.path))
        return Predictor(trained.network, flips=(False, True), image_size=trained.experiment.data.size)
    return ForeignPredictor(Path(start.file), space, size, start.pixels)


def _found(
    path: Path, pixels: str | None, experiment: Experiment, space: LabelSpace, baseline: str, labelled: str | None
) -> WarmStart:
    run, stage = (path, "final") if path.is_dir() else run_around(path)
    if run is not None:
        other, trained = RunDirectory.reopen(run)
        if load_label_space(trained.data.label_space).names != space.names:
            raise UserError(
                f"--warm-start {path}: that run knows the classes of '{trained.data.label_space}', this one "
                f"'{experiment.data.label_space}': choose one with the same --classes"
            )
        takes_weights = _same_network(trained, experiment)
        if pixels is not None and (takes_weights or path.is_dir()):
            raise UserError(
                f"--warm-start-pixels {pixels} is for the .onnx or .keras file of a model of somebody else's, and "
                f"--warm-start {path} is a run, which knows what its model wants: leave --warm-start-pixels out"
            )
        if takes_weights:
            if getattr(experiment.recipe.adaptation, "start", None) == "imagenet":
                raise UserError(
                    f"--warm-start {path}: this recipe trains from ImageNet's weights (adaptation.start=imagenet) and "
                    "would not use those of that run: set adaptation.start=warm_up, or leave --warm-start out"
                )
            weights = _weights_of(other, stage, path)
            taken = weights_stage(other.stages, stage)
            adapted = was_adapted(other.stages, taken)
            adjusted = _adjustment_of(other, trained, taken)
            if not experiment.recipe.warms_up_again:
                there, here = trained.data, experiment.data
                same_data = (there.source, there.target) == (here.source, here.target)
                _refuse_shift(path, adjusted, experiment.recipe, same_data)
            start = WarmStart(str(path), "weights", str(weights), _sha256(weights), baseline, adapted, **adjusted)
            modes = _modes_of(other, taken)
            if modes is None or getattr(experiment.recipe.adaptation, "mixture", None) is None:
                return start
            return replace(start, modes=str(modes), modes_sha256=_sha256(modes))
    if labelled is None:
        raise UserError(
            f"--warm-start {path}: a model that is no run of {experiment.model.network} can only label for the "
            f"rounds of a recipe, and '{experiment.names.get('recipe')}' has none: choose one with rounds, such as cbst"
        )
    file = _weights_of(other, stage, path) if path.is_dir() else path
    return WarmStart(str(path), "labeller", str(file), _sha256(file), labelled, pixels=pixels)


def _weights_of(other: RunDirectory, stage: str, path: Path) -> Path:
    """The file with the weights of "final" or a stage of another run, which `--warm-start path` asks for."""
    if stage.startswith(STUDENT):
        raise UserError(
            f"--warm-start {path}: it holds a student, which cannot be gone on from: take that run's result "
            f"(--warm-start {other.path}), or export another stage"
        )
    weights = other.final_weights if stage == "final" else other.weights(stage)
    if not weights.is_file():
        raise UserError(f"--warm-start {path}: that run is not finished; continue it with --resume first")
    return weights


ADJUSTED = ("logits", "logit_adjustment", "label_shift")  # of `WarmStart`, what belongs to adjusted logits


def _adjustment_of(other: RunDirectory, trained: Experiment, taken: str) -> dict:
    """What the logits of a finished stage of another run went through, `ADJUSTED` by name: in that run, or before its
    own warm start; empty if nothing.

    A source model on translated images has not gone through what the model of the warm start has.
    """
    names = list(other.stages)
    so_far, recipe = names[: names.index(taken) + 1], trained.recipe
    if ADJUSTMENT in so_far:
        found = other.stages[ADJUSTMENT]["logits"], recipe.logit_adjustment, recipe.label_shift
        return dict(zip(ADJUSTED, found, strict=True))
    if TRANSLATED in so_far:
        return {}
    recorded = other.read_json(STATE).get("warm_start") or {}
    return {name: recorded[name] for name in ADJUSTED} if recorded.get("logits") else {}


def _refuse_shift(path: Path, adjusted: dict, recipe: Recipe, same_data: bool) -> None:
    """UserError where the recipe would measure a label shift on logits that are adjusted already, see `ADJUSTED`.

    same_data: the other run has the source and the target of this one, so with equal strengths its shift is this one's.
    """
    if not adjusted or not recipe.label_shift:
        return
    strengths = (recipe.logit_adjustment, recipe.label_shift)
    if not same_data or strengths != (adjusted["logit_adjustment"], adjusted["label_shift"]):
        raise UserError(
            f"label_shift goes by what the source model says of the target, and the logits of --warm-start "
            f"{path} are adjusted already: start from a source model, or set label_shift=0"
        )


def _modes_of(other: RunDirectory, taken: str) -> Path | None:
    """The file with the second head of another run as it was after a finished stage; None where there was none."""
    names = list(other.stages)
    so_far = (other.lasting(name) for name in reversed(names[: names.index(taken) + 1]))
    return next((path for path in so_far if path.is_file() and GROUP in lasting_groups(path)), None)


def run_around(path: Path) -> tuple[Path | None, str]:
    """The run that exported the file into its directory, and the stage it did that of; `(None, "")` if none."""
    description = path.with_suffix(".json")
    if path.suffix != ".onnx" or not (path.parent / "recipe.json").is_file() or not description.is_file():
        return None, ""
    from training.prediction.model_metadata import ModelMetadata

    return path.parent, ModelMetadata.from_json(description.read_text(encoding="utf-8"), str(description)).stage


def _same_network(trained: Experiment, experiment: Experiment) -> bool:
    return _built(trained.model) == _built(experiment.model)


def _built(model: Model) -> Model:
    """The settings that decide what network is built; an output stride left open is the network's default."""
    stride = model.output_stride or NETWORKS[model.network].default_stride
    return replace(model, weights="", precision="float32", output_stride=stride)


def _sha256(path: Path) -> str:
    try:
        return digest_of(path)
    except OSError as error:
        raise UserError(
            f"--warm-start {path}: {error.strerror}; give a finished run, or an {' or a '.join(SUFFIXES)} file"
        ) from error


def _check_unchanged(start: WarmStart) -> None:
    for file, digest in ((start.file, start.sha256), (start.modes, start.modes_sha256)):
        if file is None:
            continue
        if not Path(file).is_file():
            raise UserError(f"this run began with --warm-start {start.path}, but {file} is gone: put it back there")
        if _sha256(Path(file)) != digest:
            raise UserError(
                f"this run began with --warm-start {start.path}, but {file} has changed since: put the former file "
                "back, or start a new run"
            )
