"""Runs that are small enough to be killed often: a little data, a network of two layers, and what a run has left."""

import json
import re
from pathlib import Path

import keras
import numpy as np
from PIL import Image

from models.batch_norm import BatchNormalization

CLASSES = ("ground", "wall", "sky")
TIMES = ("seconds", "seconds_per_stage", "peak_rss_bytes", "sha256")  # of two equal runs, what may differ
OWN = ("lock", "lock.json", "environment.json")


def write_data(root: Path) -> None:
    """Labelled images, unlabelled ones, a few for the figures, and their label space."""
    (root / "classes.json").write_text(json.dumps({
        "name": "yard", "names": CLASSES, "colors": [[90, 90, 90], [250, 170, 30], [70, 130, 180]],
    }))  # fmt: skip
    for seed, (domain, count) in enumerate((("source", 5), ("target", 4), ("eval", 2))):
        random = np.random.default_rng(seed)
        for index in range(count):
            label = np.kron(random.integers(0, len(CLASSES), (4, 4)), np.ones((16, 16), int)).astype(np.uint8)
            image = label[..., None] * 80 + random.integers(0, 60 + 20 * seed, (64, 64, 3))
            for kind, array in (("images", image), ("labels", label)):
                path = root / domain / kind / f"{domain}{index}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(array.astype(np.uint8)).save(path)


def options(root: Path, recipe: str, *settings: str) -> list[str]:
    """The command line of a run on that data, with a checkpoint every second step."""
    schedule = [f"data.schedules.{name}.{key}" for name in ("warm_up", "alignment", "rounds", "online")
                for key in ("steps=5", "checkpoint_every=2", "batch_size=2", "batch_norm=frozen")]  # fmt: skip
    roots = {"source": root / "source", "target": root / "target" / "images", "eval": root / "eval"}
    return [
        *("--recipe", recipe, "--data", "folders", "--model", "compact", "--weights", "none", "--size", "64x64"),
        *("--classes", str(root / "classes.json"), "--seed", "7"),
        *(word for name, folder in roots.items() for word in (f"--{name}-root", str(folder))),
        *("--set", *schedule, "data.minimum_source_images=2", *settings),
    ]


def two_layers(experiment, classes: int) -> keras.Model:
    """In the place of `plan.build_network`: what is traced in a moment."""
    image = keras.Input((None, None, 3), name="image")
    start = keras.initializers.GlorotUniform(experiment.seed)
    scaled = keras.layers.Rescaling(1 / 255, name="scaled")(image)
    convolution = keras.layers.Conv2D(8, 3, 4, "same", activation="relu", kernel_initializer=start, name="convolution")
    features = BatchNormalization(momentum=0.9, name="batch_norm")(convolution(scaled))
    logits = keras.layers.Conv2D(classes, 1, kernel_initializer=start, name="head_classes")(features)
    return keras.Model(image, {"logits": logits, "features": features}, name="two_layers")


def left_by(run: Path) -> dict[str, object]:
    """What a finished run holds, file by file, without times, memory, its own place and what is drawn of them."""
    files = {str(path.relative_to(run)): path for path in sorted(run.rglob("*")) if path.is_file()}
    return {
        name: _content(path, run)
        for name, path in files.items()
        if name not in OWN and not name.startswith("tensorboard/") and path.suffix != ".onnx"
    }


def _content(path: Path, run: Path):
    if path.suffix == ".json":
        return _timeless(json.loads(path.read_text().replace(str(run), "RUN")))
    if path.name == "report.md":
        return re.sub(r"## Time and memory.*?(?=\n## )", "", path.read_text().replace(str(run), "RUN"), flags=re.DOTALL)
    return path.read_bytes()


def _timeless(value):
    if isinstance(value, dict):
        return {key: _timeless(entry) for key, entry in value.items() if key not in TIMES}
    return [_timeless(entry) for entry in value] if isinstance(value, list) else value
