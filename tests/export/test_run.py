"""The export of a run: files, figures, and refusals that write nothing."""

import json
import re
import shutil
from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from PIL import Image

from export import precision as precision_module
from export.model_card import model_card, write_card
from export.parity import Parity, check_parity
from export.pictures import network_size
from export.run import default_path, export_run, main
from export.run_metadata import metadata_of_run
from export.segmenter import OnnxSegmenter
from training.command_line import experiment_of, parse
from training.data.classes import LABEL_SPACES
from training.errors import UserError
from training.prediction.model_metadata import METADATA_KEY, ModelMetadata
from training.run_directory.paths import RunDirectory


def test_the_report_tells_what_was_measured(report, run):
    assert report.path == run / "model.onnx"
    assert report.parity.agreement >= 0.9999
    assert report.parity.difference < 1e-3
    assert report.parity.frames == 4
    assert report.scores.images == 4
    assert report.scores.onnx == pytest.approx(report.scores.keras, abs=0.01)
    assert set(report.milliseconds) == {"Keras", "ONNX Runtime"}
    text = str(report)
    assert re.search(r"model\.onnx: \d+\.\d MB, fp32, weights of final", text)
    for part in ("largest logit difference", "mIoU", "one image of 64x128", "Next: python export/predict.py"):
        assert part in text, part


def test_the_file_describes_itself_and_so_does_the_json_beside_it(report):
    model = onnx.load(report.path)
    (inside,) = (entry.value for entry in model.metadata_props if entry.key == METADATA_KEY)
    beside = report.path.with_suffix(".json").read_text()
    assert json.loads(inside) == json.loads(beside)
    assert ModelMetadata.from_json(inside).stage == "final"


def test_the_model_card(report, run):
    card = (run / "MODEL_CARD.md").read_text()
    front = card.split("---\n")[1]
    assert re.search(r"^license: mit$", front, re.MULTILINE)
    assert re.search(r"^pipeline_tag: image-segmentation$", front, re.MULTILINE)
    results = json.loads(front.split("results: ")[1])
    assert results[0]["metrics"][0]["type"] == "mean_iou"
    for part in (
        "Not for driving",
        "Class-Balanced Self-Training",
        "| road |",
        "model.onnx",
        "streetsim city val",
        "MIT",
    ):
        assert part in card, part


def test_the_example_of_the_card_runs_and_keeps_the_aspect_ratio(report, run, tmp_path, monkeypatch):
    shutil.copy(report.path, tmp_path)
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (96, 200)).save("street.jpg")
    (example,) = re.findall(r"^```python\n(.*?)^```$", (run / "MODEL_CARD.md").read_text(), re.MULTILINE | re.DOTALL)
    names = {}
    exec(example, names)
    assert names["labels"].shape[1:] == network_size((200, 96), (64, 128)) == (133, 64)


def test_the_card_of_a_run_whose_watch_kept_another_model_does_not_call_it_adapted(report, run):
    about = OnnxSegmenter(report.path).metadata
    kept = replace(about, weights_of="before adaptation, with adjusted logits", trained_on_target=False)
    card = model_card(kept, [report.path], "mit")
    assert "The label-free watch kept the model before adaptation, with adjusted logits: it was not trained on" in card
    assert "adapted to" not in card
    assert "| weights of | the model before adaptation, with adjusted logits |" in card
    assert "tags: [onnx, semantic-segmentation, street-scenes]" in card


def test_the_mean_of_the_card_is_over_the_classes_in_the_labels(report):
    about = OnnxSegmenter(report.path).metadata
    after = about.metrics["after"] | {"miou": 25.5, "miou_in_truth": 46.8}
    card = model_card(replace(about, metrics={**about.metrics, "after": after}), [report.path], "mit")
    assert '"name": "mIoU, the classes in the labels", "value": 46.8}' in card
    assert "| mIoU, the classes in the labels |" in card
    whole = model_card(about, [report.path], "mit")
    assert "mIoU, 19 classes" in whole
    assert "| mIoU, the classes in the labels |" not in whole  # the same figures


def test_other_stages_and_precisions_have_their_own_files(report, run, streets):
    source = export_run(run, stage="source")
    int8 = export_run(run, precision="int8")
    assert (source.path.name, int8.path.name) == ("source.onnx", "model_int8.onnx")
    assert default_path(run, "round_1", "fp16").name == "round_1_fp16.onnx"
    labels = [OnnxSegmenter(export.path)(streets[0]).labels for export in (report, source, int8)]
    assert np.mean(labels[0] == labels[1]) < 0.5  # other weights
    assert np.mean(labels[0] == labels[2]) > 0.9
    assert OnnxSegmenter(int8.path).metadata.precision == "int8"
    assert "model_int8.onnx" in (run / "MODEL_CARD.md").read_text()


def test_the_example_of_the_card_has_the_model_whose_figures_it_shows(report, run, tmp_path):
    moved = tmp_path / "run"
    shutil.copytree(run, moved, ignore=shutil.ignore_patterns("MODEL_CARD.md"))
    earlier = moved / "a_stage.onnx"  # comes before model.onnx by name
    shutil.copy(report.path, earlier)
    earlier.with_suffix(".json").write_text(replace(OnnxSegmenter(report.path).metadata, stage="a_stage").to_json())
    directory, experiment = RunDirectory.reopen(moved)
    write_card(directory, experiment, OnnxSegmenter(report.path).metadata)
    card = (moved / "MODEL_CARD.md").read_text()
    assert "| a_stage.onnx |" in card
    assert '.InferenceSession("model.onnx")' in card


def test_the_plain_graph_has_a_file_of_its_own_that_says_what_it_takes(report, run):
    plain = export_run(run, outputs="logits", opset=13)
    assert plain.path.name == "model_logits.onnx"
    assert default_path(run, "source", "int8", "logits").name == "source_logits_int8.onnx"
    assert "Next: cv2.dnn.readNetFromONNX" in str(plain)
    assert plain.parity.agreement >= 0.9999
    assert plain.scores.onnx == pytest.approx(plain.scores.keras, abs=0.01)
    model = onnx.load(plain.path)
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 13)]
    (inside,) = (entry.value for entry in model.metadata_props if entry.key == METADATA_KEY)
    assert inside == plain.path.with_suffix(".json").read_text().strip()
    signature = ModelMetadata.from_json(inside).signature
    assert signature["image"] == "float32 [batch, 3, height, width], RGB, 0 to 255"
    assert list(signature) == ["image", "logits"]
    card = (run / "MODEL_CARD.md").read_text()
    assert '.InferenceSession("model.onnx")' in card
    assert "`model_logits.onnx`: the plain graph" in card


def test_the_whole_file_says_what_it_takes_too(report):
    signature = OnnxSegmenter(report.path).metadata.signature
    assert list(signature) == ["image", "labels", "confidence", "logits"]
    assert signature["image"] == "uint8 [batch, height, width, 3], RGB"


def test_the_plain_graph_is_refused_where_labels_are_wanted(run):
    path = export_run(run, outputs="logits").path
    with pytest.raises(UserError, match="gives logits only"):
        OnnxSegmenter(path)


def test_a_card_of_the_plain_graph_alone(run, tmp_path):
    moved = tmp_path / "moved"
    shutil.copytree(run, moved, ignore=shutil.ignore_patterns("*.onnx"))
    export_run(moved, outputs="logits")
    card = (moved / "MODEL_CARD.md").read_text()
    assert "`model_logits.onnx`: the plain graph" in card
    assert "InferenceSession" not in card


def test_a_model_that_disagrees_is_not_written(run, tmp_path, monkeypatch):
    def spoilt(model, precision, frames, form):
        kernel = max(model.graph.initializer, key=lambda tensor: np.prod(tensor.dims))
        kernel.CopyFrom(numpy_helper.from_array(-numpy_helper.to_array(kernel), kernel.name))
        return model

    monkeypatch.setattr(precision_module, "with_precision", spoilt)
    with pytest.raises(UserError, match="was not written"):
        export_run(run, out=tmp_path / "spoilt.onnx")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("parity", "precision", "refused"),
    [
        (Parity(1, 100, 5e-4, 5.0, 1.0), "fp32", False),
        (Parity(1, 100, 2e-3, 5.0, 1.0), "fp32", True),
        (Parity(1, 100, 2e-3, 50.0, 1.0), "fp32", False),  # float32 has seven digits
        (Parity(1, 100, 1e-4, 5.0, 0.9998), "fp32", True),
        (Parity(1, 100, float("nan"), 5.0, 1.0), "fp32", True),
        (Parity(1, 100, 0.1, 5.0, 0.995), "fp16", False),
        (Parity(1, 100, 0.1, 5.0, 0.98), "fp16", True),
        (Parity(1, 100, 2.0, 5.0, 0.91), "int8", False),
        (Parity(1, 100, 2.0, 5.0, 0.89), "int8", True),
    ],
)
def test_what_is_refused(parity, precision, refused):
    if refused:
        with pytest.raises(UserError, match="written"):
            check_parity(parity, precision)
    else:
        check_parity(parity, precision)


def test_without_the_targets_images_int8_is_refused_and_fp32_checked_on_built_in_streets(run, tmp_path):
    moved = tmp_path / "moved"
    shutil.copytree(run, moved)
    recipe = json.loads((moved / "recipe.json").read_text())
    recipe["experiment"]["data"]["target"] = {"reader": "images", "root": "/nowhere"}
    recipe["experiment"]["data"]["evaluation"] = None
    (moved / "recipe.json").write_text(json.dumps(recipe))
    with pytest.raises(UserError, match="int8 is calibrated on images of the target"):
        export_run(moved, precision="int8")
    report = export_run(moved)
    assert report.scores is None
    assert "Checked on built-in streets" in str(report)


def test_mistakes_are_one_sentence(run, tmp_path, capsys):
    for arguments, words in (
        (["--run", str(tmp_path)], "is not a run"),
        (["--run", str(run), "--stage", "round_9"], "no weights of stage 'round_9': it holds round_1, source"),
        (["--run", str(run), "--out", str(tmp_path / "model.pb")], "expected the name of an .onnx file"),
        (["--run", str(run), "--opset", "12"], "--opset 12: expected 13 to 17"),
        (["--run", str(run), "--opset", "18"], "--opset 18: expected 13 to 17"),
    ):
        assert main(arguments) == 2
        error = capsys.readouterr().err
        assert words in error
        assert len(error.strip().splitlines()) == 1
    with pytest.raises(UserError, match="no precision 'fp8'"):
        export_run(run, precision="fp8")
    with pytest.raises(UserError, match="no outputs 'masks'"):
        export_run(run, outputs="masks")


def test_a_run_without_labels_or_rounds_has_a_card_too(run, tmp_path):
    directory = RunDirectory.create(tmp_path / "bare", experiment_of(parse(["--recipe", "source_only", "--smoke"])))
    experiment = RunDirectory.reopen(directory.path)[1]
    metadata = metadata_of_run(directory, experiment, LABEL_SPACES["cityscapes19"], "final", "fp32")
    card = model_card(metadata, [run / "recipe.json"], "other")
    assert "there are no figures" in card
    assert "trained on streetsim game train by StreetShift" in card
    assert "adapted" not in card
    assert "watch" not in card
    assert "model-index" not in card
