"""One thing, one name: settings and implementations do not share any."""

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SETTINGS = sorted((ROOT / "training" / "settings").glob("*.py"))


def classes_of(path: Path) -> set[str]:
    return {
        node.name for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.ClassDef)
    }


def test_no_implementation_is_called_as_its_settings():
    settings = set().union(*map(classes_of, SETTINGS))
    assert {"Experiment", "Rounds"} <= settings
    files = [path for folder in ("models", "training", "export", "app") for path in (ROOT / folder).rglob("*.py")]
    shared = {str(path.relative_to(ROOT)): classes_of(path) & settings for path in files if path not in SETTINGS}
    assert {file: names for file, names in shared.items() if names} == {}
