"""What a run works with: classes that nothing teaches, an evaluation split that is missing, lists for a resume."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.training.data import published_layouts as layouts
from tests.training.data.published_layouts import save
from training.command_line import experiment_of, parse
from training.data.domains import load_domains
from training.data.fixed_lists import with_fixed_lists
from training.errors import UserError
from training.settings.data import Domain


def experiment(*options: str):
    return experiment_of(parse(options))


def own(root: Path, *options: str):
    return experiment("--data", "folders", "--source-root", str(root), *options)


def masks(root: Path, *values: int) -> None:
    """Three images whose labels hold these ids, side by side."""
    for index in range(3):
        label = np.repeat(np.array([values], np.uint8), 4, axis=0)
        save(root / f"images/{index}.png", np.zeros((*label.shape, 3), np.uint8))
        save(root / f"labels/{index}.png", label)


def space(path: Path, **more) -> str:
    path.write_text(json.dumps({"name": "two", "names": ["rest", "car"], **more}))
    return str(path)


@pytest.mark.parametrize(
    ("values", "more", "said", "asked"),
    [
        ((0, 255), {}, ["car"], True),
        ((0, 0), {}, ["car"], False),
        ((0, 1, 255), {}, [], False),
        ((0, 255), {"raw_ids": {"0": 0, "255": 1}}, [], False),
        ((0, 255), {"raw_ids": {"0": 0, "1": 1, "255": 255}}, ["car"], False),
    ],
)
def test_a_class_that_the_source_never_shows_is_said(tmp_path, values, more, said, asked):
    masks(tmp_path / "source", *values)
    save(tmp_path / "target/a.png", np.zeros((4, 4, 3), np.uint8))
    classes = space(tmp_path / "two.json", **more)
    found = load_domains(own(tmp_path / "source", "--target-root", str(tmp_path / "target"), "--classes", classes))
    assert found.unseen_classes == said
    first, *others = found.as_sentences()
    assert first == "Source: 3 images (source); target: 1 image (target); no labelled images of the target"
    assert [
        other.startswith("No pixel of class car in the 3 labels of source: nothing teaches it") for other in others
    ] == ([True] * len(said))
    assert any('is 255 meant to be car? Then say so in the JSON file of your label space: "raw_ids": {"255": 1' in other
               for other in others) == asked  # fmt: skip


def test_a_target_that_is_a_data_set_gives_its_images(tmp_path):
    masks(tmp_path / "source", 0, 1)
    masks(tmp_path / "target", 0, 1)
    classes = space(tmp_path / "two.json")
    found = load_domains(own(tmp_path / "source", "--target-root", str(tmp_path / "target"), "--classes", classes))
    assert {sample.image.parent.name for sample in found.target.samples} == {"images"}
    assert found.image_counts == {"source": 3, "target": 3, "evaluation": 0}
    assert "3 in" in found.all_notes[0]
    assert "labels, beside images/" in found.all_notes[0]


@pytest.mark.parametrize(("target", "figures"), [("train/images", True), ("train", True), ("photos/day", False)])
def test_val_beside_the_target_is_scored_on_and_one_farther_away_is_not(tmp_path, target, figures):
    masks(tmp_path / "source", 0, 1)
    save(tmp_path / f"town/{target}/a.png", np.full((4, 4, 3), 9, np.uint8))
    masks(tmp_path / "town/val", 0, 1)
    classes = space(tmp_path / "two.json")
    found = load_domains(
        own(tmp_path / "source", "--target-root", str(tmp_path / "town" / target), "--classes", classes)
    )
    assert (found.evaluation is not None) == figures


def test_val_beside_the_target_with_labels_of_other_classes_does_not_stop_a_run(tmp_path):
    masks(tmp_path / "source", 0, 1)
    save(tmp_path / "town/train/images/a.png", np.full((4, 4, 3), 9, np.uint8))
    masks(tmp_path / "town/val", 0, 33)
    classes = ("--classes", space(tmp_path / "two.json"))
    found = load_domains(own(tmp_path / "source", "--target-root", str(tmp_path / "town/train/images"), *classes))
    assert found.evaluation is None
    assert "val beside it is of no use" in " ".join(found.as_sentences())
    asked = own(tmp_path / "source", "--target-root", str(tmp_path / "town/train/images"), *classes)
    with pytest.raises(UserError, match="33"):
        load_domains(
            replace(
                asked, data=replace(asked.data, evaluation=Domain(reader="folders", root=str(tmp_path / "town/val")))
            )
        )


@pytest.mark.parametrize("same", [True, False])
def test_a_source_that_is_the_images_for_the_figures_too_is_said(tmp_path, same):
    masks(tmp_path / "source", 0, 1)
    masks(tmp_path / "val", 1, 1, 0)
    save(tmp_path / "photos/a.png", np.full((4, 4, 3), 9, np.uint8))
    folders = ("--target-root", str(tmp_path / "photos"), "--eval-root", str(tmp_path / ("source" if same else "val")))
    found = load_domains(own(tmp_path / "source", *folders, "--classes", space(tmp_path / "two.json")))
    said = "The source 'source' shares 3 files (0.png, 1.png, 2.png) with the evaluation data 'source': the figures"
    assert [sentence.startswith(said) for sentence in found.as_sentences()[1:]] == [True] * same


@pytest.mark.parametrize("target", ["val", "val/images"])
def test_a_target_that_is_called_val_is_not_scored_on(tmp_path, target):
    masks(tmp_path / "source", 0, 1)
    masks(tmp_path / "town/val", 0, 0)
    classes = space(tmp_path / "two.json")
    found = load_domains(
        own(tmp_path / "source", "--target-root", str(tmp_path / "town" / target), "--classes", classes)
    )
    assert found.evaluation is None


def published(tmp_path, *options: str):
    layouts.write_gta5(tmp_path / "gta5")
    layouts.write_cityscapes(tmp_path / "cityscapes", "train")
    roots = ["--source-root", str(tmp_path / "gta5"), "--target-root", str(tmp_path / "cityscapes")]
    return experiment("--data", "gta5_cityscapes", *roots, *options)


def test_a_published_target_without_its_evaluation_split_goes_on_and_says_so(tmp_path):
    asked = published(tmp_path)
    found = load_domains(asked)
    assert found.evaluation is None
    assert "goes on without figures on the target" in found.as_sentences()[1]
    assert "leftImg8bit/val/" in found.as_sentences()[1]
    (tmp_path / "cityscapes/leftImg8bit/val").mkdir()
    assert load_domains(asked).evaluation is None  # the labels are not there either
    layouts.write_cityscapes(tmp_path / "cityscapes", "val", ("frankfurt",))
    assert len(load_domains(asked).evaluation) == 1


def test_evaluation_images_that_were_asked_for_must_be_there(tmp_path):
    with pytest.raises(UserError, match="none does not exist"):
        load_domains(published(tmp_path, "--eval-root", str(tmp_path / "none")))


def test_evaluation_images_that_came_later_or_are_gone(tmp_path, capsys):
    asked, path = published(tmp_path), tmp_path / "images.json"
    assert with_fixed_lists(load_domains(asked), asked, path).evaluation is None
    layouts.write_cityscapes(tmp_path / "cityscapes", "val", ("frankfurt",))
    assert with_fixed_lists(load_domains(asked), asked, path).evaluation is None
    assert "came after this run began: it goes on without figures" in capsys.readouterr().out
    path.unlink()
    assert with_fixed_lists(load_domains(asked), asked, path).evaluation is not None
    (tmp_path / "cityscapes/leftImg8bit/val").rename(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="The evaluation images that this run began with cannot be found"):
        with_fixed_lists(load_domains(asked), asked, path)


def test_a_list_or_a_pattern_is_kept_and_found_again(tmp_path, monkeypatch, capsys):
    masks(tmp_path / "source", 0, 1)
    for name in ("x/a", "y/b", "y/c"):
        save(tmp_path / f"{name}.png", np.zeros((4, 4, 3), np.uint8))
    (tmp_path / "photos.txt").write_text("x/a.png\ny/b.png\n")
    monkeypatch.chdir(tmp_path)
    for place, names in (("photos.txt", ["a", "b"]), ("?/*.png", ["a", "b", "c"])):
        asked = own(tmp_path / "source", "--target-root", place, "--classes", space(tmp_path / "two.json"))
        assert asked.data.target.root == str(tmp_path / place)
        monkeypatch.chdir("/")
        lists = tmp_path / "images.json"
        found = with_fixed_lists(load_domains(asked), asked, lists)
        assert [sample.name for sample in found.target.samples] == names
        (tmp_path / "photos.txt").write_text("x/a.png\ny/c.png\n")  # another list: the run keeps its own
        again = with_fixed_lists(load_domains(asked), asked, lists)
        assert [sample.name for sample in again.target.samples] == names
        lists.unlink()
        monkeypatch.chdir(tmp_path)
    assert "c.png) came after this run began" in capsys.readouterr().out


def test_what_is_said_of_photos_at_the_start_is_said_again_on_resume(tmp_path):
    masks(tmp_path / "source", 0, 1)
    save(tmp_path / "target/a.png", np.zeros((64, 16, 3), np.uint8))
    (tmp_path / "target/b.jpg").touch()
    lists, roots = tmp_path / "images.json", (tmp_path / "source", "--target-root", str(tmp_path / "target"))
    asked = own(*roots, "--classes", space(tmp_path / "two.json"))
    begun = with_fixed_lists(load_domains(asked), asked, lists)
    assert [sample.name for sample in begun.target.samples] == ["a"]
    assert [note.split(",")[0] for note in begun.notes] == [
        "Photos of source of another shape than 256x512 (height x width)",
        "Left out of the 2 photos of target",
        "Photos of target of another shape than 256x512 (height x width)",
    ]
    assert begun.notes == tuple(begun.all_notes) == tuple(begun.as_sentences()[1:])
    assert with_fixed_lists(load_domains(asked), asked, lists).notes == begun.notes
    rows = json.loads(lists.read_text())
    for key in ("left_out", "notes"):
        lists.write_text(json.dumps(rows | {key: [3]}))
        with pytest.raises(UserError, match="does not hold the images of this run"):
            with_fixed_lists(load_domains(asked), asked, lists)
    lists.write_text(json.dumps({key: rows[key] for key in rows.keys() - {"left_out", "notes"}}))  # of earlier versions
    assert with_fixed_lists(load_domains(asked), asked, lists).notes == ()


def test_counts_of_labels_are_made_once(tmp_path, monkeypatch):
    masks(tmp_path / "source", 0, 1)
    save(tmp_path / "target/a.png", np.zeros((4, 4, 3), np.uint8))
    classes = space(tmp_path / "two.json")
    found = load_domains(own(tmp_path / "source", "--target-root", str(tmp_path / "target"), "--classes", classes))
    found = replace(found)
    found.as_sentences()
    monkeypatch.setattr(type(found.source), "read_label", None)
    np.testing.assert_array_equal(found.source_shares, [0.5, 0.5])


def test_a_smoke_run_takes_a_few_images_and_looks_at_no_others(tmp_path):
    for index in range(40):
        for domain in ("source", "target"):
            save(tmp_path / domain / f"images/{index:02}.png", np.zeros((4, 2, 3), np.uint8))
        save(tmp_path / f"source/labels/{index:02}.png", np.repeat(np.array([[0, 1]], np.uint8), 4, axis=0))
    for root in (tmp_path / "source/images", tmp_path / "target/images"):
        (root / "01.png").write_bytes((root / "01.png").read_bytes()[:-20])
    options = ("--target-root", str(tmp_path / "target/images"), "--classes", space(tmp_path / "two.json"))
    smoke = own(tmp_path / "source", *options, "--smoke")
    found = with_fixed_lists(load_domains(smoke), smoke, tmp_path / "images.json")
    assert found.image_counts == {"source": 12, "target": 8, "evaluation": 0}
    share = own(tmp_path / "source", "--target-root", str(tmp_path / "source"), *options[2:], "--smoke")
    assert load_domains(replace(share, labelled_share=0.25)).image_counts["source"] == 2
