"""Labels and scores built-in streets as a run does, in a process of its own: devices and workers are fixed at start.

    python tests/training/label_streets.py --devices cpu:0,1 --out FOLDER

FOLDER becomes a run directory with the labels of a round of `cbst`, of one of `ias` and of one of `entropy_mixture`,
and for each worker what it was told of them and of the confusion matrix. With TF_CONFIG in the environment all workers
label together.
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))

import argparse
import json

from training.distribution.devices import parse_devices, share_of_this_process
from training.distribution.quiet import start_tensorflow

IMAGES, SIZE = 20, (64, 128)  # three batches of prediction: one of two workers has two of them, the other one


def label(folder: pathlib.Path) -> dict:
    """Label and score under the strategy in scope; what this worker knows of it afterwards."""
    from models.segmenter import build_segmenter
    from training.command_line import experiment_of, parse
    from training.data.classes import LABEL_SPACES
    from training.data.domains import Domains, load_domain
    from training.evaluation.scoring import score
    from training.prediction.predictor import Predictor
    from training.run_directory.paths import RunDirectory
    from training.settings.data import Domain
    from training.stages.round_labels import label_round

    space = LABEL_SPACES["cityscapes19"]
    streets = load_domain(Domain(reader="streetsim", style="city", count=IMAGES), space, SIZE)
    domains = Domains(space, streets, streets, streets.without_labels(), streets, streets)
    network = build_segmenter("compact", space.count, seed=3)
    predictor, told = Predictor(network, flips=(False, True)), {}
    mixture = ["cbst", "--set", "adaptation.selector=EntropyMixture"]
    for number, recipe in enumerate((["cbst"], ["iast"], mixture), start=1):
        experiment = experiment_of(parse(["--smoke", "--recipe", *recipe]))
        labelled = label_round(
            predictor, domains, experiment.recipe.adaptation, experiment.data, RunDirectory(folder), number
        )
        told[recipe[-1]] = [labelled.figures, labelled.found.mean_confidence.tolist(), labelled.rare_classes]
    return {**told, "scores": score(predictor, streets, SIZE, 8, "scoring")}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--devices", default="cpu")
    parser.add_argument("--out", required=True, type=pathlib.Path)
    arguments = parser.parse_args()
    strategy = start_tensorflow(parse_devices(arguments.devices))
    with strategy.scope():
        told = label(arguments.out)
        number = share_of_this_process().process
    (arguments.out / f"worker_{number}.json").write_text(json.dumps(told))


if __name__ == "__main__":
    main()
