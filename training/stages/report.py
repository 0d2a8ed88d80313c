"""The end of a run: the summary, pictures of what changed, report/, TensorBoard pictures, the closing lines."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorboard.plugins.image.metadata import create_summary_metadata

from models.terminal import shell_words
from training.data.domains import Domains
from training.data.images import image_size
from training.data.input_pipeline import evaluation_stream
from training.data.samples import Dataset
from training.data.translation import words_of
from training.evaluation.advice import advice, best_refused
from training.evaluation.confusion import Confusion
from training.evaluation.measurements import TO_REFERENCE
from training.evaluation.panels import Example, write_panels
from training.evaluation.report import write_report
from training.evaluation.terminal_summary import print_summary
from training.evaluation.watch import stages_until
from training.experiment_json import VERSION
from training.in_words import in_words
from training.prediction.label_files import MANIFEST_NAME, read_fitted
from training.prediction.predictor import Predictor, enlarge, images_at_once
from training.prediction.trained_model import load_own_weights
from training.progress import console
from training.run_directory.paths import TRANSLATED, RunDirectory
from training.stages.balanced_orders import KEY as BALANCED
from training.stages.stage import Run, Stage
from training.stages.translation import trained_on_translated

PANELS = 6


def summary_of(run: Run, stages: dict[str, dict], chosen: str) -> dict:
    """The summary as `evaluation/report.py` documents it, from the figures of the finished stages.

    Args:
        stages: what state.json records of each, in their order. chosen: the one whose model is the result.
    """
    experiment, domains, directory = run.experiment, run.domains, run.directory
    oracle, before = experiment.recipe.warm_up.domain == "target", stages[run.baseline.name]
    space = domains.label_space
    return {
        "recipe": experiment.names["recipe"],
        "data": experiment.names["data"],
        "model": experiment.names["model"],
        "seed": experiment.seed,
        "resolved": in_words(experiment),
        "source": domains.source.name,
        "trained_on": domains.warm_up.name,
        "translation": words_of(experiment.recipe.translation) if trained_on_translated(run, stages, chosen) else None,
        "started_from": _started_from(run, stages, chosen),
        "target": domains.target.name,
        "split": domains.evaluation.name if domains.evaluation else None,
        "label_space": space.name,
        "class_set": next(iter(space.class_sets)),
        "resolution": list(experiment.data.size),
        "before": None if oracle else before.get("scores"),
        "after": stages[chosen].get("scores"),
        "labeller": _labeller(before),
        "images": domains.image_counts,
        "data_notes": domains.all_notes,
        "unseen_classes": domains.unseen_classes,
        "source_validation": before.get("source_scores"),
        "label_free": _label_free(run, stages, chosen),
        "stages": [
            _stage_summary(stage, stages[stage.name])
            for stage in run.plan
            if stage.name in stages and stage.scored and stage is not run.baseline
        ],
        "rare_class_sampling": _sampled(run, stages),
        "soft_balance": _balanced(run, stages),
        "source_modes": before.get("modes"),
        "chosen": chosen,
        "watch": _watch_sentences(run, stages),
        "seconds": sum(figures["seconds"] for figures in stages.values()),
        "seconds_per_stage": {name: figures["seconds"] for name, figures in stages.items()},
        "version": VERSION,
        "command": directory.read_json("recipe.json")["command"],
        "environment": directory.read_json("environment.json"),
        "next_commands": _next_commands(directory, domains),
    }


def _next_commands(directory: RunDirectory, domains: Domains) -> list[str]:
    run = shell_words(str(directory.path))
    if domains.evaluation is None:
        return [f"python training/label.py --run {run} --images PHOTOS --selector cbst --out LABELS"]
    return [f"python training/evaluate.py --run {run} --scales 0.5,0.75,1.0 --flip"]


def _started_from(run: Run, stages: dict[str, dict], chosen: str) -> dict | None:
    """The other run that the chosen model started from; None where it was trained from the initial weights."""
    before = stages[run.baseline.name]
    if "taken_from" not in before or TRANSLATED in stages_until(stages, chosen):
        return None
    return {"run": Path(before["taken_from"]).name, "adapted": before["adapted"]}


def _labeller(figures: dict) -> dict | None:
    labeller = figures.get("labeller")
    return labeller and {"file": Path(labeller["path"]).name, "scores": labeller["scores"]}


def _sampled(run: Run, stages: dict[str, dict]) -> list[dict]:
    """For which classes the images of each domain were drawn, in the last stage that draws them by class."""
    last = {}
    for stage in run.plan:
        for domain, classes in stages.get(stage.name, {}).get("rare_class_sampling", {}).items():
            last[domain] = {"stage": stage.title, "domain": domain, "classes": classes}
    return list(last.values())


def _balanced(run: Run, stages: dict[str, dict]) -> list[dict]:
    """How each round of alignment drew the source's images, where it did so by their classes."""
    balanced = [stage for stage in run.plan if BALANCED in stages.get(stage.name, {})]
    return [{"stage": stage.title, "classes": stages[stage.name][BALANCED]} for stage in balanced]


def _stage_summary(stage: Stage, figures: dict) -> dict:
    verdict, scores = figures["verdict"], figures.get("scores") or {}
    kept = (
        *("selector", "parameters", "kept_share", "kept_share_per_class", "thresholds", "threshold_trajectory"),
        *("mixtures", "own_modes", "hard_classes", "student_scores", "contrast", "modes"),
    )
    return {
        "stage": stage.name,
        "title": stage.title,
        "phrase": f"of the {figures['result']} {stage.phrase}" if "result" in figures else stage.phrase,
        "way": stage.way,
        "trains_on_target": stage.trains_on_target,
        **{key: figures[key] for key in kept if key in figures},
        "label_free_gain": verdict["score"],
        **_measured(stage, figures),
        "sentence": verdict["sentence"],
        "refused": list(verdict["refused"]),
        "verdict": "collapse" if verdict["collapse"] else "ok",
        "miou": scores.get("miou"),
        "miou_in_truth": scores.get("miou_in_truth"),
        "per_class_iou": scores.get("per_class_iou"),
    }


def _measured(stage: Stage, figures: dict) -> dict:
    """What the watch measured; None for what a stage that is compared with itself shows no change of."""
    measured = figures["verdict"]["measured"]
    return {**measured, **dict.fromkeys(TO_REFERENCE & measured.keys())} if stage.own_reference else measured


def _label_free(run: Run, stages: dict[str, dict], chosen: str) -> dict | None:
    if "verdict" not in stages[run.baseline.name]:
        return None

    def side(stage):
        figures, names = stages[stage.name], run.domains.label_space.names
        shares = dict(zip(names, figures["verdict"]["shares"], strict=True))
        return {"label_free_gain": figures["verdict"]["score"], **_measured(stage, figures), "class_shares": shares}

    after = next(stage for stage in run.plan if stage.name == chosen)
    return {"before": side(run.baseline), "after": side(after)}


def _watch_sentences(run: Run, stages: dict[str, dict]) -> list[str]:
    """The watch's verdict on each stage but those that are compared with themselves."""
    judged = [stage for stage in run.plan if "verdict" in stages.get(stage.name, {}) and not stage.own_reference]
    verdicts = [(_judged_title(stage, stages[stage.name]), stages[stage.name]["verdict"]) for stage in judged]
    return [
        f"{title}: {'COLLAPSE: ' if verdict['collapse'] else ''}{verdict['sentence']}"
        + (f"; not taken: {', '.join(verdict['refused'])}" if verdict["refused"] else "")
        for title, verdict in verdicts
    ]


def _judged_title(stage: Stage, figures: dict) -> str:
    """What the verdict on a stage is of, where its result is one of several networks."""
    return f"{stage.title}, the {figures['result']}" if "result" in figures else stage.title


def report_run(run: Run, chosen: str, peak: int) -> dict:
    """Write report/ for the finished run and print its closing lines; the summary.

    The network holds the weights of the chosen stage on entry and on return. peak: memory of the process, bytes.
    """
    directory, domains, stages = run.directory, run.domains, run.directory.stages
    summary = summary_of(run, stages, chosen) | {"peak_rss_bytes": peak}
    refused = best_refused(summary)
    examples = list(_examples(run, stages, refused and refused["stage"]))
    summary["advice"] = advice(summary, examples, domains.label_space.names)
    titles = {"after": f"refused: {refused['title'].lower()}"} if refused else {}
    panels = write_panels(directory.report, examples, domains.label_space, **titles)
    pictures = [path for stage in run.plan for path in stage.files(run) if path.parent == directory.report]
    panels += [path for path in pictures if path.exists()]
    confusion = None
    if stages[chosen].get("scores"):
        confusion = Confusion(domains.label_space.count, np.array(stages[chosen]["scores"]["matrix"], np.int64))
    report = write_report(directory.report, summary, panels, domains.label_space, confusion, directory.metrics)
    pictures_to_tensorboard(directory, panels)
    print_summary(summary, console, report)
    return summary


def _examples(run: Run, stages: dict[str, dict], refused: str | None) -> Iterator[Example]:
    """Evenly spaced images with the labels of the models before and after; truth where there is one.

    refused: the stage whose labels are shown after, where the watch has kept the model before; None: of the result.
    """
    part, network = (run.domains.evaluation or run.domains.target).evenly_spaced(PANELS), run.network
    chosen = network.get_weights()
    if refused is not None:
        load_own_weights(network, run.directory.weights(refused))
    after = _probs(run.predictor, part, run.size)
    load_own_weights(network, run.directory.weights(run.baseline.name))
    before = _probs(run.predictor, part, run.size)
    network.set_weights(chosen)
    for index, sample in enumerate(part.samples):
        yield Example(
            name=sample.name,
            image=part.read_image(index),
            before=before[index].argmax(-1).astype(np.uint8),
            after=after[index].argmax(-1).astype(np.uint8),
            pseudo_label=_pseudo_label(after[index], run.directory, stages),
            truth=part.read_label(index) if sample.label is not None else None,
        )


def _probs(predictor: Predictor, dataset: Dataset, size) -> np.ndarray:
    batches = evaluation_stream(dataset, size, images_at_once(size))
    return np.concatenate([enlarge(predictor.coarse_probs(batch["image"]), size).numpy() for batch in batches])


def _pseudo_label(probs: np.ndarray, directory: RunDirectory, stages: dict) -> np.ndarray | None:
    """What the last round's selector, as it was fitted then, keeps of this prediction."""
    folder = directory.pseudo_labels / list(stages)[-1]
    return read_fitted(folder).label(probs) if (folder / MANIFEST_NAME).is_file() else None


def pictures_to_tensorboard(directory: RunDirectory, panels: list[Path]) -> None:
    """The panels and two charts of `directory.report`, as they are: `tf.summary.image` would encode them once more."""
    metadata = create_summary_metadata(display_name=None, description=None)
    with tf.summary.create_file_writer(str(directory.tensorboard / "report")).as_default():
        for path in [*panels, directory.report / "confusion.png", directory.report / "stages.png"]:
            if path.exists():
                height, width = image_size(path)
                picture = [str(width).encode(), str(height).encode(), path.read_bytes()]
                tf.summary.write(path.stem, tf.constant(picture), step=0, metadata=metadata)
