"""The images an export is checked on, where the target lacks labels or some of its images cannot be read."""

import shutil

import numpy as np
import pytest

from export.frames import target_frames
from tests.training.data.published_layouts import save, write_cityscapes
from training.command_line import experiment_of, parse
from training.data.classes import LABEL_SPACES
from training.errors import UserError


def test_photos_that_cannot_be_read_are_passed_over(tmp_path):
    experiment = experiment_of(parse(["--data", "streetsim_camvid", "--target-root", str(tmp_path), "--size", "32x32"]))
    for name in "ab":
        save(tmp_path / f"{name}.png", np.zeros((8, 8, 3), np.uint8))
    (tmp_path / "a.png").write_bytes((tmp_path / "a.png").read_bytes()[:20])
    assert [frame.shape for frame in target_frames(experiment, LABEL_SPACES["camvid11"])] == [(32, 32, 3)]
    (tmp_path / "b.png").write_bytes(b"")
    with pytest.raises(UserError, match=r"a\.png is damaged"):
        target_frames(experiment, LABEL_SPACES["camvid11"])


def test_a_published_target_needs_no_labels(tmp_path):
    write_cityscapes(tmp_path)
    shutil.rmtree(tmp_path / "gtFine")
    options = ["--data", "gta5_cityscapes", "--source-root", str(tmp_path), "--target-root", str(tmp_path)]
    experiment = experiment_of(parse([*options, "--size", "32x32"]))
    frames = target_frames(experiment, LABEL_SPACES["cityscapes19"])
    assert {frame.shape for frame in frames} == {(32, 32, 3)}
