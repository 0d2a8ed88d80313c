"""Is a run directory as this program writes one: no links that lead out of it, a state that tells of stages."""

import os
import re
from pathlib import Path
from typing import Any

from training.errors import UserError

FOLDERS = ("checkpoints", "pseudo_labels", "translated", "report", "tensorboard")


def check_links(path: Path) -> None:
    """Refuse a run in which a link leads out of it: what is written there would land elsewhere."""
    inside = os.path.realpath(path)
    folders = [path, *(path / name for name in FOLDERS)]
    for entry in (entry for folder in folders if folder.is_dir() for entry in folder.iterdir()):
        if entry.is_symlink() and not Path(os.path.realpath(entry)).is_relative_to(inside):
            raise UserError(f"{entry} is a link that leads out of the run: put what it means in its place")


def checked_state(state: dict[str, Any], place: Path) -> dict[str, Any]:
    """The content of state.json; UserError, saying its place, if it does not tell of finished stages."""
    stages = state.get("stages")
    if not isinstance(stages, dict) or not all(map(_is_stage, stages.items())):
        raise UserError(f"{place} does not tell of finished stages: start a new run")
    return state


def _is_stage(item: tuple[str, object]) -> bool:
    """Is it the name of a stage and its figures, and what else is relied on there of the right kind?"""
    name, figures = item
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,40}", name) or not isinstance(figures, dict):
        return False
    scores = [figures.get(key) for key in ("scores", "source_scores", "student_scores", "verdict")]
    return all(value is None or isinstance(value, dict) for value in scores)
