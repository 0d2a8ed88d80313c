"""The table of selectors: the bisection, and what its columns say."""

import numpy as np
import pytest

from tests.benchmarks.selected_labels import Labels, bisected, table


@pytest.mark.parametrize(("wanted", "found"), [(0.25, 0.5), (1.0, 1.0), (2.0, 1.0)])
def test_the_share_is_found_at_which_as_much_is_kept(wanted, found):
    assert bisected(lambda share: share**2, wanted) == pytest.approx(found, abs=1 / 256)


def test_a_line_has_the_share_of_right_labels_of_all_and_of_each_class():
    matrix = np.array([[6, 0, 0], [2, 1, 0], [0, 1, 0]])  # of the labels 6 of 8, 1 of 2 and none of none are right
    line = table([Labels("cbst", matrix, pixels=20)], ("road", "car", "train")).splitlines()[-1]
    assert line == "| cbst | 50.0 | 70.0 | 62.5 | 75.0 | 50.0 |  |"
