"""Results come in the order of the items, few items wait, and an error is raised in its turn."""

import threading

import pytest

from training.distribution.threads import MOST_THREADS, in_order


def test_order_is_kept_whatever_finishes_first():
    first = threading.Event()

    def work(number: int) -> int:
        if number == 1:
            first.set()
        elif number == 0:
            first.wait(0.2)  # with one core there is no second thread to wait for
        return number * 10

    assert list(in_order(work, ((number,) for number in range(20)))) == list(range(0, 200, 10))


def test_few_items_are_made_ahead():
    made = []

    def items():
        for number in range(50):
            made.append(number)
            yield (number,)

    for taken, _ in enumerate(in_order(lambda number: number, items()), start=1):
        assert len(made) - taken <= MOST_THREADS + 1


def test_an_error_comes_in_its_turn():
    results = in_order(lambda number: 1 // number, ((number,) for number in (1, 1, 0, 1)))
    assert [next(results), next(results)] == [1, 1]
    with pytest.raises(ZeroDivisionError):
        next(results)
