"""What an exported model says of itself: one JSON text, in the ONNX file's `metadata_props` and beside it as a file.

NumPy and json only: whoever uses the file needs neither TensorFlow nor the onnx package to understand it.
"""

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from training.data.classes import IGNORE, LONGEST_NAME, MOST_FILE_ID
from training.errors import UserError
from training.files.reading import parsed_json
from training.probability_maps.scores import MAX_CLASSES
from training.pseudo_labels import Fitted, from_json

METADATA_KEY = "streetshift"


@dataclass(frozen=True)
class RoundSelection:
    """How the last round chose its pseudo-labels: its name, and what chooses them anew on other images."""

    round: str
    fitted: Fitted


@dataclass(frozen=True)
class ModelMetadata:
    """Everything about an exported model that is not in its graph.

    names, colors: by class id. class_sets: named lists of ids that `metrics` give an mIoU for, the first holds all.
    training_size: (height, width) an image was brought to in training. output_stride: image pixels per logit.
    metrics: {"split", "resolution", "before", "after"}, each side {"miou", "miou_in_truth", "pixel_accuracy",
    "per_class_iou", "class_sets"} in percent, or None where there were no labels to score on.
    resolved: what the recipe does on its data, in a sentence. weights_of: the stage whose weights these are, as in "the
    model before adaptation", None for a run that does not adapt. trained_on_target: did images of the target move them?
    file_ids: by class id its number in label files of the label space, see `LabelSpace`.
    Earlier exports have None for all four.
    sixteen_bit_range: the values of 16-bit target images that became 0 and 255, None where there were none to stretch.
    signature: type and shape of the input and of each output in words, by name; empty where the file does not say.
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
    resolved: str | None = None
    weights_of: str | None = None
    trained_on_target: bool | None = None
    file_ids: tuple[int, ...] | None = None
    ignore_id: int = IGNORE
    sixteen_bit_range: tuple[int, int] | None = None
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
            content = {"signature": {}, **dict.fromkeys(LATER)} | content
            known = {each.name: content[each.name] for each in fields(cls)}
            known |= {
                "names": tuple(known["names"]),
                "colors": tuple(tuple(color) for color in known["colors"]),
                "class_sets": {name: tuple(ids) for name, ids in known["class_sets"].items()},
                "training_size": tuple(known["training_size"]),
                "file_ids": None if known["file_ids"] is None else tuple(known["file_ids"]),
                "sixteen_bit_range": known["sixteen_bit_range"] and tuple(known["sixteen_bit_range"]),
            }
            _check(known)
            selection = known["selection"]
            known["selection"] = None if selection is None else _selection_from_json(selection, len(known["names"]))
            return cls(**known)
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, zlib.error, UserError) as error:
            raise UserError(f"{place} cannot be read ({error!r}): export the run again.") from error


LATER = ("sixteen_bit_range", "resolved", "weights_of", "trained_on_target", "file_ids")
"""Fields that earlier exports lack; None in these."""
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
        "sixteen_bit_range": known["sixteen_bit_range"] is not None and not _is_range(known["sixteen_bit_range"]),
        **{name: known[name] is not None and not _is_line(known[name]) for name in ("resolved", "weights_of")},
        "trained_on_target": known["trained_on_target"] not in (None, False, True),
        "file_ids": known["file_ids"] is not None and not _are_file_ids(known["file_ids"], len(names)),
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


def _are_file_ids(values: Any, classes: int) -> bool:
    return len(values) == classes and _are_ids(values, MOST_FILE_ID + 1)


def _is_range(limits: Any) -> bool:
    return len(limits) == 2 and all(type(n) is int and abs(n) < 1 << 33 for n in limits) and limits[0] < limits[1]


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
    means = [side["miou"], side.get("miou_in_truth"), side["pixel_accuracy"]]  # earlier exports lack the second
    figures = [*means, *side["per_class_iou"].values(), *side["class_sets"].values()]
    numbers = all(figure is None or (type(figure) in (int, float) and 0 <= figure <= 100) for figure in figures)
    return numbers and set(side["per_class_iou"]) <= set(names) and set(side.get("absent") or ()) <= set(names)


def _selection_to_json(selection: RoundSelection) -> dict[str, Any]:
    return {"round": selection.round, "fitted": selection.fitted.to_json()}


def _selection_from_json(content: Mapping[str, Any], classes: int) -> RoundSelection:
    fitted = from_json(content["fitted"])
    if fitted.classes != classes:
        raise ValueError(f"thresholds for {fitted.classes} classes, names of {classes}")
    if not _is_text(content["round"]):
        raise ValueError("the name of a round was expected")
    return RoundSelection(content["round"], fitted)
