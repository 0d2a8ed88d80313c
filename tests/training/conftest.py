"""What the tests of whole runs share."""

import pytest

from tests.training.methods.tiny import give_levels
from tests.training.small_runs import two_layers, write_data
from training import run as run_script
from training.evaluation import charts
from training.stages import plan


@pytest.fixture
def start(tmp_path, monkeypatch, graphs_as_traced, small_discriminators):
    """The main job in this process: on small data, with a network of two layers, without charts and exports."""
    monkeypatch.setattr(plan, "build_network", two_layers)
    give_levels(monkeypatch, "two_layers", "batch_norm")
    monkeypatch.setattr(charts, "write_charts", lambda *_: {})
    monkeypatch.setattr(run_script, "_export", lambda *_: None)
    write_data(tmp_path)
    return run_script.main
