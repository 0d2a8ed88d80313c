"""Generated city streets to try the page with: drawn at start-up, in a second or two, free of anybody's rights."""

from pathlib import Path

from app.drawing import jpeg, written
from training.data.streetsim import STYLES, render

SIZE = (384, 768)
SEED = 2026
FRAMES = (("city", 3), ("city", 6), ("city", 10), ("city", 7), ("city", 4), ("dusk", 10))  # (style, index)


def draw_examples(folder: Path) -> tuple[Path, ...]:
    """Write the example streets into `folder`; their paths, in order."""
    paths = []
    for number, (style, index) in enumerate(FRAMES, start=1):
        image, _ = render(STYLES[style], SEED, index, SIZE)
        paths.append(written(folder / f"street_{number}.jpg", jpeg(image)))
    return tuple(paths)
