"""The exported model behind the page, and where to find one when none was named."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from export.segmenter import OnnxSegmenter
from training.data.classes import IGNORE, LabelSpace
from training.errors import UserError
from training.prediction.model_metadata import ModelMetadata

RUN_FOLDERS = ("runs", "RUNS")
MODEL_FILE, SOURCE_FILE = "model.onnx", "source.onnx"
MAKE_A_RUN = "python training/run.py --recipe cbst_sp"


@dataclass(frozen=True)
class LoadedModel:
    """An ONNX model, ready to run, with its classes and what its metadata tell."""

    path: Path
    segmenter: OnnxSegmenter
    space: LabelSpace
    metadata: ModelMetadata

    @property
    def prior(self) -> np.ndarray | None:
        """The spatial prior of the last round, float32 [h, w, c], where it used one."""
        return None if self.metadata.selection is None else self.metadata.selection.fitted.selector.prior


def load_model(path: Path) -> LoadedModel:
    """Open an exported model.

    Raises:
        UserError: no such file, no ONNX file, or one that StreetShift did not export.
    """
    if not path.is_file():
        raise UserError(f"There is no model {path}: give the {MODEL_FILE} of a run, or make one with '{MAKE_A_RUN}'.")
    segmenter = OnnxSegmenter(path)
    metadata = segmenter.metadata
    space = LabelSpace(metadata.label_space, metadata.names, metadata.colors, from_cityscapes=(IGNORE,) * 19)
    return LoadedModel(path, segmenter, space, metadata)


def check_same_classes(model: LoadedModel, compare: LoadedModel) -> None:
    """Raise UserError unless both models tell the same classes apart."""
    if model.space.names != compare.space.names:
        raise UserError(
            f"{compare.path} tells {compare.space.count} classes apart and {model.path} other ones "
            f"({model.space.count}): --compare expects the source model of the same run."
        )


def newest_model(root: Path = Path()) -> Path:
    """The model.onnx that was written last under runs/ (or RUNS/) of `root`.

    Raises:
        UserError: there is none; the sentence holds the command that makes one.
    """
    runs = [run for folder in RUN_FOLDERS if (root / folder).is_dir() for run in (root / folder).iterdir()]
    models = [run / MODEL_FILE for run in runs if (run / MODEL_FILE).is_file()]
    if models:
        return max(models, key=lambda path: path.stat().st_mtime)
    raise UserError(
        f"There is no run with a {MODEL_FILE} under {root / RUN_FOLDERS[0]}: make one with '{MAKE_A_RUN}' (about ten "
        "minutes on two cores), or name a file with --model."
    )


def source_beside(model: Path) -> Path | None:
    """The model before adaptation in the same run, if it was exported."""
    source = model.with_name(SOURCE_FILE)
    return source if source.is_file() and source != model else None
