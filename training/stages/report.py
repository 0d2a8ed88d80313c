"""The end of a run: the summary, pictures of what changed, report/, TensorBoard pictures, the closing lines."""

import shlex
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorboard.plugins.image.metadata import create_summary_metadata

from training.data.domains import Domains
from training.data.images import image_size
from training.data.input_pipeline import evaluation_stream
from training.data.samples import Dataset
from training.evaluation.confusion import Confusion
from training.evaluation.panels import Example, write_panels
from training.evaluation.report import print_summary, write_report
from training.experiment_json import VERSION
from training.prediction.label_files import read_thresholds
from training.prediction.predictor import Predictor, enlarge
from training.probability_maps.map_files import load_prior
from training.progress import console
from training.pseudo_labels.selectors import select
from training.run_directory.paths import RunDirectory
from training.settings import Experiment

PANELS = 6


def summary_of(experiment: Experiment, domains: Domains, stages: dict, chosen: str, directory: RunDirectory) -> dict:
    """The summary as `evaluation/report.py` documents it, from the figures of the finished stages."""
    rounds = [_round_summary(name, figures) for name, figures in stages.items() if name != "source"]
    oracle = experiment.recipe.warm_up.domain == "target"
    space = domains.label_space
    return {
        "recipe": experiment.names["recipe"],
        "data": experiment.names["data"],
        "model": experiment.names["model"],
        "seed": experiment.seed,
        "source": domains.source.name,
        "target": domains.target.name,
        "split": domains.evaluation.name if domains.evaluation else None,
        "label_space": space.name,
        "class_set": next(iter(space.class_sets)),
        "resolution": list(experiment.data.size),
        "before": None if oracle else _scores(stages["source"]),
        "after": _scores(stages[chosen]),
        "labeller": _labeller(stages["source"]),
        "images": domains.image_counts,
        "data_notes": domains.all_notes,
        "unseen_classes": domains.unseen_classes,
        "source_validation": stages["source"].get("source_scores"),
        "label_free": _label_free(stages, chosen, space.names),
        "rounds": rounds,
        "chosen_round": _label(chosen),
        "watch": _watch_sentences(stages, chosen),
        "seconds": sum(figures["seconds"] for figures in stages.values()),
        "seconds_per_stage": {name: figures["seconds"] for name, figures in stages.items()},
        "version": VERSION,
        "command": directory.read_json("recipe.json")["command"],
        "environment": directory.read_json("environment.json"),
        "next_commands": _next_commands(directory, domains),
    }


def _next_commands(directory: RunDirectory, domains: Domains) -> list[str]:
    run = shlex.quote(str(directory.path))
    if domains.evaluation is None:
        return [f"python training/label.py --checkpoint {run} --images PHOTOS --selector cbst --out LABELS"]
    return [f"python training/evaluate.py --model {run} --scales 0.5,0.75,1.0 --flip"]


def _scores(figures: dict) -> dict | None:
    return figures.get("scores")


def _labeller(figures: dict) -> dict | None:
    labeller = figures.get("labeller")
    return labeller and {"file": Path(labeller["path"]).name, "scores": labeller["scores"]}


def _round_summary(name: str, figures: dict) -> dict:
    verdict, scores = figures["verdict"], _scores(figures) or {}
    kept = (
        *("portion", "alpha", "kept_share", "kept_share_per_class", "thresholds", "threshold_trajectory"),
        *("hard_classes", "student_scores"),
    )
    return {
        "round": _label(name),
        **{key: figures[key] for key in kept if key in figures},
        "label_free_score": verdict["score"],
        **{
            key: verdict[key]
            for key in ("agreement", "consistency", "confidence", "drift", "swell", "home", "sentence")
        },
        "verdict": "collapse" if verdict["collapse"] else "ok",
        "miou": scores.get("miou"),
        "per_class_iou": scores.get("per_class_iou"),
    }


def _label_free(stages: dict, chosen: str, names) -> dict | None:
    if "verdict" not in stages["source"]:
        return None

    def side(name):
        verdict = stages[name]["verdict"]
        kept = {key: verdict[key] for key in ("consistency", "agreement", "drift", "swell", "home", "confidence")}
        shares = dict(zip(names, verdict["shares"], strict=True))
        return {"label_free_score": verdict["score"], **kept, "class_shares": shares}

    return {"before": side("source"), "after": side(chosen)}


def _watch_sentences(stages: dict, chosen: str) -> list[str]:
    """What the watch has to say, in words; it always says which round was taken and why."""
    verdicts = {name: figures["verdict"] for name, figures in stages.items() if "verdict" in figures}
    if not verdicts:
        return []
    said = [
        f"{_title(name)}: {'COLLAPSE: ' if verdict['collapse'] else ''}{verdict['sentence']}"
        for name, verdict in verdicts.items()
        if name not in ("source", "statistics")  # both are what the rounds are compared with
    ]
    taken = f"Taken: {_title(chosen)}, the best label-free score of what did not collapse"
    if chosen == "source":
        taken += "; adaptation brought nothing that can be seen without labels"
    return [*said, taken]


def _label(stage: str) -> int | str:
    """How the report counts: 0 = the model before adaptation, "statistics", "adversarial", 1, 2, ..."""
    return 0 if stage == "source" else int(stage.removeprefix("round_")) if stage.startswith("round_") else stage


def _title(stage: str) -> str:
    names = {"source": "the model before adaptation", "statistics": "Statistics", "adversarial": "Adversarial warm-up"}
    return names.get(stage) or stage.replace("_", " ").capitalize()


def report_run(
    predictor: Predictor, experiment: Experiment, domains: Domains, directory: RunDirectory, chosen: str, peak: int
) -> dict:
    """Write report/ for the finished run and print its closing lines; the summary.

    The network of `predictor` holds the chosen weights on entry and on return.
    """
    stages = directory.stages
    summary = summary_of(experiment, domains, stages, chosen, directory) | {"peak_rss_bytes": peak}
    examples = list(_examples(predictor, experiment, domains, directory, stages))
    panels = write_panels(directory.report, examples, domains.label_space)
    panels += sorted(directory.report.glob("copy_paste_round_*.png"))
    confusion = None
    if stages[chosen].get("scores"):
        confusion = Confusion(domains.label_space.count, np.array(stages[chosen]["scores"]["matrix"], np.int64))
    report = write_report(directory.report, summary, panels, domains.label_space, confusion, directory.metrics)
    pictures_to_tensorboard(directory, panels)
    print_summary(summary, console, report)
    return summary


def _examples(predictor, experiment, domains, directory, stages) -> Iterator[Example]:
    """Evenly spaced images with the labels of the models before and after; truth where there is one."""
    dataset = domains.evaluation or domains.target
    part = dataset.evenly_spaced(PANELS)
    network = predictor.network
    after = _probs(predictor, part, experiment.data.size)
    chosen = network.get_weights()
    network.load_weights(directory.weights("source"))
    before = _probs(predictor, part, experiment.data.size)
    network.set_weights(chosen)
    for index, sample in enumerate(part.samples):
        yield Example(
            name=sample.name,
            image=part.read_image(index),
            before=before[index].argmax(-1).astype(np.uint8),
            after=after[index].argmax(-1).astype(np.uint8),
            pseudo_label=_pseudo_label(after[index], directory, stages),
            truth=part.read_label(index) if sample.label is not None else None,
        )


def _probs(predictor: Predictor, dataset: Dataset, size) -> np.ndarray:
    batches = evaluation_stream(dataset, size, 1)
    return np.concatenate([enlarge(predictor.coarse_probs(batch["image"]), size).numpy() for batch in batches])


def _pseudo_label(probs: np.ndarray, directory: RunDirectory, stages: dict) -> np.ndarray | None:
    """What the last round's thresholds would keep of this prediction."""
    last = list(stages)[-1]
    if not last.startswith("round_"):
        return None
    thresholds = read_thresholds(directory.pseudo_labels / last)
    path, classes = directory.spatial_prior, probs.shape[-1]
    prior = load_prior(path, classes, height_first=True) if path.exists() else None
    return select(probs, thresholds, prior)


def pictures_to_tensorboard(directory: RunDirectory, panels: list[Path]) -> None:
    """The panels and two charts of `directory.report`, as they are: `tf.summary.image` would encode them once more."""
    metadata = create_summary_metadata(display_name=None, description=None)
    with tf.summary.create_file_writer(str(directory.tensorboard / "report")).as_default():
        for path in [*panels, directory.report / "confusion.png", directory.report / "rounds.png"]:
            if path.exists():
                height, width = image_size(path)
                picture = [str(width).encode(), str(height).encode(), path.read_bytes()]
                tf.summary.write(path.stem, tf.constant(picture), step=0, metadata=metadata)
