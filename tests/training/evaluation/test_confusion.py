"""Confusion counts and scores: hand values, properties, the published code's figures."""

import json

import numpy as np
import pytest

from training.data.classes import IGNORE, LABEL_SPACES
from training.errors import UserError
from training.evaluation.confusion import Confusion, iou, scores


def random_pair(seed: int, classes: int = 19, size: tuple[int, int] = (40, 60)):
    rng = np.random.default_rng(seed)
    label = rng.integers(0, classes, size).astype(np.uint8)
    prediction = np.where(rng.random(size) < 0.5, label, rng.integers(0, classes, size)).astype(np.uint8)
    label[rng.random(size) < 0.1] = IGNORE
    prediction[rng.random(size) < 0.1] = IGNORE
    return label, prediction


def counted(*pairs, classes: int = 19) -> Confusion:
    confusion = Confusion(classes)
    for label, prediction in pairs:
        confusion.add(label, prediction)
    return confusion


def test_hand_counted_pixels():
    label = np.array([[0, 0, 1, 1, 2, 255]], np.uint8)
    prediction = np.array([[0, 1, 1, 1, 255, 0]], np.uint8)
    confusion = counted((label, prediction), classes=3)
    assert confusion.matrix.dtype == np.int64
    assert confusion.matrix.tolist() == [[1, 1, 0], [0, 2, 0], [0, 0, 0]]
    assert confusion.unpredicted.tolist() == [0, 0, 1]


def test_against_a_loop_over_pixels():
    label, prediction = random_pair(1)
    expected, silent = np.zeros((19, 19), int), np.zeros(19, int)
    for truth, answer in zip(label.ravel(), prediction.ravel(), strict=True):
        if truth != IGNORE and answer == IGNORE:
            silent[truth] += 1
        elif truth != IGNORE:
            expected[truth, answer] += 1
    confusion = counted((label, prediction))
    assert np.array_equal(confusion.matrix, expected)
    assert np.array_equal(confusion.unpredicted, silent)


def test_agrees_exactly_with_the_published_figures(shared_dir):
    reference = np.load(shared_dir / "reference" / "crst_miou_S.npz")
    confusion = counted((reference["label"], reference["pred"]))
    assert np.array_equal(confusion.matrix, reference["hist"])
    assert np.array_equal(np.nan_to_num(iou(confusion.matrix)), reference["iou_nan_to_zero"])
    ours = confusion.scores(LABEL_SPACES["cityscapes19"])
    assert ours["absent"] == ["train"]  # counted as 0 by the published program
    assert ours["miou"] == pytest.approx(100 * float(reference["miou"]) * 19 / 18)


def test_hand_computed_scores(label_space, before):
    values = before.scores(label_space)
    road, tree, car = 80 / (100 + 20), 60 / (80 + 22), 8 / (20 + 10)
    assert values["per_class_iou"] == pytest.approx(
        {"road": 100 * road, "tree | hedge": 100 * tree, "car": 100 * car, "tram": None}
    )
    assert values["miou"] == pytest.approx(100 * (road + tree + car) / 3)
    assert values["class_sets"] == pytest.approx({"4": values["miou"], "2": 50 * (road + car)})
    assert values["pixel_accuracy"] == pytest.approx(100 * 148 / 200)
    assert values["absent"] == ["tram"]
    assert values["truth_pixels"] == {"road": 100, "tree | hedge": 80, "car": 20, "tram": 0}


def test_class_that_is_only_predicted_counts_as_zero(label_space, after):
    values = after.scores(label_space)
    assert values["per_class_iou"]["tram"] == 0.0
    assert values["absent"] == []


def test_unpredicted_pixels_are_false_negatives(label_space, before):
    silent = Confusion(4, before.matrix, [100, 0, 0, 0])
    values = silent.scores(label_space)
    assert values["per_class_iou"]["road"] == pytest.approx(100 * 80 / 220)
    assert values["unpredicted"] == 100
    assert values["truth_pixels"]["road"] == 200
    assert values["pixel_accuracy"] == pytest.approx(100 * 148 / 300)
    assert Confusion(4, unpredicted=[0, 0, 0, 5]).scores(label_space)["per_class_iou"]["tram"] == 0.0


def test_nothing_counted_has_no_scores(label_space):
    values = scores(np.zeros((4, 4)), label_space)
    assert (values["miou"], values["pixel_accuracy"], values["class_sets"]["2"]) == (None, None, None)
    json.dumps(values, allow_nan=False)


def test_scores_are_plain_json_values(label_space, before):
    assert json.loads(json.dumps(before.scores(label_space), allow_nan=False)) == before.scores(label_space)


def test_synthia_13_is_a_mean_over_the_16_class_matrix():
    space = LABEL_SPACES["synthia16"]
    label, prediction = random_pair(4, classes=16)
    confusion = counted((label, prediction), classes=16)
    values = confusion.scores(space)
    for name, ids in space.class_sets.items():
        assert values["class_sets"][name] == pytest.approx(
            100 * iou(confusion.matrix, confusion.unpredicted)[list(ids)].mean()
        )
    assert {len(ids) for ids in space.class_sets.values()} == {16, 13}


@pytest.mark.parametrize("seed", range(5))
def test_renaming_the_classes_renames_the_scores(seed):
    label, prediction = random_pair(seed)
    order = np.random.default_rng(seed).permutation(19)
    table = np.full(256, IGNORE, np.uint8)
    table[:19] = order
    plain, renamed = counted((label, prediction)), counted((table[label], table[prediction]))
    assert np.array_equal(iou(renamed.matrix, renamed.unpredicted)[order], iou(plain.matrix, plain.unpredicted))


def test_perfect_prediction_scores_100():
    label = np.repeat(np.arange(19, dtype=np.uint8), 7).reshape(7, 19)
    values = counted((label, label)).scores(LABEL_SPACES["cityscapes19"])
    assert values["miou"] == 100.0
    assert values["pixel_accuracy"] == 100.0


def test_stored_counts_are_copied():
    matrix = np.zeros((2, 2), np.int64)
    Confusion(2, matrix).add(np.zeros((1, 1), np.uint8), np.zeros((1, 1), np.uint8))
    assert not matrix.any()


@pytest.mark.parametrize(
    ("label", "prediction", "said"),
    [
        (np.zeros((2, 3)), np.zeros((3, 2)), r"a\.png: the truth has size 2 x 3 and the prediction 3 x 2"),
        (np.full((2, 2), 11), np.zeros((2, 2)), r"a\.png: the truth holds id 11, .* ids 0 to 10"),
        (np.zeros((2, 2)), np.full((2, 2), 254), r"a\.png: the prediction holds id 254"),
        (np.full((2, 2), -1), np.zeros((2, 2)), r"the truth holds id -1"),
    ],
)
def test_wrong_input_is_refused_with_the_name_and_counts_nothing(label, prediction, said):
    confusion = Confusion(11)
    with pytest.raises(UserError, match=said):
        confusion.add(label.astype(np.int64), prediction.astype(np.int64), "a.png")
    assert not confusion.matrix.any()


def test_counts_of_other_spaces_do_not_mix(label_space):
    with pytest.raises(ValueError, match="need a matrix"):
        Confusion(3, np.zeros((2, 2)))
    with pytest.raises(ValueError, match="streets4"):
        Confusion(19).scores(label_space)


def test_the_mean_over_the_classes_in_the_truth_leaves_out_those_that_are_only_predicted():
    """Labels of another tool know fewer classes: each of the others counts as 0 once a pixel is predicted so."""
    space = LABEL_SPACES["cityscapes19"]
    matrix = np.zeros((19, 19), np.int64)
    matrix[0, 0], matrix[0, 5], matrix[13, 13] = 60, 20, 10
    values = scores(matrix, space)
    assert values["miou"] == pytest.approx(100 * (0.75 + 0 + 1) / 3)
    assert values["miou_in_truth"] == pytest.approx(100 * (0.75 + 1) / 2)
    assert scores(np.zeros((19, 19), np.int64), space)["miou_in_truth"] is None
