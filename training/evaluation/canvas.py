"""What the report's charts share: their style, and PNG files without a display. matplotlib is imported on first use."""

from pathlib import Path
from typing import TYPE_CHECKING

from training.files.atomic import whole_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK = "#262626"
STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "text.color": INK,
    "text.parse_math": False,  # a class may be called "$"
    "axes.labelcolor": INK,
    "axes.edgecolor": "#8c8c8c",
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": "#e2e2e2",
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
}
DPI = 130


def style():
    """A context in which charts get the report's style."""
    import matplotlib

    return matplotlib.rc_context(STYLE)


def figure(width: float, height: float) -> "Figure":
    """An empty figure of so many inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=DPI, layout="tight")


def save(figure: "Figure", path: Path) -> Path:
    """Write it as PNG; the path."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as partial:
        FigureCanvasAgg(figure).print_png(partial)
    return path
