"""How good the pseudo-labels of a run's rounds are, and how certain the network that made them (DRSL, table 7).

    python tests/benchmarks/label_quality.py RUN ...

Of finished runs with rounds whose target has labels, which no run reads. Per round: mIoU of the pseudo-labels on the
pixels that they label, their share of all pixels, and the mean entropy, in nats, of the prediction that they are of.
The mean of the runs that are given together (seeds) stands last.
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))

import argparse
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from itertools import zip_longest

import numpy as np

from training.errors import UserError


def labelled_target(run: pathlib.Path, data, space):
    """The target of a run's `data`, a `Dataset` with labels of `space`; UserError where it has none."""
    from training.data.domains import load_domain

    dataset = load_domain(data.target, space, data.size)
    if dataset.samples[0].label is None:
        raise UserError(f"{run}: the target {dataset.name} has no labels to compare pseudo-labels with")
    return dataset


@dataclass(frozen=True)
class RoundLabels:
    """Of the pseudo-labels of one round: mIoU and share of all pixels in percent, entropy in nats."""

    miou: float
    labelled: float
    entropy: float


def labels_of(path: pathlib.Path) -> list[RoundLabels]:
    """Those of each round of a run, in their order."""
    from training.data.classes import load_label_space
    from training.data.images import resize_label
    from training.evaluation.confusion import Confusion
    from training.prediction.predictor import Predictor
    from training.prediction.target_predictions import TargetPredictions
    from training.run_directory.paths import RunDirectory
    from training.stages.network import build_network

    directory, experiment = RunDirectory.reopen(path)
    data, space = experiment.data, load_label_space(experiment.data.label_space)
    dataset = labelled_target(path, data, space)
    network, found, before = build_network(experiment, space.count), [], None
    for stage in directory.stages:
        if stage.startswith("round_"):
            network.load_weights(directory.weights(before))
            labelled = dataset.with_label_folder(directory.pseudo_labels / stage)
            confusion, entropies, kept = Confusion(space.count), [], []
            predictor = Predictor(network).with_views(flips=(False, True))
            for index, probs in enumerate(TargetPredictions(predictor, dataset, data.size)()):
                entropies.append(-np.mean(np.sum(probs.coarse * np.log(np.maximum(probs.coarse, 1e-12)), axis=-1)))
                label = labelled.read_label(index)
                truth = resize_label(dataset.read_label(index), label.shape)
                kept.append(np.mean(label < space.count))
                confusion.add(np.where(label < space.count, truth, 255), label)
            miou = confusion.scores(space)["miou"]
            found.append(RoundLabels(miou, 100 * float(np.mean(kept)), float(np.mean(entropies))))
        if directory.weights(stage).is_file():
            before = stage
    return found


def mean_labels(runs: Sequence[Sequence[RoundLabels]]) -> list[RoundLabels]:
    """Round by round, the mean of the runs that have it."""
    rounds = ([each for each in of_round if each is not None] for of_round in zip_longest(*runs))
    return [RoundLabels(*np.mean([astuple(each) for each in of_round], axis=0)) for of_round in rounds]


def lines_of(name: str, rounds: Sequence[RoundLabels]) -> list[str]:
    """A line of the table for each round."""
    return [
        f"| {name} | round_{number} | {each.miou:.1f} | {each.labelled:.1f} | {each.entropy:.3f} |"
        for number, each in enumerate(rounds, 1)
    ]


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("runs", nargs="+", type=pathlib.Path)
    print("| run | round | mIoU of the labels | labelled % | entropy |", "|---|---|--:|--:|--:|", sep="\n")
    found = {path: labels_of(path) for path in parser.parse_args(argv).runs}
    for path, rounds in found.items():
        print("\n".join(lines_of(path.name, rounds)))
    if len(found) > 1:
        print("\n".join(lines_of("mean", mean_labels(list(found.values())))))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error:
        sys.exit(f"streetshift: {error}")
