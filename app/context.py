"""What every tab of the page works with."""

from dataclasses import dataclass
from pathlib import Path

from app.loaded_model import LoadedModel
from app.results import ResultFolder


@dataclass(frozen=True)
class PageContext:
    """The adapted model, the source model it is compared with (or None), the results' folder, the example streets."""

    model: LoadedModel
    source: LoadedModel | None
    results: ResultFolder
    examples: tuple[Path, ...]
