"""What the file says of itself survives the way through JSON."""

import json
from dataclasses import replace

import numpy as np
import pytest

from export.run_metadata import domain_title, domain_titles, licence, metadata_of_run
from training.command_line import experiment_of, parse
from training.data.classes import LABEL_SPACES
from training.errors import UserError
from training.prediction.model_metadata import ModelMetadata, pack_prior, unpack_prior
from training.pseudo_labels.selectors import select
from training.pseudo_labels.spatial_prior import resize_prior, spatial_prior
from training.pseudo_labels.thresholds import thresholds_from_batches
from training.run_directory.paths import RunDirectory
from training.settings import Domain

SPACE = LABEL_SPACES["cityscapes19"]


@pytest.fixture
def metadata(run) -> ModelMetadata:
    directory, experiment = RunDirectory.reopen(run)
    return metadata_of_run(directory, experiment, SPACE, "final", "fp32")


def test_it_holds_what_the_run_knows(metadata, run):
    assert (metadata.names, metadata.colors, metadata.ignore_id) == (SPACE.names, SPACE.colors, 255)
    assert (metadata.training_size, metadata.output_stride) == ((64, 128), 4)
    assert (metadata.recipe, metadata.network, metadata.stage) == ("cbst_sp", "compact", "final")
    assert (metadata.source, metadata.target) == ("streetsim game train", "streetsim city train")
    stages = RunDirectory(run).stages
    for side, stage in (("before", "source"), ("after", "round_1")):
        assert metadata.metrics[side]["miou"] == stages[stage]["scores"]["miou"]
    assert metadata.metrics["split"] == "streetsim city val"
    assert metadata.selection.round == "round_1"
    assert metadata.selection.thresholds.selector == "cbst_sp"


def test_json_and_back(metadata):
    text = metadata.to_json()
    read = ModelMetadata.from_json(text)
    first, second = metadata.selection, read.selection
    assert replace(read, selection=None) == replace(metadata, selection=None, metrics=json.loads(text)["metrics"])
    for name in ("values", "counts", "pool_counts"):
        np.testing.assert_array_equal(getattr(second.thresholds, name), getattr(first.thresholds, name))
    assert second.thresholds.portion == first.thresholds.portion
    assert second.prior.shape == (64, 128, 19)


def test_unreachable_thresholds_are_null_and_come_back_infinite(metadata):
    values = np.full(19, 0.5, np.float32)
    values[3] = np.inf
    thresholds = replace(metadata.selection.thresholds, values=values)
    text = replace(metadata, selection=replace(metadata.selection, thresholds=thresholds)).to_json()
    assert json.loads(text)["selection"]["thresholds"][3] is None
    np.testing.assert_array_equal(ModelMetadata.from_json(text).selection.thresholds.values, values)


def test_the_parameters_of_ias_come_back_and_are_checked(metadata):
    ordered = {"alpha": 0.2, "beta": 0.9, "gamma": 0.0, "initial": 0.9, "batch_size": 2}
    thresholds = replace(metadata.selection.thresholds, selector="ias")
    ias = replace(metadata, selection=replace(metadata.selection, thresholds=thresholds, prior=None, ordered=ordered))
    assert ModelMetadata.from_json(ias.to_json()).selection.ordered == ordered
    for odd in (None, {**ordered, "gamma": -1.0}, {**ordered, "beta": "0.9"}, {**ordered, "batch_size": 0}):
        text = replace(ias, selection=replace(ias.selection, ordered=odd)).to_json()
        with pytest.raises(UserError):
            ModelMetadata.from_json(text)


def test_the_labelled_share_of_the_target_is_told_of():
    options = ["--recipe", "hiast", "--data", "folders", "--target-root", "photos", "--labelled-share", "1/4"]
    experiment = experiment_of(parse(options))
    assert domain_titles(experiment) == ("photos, 0.25 of it", "photos, the rest")
    assert "ImageNet" in licence(experiment)
    assert domain_titles(experiment_of(parse(["--recipe", "oracle"])))[0] == "streetsim city train"


def test_a_model_without_rounds_has_no_selection(run, tmp_path):
    directory = RunDirectory.create(tmp_path / "run", experiment_of(parse(["--recipe", "source_only", "--smoke"])))
    experiment = RunDirectory.reopen(directory.path)[1]
    metadata = metadata_of_run(directory, experiment, SPACE, "final", "fp32")
    assert (metadata.selection, metadata.metrics) == (None, None)
    assert ModelMetadata.from_json(metadata.to_json()) == metadata


def test_the_packed_prior_is_small_and_selects_the_same_pixels():
    random = np.random.default_rng(0)
    rows = np.arange(128)[:, None] // 16
    labels = [np.clip(rows + random.integers(-1, 2, (1, 16)).repeat(16, axis=1), 0, 18) for _ in range(20)]
    prior = spatial_prior(labels, 19, (128, 256))
    content = pack_prior(prior)
    assert len(json.dumps(content)) < 100_000
    restored = resize_prior(unpack_prior(content), (128, 256))
    probs = random.dirichlet(np.full(19, 0.3), (128, 256)).astype(np.float32)
    thresholds = thresholds_from_batches(lambda: [probs], "cbst_sp", 0.3, 4, prior)
    assert np.mean(select(probs, thresholds, prior) == select(probs, thresholds, restored)) > 0.98


@pytest.mark.parametrize("text", [None, "", "{", "[]", "{}", '{"names": 3}'])
def test_other_metadata_are_refused(text):
    with pytest.raises(UserError, match=r"other\.onnx"):
        ModelMetadata.from_json(text, "other.onnx")


def test_a_file_that_does_not_say_what_it_takes_is_read(metadata):
    content = json.loads(replace(metadata, signature={"image": "uint8"}).to_json())
    assert ModelMetadata.from_json(json.dumps(content)).signature == {"image": "uint8"}
    del content["signature"]
    assert ModelMetadata.from_json(json.dumps(content)).signature == {}
    for odd in (None, [], "image", {"image": 3}, {"image": "a\n"}):
        with pytest.raises(UserError):
            ModelMetadata.from_json(json.dumps(content | {"signature": odd}))


def test_keys_of_a_later_version_are_left_out(metadata):
    text = json.dumps(json.loads(metadata.to_json()) | {"later": 1})
    assert ModelMetadata.from_json(text).names == metadata.names


def test_no_path_of_the_user_leaves_the_house():
    assert domain_title(Domain(reader="folders", root="/home/ada/secret/photos")) == "photos"
    assert domain_title(Domain(reader="cross_city", root="/data", city="Rome", split="test")) == "cross_city Rome test"


def test_the_licence_note_follows_the_images():
    assert "generated by StreetShift" in licence(experiment_of(parse([])))
    arguments = ["--data", "streetsim_camvid", "--target-root", "/data/photos"]
    assert "photos, ImageNet" in licence(experiment_of(parse(arguments)))
