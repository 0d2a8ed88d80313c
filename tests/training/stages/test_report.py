"""The report's pictures: pseudo-labels by the run's own selector, all of them in TensorBoard."""

from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from training.prediction.label_files import LabelFolder
from training.prediction.label_images import Predictions, label_images
from training.pseudo_labels.registry import choices
from training.stages.report import _pseudo_label, pictures_to_tensorboard

MAPS = np.random.default_rng(0).dirichlet(np.ones(4) * 0.5, (3, 32, 48)).astype(np.float32)


class ThreeMaps(Predictions):
    names, mine, source, classes = ("a", "b", "c"), range(3), "maps", 4

    def __call__(self):
        return iter(MAPS)


def labelled_by(name: str, folder) -> np.ndarray:
    """The last label of a round by this selector, as it was written; an ordered selector ends with its thresholds."""
    prior = np.tile(np.float32([[0.5], [1.5]])[:, None], (16, 48, 4)) if choices()[name].with_prior else None
    writer = LabelFolder(folder / "round_1")
    label_images(ThreeMaps(), choices()[name].build(prior), writer)
    return np.asarray(Image.open(folder / "round_1" / "c.png"))


@pytest.mark.parametrize("name", choices())
def test_panels_show_what_the_selector_of_the_last_round_keeps(tmp_path, name):
    directory = SimpleNamespace(pseudo_labels=tmp_path)
    expected = labelled_by(name, tmp_path)
    shown = _pseudo_label(MAPS[2], directory, {"source": {}, "round_1": {}})
    assert 0 < np.mean(expected != 255) < 1
    np.testing.assert_array_equal(shown, expected)
    assert _pseudo_label(MAPS[2], directory, {"source": {}}) is None


def test_the_panels_of_lrent_are_not_those_of_cbst(tmp_path):
    """Its soft labels select more pixels than CBST's thresholds alone."""
    kept = {}
    for name in ("cbst", "lrent"):
        labelled_by(name, tmp_path / name)
        shown = _pseudo_label(MAPS[2], SimpleNamespace(pseudo_labels=tmp_path / name), {"round_1": {}})
        kept[name] = np.mean(shown != 255)
    assert kept["lrent"] > kept["cbst"]


def test_tensorboard_shows_the_pictures_of_the_report_as_they_are(tmp_path):
    directory = SimpleNamespace(report=tmp_path, tensorboard=tmp_path / "tensorboard")
    panel, chart = tmp_path / "panel_a.png", tmp_path / "rounds.png"
    picture = np.random.default_rng(0).integers(0, 255, (7, 12, 3), np.uint8)
    for path in (panel, chart):
        Image.fromarray(picture).save(path)
    pictures_to_tensorboard(directory, [panel])  # there is no confusion.png: without labels there is none
    events = EventAccumulator(str(directory.tensorboard / "report"), size_guidance={"tensors": 0}).Reload()
    assert sorted(events.Tags()["tensors"]) == ["panel_a", "rounds"]
    for path in (panel, chart):
        assert events.SummaryMetadata(path.stem).plugin_data.plugin_name == "images"
        (event,) = events.Tensors(path.stem)
        assert list(event.tensor_proto.string_val) == [b"12", b"7", path.read_bytes()]
