"""The report's pictures in TensorBoard."""

from types import SimpleNamespace

import numpy as np
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from training.stages.report import pictures_to_tensorboard


def test_tensorboard_shows_the_pictures_of_the_report_as_they_are(tmp_path):
    directory = SimpleNamespace(report=tmp_path, tensorboard=tmp_path / "tensorboard")
    panel, chart = tmp_path / "panel_a.png", tmp_path / "stages.png"
    picture = np.random.default_rng(0).integers(0, 255, (7, 12, 3), np.uint8)
    for path in (panel, chart):
        Image.fromarray(picture).save(path)
    pictures_to_tensorboard(directory, [panel])  # there is no confusion.png: without labels there is none
    events = EventAccumulator(str(directory.tensorboard / "report"), size_guidance={"tensors": 0}).Reload()
    assert sorted(events.Tags()["tensors"]) == ["panel_a", "stages"]
    for path in (panel, chart):
        assert events.SummaryMetadata(path.stem).plugin_data.plugin_name == "images"
        (event,) = events.Tensors(path.stem)
        assert list(event.tensor_proto.string_val) == [b"12", b"7", path.read_bytes()]
