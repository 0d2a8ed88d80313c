"""What the pixels of a rare class are called: counts, confidences, and the line of the table."""

import numpy as np

from tests.benchmarks.rare_labels import Calls, table

NAMES = ("road", "car", "sign", "train")


def test_a_line_says_what_a_rare_class_is_called_and_how_surely():
    truth = np.full((10, 20), 255, np.uint8)
    truth[:5], truth[0, :2], truth[5] = 0, 2, 1
    probs = np.tile(np.float32([0.7, 0.1, 0.2, 0]), (10, 20, 1))
    probs[0, 1] = (0.1, 0.3, 0.6, 0)
    calls, later = Calls.of_none(4), Calls.of_none(4)
    calls.add(truth, probs)
    later.add(truth, np.tile(np.float32([0.1, 0.9, 0, 0]), (10, 20, 1)))
    np.testing.assert_array_equal(calls.pixels.sum(axis=1), [98, 20, 2, 0])
    np.testing.assert_allclose(calls.shares, np.array([98, 20, 2, 0]) / 120)
    lines = table({"source": calls, "round_1": later}, NAMES, (), below=0.02).splitlines()[2:]
    assert lines == [
        "| sign | 1.67 % | `source` | 50 % (at 0.60) | road 50 % (at 0.70) |",
        "|  |  | `round_1` | 0 % | car 100 % (at 0.90) |",
    ]
    (line,) = table({"source": calls}, NAMES, ("car",), below=0.02).splitlines()[2:]
    assert line.startswith("| car | 16.67 % | `source` | 0 % | road 100 % (at 0.70)")
