"""Score a finished run on labelled images. `python training/evaluate.py --help`."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import json
from dataclasses import dataclass
from pathlib import Path

import tyro

from models.terminal import accept_all_characters
from training.distribution.memory import out_of_memory_predicting, out_of_memory_said
from training.distribution.quiet import start_tensorflow
from training.errors import UserError
from training.files.atomic import write_atomically


@dataclass(frozen=True)
class Arguments:
    """Per-class IoU of a trained model on labelled images, at the labels' own resolution."""

    run: Path
    """A run directory; its chosen model is scored."""
    images: Path | None = None
    """Folder of images. Not given: the evaluation images of the run itself."""
    labels: Path | None = None
    """Folder of label PNGs with the images' names (8-bit ids of the label space, 255 = ignored)."""
    classes: str | None = None
    """Label space of the labels; must be that of the model. Not given: the model's."""
    stage: str = "final"
    """Which weights of the run: final, source, round_1, ..., with a mean teacher student/round_1 too."""
    scales: str = "1.0"
    """Multi-scale testing: soft-max averaged over these factors, e.g. 0.5,0.75,1.0."""
    flip: bool = False
    """Average with the mirrored image."""
    json: Path | None = None
    """Also write the figures here."""


def main(argv: list[str] | None = None) -> int:
    accept_all_characters()
    arguments = tyro.cli(Arguments, args=argv, prog="training/evaluate.py", config=(tyro.conf.FlagCreatePairsOff,))
    try:
        figures, space = evaluate(arguments)
        _show(figures, space)
        if arguments.json is not None:
            write_atomically(arguments.json, (json.dumps(figures, indent=2) + "\n").encode())
        return 0
    except UserError as error:
        print(f"streetshift: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nStopped.", file=sys.stderr)
        return 130


def evaluate(arguments: Arguments):
    """`(figures, label space)`; see `evaluation.confusion.scores` for the figures."""
    scales = _scales(arguments.scales)
    start_tensorflow()
    from training.evaluation.scoring import score
    from training.prediction.predictor import Predictor, images_at_once
    from training.prediction.trained_model import load_trained

    trained = load_trained(arguments.run, arguments.stage)
    dataset = _dataset(arguments, trained)
    predictor = Predictor(trained.network, scales, (False, True) if arguments.flip else (False,))
    size = trained.experiment.data.size
    # One image at a time would be 20 times as slow for some networks (oneDNN, AVX2).
    at_once = images_at_once([round(max(1.0, *scales) * side) for side in size])
    with out_of_memory_said(lambda: out_of_memory_predicting(at_once, size)):
        figures = score(predictor, dataset, size, at_once, f"scoring {arguments.stage}")
    return figures, trained.label_space


def _scales(text: str) -> tuple[float, ...]:
    try:
        scales = tuple(float(part) for part in text.split(","))
    except ValueError:
        scales = ()
    if not scales or not all(0 < scale <= 4 for scale in scales):
        raise UserError(f"--scales {text}: expected numbers in (0, 4] separated by commas, for example 0.5,0.75,1.0")
    return tuple(sorted(scales, key=lambda scale: abs(scale - 1)))  # the scale nearest to 1 gives the grid


def _dataset(arguments: Arguments, trained):
    from training.data.classes import load_label_space
    from training.data.datasets import image_and_label_folders
    from training.data.domains import evaluation_of, require_labelled_pixels

    if (arguments.images is None) != (arguments.labels is None):
        raise UserError("--images and --labels belong together: give both, or neither for the run's own data")
    if arguments.images is None:
        dataset = evaluation_of(trained.experiment, trained.sixteen_bit_range)
        if dataset is None:
            raise UserError(f"{arguments.run} has no labelled evaluation images: give --images and --labels")
        return dataset
    space = load_label_space(arguments.classes) if arguments.classes else trained.label_space
    if space.names != trained.label_space.names:
        raise UserError(
            f"the labels are in '{space.name}' but the model was trained on '{trained.label_space.name}': "
            "score it in its own label space"
        )
    dataset = image_and_label_folders(arguments.images, arguments.labels, space)
    require_labelled_pixels(dataset, "The evaluation data", "")
    return dataset.with_sixteen_bit_range(trained.sixteen_bit_range)


def _show(figures: dict, space) -> None:
    from rich.table import Table

    from training.evaluation.formats import percent_or_none
    from training.evaluation.tables import predicted_only
    from training.progress import console

    table = Table("class", "IoU %", "pixels")
    for name, value in figures["per_class_iou"].items():
        pixels = f"{figures['truth_pixels'][name]:,}"
        table.add_row(name, "absent" if value is None else f"{value:.1f}", pixels)
    console.print(table)
    miou, accuracy = (percent_or_none(figures[key], 2) for key in ("miou", "pixel_accuracy"))
    console.print(f"mIoU {miou} over {space.name}, pixel accuracy {accuracy}")
    for name, value in list(figures["class_sets"].items())[1:]:
        console.print(f"mIoU over {name} classes: {percent_or_none(value, 2)}")
    if false_only := predicted_only(figures):
        console.print(f"not in the truth but predicted, so counted as 0 in the mean: {', '.join(false_only)}")
        console.print(f"mIoU over the classes in the truth: {percent_or_none(figures['miou_in_truth'], 2)}")
    if figures["absent"]:
        console.print(f"left out of the mean, absent from truth and prediction: {', '.join(figures['absent'])}")


if __name__ == "__main__":
    sys.exit(main())
