"""Overlays, panels and legends: sizes, colours, what is left out."""

import numpy as np
import pytest
from PIL import Image

from training.data.classes import IGNORE, LABEL_SPACES
from training.evaluation.panels import Example, legend, overlay, panel, write_panels, write_pasting


def columns_of(picture: np.ndarray, side: int = 400, gap: int = 8) -> float:
    """How many columns of `side` pixels and their gaps the width holds."""
    return (picture.shape[1] - gap) / (side + gap)


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (60, 120, 3), dtype=np.uint8)


@pytest.fixture
def label() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 4, (60, 120), dtype=np.uint8)


def test_overlay_mixes_picture_and_class_colour(label_space):
    image = np.full((1, 2, 3), 100, np.uint8)
    mixed = overlay(image, np.array([[0, 2]], np.uint8), label_space, opacity=0.25)
    assert mixed.dtype == np.uint8
    assert mixed.tolist() == [[[107, 91, 107], [75, 75, 110]]]


def test_overlay_ends_are_the_picture_and_the_colours(label_space, image, label):
    assert np.array_equal(overlay(image, label, label_space, 0.0), image)
    assert np.array_equal(overlay(image, label, label_space, 1.0), label_space.colorize(label))


def test_no_label_is_a_washed_out_grey_unlike_any_class(label_space, image):
    blank = overlay(image, np.full(image.shape[:2], IGNORE, np.uint8), label_space)
    assert np.ptp(blank, axis=2).max() == 0
    assert blank.min() >= 165


def test_overlay_brings_a_coarse_label_to_the_picture(label_space, image):
    coarse = np.array([[0, 1], [2, 3]], np.uint8)
    drawn = overlay(image, coarse, label_space, 1.0)
    assert drawn.shape == image.shape
    assert np.array_equal(drawn[::59, ::119], label_space.colorize(coarse))


def test_panel_has_a_column_for_each_part_that_is_known(label_space, image, label):
    whole = panel(image, label, label, label, label, label_space)
    assert whole.dtype == np.uint8
    assert whole.shape == (30 + 200 + 8, 5 * 408 + 8, 3)
    assert columns_of(panel(image, label, None, None, None, label_space)) == 2
    assert columns_of(panel(image, label, label, label, None, label_space)) == 4


def test_panel_shows_the_labels_in_order(label_space, image):
    constant = [np.full((30, 60), index, np.uint8) for index in range(4)]
    picture = panel(np.zeros_like(image), *constant, label_space)
    middles = [picture[130, 8 + 408 * column + 200] for column in range(5)]
    expected = [(0, 0, 0), *(np.round(0.65 * np.array(colour)) for colour in label_space.colors)]
    assert np.abs(np.array(middles, float) - np.array(expected, float)).max() <= 1


@pytest.mark.parametrize("size", [(2000, 1000), (1000, 2000), (32, 32), (1, 500)])
def test_any_picture_size_fits(label_space, size):
    image = np.zeros((*size, 3), np.uint8)
    label = np.zeros(size, np.uint8)
    picture = panel(image, label, label, None, label, label_space)
    assert picture.shape[0] <= 438
    assert picture.shape[1] <= 4 * 408 + 8


def test_titles_tell_how_much_is_right_only_with_a_truth(label_space, image, label):
    def title(truth):
        return panel(image, label, None, None, truth, label_space)[:30, 416:816]

    assert (title(label) < 128).sum() > 1.3 * (title(None) < 128).sum()
    all_void = np.full_like(label, IGNORE)
    assert np.array_equal(title(all_void), title(None))


@pytest.mark.parametrize("name", sorted(LABEL_SPACES))
def test_legend_shows_every_colour(name):
    space = LABEL_SPACES[name]
    shown = {tuple(colour) for colour in np.unique(legend(space).reshape(-1, 3), axis=0).tolist()}
    assert set(space.colors) <= shown


def test_panels_are_written_with_the_legend(tmp_path, label_space, image, label):
    examples = [Example("aachen/0001", image, label, label, None, label), Example("b", image)]
    paths = write_panels(tmp_path / "report", examples, label_space)
    assert [path.name for path in paths] == ["panel_aachen_0001.png", "panel_b.png"]
    assert [columns_of(np.asarray(Image.open(path))) for path in paths] == [4, 1]
    assert Image.open(tmp_path / "report" / "legend.png").mode == "RGB"


@pytest.mark.parametrize("name", ["a" * 251, "x" + "ж" * 125, "city/" + "b" * 246])
def test_the_panel_of_a_long_name_can_be_written(tmp_path, label_space, image, name):
    (path,) = write_panels(tmp_path, [Example(name, image)], label_space)
    assert path.is_file()
    assert 253 <= len(path.name.encode()) <= 255
    assert path.stem.removeprefix("panel_") in name


def test_the_title_of_the_labels_after_can_say_that_they_were_refused(tmp_path, label_space, image, label):
    example = Example("a", image, label, label)
    (usual,), (refused,) = (
        write_panels(tmp_path / str(index), [example], label_space, *title)
        for index, title in enumerate(((), ("refused: step 300",)))
    )
    usual, refused = (np.asarray(Image.open(path)) for path in (usual, refused))
    changed = np.argwhere((usual != refused).any(axis=-1))
    assert usual.shape == refused.shape
    assert changed[:, 0].max() < 30  # the line of titles
    assert changed[:, 1].min() > 2 * 400  # of the third column


def test_pasting_has_a_line_for_each_image_and_none_makes_no_file(tmp_path, label_space, image, label):
    before = np.dstack([image, label])
    pasted = before.copy()
    pasted[:2] = 1
    path = write_pasting(tmp_path / "report" / "pasting.png", [(before, pasted), (before, before)], label_space)
    with Image.open(path) as picture:
        assert columns_of(np.asarray(picture)) == pytest.approx(4, abs=0.1)
        assert picture.height % 2 == 0
    assert write_pasting(tmp_path / "none.png", [], label_space) is None
    assert not (tmp_path / "none.png").exists()
