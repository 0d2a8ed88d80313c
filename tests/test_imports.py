"""Imports go one way, and the light rooms stay light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
OURS = {"app", "export", "models", "training"}
HEAVY = {"tensorflow", "keras", "keras_cv"}


def imported_packages(path: Path) -> set[str]:
    """Top-level names that a file imports anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.split(".")[0])
    return names


def files_of(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


@pytest.mark.parametrize("path", files_of("models"), ids=lambda path: path.name)
def test_models_import_nothing_of_ours(path):
    assert not imported_packages(path) & (OURS - {"models"})


@pytest.mark.parametrize("path", files_of("training"), ids=lambda path: str(path.relative_to(ROOT)))
def test_training_does_not_import_the_page(path):
    assert "app" not in imported_packages(path)


@pytest.mark.parametrize("folder", ["training/pseudo_labels", "training/data/streetsim"])
def test_light_rooms_import_no_tensorflow(folder):
    for path in files_of(folder):
        assert not imported_packages(path) & HEAVY, path


@pytest.mark.parametrize("module", ["training.pseudo_labels", "training.data.classes", "training.data.streetsim"])
def test_light_modules_stay_light_when_imported(module):
    code = f"import sys, {module}; sys.exit(int(bool({HEAVY!r} & set(sys.modules))))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_only_scripts_touch_the_search_path():
    """One line, at the top of each file that is run by its path."""
    for folder in OURS:
        for path in files_of(folder):
            text = path.read_text()
            if "sys.path" in text:
                assert '__name__ == "__main__"' in text, path
                assert text.count("sys.path.insert(0, ") == 1, path
