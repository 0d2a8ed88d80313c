"""Figures of the structure: modules, imports of ours per module, circles of modules and of rooms.

    python tests/benchmarks/structure.py [CHECKOUT ...]

Several checkouts, such as two versions, are printed side by side. `tests/test_imports.py` keeps the circles away.
"""

import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import statistics

from tests.import_graph import ImportGraph, circle_in


def figures(root: pathlib.Path) -> dict[str, str]:
    """What is printed of one checkout."""
    graph = ImportGraph(root)
    counts = [len(imported) for imported in graph.imports.values()]
    lines = [len(path.read_text().splitlines()) for path in graph.files.values()]
    most = max(graph.imports, key=lambda name: len(graph.imports[name]))
    return {
        "modules": str(len(graph.files)),
        "lines": str(sum(lines)),
        "imports of ours per module, mean": f"{statistics.mean(counts):.2f}",
        "most imports of ours": f"{max(counts)} ({most})",
        "files flat in training/": str(len(list((root / "training").glob("*.py"))) - 1),
        "a circle of modules": " ".join(circle_in(graph.imports)) or "none",
        "a circle of rooms": " ".join(circle_in(graph.rooms)) or "none",
    }


def main() -> None:
    roots = [pathlib.Path(argument) for argument in sys.argv[1:]] or [ROOT]
    found = [figures(root) for root in roots]
    for what in found[0]:
        print(f"{what}: {' | '.join(each[what] for each in found)}")


if __name__ == "__main__":
    main()
