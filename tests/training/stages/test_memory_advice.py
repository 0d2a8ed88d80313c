"""What is said about memory: before a stage, where it does not fit, and when there was too little."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

from tests.training.methods.tiny import tiny_network
from tests.training.small_runs import left_by, options
from training import label
from training.distribution.step_memory import StepMemory
from training.methods.source_training import SourceTraining
from training.methods.terms import CrossEntropyTerm
from training.run_directory.paths import RunDirectory
from training.settings.schedule import Optimizer, Schedule
from training.stages import memory_advice, stage
from training.stages.fitting import train_stage
from training.stages.memory_advice import Need, sentence

GB = 10**9
PLACE = "data.schedules.warm_up"


def need(room: float | None, activations: float = 8.0, other: float = 0.5) -> Need:
    """Of a step with 8 images of 256x512."""
    step = StepMemory(GB, GB // 2, 0, np.array([int(activations * GB)]), np.array([int(other * GB)]))
    schedule = Schedule(10, 8, Optimizer())
    return Need(step, "this machine", None if room is None else int(room * GB), 8, (256, 512), schedule, PLACE)


def test_two_numbers_are_said():
    assert str(need(20)) == (
        "a step needs about 9.5 GB (activations 8.5 GB, weights and optimiser 1.0 GB); this machine has 20.0 GB for it"
    )
    assert [need(room).fits for room in (20, None, 9)] == [True, True, False]


def test_what_to_set_is_the_least_that_fits():
    # 1 weights + 0.5 other + 0.5 sum of gradients + 8 / parts, in nine tenths of 5: two parts do not fit, four do
    assert f"--set {PLACE}.accumulate=4 (the same result, also with --resume)" in need(5).advice()
    assert f"--set {PLACE}.accumulate=2 " in need(8).advice()
    # 1 + 0.5 + 8 * 3 / 8 = 4.5
    assert f"{PLACE}.batch_size=3 or training images of at most 128x288 (--size" in need(5.1).advice()
    assert "model.precision=mixed_bfloat16" in need(5).advice()


def test_parts_are_not_advised_where_they_would_not_help_or_be_refused():
    assert "accumulate" not in replace(need(5), splits=False).advice()
    assert "accumulate" not in need(2, activations=0.1, other=8).advice()  # gradients alone are too large


def test_it_is_truthful_without_a_need():
    assert "before the first step of stage round_1" in sentence(None, "round_1")


@pytest.mark.parametrize("batch_norm", ["frozen", "train"])
def test_a_stage_says_what_it_needs_and_warns_where_that_is_not_there(start, tmp_path, monkeypatch, capsys, batch_norm):
    command = options(tmp_path, "source_only", f"{PLACE}.batch_norm={batch_norm}")
    assert start([*command, "--out", str(tmp_path / "fits")]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert re.search(
        r"a step needs about [\d.]+ GB \(activations [\d.]+ GB, .*\); this machine has [\d.]+ GB for it", said
    )
    assert "WARNING" not in said
    monkeypatch.setattr(memory_advice, "free_memory", lambda: 1000)
    assert start([*command, "--out", str(tmp_path / "small")]) == 0  # it is an estimate: the run goes on
    said = " ".join(capsys.readouterr().out.split())
    assert "WARNING: a step may not fit into memory: the system may end this program without a word" in said
    assert f"{PLACE}.batch_size=1" in said


def test_the_estimate_takes_the_trace_that_the_steps_use(tmp_path):
    directory = RunDirectory(tmp_path)
    directory.begin("cityscapes19")
    traced = []

    class Counted(SourceTraining):
        def train_step(self, batch):
            traced.append(batch)
            return super().train_step(batch)

    domain = {"image": tf.zeros((3, 2, 16, 16, 3)), "label": tf.zeros((3, 2, 16, 16), tf.uint8)}
    stream = tf.data.Dataset.from_tensor_slices({"source": domain})
    method = Counted(tiny_network(), [CrossEntropyTerm("source")])
    train_stage(method, Schedule(3, 2, Optimizer()), "source", lambda first, share: stream, directory, [], 0)
    assert len(traced) == 1


@pytest.fixture
def eager(start):
    """Steps are computed in Python, where one of them can fail."""
    tf.config.run_functions_eagerly(True)
    yield start
    tf.config.run_functions_eagerly(False)


def fail_once(monkeypatch, error: BaseException) -> None:
    """In the third step that is computed, not in one that is traced."""
    compute, calls = SourceTraining.train_step, []

    def train_step(self, batch):
        if tf.executing_eagerly():
            calls.append(batch)
            if len(calls) == 3:
                raise error
        return compute(self, batch)

    monkeypatch.setattr(SourceTraining, "train_step", train_step)


@pytest.mark.parametrize(
    "error",
    [tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor"), MemoryError()],
    ids=["tf", "py"],
)
def test_too_little_memory_ends_in_a_sentence_and_the_run_resumes_to_the_same_result(
    eager, tmp_path, monkeypatch, capsys, error
):
    whole, failed = tmp_path / "whole", tmp_path / "failed"
    command = options(tmp_path, "source_only")
    assert eager([*command, "--out", str(whole)]) == 0
    fail_once(monkeypatch, error)
    assert eager([*command, "--out", str(failed)]) == 2
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1
    assert "OOM" not in said
    assert "out of memory in stage source: a step needs about" in said
    assert f"{PLACE}.batch_size=1" in said
    assert said.endswith(f"then continue with: python training/run.py --resume {failed}\n")
    assert eager(["--resume", str(failed)]) == 0
    assert left_by(failed) == left_by(whole)


def test_a_run_goes_on_in_parts(eager, tmp_path, monkeypatch, capsys):
    whole, failed = tmp_path / "whole", tmp_path / "failed"
    command = options(tmp_path, "source_only", f"{PLACE}.batch_norm=frozen")
    assert eager([*command, "--out", str(whole)]) == 0
    fail_once(monkeypatch, MemoryError())
    assert eager([*command, "--out", str(failed)]) == 2
    assert f"--set {PLACE}.accumulate=2" in capsys.readouterr().err
    assert eager(["--resume", str(failed), "--set", f"{PLACE}.steps=6"]) == 2  # nothing else may change
    assert f"{PLACE}.steps: 5 -> 6" in capsys.readouterr().err
    assert eager(["--resume", str(failed), "--set", f"{PLACE}.accumulate=2"]) == 0
    begun = json.loads((failed / "recipe.json").read_text())["experiment"]
    assert begun["data"]["schedules"]["warm_up"]["accumulate"] == 2
    ours, theirs = (left_by(run)["metrics.csv"] for run in (failed, whole))
    numbers = [[float(word) for word in re.findall(r"\d+\.\d+", str(text))] for text in (ours, theirs)]
    assert numbers[0]
    assert numbers[0] == pytest.approx(numbers[1], rel=1e-3)
    assert eager(["--resume", str(failed), "--set", f"{PLACE}.steps=5"]) == 0  # and it keeps its parts
    assert json.loads((failed / "recipe.json").read_text())["experiment"] == begun


def no_memory(*_, **__):
    raise MemoryError


def test_too_little_memory_in_a_prediction_is_one_sentence(start, tmp_path, monkeypatch, capsys):
    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(stage, "score", no_memory)
        assert start([*options(tmp_path, "source_only"), "--out", str(run)]) == 2
    said = capsys.readouterr().err
    assert "out of memory while predicting 8 images of 64x64 at a time" in said
    assert f"--resume {run}" in said
    assert start(["--resume", str(run)]) == 0


def test_label_says_it_too(tmp_path, monkeypatch, capsys):
    np.savez(tmp_path / "probs.npz", probs=np.full((2, 3, 8, 8), 1 / 3, np.float32))
    monkeypatch.setattr(label, "label_images", no_memory)
    assert label.main(["--probs", str(tmp_path / "probs.npz"), "--out", str(tmp_path / "labels")]) == 2
    said = capsys.readouterr().err
    assert said.startswith("streetshift: out of memory while labelling")
    assert len(said.splitlines()) == 1
