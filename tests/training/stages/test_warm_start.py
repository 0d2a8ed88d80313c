"""Plug-in: a run of the same network is gone on from, anything else labels round 1; a resumed run finds it again."""

import shutil
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from PIL import Image

from models.catalogue import NETWORKS
from tests.export.some_metadata import some_metadata
from training import run as run_script
from training.command_line import experiment_of, parse
from training.data.classes import LABEL_SPACES
from training.errors import UserError
from training.run_directory.checkpoint import save_lasting
from training.run_directory.paths import RunDirectory
from training.run_directory.resuming import asked_start
from training.settings.experiment import Experiment
from training.stages import plan, rounds, warm_start, warm_up
from training.stages.warm_start import WarmStart, warm_start_of

SPACE = LABEL_SPACES["camvid11"]
OPTIONS = ("--data", "folders", "--classes", "camvid11", "--model", "compact", "--smoke", "--recipe", "cbst")


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    """source/ with labels, target/ without, val/ with: four random pictures each."""
    root, random = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for domain in ("source", "val", "target"):
        for kind in ("images", "labels") if domain != "target" else ("images",):
            (root / domain / kind).mkdir(parents=True)
            for index in range(4):
                shape, top = ((64, 128, 3), 256) if kind == "images" else ((64, 128), 11)
                Image.fromarray(random.integers(0, top, shape, np.uint8)).save(root / domain / kind / f"{index}.png")
    return root


@pytest.fixture(scope="module")
def foreign(tmp_path_factory) -> Path:
    """A Keras file that is sure of class 3 where a picture is red, of class 5 elsewhere."""
    path = tmp_path_factory.mktemp("foreign") / "theirs.keras"
    image = keras.Input((None, None, 3))
    head = keras.layers.Conv2D(11, 1)
    logits = head(image)
    kernel, bias = np.zeros((1, 1, 3, 11), np.float32), np.full(11, -5, np.float32)
    kernel[0, 0, 0, 3], bias[3], bias[5] = 0.1, -10, 3
    head.set_weights([kernel, bias])
    keras.Model(image, logits).save(path)
    return path


def experiment(photos: Path, *more: str) -> Experiment:
    roots = ("--source-root", photos / "source", "--target-root", photos / "target" / "images")
    return experiment_of(parse([*OPTIONS, *map(str, roots), "--eval-root", str(photos / "val"), *more]))


def begun(out: Path, settings: Experiment, start: Path, pixels: str | None = None) -> RunDirectory:
    """A run directory as `run.py` leaves it before anything is trained."""
    return RunDirectory.create(out, settings, warm_start={"path": str(start), "pixels": pixels})


def found_start(directory: RunDirectory, settings: Experiment) -> WarmStart:
    return warm_start_of(directory, settings, SPACE, "source", "round_1" if settings.recipe.adaptation else None)


def fake_run(path: Path, settings: Experiment, stages=("source", "round_1")) -> Path:
    """A finished run with the files that a warm start looks at."""
    directory = RunDirectory.create(path, settings)
    for stage in stages:
        directory.finish_stage(stage, {"scores": None, "adapts": stage == "round_1"})
        directory.weights(stage).write_bytes(stage.encode())
    directory.final_weights.write_bytes(b"final")
    directory.unlock()
    return path


@pytest.fixture
def quick(monkeypatch):
    """A network of two layers; stages that train nothing, and are counted."""
    image = keras.Input((None, None, 3), name="image")
    x = keras.layers.Conv2D(4, 3, strides=8, padding="same")(keras.layers.Rescaling(1 / 255)(image))
    network = keras.Model(image, {"logits": keras.layers.Conv2D(11, 1, name="head_1")(x), "features": x})
    trained = []
    monkeypatch.setattr(plan, "build_network", lambda *given: network)
    train = lambda model, schedule, name, *others, **more: trained.append(name)  # noqa: E731
    monkeypatch.setattr(warm_up, "train_stage", train)
    monkeypatch.setattr(rounds, "train_stage", train)
    return trained


def test_a_foreign_file_labels_round_1_also_after_an_interruption(photos, foreign, tmp_path, quick, monkeypatch):
    file = Path(shutil.copy(foreign, tmp_path))
    settings = experiment(photos, "--set", "watch.stop=False", "adaptation.rounds=2")
    directory = begun(tmp_path / "run", settings, file)
    round_method = rounds.round_method
    monkeypatch.setattr(rounds, "round_method", lambda *given: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        plan.run_experiment(settings, directory)
    monkeypatch.setattr(rounds, "round_method", round_method)

    file.write_bytes(file.read_bytes() + b"!")
    with pytest.raises(UserError, match="has changed since"):
        plan.run_experiment(settings, directory)
    file.unlink()
    with pytest.raises(UserError, match="is gone"):
        plan.run_experiment(settings, directory)
    shutil.copy(foreign, tmp_path)
    shutil.rmtree(directory.pseudo_labels)
    summary = plan.run_experiment(settings, directory)
    assert quick == ["source", "round_1", "round_2"]
    assert summary["labeller"]["file"] == "theirs.keras"
    assert "labelled by theirs.keras, which scores" in (directory.report / "report.md").read_text()
    for index in range(4):
        label = np.asarray(Image.open(directory.pseudo_labels / "round_1" / f"{index}.png"))
        assert {3, 5} <= set(np.unique(label)) <= {3, 5, 255}
    first = next(entry for entry in summary["stages"] if entry["stage"] == "round_1")
    assert first["drift"] > 0  # from the labeller's shares
    assert summary["label_free"]["before"]["drift"] is None
    file.unlink()
    assert found_start(directory, settings).role == "labeller"  # no longer needed, so not missed


def test_a_run_of_the_same_network_gives_its_weights(photos, tmp_path):
    settings = experiment(photos)
    adapted = fake_run(tmp_path / "adapted", settings)
    found = found_start(begun(tmp_path / "a", settings, adapted), settings)
    assert (found.role, found.adapted, Path(found.file)) == ("weights", True, adapted / "final.weights.h5")
    fresh = fake_run(tmp_path / "fresh", settings, stages=("source",))
    assert not found_start(begun(tmp_path / "b", settings, fresh), settings).adapted
    given_back = fake_run(tmp_path / "given_back", settings, stages=("source", "statistics"))
    assert not found_start(begun(tmp_path / "c", settings, given_back), settings).adapted


def test_damaged_weights_of_such_a_run_are_one_sentence_and_are_not_copied(photos, tmp_path, quick):
    settings = experiment(photos)
    directory = begun(tmp_path / "run", settings, fake_run(tmp_path / "other", settings))
    with pytest.raises(UserError, match=r"other/final\.weights\.h5 is not an HDF5 weights file"):
        plan.run_experiment(settings, directory)
    assert not directory.weights("source").exists()


def test_a_recipe_with_a_second_head_goes_on_with_that_of_the_other_run(photos, tmp_path):
    head, plain = experiment(photos, "--set", "adaptation.mixture=on"), experiment(photos)
    other = fake_run(tmp_path / "other", head, stages=("source", "statistics"))
    kept = RunDirectory(other).lasting("source")
    save_lasting(kept, {"mixture": [np.zeros(3)]})
    directory = begun(tmp_path / "a", head, other)
    found = found_start(directory, head)
    assert Path(found.modes) == kept
    assert found_start(directory, head) == found  # as it is recorded
    kept.write_bytes(b"another")
    with pytest.raises(UserError, match=r"source\.lasting\.npz has changed since"):
        found_start(directory, head)
    kept.unlink()
    with pytest.raises(UserError, match="is gone"):
        found_start(directory, head)
    # Without a head in the recipe, or in the other run, there is nothing to take.
    assert found_start(begun(tmp_path / "c", head, other), head).modes is None
    save_lasting(kept, {"mixture": [np.zeros(3)]})
    assert found_start(begun(tmp_path / "b", plain, other), plain).modes is None


def test_a_file_inside_such_a_run_stands_for_the_weights_it_was_exported_from(photos, tmp_path, monkeypatch):
    settings = experiment(photos)
    run = fake_run(tmp_path / "run", settings)
    (run / "source.onnx").write_bytes(b"a model")
    (run / "source.json").write_text(some_metadata(SPACE.names, stage="source").to_json())
    found = found_start(begun(tmp_path / "a", settings, run / "source.onnx"), settings)
    assert (found.role, found.adapted, Path(found.file).read_bytes()) == ("weights", False, b"source")
    moved = Path(shutil.copy(run / "source.onnx", tmp_path / "moved.onnx"))
    assert found_start(begun(tmp_path / "b", settings, moved), settings).role == "labeller"


def test_a_run_of_another_network_labels(photos, tmp_path):
    settings = experiment(photos)
    other = fake_run(tmp_path / "other", experiment(photos, "--model", "deeplab_v2_mobilenet_v2_035"))
    directory = begun(tmp_path / "a", settings, other)
    found = found_start(directory, settings)
    assert (found.role, Path(found.path)) == ("labeller", other)
    assert directory.read_json("state.json")["warm_start"] == asdict(found)
    assert WarmStart(**asdict(found)).is_needed({"source": {}})


def test_a_students_file_labels_for_another_network_and_gives_its_own_no_weights(photos, tmp_path):
    settings = experiment(photos)
    run = fake_run(tmp_path / "run", settings)
    (run / "student_round_1.onnx").write_bytes(b"a model")
    (run / "student_round_1.json").write_text(some_metadata(SPACE.names, stage="student/round_1").to_json())
    with pytest.raises(UserError, match=r"holds a student.* take that run's result .* or export another stage"):
        found_start(begun(tmp_path / "a", settings, run / "student_round_1.onnx"), settings)
    other = experiment(photos, "--model", "deeplab_v2_mobilenet_v2_035")
    found = found_start(begun(tmp_path / "b", other, run / "student_round_1.onnx"), other)
    assert (found.role, Path(found.file)) == ("labeller", run / "student_round_1.onnx")


def test_an_output_stride_that_is_left_open_is_the_networks_default(photos, tmp_path):
    settings = experiment(photos)
    stride = NETWORKS["compact"].default_stride
    run = fake_run(tmp_path / "run", replace(settings, model=replace(settings.model, output_stride=stride)))
    assert settings.model.output_stride is None
    assert found_start(begun(tmp_path / "a", settings, run), settings).role == "weights"


def test_a_run_is_asked_for_both_views_like_the_runs_own_network(photos, tmp_path, monkeypatch):
    settings = SimpleNamespace(data=SimpleNamespace(size=(96, 192)))
    monkeypatch.setattr(
        warm_start, "load_trained", lambda path: SimpleNamespace(network=f"of {path}", experiment=settings)
    )
    labeller = warm_start.open_labeller(WarmStart(str(tmp_path), "labeller", "", "", "round_1"), SPACE, (64, 128))
    assert (labeller.network, labeller.views) == (f"of {tmp_path}", [(1.0, False), (1.0, True)])
    assert labeller.image_size == (96, 192)  # its own, not this run's


def other_classes(photos, tmp_path):
    return fake_run(tmp_path / "other", experiment(photos, "--classes", "cityscapes19"))


def unfinished(photos, tmp_path):
    path = fake_run(tmp_path / "other", experiment(photos))
    (path / "final.weights.h5").unlink()
    return path


@pytest.mark.parametrize(
    ("make", "recipe", "words"),
    [
        (other_classes, "cbst", "classes of 'cityscapes19'"),
        (unfinished, "cbst", "is not finished"),
        (lambda photos, tmp_path: photos, "cbst", "is not a run"),
        (lambda photos, tmp_path: Path(__file__), "source_only", "choose one with rounds"),
    ],
)
def test_what_cannot_be_started_from_is_said(make, recipe, words, photos, tmp_path):
    settings = experiment(photos, "--recipe", recipe)
    directory = begun(tmp_path / "run", settings, make(photos, tmp_path))
    for _ in range(2):  # a resumed run says the same
        with pytest.raises(UserError, match=words):
            found_start(directory, settings)


def test_the_command_line_remembers_it_before_anything_else(photos, foreign, tmp_path, monkeypatch):
    monkeypatch.setattr(plan, "run_experiment", lambda *given: (_ for _ in ()).throw(KeyboardInterrupt))
    roots = ("--source-root", str(photos / "source"), "--target-root", str(photos / "target" / "images"))
    out = ("--out", str(tmp_path / "run"), "--warm-start-pixels", "unit", "--warm-start")
    assert run_script.main([*OPTIONS, *roots, *out, str(foreign)]) == 130
    assert RunDirectory(tmp_path / "run").warm_start == {"path": str(foreign), "pixels": "unit"}


def test_pixels_of_a_model_that_is_not_given_are_refused():
    with pytest.raises(UserError, match="--warm-start-pixels"):
        asked_start(parse(["--warm-start-pixels", "unit"]))


def test_pixels_are_for_files_of_others(photos, foreign, tmp_path):
    settings = experiment(photos)
    run = fake_run(tmp_path / "run", settings)
    (run / "source.onnx").write_bytes(b"a model")
    (run / "source.json").write_text(some_metadata(SPACE.names, stage="source").to_json())
    other = fake_run(tmp_path / "other", experiment(photos, "--model", "deeplab_v2_mobilenet_v2_035"))
    for number, start in enumerate((run, run / "source.onnx", other)):
        with pytest.raises(UserError, match=r"^--warm-start-pixels unit is for .* is a run.*leave --warm-start-pixels"):
            found_start(begun(tmp_path / str(number), settings, start, "unit"), settings)
    assert found_start(begun(tmp_path / "foreign", settings, foreign, "unit"), settings).pixels == "unit"


def test_nothing_there_makes_no_run(photos, tmp_path, capsys):
    roots = ("--source-root", str(photos / "source"), "--target-root", str(photos / "target" / "images"))
    assert run_script.main([*OPTIONS, *roots, "--out", str(tmp_path / "run"), "--warm-start", "nowhere.onnx"]) == 2
    assert "nowhere.onnx: there is nothing" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
