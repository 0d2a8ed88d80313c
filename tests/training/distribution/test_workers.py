"""Several worker processes on this machine: they train and label as one, and none waits for a lost one."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from models.segmenter import build_segmenter
from tests.training.distribution.test_devices import REPLICAS, ROOT, assert_same_training
from training.distribution.workers import on_chief, sum_over_workers

RUN = ROOT / "training" / "run.py"
LABEL = ROOT / "tests" / "training" / "label_streets.py"
PATIENCE = 900  # seconds: far more than a busy machine needs


def test_one_process_is_its_own_chief():
    values = np.arange(3)
    assert sum_over_workers(values) is values
    assert on_chief(lambda: "done") == "done"


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


@contextlib.contextmanager
def workers(*commands):
    """A process for each command, all workers of one cluster; none outlives the block."""
    addresses = [f"127.0.0.1:{port}" for port in free_ports(len(commands))]
    processes = []
    for index, command in enumerate(commands):
        config = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        environment = {**os.environ, "TF_CONFIG": json.dumps(config)}
        command = [sys.executable, *map(str, command)]
        processes.append(subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT))
    try:
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.wait()


def finish(process) -> str:
    """What the process said; it must have ended well."""
    said = process.communicate(timeout=PATIENCE)[0].decode()
    assert process.returncode == 0, said[-3000:]
    return said


def run(*arguments) -> None:
    finished = subprocess.run([sys.executable, RUN, *map(str, arguments)], capture_output=True, text=True)
    assert finished.returncode == 0, finished.stdout[-2000:] + finished.stderr[-2000:]


@pytest.mark.slow
def test_every_method_trains_on_two_workers_as_on_one(tmp_path):
    files = [tmp_path / f"{index}.npz" for index in range(2)]
    with workers(*([REPLICAS, "--devices", "cpu", "--out", file] for file in files)) as processes:
        for process in processes:
            finish(process)
    for file in files:
        assert_same_training(file, replicas=1)
    first, second = (np.load(file) for file in files)
    for name in first:
        if "/several/" in name:
            np.testing.assert_array_equal(first[name], second[name], err_msg=name)


def labels_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in (folder / "pseudo_labels").rglob("*.*")}


@pytest.mark.slow
def test_two_workers_and_two_devices_label_and_score_as_one(tmp_path):
    """Byte for byte; `ias`, which depends on the order of the images, on the chief alone."""
    alone, devices, together = (tmp_path / name for name in ("alone", "devices", "together"))
    for folder, choice in ((alone, "cpu"), (devices, "cpu:0,1")):
        subprocess.run([sys.executable, LABEL, "--devices", choice, "--out", folder], check=True)
    with workers(*([LABEL, "--devices", "cpu", "--out", together] for _ in range(2))) as processes:
        for process in processes:
            finish(process)
    labels, told = labels_of(alone), (alone / "worker_0.json").read_text()
    assert len(labels) == 3 * 21
    assert labels_of(devices) == labels_of(together) == labels
    for file in (devices / "worker_0.json", together / "worker_0.json", together / "worker_1.json"):
        assert file.read_text() == told


@pytest.mark.slow
@pytest.mark.parametrize(
    ("recipe", "before"),
    [
        ("cbst", set()),
        ("drsl", {"translation"}),
        ("uplr", {"translation", "alignment_1", "alignment_2", "alignment_3"}),
    ],
)
def test_two_workers_carry_out_a_whole_run(recipe, before, tmp_path):
    out = tmp_path / "run"
    command = [RUN, "--recipe", recipe, "--smoke", "--out", out, "--devices", "cpu"]
    with workers(command, command) as processes:
        for process in processes:
            finish(process)
    assert set(json.loads((out / "state.json").read_text())["stages"]) == {"source", "statistics", "round_1", *before}
    assert (out / "report" / "report.md").is_file()
    assert (out / "model.onnx").is_file()


# A batch of two images, one for each worker. One step: the first of Adam makes 2e-4 of any gradient, so where rounding
# decides the sign, further steps tell the networks apart. Without the segmenter, whose weights differ by rounding.
CYCLE_GAN = [
    *("--recipe", "source_only", "--set", "translation=CycleGan", "translation.semantic=off"),
    *(f"data.schedules.translation.{each}" for each in ("batch_size=2", "steps=1")),
]

# The modes start after three of six steps of the warm-up; in the round they may start anew after its second step. SGD:
# Adam's first steps make as much of a gradient that is rounding alone.
DRSL_PLUS = [
    *("--recipe", "drsl_plus", "--set", "adaptation.mixture.start=0.5", "adaptation.mixture.restart_every=2"),
    *(f"data.schedules.{name}.optimizer.name=sgd" for name in ("warm_up", "rounds")),
]


@pytest.mark.slow
@pytest.mark.parametrize("command", [["--recipe", "uplr"], CYCLE_GAN, DRSL_PLUS])
def test_two_workers_draw_translate_and_train_as_one(command, tmp_path):
    """Losses, draws by class, pictures and weights, but for rounding."""
    alone, together = (tmp_path / name for name in ("alone", "together"))
    line = [*command, "--smoke", "--devices", "cpu", "--out"]
    run(*line, alone)
    with workers(*([RUN, *line, together] for _ in range(2))) as processes:
        for process in processes:
            finish(process)
    assert_same_runs(alone, together, command)


def assert_same_runs(alone: Path, together: Path, command: list[str]) -> None:
    # 1. The losses of each stage. After six steps all probabilities are so nearly alike that rounding decides which
    # pixels CBST labels: of DRSL+ one label of a hundred differs.
    losses = [dict(row.rsplit(",", 1) for row in metrics(out)) for out in (alone, together)]
    assert losses[0].keys() == losses[1].keys()
    for name, value in losses[0].items():
        near = 2e-2 if command is DRSL_PLUS and name.startswith("round_") else 2e-3
        assert float(losses[1][name]) == pytest.approx(float(value), rel=near, abs=near), name
    # 2. What the sampler drew.
    stages = [json.loads((out / "state.json").read_text())["stages"] for out in (alone, together)]
    assert list(stages[0]) == list(stages[1])
    assert any("soft_balance" in figures for figures in stages[0].values()) == ("uplr" in command)
    for name, figures in stages[0].items():
        for of_class, found in figures.get("soft_balance", {}).items():
            other = stages[1][name]["soft_balance"][of_class]
            assert (other["chosen"], other["after"]) == (found["chosen"], pytest.approx(found["after"], abs=1e-3))
    # 3. The modes after k-means and the warm-up: how they are used, how far apart they are, which start anew.
    modes = [numbers_of(each["source"].get("modes")) for each in stages]
    assert (len(modes[0]) > 1) == (command is DRSL_PLUS)
    assert modes[1] == pytest.approx(modes[0], abs=0.02)
    # 4. Translated images: in the mean within a grey level.
    pictures = [{path.name: path for path in (out / "translated").rglob("*.png")} for out in (alone, together)]
    assert set(pictures[0]) == set(pictures[1])
    assert bool(pictures[0]) == (command is CYCLE_GAN)
    for name, path in pictures[0].items():
        difference = np.array(Image.open(path), int) - np.array(Image.open(pictures[1][name]), int)
        assert np.abs(difference).mean() < 1, name
    # 5. The model.
    networks = [build_segmenter("compact", 19) for _ in range(2)]
    for network, out in zip(networks, (alone, together), strict=True):
        network.load_weights(out / "final.weights.h5")
    for one, other in zip(*(network.get_weights() for network in networks), strict=True):
        np.testing.assert_allclose(other, one, atol=5e-3)


def numbers_of(figures, place: str = "") -> dict[str, float]:
    """All numbers of nested figures by their places; None counts as -1."""
    if isinstance(figures, (dict, list)):
        items = figures.items() if isinstance(figures, dict) else enumerate(figures)
        return {key: value for name, each in items for key, value in numbers_of(each, f"{place}/{name}").items()}
    return {place: -1.0 if figures is None else float(figures)}


def metrics(run: Path) -> list[str]:
    """The rows `stage,step,name,value` of a run."""
    return (run / "metrics.csv").read_text().splitlines()[1:]


@pytest.mark.slow
@pytest.mark.parametrize("lost", [0, 1])
def test_a_lost_worker_ends_the_run_with_a_sentence_and_it_resumes(lost, tmp_path):
    out = tmp_path / "run"
    command = [RUN, "--recipe", "source_only", "--smoke", "--set", "data.schedules.warm_up.steps=130", "--out", out]
    with workers(command, command) as processes:
        until(lambda: (out / "checkpoints" / "partial.sha256").exists(), processes)
        processes[lost].send_signal(signal.SIGKILL)
        said = processes[1 - lost].communicate(timeout=180)[0].decode()
        assert processes[1 - lost].returncode == 2, said[-3000:]
    assert "another worker of this run is gone" in said
    assert f"--resume {out}" in said
    run("--resume", out)
    assert (out / "model.onnx").is_file()


def until(happened, processes) -> None:
    """Wait for `happened`, as long as all processes live."""
    deadline = time.monotonic() + PATIENCE
    while not happened():
        ended = [process for process in processes if process.poll() is not None]
        assert not ended, ended[0].communicate()[0].decode()[-3000:]
        assert time.monotonic() < deadline
        time.sleep(0.1)
