"""A small finished run with an untrained network, made once for all tests of the export."""

import json
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

from export.enlarge import enlarge
from export.run import ExportReport, export_run
from export.segmenter import OnnxSegmenter
from tests.export.networks import lively_network
from training.command_line import experiment_of, parse
from training.data.classes import LABEL_SPACES
from training.data.streetsim import STYLES, render
from training.evaluation.confusion import Confusion
from training.prediction.label_files import LabelFolder
from training.prediction.label_images import Predictions, label_images
from training.probability_maps.scores import softmax
from training.pseudo_labels import ClassBalancedSelector
from training.run_directory.paths import RunDirectory

SPACE = LABEL_SPACES["cityscapes19"]


@pytest.fixture(scope="session")
def network() -> keras.Model:
    """The default network, untrained, with random batch-norm statistics."""
    return lively_network("compact", SPACE.count)


@pytest.fixture(scope="session")
def run(network, tmp_path_factory) -> Path:
    """A run directory as the pipeline leaves it: source and one round, scored, on 64x128 generated streets."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STREETSHIFT_CACHE", str(tmp_path_factory.mktemp("cache")))
        directory = RunDirectory.create(folder, experiment_of(parse(["--recipe", "cbst_sp", "--smoke"])))
        source = lively_network("compact", SPACE.count, seed=1)
        for stage, weights in (("source", source), ("round_1", network)):
            directory.save_weights(weights, directory.weights(stage))
            directory.finish_stage(stage, {"scores": figures(seed=len(stage)), "adapts": stage == "round_1"})
        directory.save_weights(network, directory.final_weights)
        write_last_selection(directory, network)
        yield folder


def figures(seed: int) -> dict:
    """Scores of a confusion of random counts."""
    matrix = np.random.default_rng(seed).integers(1, 1000, (SPACE.count, SPACE.count))
    return Confusion(SPACE.count, matrix).scores(SPACE)


def write_last_selection(directory: RunDirectory, network: keras.Model) -> None:
    """A random spatial prior, and the labels of round 1, of what the network says of two generated streets."""
    prior = np.random.default_rng(0).random((64, 128, SPACE.count), np.float32) + 0.5
    np.save(directory.spatial_prior, prior)
    frames = [render(STYLES["city"], 6, index, (64, 128))[0] for index in range(2)]
    coarse = softmax(network(np.stack(frames))["logits"].numpy())
    probs = np.stack([enlarge(each, (64, 128)) for each in coarse])
    selector = ClassBalancedSelector(portion=0.2, prior=prior)
    label_images(TwoStreets(probs), selector, LabelFolder(directory.pseudo_labels / "round_1"))


class TwoStreets(Predictions):
    names, mine, source = ("a", "b"), range(2), "streets"
    classes, class_names = SPACE.count, SPACE.names

    def __init__(self, probs: np.ndarray):
        self.probs = probs

    def __call__(self):
        return iter(self.probs)


@pytest.fixture(scope="session")
def report(run) -> ExportReport:
    """The export of the run's final weights."""
    return export_run(run)


@pytest.fixture(scope="session")
def segmenter(report) -> OnnxSegmenter:
    """The exported model, opened."""
    return OnnxSegmenter(report.path, providers=["CPUExecutionProvider"])


@pytest.fixture(scope="session")
def streets() -> list[np.ndarray]:
    """Three generated pictures, uint8 [64, 128, 3]."""
    return [render(STYLES["city"], 5, index, (64, 128))[0] for index in range(3)]


@pytest.fixture(scope="session")
def photos(streets, tmp_path_factory) -> Path:
    """A folder: three pictures, one of them deeper down, and a text renamed to .png."""
    folder = tmp_path_factory.mktemp("photos")
    (folder / "deeper").mkdir()
    for name, picture in zip(("a.png", "b.jpg", "deeper/c.png"), streets, strict=True):
        Image.fromarray(picture).save(folder / name)
    (folder / "broken.png").write_text(json.dumps("not a picture"))
    return folder
