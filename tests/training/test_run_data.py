"""Whole runs on folders as people have them: what is said of the data, and what a start that fails leaves behind."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from tests.training.small_runs import options
from training.run_directory import paths
from training.stages import fitting


def with_target(command: list[str], place) -> list[str]:
    """The command with another --target-root and without evaluation images."""
    at = command.index("--target-root")
    rest = [*command[: at + 1], str(place), *command[at + 2 :]]
    at = rest.index("--eval-root")
    return [*rest[:at], *rest[at + 2 :]]


def test_a_target_with_labels_runs_and_results_in_it(start, tmp_path, capsys):
    run, target = tmp_path / "target" / "run", tmp_path / "target"
    (target / "pseudo").mkdir()
    Image.new("L", (64, 64)).save(target / "pseudo" / "x.png")
    (target / "pseudo" / "manifest.json").write_text('{"selector": "cbst", "files": ["x.png"]}')
    command = with_target(options(tmp_path, "cbst", "adaptation.rounds=1"), target)
    for number in range(2):
        assert start([*command, "--out", str(run.with_name(f"run{number}"))]) == 0
        said = capsys.readouterr().out
        assert "target: 4 images (target); no labelled images of the target" in said
    report = (target / "run1" / "report" / "report.md").read_text()
    assert "| target | target | 4 |" in report
    assert "(labels, beside images/)" in report
    summary = json.loads((target / "run1" / "report" / "summary.json").read_text())
    assert summary["images"] == {"source": 5, "target": 4, "evaluation": 0}
    assert len(list((target / "run1" / "pseudo_labels" / "round_1").glob("*.png"))) == 4


def test_a_class_that_nothing_teaches_is_marked_in_the_report(start, tmp_path, capsys):
    for path in (tmp_path / "source" / "labels").glob("*.png"):
        label = np.array(Image.open(path))
        Image.fromarray(np.where(label == 2, 255, label).astype(np.uint8)).save(path)
    assert start([*options(tmp_path, "source_only"), "--out", str(tmp_path / "run")]) == 0
    said = capsys.readouterr().out
    assert said.index("No pixel of class sky in the 5 labels of source") < said.index("Warm-up")
    report = (tmp_path / "run" / "report" / "report.md").read_text()
    assert "- No pixel of class sky in the labels learned from: nothing teaches it." in report
    assert "| sky † |" in report


def broken_ids(root):
    Image.fromarray(np.full((64, 64), 77, np.uint8)).save(root / "source" / "labels" / "source3.png")


def missing_target(root):
    shutil.rmtree(root / "target")


def damaged_photo(root):
    path = root / "source" / "images" / "source2.png"
    path.write_bytes(path.read_bytes()[:-200])


@pytest.mark.parametrize("breaks", [broken_ids, missing_target, damaged_photo])
def test_a_start_that_fails_leaves_nothing_that_refuses_the_next(start, tmp_path, capsys, breaks):
    shutil.copytree(tmp_path, tmp_path / "kept")
    command = [*options(tmp_path, "source_only"), "--out", str(tmp_path / "run")]
    breaks(tmp_path)
    assert start(command) == 2
    assert "Traceback" not in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    shutil.copytree(tmp_path / "kept", tmp_path, dirs_exist_ok=True)
    assert start(command) == 0


def test_what_others_put_there_meanwhile_stays(tmp_path, start, monkeypatch):
    (tmp_path / "run").mkdir()
    broken_ids(tmp_path)
    create = paths.RunDirectory.create.__func__

    def and_a_note(cls, path, *arguments):
        run = create(cls, path, *arguments)
        (path / "mine.txt").write_text("precious")
        return run

    monkeypatch.setattr(paths.RunDirectory, "create", classmethod(and_a_note))
    assert start([*options(tmp_path, "source_only"), "--out", str(tmp_path / "run")]) == 2
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["mine.txt"]


def test_a_run_that_fails_after_a_checkpoint_or_a_stage_is_kept(start, tmp_path, capsys, monkeypatch):
    out, record = tmp_path / "run", fitting.append_metrics

    def damaging(path, stage, step, values):
        record(path, stage, step, values)
        if step == 4:
            fitting.raise_unreadable = refuse

    def refuse():
        from training.errors import UserError

        raise UserError("a.png is damaged (cut off): download or copy the file again, or remove it.")

    monkeypatch.setattr(fitting, "raise_unreadable", lambda: None)
    monkeypatch.setattr(fitting, "append_metrics", damaging)
    assert start([*options(tmp_path, "source_only"), "--out", str(out)]) == 2
    assert "a.png is damaged" in capsys.readouterr().err
    assert list((out / "checkpoints" / "partial").iterdir())
    monkeypatch.undo()
    state = json.loads((out / "state.json").read_text())
    assert state["stages"] == {}
