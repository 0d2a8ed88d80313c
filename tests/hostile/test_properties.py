"""What must hold of any input: it is read right, or one clear sentence refuses it, soon and in bounded memory."""

import json
import os
import shutil
from functools import partial

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.app.tiny_model import write_tiny_model
from tests.hostile import kinds_data, kinds_runs, material, odd_files
from tests.hostile.judging import REFUSED, WORKED, is_sentence, outcome
from training.command_line import experiment_of, parse
from training.data.classes import LABEL_SPACES
from training.data.datasets import folders, image_folder
from training.data.domains import load_domains
from training.data.fixed_lists import with_fixed_lists
from training.data.images import read_image
from training.data.readers import image_files, unique_names
from training.errors import UserError
from training.files.atomic import write_atomically
from training.files.npy import read_array
from training.files.reading import open_file, parsed_json, read_json
from training.prediction.model_metadata import ModelMetadata
from training.pseudo_labels.spatial_prior import pack_prior, unpack_prior
from training.run_directory.paths import RunDirectory

pytestmark = pytest.mark.filterwarnings("ignore")
SPACE = LABEL_SPACES["camvid11"]
usual = settings(
    max_examples=25, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


def refused(attempt) -> str:
    with pytest.raises(UserError) as caught:
        attempt()
    assert is_sentence(str(caught.value)), str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("attempt", "tries"),
    [
        (kinds_data.pictures, 40),
        (kinds_data.folders_of_images, 25),
        (kinds_data.labels, 15),
        (kinds_data.label_spaces, 60),
        (kinds_data.probabilities, 30),
        (kinds_data.label_folders, 30),
        (kinds_data.folders_inside_folders, 30),
        (kinds_runs.overrides, 5),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_few_attempts_of_the_nightly_fuzz(attempt, tries, tmp_path):
    for number in range(tries):
        (tmp_path / "attempt").mkdir()
        found = outcome(partial(attempt, np.random.default_rng((number, 1)), tmp_path / "attempt"))
        assert found in (WORKED, REFUSED), f"{number}: {found}"
        shutil.rmtree(tmp_path / "attempt")


@usual
@given(st.text(st.characters(codec=None), max_size=3000))
def test_a_sentence_is_one_printable_line_whatever_stands_in_it(text):
    sentence = str(UserError(f"Cannot read {text}."))
    assert sentence.isprintable()
    assert len(sentence) < 20_000
    sentence.encode()


def test_ordinary_sentences_stay_as_they_are():
    sentence = "Cannot read /data/Müller/猫 1.png: it is a folder, where a file was expected."
    assert str(UserError(sentence)) == sentence


@usual
@given(json_values | st.binary(max_size=200))
def test_any_json_is_an_object_or_refused(value):
    text = value if isinstance(value, bytes) else json.dumps(value)
    if isinstance(value, dict):
        assert list(parsed_json(text, "it")) == list(value)
    elif not isinstance(value, bytes):
        refused(partial(parsed_json, text, "recipe.json"))


@pytest.mark.parametrize("text", [material.DEEP_JSON, '{"a": ' * 1_000_000, '{"a": ' + "9" * 100_000 + "}", "", "\0"])
def test_json_built_to_break_parsers_is_refused(text):
    refused(partial(parsed_json, text, "the file recipe.json"))


@pytest.mark.parametrize("make", odd_files.NO_FILES[:5], ids=lambda make: make.__name__)
@pytest.mark.parametrize("read", [open_file, read_json, read_image, read_array], ids=lambda read: read.__name__)
def test_what_is_no_file_is_refused_without_waiting_for_it(make, read, tmp_path):
    make(tmp_path / "odd.png")
    assert "odd.png" in refused(partial(read, tmp_path / "odd.png"))


@pytest.mark.parametrize("number", range(11))
def test_small_files_that_claim_to_be_huge_are_refused_by_their_header(number, tmp_path):
    (tmp_path / "bomb.png").write_bytes(odd_files.bombs()[number])
    assert outcome(partial(read_image, tmp_path / "bomb.png")) == REFUSED


@usual
@given(st.lists(st.integers(-3, 1 << 40), max_size=5), st.sampled_from(kinds_data.TYPES), st.binary(max_size=300))
def test_an_npy_header_is_held_against_its_file(tmp_path, shape, kind, values):
    text = f"({', '.join(map(str, shape))}{',' * (len(shape) == 1)})"
    (tmp_path / "a.npy").write_bytes(material.npy_header(text, kind) + values)
    found = []
    assert outcome(lambda: found.append(read_array(tmp_path / "a.npy"))) in (WORKED, REFUSED)
    assert all(array.nbytes == len(values) for array in found)


def test_links_in_circles_are_followed_once(tmp_path):
    odd_files.good_pair(tmp_path, "p0.png", np.random.default_rng(0))
    odd_files.many_circles(tmp_path / "images" / "deeper")
    (tmp_path / "images" / "up").symlink_to(tmp_path)
    assert [file.name for file in image_files(tmp_path / "images")] == ["p0.png", "p0.png"]  # the image and the label


def test_names_are_told_apart_as_other_file_systems_would(tmp_path):
    paths = [tmp_path / "a" / "\xfc.png", tmp_path / "b" / "u\u0308.png"]
    assert unique_names(paths, tmp_path) == ["a_\xfc", "b_u\u0308"]
    long = [tmp_path / (letter * 200) / ("x" * 100 + ".png") for letter in "ab"]
    assert "too long" in refused(partial(unique_names, long, tmp_path))


@pytest.mark.parametrize("name", [name for name in material.ODD_NAMES if name.lower().endswith(".png")])
def test_images_may_have_odd_names(name, tmp_path):
    odd_files.good_pair(tmp_path / "data", name, np.random.default_rng(0))
    if name.startswith("."):
        refused(partial(image_folder, tmp_path / "data" / "images", SPACE))
        return
    (sample,) = folders(tmp_path / "data", SPACE).samples
    write_atomically(tmp_path / f"{sample.name}.png", b"label")
    assert sorted(os.listdir(tmp_path)) == sorted(["data", f"{sample.name}.png"])


def test_nothing_is_written_through_a_link(tmp_path):
    (tmp_path / "precious").write_text("precious")
    (tmp_path / "run").mkdir()
    for name in (".state.json.partial", "state.json"):
        (tmp_path / "run" / name).symlink_to(tmp_path / "precious")
    write_atomically(tmp_path / "run" / "state.json", b"new")
    assert (tmp_path / "precious").read_text() == "precious"
    assert (tmp_path / "run" / "state.json").read_text() == "new"


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
    """Of three labelled and three unlabelled images in folders."""
    root, random = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    for number in range(3):
        odd_files.good_pair(root / "source", f"s{number}.png", random)
        odd_files.good_pair(root / "target", f"t{number}.png", random)
    roots = ["--source-root", str(root / "source"), "--target-root", str(root / "target" / "images")]
    return experiment_of(parse(["--data", "folders", "--classes", "camvid11", "--model", "compact", *roots]))


def test_a_link_out_of_a_run_is_refused(experiment, tmp_path):
    RunDirectory.create(tmp_path / "run", experiment)
    assert RunDirectory.reopen(tmp_path / "run")[1] == experiment
    (tmp_path / "run" / "report").symlink_to(tmp_path)
    assert "leads out of the run" in refused(partial(RunDirectory.reopen, tmp_path / "run"))


@usual
@given(st.integers(0, 2**32))
def test_a_bent_recipe_or_state_is_read_right_or_refused(experiment, tmp_path, seed):
    shutil.rmtree(tmp_path / "run", ignore_errors=True)
    directory, random = RunDirectory.create(tmp_path / "run", experiment), np.random.default_rng(seed)
    place = tmp_path / "run" / material.draw(random, ("recipe.json", "state.json"))
    place.write_bytes(material.bent_json(random, json.loads(place.read_text())))

    def reopened() -> None:
        kinds_runs.check_sane(RunDirectory.reopen(tmp_path / "run")[1])
        assert all(isinstance(figures, dict) for figures in directory.stages.values())

    assert outcome(reopened) in (WORKED, REFUSED)


def test_a_run_keeps_the_images_it_began_with(experiment, tmp_path, capsys):
    def listed():
        return with_fixed_lists(load_domains(experiment), experiment, tmp_path / "images.json")

    first = listed()
    target = first.target.samples[0].image.parent
    shutil.copy(target / "t0.png", target / "later.png")
    assert listed().target == first.target
    assert "later.png" in capsys.readouterr().out
    (target / "t1.png").rename(tmp_path / "t1.png")
    assert "t1.png" in refused(listed)
    (tmp_path / "t1.png").rename(target / "t1.png")
    (target / "later.png").unlink()
    assert listed().target == first.target
    rows = json.loads((tmp_path / "images.json").read_text())
    rows["target"][0][0] = "../../t0"
    (tmp_path / "images.json").write_text(json.dumps(rows))
    assert "does not hold the images" in refused(listed)


@pytest.fixture(scope="module")
def metadata(tmp_path_factory) -> str:
    import onnx

    return onnx.load(write_tiny_model(tmp_path_factory.mktemp("model") / "tiny.onnx")).metadata_props[0].value


@usual
@given(st.integers(0, 2**32))
def test_bent_metadata_of_a_model_are_read_right_or_refused(metadata, tmp_path, seed):
    kinds = (WORKED, REFUSED)
    assert outcome(partial(kinds_runs.model_metadata, metadata, np.random.default_rng(seed), tmp_path)) in kinds


def test_sound_metadata_come_back_as_they_were(metadata):
    assert ModelMetadata.from_json(metadata).to_json() == metadata


def test_a_packed_prior_is_unpacked_no_further_than_its_shape():
    import base64
    import zlib

    packed = pack_prior(np.ones((4, 6, 3), np.float32))
    assert unpack_prior(packed).shape == (4, 6, 3)
    bomb = {**packed, "deflated": base64.b64encode(zlib.compress(bytes(20_000_000))).decode()}
    with pytest.raises(ValueError, match="reshape"):
        unpack_prior(bomb)
    with pytest.raises(ValueError, match="shape"):
        unpack_prior({**packed, "shape": [255, 100_000, 100_000]})
