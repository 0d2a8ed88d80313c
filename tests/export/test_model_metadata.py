"""What the file says of itself survives the way through JSON."""

import json
import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from export.run_metadata import domain_title, domain_titles, foreign_start, licence, metadata_of_run, selection
from tests.export.some_metadata import some_metadata
from training.command_line import experiment_of, parse
from training.data.classes import LABEL_SPACES
from training.errors import UserError
from training.evaluation import watch
from training.prediction.label_files import read_fitted
from training.prediction.model_metadata import ModelMetadata, RoundSelection
from training.pseudo_labels import ClassBalancedSelector, EntropyMixtureSelector, InstanceAdaptiveSelector, from_json
from training.pseudo_labels.spatial_prior import pack_prior, resize_prior, spatial_prior, unpack_prior
from training.run_directory.paths import RunDirectory
from training.settings.data import Domain

SPACE = LABEL_SPACES["cityscapes19"]


@pytest.fixture
def metadata(run) -> ModelMetadata:
    directory, experiment = RunDirectory.reopen(run)
    return metadata_of_run(directory, experiment, SPACE, "final", "fp32")


def test_it_holds_what_the_run_knows(metadata, run):
    assert (metadata.names, metadata.colors, metadata.ignore_id) == (SPACE.names, SPACE.colors, 255)
    assert (metadata.training_size, metadata.output_stride) == ((64, 128), 4)
    assert metadata.file_ids == tuple(range(19))
    assert (metadata.recipe, metadata.network, metadata.stage) == ("cbst_sp", "compact", "final")
    assert (metadata.source, metadata.target) == ("streetsim game train", "streetsim city train")
    stages = RunDirectory(run).stages
    for side, stage in (("before", "source"), ("after", "round_1")):
        assert metadata.metrics[side]["miou"] == stages[stage]["scores"]["miou"]
    assert metadata.metrics["split"] == "streetsim city val"
    assert metadata.selection.round == "round_1"
    assert metadata.selection.fitted.selector.name == "cbst_sp"
    assert metadata.selection.fitted.to_json() == read_fitted(run / "pseudo_labels" / "round_1").to_json()


def test_the_selection_is_that_of_the_round_whose_weights_are_exported(run, monkeypatch):
    labels = RunDirectory(run).pseudo_labels / "round_1"
    directory = SimpleNamespace(pseudo_labels=run / "three_rounds")
    for number in (1, 2, 3):
        shutil.copytree(labels, directory.pseudo_labels / f"round_{number}", dirs_exist_ok=True)
    stages = {name: {"scores": {}} for name in ("source", "round_1", "round_2", "round_3")}
    for kept, of in (("source", 1), ("round_1", 1), ("round_2", 2), ("round_3", 3)):
        monkeypatch.setattr(watch, "chosen_stage", lambda _, kept=kept: kept)
        for stage in (kept, "final", f"student/{kept}"):
            assert selection(directory, SPACE.count, stages, stage).round == f"round_{of}"


def test_a_folder_s_name_that_no_line_can_show_is_written_as_one_can():
    title = domain_title(Domain(reader="images", root="/photos/Urlaub\u00a02024"))
    assert title == "Urlaub\\xa02024"
    assert ModelMetadata.from_json(some_metadata(("road",), target=title).to_json()).target == title


def test_json_and_back(metadata):
    text = metadata.to_json()
    read = ModelMetadata.from_json(text)
    first, second = metadata.selection, read.selection
    assert replace(read, selection=None) == replace(metadata, selection=None, metrics=json.loads(text)["metrics"])
    for name in ("thresholds", "pixels", "ranked_pixels"):
        np.testing.assert_array_equal(getattr(second.fitted, name), getattr(first.fitted, name))
    assert second.fitted.selector.parameters == first.fitted.selector.parameters
    assert second.fitted.selector.prior.shape == (64, 128, 19)
    assert json.loads(read.to_json()) == json.loads(text)  # packing a packed prior changes nothing


def test_unreachable_thresholds_are_null_and_come_back_infinite(metadata):
    values = np.full(19, 0.5, np.float32)
    values[3] = np.inf
    fitted = replace(metadata.selection.fitted, thresholds=values)
    text = replace(metadata, selection=replace(metadata.selection, fitted=fitted)).to_json()
    assert json.loads(text)["selection"]["fitted"]["thresholds"][3] is None
    np.testing.assert_array_equal(ModelMetadata.from_json(text).selection.fitted.thresholds, values)


def test_the_parameters_of_ias_come_back_and_are_checked(metadata):
    selector = InstanceAdaptiveSelector(alpha=0.2, gamma=0.0)
    maps = np.random.default_rng(0).dirichlet(np.ones(19) * 0.3, (3, 8, 8)).astype(np.float32)
    ias = replace(metadata, selection=RoundSelection("round_1", selector.fit(lambda: maps)))
    read = ModelMetadata.from_json(ias.to_json()).selection.fitted
    assert read.selector.parameters == {"alpha": 0.2, "beta": 0.9, "gamma": 0.0, "initial": 0.9, "batch_size": 2}
    np.testing.assert_array_equal(read.thresholds, ias.selection.fitted.thresholds)
    content = json.loads(ias.to_json())
    for odd in ({"gamma": -1.0}, {"beta": "0.9"}, {"batch_size": 0}, {"batch_size": 2.0}, {"thresholds": [0.5]}):
        bent = {**content, "selection": {"round": "round_1", "fitted": {**content["selection"]["fitted"], **odd}}}
        with pytest.raises(UserError, match="export the run again"):
            ModelMetadata.from_json(json.dumps(bent))


def test_the_modes_of_an_entropy_mixture_come_back_without_their_histograms(metadata):
    maps = np.random.default_rng(0).dirichlet(np.ones(19) * 0.1, (3, 60, 80)).astype(np.float32)
    fitted = EntropyMixtureSelector().fit(lambda: maps)
    text = replace(metadata, selection=RoundSelection("round_1", fitted)).to_json()
    read = ModelMetadata.from_json(text).selection.fitted
    assert "two modes" in [rule.rule for rule in read.rules]
    assert "histogram" not in text
    np.testing.assert_array_equal(read.label(maps[0]), fitted.label(maps[0]))
    content = json.loads(text)
    content["selection"]["fitted"]["mixtures"][0]["rule"] = "three modes"
    with pytest.raises(UserError, match="export the run again"):
        ModelMetadata.from_json(json.dumps(content))


def test_a_selector_of_other_classes_is_refused(metadata):
    fitted = InstanceAdaptiveSelector().fit(lambda: np.full((1, 4, 4, 3), 1 / 3, np.float32))
    text = replace(metadata, selection=RoundSelection("round_1", fitted)).to_json()
    with pytest.raises(UserError, match="thresholds for 3 classes, names of 19"):
        ModelMetadata.from_json(text)


def test_the_labelled_share_of_the_target_is_told_of():
    options = ["--recipe", "hiast", "--data", "folders", "--target-root", "photos", "--labelled-share", "1/4"]
    experiment = experiment_of(parse(options))
    assert domain_titles(experiment) == ("photos, 0.25 of it", "photos, the rest")
    assert "ImageNet" in licence(experiment)
    assert domain_titles(experiment_of(parse(["--recipe", "oracle"])))[0] == "streetsim city train"


def test_a_model_without_rounds_has_no_selection(tmp_path):
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
    fitted = ClassBalancedSelector(portion=0.3, prior=prior).fit(lambda: [probs])
    other = replace(fitted, selector=replace(fitted.selector, prior=restored))
    assert np.mean(fitted.label(probs) == other.label(probs)) > 0.98
    np.testing.assert_array_equal(from_json(fitted.to_json()).label(probs), other.label(probs))


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


def test_the_metadata_say_which_stage_the_weights_are_of_and_whether_it_was_trained_on_the_target(run, metadata):
    directory, experiment = RunDirectory.reopen(run)
    said = [metadata_of_run(directory, experiment, SPACE, stage, "fp32") for stage in ("source", "student/round_1")]
    assert [(each.weights_of, each.trained_on_target) for each in (metadata, *said)] == [
        ("of round 1 of 1", True),
        ("before adaptation", False),
        ("of the student of round 1 of 1", True),
    ]
    content = json.loads(metadata.to_json())
    assert metadata.resolved.startswith("cbst_sp on streetsim: self-training of")
    for odd in ({"resolved": 1}, {"weights_of": 3}, {"weights_of": "a\n"}, {"trained_on_target": "yes"}):
        with pytest.raises(UserError, match="cannot be read"):
            ModelMetadata.from_json(json.dumps(content | odd))
    del content["weights_of"], content["trained_on_target"]  # as earlier versions exported it
    assert ModelMetadata.from_json(json.dumps(content)).trained_on_target is None


def test_keys_of_a_later_version_are_left_out(metadata):
    text = json.dumps(json.loads(metadata.to_json()) | {"later": 1})
    assert ModelMetadata.from_json(text).names == metadata.names


def test_no_path_of_the_user_is_in_what_is_published():
    assert domain_title(Domain(reader="folders", root="/home/ada/secret/photos")) == "photos"
    assert domain_title(Domain(reader="cross_city", root="/data", city="Rome", split="test")) == "cross_city Rome test"


def test_the_licence_note_follows_the_images():
    assert "generated by StreetShift" in licence(experiment_of(parse([])))
    arguments = ["--data", "streetsim_camvid", "--target-root", "/data/photos"]
    assert "photos, ImageNet" in licence(experiment_of(parse(arguments)))
    translated = licence(experiment_of(parse(["--recipe", "uplr", "--translated-root", "/home/ada/gta5_as_city"])))
    assert "generated by StreetShift" not in translated
    assert "streetsim city train, gta5_as_city (translated images): the terms" in translated
    assert "city train and what theirs.onnx was trained on: the terms" in licence(
        experiment_of(parse([])), "theirs.onnx"
    )


def test_what_a_run_started_from_is_followed_to_its_images(tmp_path):
    def begun(name, start=None, *arguments):
        asked = None if start is None else {"path": str(start), "pixels": None}
        return RunDirectory.create(tmp_path / name, experiment_of(parse(list(arguments))), (), asked)

    photos = ("--data", "streetsim_camvid", "--target-root", "/data/photos")
    ours, theirs = begun("ours"), begun("of_photos", None, *photos)
    second, third = begun("second", ours.path), begun("third", theirs.path)
    exported = ours.path / "model.onnx"
    exported.with_suffix(".json").write_text(some_metadata(("road", "car")).to_json())
    damaged = second.path / "model.onnx"
    damaged.with_suffix(".json").write_bytes(b"\xff")
    starts = {
        "begun": None,
        "of_ours": ours.path,
        "of_its_file": exported,
        "of_second": second.path,
        "of_theirs": theirs.path,
        "of_third": third.path,
        "of_file": tmp_path / "somebody.onnx",
        "of_deleted": tmp_path / "deleted",
        "of_damaged": damaged,
        "of_itself": tmp_path / "of_itself",
    }
    found = {name: foreign_start(begun(name, start)) for name, start in starts.items()}
    names = {"of_theirs": "of_photos", "of_third": "third", "of_file": "somebody.onnx", "of_deleted": "deleted"}
    assert found == dict.fromkeys(starts) | names | {"of_damaged": "model.onnx", "of_itself": "of_itself"}


@pytest.mark.parametrize(("weights", "bound"), [("imagenet", True), ("mit_b0.safetensors", True), ("none", False)])
def test_the_licence_note_follows_the_starting_weights(weights, bound):
    options = ["--model", "segformer_mit_b0", "--weights", weights]
    assert ("not for commercial use: https://github.com/NVlabs" in licence(experiment_of(parse(options)))) is bound


def test_the_range_of_16_bit_photos_is_kept():
    metadata = some_metadata(("road", "car"), sixteen_bit_range=(7200, 8220))
    assert ModelMetadata.from_json(metadata.to_json()) == metadata
    plain = json.loads(metadata.to_json())
    del plain["sixteen_bit_range"]  # as earlier versions exported it
    assert ModelMetadata.from_json(json.dumps(plain)).sixteen_bit_range is None
    for odd in ([5, 5], [1], "ab", [0.5, 2], 7):
        with pytest.raises(UserError, match="cannot be read"):
            ModelMetadata.from_json(json.dumps(plain | {"sixteen_bit_range": odd}))
