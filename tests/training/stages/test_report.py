"""The report of a whole run: its links, and its pictures in TensorBoard."""

import re
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import unquote

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.training.small_runs import options
from training.evaluation import charts
from training.stages.report import pictures_to_tensorboard

RECIPE = ("hiast", "alignment=off", "adaptation.rounds=1", "adaptation.selector.initial=0.2")
write_charts = charts.write_charts


@pytest.mark.parametrize("absolute", [False, True], ids=["relative --out", "absolute --out"])
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
