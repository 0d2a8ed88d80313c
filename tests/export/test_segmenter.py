"""The exported model as a function of pictures, against Keras."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest
import tensorflow as tf
from PIL import Image

from export.pictures import network_size, resized
from export.segmenter import OnnxSegmenter, Segmentation
from training.data.classes import CITYSCAPES_NAMES
from training.errors import UserError
from training.prediction.model_metadata import METADATA_KEY
from training.prediction.predictor import Predictor, enlarge, enlarged_label

ROOT = Path(__file__).resolve().parents[2]


def keras_probs(network, image, size):
    """Class probabilities by the training side: [size, c]."""
    return enlarge(Predictor(network).coarse_probs(tf.cast(image[None], tf.float32)), size)[0].numpy()


def test_a_picture_of_training_size_gets_keras_labels(segmenter, network, streets):
    result = segmenter(streets[0])
    probs = keras_probs(network, streets[0], (64, 128))
    assert (result.labels.dtype, result.confidence.dtype) == (np.uint8, np.float32)
    assert np.mean(result.labels == probs.argmax(-1)) >= 0.9999
    np.testing.assert_allclose(result.confidence, probs.max(-1), atol=1e-4)
    assert result.names == CITYSCAPES_NAMES


@pytest.mark.parametrize("size", [(128, 256), (99, 151), (30, 47), (200, 150)], ids=str)
def test_other_sizes_are_seen_at_the_training_scale_and_answered_at_their_own(segmenter, network, size):
    picture = resized(np.random.default_rng(0).integers(0, 256, (40, 80, 3), dtype=np.uint8), size)
    result = segmenter(picture)
    seen = resized(picture, network_size(size, (64, 128)))
    probs = Predictor(network).coarse_probs(tf.cast(seen[None], tf.float32))
    assert result.labels.shape == result.confidence.shape == size
    assert np.mean(result.labels == enlarged_label(probs, size).numpy()[0]) >= 0.999
    np.testing.assert_array_equal(result.image, picture)


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (64, 700), (700, 64), (500, 3)], ids=str)
def test_extreme_shapes_and_windows(segmenter, size):
    picture = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    result = segmenter(picture)
    assert result.labels.shape == size
    assert result.labels.max() < 19
    assert np.isfinite(result.confidence).all()
    assert result.confidence.min() >= 1 / 19 - 1e-6
    np.testing.assert_allclose(segmenter.probs(picture).sum(-1), 1, atol=1e-5)


def test_windows_agree_with_single_looks_where_only_one_window_looks(segmenter, streets):
    """The left quarter of a panorama is seen by the first window alone."""
    panorama = np.concatenate([streets[0], streets[1], streets[2]], axis=1)
    whole, alone = segmenter.probs(panorama), segmenter.probs(streets[0])
    assert whole.shape == (16, 96, 19)
    np.testing.assert_allclose(whole[:, :8], alone[:, :8], atol=1e-5)


def test_probs_come_at_any_size(segmenter, network, streets):
    assert segmenter.probs(streets[0]).shape == (16, 32, 19)
    np.testing.assert_allclose(
        segmenter.probs(streets[0], (50, 70)), keras_probs(network, streets[0], (50, 70)), atol=1e-4
    )


def test_a_batch_equals_single_calls(segmenter, streets):
    pictures = [streets[0], resized(streets[1], (99, 151)), streets[2], np.zeros((1, 1), np.uint8)]
    for together, alone in zip(segmenter.batch(pictures), map(segmenter, pictures), strict=True):
        np.testing.assert_array_equal(together.labels, alone.labels)
        np.testing.assert_allclose(together.confidence, alone.confidence, atol=1e-5)
    assert segmenter.batch([]) == []


def test_many_threads_get_their_own_answers(segmenter, streets):
    expected = [segmenter(picture).labels for picture in streets]
    with ThreadPoolExecutor(6) as pool:
        results = list(pool.map(segmenter, streets * 4))
    for index, result in enumerate(results):
        np.testing.assert_array_equal(result.labels, expected[index % len(streets)])


def test_files_and_pillow_images(segmenter, streets, tmp_path):
    Image.fromarray(streets[0]).save(tmp_path / "street.png")
    expected = segmenter(streets[0]).labels
    for image in (tmp_path / "street.png", str(tmp_path / "street.png"), Image.fromarray(streets[0])):
        np.testing.assert_array_equal(segmenter(image).labels, expected)


def test_what_a_segmentation_shows():
    image = np.full((2, 2, 3), 100, np.uint8)
    labels = np.array([[0, 1], [1, 1]], np.uint8)
    result = Segmentation(
        image, labels, np.ones((2, 2), np.float32), ("road", "car", "sky"), ((0, 0, 0), (200, 0, 50), (9, 9, 9))
    )
    assert result.class_shares() == {"road": 0.25, "car": 0.75, "sky": 0.0}
    np.testing.assert_array_equal(result.overlay(0.0), image)
    np.testing.assert_array_equal(result.overlay(1.0), result.colored())
    np.testing.assert_array_equal(result.overlay(0.5)[0, 1], [150, 50, 75])
    with pytest.raises(UserError, match="opacity is 2"):
        result.overlay(2)


def test_the_largest_picture_can_be_set(report, streets):
    small = OnnxSegmenter(report.path, max_pixels=1000)
    with pytest.raises(UserError, match="limit"):
        small(streets[0])


def test_wrong_models_are_named(report, tmp_path):
    (tmp_path / "text.onnx").write_text("hello")
    foreign = onnx.load(report.path)
    kept = [entry for entry in foreign.metadata_props if entry.key != METADATA_KEY]
    del foreign.metadata_props[:]
    foreign.metadata_props.extend(kept)
    onnx.save(foreign, tmp_path / "foreign.onnx")
    for name, words in (
        ("none.onnx", "no model at"),
        ("text.onnx", "cannot be opened as an ONNX model"),
        ("foreign.onnx", "not exported by StreetShift"),
    ):
        with pytest.raises(UserError, match=words):
            OnnxSegmenter(tmp_path / name)


@pytest.mark.filterwarnings("ignore:Specified provider")
def test_a_provider_that_does_not_work_is_an_error(report):
    with pytest.raises(UserError, match="Provider"):
        OnnxSegmenter(report.path, providers=["NoSuchExecutionProvider"])


def test_the_device_is_told(segmenter):
    assert segmenter.device == "CPU"


@pytest.mark.parametrize("module", ["export.segmenter", "export.predict", "training.prediction.model_metadata"])
def test_nothing_heavy_is_imported(module):
    heavy = {"tensorflow", "keras", "cv2", "onnx", "tf2onnx", "scipy", "matplotlib", "rich", "tyro"}
    code = f"import sys, {module}; print(sorted({heavy!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
