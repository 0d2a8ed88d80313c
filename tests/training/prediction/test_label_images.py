"""Labelling: memory caps change nothing, files say what was kept, a damaged image is named."""

import json
import types

import keras
import numpy as np
import pytest
from PIL import Image

from tests.training.distribution.worker_threads import WorkerThreads
from training.data.classes import load_label_space
from training.data.datasets import image_folder
from training.distribution.shares import ALONE, Workers
from training.prediction import target_predictions, trained_model
from training.prediction.label_files import LabelFolder, read_fitted
from training.prediction.label_images import LabelsInMemory, Predictions, label_images
from training.prediction.predictor import Predictor
from training.prediction.target_predictions import RunPredictions, TargetPredictions
from training.pseudo_labels import ClassBalancedSelector, InstanceAdaptiveSelector
from training.pseudo_labels.instance_adaptive import MovingThresholds

SIZE = (32, 48)
CBST = ClassBalancedSelector(portion=0.3, stride=1)


@pytest.fixture(scope="module")
def network():
    keras.utils.set_random_seed(0)
    image = keras.Input((None, None, 3), name="image")
    x = keras.layers.Conv2D(8, 3, strides=4, padding="same", activation="relu")(keras.layers.Rescaling(1 / 60)(image))
    return keras.Model(image, {"logits": keras.layers.Conv2D(11, 1)(x), "features": x})


@pytest.fixture
def photos(tmp_path):
    random = np.random.default_rng(0)
    for index in range(5):
        picture = random.integers(0, 255, (40 + index, 60, 3), dtype=np.uint8)
        Image.fromarray(picture).save(tmp_path / f"photo {index}.png")
    return image_folder(tmp_path, load_label_space("camvid11"))


def predictions(network, photos, **options):
    return TargetPredictions(Predictor(network, flips=(False, True)), photos, SIZE, batch_size=2, **options)


def at_full_size(maps) -> np.ndarray:
    return np.stack([probs.whole() for probs in maps])


@pytest.mark.parametrize(("cache_bytes", "kept"), [(0, [0, 1]), (9000, [0, 1, 4]), (1 << 20, range(5))])
def test_passes_agree_whatever_the_memory(network, photos, cache_bytes, kept):
    """Of three batches of two images the first, the first and the last, or all are kept."""
    whole = at_full_size(predictions(network, photos)())
    capped = predictions(network, photos, cache_bytes=cache_bytes)
    np.testing.assert_array_equal(at_full_size(capped.some()), whole[kept])
    for _ in range(2):
        np.testing.assert_array_equal(at_full_size(capped()), whole)


def test_a_predictor_of_another_size_sees_that_size_and_labels_come_at_the_datas(network, photos):
    larger = Predictor(network, image_size=(64, 96))
    maps = list(TargetPredictions(larger, photos, SIZE)())
    assert {probs.coarse.shape for probs in maps} == {(16, 24, 11)}
    alike = TargetPredictions(Predictor(network), photos, (64, 96))()
    for probs, other in zip(maps, alike, strict=True):
        assert probs.shape == (*SIZE, 11)
        np.testing.assert_array_equal(probs.coarse, other.coarse)


@pytest.mark.parametrize(("cache_bytes", "predicted"), [(1 << 20, 5), (9000, 3 + 2 * 2)])
def test_an_image_is_predicted_once_or_twice(network, photos, tmp_path, cache_bytes, predicted):
    """Once if it is kept; otherwise for the thresholds and for the labels."""
    source, seen = predictions(network, photos, cache_bytes=cache_bytes), []
    coarse_probs = source.predictor.coarse_probs

    def counted(images):
        seen.append(len(images))
        return coarse_probs(images)

    source.predictor.coarse_probs = counted
    label_images(source, CBST, LabelFolder(tmp_path / "labels"))
    assert sum(seen) == predicted


def test_probabilities_are_distributions(network, photos):
    probs = at_full_size(predictions(network, photos)())
    assert probs.shape == (5, *SIZE, 11)
    np.testing.assert_allclose(probs.sum(axis=-1), 1, atol=1e-5)


def test_label_files_hold_what_the_manifest_says(network, photos, tmp_path):
    folder = tmp_path / "labels"
    source = predictions(network, photos)
    labelled = label_images(source, CBST, LabelFolder(folder))
    manifest = json.loads((folder / "manifest.json").read_text())
    written = photos.with_label_folder(folder)
    labels = np.stack([written.read_label(index) for index in range(5)])
    kept = np.bincount(labels.ravel(), minlength=256)[:11]
    assert kept.tolist() == manifest["kept_pixels"] == labelled.kept.tolist()
    assert manifest["files"] == [f"photo {index}.png" for index in range(5)]
    again = np.stack([read_fitted(folder).label(probs) for probs in source()])
    np.testing.assert_array_equal(again, labels)


def test_ordered_labels_equal_the_selector_on_the_same_batches(network, photos, tmp_path):
    """IAS: batches of two in name order, whatever the batches of the prediction."""
    selector, folder = InstanceAdaptiveSelector(alpha=0.5, batch_size=3), tmp_path / "out"
    labelled = label_images(predictions(network, photos), selector, LabelFolder(folder))
    whole = at_full_size(predictions(network, photos)())
    other = MovingThresholds(selector, 11)
    expected = [*other.label_batch(whole[:3]), *other.label_batch(whole[3:])]
    for sample, label in zip(photos.samples, expected, strict=True):
        np.testing.assert_array_equal(np.asarray(Image.open(folder / f"{sample.name}.png")), label)
    counts = [np.bincount(label.ravel(), minlength=256)[:11] for label in expected]
    np.testing.assert_array_equal(labelled.image_counts, counts)
    np.testing.assert_array_equal(labelled.mean_confidence, other.mean_confidence)
    assert labelled.figures()["threshold_trajectory"] == other.trajectory.tolist()
    assert read_fitted(folder).selector.name == "ias"
    manifest = json.loads((folder / "manifest.json").read_text())
    assert (manifest["batch_size"], manifest["threshold_trajectory"]) == (3, other.trajectory.tolist())


def test_counts_and_confidences_of_what_was_kept(network, photos, tmp_path):
    """What copy-paste is told of any selector's labels, against the files and the probabilities."""
    labelled = label_images(predictions(network, photos), CBST, LabelFolder(tmp_path / "out"))
    whole = at_full_size(predictions(network, photos)())
    labels = np.stack([np.asarray(Image.open(tmp_path / "out" / f"{sample.name}.png")) for sample in photos.samples])
    for class_id in range(11):
        kept = labels == class_id
        np.testing.assert_array_equal(labelled.image_counts[:, class_id], kept.sum(axis=(1, 2)))
        if kept.any():
            mean = whole[..., class_id][kept].mean(dtype=np.float64)
            assert labelled.mean_confidence[class_id] == pytest.approx(mean, rel=1e-5)
        else:
            assert np.isnan(labelled.mean_confidence[class_id])


class WholeMaps(Predictions):
    """Maps of all classes at full size."""

    def __init__(self, like: Predictions, maps: np.ndarray):
        self.names, self.mine, self.source, self.classes = like.names, like.mine, like.source, like.classes
        self.class_names, self.maps = like.class_names, maps

    def __call__(self):
        return iter(self.maps)


def test_labels_in_memory_are_those_of_the_files(network, photos, tmp_path):
    memory = LabelsInMemory()
    label_images(predictions(network, photos), CBST, memory)
    label_images(predictions(network, photos), CBST, LabelFolder(tmp_path / "out"))
    assert memory.manifest == json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert list(memory.labels) == [sample.name for sample in photos.samples]
    for name, label in memory.labels.items():
        np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "out" / f"{name}.png")), label)


def test_probabilities_as_arrays_give_the_labels_and_counts_of_the_coarse_grid(network, photos):
    coarse = predictions(network, photos)
    maps = at_full_size(coarse())
    first, second = LabelsInMemory(), LabelsInMemory()
    expected, found = label_images(coarse, CBST, first), label_images(WholeMaps(coarse, maps), CBST, second)
    for name, label in first.labels.items():
        np.testing.assert_array_equal(second.labels[name], label)
    np.testing.assert_array_equal(found.image_counts, expected.image_counts)
    np.testing.assert_allclose(found.mean_confidence, expected.mean_confidence, rtol=1e-5)


@pytest.mark.parametrize("selector", [CBST, InstanceAdaptiveSelector(initial=0.2)], ids=lambda selector: selector.name)
def test_workers_write_the_labels_of_one_process(network, photos, tmp_path, selector):
    """Byte for byte, with manifest, counts and mean confidences; the third worker has one image, the fourth none. An
    ordered selector labels on the chief."""
    alone = label_images(predictions(network, photos), selector, LabelFolder(tmp_path / "alone"))
    threads = WorkerThreads(4)
    folder = tmp_path / "together"

    def work():
        share = ALONE if selector.ordered else threads.share()
        workers = Workers(threads.add_up, threads.on_chief, classes=11)
        return label_images(predictions(network, photos, share=share), selector, LabelFolder(folder), workers)

    for found in threads.run(work):
        np.testing.assert_array_equal(found.image_counts, alone.image_counts)
        np.testing.assert_array_equal(found.mean_confidence, alone.mean_confidence)
        assert found.figures() == alone.figures()
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
        path.name: path.read_bytes() for path in (tmp_path / "alone").iterdir()
    }


def test_a_folder_with_labels_and_the_labels_being_written_gives_its_images(tmp_path, monkeypatch, capsys):
    for name in ("images/a.png", "images/b.png", "labels/a.png", "out/a.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    experiment = types.SimpleNamespace(data=types.SimpleNamespace(size=(8, 8)))
    trained = types.SimpleNamespace(
        label_space=load_label_space("camvid11"), sixteen_bit_range=None, network=None, experiment=experiment
    )
    monkeypatch.setattr(trained_model, "load_trained", lambda run, stage: trained)
    monkeypatch.setattr(target_predictions, "Predictor", lambda *_, **__: None)
    names = RunPredictions(tmp_path / "run", tmp_path, tmp_path / "out").names
    assert names == ("a", "b")
    said = capsys.readouterr().out
    assert f"2 photos in {tmp_path}" in said
    assert "labels, beside images/" in said
    (tmp_path / "labels").rename(tmp_path / "more")
    names = RunPredictions(tmp_path / "run", tmp_path, tmp_path / "out").names
    assert names == ("images_a", "images_b", "more_a")


@pytest.mark.parametrize(("cache_bytes", "predicted"), [(1 << 20, 3), (9000, 7), (13_000, 7), (0, 9)])
def test_a_run_predicts_photos_once_where_memory_allows(network, photos, tmp_path, monkeypatch, cache_bytes, predicted):
    """Two together; each has 8 x 12 places of 11 classes, 4224 bytes."""
    monkeypatch.setattr(target_predictions, "images_at_once", lambda size: 2)
    experiment = types.SimpleNamespace(data=types.SimpleNamespace(size=SIZE))
    trained = types.SimpleNamespace(
        network=network, label_space=photos.label_space, experiment=experiment, sixteen_bit_range=None
    )
    monkeypatch.setattr(trained_model, "load_trained", lambda run, stage: trained)
    found = RunPredictions(tmp_path / "run", tmp_path, cache_bytes=cache_bytes)
    calls, predict = [], found._predictor.coarse_probs
    found._predictor.coarse_probs = lambda image: calls.append(1) or predict(image)
    passes = [[probs.coarse for probs in found()] for _ in range(3)]
    assert len(calls) == predicted
    for other in passes[1:]:
        np.testing.assert_array_equal(other, passes[0])
    assert [probs.shape[:2] for probs in found()] == [(40 + index, 60) for index in range(5)]
