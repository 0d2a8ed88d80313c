"""Hostile command lines, run directories and exported models. Each function makes one attempt in an empty folder."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from PIL import Image

from app.batch import process
from app.loaded_model import LoadedModel, load_model
from app.pseudo_labelling import pseudo_label
from app.uploads import Photo, Upload, check_opacity
from export import predict
from export import run as export_script
from export.model_card import model_card
from export.run_metadata import metadata_of_run
from tests.app.tiny_model import painted, street
from tests.hostile import material, odd_files
from tests.hostile.judging import run_main
from tests.hostile.material import draw
from training import evaluate, label
from training.command_line import experiment_of, parse
from training.data.classes import load_label_space
from training.errors import UserError
from training.evaluation.observing import Observation
from training.evaluation.watch import chosen_stage, scored_stages
from training.experiment_json import experiment_from_json, experiment_to_json
from training.prediction.model_metadata import ModelMetadata
from training.run_directory.metrics import read_metrics
from training.run_directory.paths import RunDirectory
from training.settings.experiment import Experiment
from training.settings.stages import Rounds

RECIPES = ("cbst_sp", "hiast", "lrent", "advent", "mrkld", "source_only")
VALUES = (
    "0", "-1", "1", "nan", "inf", "-inf", "1e400", "9" * 400, "1e-400", "", "x", "None", "True", "0.5", "1,2", "0,0",
    "1000000,1000000", "-5,-5", "nan,nan", "on", "off", "../..", "\n", "\xe9", "\x00", "--help", "-h", "a=b", "1;2",
    "[1]", "{}", "cbst", "adamw", "1e9", "2147483648", "--version", "InstanceAdaptive", "1,2,3", "0x10", "1_000",
    "\uff13",
)  # fmt: skip
SIZES = (None, "99999x99999", "64x64", "0x0", "-1x5", "\uff19x\uff19", "1e3x5", "9" * 5000 + "x64", "64x" + "9" * 20)
SHARES = (None, "1/8", "nan", "inf", "1e-400", "9" * 5000, "1/nan", "\n")
RUN_FILES = (
    "recipe.json", "state.json", "pseudo_labels/round_1/manifest.json", "spatial_prior.npy",
    "checkpoints/source.watch.npz", "metrics.csv",
)  # fmt: skip
COMMAND_FILES = ("recipe.json", "state.json", "final.weights.h5", "final.weights.h5", "spatial_prior.npy")


@cache
def keys(recipe: str) -> tuple[str, ...]:
    """Everything that --set can name of a recipe."""
    shown = experiment_to_json(experiment_of(parse(["--recipe", recipe])))

    def below(value: Any, path: str) -> list[str]:
        inner = value.items() if isinstance(value, dict) else ()
        return [path, *(key for name, part in inner for key in below(part, f"{path}.{name}"))]

    return tuple(key for part in ("recipe", "data", "model") for key in below(shown[part], part))


def overrides(random: np.random.Generator, folder: Path) -> None:
    """--set, --size and --labelled-share; what passes fits the pipeline and survives its recipe.json."""
    recipe, sets = draw(random, RECIPES), []
    for _ in range(int(random.integers(1, 3))):
        key = draw(random, keys(recipe))
        key = key.removeprefix("recipe.") if random.random() < 0.5 else key
        if random.random() < 0.1:
            key = key[: int(random.integers(len(key) + 1))] + draw(random, ("", "x", ".", "\n", " "))
        sets.append(f"{key}={draw(random, VALUES)}")
    try:
        arguments = parse(["--recipe", recipe, "--set", *sets])
    except SystemExit as error:
        raise UserError("the parser of the command line refuses it in its own words") from error
    if random.random() < 0.3:
        arguments = replace(arguments, set=(), size=draw(random, SIZES), labelled_share=draw(random, SHARES))
    experiment = experiment_of(arguments)
    text = json.dumps(experiment_to_json(experiment), allow_nan=False)
    assert experiment_from_json(json.loads(text)) == experiment
    check_sane(experiment)


def check_sane(experiment: Experiment) -> None:
    """What the pipeline takes for granted."""
    data, adaptation = experiment.data, experiment.recipe.adaptation
    for stage in (data.schedules["warm_up"], data.schedules["alignment"], data.schedules["rounds"]):
        assert 1 <= stage.steps <= 1e9
        assert 1 <= stage.batch_size <= 4096
        assert 0 < stage.optimizer.learning_rate < 1e9
    assert all(32 <= side <= 20_000 for side in (*data.size, *data.crop))
    assert not isinstance(adaptation, Rounds) or 1 <= adaptation.rounds <= 1000


def run_directories(run: Path, random: np.random.Generator, folder: Path) -> None:
    """Everything that is read of a run, but the weights."""
    own = folder / "run"
    shutil.copytree(run, own)
    place, way = own / draw(random, RUN_FILES), random.random()
    if way < 0.15:
        place.unlink()
        draw(random, odd_files.NO_FILES)(place)
    elif way < 0.25:
        shutil.rmtree(own / "report")
        (own / "report").symlink_to(folder)
    elif place.suffix == ".json":
        place.write_bytes(material.bent_json(random, json.loads(place.read_text())))
    else:
        place.write_bytes(material.damaged(random, place.read_bytes()))
    opened, experiment = RunDirectory.reopen(own)
    assert way >= 0.25 or way < 0.15, "a link out of the run was not refused"
    check_sane(experiment)
    stages, space = opened.stages, load_label_space(experiment.data.label_space)
    if scored_stages(stages):
        chosen_stage(stages)
    metadata_of_run(opened, experiment, space, "final", "fp32").to_json()
    Observation.load(own / "checkpoints/source.watch.npz")
    read_metrics(own / "metrics.csv")


def commands_on_runs(run: Path, random: np.random.Generator, folder: Path) -> None:
    """Whole commands on a damaged run: evaluate, label, export."""
    own, data = folder / "run", folder / "data"
    shutil.copytree(run, own)
    place = own / draw(random, COMMAND_FILES)
    if place.suffix == ".json":
        place.write_bytes(material.bent_json(random, json.loads(place.read_text())))
    else:
        place.write_bytes(material.damaged(random, place.read_bytes()))
    odd_files.good_pair(data, "p0.png", random)
    images, labels = (str(data / part) for part in ("images", "labels"))
    command = draw(random, (
        partial(run_main, evaluate.main, ["--run", str(own), "--images", images, "--labels", labels]),
        partial(run_main, label.main, ["--run", str(own), "--images", images, "--out", str(folder / "out")]),
        partial(run_main, export_script.main, ["--run", str(own)]),
    ))  # fmt: skip
    command()


def model_metadata(text: str, random: np.random.Generator, folder: Path) -> None:
    bent = material.bent_json(random, json.loads(text)).decode("utf-8", "replace")
    metadata = ModelMetadata.from_json(bent, "model.onnx")
    count, selection = len(metadata.names), metadata.selection
    assert np.array(metadata.colors, np.uint8).shape == (count, 3)
    (folder / "model.onnx").write_bytes(b"")
    model_card(metadata, [folder / "model.onnx"], "mit").encode()
    if selection is not None:
        assert selection.fitted.label(np.full((4, 5, count), 0.25, np.float32)).shape == (4, 5)


def model_files(model: Path, random: np.random.Generator, folder: Path) -> None:
    path, photos = folder / "model.onnx", folder / "photos"
    write = draw(random, (_no_model, _damaged_model, _bent_metadata, _other_graph))
    write(model, random, path)
    photos.mkdir()
    Image.fromarray(painted(street())).save(photos / "a.png")
    if random.random() < 0.5:
        loaded = load_model(path)
        loaded.segmenter(photos / "a.png").overlay()
        return
    options = draw(random, ((), ("--labels",), ("--pseudo-labels", "--overlay"), ("--confidence",)))
    arguments = ["--model", str(path), "--images", str(photos), "--out", str(folder / "out"), *options]
    run_main(predict.main, arguments, (0, 1, 2))


def _no_model(model: Path, random: np.random.Generator, path: Path) -> None:
    draw(random, odd_files.NO_FILES)(path)


def _damaged_model(model: Path, random: np.random.Generator, path: Path) -> None:
    path.write_bytes(material.damaged(random, model.read_bytes()))


def _bent_metadata(model: Path, random: np.random.Generator, path: Path) -> None:
    content = onnx.load(model)
    for entry in content.metadata_props:
        entry.value = material.bent_json(random, json.loads(entry.value)).decode("utf-8", "replace")
    path.write_bytes(content.SerializeToString())


def _other_graph(model: Path, random: np.random.Generator, path: Path) -> None:
    content = onnx.load(model)
    graph, way = content.graph, int(random.integers(4))
    node = draw(random, graph.node)
    if way == 0:
        graph.node.remove(node)
    elif way == 1:
        draw(random, graph.output).name = draw(random, ("planes", "coarse", "size", "other"))
    elif way == 2:
        node.op_type = draw(random, ("Identity", "Relu", "Neg", "Shape"))
    else:
        draw(random, (graph.input[0], graph.output[0])).name = draw(random, ("picture", "coarse"))
    path.write_bytes(content.SerializeToString())


def inputs_of_predict(model: Path, random: np.random.Generator, folder: Path) -> None:
    root = odd_files.odd_folder(random, folder)
    place = draw(random, (root, root / "images", root / "**", root / "**/*.png", root / "images/*"))
    options = draw(random, (
        (), (), (), ("--threads", "-7"), ("--threads", "9" * 20), ("--max-megapixels", "nan"),
            ("--max-megapixels", "-1"),         ("--max-megapixels", "1e300"), ("--overlay", "nan"), ("--labels",
            "--confidence"), ("--pseudo-labels",),
    ))  # fmt: skip
    arguments = ["--model", str(model), f"--images={place}", f"--out={folder / 'out'}", *options]
    run_main(predict.main, arguments, (0, 1, 2))


def uploads_to_the_page(loaded: LoadedModel, random: np.random.Generator, folder: Path) -> None:
    work: Callable[..., None] = draw(random, (_batch, _video, _pseudo_labels, _opacity))
    work(loaded, random, folder)


def _batch(loaded: LoadedModel, random: np.random.Generator, folder: Path) -> None:
    uploads = []
    for number in range(int(random.integers(1, 4))):
        content, suffix = odd_files.picture_bytes(random)
        path = folder / f"{number}{suffix}"
        path.write_bytes(draw(random, odd_files.bombs()) if random.random() < 0.05 else content)
        uploads.append(Upload(path, draw(random, material.ODD_NAMES)))
    process(loaded, uploads, folder / "out.zip", ["labels", "overlays"], 0.5, lambda *_: None)


def _video(loaded: LoadedModel, random: np.random.Generator, folder: Path) -> None:
    heads = (b"\0\0\0\x18ftypmp42", b"\x1aE\xdf\xa3", b"RIFF1234AVI ", b"")
    (folder / "film.mp4").write_bytes(draw(random, heads) + random.bytes(500))
    upload = Upload(folder / "film.mp4", "film.mp4")
    process(loaded, [upload], folder / "out.zip", ["labels", "overlays"], 0.5, lambda *_: None)


def _pseudo_labels(loaded: LoadedModel, random: np.random.Generator, folder: Path) -> None:
    photos = [Photo("a", painted(street()), (64, 128))]
    selector = draw(random, ("cbst", "st", "cbst_sp", "ias", "lrent", "entropy_mixture", "nope", "", "CBST"))
    portion = draw(random, (0.2, float("nan"), -1, 1e300, 0, 1, float("inf")))
    pseudo_label(loaded, photos, selector, portion, draw(random, (1, 4, 0, -1, 2**70, 10**9)), lambda *_: None)


def _opacity(loaded: LoadedModel, random: np.random.Generator, folder: Path) -> None:
    check_opacity(material.odd_value(random))
