"""The cache of frames: found again, extended, repaired, disjoint between splits, and clear about mistakes."""

import cv2
import numpy as np
import pytest

from training.data.streetsim import STYLES, frames, render
from training.errors import UserError

SIZE = (32, 48)


def ensure(cache, count=3, **changes):
    request = {"style_name": "game", "split": "val", "count": count, "size": SIZE, "seed": 0, "cache": cache}
    return frames.ensure_frames(**(request | changes))


def names(folder, kind):
    return sorted(path.name for path in (folder / kind).iterdir())


def test_frames_on_disk_are_the_frames_rendered(tmp_path):
    folder = ensure(tmp_path)
    assert names(folder, "images") == names(folder, "labels") == ["000000.png", "000001.png", "000002.png"]
    image, label = render(STYLES["game"], frames.split_seed(0, "val"), 2, SIZE)
    image_path, label_path = frames.frame_paths(folder, 2)
    np.testing.assert_array_equal(cv2.cvtColor(cv2.imread(str(image_path)), cv2.COLOR_BGR2RGB), image)
    np.testing.assert_array_equal(cv2.imread(str(label_path), cv2.IMREAD_UNCHANGED), label)


def test_found_again_and_extended_without_rendering_twice(tmp_path, monkeypatch):
    folder = ensure(tmp_path, count=2)
    rendered = []

    def counting(style, seed, index, size):
        rendered.append(index)
        return render(style, seed, index, size)

    monkeypatch.setattr(frames, "render", counting)
    assert ensure(tmp_path, count=2) == folder
    assert rendered == []
    assert ensure(tmp_path, count=4) == folder
    assert rendered == [2, 3]
    assert ensure(tmp_path, count=1) == folder
    assert rendered == [2, 3]


def test_a_frame_without_its_label_is_made_again_and_nothing_half_written_stays(tmp_path):
    folder = ensure(tmp_path, count=2)
    before = frames.frame_paths(folder, 1)[1].read_bytes()
    frames.frame_paths(folder, 1)[1].unlink()
    ensure(tmp_path, count=2)
    assert frames.frame_paths(folder, 1)[1].read_bytes() == before
    assert all(path.suffix == ".png" for path in folder.rglob("*.*"))


def test_parallel_rendering_writes_the_same_files(tmp_path, monkeypatch):
    monkeypatch.setattr(frames, "_CHUNK", 1)
    together = ensure(tmp_path / "together", count=2)
    monkeypatch.setattr(frames, "_CHUNK", 16)
    alone = ensure(tmp_path / "alone", count=2)
    for kind in ("images", "labels"):
        for name in names(alone, kind):
            assert (together / kind / name).read_bytes() == (alone / kind / name).read_bytes()


def test_what_frames_depend_on_has_its_own_folder(tmp_path, monkeypatch):
    folders = [
        ensure(tmp_path, count=1),
        ensure(tmp_path, count=1, split="train"),
        ensure(tmp_path, count=1, seed=1),
        ensure(tmp_path, count=1, size=(32, 40)),
        ensure(tmp_path, count=1, style_name="city"),
    ]
    monkeypatch.setattr(frames, "VERSION", frames.VERSION + 1)
    folders.append(ensure(tmp_path, count=1))
    assert len(set(folders)) == len(folders)


def test_splits_and_seeds_never_share_a_generator_seed():
    seeds = [frames.split_seed(seed, split) for seed in range(20) for split in frames.SPLITS]
    assert len(set(seeds)) == len(seeds)


def test_the_cache_is_where_the_environment_says(tmp_path, monkeypatch):
    monkeypatch.setenv("STREETSHIFT_CACHE", str(tmp_path / "here"))
    assert (tmp_path / "here") in ensure(None, count=1).parents


def test_a_cache_that_cannot_be_written_names_the_variable(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="STREETSHIFT_CACHE"):
        ensure(tmp_path / "file" / "below")


def test_a_full_disk_is_told_in_one_sentence(tmp_path, monkeypatch):
    def full(path, array):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(frames, "_write_png", full)
    with pytest.raises(UserError, match="No space left on device"):
        ensure(tmp_path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"style_name": "moon"}, "choose one of game"),
        ({"split": "all"}, "train, val, test"),
        ({"size": (8, 8)}, "32x32"),
        ({"count": 0}, "at least 1"),
    ],
)
def test_wrong_requests_say_what_was_expected(tmp_path, change, words):
    with pytest.raises(UserError, match=words):
        ensure(tmp_path, **change)
