"""Our modules and what each imports of ours: for the tests of the imports, and for figures of the structure."""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

OURS = ("app", "export", "models", "training")


class ImportGraph:
    """The import graph of the checkout in `root`.

    Attributes:
        files: path of each of our modules. imports: by module, our modules that it imports anywhere in it, inside
            functions and for type checkers too. foreign: by module, the first names of all other modules that it
            imports.
    """

    def __init__(self, root: Path):
        paths = [path for folder in OURS for path in sorted((root / folder).rglob("*.py"))]
        self.files = {self._name(path.relative_to(root)): path for path in paths}
        trees = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in self.files.items()}
        self.imports = {name: self._ours(tree) - {name} for name, tree in trees.items()}
        self.foreign = {name: _first_names(tree) - set(OURS) for name, tree in trees.items()}

    def _name(self, path: Path) -> str:
        return ".".join(path.with_suffix("").parts).removesuffix(".__init__")

    def _ours(self, tree: ast.AST) -> set[str]:
        found = set()
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module:
                inner = {f"{node.module}.{alias.name}" for alias in node.names}
                found |= (inner & self.files.keys()) or ({node.module} & self.files.keys())
            elif isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names} & self.files.keys()
        return found

    def reached_from(self, modules: set[str]) -> set[str]:
        """These modules and all of ours that they import, directly or through others."""
        reached, waiting = set(), set(modules)
        while waiting:
            name = waiting.pop()
            reached.add(name)
            package = {name.rpartition(".")[0]} & self.files.keys()  # its __init__.py runs first
            waiting |= (self.imports[name] | package) - reached
        return reached

    @property
    def rooms(self) -> dict[str, set[str]]:
        """By room, the other rooms that it imports: a folder or script of `training`, app, export, models."""
        rooms: dict[str, set[str]] = {}
        for name, imported in self.imports.items():
            others = {room_of(other) for other in imported} - {room_of(name)}
            rooms[room_of(name)] = rooms.get(room_of(name), set()) | others
        return rooms


def _first_names(tree: ast.AST) -> set[str]:
    """First names of the modules that a file imports."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.split(".")[0])
    return names


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
