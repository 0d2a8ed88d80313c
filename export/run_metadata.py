"""What a run directory knows of itself, as the metadata of an exported model."""

from pathlib import Path
from typing import Any

from models.catalogue import NETWORKS
from training.data.classes import LabelSpace
from training.data.fixed_lists import target_range
from training.errors import UserError, printable
from training.evaluation.watch import scored_stages, was_adapted, weights_stage
from training.experiment_json import VERSION
from training.in_words import in_words
from training.prediction.label_files import MANIFEST_NAME, read_fitted
from training.prediction.model_metadata import ModelMetadata, RoundSelection
from training.run_directory.paths import STUDENT, RunDirectory
from training.settings.data import Domain
from training.settings.experiment import Experiment
from training.settings.translation import TranslatedImages
from training.stages.plan import plan
from training.stages.warm_start import run_around

FIGURES = ("miou", "miou_in_truth", "pixel_accuracy", "per_class_iou", "class_sets", "absent")


def metadata_of_run(
    directory: RunDirectory, experiment: Experiment, space: LabelSpace, stage: str, precision: str
) -> ModelMetadata:
    """Names, data, figures and the last selection of the run in `directory`, for the weights of `stage`."""
    data, names, stages = experiment.data, experiment.names, directory.stages
    source, target = domain_titles(experiment)
    network, taken = experiment.model.network, weights_stage(stages, stage)
    stride = NETWORKS[network].logits_stride or experiment.model.output_stride or NETWORKS[network].default_stride
    return ModelMetadata(
        names=space.names,
        colors=space.colors,
        label_space=space.name,
        class_sets=dict(space.class_sets),
        training_size=tuple(data.size),
        output_stride=stride,
        network=network,
        recipe=names.get("recipe", "custom"),
        paper=experiment.recipe.paper,
        data=names.get("data", "custom"),
        source=source,
        target=target,
        stage=stage,
        precision=precision,
        metrics=metrics(experiment, stages, taken),
        selection=selection(directory, space.count, stages, stage),
        version=VERSION,
        licence=licence(experiment, foreign_start(directory)),
        resolved=printable(in_words(experiment)),
        weights_of=weights_of(experiment, taken) if experiment.recipe.adapts and taken else None,
        trained_on_target=taken is not None and was_adapted(stages, taken),
        file_ids=space.file_ids,
        sixteen_bit_range=target_range(directory.images),
    )


def weights_of(experiment: Experiment, stage: str) -> str | None:
    """A finished stage as in "the model before adaptation"; of "student/round_N" the student of that round.

    None for a stage that the plan of the experiment lacks.
    """
    name = stage.removeprefix(STUDENT)
    phrases = [each.phrase for each in plan(experiment) if each.name == name]
    return next((phrase if name == stage else f"of the student {phrase}" for phrase in phrases), None)


def domain_title(domain: Domain) -> str:
    """ "streetsim game train", "cityscapes val"; of a user's folder its name, never its path."""
    if domain.reader in ("folders", "images"):
        return printable(Path(domain.root or domain.reader).name)
    return " ".join(part for part in (domain.reader, domain.style, domain.city, domain.split) if part)


def domain_titles(experiment: Experiment) -> tuple[str, str]:
    """What was trained on with labels, and without (of what is not adapted, the latter would have been)."""
    target, share = domain_title(experiment.data.target), experiment.labelled_share
    if share is not None:
        return f"{target}, {share:.3g} of it", f"{target}, the rest"
    return domain_title(experiment.data.source) if experiment.recipe.warm_up.domain == "source" else target, target


def used_domains(experiment: Experiment) -> list[Domain]:
    """The domains that the experiment names and makes use of."""
    data = experiment.data
    return [data.target] if experiment.labelled_share is not None else [data.source, data.target]


def metrics(experiment: Experiment, stages: dict[str, dict], stage: str | None) -> dict[str, Any] | None:
    """Figures before adaptation and of `stage`, or None where nothing could be scored."""
    before, after = _figures(stages, _baseline(stages)), _figures(stages, stage)
    if before is None and after is None:
        return None
    evaluation = experiment.data.evaluation
    split = domain_title(evaluation) if evaluation else f"labels beside {domain_title(experiment.data.target)}"
    return {"split": split, "resolution": list(experiment.data.size), "before": before, "after": after}


def _baseline(stages: dict[str, dict]) -> str | None:
    """The stage whose model is the one before adaptation."""
    return next(iter(scored_stages(stages)), None)


def _figures(stages: dict[str, dict], stage: str | None) -> dict[str, Any] | None:
    """What was measured of a stage; of "student/round_N" what was measured of the round's student."""
    student = bool(stage) and stage.startswith(STUDENT)
    scores = stages.get((stage or "").removeprefix(STUDENT), {}).get("student_scores" if student else "scores")
    return None if not scores else {key: scores[key] for key in FIGURES if key in scores}


def selection(directory: RunDirectory, classes: int, stages: dict[str, dict], stage: str) -> RoundSelection | None:
    """How the round of these weights labelled; for a model from before the rounds the first one."""
    rounds = [name for name in stages if (directory.pseudo_labels / name / MANIFEST_NAME).is_file()]
    if not rounds:
        return None
    # The stage whose weights these are: the watch may have taken an earlier one than the last.
    taken = (weights_stage(stages, stage) or stage).removeprefix(STUDENT)
    name = taken if taken in rounds else rounds[0]
    fitted = read_fitted(directory.pseudo_labels / name)
    if fitted.classes != classes:
        raise UserError(f"The manifest of {name} is for {fitted.classes} classes, the run for {classes}")
    return RoundSelection(name, fitted)


def foreign_start(directory: RunDirectory) -> str | None:
    """The name, never the path, of the run or file of `--warm-start` where anything that it or a run before it was
    trained on may not be of this project; None where there is none.

    A file that no run has exported, and a run that cannot be read any more, may have been trained on anything.
    """
    start, seen = directory.warm_start, [directory.path]
    name = None if start is None else printable(Path(start["path"]).name)
    while start is not None:
        path = Path(start["path"])
        try:
            run = path if path.is_dir() else run_around(path)[0]
            if run is None or run in seen:
                return name
            earlier, experiment = RunDirectory.reopen(run)
            start = earlier.warm_start
        except (UserError, OSError, UnicodeDecodeError):
            return name
        if not is_all_ours(experiment):
            return name
        seen.append(run)
    return None


def is_all_ours(experiment: Experiment, start: str | None = None) -> bool:
    """Were all training images generated by this project, and the weights started at random?

    start: the `foreign_start` of the run.
    """
    readers = {domain.reader for domain in used_domains(experiment)}
    translated = isinstance(experiment.recipe.translation, TranslatedImages)
    return readers == {"streetsim"} and experiment.model.weights == "none" and not translated and start is None


def licence(experiment: Experiment, start: str | None = None) -> str:
    """A sentence on what may bind the user of the weights; start: the `foreign_start` of the run."""
    if is_all_ours(experiment, start):
        return "MIT, code and weights: all training images were generated by StreetShift."
    origins = [domain_title(domain) for domain in used_domains(experiment)]
    translation = experiment.recipe.translation
    if isinstance(translation, TranslatedImages):
        origins.append(f"{printable(Path(translation.root).name)} (translated images)")
    origins += ["ImageNet (initial weights)"] if experiment.model.weights == "imagenet" else []
    before = "" if start is None else f" and what {start} was trained on"
    text = (
        f"The code is MIT. The weights were learned from {', '.join(origins)}{before}: the terms of those images "
        "apply, and many street data sets exclude commercial use."
    )
    # Of a network that started from published weights, which may be in a file too.
    binding = NETWORKS[experiment.model.network].licence if experiment.model.weights != "none" else ""
    return f"{text} {binding}." if binding else text
