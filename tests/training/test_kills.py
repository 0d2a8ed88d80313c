"""The main job killed with SIGKILL at random moments, each time resumed: it ends as the run that was never killed."""

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from tests.training.small_runs import left_by, options, write_data

ROOT = Path(__file__).resolve().parents[2]
EVERYTHING = (
    *("hiast", "adaptation.rounds=1", "alignment.weight=0.5", "adaptation.mean_teacher.decay_steps=20"),
    *("adaptation.selector.initial=0.2", "data.schedules.warm_up.average_weights=0.9"),
)
PRIORS = ("cbst_sp", "adaptation.rounds=2")


def life(arguments: list[str], seconds: float, log: Path) -> bool:
    """Run until the end, or kill it after so many seconds; has it ended?"""
    with log.open("a") as file:
        command = [sys.executable, "-u", "training/run.py", *arguments]
        process = subprocess.Popen(command, cwd=ROOT, stdout=file, stderr=subprocess.STDOUT)
        try:
            assert process.wait(seconds) == 0, log.read_text()[-2000:]
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            file.write(f"KILLED after {seconds:.1f} s\n")
            return False
    return True


def answers(run: Path) -> dict[str, np.ndarray]:
    """What the exported models say of one image; their files differ in the order of their nodes."""
    image = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3), np.uint8)
    sessions = {path.name: onnxruntime.InferenceSession(path) for path in run.glob("*.onnx")}
    return {name: session.run(["logits"], {"image": image})[0] for name, session in sessions.items()}


def assert_same(run: Path, whole: Path) -> None:
    assert left_by(run) == left_by(whole)
    ours, theirs = answers(run), answers(whole)
    assert ours.keys() == theirs.keys()
    for name, logits in theirs.items():
        np.testing.assert_array_equal(ours[name], logits, err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize(("recipe", "kills"), [(EVERYTHING, 14), (PRIORS, 6)], ids=["everything", "priors"])
def test_killed_at_random_moments(recipe, kills, tmp_path):
    write_data(tmp_path)
    command, log, moments = options(tmp_path, *recipe), tmp_path / "log", random.Random(os.environ.get("SEED", "0"))
    started = time.monotonic()
    assert life([*command, "--out", str(tmp_path / "whole")], 3600, log)
    duration = time.monotonic() - started
    ends, ended = 0, False
    while kills or not ended:
        run = tmp_path / f"killed_{ends}"
        again = ["--resume", str(run)] if (run / "recipe.json").exists() else [*command, "--out", str(run)]
        ended = life(again, moments.uniform(0, duration) if kills else 3600, log)
        if ended:
            assert_same(run, tmp_path / "whole")
            ends += 1
        else:
            kills -= 1
    print(f"{ends} runs ended bit-equal", log.read_text().count("KILLED"), "kills")
