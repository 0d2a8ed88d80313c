"""Probabilities on the network's coarse grid, read at the picture's size a few rows at a time.

Bilinear, pixel centres at halves, with `tf.image.resize`'s own float32 operations in its order: equal to it to the bit
(on a CPU). A map of all classes at full size is never made.

The most likely class of each pixel is found cell by cell. A cell is what lies between four neighbours of the grid;
inside it every probability is a mean of its four corners. So a class that leads at all four, by more than rounding can
move, leads everywhere between them, and only its own probability must be mixed. All classes are mixed only in the cells
that this leaves undecided: along borders, a small part of a street.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from training.probability_maps.maxima import maxima

PIXELS_AT_ONCE = 8192  # all classes of so many pixels stay inside a core's second-level cache
SAFE = 1e-5  # lead, relative to the largest score of the cell; float32's rounding moves two scores by 2e-6 at most


class Enlarged:
    """Coarse probabilities `[h, w, c]` that stand for a map `[height, width, c]`, wherever one is read row by row.

    Args:
        coarse: float32 [h, w, c].
        size: (height, width) of the map.
        rows: which rows of the map, None = all.

    Attributes:
        shape: (rows, width, classes).
    """

    def __init__(self, coarse: np.ndarray, size: tuple[int, int], rows: range | None = None):
        self.coarse, self.size = coarse, size
        self.rows = range(size[0]) if rows is None else rows
        self.shape = (len(self.rows), size[1], coarse.shape[-1])

    def __getitem__(self, rows: slice) -> "Enlarged":
        """Some of the rows."""
        return Enlarged(self.coarse, self.size, self.rows[rows])

    def pieces(self) -> Iterator[tuple[slice, np.ndarray]]:
        """Yield (slice of row-major pixels, their probabilities float32 [c, pixels]) from top to bottom.

        The array is a buffer that the next piece reuses.
        """
        _, width, classes = self.shape
        down, across = self._axes()
        by_class = _by_class(self.coarse)
        longest = max(1, PIXELS_AT_ONCE // width)
        buffer = np.empty((classes, longest * width), np.float32)
        last, lower = -1, np.empty(0)
        for start, stop in itertools.pairwise((*down.starts.tolist(), len(down.first))):
            first, second = down.first[start], down.second[start]
            upper = lower if first == last else _widened(by_class[:, first], across)
            last, lower = second, _widened(by_class[:, second], across)
            step = lower - upper
            for top in range(start, stop, longest):
                rows = slice(top, min(top + longest, stop))
                piece = slice(rows.start * width, rows.stop * width)
                probs = buffer[:, : piece.stop - piece.start]
                mixed = probs.reshape(classes, -1, width)
                np.multiply(step[:, None], down.weight[rows, None], out=mixed)
                mixed += upper[:, None]
                yield piece, probs

    def whole(self) -> np.ndarray:
        """The map itself, float32 [rows, width, c]."""
        height, width, classes = self.shape
        probs = np.empty((height * width, classes), np.float32)
        for piece, by_class in self.pieces():
            probs[piece] = by_class.T
        return probs.reshape(self.shape)

    def at(self, pixels: np.ndarray, class_ids: np.ndarray) -> np.ndarray:
        """Probability float32 [n] of one class at each of n row-major pixels: int [n], class ids int [n]."""
        down, across = self._axes()
        row, column = np.divmod(pixels, self.shape[1])
        left, right, weight = across.first[column], across.second[column], across.weight[column]

        def between(rows: np.ndarray) -> np.ndarray:
            first = self.coarse[rows, left, class_ids]
            return first + (self.coarse[rows, right, class_ids] - first) * weight

        upper = between(down.first[row])
        return upper + (between(down.second[row]) - upper) * down.weight[row]

    def best_class(self, thresholds: np.ndarray | None, least: float) -> tuple[np.ndarray, np.ndarray]:
        """As `scores.best_class`, without a prior."""
        return _Cells(self.coarse, *self._axes(), thresholds).best_class(least)

    def _axes(self) -> tuple["_Axis", "_Axis"]:
        down, across = (_axis(*sides) for sides in zip(self.coarse.shape, self.size, strict=False))
        return down.part(self.rows), across


class _Cells:
    """The cells of a map; corners: for each of the four, its places on the coarse grid, int [cell rows, cell columns].

    Scores are probabilities divided by the thresholds, if there are any.
    """

    def __init__(self, coarse: np.ndarray, down: "_Axis", across: "_Axis", thresholds: np.ndarray | None):
        self.down, self.across, self.classes = down, across, coarse.shape[-1]
        self.probs = _by_class(coarse).reshape(self.classes, -1)
        self.divisor = None if thresholds is None else np.asarray(thresholds, np.float32)
        self.scores = self.probs if self.divisor is None else self.probs / self.divisor[:, None]
        rows, columns = ((axis.first[axis.starts], axis.second[axis.starts]) for axis in (down, across))
        self.corners = [np.add.outer(row * coarse.shape[1], column) for row in rows for column in columns]

    def best_class(self, least: float) -> tuple[np.ndarray, np.ndarray]:
        """As `scores.best_class`: the leaders of the decided cells, then all classes of the others."""
        leader, decided = self._decided(least)
        score = np.empty((len(self.down.cell), len(self.across.cell)), np.float32)
        label = np.empty(score.shape, np.uint8)
        self._mix_leaders(leader, score, label)
        rows, columns = np.nonzero(~decided)
        at_once = max(1, PIXELS_AT_ONCE // self.across.longest)
        for start in range(0, len(rows), at_once):
            part = slice(start, start + at_once)
            self._mix_all(rows[part], columns[part], score, label)
        return score, label

    def _decided(self, least: float) -> tuple[np.ndarray, np.ndarray]:
        """Of each cell the class that leads at its first corner, uint8, and whether that settles the cell."""
        best, winner = np.empty(self.scores.shape[1], np.float32), np.empty(self.scores.shape[1], np.uint8)
        maxima(self.scores, best, winner)
        winner = np.minimum(winner, self.classes - 1)  # NaN equals none of the classes
        others = self.scores.copy()
        others[winner, np.arange(len(winner))] = -np.inf
        with np.errstate(invalid="ignore"):  # infinite scores and NaN settle nothing
            lead = best - np.maximum.reduce(others, axis=0)
            at_corners = [(winner[corner], lead[corner], best[corner]) for corner in self.corners]
            leader, smallest, largest = at_corners[0]
            same = np.ones(leader.shape, bool)
            for other, lead_there, best_there in at_corners[1:]:
                same &= other == leader
                smallest, largest = np.minimum(smallest, lead_there), np.maximum(largest, best_there)
            return leader, (same & (smallest > SAFE * largest)) | (largest < least * (1 - SAFE))

    def _mix_leaders(self, leader: np.ndarray, score: np.ndarray, label: np.ndarray) -> None:
        """Write the leader of each cell, and its score, for all pixels, some rows at a time."""
        first, second, third, fourth = (self.probs[leader, corner] for corner in self.corners)
        upper, lower = (
            one.take(self.across.cell, axis=1) + (other - one).take(self.across.cell, axis=1) * self.across.weight
            for one, other in ((first, second), (third, fourth))
        )
        step, leaders = lower - upper, leader.take(self.across.cell, axis=1)  # [cell rows, width]
        at_once = max(1, PIXELS_AT_ONCE // label.shape[1])
        for start in range(0, len(label), at_once):
            rows = slice(start, start + at_once)
            cells = self.down.cell[rows]
            leaders.take(cells, axis=0, out=label[rows], mode="clip")  # out is written at once only in this mode
            step.take(cells, axis=0, out=score[rows], mode="clip")
            score[rows] *= self.down.weight[rows, None]
            score[rows] += upper.take(cells, axis=0)
            if self.divisor is not None:
                score[rows] /= self.divisor.take(label[rows])

    def _mix_all(self, rows: np.ndarray, columns: np.ndarray, score: np.ndarray, label: np.ndarray) -> None:
        """Write the best of all classes for the pixels of some cells, one row of each cell after the other."""
        first, second, third, fourth = (
            self.probs.take(corner[rows, columns], axis=1)[:, None] for corner in self.corners
        )
        x = self.across.positions(columns)  # [longest, cells]
        weight = self.across.weight[x]
        upper = first + (second - first) * weight  # [c, longest, cells]
        step = third + (fourth - third) * weight - upper
        best, winner = np.empty(x.size, np.float32), np.empty(x.size, np.uint8)
        mixed = np.empty_like(step)
        for y in self.down.positions(rows):
            np.multiply(step, self.down.weight[y], out=mixed)
            mixed += upper
            if self.divisor is not None:
                mixed /= self.divisor[:, None, None]
            maxima(mixed.reshape(self.classes, -1), best, winner)
            score[y, x], label[y, x] = best.reshape(x.shape), winner.reshape(x.shape)


@dataclass(frozen=True)
class _Axis:
    """Positions along one side of the map, and the cells they lie in: all between the same two neighbours.

    first, second: the two neighbours of each position, int [n]. weight: of the second, float32 [n]. cell: number of
    each position's cell, int [n]. starts: the first position of each cell.
    """

    first: np.ndarray
    second: np.ndarray
    weight: np.ndarray
    cell: np.ndarray
    starts: np.ndarray

    @property
    def longest(self) -> int:
        """Positions in the largest cell."""
        return int(self._lengths.max())

    @property
    def _lengths(self) -> np.ndarray:
        return np.diff(self.starts, append=len(self.first))

    def positions(self, cells: np.ndarray) -> np.ndarray:
        """The positions in some cells, int [longest, cells]; short cells repeat their last one."""
        return self.starts[cells] + np.minimum(np.arange(self.longest)[:, None], self._lengths[cells] - 1)

    def part(self, positions: range) -> "_Axis":
        return _with_cells(self.first[positions], self.second[positions], self.weight[positions])


def _axis(old: int, new: int) -> _Axis:
    return _with_cells(*interpolation(old, new))


def _with_cells(first: np.ndarray, second: np.ndarray, weight: np.ndarray) -> _Axis:
    changed = (np.diff(first) != 0) | (np.diff(second) != 0)
    starts = np.append(0, np.flatnonzero(changed) + 1)
    return _Axis(first, second, weight, np.append(0, np.cumsum(changed)), starts)


def interpolation(old: int, new: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each of `new` positions the two neighbours among `old`, int [new], and the second's weight, float32 [new]."""
    half = np.float32(0.5)
    position = (np.arange(new, dtype=np.float32) + half) * (np.float32(old) / np.float32(new)) - half
    lower = np.floor(position)
    first, second = np.maximum(lower, 0).astype(int), np.minimum(np.ceil(position), old - 1).astype(int)
    return first, second, position - lower


def _by_class(coarse: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(np.moveaxis(coarse, -1, 0), np.float32)


def _widened(row: np.ndarray, across: _Axis) -> np.ndarray:
    """float32 [c, width] of one coarse row [c, w]."""
    first = row.take(across.first, axis=1)
    return first + (row.take(across.second, axis=1) - first) * across.weight
