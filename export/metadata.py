"""What an exported model says of itself: one JSON text, in the ONNX file's `metadata_props` and beside it as a file.

NumPy and json only: whoever uses the file needs neither TensorFlow nor the onnx package to understand it.
"""

import base64
import json
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from training.data.classes import IGNORE
from training.errors import UserError
from training.pseudo_labels.spatial_prior import resize_prior
from training.pseudo_labels.thresholds import Thresholds

METADATA_KEY = "streetshift"
PRIOR_SIZE = (64, 128)  # height and width the spatial prior is stored at, at most


@dataclass(frozen=True)
class RoundSelection:
    """How the last round chose its pseudo-labels: enough to choose them anew on other images.

    prior: float32 [h, w, c] with mean 1 per class, or None. alpha: of the "lrent" selector, else None.
    """

    round: str
    thresholds: Thresholds
    alpha: float | None = None
    prior: np.ndarray | None = None


@dataclass(frozen=True)
class ModelMetadata:
    """Everything about an exported model that is not in its graph.

    names, colors: by class id. class_sets: named lists of ids that `metrics` give an mIoU for, the first holds all.
    training_size: (height, width) an image was brought to in training. output_stride: image pixels a logit.
    metrics: {"split", "resolution", "before", "after"}, each side {"miou", "pixel_accuracy", "per_class_iou",
    "class_sets"} in percent, or None where there were no labels to score on.
    """

    names: tuple[str, ...]
    colors: tuple[tuple[int, int, int], ...]
    label_space: str
    class_sets: Mapping[str, tuple[int, ...]]
    training_size: tuple[int, int]
    output_stride: int
    network: str
    recipe: str
    paper: str
    data: str
    source: str
    target: str
    stage: str
    precision: str
    metrics: Mapping[str, Any] | None
    selection: RoundSelection | None
    version: str
    licence: str
    ignore_id: int = IGNORE

    def to_json(self) -> str:
        """One line of JSON that `from_json` reads back."""
        plain = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "selection"}
        return json.dumps(plain | {"selection": None if self.selection is None else _selection_to_json(self.selection)})

    @classmethod
    def from_json(cls, text: str | None, file: str = "the model") -> "ModelMetadata":
        """The metadata in `text`; keys this version does not know are left out.

        Raises:
            UserError: no metadata, or none of this kind.
        """
        if not text:
            raise UserError(
                f"{file} was not exported by StreetShift (it has no '{METADATA_KEY}' metadata): use export/run.py."
            )
        try:
            content = json.loads(text)
            known = {field.name: content[field.name] for field in fields(cls)}
            known |= {
                "names": tuple(known["names"]),
                "colors": tuple(tuple(color) for color in known["colors"]),
                "class_sets": {name: tuple(ids) for name, ids in known["class_sets"].items()},
                "training_size": tuple(known["training_size"]),
                "selection": None if known["selection"] is None else _selection_from_json(known["selection"]),
            }
            return cls(**known)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(f"The metadata of {file} cannot be read ({error!r}): export the run again.") from error


def _selection_to_json(selection: RoundSelection) -> dict[str, Any]:
    """Arrays become lists; a threshold that nothing reaches (infinity, which JSON lacks) becomes null."""
    thresholds = asdict(selection.thresholds)
    values = [float(value) if np.isfinite(value) else None for value in thresholds.pop("values")]
    counts = {name: thresholds[name].tolist() for name in ("counts", "pool_counts")}
    return {
        "round": selection.round,
        **thresholds,
        **counts,
        "thresholds": values,
        "alpha": selection.alpha,
        "prior": None if selection.prior is None else pack_prior(selection.prior),
    }


def _selection_from_json(content: Mapping[str, Any]) -> RoundSelection:
    values = np.array([np.inf if value is None else value for value in content["thresholds"]], np.float32)
    counts = {name: np.array(content[name], np.int64) for name in ("counts", "pool_counts")}
    scalars = {name: content[name] for name in ("selector", "portion", "stride", "compat", "images")}
    prior = None if content["prior"] is None else unpack_prior(content["prior"])
    return RoundSelection(content["round"], Thresholds(values=values, **counts, **scalars), content["alpha"], prior)


def pack_prior(prior: np.ndarray) -> dict[str, Any]:
    """A spatial prior float32 [h, w, c] in some 50 kB: at most 64 x 128, square roots in 8 bits, deflated, base64.

    The Gaussian that smoothed it spans less than a pixel there; the root gives small values the finer steps; the
    differences from the left and upper neighbours (modulo 256) deflate to less than half.
    """
    size = tuple(min(own, most) for own, most in zip(prior.shape[:2], PRIOR_SIZE, strict=True))
    small = np.moveaxis(resize_prior(prior, size), -1, 0)
    scale = np.maximum(small.max(axis=(1, 2)), np.finfo(np.float32).tiny)
    coded = np.round(255 * np.sqrt(small / scale[:, None, None])).astype(np.uint8)
    for axis in (1, 2):
        coded = np.diff(coded, axis=axis, prepend=np.uint8(0))
    packed = base64.b64encode(zlib.compress(coded.tobytes(), 9)).decode("ascii")
    return {"shape": list(coded.shape), "scale": scale.tolist(), "deflated": packed}


def unpack_prior(content: Mapping[str, Any]) -> np.ndarray:
    """The spatial prior float32 [h, w, c] that `pack_prior` packed, within half a step of its square root."""
    coded = np.frombuffer(zlib.decompress(base64.b64decode(content["deflated"])), np.uint8).reshape(content["shape"])
    for axis in (1, 2):
        coded = np.cumsum(coded, axis=axis, dtype=np.uint8)
    return (np.float32(content["scale"]) * (np.moveaxis(coded, 0, -1) / np.float32(255)) ** 2).astype(np.float32)
