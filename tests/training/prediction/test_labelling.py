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
from training.prediction import labelling, trained_model
from training.prediction.label_files import read_thresholds
from training.prediction.labelling import TargetPredictions, label_images, label_images_in_order
from training.prediction.predictor import Predictor
from training.pseudo_labels.instance_adaptive import InstanceAdaptiveSelector
from training.pseudo_labels.selectors import select

SIZE = (32, 48)


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
    whole = at_full_size(predictions(network, photos).maps())
    capped = predictions(network, photos, cache_bytes=cache_bytes)
    np.testing.assert_array_equal(at_full_size(capped.some_maps()), whole[kept])
    for _ in range(2):
        np.testing.assert_array_equal(at_full_size(capped.maps()), whole)


@pytest.mark.parametrize(("cache_bytes", "predicted"), [(1 << 20, 5), (9000, 3 + 2 * 2)])
def test_an_image_is_predicted_once_or_twice(network, photos, tmp_path, cache_bytes, predicted):
    """Once if it is kept; otherwise for the thresholds and for the labels."""
    source, seen = predictions(network, photos, cache_bytes=cache_bytes), []
    coarse_probs = source.predictor.coarse_probs

    def counted(images):
        seen.append(len(images))
        return coarse_probs(images)

    source.predictor.coarse_probs = counted
    label_images(source, tmp_path / "labels", "cbst", 0.3, 1, None, select)
    assert sum(seen) == predicted


def test_probabilities_are_distributions(network, photos):
    probs = at_full_size(predictions(network, photos).maps())
    assert probs.shape == (5, *SIZE, 11)
    np.testing.assert_allclose(probs.sum(axis=-1), 1, atol=1e-5)


def test_label_files_hold_what_the_manifest_says(network, photos, tmp_path):
    folder = tmp_path / "labels"
    source = predictions(network, photos)
    labelled = label_images(source, folder, "cbst", 0.3, 1, None, select)
    manifest = json.loads((folder / "manifest.json").read_text())
    written = photos.with_label_folder(folder)
    labels = np.stack([written.read_label(index) for index in range(5)])
    kept = np.bincount(labels.ravel(), minlength=256)[:11]
    assert kept.tolist() == manifest["kept_pixels"] == labelled.kept.tolist()
    assert manifest["files"] == [f"photo {index}.png" for index in range(5)]
    again = np.stack([select(probs, read_thresholds(folder)) for probs in source.maps()])
    np.testing.assert_array_equal(again, labels)


def test_ordered_labels_equal_the_selector_on_the_same_batches(network, photos, tmp_path):
    """IAS: batches of two in name order, whatever the batches of the prediction."""
    selector = InstanceAdaptiveSelector(11, alpha=0.5)
    labelled = label_images_in_order(predictions(network, photos), tmp_path / "out", selector, batch_size=3)
    whole = at_full_size(predictions(network, photos).maps())
    other = InstanceAdaptiveSelector(11, alpha=0.5)
    expected = [*other.label_batch(whole[:3]), *other.label_batch(whole[3:])]
    for sample, label in zip(photos.samples, expected, strict=True):
        np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "out" / f"{sample.name}.png")), label)
    np.testing.assert_array_equal(labelled.image_counts, other.image_counts)
    assert labelled.as_json()["threshold_trajectory"] == other.trajectory.tolist()
    assert read_thresholds(tmp_path / "out").selector == "ias"
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["batch_size"] == 3


def test_counts_and_confidences_of_what_was_kept(network, photos, tmp_path):
    """What copy-paste is told of any selector's labels, against the files and the probabilities."""
    labelled = label_images(predictions(network, photos), tmp_path / "out", "cbst", 0.3, 1, None, select)
    whole = at_full_size(predictions(network, photos).maps())
    labels = np.stack([np.asarray(Image.open(tmp_path / "out" / f"{sample.name}.png")) for sample in photos.samples])
    for class_id in range(11):
        kept = labels == class_id
        np.testing.assert_array_equal(labelled.image_counts[:, class_id], kept.sum(axis=(1, 2)))
        if kept.any():
            mean = whole[..., class_id][kept].mean(dtype=np.float64)
            assert labelled.mean_confidence[class_id] == pytest.approx(mean, rel=1e-5)
        else:
            assert np.isnan(labelled.mean_confidence[class_id])


def test_workers_write_the_labels_of_one_process(network, photos, tmp_path, monkeypatch):
    """Byte for byte, with manifest, counts and mean confidences; the third worker has one image, the fourth none."""
    alone = label_images(predictions(network, photos), tmp_path / "alone", "cbst", 0.3, 1, None, select)
    threads = WorkerThreads(4)
    monkeypatch.setattr(labelling, "share_of_this_process", threads.share)
    monkeypatch.setattr(labelling, "sum_over_workers", threads.add_up)
    monkeypatch.setattr(labelling, "on_chief", threads.on_chief)
    folder = tmp_path / "together"

    def work():
        return label_images(predictions(network, photos, share=threads.share()), folder, "cbst", 0.3, 1, None, select)

    for found in threads.run(work):
        np.testing.assert_array_equal(found.image_counts, alone.image_counts)
        np.testing.assert_array_equal(found.mean_confidence, alone.mean_confidence)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
        path.name: path.read_bytes() for path in (tmp_path / "alone").iterdir()
    }


def test_a_folder_with_labels_and_the_labels_being_written_gives_its_images(tmp_path, monkeypatch, capsys):
    for name in ("images/a.png", "images/b.png", "labels/a.png", "out/a.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    trained = types.SimpleNamespace(label_space=load_label_space("camvid11"), sixteen_bit_range=None, network=None)
    monkeypatch.setattr(trained_model, "load_trained", lambda run: trained)
    monkeypatch.setattr(labelling, "Predictor", lambda *_, **__: None)
    names, _, _ = labelling.probabilities_of_folder(tmp_path / "run", tmp_path, tmp_path / "out")
    assert names == ["a", "b"]
    said = capsys.readouterr().out
    assert f"2 photos in {tmp_path}" in said
    assert "labels, beside images/" in said
    (tmp_path / "labels").rename(tmp_path / "more")
    names, _, _ = labelling.probabilities_of_folder(tmp_path / "run", tmp_path, tmp_path / "out")
    assert names == ["images_a", "images_b", "more_a"]
