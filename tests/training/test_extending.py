"""The diffs of training/README.md, applied to a copy of the code and run: a loss, a selector and a method are added."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DIFFS = re.findall(r"```diff\n(.*?)```", (ROOT / "training" / "README.md").read_text(encoding="utf-8"), re.DOTALL)
MOST_LINES = 30

RUN = """
import csv, json, sys
from pathlib import Path

import numpy as np
import tensorflow as tf

from tests.training.small_runs import options, two_layers, write_data
from training import run as run_script
from training.evaluation import charts
from training.run_directory.paths import RunDirectory
from training.stages import plan

folder = Path(sys.argv[1])
plan.build_network, charts.write_charts, run_script._export = two_layers, lambda *_: {}, lambda *_: None
write_data(folder)
tf.config.run_functions_eagerly(True)
added = ("adaptation.selector=Floored", "adaptation.losses.maximum_squares=on", "adaptation.head_only=True")
kept = ("adaptation.rounds=1", "adaptation.selector.floor=0.3")
assert run_script.main([*options(folder, "cbst", *added, *kept), "--out", str(folder / "run")]) == 0

directory, experiment = RunDirectory.reopen(folder / "run")
metrics = {row["metric"] for row in csv.DictReader(directory.metrics.open())}
manifest = json.loads((directory.pseudo_labels / "round_1" / "manifest.json").read_text())
before, after = (two_layers(experiment, 3) for _ in range(2))
before.load_weights(directory.weights("source"))
after.load_weights(directory.weights("round_1"))
moved = {
    weight.path
    for weight, old, new in zip(after.weights, before.get_weights(), after.get_weights(), strict=True)
    if not np.array_equal(old, new)
}
print(json.dumps([sorted(metrics), manifest["selector"], min(filter(None, manifest["thresholds"])), sorted(moved)]))
"""


def changed_lines(diff: str) -> int:
    return len(re.findall(r"^[+-](?!\+\+|--)", diff, re.MULTILINE))


def test_there_are_three_short_diffs():
    assert len(DIFFS) == 3
    assert all(0 < changed_lines(diff) <= MOST_LINES for diff in DIFFS)


@pytest.fixture
def extended(tmp_path) -> Path:
    """A copy of the code with all three diffs."""
    if shutil.which("git") is None:
        pytest.skip("git, which applies the diffs, is not installed")
    copy = tmp_path / "copy"
    for folder in ("models", "training", "export", "tests"):
        shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for diff in DIFFS:
        subprocess.run(["git", "apply", "-C1", "-"], input=diff.encode(), cwd=copy, check=True)
    return copy


def test_the_diffs_apply_and_run_together(extended, tmp_path):
    import json

    (tmp_path / "data").mkdir()
    command = [sys.executable, "-c", RUN, str(tmp_path / "data")]
    done = subprocess.run(command, cwd=extended, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    metrics, selector, least, moved = json.loads(done.stdout.splitlines()[-1])
    assert "maximum_squares_target" in metrics
    assert selector == "floored"
    assert least >= 0.3
    assert moved
    assert all(path.startswith("head_") for path in moved)
