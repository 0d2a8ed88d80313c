"""Several devices compute what one computes: every method on two logical CPUs, and what `--devices` may say."""

import json
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from training.command_line import experiment_of, parse
from training.distribution.devices import Devices, is_chief, open_devices, parse_devices, worker_count
from training.distribution.shares import Share
from training.errors import UserError
from training.recipes import RECIPES
from training.settings.schedule import Optimizer, Schedule
from training.stages.plan import check_batches, plan

ROOT = Path(__file__).resolve().parents[3]
REPLICAS = ROOT / "tests" / "training" / "methods" / "replicas.py"
METHODS = (
    *("source", "self_training", "mean_teacher", "adversarial"),
    *("pasted", "online_thresholds", "online_pooled", "adversarial_pasted"),
)
WHOLE = ("pixel_contrast", "prototype_contrast", "mixture", "cycle_gan")  # which cannot be computed in parts
COMBINED = ("adversarial_mixture",)  # of these, what two others are together
DAILY = ("mean_teacher", "online_thresholds", "prototype_contrast", "mixture")  # of each kind one; the others nightly


def assert_same_training(file: Path, replicas: int, methods: tuple[str, ...] = METHODS + WHOLE + COMBINED) -> None:
    """Every method moved, to the same weights, averages and logs as on one device, and equally on every replica."""
    results = np.load(file)
    assert {name.split("/")[0] for name in results} == set(methods)
    for name in results:
        method, side, key = name.split("/")
        if side == "several":
            alone = results[f"{method}/alone/{key}"][0]
            assert len(results[name]) == (1 if key.startswith("state") else replicas)
            for value in results[name]:
                rounding = 1e-3 if value.dtype == np.float16 else 1e-7
                np.testing.assert_allclose(value, alone, atol=1e-4, rtol=rounding, err_msg=name)
            np.testing.assert_array_equal(results[name][0], results[name][-1], err_msg=name)


@pytest.mark.parametrize(
    ("accumulate", "methods"),
    [
        (1, DAILY),
        (2, ("adversarial",)),  # two optimisers
        pytest.param(1, METHODS + WHOLE + COMBINED, marks=pytest.mark.slow),
        pytest.param(2, METHODS, marks=pytest.mark.slow),
    ],
)
def test_every_method_trains_on_two_devices_as_on_one(accumulate, methods, tmp_path):
    """8 steps: batch-norm, clipping that bites, average of weights, dropout, teacher, soft labels, discriminator,
    ClassMix, hidden blocks, labels online.

    With two parts on each device, too, it is the one pass over all rows on one device; without dropout and statistics.
    """
    file = tmp_path / "weights.npz"
    command = [sys.executable, REPLICAS, "--devices", "cpu:0,1", "--out", file, "--accumulate", str(accumulate)]
    command += ["--only", *methods]
    finished = subprocess.run(command, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr[-3000:]
    assert_same_training(file, replicas=2, methods=methods)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("auto", Devices()),
        ("cpu", Devices("cpu")),
        ("gpu", Devices("gpu")),
        ("gpu:0", Devices("gpu", (0,))),
        ("cpu:1,0", Devices("cpu", (1, 0))),
    ],
)
def test_devices_are_read(text, expected):
    assert parse_devices(text) == expected


@pytest.mark.parametrize("text", ["", "gpus", "gpu:", "gpu:0,", "auto:1", "gpu:0;1", "gpu:0,0", "GPU:0", "cpu:-1"])
def test_other_devices_are_refused_in_one_sentence(text):
    with pytest.raises(UserError, match="--devices"):
        parse_devices(text)


@pytest.mark.parametrize(("count", "words"), [(0, "finds no GPU here"), (1, "there is no GPU 1")])
def test_a_gpu_that_is_not_there_is_refused(count, words, monkeypatch):
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: ["a GPU"] * count)
    with pytest.raises(UserError, match=words):
        open_devices(Devices("gpu", (0, 1)))


@pytest.mark.parametrize(("found", "told"), [([], False), (["/dev/nvidia0"], True)])
def test_a_gpu_that_tensorflow_does_not_see_is_told_of(found, told, monkeypatch, capsys):
    monkeypatch.setattr("training.distribution.devices.glob.glob", lambda pattern: found)
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [])
    open_devices(Devices("auto"))
    assert ("tensorflow[and-cuda]" in capsys.readouterr().out) is told


def test_the_rows_of_all_processes_are_the_batch():
    shares = [Share(process, 3, 2) for process in range(3)]
    assert [share.rows(12).tolist() for share in shares] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
    assert shares[0].replica_batch(12) == 2
    with pytest.raises(UserError, match="batch of 8 images cannot be divided evenly over 6 devices"):
        shares[0].rows(8)


@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 50])
def test_images_are_dealt_out_in_the_batches_of_one_device(count):
    parts = [Share(process, 3).in_batches(count, 4) for process in range(3)]
    assert sorted(np.concatenate(parts).tolist()) == list(range(count))
    whole = [list(range(start, min(start + 4, count))) for start in range(0, count, 4)]
    dealt = [part[start : start + 4].tolist() for part in parts for start in range(0, len(part), 4)]
    assert sorted(dealt) == whole


def test_tf_config_tells_the_worker(monkeypatch):
    assert (worker_count(), is_chief()) == (1, True)
    monkeypatch.setenv("TF_CONFIG", json.dumps(tf_config(index=1)))
    assert (worker_count(), is_chief()) == (2, False)


def tf_config(index=0, kind="worker", **more):
    return {"cluster": {"worker": ["a:1", "b:1"], **more}, "task": {"type": kind, "index": index}}


@pytest.mark.parametrize("value", ["{", "[]", "{}", tf_config(index=2), tf_config(kind="chief"), tf_config(ps=["c:1"])])
def test_another_tf_config_is_refused(value, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", value if isinstance(value, str) else json.dumps(value))
    with pytest.raises(UserError, match="TF_CONFIG does not describe this worker"):
        worker_count()


def test_a_batch_that_devices_cannot_share_is_refused_before_training(monkeypatch):
    experiment = experiment_of(parse(["--recipe", "cbst", "--smoke", "--set", "data.schedules.rounds.batch_size=3"]))
    check_batches(plan(experiment), experiment.model)
    monkeypatch.setattr("training.stages.plan.share_of_this_process", lambda: Share(replicas=2))
    words = r"batch of 3 images cannot be divided evenly over 2 devices: .*data\.schedules\.rounds\.batch_size=N"
    with pytest.raises(UserError, match=words):
        check_batches(plan(experiment), experiment.model)


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_schedules_of_a_run_are_known_before_its_stages_are(recipe):
    """Of every stage, whose number of steps may be another."""
    for more in ((), ("--set", "translation=CycleGan")) if recipe == "cbst" else ((),):
        experiment = experiment_of(parse(["--recipe", recipe, *more]))
        known = {(each.batch_size, each.accumulate, each.optimizer.name) for each in experiment.trained_schedules}
        stages = [stage.schedule for stage in plan(experiment) if stage.schedule is not None]
        assert {(each.batch_size, each.accumulate, each.optimizer.name) for each in stages} == known


@pytest.mark.parametrize(
    ("batches", "gpus", "taken"), [((4, 4, 6), 4, 2), ((1, 4), 4, 1), ((8,), 4, 4), ((12,), 5, 4), ((), 3, 3)]
)
def test_auto_takes_as_many_gpus_as_share_the_batches(batches, gpus, taken, monkeypatch, capsys):
    visible = []
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: list(range(gpus)))
    monkeypatch.setattr(tf.config, "set_visible_devices", lambda devices, kind: visible.append(devices))
    monkeypatch.setattr(tf.distribute, "MirroredStrategy", lambda: "several")
    strategy = open_devices(Devices(), [Schedule(1, size, Optimizer()) for size in batches])
    assert (strategy == "several") is (taken > 1)
    assert visible == ([list(range(taken))] if taken < gpus else [])
    said = " ".join(capsys.readouterr().out.split())
    assert (f"{taken} of the {gpus} GPUs compute" in said) is (taken < gpus)


@pytest.mark.parametrize("file", ["slurm.sh", "job.yaml"])
def test_the_batches_of_the_cluster_examples_are_shared_by_their_devices(file, monkeypatch):
    text = (ROOT / "training" / "cluster" / file).read_text().replace("\\\n", " ")
    words = shlex.split(text[text.index("python training/run.py") :].rstrip().rstrip("'"))
    experiment = experiment_of(parse(words[2:]))
    monkeypatch.setattr("training.stages.plan.share_of_this_process", lambda: Share(0, 2, 4))
    check_batches(plan(experiment), experiment.model)
