"""The command line of label.py: the published numbers, both kinds of input, a run's model, and bad input."""

import json
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from training.label import main

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def maps():
    """[n, c, h, w]"""
    probs = np.random.default_rng(0).dirichlet(np.ones(4) * 0.3, (3, 12, 10)).astype(np.float32)
    return np.ascontiguousarray(np.moveaxis(probs, -1, 1))


@pytest.fixture
def archive(tmp_path, maps):
    np.savez(tmp_path / "probs.npz", probs=maps)
    return tmp_path / "probs.npz"


def run(*options, out):
    return main([*map(str, options), "--out", str(out)])


def read_labels(folder):
    return {path.stem: np.asarray(Image.open(path)) for path in sorted(folder.glob("*.png"))}


@pytest.mark.parametrize(
    ("vectors", "options"),
    [
        ("crst_hard_S_p0.2_ds4", ["--selector", "cbst"]),
        ("crst_hard_S_p0.2_ds1", ["--selector", "cbst", "--stride", "1"]),
        ("crst_lrent_S_a1", ["--selector", "lrent", "--alpha", "1"]),
        ("cbst_st_S_p0.2", ["--selector", "st", "--compat", "mxnet"]),
        ("cbst_cbst_sp_S_p0.15", ["--selector", "cbst_sp", "--compat", "mxnet", "--portion", "0.15", "--prior"]),
    ],
)
def test_reference_vectors(shared_dir, tmp_path, vectors, options):
    with np.load(shared_dir / f"reference/{vectors}.npz") as archive:
        expected = dict(archive)
    if "prior" in expected:
        np.save(tmp_path / "prior.npy", expected["prior"])
        options = [*options, tmp_path / "prior.npy"]
    assert run("--probs", shared_dir / "reference/inputs_S.npz", *options, out=tmp_path / "out") == 0
    labels = np.stack(list(read_labels(tmp_path / "out").values()))
    if "pseudo_trainid" in expected:
        np.testing.assert_array_equal(labels, expected["pseudo_trainid"])
    else:
        np.testing.assert_array_equal(labels != 255, expected["pseudo_labelid"] != 0)
    thresholds = json.loads((tmp_path / "out/manifest.json").read_text())["thresholds"]
    np.testing.assert_array_equal(thresholds, expected.get("cls_thresh_used", expected.get("cls_thresh")))


def test_archive_and_folder_give_the_same_labels(tmp_path, maps, archive):
    folder = tmp_path / "maps"
    (folder / "rome").mkdir(parents=True)
    for name, single in zip(("a", "b", "rome/c"), maps, strict=True):
        np.save(folder / f"{name}.npy", np.moveaxis(single, 0, -1))
    assert run("--probs", archive, out=tmp_path / "from_archive") == 0
    assert run("--probs", folder, out=tmp_path / "from_folder") == 0
    first, second = read_labels(tmp_path / "from_archive"), read_labels(tmp_path / "from_folder")
    assert list(first) == ["000000", "000001", "000002"]
    assert list(second) == ["a", "b", "rome__c"]
    np.testing.assert_array_equal(list(first.values()), list(second.values()))


def test_manifest_counts_what_the_labels_hold(tmp_path, maps, archive):
    assert run("--probs", archive, "--portion", "0.4", "--stride", "2", out=tmp_path / "out") == 0
    manifest = json.loads((tmp_path / "out/manifest.json").read_text())
    kept = np.bincount(
        np.concatenate([label.ravel() for label in read_labels(tmp_path / "out").values()]), minlength=256
    )
    assert manifest["kept_pixels"] == kept[:4].tolist()
    assert manifest["pixels"] == np.bincount(maps.argmax(axis=1).ravel(), minlength=4).tolist()
    assert (manifest["selector"], manifest["portion"], manifest["stride"]) == ("cbst", 0.4, 2)
    assert manifest["source"] == str(archive)


def test_a_second_run_replaces_the_first(tmp_path, maps, archive):
    assert run("--probs", archive, out=tmp_path / "out") == 0
    np.savez(archive, probs=maps[:1])
    assert run("--probs", archive, out=tmp_path / "out") == 0
    assert list(read_labels(tmp_path / "out")) == ["000000"]


def test_a_finished_run_with_its_own_prior(tmp_path, maps, monkeypatch):
    """The network's side is replaced; its prior is brought from the training size to that of the images."""
    images = [np.moveaxis(single, 0, -1) for single in maps]
    space = types.SimpleNamespace(count=4, names=("road", "car", "tree", "sky"))
    labelling = types.ModuleType("training.labelling")
    labelling.probabilities_of_folder = lambda run, folder: (["x", "y", "z"], lambda: iter(images), space)
    monkeypatch.setitem(sys.modules, "training.labelling", labelling)
    monkeypatch.setattr("training.label.start_tensorflow", lambda: None)
    options = ("--checkpoint", tmp_path, "--images", tmp_path)
    assert run(*options, out=tmp_path / "plain") == 0
    assert list(read_labels(tmp_path / "plain")) == ["x", "y", "z"]
    assert json.loads((tmp_path / "plain/manifest.json").read_text())["class_names"] == list(space.names)
    assert run(*options, "--selector", "cbst_sp", out=tmp_path / "weighted") == 2
    np.save(tmp_path / "spatial_prior.npy", np.ones((6, 5, 4), np.float32))
    assert run(*options, "--selector", "cbst_sp", out=tmp_path / "weighted") == 0


BAD = {
    "no input": ("", "Give either --probs"),
    "two inputs": ("--probs {archive} --checkpoint {folder} --images {folder}", "Give either --probs"),
    "checkpoint alone": ("--checkpoint {folder}", "belong together"),
    "missing file": ("--probs {folder}/gone.npz", "nothing at"),
    "portion": ("--probs {archive} --portion 20", "portion is 20.0"),
    "stride": ("--probs {archive} --stride 0", "stride is 0"),
    "no prior": ("--probs {archive} --selector st_sp", "none was given"),
    "needless prior": ("--probs {archive} --prior {folder}/right.npy", "uses no spatial prior"),
    "other size": ("--probs {archive} --selector st_sp --prior {folder}/wrong.npy", "8 x 10 x 4 but the first map"),
    "alpha": ("--probs {archive} --selector lrent --alpha -1", "--alpha -1.0"),
    "needless alpha": ("--probs {archive} --alpha 1", "temperature of lrent"),
    "NaN": ("--probs {folder}/nan.npz", "map 2 of"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_sentence_and_status_2(tmp_path, maps, archive, capsys, case):
    np.save(tmp_path / "right.npy", np.ones((12, 10, 4), np.float32))
    np.save(tmp_path / "wrong.npy", np.ones((8, 10, 4), np.float32))
    maps[2, 0, 3, 3] = np.nan
    np.savez(tmp_path / "nan.npz", probs=maps)
    options, message = BAD[case]
    assert run(*options.format(archive=archive, folder=tmp_path).split(), out=tmp_path / "out") == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not list(tmp_path.glob("out/*"))


def test_a_foreign_folder_is_left_alone(tmp_path, archive, capsys):
    assert run("--probs", archive, out=tmp_path) == 2
    assert "is not empty" in capsys.readouterr().err
    assert archive.exists()


def test_odd_sums_are_a_warning(tmp_path, maps, capsys):
    np.savez(tmp_path / "probs.npz", probs=maps / 2)
    assert run("--probs", tmp_path / "probs.npz", out=tmp_path / "out") == 0
    assert capsys.readouterr().out.count("Warning") == 1


def test_the_script_itself_without_tensorflow(tmp_path, archive):
    """As users start it, from elsewhere; an unknown selector is refused by the parser with the same status."""
    script = [sys.executable, str(ROOT / "training/label.py")]
    code = f"import runpy, sys; sys.argv = {[*script[1:], '--probs', str(archive), '--out', str(tmp_path / 'o')]!r}\n"
    code += "try: runpy.run_path(sys.argv[0], run_name='__main__')\n"
    code += "finally: assert not {'tensorflow', 'keras', 'matplotlib'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True).returncode == 0
    wrong = subprocess.run([*script, "--selector", "csbt", "--out", "x"], cwd=tmp_path, capture_output=True, text=True)
    assert wrong.returncode == 2
    assert "Traceback" not in wrong.stderr
