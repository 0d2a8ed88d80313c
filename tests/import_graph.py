"""Our modules and what each imports of ours: for the tests of the imports, and for figures of the structure."""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

OURS = ("app", "export", "models", "training")


class ImportGraph:
    """The import graph of the checkout in `root`.

    Attributes:
        files: path of each of our modules. imports: by module, our modules that it imports anywhere in it, inside
            functions and for type checkers too.
    """

    def __init__(self, root: Path):
        paths = [path for folder in OURS for path in sorted((root / folder).rglob("*.py"))]
        self.files = {self._name(path.relative_to(root)): path for path in paths}
        self.imports = {name: self._imported(name) for name in self.files}

    def _name(self, path: Path) -> str:
        return ".".join(path.with_suffix("").parts).removesuffix(".__init__")

    def _imported(self, name: str) -> set[str]:
        found = set()
        for node in ast.walk(ast.parse(self.files[name].read_text())):
            if isinstance(node, ast.ImportFrom) and node.module:
                inner = {f"{node.module}.{alias.name}" for alias in node.names}
                found |= (inner & self.files.keys()) or ({node.module} & self.files.keys())
            elif isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names} & self.files.keys()
        return found - {name}

    @property
    def rooms(self) -> dict[str, set[str]]:
        """By room, the other rooms that it imports: a folder or script of `training`, app, export, models."""
        rooms: dict[str, set[str]] = {}
        for name, imported in self.imports.items():
            others = {room_of(other) for other in imported} - {room_of(name)}
            rooms[room_of(name)] = rooms.get(room_of(name), set()) | others
        return rooms


def room_of(name: str) -> str:
    parts = name.split(".")
    return ".".join(parts[:2]) if parts[0] == "training" else parts[0]


def circle_in(graph: dict[str, set[str]]) -> list[str]:
    """The members of a circle of imports, or nothing."""
    try:
        tuple(TopologicalSorter(graph).static_order())
    except CycleError as error:
        return error.args[1]
    return []
