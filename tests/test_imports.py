"""Imports go one way and in no circle, and the light rooms stay light."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.import_graph import ImportGraph, circle_in

ROOT = Path(__file__).resolve().parents[1]
GRAPH = ImportGraph(ROOT)
HEAVY = {"tensorflow", "keras", "keras_cv"}


def modules_of(*rooms: str) -> set[str]:
    """The modules of some folders, by their dotted names."""
    return {name for name in GRAPH.imports if f"{name}.".startswith(tuple(f"{room}." for room in rooms))}


def imports_of(room: str, *others: str) -> dict[str, set[str]]:
    """By module of `room`, what it imports of other rooms; modules that import nothing of them are left out."""
    found = {name: GRAPH.imports[name] & modules_of(*others) for name in modules_of(room)}
    return {name: imported for name, imported in found.items() if imported}


def test_there_is_no_circle_of_modules():
    assert circle_in(GRAPH.imports) == []


def test_there_is_no_circle_of_rooms():
    assert circle_in(GRAPH.rooms) == []


def test_models_import_nothing_of_ours():
    assert imports_of("models", "app", "export", "training") == {}


def test_training_does_not_import_the_page():
    assert imports_of("training", "app") == {}


def test_training_imports_of_export_what_its_program_needs_alone():
    assert imports_of("training", "export") == {"training.run": {"export.run"}}


LIGHT = [
    *({"export.segmenter"}, {"export.predict"}, modules_of("app")),
    *(modules_of("training.pseudo_labels"), modules_of("training.data.streetsim"), modules_of("training.settings")),
]


@pytest.mark.parametrize("modules", LIGHT, ids=min)
def test_light_modules_reach_no_tensorflow(modules):
    """Neither they nor what they import, inside functions too."""
    reached = GRAPH.reached_from(modules)
    assert {name: GRAPH.foreign[name] & HEAVY for name in reached if GRAPH.foreign[name] & HEAVY} == {}


@pytest.mark.parametrize("module", ["training.pseudo_labels", "training.data.classes", "training.data.streetsim"])
def test_light_modules_stay_light_when_imported(module):
    code = f"import sys, {module}; sys.exit(int(bool({HEAVY!r} & set(sys.modules))))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_only_scripts_touch_the_search_path():
    """One line, at the top of each file that is run by its path."""
    for path in GRAPH.files.values():
        text = path.read_text(encoding="utf-8")
        if "sys.path" in text:
            assert '__name__ == "__main__"' in text, path
            assert text.count("sys.path.insert(0, ") == 1, path
