"""What an exported model says of itself: one JSON text, in the ONNX file's `metadata_props` and beside it as a file.

NumPy and json only: whoever uses the file needs neither TensorFlow nor the onnx package to understand it.
"""

import base64
import json
import math
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import numpy as np

from training.data.classes import IGNORE, LONGEST_NAME
from training.errors import UserError
from training.files.reading import parsed_json
from training.probability_maps.scores import MAX_CLASSES
from training.pseudo_labels.instance_adaptive import InstanceAdaptiveSelector
from training.pseudo_labels.selectors import ORDERED_SELECTORS, PRIOR_SELECTORS
from training.pseudo_labels.spatial_prior import resize_prior
from training.pseudo_labels.thresholds import Thresholds, thresholds_from_json

METADATA_KEY = "streetshift"
ORDERED = ("alpha", "beta", "gamma", "initial")  # what InstanceAdaptiveSelector is made with
MOST_IMAGES = 4096  # that move thresholds together
PRIOR_SIZE = (64, 128)  # height and width the spatial prior is stored at, at most


@dataclass(frozen=True)
class RoundSelection:
    """How the last round chose its pseudo-labels: enough to choose them anew on other images.

    prior: float32 [h, w, c] with mean 1 per class, or None. alpha: of the "lrent" selector, else None. ordered: of the
    "ias" selector alpha, beta, gamma and initial, see `InstanceAdaptiveSelector`, and batch_size (images), else None.
    """

    round: str
    thresholds: Thresholds
    alpha: float | None = None
    prior: np.ndarray | None = None
    ordered: Mapping[str, float] | None = None


@dataclass(frozen=True)
class ModelMetadata:
    """Everything about an exported model that is not in its graph.

    names, colors: by class id. class_sets: named lists of ids that `metrics` give an mIoU for, the first holds all.
    training_size: (height, width) an image was brought to in training. output_stride: image pixels a logit.
    metrics: {"split", "resolution", "before", "after"}, each side {"miou", "pixel_accuracy", "per_class_iou",
    "class_sets"} in percent, or None where there were no labels to score on. signature: type and shape of the input
    and of each output in words, by name; empty where the file does not say.
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
    signature: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> str:
        """One line of JSON that `from_json` reads back."""
        plain = {each.name: getattr(self, each.name) for each in fields(self) if each.name != "selection"}
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
        place = f"The metadata of {file}"
        content = parsed_json(text, place)
        try:
            content = {"signature": {}} | content
            known = {each.name: content[each.name] for each in fields(cls)}
            known |= {
                "names": tuple(known["names"]),
                "colors": tuple(tuple(color) for color in known["colors"]),
                "class_sets": {name: tuple(ids) for name, ids in known["class_sets"].items()},
                "training_size": tuple(known["training_size"]),
            }
            _check(known)
            selection = known["selection"]
            known["selection"] = None if selection is None else _selection_from_json(selection, len(known["names"]))
            return cls(**known)
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, zlib.error) as error:
            raise UserError(f"{place} cannot be read ({error!r}): export the run again.") from error


TEXTS = (
    "label_space", "network", "recipe", "paper", "data", "source", "target", "stage", "precision", "version", "licence",
)  # fmt: skip


def _check(known: Mapping[str, Any]) -> None:
    """Raise ValueError for what whoever uses the model could not work with."""
    names, colors, size = known["names"], known["colors"], known["training_size"]
    wrong = {
        "names": not 0 < len(names) <= MAX_CLASSES or not all(map(_is_text, names)) or len(set(names)) < len(names),
        "colors": len(colors) != len(names) or not all(_are_ids(color, 256) and len(color) == 3 for color in colors),
        "class_sets": not all(_is_text(key) and _are_ids(ids, len(names)) for key, ids in known["class_sets"].items()),
        "training_size": len(size) != 2 or not _are_ids(size, 1 << 16) or min(size) < 1,
        "output_stride": not _are_ids([known["output_stride"]], 257) or known["output_stride"] < 1,
        "ignore_id": known["ignore_id"] != IGNORE,
        "signature": not all(_is_line(part) for pair in known["signature"].items() for part in pair),
        "metrics": known["metrics"] is not None and not _are_metrics(known["metrics"], names),
        **{name: not _is_line(known[name]) for name in TEXTS},
    }
    if odd := [name for name, is_wrong in wrong.items() if is_wrong]:
        raise ValueError(f"'{odd[0]}' is not what an export writes")


def _is_line(value: Any) -> bool:
    return isinstance(value, str) and value.isprintable()


def _is_text(value: Any) -> bool:
    return _is_line(value) and 0 < len(value) <= LONGEST_NAME


def _are_ids(values: Any, below: int) -> bool:
    return all(type(value) is int and 0 <= value < below for value in values)


def _are_metrics(metrics: Any, names: tuple[str, ...]) -> bool:
    sides = [metrics[side] for side in ("before", "after")]
    return (
        isinstance(metrics["split"], str)
        and len(metrics["resolution"]) == 2
        and _are_ids(metrics["resolution"], 1 << 16)
        and all(side is None or _is_side(side, names) for side in sides)
    )


def _is_side(side: Any, names: tuple[str, ...]) -> bool:
    """Figures in percent, null where a class is absent; of known classes only."""
    figures = [side["miou"], side["pixel_accuracy"], *side["per_class_iou"].values(), *side["class_sets"].values()]
    numbers = all(figure is None or (type(figure) in (int, float) and 0 <= figure <= 100) for figure in figures)
    return numbers and set(side["per_class_iou"]) <= set(names) and set(side.get("absent") or ()) <= set(names)


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
        "ordered": None if selection.ordered is None else dict(selection.ordered),
    }


def _selection_from_json(content: Mapping[str, Any], classes: int) -> RoundSelection:
    thresholds = thresholds_from_json(content, "counts", "pool_counts")
    prior = None if content["prior"] is None else unpack_prior(content["prior"])
    if len(thresholds.values) != classes or (prior is not None and prior.shape[2] != classes):
        raise ValueError(f"thresholds or a prior for other than {classes} classes")
    if (thresholds.selector in PRIOR_SELECTORS) > (prior is not None):
        raise ValueError(f"no prior for the selector {thresholds.selector}")
    alpha = content["alpha"]
    if not (alpha is None or (type(alpha) in (int, float) and 0 < alpha < 1e6)):
        raise ValueError("an alpha above 0 was expected")
    if alpha is None and thresholds.selector == "lrent":
        raise ValueError("no alpha for the selector lrent")
    if not _is_text(content["round"]):
        raise ValueError("the name of a round was expected")
    ordered = content["ordered"]
    if (ordered is None) == (thresholds.selector in ORDERED_SELECTORS):
        raise ValueError(f"parameters of another selector than {thresholds.selector}")
    if ordered is not None:
        batch_size, numbers = ordered["batch_size"], {name: ordered[name] for name in ORDERED}
        if not all(type(number) in (int, float) for number in numbers.values()):
            raise ValueError("numbers were expected")
        if type(batch_size) is not int or not 0 < batch_size <= MOST_IMAGES:
            raise ValueError("a number of images was expected")
        InstanceAdaptiveSelector(classes, **numbers)  # checks them
        ordered = {**numbers, "batch_size": batch_size}
    return RoundSelection(content["round"], thresholds, alpha, prior, ordered)


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
    """The spatial prior float32 [h, w, c] that `pack_prior` packed, within half a step of its square root.

    Raises:
        ValueError, KeyError, TypeError, zlib.error: what was packed is something else; it is not unpacked further than
            its shape says.
    """
    shape, scale = content["shape"], content["scale"]
    most = (MAX_CLASSES, *PRIOR_SIZE)
    if len(shape) != 3 or not all(_are_ids([n], m + 1) and n > 0 for n, m in zip(shape, most, strict=True)):
        raise ValueError(f"a prior of shape {str(shape)[:80]}")
    if len(scale) != shape[0] or not all(type(number) in (int, float) and 0 <= number < 1e6 for number in scale):
        raise ValueError("a scale for each class was expected")
    packed = zlib.decompressobj().decompress(base64.b64decode(content["deflated"]), math.prod(shape) + 1)
    coded = np.frombuffer(packed, np.uint8).reshape(shape)
    for axis in (1, 2):
        coded = np.cumsum(coded, axis=axis, dtype=np.uint8)
    return (np.float32(scale) * (np.moveaxis(coded, 0, -1) / np.float32(255)) ** 2).astype(np.float32)
