"""The report on disk and on the terminal: with labels, without, with absent classes, with nothing to compare."""

import csv
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from training.evaluation.confusion import Confusion
from training.evaluation.panels import Example, write_panels
from training.evaluation.report import plain, report_text, write_report
from training.evaluation.terminal_summary import print_summary


def written(folder: Path, *arguments) -> str:
    return write_report(folder, *arguments).read_text(encoding="utf-8")


def linked_pictures(text: str) -> list[str]:
    return re.findall(r"!\[.*?\]\((.*?)\)", text)


def test_report_with_labels(tmp_path, summary, label_space, after):
    example = Example("frame 1", np.zeros((20, 40, 3), np.uint8), np.zeros((20, 40), np.uint8))
    panels = write_panels(tmp_path, [example], label_space)
    text = written(tmp_path, summary, panels, label_space, after)
    old, new = summary["before"]["miou_in_truth"], summary["after"]["miou_in_truth"]
    assert (
        f"**mIoU {old:.1f} → {new:.1f} (+{new - old:.1f})** (over the 3 classes in the truth, of 4 of streets4; "
        "scored on val, images at 96 x 192)." in text
    )
    assert "trained on games with labels and adapted to photos by self-training, without its labels" in text
    assert "The model is that of round 1 of 2" in text
    for expected in (*summary["watch"], summary["command"], *summary["next_commands"], "12 min 34 s", "3.00 GiB"):
        assert expected in text
    assert "| tree \\| hedge | 58.8 |" in text
    assert "left out of the mean: tram" in text
    assert "scores lower" not in text
    pictures = linked_pictures(text)
    assert pictures == [
        *("per_class.png", "stages.png", "kept_shares.png", "confusion.png", "legend.png", "panel_frame%201.png")
    ]
    for name in pictures:
        assert (tmp_path / name.replace("%20", " ")).stat().st_size > 500
    assert not list(tmp_path.glob("*.part"))


def test_report_of_modes_of_entropy(tmp_path, summary, label_space):
    """Road by two modes, car by its confidence, tram not at all; `tree | hedge` has one mode that was fitted."""
    modes = {"weights": [0.7, 0.3], "means": [0.1, 0.5], "variances": [0.0025, 0.01]}
    none, drawn = dict.fromkeys(modes), {"start": 0.0, "width": 0.01, "counts": [5, 9, 1] * 20}
    mixtures = [
        {"rule": "two modes", "confidence": None, **modes, "histogram": drawn},
        {"rule": "one mode", "confidence": 0.8, **modes, "histogram": drawn},
        {"rule": "too few pixels", "confidence": 0.55, **none, "histogram": drawn},
        {"rule": "no pixels", "confidence": None, **none, "histogram": {**drawn, "counts": [0] * 60}},
    ]
    cuts = {"road": 0.23456, "tree | hedge": None, "car": None, "tram": None}
    of_modes = {"selector": "entropy_mixture", "parameters": {}, "thresholds": cuts, "mixtures": mixtures}
    text = written(
        tmp_path, {**summary, "stages": [{**entry, **of_modes} for entry in summary["stages"]]}, [], label_space
    )
    road = "70 %, 0.100 ± 0.050 | 30 %, 0.500 ± 0.100"
    assert f"| road | {road} | entropy up to 0.2346 | two modes | 20.0 % |" in text
    assert f"| tree \\| hedge | {road} | confidence from 0.8000 | one mode | 18.0 % |" in text
    assert "| car | — | — | confidence from 0.5500 | too few pixels | 10.0 % |" in text
    assert "| tram | — | — | none | no pixels | 0.0 % |" in text
    assert {"mixtures_round_1.png", "mixtures_round_2.png"} < set(linked_pictures(text))
    with Image.open(tmp_path / "mixtures_round_1.png") as picture:
        assert picture.width > 1000  # three charts: tram has no pixel
    # Where each image was labelled by its own modes, the table says in how many.
    per_image = {**of_modes, "own_modes": [1200, 3, 0, 0]}
    entries = [{**entry, **per_image} for entry in summary["stages"]]
    text = written(tmp_path / "per_image", {**summary, "stages": entries}, [], label_space)
    assert "| kept in the other images | rule | kept of its pixels | images labelled by their own modes |" in text
    assert "| entropy up to 0.2346 | two modes | 20.0 % | 1,200 |" in text


def test_a_verdict_of_the_watch_is_told_once(tmp_path, summary, label_space):
    told = {**summary, "environment": {"streetshift": "0.1.0", "packages": {"keras": "3.15.1", "numpy": "2.4.6"}}}
    text = written(tmp_path, {**told, "stages": told["stages"][:1]}, [], label_space)
    assert text.count(summary["watch"][0]) == 1
    assert summary["watch"][0] in text.split("## Stages")[1]
    assert text.count("chosen") == 2  # one sentence, and the mark in the table
    assert "| packages | keras 3.15.1, numpy 2.4.6 |" in text
    assert text.count("0.1.0") == 1
    assert "kept_shares.png" not in text  # of one round the table says it


def test_a_report_tells_of_the_stages_that_were_taken_alone(summary):
    first = {**summary["stages"][0], "stage": "adjustment", "way": "by logit adjustment", "trains_on_target": False}
    told = {**summary, "stages": [first, summary["stages"][1]]}

    def said(chosen):
        return report_text({**told, "chosen": chosen}, {}, [], False).split("\n\n")[1]

    assert "with labels and adapted to photos by logit adjustment, by self-training, without its" in said("round_2")
    assert "with labels and changed by logit adjustment, not trained on photos; data" in said("adjustment")
    assert "with labels and not adapted: the watch kept the model before adaptation; data" in said("source")


def test_the_first_sentence_names_what_the_model_learned_from(summary):
    def said(**more):
        return report_text({**summary, **more}, {}, [], False).split("\n\n")[1]

    oracle = said(trained_on="photos train", stages=[], chosen="source")
    assert "trained on photos train with labels and not adapted; data" in oracle
    start = {"run": "old", "adapted": True}
    kept = said(started_from=start, chosen="source")
    assert "`compact`, started from old, which was adapted already, and not adapted in this run: the watch" in kept
    assert "started from old, which was adapted already, trained on games with labels and adapted to photos" in said(
        started_from=start
    )
    other = said(started_from={"run": "old", "adapted": False}, chosen="source")
    assert "started from old, and not adapted in this run" in other


def test_summary_json_holds_what_was_given(tmp_path, summary, label_space):
    write_report(tmp_path, summary, [], label_space)
    assert json.loads((tmp_path / "summary.json").read_text()) == summary


def test_csv_agrees_with_the_summary(tmp_path, summary, label_space):
    write_report(tmp_path, summary, [], label_space)
    lines = list(csv.DictReader(io.StringIO((tmp_path / "per_class_iou.csv").read_text())))
    assert [line["class"] for line in lines] == list(label_space.names)
    car, tram = lines[2], lines[3]
    assert float(car["before"]) == summary["before"]["per_class_iou"]["car"]
    assert float(car["delta"]) == pytest.approx(float(car["after"]) - float(car["before"]))
    assert car["truth_pixels"] == "20"
    assert (tram["before"], tram["after"], tram["delta"]) == ("", "0.0", "")


def test_report_without_labels(tmp_path, label_free_summary, label_space):
    text = written(tmp_path, label_free_summary, [], label_space)
    assert "The target has no labels: there is no mIoU." in text
    assert "| label-free gain | — | 0.710 | — |" in text  # the model before adaptation has none
    assert "| consistency: same answer in a mirrored, smaller view, % | 45.4 | 53.2 | +7.8 |" in text
    assert "| car | 20.0 % | 10.0 % |" in text
    assert "mIoU %" not in text
    assert linked_pictures(text) == ["class_shares.png", "stages.png", "kept_shares.png"]
    stored = json.loads((tmp_path / "summary.json").read_text())
    assert stored["after"] is None
    assert stored["label_free"]["after"]["label_free_gain"] == 0.71
    assert (tmp_path / "per_class_iou.csv").read_text().splitlines()[1] == "road,,,,"


def test_scores_that_take_labels_of_the_source_have_a_table_of_their_own(summary):
    sides = {"consistency": 0.5, "source_miou": 61.5, "entropy": 0.25, "reverse_miou": 44.5, "agreement": 0.125}
    text = report_text({**summary, "label_free": {"before": sides, "after": sides}}, {}, [], False)
    target, source = (
        text.split("## Label-free measurements")[1].split("## Stages")[0].split("Measured with the source's")
    )
    assert "Measured on the target's pictures alone" in target
    told = [re.findall(r"^\| (\w+)[^|]*\| .*\d", part, re.MULTILINE) for part in (target, source)]
    assert told == [["consistency", "entropy", "agreement"], ["mIoU", "mIoU"]]
    kept = report_text({**summary, "chosen": "source", "label_free": {"before": sides, "after": sides}}, {}, [], False)
    assert "agreement with" not in kept  # of the model before adaptation with itself


def test_report_of_a_recipe_that_does_not_adapt(tmp_path, summary, label_space, before):
    single = {key: summary[key] for key in ("recipe", "data", "model", "seed", "class_set", "before")}
    text = written(tmp_path, {**single, "after": summary["before"]}, [], label_space, before)
    assert "and not adapted" in text
    assert f"**mIoU {summary['before']['miou']:.1f}**" in text
    assert "| class | IoU % |" in text
    assert "## Stages" not in text
    assert linked_pictures(text) == ["per_class.png", "confusion.png"]


def test_report_of_almost_nothing_has_every_promised_key(tmp_path, label_space):
    write_report(tmp_path / "new", {"recipe": "st"}, [], label_space)
    stored = json.loads((tmp_path / "new" / "summary.json").read_text())
    promised = {
        "recipe",
        "data",
        "model",
        "seed",
        "class_set",
        "before",
        "after",
        "stages",
        "seconds",
        "peak_rss_bytes",
    }
    assert promised <= set(stored)
    assert stored["stages"] == []


def test_a_run_that_ends_worse_says_so(tmp_path, summary, label_space):
    worse = {**summary, "before": summary["after"], "after": summary["before"]}
    assert "**The adapted model scores lower than the model before adaptation.**" in written(
        tmp_path, worse, [], label_space
    )


def test_a_run_that_returned_to_its_start_says_so(tmp_path, summary, label_space):
    returned = {**summary, "after": summary["before"], "chosen": "source"}
    text = written(tmp_path, returned, [], label_space)
    assert "not adapted: the watch kept the model before adaptation" in text
    assert "| before (chosen) |" in text
    assert "(0.0)" in text


def test_a_report_can_be_written_again(tmp_path, summary, label_space):
    first = written(tmp_path, summary, [tmp_path / "a.png"], label_space)
    assert written(tmp_path, summary, [tmp_path / "a.png"], label_space) == first
    assert linked_pictures(written(tmp_path, summary, [tmp_path / "deep" / "b.png"], label_space))[-1] == "deep/b.png"


def test_plain_values():
    value = {1: np.float32(0.5), "a": (np.int64(2), float("nan")), "m": np.eye(2), "p": Path("x/y"), "none": None}
    assert plain(value) == {"1": 0.5, "a": [2, None], "m": [[1.0, 0.0], [0.0, 1.0]], "p": "x/y", "none": None}


def shown(summary, report=None, width=100) -> str:
    console = Console(file=io.StringIO(), width=width)
    print_summary(summary, console, report)
    return console.file.getvalue()


def test_terminal_summary(summary):
    text = shown(summary, Path("runs/[a]/report/report.md"))
    assert re.search(r"car\s+│\s+26\.7 │\s+80\.0 │\s+\+53\.3", text)
    assert re.search(r"mIoU\s+│", text)
    assert "Report: runs/[a]/report/report.md" in text
    assert "Next:   python training/evaluate.py --run runs/a" in text
    assert "**" not in text


def test_terminal_summary_without_labels_and_without_rounds(summary, label_free_summary):
    text = shown(label_free_summary)
    assert "label-free gain" in text
    assert "no labels" in text
    single = shown({"recipe": "source_only", "before": summary["before"], "after": summary["before"]})
    assert "IoU %" in single
    assert "change" not in single


def test_another_labeller_has_a_sentence_and_a_row_but_no_number_among_the_rounds(summary):
    labeller = {"file": "theirs.onnx", "scores": summary["after"]}
    text = report_text(summary | {"labeller": labeller}, {}, [], legend=False)
    assert "Round 1 was labelled by theirs.onnx, which scores" in text
    assert "itself; later rounds by the model." in text
    single = report_text(summary | {"labeller": labeller, "stages": summary["stages"][:1]}, {}, [], legend=False)
    assert "later rounds" not in single
    rows = [line.split("|")[1].strip() for line in text.split("## Stages")[1].split("\n\n")[1].splitlines()[2:]]
    assert rows == ["before", "labeller of round 1", "round 1 (chosen)", "round 2"]


def test_a_miou_that_does_not_exist_is_none(tmp_path, summary, label_space):
    """Labelled images whose pixels are all ignored, as another version may have scored them."""
    nothing = Confusion(label_space.count).scores(label_space)
    assert nothing["miou"] is None
    summary = {**summary, "before": nothing, "after": nothing}
    text = written(tmp_path, summary, [], label_space, Confusion(label_space.count))
    assert "mIoU none → none" in text
    assert re.search(r"mIoU, 4 classes \| +none \| +none", text)
    terminal = io.StringIO()
    print_summary(summary, Console(file=terminal, width=100), tmp_path / "report.md")
    assert re.search(r"mIoU +│ +none │ +none", terminal.getvalue())


def test_stages_with_pixel_contrast_show_cosines_queues_and_their_map(summary):
    sides = [{"intra": 0.5, "inter": 0.25}, {"intra": None, "inter": 0.125}]
    contrast = {
        "before": {"source": sides[0], "target": sides[1]},
        "after": {"source": {"intra": 0.75, "inter": 0.1}, "target": sides[0]},
        "queue_fill": {"road": 1.0, "car": 0.031},
    }
    first, last = summary["stages"][0], {**summary["stages"][-1], "contrast": contrast}
    text = report_text({**summary, "stages": [first, last]}, {}, [], False)
    assert f"| {last['title']} | 0.500 → 0.750 | 0.250 → 0.100 | — → 0.500 | 0.125 → 0.250 |" in text
    assert "road 100 %, car 3 %" in text
    assert f"(contrast_{last['stage']}.png)" in text
    without = report_text(
        {**summary, "stages": [{**last, "contrast": {**contrast, "queue_fill": None}}]}, {}, [], False
    )
    assert "Queues" not in without
    assert "Pixel contrast" not in report_text(summary, {}, [], False)
