"""MODEL_CARD.md: what the exported model is, how it was made, how good it is, and what it must not be used for."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from export.run_metadata import foreign_start, is_all_ours
from training.errors import UserError
from training.evaluation.formats import markdown_table, number
from training.evaluation.tables import told_miou
from training.files.atomic import write_atomically
from training.prediction.model_metadata import ModelMetadata
from training.run_directory.paths import RunDirectory
from training.settings.experiment import Experiment

LIMITS = (
    "**Not for driving**, nor for any decision on which people's safety depends: a research model, untested for that.",
    "It knows only the classes below and gives anything else the nearest of them. Its confidence is not calibrated.",
    "It knows one kind of street: expect less of other places, cameras and weather; check yourself.",
    "Small and rare things (poles, signs, people far away) are its weakest classes.",
    "Photos of people and number plates are personal data: mind the law where you use it.",
)


def write_card(directory: RunDirectory, experiment: Experiment, metadata: ModelMetadata) -> None:
    """(Re)write MODEL_CARD.md of a run, naming every model exported into it so far, first those of its figures."""

    def place(file: Path) -> tuple[bool, str]:
        description = described(file)
        return description is None or description.stage != metadata.stage, file.name

    files = sorted(directory.path.glob("*.onnx"), key=place)
    ours = is_all_ours(experiment, foreign_start(directory))
    text = model_card(metadata, files, "mit" if ours else "other")
    write_atomically(directory.path / "MODEL_CARD.md", text.encode())


def gives_only_logits(file: Path) -> bool:
    """Whether the description beside an exported model says that it has no other output."""
    description = described(file)
    return description is not None and "logits" in description.signature and "labels" not in description.signature


def described(file: Path) -> ModelMetadata | None:
    """The description beside an exported model; None where it is lost or damaged."""
    try:
        return ModelMetadata.from_json(file.with_suffix(".json").read_text(encoding="utf-8"), file.name)
    except (OSError, UnicodeDecodeError, UserError):
        return None


def model_card(metadata: ModelMetadata, files: Sequence[Path], licence_id: str) -> str:
    """Markdown with the front matter that Hugging Face reads.

    files: the exported models to list, the first in the example. licence_id: "mit" or "other", for the front matter.
    """
    adapted = bool(metadata.trained_on_target)
    title = f"{metadata.network}, {metadata.source}" + (f" → {metadata.target}" if adapted else "")
    how = f"adapted to {metadata.target} without its labels" if adapted else f"trained on {metadata.source}"
    parts = [
        front_matter(metadata, title, licence_id),
        f"# {title}",
        f"Street-scene segmentation into {len(metadata.names)} classes, {how} by StreetShift {metadata.version}."
        + _why_not_adapted(metadata),
        "## How it was made\n\n" + markdown_table(("", ""), _origin(metadata, adapted), (0, 1)),
        "## Figures\n\n" + _figures(metadata.metrics),
        "## Files\n\n"
        + markdown_table(("file", "MB"), [(file.name, f"{file.stat().st_size / 1e6:.1f}") for file in files]),
        "## Use\n\n" + _usage(metadata, files),
        "## Limits\n\n" + "\n".join(f"- {limit}" for limit in LIMITS),
        "## Classes\n\n" + ", ".join(f"{index} {name}" for index, name in enumerate(metadata.names)),
        f"## Licence\n\n{metadata.licence}",
    ]
    return "\n\n".join(parts) + "\n"


def _why_not_adapted(metadata: ModelMetadata) -> str:
    """A sentence on a run that was to adapt and whose result was not trained on the target; else nothing."""
    if metadata.trained_on_target or metadata.weights_of is None:
        return ""
    kept = f"the model {metadata.weights_of}"
    return f" The label-free watch kept {kept}: it was not trained on images of {metadata.target}."


def front_matter(metadata: ModelMetadata, title: str, licence_id: str) -> str:
    """The YAML block; its strings are written as JSON, which YAML reads."""
    adaptation = "domain-adaptation, self-training, " if metadata.trained_on_target else ""
    lines = [
        "---",
        f"license: {licence_id}",
        "library_name: onnx",
        "pipeline_tag: image-segmentation",
        f"tags: [onnx, semantic-segmentation, {adaptation}street-scenes]",
    ]
    after = (metadata.metrics or {}).get("after")
    if after and told_miou(after) is not None:
        split = metadata.metrics["split"]
        lacking = told_miou(after) != after["miou"] or after.get("absent")
        over = "the classes in the labels" if lacking else f"{len(metadata.names)} classes"
        result = {
            "task": {"type": "image-segmentation"},
            "dataset": {"name": split, "type": split.split()[0]},
            "metrics": [{"type": "mean_iou", "name": f"mIoU, {over}", "value": round(told_miou(after), 2)}],
        }
        lines += ["model-index:", f"- name: {json.dumps(title)}", f"  results: {json.dumps([result])}"]
    return "\n".join([*lines, "---"])


def _origin(metadata: ModelMetadata, adapted: bool) -> list[tuple[str, str]]:
    height, width = metadata.training_size
    rows = [
        ("method", f"`{metadata.recipe}` ({metadata.paper})"),
        *([("in this run", metadata.resolved)] if metadata.resolved else []),
        ("network", f"`{metadata.network}`, one logit for {metadata.output_stride}x{metadata.output_stride} pixels"),
        ("trained on, with labels", metadata.source),
        *([("adapted to, without labels", metadata.target)] if adapted else []),
        ("trained at", f"{height}x{width} pixels (height x width)"),
        ("weights of", metadata.stage if metadata.weights_of is None else f"the model {metadata.weights_of}"),
    ]
    if metadata.selection is not None:
        fitted = metadata.selection.fitted
        kept = f"{fitted.describe(metadata.names)}; {fitted.images} images"
        rows.append((f"pseudo-labels of {metadata.selection.round}", kept))
    return rows


def _figures(metrics: Mapping[str, Any] | None) -> str:
    if metrics is None:
        return "There were no target labels, so there are no figures: judge by eye on your own images."
    before, after = metrics["before"] or {}, metrics["after"] or {}
    rows = [("pixel accuracy", before.get("pixel_accuracy"), after.get("pixel_accuracy"))]
    if any(told_miou(side) != side.get("miou") for side in (before, after)):
        rows.append(("mIoU, the classes in the labels", told_miou(before), told_miou(after)))
    for name in after.get("class_sets") or before.get("class_sets", {}):
        pair = (side.get("class_sets", {}).get(name) for side in (before, after))
        rows.append((f"mIoU, {name} classes", *pair))
    known = after.get("per_class_iou") or before.get("per_class_iou", {})
    rows += [(name, *(side.get("per_class_iou", {}).get(name) for side in (before, after))) for name in known]
    height, width = metrics["resolution"]
    absent = after.get("absent") or before.get("absent")
    note = f"\n\nIn neither truth nor prediction, so left out of the mean: {', '.join(absent)}." if absent else ""
    cells = [(name, number(old), number(new)) for name, old, new in rows]
    return (
        f"On `{metrics['split']}` (images at {height}x{width}, every label at its own size), in percent; "
        "the labels served for these figures only.\n\n"
        + markdown_table(("", "before adaptation", "this model"), cells)
        + note
    )


def _usage(metadata: ModelMetadata, files: Sequence[Path]) -> str:
    plain = [file.name for file in files if gives_only_logits(file)]
    whole = [file.name for file in files if file.name not in plain]
    parts = [*([_usage_of_all(metadata, whole[0])] if whole else []), *([_usage_of_logits(plain)] if plain else [])]
    described = "Names, colours, thresholds, figures: JSON in each file's metadata (key `streetshift`) and beside it."
    return "\n\n".join([*parts, described])


def _usage_of_logits(files: Sequence[str]) -> str:
    names = ", ".join(f"`{name}`" for name in files)
    return (
        f"{names}: the plain graph for OpenCV, TensorRT and older runtimes. Input `image` is float32 "
        "`[batch, 3, height, width]` RGB, 0 to 255 (`cv2.dnn.blobFromImage(photo, swapRB=True)`), any size; output "
        "`logits` float32 `[batch, classes, height, width]` on the network's coarse grid. Normalisation is inside."
    )


def _usage_of_all(metadata: ModelMetadata, file: str) -> str:
    height = metadata.training_size[0]
    return f"""\
```python
import numpy, onnxruntime
from PIL import Image

photo = Image.open("street.jpg").convert("RGB")
scale = {height} / min(photo.size)  # the shorter side to the training height, aspect ratio kept
image = numpy.asarray(photo.resize([round(scale * side) for side in photo.size]))
labels, confidence, logits = onnxruntime.InferenceSession("{file}").run(None, {{"image": image[None]}})
```

Input `image` is uint8 `[batch, height, width, 3]` RGB, any size; best with {height} pixels on the shorter side.
Outputs: `labels` uint8 and `confidence` float32 at the input's size, `logits` float32 on the network's coarse grid."""
