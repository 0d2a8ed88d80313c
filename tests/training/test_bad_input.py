"""Bad input gets one clear sentence, exit status 2 and no traceback; nothing finished is lost."""

import errno
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.training.small_runs import two_layers
from training import run as run_script
from training.run_directory import paths as run_directory
from training.stages import plan


def photo(path: Path, size=(70, 90)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(len(path.name)).integers(0, 255, (*size, 3), dtype=np.uint8)).save(path)


def label(path: Path, size=(70, 90), value=0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full(size, value, np.uint8)).save(path)


@pytest.fixture
def folders(tmp_path):
    """A small labelled source and unlabelled target that work; tests break one thing."""
    for index in range(3):
        photo(tmp_path / "source" / "images" / f"s{index}.png")
        label(tmp_path / "source" / "labels" / f"s{index}.png", value=index)
        photo(tmp_path / "target" / f"t{index}.jpg", (50 + index, 80))
    return tmp_path


@pytest.fixture
def light(monkeypatch):
    """Two layers, no export: for runs whose files are what a test is about."""
    monkeypatch.setattr(plan, "build_network", two_layers)
    monkeypatch.setattr(run_script, "_export", lambda *_: None)


def said(capsys, root: Path, *more: str) -> str:
    """Run the folders job; the one sentence it says."""
    capsys.readouterr()
    status = run_script.main([
        *("--data", "folders", "--classes", "camvid11", "--model", "compact", "--smoke", "--recipe", "cbst"),
        *("--source-root", str(root / "source"), "--target-root", str(root / "target"), "--out", str(root / "out")),
        *more,
    ])  # fmt: skip
    error = capsys.readouterr().err
    assert status == 2
    assert "Traceback" not in error
    lines = [line for line in error.splitlines() if line.startswith("streetshift: ")]
    assert len(lines) == 1, error
    return lines[0]


def test_missing_folder(folders, capsys):
    shutil.rmtree(folders / "target")
    assert str(folders / "target") in said(capsys, folders)


def test_devices_that_do_not_exist(folders, capsys):
    assert "--devices gpus" in said(capsys, folders, "--devices", "gpus")
    assert not (folders / "out").exists()


def test_a_loss_that_needs_a_teacher_without_one(folders, capsys):
    words = said(capsys, folders, "--set", "adaptation.losses.consistency=on")
    assert "losses.consistency needs adaptation.mean_teacher=on" in words
    assert not (folders / "out").exists()


def test_empty_target(folders, capsys):
    for path in (folders / "target").iterdir():
        path.unlink()
    assert str(folders / "target") in said(capsys, folders)


def test_image_without_label(folders, capsys):
    (folders / "source" / "labels" / "s1.png").unlink()
    assert "s1" in said(capsys, folders)


def test_label_without_image(folders, capsys):
    (folders / "source" / "images" / "s2.png").unlink()
    assert "s2" in said(capsys, folders)


def test_corrupt_source_image(folders, capsys):
    path = folders / "source" / "images" / "s1.png"
    path.write_bytes(path.read_bytes()[:200])
    assert "s1.png" in said(capsys, folders)


@pytest.mark.parametrize("damaged", ["source/labels/s0.png", "target/*"])
def test_corrupt_pictures(damaged, folders, capsys):
    """A labelled one, or all of the target's; a single photo of the target is left out."""
    paths = sorted(folders.glob(damaged))
    for path in paths:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert paths[0].name in said(capsys, folders)


def test_pair_of_different_sizes(folders, capsys):
    label(folders / "source" / "labels" / "s0.png", size=(70, 91))
    sentence = said(capsys, folders)
    assert "s0.png" in sentence
    assert "91" in sentence


def test_ids_outside_the_label_space(folders, capsys):
    label(folders / "source" / "labels" / "s0.png", value=77)
    sentence = said(capsys, folders)
    assert "77" in sentence
    assert "s0.png" in sentence


def test_target_that_overlaps_the_evaluation_images(folders, capsys):
    shutil.copytree(folders / "source", folders / "eval")
    shutil.copy(folders / "eval" / "images" / "s0.png", folders / "target" / "s0.png")
    assert "s0.png" in said(capsys, folders, "--eval-root", str(folders / "eval"))


def test_impossible_crop(folders, capsys):
    assert "crop" in said(capsys, folders, "--set", "data.crop=4000,4000").lower()


def test_out_that_is_taken(folders, capsys):
    (folders / "out").mkdir()
    (folders / "out" / "mine.txt").write_text("precious")
    assert "not empty" in said(capsys, folders)
    assert (folders / "out" / "mine.txt").read_text() == "precious"


def test_out_that_cannot_be_written(folders, capsys):
    (folders / "file").write_text("")
    assert "cannot write" in said(capsys, folders, "--out", str(folders / "file" / "out"))


def test_resume_of_something_else(folders, capsys):
    assert "not a run" in said(capsys, folders, "--resume", str(folders / "source"))


def test_weights_that_do_not_fit(folders, capsys):
    (folders / "odd.weights.h5").write_bytes(b"nonsense")
    assert "odd.weights.h5" in said(capsys, folders, "--weights", str(folders / "odd.weights.h5"))


def test_full_disk_keeps_what_is_finished_and_resumes(folders, capsys, light):
    replace = os.replace

    def full(source, destination):
        if str(destination).endswith("round_1.weights.h5"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        replace(source, destination)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_directory.os, "replace", full)
        assert "No space left" in said(capsys, folders)
    assert list(json.loads((folders / "out" / "state.json").read_text())["stages"]) == ["source", "statistics"]
    assert run_script.main(["--resume", str(folders / "out")]) == 0
    assert (folders / "out" / "report" / "report.md").exists()


def test_without_target_labels_the_report_says_what_can_be_known(folders, light):
    arguments = ["--data", "folders", "--classes", "camvid11", "--model", "compact", "--smoke", "--recipe", "mrkld"]
    roots = ["--source-root", str(folders / "source"), "--target-root", str(folders / "target")]
    assert run_script.main([*arguments, *roots, "--out", str(folders / "run")]) == 0
    summary = json.loads((folders / "run" / "report" / "summary.json").read_text())
    assert summary["after"] is None
    assert 0 <= summary["label_free"]["after"]["consistency"] <= 1


def test_a_source_without_a_labelled_pixel(folders, capsys):
    for index in range(3):
        label(folders / "source" / "labels" / f"s{index}.png", value=255)
    sentence = said(capsys, folders)
    assert "'source' have no labelled pixel" in sentence
    assert "s0.png" in sentence


def test_evaluation_data_without_a_labelled_pixel(folders, capsys):
    photo(folders / "val" / "images" / "v.png")
    label(folders / "val" / "labels" / "v.png", value=255)
    assert "'val' have no labelled pixel" in said(capsys, folders, "--eval-root", str(folders / "val"))


def test_one_labelled_pixel_anywhere_is_enough(folders):
    from training.data.classes import LABEL_SPACES
    from training.data.datasets import folders as read_folders
    from training.data.domains import require_labelled_pixels

    for index in range(3):
        label(folders / "source" / "labels" / f"s{index}.png", value=255)
    pixels = np.full((70, 90), 255, np.uint8)
    pixels[3, 4] = 1
    Image.fromarray(pixels).save(folders / "source" / "labels" / "s2.png")
    require_labelled_pixels(read_folders(folders / "source", LABEL_SPACES["camvid11"]), "The data", "")
