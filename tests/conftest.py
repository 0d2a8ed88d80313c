"""Fixtures shared by all tests."""

import os
from pathlib import Path

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # as in a run, see training/distribution/quiet.py
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """Development material beside the checkout (reference vectors, photos, weights); not part of the project."""
    folder = Path(os.environ.get("STREETSHIFT_SHARED", Path(__file__).resolve().parents[2] / "shared"))
    if not folder.is_dir():
        pytest.skip(f"development material not found at {folder}: set STREETSHIFT_SHARED to run this test")
    return folder
