"""Hostile input by the thousand, and a table of what became of it: `python -m pytest -m slow tests/hostile -s`.

Every attempt must work or end in one clear sentence, within 30 seconds and 3 GB. Failures are repeated by their number.
"""

import shutil
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from app.loaded_model import load_model
from tests.app.tiny_model import write_tiny_model
from tests.hostile import kinds_data, kinds_runs, odd_files
from tests.hostile.judging import REFUSED, WORKED, outcome
from training import run as run_script

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
Attempt = Callable[[np.random.Generator, Path], None]


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory) -> Path:
    """A real run of the user's own folders, without what the attempts do not need."""
    place, random = tmp_path_factory.mktemp("work"), np.random.default_rng(0)
    for number in range(3):
        odd_files.good_pair(place / "source", f"s{number}.png", random)
        odd_files.good_pair(place / "target", f"t{number}.png", random)
    roots = ["--source-root", str(place / "source"), "--target-root", str(place / "target" / "images")]
    choices = ["--data", "folders", "--classes", "camvid11", "--model", "compact", "--recipe", "cbst_sp", "--smoke"]
    assert run_script.main([*choices, *roots, "--out", str(place / "run")]) == 0
    shutil.rmtree(place / "run" / "tensorboard")
    for file in [*place.glob("run/*.onnx"), *place.glob("run/checkpoints/*.h5")]:
        file.unlink()
    return place / "run"


@pytest.fixture(scope="module")
def kinds(finished_run, tmp_path_factory) -> dict[str, tuple[Attempt, int]]:
    """What is attempted and how often."""
    model = write_tiny_model(tmp_path_factory.mktemp("models") / "tiny.onnx")
    loaded = load_model(model)
    text = loaded.metadata.to_json()
    return {
        "pictures": (kinds_data.pictures, 1000),
        "folders of images: names, links, pipes, clashes": (kinds_data.folders_of_images, 300),
        "folders inside folders": (kinds_data.folders_inside_folders, 300),
        "label files": (kinds_data.labels, 300),
        "ids below 0 and above 255": (kinds_data.signed_labels, 300),
        "EXIF orientation of photos and labels": (kinds_data.turned_pairs, 300),
        "labels without a labelled pixel": (kinds_data.unlabelled_pixels, 200),
        "label spaces (JSON)": (kinds_data.label_spaces, 1000),
        "probability files and priors": (kinds_data.probabilities, 500),
        "folders for labels, manifests": (kinds_data.label_folders, 300),
        "overrides (--set, --size)": (kinds_runs.overrides, 200),
        "run directories": (partial(kinds_runs.run_directories, finished_run), 150),
        "commands on damaged runs": (partial(kinds_runs.commands_on_runs, finished_run), 12),
        "model metadata": (partial(kinds_runs.model_metadata, text), 1000),
        "model files": (partial(kinds_runs.model_files, model), 300),
        "inputs of predict.py": (partial(kinds_runs.inputs_of_predict, model), 150),
        "uploads to the page": (partial(kinds_runs.uploads_to_the_page, loaded), 300),
    }


def test_every_hostile_input_works_or_gets_one_sentence(kinds, tmp_path, capsys):
    failures, table = [], ["| input | tried | worked | refused in one sentence | failed |", "|---|---|---|---|---|"]
    for title, (attempt, tries) in kinds.items():
        counts = Counter()
        for number in range(tries):
            folder = tmp_path / "attempt"
            folder.mkdir()
            found = outcome(partial(attempt, np.random.default_rng((number, tries)), folder))
            counts[found if found in (WORKED, REFUSED) else "failed"] += 1
            failures += [] if found in (WORKED, REFUSED) else [f"{title} {number}: {found}"]
            shutil.rmtree(folder)
        table.append(f"| {title} | {tries} | {counts[WORKED]} | {counts[REFUSED]} | {counts['failed']} |")
    with capsys.disabled():
        print("", *table, sep="\n")
    assert not failures, "\n".join(failures)
