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
from training.prediction.label_images import Predictions
from training.pseudo_labels import InstanceAdaptiveSelector, from_json
from training.pseudo_labels.registry import choices

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
    files = json.loads((folder / "manifest.json").read_text())["files"]
    return {Path(file).stem: np.asarray(Image.open(folder / file)) for file in sorted(files)}


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


@pytest.mark.parametrize(
    ("vectors", "options"),
    [
        ("iast_S_a0.2_b0.9_g8_bs1", ["--alpha", "0.2", "--batch-size", "1"]),
        ("iast_S_a0.2_b0.9_g8_bs2", ["--alpha", "0.2", "--beta", "0.9", "--gamma", "8", "--batch-size", "2"]),
        ("iast_S_a0.5_b0.5_g0_bs2", ["--beta", "0.5", "--gamma", "0"]),
        ("hiast_ias_S_a0.5", []),
    ],
)
def test_reference_vectors_of_the_instance_adaptive_selector(shared_dir, tmp_path, vectors, options):
    with np.load(shared_dir / f"reference/{vectors}.npz") as archive:
        expected = dict(archive)
    options = ["--probs", shared_dir / "reference/inputs_S.npz", "--selector", "ias", *options]
    assert run(*options, out=tmp_path / "out") == 0
    assert len(list((tmp_path / "out").iterdir())) == 4  # three labels and the manifest
    labels = np.stack(list(read_labels(tmp_path / "out").values()))
    assert np.mean(labels != expected["pseudo_trainid"]) <= 1e-4
    manifest = json.loads((tmp_path / "out/manifest.json").read_text())
    np.testing.assert_allclose(manifest["threshold_trajectory"], expected["thresholds"], atol=1e-6)
    np.testing.assert_allclose(manifest["thresholds"], expected["thresholds"][-1], atol=1e-6)
    for key in ("alpha", "beta", "gamma", "batch_size"):
        assert manifest[key] == expected[key]
    assert (manifest["selector"], manifest["initial"]) == ("ias", 0.9)
    assert manifest["kept_pixels"] == np.bincount(labels.ravel(), minlength=256)[:19].tolist()
    assert sum(manifest["pixels"]) == labels.size


def test_the_instance_adaptive_selector_takes_images_of_several_sizes_in_the_order_of_their_names(tmp_path, maps):
    """a and c have one size but are no neighbours, so each goes alone, as with batches of one."""
    folder = tmp_path / "maps"
    folder.mkdir()
    for name, single in (("c", maps[2]), ("a", maps[0]), ("b", maps[1][:, :7])):
        np.save(folder / f"{name}.npy", np.moveaxis(single, 0, -1))
    assert run("--probs", folder, "--selector", "ias", out=tmp_path / "two") == 0
    assert run("--probs", folder, "--selector", "ias", "--batch-size", "1", out=tmp_path / "one") == 0
    two, one = read_labels(tmp_path / "two"), read_labels(tmp_path / "one")
    assert {name: label.shape for name, label in two.items()} == {"a": (12, 10), "b": (7, 10), "c": (12, 10)}
    assert all(np.array_equal(two[name], one[name]) for name in one)
    assert len(json.loads((tmp_path / "two/manifest.json").read_text())["threshold_trajectory"]) == 4


def test_a_bad_map_at_the_end_leaves_the_labels_of_before(tmp_path, maps, archive, capsys):
    options = ("--probs", archive, "--selector", "ias")
    assert run(*options, out=tmp_path / "out") == 0
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    maps[2] *= 3
    np.savez(archive, probs=maps)
    assert run(*options, out=tmp_path / "out") == 2
    assert "Probability map 2 holds" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before


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
    assert (manifest["selector"], manifest["kind"], manifest["portion"], manifest["stride"]) == (
        "cbst", "class_balanced", 0.4, 2,
    )  # fmt: skip
    assert manifest["source"] == str(archive)


@pytest.mark.parametrize("name", choices())
def test_the_manifest_labels_as_the_run_that_wrote_it(tmp_path, maps, archive, name):
    prior = ()
    if choices()[name].with_prior:
        np.save(tmp_path / "prior.npy", np.ones((12, 10, 4), np.float32))
        prior = ("--prior", tmp_path / "prior.npy")
    assert run("--probs", archive, "--selector", name, *prior, out=tmp_path / "out") == 0
    fitted = from_json(json.loads((tmp_path / "out/manifest.json").read_text()))
    assert fitted.selector.name == name
    last = list(read_labels(tmp_path / "out").values())[-1]  # an ordered selector ends with these thresholds
    np.testing.assert_array_equal(fitted.label(np.moveaxis(maps[-1], 0, -1)), last)


def test_every_parameter_of_every_selector_is_an_option(tmp_path, archive):
    for name, choice in choices().items():
        if choice.with_prior:
            continue
        for option, parameter in choice.selector.options().items():
            if parameter.default is None:
                continue
            value = 0.5 * parameter.default if isinstance(parameter.default, float) else parameter.default
            given = ("--selector", name, f"--{option.replace('_', '-')}", value)
            assert run("--probs", archive, *given, out=tmp_path / "out") == 0
            assert json.loads((tmp_path / "out/manifest.json").read_text())[option] == value


def test_the_picture_of_the_modes_lies_beside_the_labels_and_is_replaced_with_them(tmp_path, maps):
    """Also where a label has the name of the picture; another selector leaves none."""
    folder, options = tmp_path / "maps", ("--selector", "entropy_mixture", "--least-pixels", "20")
    folder.mkdir()
    for name, single in zip(("a", "entropies"), maps, strict=False):
        np.save(folder / f"{name}.npy", np.moveaxis(single, 0, -1))
    for _ in range(2):
        assert run("--probs", folder, *options, out=tmp_path / "out") == 0
        manifest = json.loads((tmp_path / "out/manifest.json").read_text())
        assert (manifest["picture"], manifest["files"]) == ("_entropies.png", ["a.png", "entropies.png"])
        assert Image.open(tmp_path / "out/_entropies.png").width > 800
        assert np.asarray(Image.open(tmp_path / "out/entropies.png")).shape == (12, 10)
        assert len(list((tmp_path / "out").iterdir())) == 4
    assert sum(sum(mixture["histogram"]["counts"]) for mixture in manifest["mixtures"]) > 0.9 * 240
    assert run("--probs", folder, out=tmp_path / "out") == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.png", "entropies.png", "manifest.json"]
    assert "picture" not in json.loads((tmp_path / "out/manifest.json").read_text())


def test_a_picture_of_the_users_own_is_not_replaced(tmp_path, archive, capsys):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/entropies.png").write_bytes(b"mine")
    assert run("--probs", archive, "--selector", "entropy_mixture", out=tmp_path / "out") == 2
    assert "holds entropies.png" in capsys.readouterr().err
    assert (tmp_path / "out/entropies.png").read_bytes() == b"mine"


def test_a_second_run_replaces_the_first(tmp_path, maps, archive):
    assert run("--probs", archive, out=tmp_path / "out") == 0
    np.savez(archive, probs=maps[:1])
    assert run("--probs", archive, out=tmp_path / "out") == 0
    assert list(read_labels(tmp_path / "out")) == ["000000"]


def test_a_finished_run_with_its_own_prior(tmp_path, maps, monkeypatch):
    """The network's side is replaced; its prior is brought from the training size to that of each image."""
    images = [np.moveaxis(single, 0, -1) for single in maps]
    images[1] = np.swapaxes(images[1], 0, 1)  # a portrait among landscapes
    space = types.SimpleNamespace(count=4, names=("road", "car", "tree", "sky"))

    class RunPredictions(Predictions):
        names, mine, source = ("x", "y", "z"), range(3), "photos"
        classes, class_names = space.count, space.names

        def __init__(self, run, folder, results, stage):
            asked.append(stage)

        def __call__(self):
            return iter(images)

    target = types.ModuleType("training.prediction.target_predictions")
    target.RunPredictions = RunPredictions
    monkeypatch.setitem(sys.modules, "training.prediction.target_predictions", target)
    monkeypatch.setattr("training.label.start_tensorflow", lambda: None)
    options, asked = ("--run", tmp_path, "--images", tmp_path), []
    assert run(*options, "--stage", "round_1", out=tmp_path / "plain") == 0
    assert asked == ["round_1"]
    assert list(read_labels(tmp_path / "plain")) == ["x", "y", "z"]
    assert json.loads((tmp_path / "plain/manifest.json").read_text())["class_names"] == list(space.names)
    assert run(*options, "--selector", "cbst_sp", out=tmp_path / "weighted") == 2
    np.save(tmp_path / "spatial_prior.npy", np.ones((6, 5, 4), np.float32))
    assert run(*options, "--selector", "cbst_sp", out=tmp_path / "weighted") == 0
    sizes = [label.shape for label in read_labels(tmp_path / "weighted").values()]
    assert sizes == [image.shape[:2] for image in images]
    assert run(*options, "--selector", "ias", out=tmp_path / "adaptive") == 0
    labelling = InstanceAdaptiveSelector().label_all(lambda: iter(images))
    expected = [label_of(probs) for probs, label_of in labelling]
    for label, wanted in zip(read_labels(tmp_path / "adaptive").values(), expected, strict=True):
        np.testing.assert_array_equal(label, wanted)


BAD = {
    "no input": ("", "Give either --probs"),
    "two inputs": ("--probs {archive} --run {folder} --images {folder}", "Give either --probs"),
    "stage alone": ("--probs {archive} --stage source", "--stage source is a stage of a run"),
    "run alone": ("--run {folder}", "belong together"),
    "missing file": ("--probs {folder}/gone.npz", "nothing at"),
    "portion": ("--probs {archive} --portion 20", "portion is 20.0"),
    "stride": ("--probs {archive} --stride 0", "stride 0: expected"),
    "no prior": ("--probs {archive} --selector st_sp", "none was given"),
    "needless prior": ("--probs {archive} --prior {folder}/right.npy", "uses no spatial prior"),
    "other size": ("--probs {archive} --selector st_sp --prior {folder}/wrong.npy", "8 x 10 x 4 but the first map"),
    "alpha": ("--probs {archive} --selector lrent --alpha -1", "alpha -1.0"),
    "needless alpha": ("--probs {archive} --alpha 1", "does not use --alpha"),
    "needless prior of a run": (
        "--run {folder} --images {folder} --prior {folder}/right.npy --selector lrent",
        "uses no spatial prior",
    ),
    "ias portion": ("--probs {archive} --selector ias --portion 0.2", "does not use --portion"),
    "ias stride": ("--probs {archive} --selector ias --stride 4", "does not use --stride"),
    "ias compat": ("--probs {archive} --selector ias --compat mxnet", "does not use --compat"),
    "ias prior": ("--probs {archive} --selector ias --prior {folder}/right.npy", "uses no spatial prior"),
    "ias alpha": ("--probs {archive} --selector ias --alpha 1.5", "alpha 1.5"),
    "ias beta": ("--probs {archive} --selector ias --beta -1", "beta -1.0"),
    "ias gamma": ("--probs {archive} --selector ias --gamma -1", "gamma -1.0"),
    "ias batch": ("--probs {archive} --selector ias --batch-size 0", "batch_size 0"),
    "ias NaN": ("--probs {folder}/nan.npz --selector ias", "map 2 of"),
    "beta": ("--probs {archive} --beta 0.9", "does not use --beta"),
    "batch size": ("--probs {archive} --selector lrent --batch-size 2", "does not use --batch-size"),
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
