"""What evaluate.py shows where figures do not exist."""

import numpy as np

from training import evaluate
from training.data.classes import LABEL_SPACES
from training.evaluation.confusion import scores


def test_figures_that_do_not_exist_are_none(capsys):
    """SYNTHIA's 13 classes have no figure where truth and prediction hold only the three others."""
    space = LABEL_SPACES["synthia16"]
    matrix = np.zeros((16, 16), np.int64)
    matrix[3, 3] = 5
    evaluate._show(scores(matrix, space), space)
    said = capsys.readouterr().out
    assert "mIoU 100.00 % over synthia16" in said
    assert "mIoU over 13 classes: none" in said
    evaluate._show(scores(np.zeros((16, 16), np.int64), space), space)
    assert "mIoU none over synthia16, pixel accuracy none" in capsys.readouterr().out


def test_classes_that_the_truth_lacks_are_named_with_the_mean_over_the_others(capsys):
    space = LABEL_SPACES["camvid11"]
    matrix = np.zeros((11, 11), np.int64)
    matrix[0, 0], matrix[0, 8] = 30, 10
    evaluate._show(scores(matrix, space), space)
    said = capsys.readouterr().out
    assert "mIoU 37.50 % over camvid11" in said
    assert "not in the truth but predicted, so counted as 0 in the mean: car" in said
    assert "mIoU over the classes in the truth: 75.00 %" in said
