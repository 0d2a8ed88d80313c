"""Which folders hold photos: data sets, runs, pseudo-labels and results among them, lists of paths and patterns."""

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from export.predict import found_files
from tests.training.data.published_layouts import save
from training.data import datasets, prepare
from training.data.classes import LABEL_SPACES
from training.data.label_endings import endings_of
from training.data.photo_folders import (
    IMAGE_ENDINGS,
    found_photos,
    is_label_of_sibling,
    is_list,
    is_pattern,
    listed_paths,
)
from training.errors import UserError

SPACE = LABEL_SPACES["cityscapes19"]
MANIFEST = {"selector": "cbst", "files": ["a.png"]}


def pictures(root: Path, *names: str) -> Path:
    """Files that are told by their names alone, but for their folders' JSON."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(json.dumps(MANIFEST) if name.endswith("manifest.json") else "")
    return root


def found(place: Path, **options) -> list[str]:
    folder = place if place.is_dir() else place.parent
    return [photo.relative_to(folder).as_posix() for photo in found_photos(place, **options).photos]


@pytest.mark.parametrize(
    ("others", "reason"),
    [
        (["run/recipe.json", "run/state.json", "run/report/panel_a.png"], "a run of this program"),
        (["run/recipe.json", "run/state.previous.json", "run/pseudo_labels/round_1/a.png"], "a run of this program"),
        (["copied/report.md", "copied/summary.json", "copied/panel_a.png"], "the report of a run"),
        (["labels_out/manifest.json", "labels_out/a.png", "labels_out/deeper/b.png"], "pseudo-labels of this program"),
        (["out/class_shares.csv", "out/overlays/a.jpg", "out/labels/a.png"], "results of this program"),
        (["class_shares.csv", "confidence/a.png", "pseudo_labels/b.png"], "results of this program"),
        (["labels/a.png", "images/b.jpg"], "labels, beside images/"),
        (["day/Labels/a.png", "day/Images/b.jpg"], "labels, beside Images/"),
        (["gtFine/train/a_color.png", "leftImg8bit/train/b.png"], "labels, beside leftImg8bit/"),
        (["image_2/b.png", "semantic/a.png"], "labels, beside image_2/"),
        (["trainannot/a.png", "train/b.png"], "labels, beside train/"),
        (["a_mask.png"], "labels by their names, beside their photos"),
        (["c_gtFine_color.png", "c_leftImg8bit.png"], "labels by their names, beside their photos"),
    ],
)
def test_what_is_no_photo_is_left_out_and_told_of(tmp_path, others, reason):
    pictures(tmp_path, "a.jpg", *others)
    result = found_photos(tmp_path)
    taken = {photo.name for photo in result.photos}
    assert taken <= {"a.jpg", "b.jpg", "b.png", "c_leftImg8bit.png"}
    assert taken
    assert reason in result.sentences[0]
    assert str(tmp_path) in result.sentences[0]


@pytest.mark.parametrize("ending", IMAGE_ENDINGS)
def test_labels_beside_photos_are_known_by_every_ending_by_which_images_have_labels(ending):
    assert endings_of({f"a{ending}", f"b{ending}"}, {"a_mask", "b_mask"}) == (ending, "_mask")
    assert is_label_of_sibling("a_mask", {f"a{ending}", "a_mask"})


def test_of_a_data_set_only_the_images_are_taken(tmp_path):
    pictures(tmp_path, "images/a.jpg", "images/b/c.jpg", "labels/a.png", "panels/a.png", "legend.png")
    assert found(tmp_path) == ["images/a.jpg", "images/b/c.jpg"]
    (sentence,) = found_photos(tmp_path).sentences
    for part in (f"1 in {tmp_path / 'labels'} (", f"1 in {tmp_path / 'panels'} (", f"1 in {tmp_path} (beside images/"):
        assert part in sentence


def test_folders_of_the_same_names_elsewhere_are_photos(tmp_path):
    names = ["labels/a.png", "masks/b.png", "recipe.json", "other/manifest.json", "overlays/c.jpg", "d_mask.png"]
    pictures(tmp_path, *names)
    (tmp_path / "other/manifest.json").write_text('{"name": "an app"}')
    pictures(tmp_path, "other/e.jpg")
    assert found(tmp_path) == ["d_mask.png", "labels/a.png", "masks/b.png", "other/e.jpg", "overlays/c.jpg"]
    assert [sentence for sentence in found_photos(tmp_path).sentences if "pseudo" in sentence] == []


def test_many_left_out_folders_make_one_sentence(tmp_path):
    pictures(tmp_path, "a.jpg", *(f"{n}/{name}" for n in range(9) for name in ("manifest.json", "a.png")))
    assert "and in 3 more folders" in found_photos(tmp_path).sentences[0]


def test_the_folder_that_will_be_written_to_holds_no_photos(tmp_path):
    pictures(tmp_path, "a.jpg", "out/a.png")
    assert found(tmp_path) == ["a.jpg", "out/a.png"]
    assert found(tmp_path, results=tmp_path / "out") == ["a.jpg"]


def test_a_run_itself_is_no_folder_of_photos(tmp_path):
    pictures(tmp_path, "recipe.json", "state.json", "report/panel_a.png")
    with pytest.raises(UserError, match=r"There are no images .*\(a run of this program\)"):
        datasets.image_folder(tmp_path, SPACE)


def test_a_list_of_paths(tmp_path):
    pictures(tmp_path / "x", "a.jpg", "deep/b.jpg", "data/images/c.jpg", "data/labels/c.png")
    listed = tmp_path / "photos.txt"
    listed.write_text(f"\ufeff# two drives\r\nx/a.jpg\r\n\r\n{tmp_path}/x/deep\r\nx/data\r\nx/a.jpg\r\n", "utf-8")
    assert is_list(listed)
    assert found(listed) == ["x/a.jpg", "x/data/images/c.jpg", "x/deep/b.jpg"]
    save(tmp_path / "x/a.jpg", np.zeros((4, 4, 3), np.uint8))
    data = datasets.image_folder(listed, SPACE)
    assert [sample.name for sample in data.samples] == ["a", "b", "c"]
    assert "labels, beside images/" in data.notes[0]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"a.jpg\nnone/b.jpg\n", r"names what does not exist \(line 2: none/b\.jpg\)"),
        (b"\n".join(b"%d.jpg" % n for n in range(9)), "and 3 more"),
        (b"# nothing\n\n", "names no photo"),
        (b"\xff\xfe\x00", "is no text"),
        (b"x" * 5000, "does not exist"),
        (b"a\0b.jpg\n", "does not exist"),
    ],
)
def test_a_list_that_cannot_be_used_is_named(tmp_path, content, words):
    pictures(tmp_path, "a.jpg")
    (tmp_path / "photos.txt").write_bytes(content)
    with pytest.raises(UserError, match=words):
        listed_paths(tmp_path / "photos.txt")


@pytest.mark.skipif(sys.platform != "linux", reason="names are text there")
def test_a_name_that_is_no_text_is_one_sentence_wherever_it_is_found(tmp_path):
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.jpg"))
    pictures(tmp_path, "a.jpg")
    odd.write_bytes(b"")
    pictures(Path(f"{odd}.d"), "b.jpg").joinpath("photos.txt").write_text("b.jpg", encoding="utf-8")
    for place in (tmp_path, tmp_path / "*.jpg", tmp_path / "*.d", Path(f"{odd}.d") / "photos.txt"):
        with pytest.raises(UserError, match=r"The name of .*udcff.* is no text \(UTF-8\): rename it"):
            found_photos(place)
    with pytest.raises(UserError, match="is no text"):
        found_files(str(odd), tmp_path / "out")
    odd.rename(odd.with_name(f".{odd.name}"))  # hidden
    assert found(tmp_path / "*.jpg") == ["a.jpg"]


def test_patterns_of_files_and_of_folders(tmp_path):
    pictures(tmp_path, "a/front/1.jpg", "b/front/2.jpg", "b/rear/3.jpg", "b/front/._2.jpg", "c/front/notes.md")
    pictures(tmp_path, "c/front/manifest.json", "c/front/4.png")
    assert is_pattern(tmp_path / "*/front/*.jpg")
    assert not is_pattern(tmp_path / "a")
    names = [
        [photo.name for photo in found_photos(tmp_path / pattern).photos]
        for pattern in ("*/front/*.jpg", "*/front", "**", "?/rear/*", "*/*/*.png")
    ]
    assert names == [["1.jpg", "2.jpg"], ["1.jpg", "2.jpg"], ["1.jpg", "2.jpg", "3.jpg"], ["3.jpg"], []]
    assert "pseudo-labels" in found_photos(tmp_path / "*/*/*.png").sentences[0]
    with pytest.raises(UserError, match="There are no images"):
        datasets.image_folder(tmp_path / "*.jpg", SPACE)
    with pytest.raises(UserError, match="is no pattern of files"):
        found_photos(tmp_path / "a**b/*.jpg")


def test_a_folder_whose_name_looks_like_a_pattern_is_a_folder(tmp_path):
    pictures(tmp_path, "[day]/a.jpg")
    assert not is_pattern(tmp_path / "[day]")
    assert found(tmp_path / "[day]") == ["a.jpg"]


def test_a_pattern_below_a_folder_whose_name_looks_like_one(tmp_path, monkeypatch):
    pictures(tmp_path / "trip [2024]/day", "a.png", "b.png")
    names = lambda pattern: [photo.name for photo in found_photos(Path(pattern)).photos]  # noqa: E731
    assert names(tmp_path / "trip [2024]/day/*.png") == ["a.png", "b.png"]
    monkeypatch.chdir(tmp_path)
    assert names("trip [2024]/*/a.png") == ["a.png"]


def test_a_name_that_begins_with_a_tilde_is_a_name(tmp_path):
    pictures(tmp_path, "~nobody.png")
    (tmp_path / "list.txt").write_text("~nobody.png\n")
    assert found(tmp_path / "list.txt") == ["~nobody.png"]


def test_a_link_that_leads_back_ends(tmp_path):
    pictures(tmp_path, "a.jpg", "images/b.jpg", "labels/b.png")
    (tmp_path / "images/again").symlink_to(tmp_path)
    assert found(tmp_path) == ["images/b.jpg"]


def test_the_check_of_a_folder_of_photos_says_what_was_left_out(shared_dir, capsys):
    assert prepare.main(["images", str(shared_dir / "cases/ok")]) == 0
    said = capsys.readouterr().out
    assert "ok: 6 images, without labels" in said


@pytest.mark.parametrize("place", ["lists/day.txt", "photos/*.jpg", "*/a.jpg"])
def test_a_relative_list_or_pattern_names_the_photos(tmp_path, monkeypatch, place):
    pictures(tmp_path, "photos/a.jpg")
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists/day.txt").write_text("../photos/a.jpg\n")
    monkeypatch.chdir(tmp_path)
    assert [sample.name for sample in datasets.image_folder(Path(place), SPACE).samples] == ["a"]


def test_photos_on_several_drives_are_refused_in_a_sentence(tmp_path, monkeypatch):
    def of_windows(paths):
        raise ValueError("Paths don't have the same drive")

    pictures(tmp_path, "a.jpg", "b.jpg")
    monkeypatch.setattr(os.path, "commonpath", of_windows)
    with pytest.raises(UserError, match="lie on several drives"):
        _ = found_photos(tmp_path / "*.jpg").folder
