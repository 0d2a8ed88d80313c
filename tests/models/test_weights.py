"""Starting weights: loaded completely and reported, or refused in one sentence."""

import zipfile

import h5py
import keras
import numpy as np
import pytest

from models import weights as weights_module
from models.segmenter import build_segmenter
from models.weights import WeightsError, load_weights, shapes_in, shapes_of

NAME = "deeplab_v2_mobilenet_v2_035"


@pytest.fixture(scope="module")
def network():
    return build_segmenter(NAME, 11)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("weights")


@pytest.fixture(scope="module")
def checkpoint(network, folder):
    file = folder / "checkpoint.weights.h5"
    network.save_weights(file)
    return file


@pytest.fixture(scope="module")
def backbone_file(folder):
    file = folder / "mobilenet_notop.weights.h5"
    keras.applications.MobileNetV2(alpha=0.35, include_top=False, weights=None).save_weights(file)
    return file


def assert_same_layer(name: str, model: keras.Model, expected: keras.Model):
    for found, wanted in zip(model.get_layer(name).get_weights(), expected.get_layer(name).get_weights(), strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_shapes_of_a_network_are_those_of_its_file(network, checkpoint):
    assert shapes_of(network) == shapes_in(checkpoint)


def test_none_reports_that_all_is_random(network):
    report = load_weights(network, "none")
    assert report.kind == "nothing"
    assert str(report) == "all layers start at random"


def test_a_backbone_file_fills_the_backbone_and_names_the_head(network, backbone_file):
    report = load_weights(network, backbone_file)
    assert report.kind == "backbone"
    assert len(report.loaded) == 102
    assert all(name.startswith("head_dilation_") for name in report.missing)
    assert report.mismatched == ()
    assert "102 layers loaded; 4 start at random (head_dilation_3, " in str(report)
    with h5py.File(backbone_file) as file:
        stored = file["layers/conv2d/vars/0"][()]
    np.testing.assert_array_equal(network.get_layer("Conv1").get_weights()[0], stored)


def test_a_published_file_of_the_older_layout_loads_too(network, folder):
    file = folder / "mobilenet_v2_no_top.h5"
    original = keras.applications.MobileNetV2(alpha=0.35, include_top=False, weights=None)
    keras.src.legacy.saving.legacy_h5_format.save_weights_to_hdf5_group(h5py.File(file, "w"), original)
    assert len(load_weights(network, file).loaded) == 102
    assert_same_layer("Conv1", network, original)


def test_a_checkpoint_restores_everything(checkpoint):
    other = build_segmenter(NAME, 11, weights=str(checkpoint), seed=9)
    report = load_weights(other, str(checkpoint))
    assert (report.kind, report.missing) == ("checkpoint", ())
    with h5py.File(checkpoint) as file:
        stored = file["layers/conv2d/vars/0"][()]
    np.testing.assert_array_equal(other.get_layer("Conv1").get_weights()[0], stored)


def test_another_number_of_classes_is_refused(checkpoint):
    with pytest.raises(WeightsError, match="another number of classes than the 19 of this label space"):
        build_segmenter(NAME, 19, weights=str(checkpoint))


def test_another_size_of_the_same_architecture_is_not_blamed_on_the_classes(network, folder):
    file = folder / "wide.weights.h5"
    build_segmenter("deeplab_v2_mobilenet_v2", 19).save_weights(file)
    with pytest.raises(WeightsError, match=r"another size than .*0\.35 \(Conv1 is .*choose --model to suit the file"):
        load_weights(network, file)


def test_a_missing_file_is_refused(network, folder):
    with pytest.raises(WeightsError, match=r"no weights file at .*nowhere.weights.h5: pass"):
        load_weights(network, folder / "nowhere.weights.h5")


def test_a_file_of_something_else_is_refused(network, folder):
    text = folder / "notes.weights.h5"
    text.write_text("not weights")
    with pytest.raises(WeightsError, match="is not an HDF5 weights file"):
        load_weights(network, text)


@pytest.mark.parametrize(
    ("name", "words"), [("a.keras", r"save_weights\('x\.weights\.h5'\)"), ("a.npz", "not an HDF5 weights file")]
)
def test_an_archive_of_something_else_is_not_called_a_pickle(network, folder, name, words):
    with zipfile.ZipFile(folder / name, "w") as archive:
        archive.writestr("config.json", "{}")
    with pytest.raises(WeightsError, match=words):
        load_weights(network, folder / name)


def test_a_truncated_file_is_refused(network, checkpoint, folder):
    part = folder / "part.weights.h5"
    part.write_bytes(checkpoint.read_bytes()[:200_000])
    with pytest.raises(WeightsError, match="is not an HDF5 weights file"):
        load_weights(network, part)


def test_weights_of_another_network_are_refused(network, folder):
    file = folder / "compact.weights.h5"
    build_segmenter("compact", 11).save_weights(file)
    with pytest.raises(WeightsError, match=r"fits neither .* nor its backbone: .*_0.35_224_no_top.h5, or"):
        load_weights(network, file)


def test_a_backbone_file_for_a_network_without_published_backbone_is_refused(backbone_file):
    with pytest.raises(WeightsError, match="fits neither Compact nor its backbone: pass a checkpoint of this network"):
        build_segmenter("compact", 11, weights=str(backbone_file))


def test_imagenet_for_a_network_without_it_is_refused():
    with pytest.raises(WeightsError, match="no ImageNet weights are published for Compact: pass --weights none"):
        build_segmenter("compact", 11, weights="imagenet")


def test_offline_and_uncached_imagenet_names_both_ways_out(network, monkeypatch):
    def offline(*_, **__):
        raise Exception("URL fetch failure on https://...: None -- [Errno -2] Name or service not known")

    monkeypatch.setattr(weights_module, "pristine", offline)
    with pytest.raises(WeightsError) as caught:
        load_weights(network, "imagenet")
    sentence = str(caught.value)
    for part in ("neither cached nor", "connect to the internet once", "--weights FILE", "_0.35_224_no_top.h5", "none"):
        assert part in sentence
    assert "\n" not in sentence


def test_imagenet_copies_what_keras_gives(network, monkeypatch):
    published = weights_module.pristine("mobilenet_v2_035")
    monkeypatch.setattr(weights_module, "pristine", lambda *_, **__: published)
    assert len(load_weights(network, "imagenet").loaded) == 102


@pytest.mark.parametrize(("name", "alpha"), [("deeplab_v2_mobilenet_v2", "1.0"), (NAME, "0.35")])
def test_real_imagenet_files(shared_dir, name, alpha):
    file = shared_dir / "weights" / f"mobilenet_v2_{alpha}_imagenet_notop.weights.h5"
    model = build_segmenter(name, 11)
    assert len(load_weights(model, file).loaded) == 102
    original = keras.applications.MobileNetV2(alpha=float(alpha), include_top=False, weights=None)
    original.load_weights(file)
    for layer in ("Conv1", "block_6_depthwise", "block_16_project_BN"):
        assert_same_layer(layer, model, original)
