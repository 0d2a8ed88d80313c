"""A transformer from folders of photos to the browser: trained, exported, in `predict.py`, on the page."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from export import predict
from export.segmenter import OnnxSegmenter
from tests.app.browser import browser_on
from tests.app.conftest import running_page
from tests.training.small_runs import CLASSES, options, write_data
from training import run as training

# Nightly: that its file agrees with Keras, tests/export/test_onnx_graph.py shows.
pytestmark = pytest.mark.slow
NETWORK = "segformer_mit_b0"
STEPS = tuple(f"data.schedules.{stage}.steps=2" for stage in ("warm_up", "rounds"))


@pytest.fixture(scope="module", params=["source_only", "cbst"])
def run(request, tmp_path_factory) -> Path:
    """A run of two steps per stage on folders of 64x64 photos; the graph of a round takes half a minute more."""
    folder = tmp_path_factory.mktemp("transformer")
    write_data(folder)
    adapts = request.param != "source_only"
    settings = (*STEPS, "recipe.adaptation.rounds=1") if adapts else STEPS
    command = [NETWORK if word == "compact" else word for word in options(folder, request.param, *settings)]
    assert training.main([*command, "--out", str(folder / "run")]) == 0
    assert (folder / "run" / "source.onnx").is_file() == adapts
    return folder / "run"


@pytest.fixture(scope="module")
def photo(run) -> Path:
    """A photo of an odd size, not one of the run's."""
    path = run.parent / "odd.png"
    Image.fromarray(np.random.default_rng(5).integers(0, 256, (75, 121, 3), dtype=np.uint8)).save(path)
    return path


@pytest.fixture(scope="module")
def segmented(run, photo):
    return OnnxSegmenter(run / "model.onnx")(photo)


def test_the_file_says_what_it_is(run):
    """That it agrees with Keras the export has found out: else there were no file."""
    facts = json.loads((run / "model.json").read_text())
    assert (facts["network"], facts["names"]) == (NETWORK, list(CLASSES))


def test_predict_writes_its_labels(run, photo, segmented, tmp_path):
    arguments = ["--model", run / "model.onnx", "--images", photo, "--out", tmp_path, "--labels", "--device", "cpu"]
    assert predict.main(list(map(str, arguments))) == 0
    np.testing.assert_array_equal(np.array(Image.open(tmp_path / "labels" / "odd.png")), segmented.labels)


def test_the_browser_shows_them(run, photo, segmented, chromium, tmp_path_factory, tmp_path):
    with running_page(run, tmp_path_factory) as server, browser_on(server.url, chromium, tmp_path) as page:
        page.open()
        page.remove_photo()
        page.wait("!document.querySelector('#legend li')")
        page.upload("#segment-photo", photo)
        shown = sorted(CLASSES[index] for index in np.unique(segmented.labels))
        names = "[...document.querySelectorAll('#legend li .name')].map((name) => name.innerText).sort()"
        page.wait(f"JSON.stringify({names}) === '{json.dumps(shown, separators=(',', ':'))}'")
        label = np.array(Image.open(page.downloaded("#label-file", "odd_label.png")))
        np.testing.assert_array_equal(label, segmented.labels)
        page.tab("before-after")
        if (run / "source.onnx").is_file():
            page.click("#take-photo")
            page.wait("document.querySelector('#changes').innerText.includes('% of the pixels changed.')")
        else:
            page.wait("document.querySelector('#tab-before-after').innerText.includes('no model to compare with')")
