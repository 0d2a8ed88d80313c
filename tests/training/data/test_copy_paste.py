"""Copy-paste of hard classes: by hand, against the published program, and as the input pipeline calls it."""

from pathlib import Path

import numpy as np
import pytest

from training.data.classes import load_label_space
from training.data.copy_paste import HardClassPaste
from training.data.samples import Dataset, LabelDecoder, Sample
from training.errors import UserError

SPACE = load_label_space("camvid11")


def dataset(images: int) -> Dataset:
    """Never read: frames come from `load`."""
    samples = tuple(Sample(str(number), Path(f"{number}.png")) for number in range(images))
    return Dataset("target", samples, SPACE, LabelDecoder("ids", ()))


def frames(count: int, classes: int = 11, size=(6, 8), seed=0) -> np.ndarray:
    """uint8 [count, h, w, 4]; a third of the labels is 255."""
    random = np.random.default_rng(seed)
    images = random.integers(0, 256, (count, *size, 3), np.uint8)
    labels = random.integers(0, classes, (count, *size)).astype(np.uint8)
    labels[random.random(labels.shape) < 1 / 3] = 255
    return np.concatenate([images, labels[..., None]], axis=-1)


def class_counts(all_frames: np.ndarray, classes: int = 11) -> np.ndarray:
    return np.array([np.bincount(frame[..., 3].ravel(), minlength=256)[:classes] for frame in all_frames])


def pasted(all_frames: np.ndarray, receiver: int, donor: int, hard, monkeypatch) -> np.ndarray:
    """The receiver's frame with the pixels of these classes of one donor."""
    monkeypatch.setattr(HardClassPaste, "donors_at", lambda self, position: [donor])
    mean_confidence = np.where(np.isin(np.arange(19), hard), 0.1, 0.9)
    counts = class_counts(all_frames, 19)
    paste = HardClassPaste(dataset(len(all_frames)), counts, mean_confidence, hard=len(hard))
    return paste.change(receiver, 0, all_frames[receiver], all_frames.__getitem__)


def test_the_donors_hard_pixels_and_no_others(monkeypatch):
    all_frames = np.zeros((2, 1, 4, 4), np.uint8)
    all_frames[1, ..., :3] = 9
    all_frames[..., 3] = [[[0, 1, 255, 2]], [[3, 0, 1, 255]]]
    kept = all_frames.copy()
    found = pasted(all_frames, 0, 1, [1, 3], monkeypatch)
    assert found[0, :, 0].tolist() == [9, 0, 9, 0]
    assert found[..., 3].tolist() == [[3, 1, 1, 2]]
    np.testing.assert_array_equal(all_frames, kept)


@pytest.mark.parametrize("case", range(8))
def test_agrees_with_the_published_program_given_its_donor(shared_dir, case, monkeypatch):
    with np.load(shared_dir / "reference/hiast_copypaste.npz") as archive:
        reference = dict(archive)
    images, labels, (donor,) = reference["images"], reference["labels"], reference[f"case{case}_donors"]
    receiver = case % len(images)
    all_frames = np.concatenate([images, labels[..., None]], axis=-1)
    found = pasted(all_frames, receiver, int(donor), reference["hard_classes"], monkeypatch)
    np.testing.assert_array_equal(found[..., :3], reference[f"case{case}_img"])
    np.testing.assert_array_equal(found[..., 3], reference[f"case{case}_lbl"])


def test_frames_get_the_hard_classes_of_their_donors_in_order():
    all_frames = frames(12)
    kept = all_frames.copy()
    mean_confidence = np.linspace(0.9, 0.3, 11)
    copy_paste = HardClassPaste(dataset(12), class_counts(all_frames), mean_confidence, hard=4, stop_share=1.0, seed=3)
    assert copy_paste.hard_ids.tolist() == [10, 9, 8, 7]
    for position in range(30):
        index = position % 12
        expected = all_frames[index]
        for donor in copy_paste.donors_at(position):
            is_hard = np.isin(all_frames[donor][..., 3:], copy_paste.hard_ids)
            expected = np.where(is_hard, all_frames[donor], expected)
        found = copy_paste.change(index, position, all_frames[index], all_frames.__getitem__)
        np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(all_frames, kept)


def test_donors_depend_on_seed_and_position_alone():
    counts = class_counts(frames(40, size=(3, 3)))
    mean_confidence = np.linspace(0.9, 0.3, 11)
    first, again, other = (
        HardClassPaste(dataset(40), counts, mean_confidence, hard=6, seed=seed) for seed in (1, 1, 2)
    )
    backwards = {position: again.donors_at(position) for position in reversed(range(20))}
    forwards = [first.donors_at(position) for position in range(20)]
    assert forwards == [backwards[position] for position in range(20)]
    assert forwards != [other.donors_at(position) for position in range(20)]
    assert len(set(map(tuple, forwards))) > 10


def test_donors_are_loaded_one_by_one_and_never_the_receiver():
    all_frames = frames(5)
    copy_paste = HardClassPaste(dataset(5), class_counts(all_frames), np.linspace(0.9, 0.3, 11), hard=5, stop_share=1.0)
    for position in range(20):
        loaded = []
        copy_paste.change(
            2, position, all_frames[2], lambda donor, loaded=loaded: loaded.append(donor) or all_frames[donor]
        )
        assert loaded == [donor for donor in copy_paste.donors_at(position) if donor != 2]
        assert len(loaded) <= 3


def test_nothing_selected_or_one_image_leaves_the_frame_as_it_is():
    frame = frames(1)[0]
    empty = HardClassPaste(dataset(2), np.zeros((2, 11)), np.full(11, np.nan))
    alone = HardClassPaste(dataset(1), class_counts(frame[None]), np.full(11, 0.5))
    for copy_paste in (empty, alone):
        assert copy_paste.change(0, 0, frame, lambda index: pytest.fail("nothing to load")) is frame


def test_bad_arguments_are_told_so():
    counts, mean_confidence = np.ones((2, 11), int), np.full(11, 0.5)
    for options in ({"hard": 0}, {"max_donors": 0}, {"stop_share": 2}):
        with pytest.raises(UserError, match="expected"):
            HardClassPaste(dataset(2), counts, mean_confidence, **options)
    with pytest.raises(ValueError, match="3 images"):
        HardClassPaste(dataset(3), counts, mean_confidence)
