"""The report of a whole run: its links, its pseudo-labels by the run's own selector, its pictures in TensorBoard."""

import re
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import unquote

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.training.small_runs import options
from training.command_line import experiment_of, parse
from training.evaluation import charts
from training.prediction.label_files import LabelFolder
from training.prediction.label_images import Predictions, label_images
from training.pseudo_labels.registry import choices
from training.stages import plan, report
from training.stages.report import _pseudo_label, _started_from, pictures_to_tensorboard
from training.stages.stage import Run
from training.stages.translation import trained_on_translated

MAPS = np.random.default_rng(0).dirichlet(np.ones(4) * 0.5, (3, 32, 48)).astype(np.float32)


class ThreeMaps(Predictions):
    names, mine, source, classes = ("a", "b", "c"), range(3), "maps", 4

    def __call__(self):
        return iter(MAPS)


def labelled_by(name: str, folder) -> np.ndarray:
    """The last label of a round by this selector, as it was written; an ordered selector ends with its thresholds."""
    prior = np.tile(np.float32([[0.5], [1.5]])[:, None], (16, 48, 4)) if choices()[name].with_prior else None
    writer = LabelFolder(folder / "round_1")
    label_images(ThreeMaps(), choices()[name].build(prior), writer)
    return np.asarray(Image.open(folder / "round_1" / "c.png"))


@pytest.mark.parametrize("name", choices())
def test_panels_show_what_the_selector_of_the_last_round_keeps(tmp_path, name):
    directory = SimpleNamespace(pseudo_labels=tmp_path)
    expected = labelled_by(name, tmp_path)
    shown = _pseudo_label(MAPS[2], directory, {"source": {}, "round_1": {}})
    assert 0 < np.mean(expected != 255) < 1
    np.testing.assert_array_equal(shown, expected)
    assert _pseudo_label(MAPS[2], directory, {"source": {}}) is None


def test_the_panels_of_lrent_are_not_those_of_cbst(tmp_path):
    """Its soft labels select more pixels than CBST's thresholds alone."""
    kept = {}
    for name in ("cbst", "lrent"):
        labelled_by(name, tmp_path / name)
        shown = _pseudo_label(MAPS[2], SimpleNamespace(pseudo_labels=tmp_path / name), {"round_1": {}})
        kept[name] = np.mean(shown != 255)
    assert kept["lrent"] > kept["cbst"]


class Weights:
    """A network whose weights are a name."""

    name = "final"

    def get_weights(self):
        return self.name

    def set_weights(self, name):
        self.name = name


@pytest.mark.parametrize(("refused", "after"), [(None, 1), ("online_1", 2)])
def test_panels_show_the_refused_stage_where_the_source_model_was_kept(monkeypatch, refused, after):
    network, shown = Weights(), {"source": 0, "final": 1, "online_1": 2}
    probs = np.eye(3)[:, None, None]  # one pixel: the class of each state of the network
    monkeypatch.setattr(report, "load_own_weights", Weights.set_weights)
    monkeypatch.setattr(report, "_probs", lambda *_: probs[[shown[network.name]]])
    image = SimpleNamespace(name="a", label=None)
    part = SimpleNamespace(samples=[image], read_image=lambda _: np.zeros((1, 1, 3), np.uint8))
    run = SimpleNamespace(
        network=network,
        predictor=None,
        size=(1, 1),
        baseline=SimpleNamespace(name="source"),
        domains=SimpleNamespace(evaluation=SimpleNamespace(evenly_spaced=lambda _: part)),
        directory=SimpleNamespace(weights=lambda stage: stage, pseudo_labels=Path("nowhere")),
    )
    (example,) = report._examples(run, {"source": {}}, refused)
    assert (example.before.item(), example.after.item()) == (0, after)
    assert network.name == "final"


def finished(recipe: str, *settings: str, taken: bool = False) -> tuple[Run, dict[str, dict]]:
    """A run and what state.json may say of its stages."""
    experiment = experiment_of(parse(["--recipe", recipe, "--set", *settings]))
    stages = plan.plan(experiment)
    figures = {stage.name: {} for stage in stages}
    if taken:
        figures["source"] = {"taken_from": "/runs/old", "adapted": True}
    return Run(experiment, None, None, None, stages), figures


@pytest.mark.parametrize(
    ("recipe", "settings", "taken", "first"),
    [
        ("cbst", ("translation=CycleGan",), False, "translated"),
        ("cbst", ("translation=CycleGan", "translation.warm_up=False"), False, "round_1"),
        ("cbst", ("translation=fda",), False, "source"),
        ("cbst", ("translation=fda",), True, "round_1"),
        ("iast", ("translation=fda", "translation.warm_up=False", "data.keep_source=False"), False, "alignment"),
        ("iast", ("translation=fda", "alignment=off", "data.keep_source=False"), True, None),
    ],
)
def test_the_report_names_the_translation_from_the_first_stage_that_trained_on_it(recipe, settings, taken, first):
    run, figures = finished(recipe, *settings, taken=taken)
    scored = [stage.name for stage in run.plan if stage.scored]
    told = [trained_on_translated(run, figures, name) for name in scored]
    position = len(scored) if first is None else scored.index(first)
    assert told == [False] * position + [True] * (len(scored) - position)


def test_a_result_comes_from_the_run_of_a_warm_start_unless_it_was_trained_anew():
    run, figures = finished("cbst", "translation=CycleGan", taken=True)
    assert _started_from(run, figures, "source") == {"run": "old", "adapted": True}
    assert _started_from(run, figures, "translated") is None
    assert _started_from(*finished("cbst", "translation=CycleGan"), "source") is None


RECIPE = ("hiast", "alignment=off", "adaptation.rounds=1", "adaptation.selector.initial=0.2")
write_charts = charts.write_charts


@pytest.mark.parametrize(
    "absolute", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["relative --out", "absolute --out"]
)
def test_every_link_of_a_report_leads_to_a_file(start, tmp_path, monkeypatch, absolute):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(charts, "write_charts", write_charts)
    for kind in ("images", "labels"):
        (tmp_path / "eval" / kind / "eval0.png").rename(tmp_path / "eval" / kind / "50 % of [a] (b)#c.png")
    run = tmp_path / "runs" / "first" if absolute else Path("runs", "first")
    assert start([*options(tmp_path, *RECIPE), "--out", str(run)]) == 0

    report = tmp_path / "runs" / "first" / "report"
    links = re.findall(r"\]\(([^)]*)\)", (report / "report.md").read_text(encoding="utf-8"))
    assert [link for link in links if not (report / unquote(link)).is_file()] == []
    drawn = {path.name for path in report.glob("*.png")}
    assert {unquote(link) for link in links} == drawn, "every picture is shown"
    assert {"copy_paste_round_1.png", "panel_50 % of [a] (b)#c.png", "legend.png", "per_class.png"} <= drawn


def test_tensorboard_shows_the_pictures_of_the_report_as_they_are(tmp_path):
    directory = SimpleNamespace(report=tmp_path, tensorboard=tmp_path / "tensorboard")
    panel, chart = tmp_path / "panel_a.png", tmp_path / "stages.png"
    picture = np.random.default_rng(0).integers(0, 255, (7, 12, 3), np.uint8)
    for path in (panel, chart):
        Image.fromarray(picture).save(path)
    pictures_to_tensorboard(directory, [panel])  # there is no confusion.png: without labels there is none
    events = EventAccumulator(str(directory.tensorboard / "report"), size_guidance={"tensors": 0}).Reload()
    assert sorted(events.Tags()["tensors"]) == ["panel_a", "stages"]
    for path in (panel, chart):
        assert events.SummaryMetadata(path.stem).plugin_data.plugin_name == "images"
        (event,) = events.Tensors(path.stem)
        assert list(event.tensor_proto.string_val) == [b"12", b"7", path.read_bytes()]


def test_a_stage_that_is_compared_with_itself_tells_no_change():
    figures = {"verdict": {"measured": {"drift": 0.0, "consistency": 0.4}}}
    told = [report._measured(SimpleNamespace(own_reference=own), figures) for own in (True, False)]
    assert told == [{"drift": None, "consistency": 0.4}, {"drift": 0.0, "consistency": 0.4}]
