"""The map of pixel features, and the cosines within and between classes."""

import numpy as np
import pytest

from training.data.classes import LABEL_SPACES
from training.evaluation.feature_map import (
    ClassSums,
    PixelFeatures,
    class_cosines,
    principal_axes,
    write_feature_map,
)


def some_pixels(count=60, seed=0, labels=(0, 1, 4, 255)):
    random = np.random.default_rng(seed)
    features = random.normal(size=(count, 5)).astype(np.float32)
    return PixelFeatures(features / np.linalg.norm(features, axis=1, keepdims=True), random.choice(labels, count))


def test_cosines_are_means_over_classes_of_means_over_pairs():
    pixels = some_pixels().labelled()
    cosines, label = pixels.features @ pixels.features.T, pixels.label
    inside = ~np.eye(len(label), dtype=bool)
    within = [cosines[np.ix_(label == c, label == c)][inside[np.ix_(label == c, label == c)]].mean() for c in (0, 1, 4)]
    between = [cosines[np.ix_(label == a, label == b)].mean() for a, b in ((0, 1), (0, 4), (1, 4))]
    found = class_cosines(ClassSums.of(pixels, 5))
    assert found["intra"] == pytest.approx(np.mean(within), abs=1e-5)
    assert found["inter"] == pytest.approx(np.mean(between), abs=1e-5)


def test_what_has_no_pair_has_no_cosine():
    nothing = PixelFeatures(np.zeros((0, 5), np.float32), np.zeros(0, int))
    assert class_cosines(ClassSums.of(nothing, 5)) == {"intra": None, "inter": None}
    one_class = class_cosines(ClassSums.of(some_pixels(labels=(3,)), 5))
    assert one_class["intra"] is not None
    assert one_class["inter"] is None
    single = PixelFeatures(np.eye(2, 5, dtype=np.float32), np.array([0, 1]))
    assert class_cosines(ClassSums.of(single, 5)) == {"intra": None, "inter": 0.0}


def test_the_axes_are_those_of_the_largest_variance():
    random = np.random.default_rng(1)
    values = random.normal(size=(500, 4)) * [0.1, 5.0, 0.1, 2.0] + [1, 2, 3, 4]
    mean, axes = principal_axes(values)
    np.testing.assert_allclose(mean, values.mean(axis=0))
    assert np.abs(axes).argmax(axis=0).tolist() == [1, 3]
    assert principal_axes(values[:1])[1].shape == (4, 2)


@pytest.mark.parametrize("count", [0, 1, 5000])
def test_a_map_is_drawn_of_any_number_of_pixels(count, tmp_path):
    pixels = {"source": some_pixels(count).labelled(), "target": some_pixels(7, 1).labelled()}
    stars = {0: np.ones(5), 4: np.zeros(5)}
    path = write_feature_map(
        tmp_path / "new" / "map.png", {"before": pixels, "after": pixels}, LABEL_SPACES["cityscapes19"], stars
    )
    assert path.read_bytes()[1:4] == b"PNG"


def test_pixels_without_a_class_are_left_out_and_some_are_always_the_same():
    pixels = some_pixels(500)
    assert (pixels.labelled().label != 255).all()
    few = pixels.some(20)
    np.testing.assert_array_equal(few.features, pixels.some(20).features)
    assert len(few.label) == 20
    assert len(pixels.some(1000).label) == 500
