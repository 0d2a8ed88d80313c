"""How good the labels of a model are, by the scales at which it predicts: which `adaptation.label_scales` to choose.

    python tests/benchmarks/label_scales.py RUN ... [--stage adjustment] [--scales 1 1,1.5 1,2] [--together]

Of finished runs with labelled evaluation images: mIoU, over the classes in the truth, of the mean of the predictions at
these scales, every second one of the mirrored image, as soft labels are made (`SoftLabeller`). Then comes the mean
of the runs' figures. With `--together` a last line follows: all runs predict, and the mean of their predictions is the
label.
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))

import argparse
from collections.abc import Sequence

import numpy as np

from training.errors import UserError

SCALES = ("1", "1,1.5", "1,2", "1,1.5,2", "1,1.25,1.5,2", "0.75,1,1.5", "0.75,1,1.5,2")
View = tuple[float, bool]  # scale, mirrored
AS_IT_IS = (1.0, False)


def views_of(scales: str) -> list[View]:
    """Of scales as `--set adaptation.label_scales` takes them."""
    return [(float(scale), bool(number % 2)) for number, scale in enumerate(scales.split(","))]


def mious_of(runs: Sequence[pathlib.Path], stage: str, sets: Sequence[Sequence[View]]) -> list[float]:
    """mIoU in percent, over the classes in the truth, of each set of views; of several runs the mean is the label.

    Raises:
        UserError: no such run or stage, or no labelled evaluation images.
    """
    import tensorflow as tf

    from training.data.domains import evaluation_of
    from training.data.input_pipeline import evaluation_stream
    from training.evaluation.confusion import Confusion
    from training.prediction.predictor import Predictor, enlarged_label, images_at_once
    from training.prediction.trained_model import load_trained

    trained = [load_trained(run, stage) for run in runs]
    first, size = trained[0], trained[0].experiment.data.size
    dataset = evaluation_of(first.experiment, first.sixteen_bit_range)
    if dataset is None:
        raise UserError(f"{runs[0]} has no labelled evaluation images")
    # One view of one network each, so that a set of views is a mean of some of them.
    views = {AS_IT_IS, *(view for each in sets for view in each)}
    predictors = [{view: Predictor(each.network, (view[0],), (view[1],)) for view in sorted(views)} for each in trained]
    largest = max(scale for scale, _ in views)
    at_once = images_at_once((round(largest * size[0]), round(largest * size[1])))
    confusions = [Confusion(dataset.label_space.count) for _ in sets]
    for batch in evaluation_stream(dataset, size, at_once).shown("predicting"):
        probs = [{view: each.coarse_probs(batch["image"]) for view, each in of_run.items()} for of_run in predictors]
        grid = tf.shape(probs[0][AS_IT_IS])[1:3]
        for confusion, chosen in zip(confusions, sets, strict=True):
            seen = [tf.image.resize(of_run[view], grid) for of_run in probs for view in chosen]
            mean = tf.add_n(seen) / len(seen)
            for position, index in enumerate(batch["index"].numpy()):
                label = dataset.read_label(int(index))
                confusion.add(label, enlarged_label(mean[position : position + 1], label.shape).numpy()[0])
    return [confusion.scores(dataset.label_space)["miou_in_truth"] for confusion in confusions]


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("runs", nargs="+", type=pathlib.Path)
    parser.add_argument("--stage", default="adjustment", help="stage of the runs whose model labels (adjustment)")
    parser.add_argument("--scales", nargs="+", default=SCALES, metavar="SCALES", help="sets of scales, as 1,1.5")
    parser.add_argument("--together", action="store_true", help="also score the mean of all runs' predictions")
    arguments = parser.parse_args(argv)
    sets = [views_of(scales) for scales in arguments.scales]
    print("| run | " + " | ".join(arguments.scales) + " |", "|---" + "|--:" * len(arguments.scales) + "|", sep="\n")
    found = {}
    for run in arguments.runs:
        found[run] = mious_of([run], arguments.stage, sets)
        print(line_of(run.name, found[run]), flush=True)
    if len(found) > 1:
        print(line_of("mean", np.mean(list(found.values()), axis=0)))
    if arguments.together:
        print(line_of("together", mious_of(arguments.runs, arguments.stage, sets)))
    return 0


def line_of(name: str, mious: Sequence[float]) -> str:
    """A line of the table."""
    return f"| {name} | " + " | ".join(f"{miou:.1f}" for miou in mious) + " |"


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error:
        sys.exit(f"streetshift: {error}")
