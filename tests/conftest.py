"""Fixtures shared by all tests."""

import gc
import os
from functools import partial
from pathlib import Path

import pytest

from tests.graphs import run_graphs_as_traced

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # as in a run, see training/distribution/quiet.py
if "PYTEST_XDIST_WORKER" in os.environ:  # as many of them as cores: more threads would wait for each other
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
gc.set_threshold(100_000, 20, 20)  # to trace a graph makes many objects, nearly all of which stay


# A file is tested on one core: the longest are begun first, so that all cores are busy to the end.
LONGEST = (
    *("test_every_recipe.py", "training/run_directory/test_resuming.py", "training/distribution/test_devices.py"),
    *("models/test_every_network.py", "training/stages/test_online.py", "export/test_onnx_graph.py"),
    *("training/stages/test_balanced_orders.py", "app/test_browser.py"),
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    first = {Path(__file__).parent / name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: first.get(item.path, len(first)))


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """Development material beside the checkout (reference vectors, photos, weights); not part of the project."""
    folder = Path(os.environ.get("STREETSHIFT_SHARED", Path(__file__).resolve().parents[2] / "shared"))
    if not folder.is_dir():
        pytest.skip(f"development material not found at {folder}: set STREETSHIFT_SHARED to run this test")
    return folder


@pytest.fixture
def graphs_as_traced():
    """In this test TensorFlow runs graphs as they are: to optimise one takes longer than the few steps of a test."""
    run_graphs_as_traced(True)
    yield
    run_graphs_as_traced(False)


@pytest.fixture
def small_discriminators(monkeypatch):
    """Runs have discriminators with 4 channels: with 64, each checkpoint has 33 MB."""
    from models.discriminator import build_discriminator

    small = partial(build_discriminator, channels=4)
    monkeypatch.setattr("training.stages.alignment.build_discriminator", small)
