"""The check of a download says what is there, what is missing, what is damaged and where to get it."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.training.data import published_layouts as layouts
from tests.training.data.published_layouts import save
from training.data import prepare

ROOT = Path(__file__).resolve().parents[3]

WRITERS = {
    "gta5": layouts.write_gta5,
    "synthia": layouts.write_synthia,
    "cityscapes": layouts.write_cityscapes,
    "bdd100k": layouts.write_bdd100k,
    "cross_city": layouts.write_cross_city,
    "robotcar": layouts.write_robotcar,
    "camvid": layouts.write_camvid_segnet,
    "folders": layouts.write_folders,
}


@pytest.mark.parametrize("name", WRITERS)
def test_every_layout_is_recognised(tmp_path, capsys, name):
    WRITERS[name](tmp_path)
    status = prepare.main([name, str(tmp_path)])
    output = capsys.readouterr().out
    assert status == (0 if name == "folders" else 1)  # the tiny trees are not complete
    assert "24x48" in output
    assert name == "folders" or prepare.DATA_SETS[name].where[:30] in output


@pytest.mark.parametrize("name", prepare.DATA_SETS)
def test_missing_download_says_where_to_get_it(tmp_path, capsys, name):
    assert prepare.main([name, str(tmp_path / "nowhere")]) == 2
    message = capsys.readouterr().err
    assert "does not exist" in message
    assert prepare.DATA_SETS[name].where in message


def test_frequencies_and_ids(tmp_path, capsys):
    save(tmp_path / "images/a.png", np.zeros((10, 10, 3), np.uint8))
    label = np.zeros((10, 10), np.uint8)
    label[:5] = 255
    label[9, :5] = 18
    save(tmp_path / "labels/a.png", label)
    assert prepare.main(["folders", str(tmp_path)]) == 0
    output = capsys.readouterr().out
    assert "ids 0, 18, 255 in the label files" in output
    rows = [line.replace("│", " ").split() for line in output.splitlines()]
    assert ["0", "road", "90.000", "1"] in rows
    assert ["18", "bicycle", "10.000", "1"] in rows
    assert ["255", "ignored", "(of", "all", "pixels)", "50.000", "1"] in rows


def test_damage_and_foreign_ids_are_reported_not_fatal(tmp_path, capsys):
    layouts.write_folders(tmp_path, 4, classes=11)
    save(tmp_path / "labels/002.png", np.full(layouts.SIZE, 40, np.uint8))
    image = tmp_path / "images/001.png"
    image.write_bytes(image.read_bytes()[:80])
    assert prepare.main(["folders", str(tmp_path), "--classes", "camvid11"]) == 1
    output = capsys.readouterr().out.replace("\n", "")
    assert "not in the label space: ids 40" in output
    assert "001.png is damaged" in output
    assert "002.png holds the ids 40" in output


def test_wrong_layout_is_a_sentence(tmp_path, capsys):
    layouts.write_folders(tmp_path)
    (tmp_path / "labels/000.png").unlink()
    assert prepare.main(["folders", str(tmp_path)]) == 1
    assert "without a label" in capsys.readouterr().out


def test_runs_as_a_script_without_tensorflow(tmp_path):
    layouts.write_folders(tmp_path)
    code = (
        "import runpy, sys; sys.argv = ['prepare.py', 'folders', sys.argv[1]]\n"
        "try: runpy.run_path('training/data/prepare.py', run_name='__main__')\n"
        "except SystemExit as end: assert end.code == 0, end.code\n"
        "assert not {'tensorflow', 'keras'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, check=True, capture_output=True)


def test_labels_without_a_labelled_pixel_are_a_problem(tmp_path, capsys):
    save(tmp_path / "images/a.png", np.zeros((10, 10, 3), np.uint8))
    save(tmp_path / "labels/a.png", np.full((10, 10), 255, np.uint8))
    assert prepare.main(["folders", str(tmp_path)]) == 1
    assert "no pixel of the labels has a class" in capsys.readouterr().out
