"""What several worker processes of one run do together: add up, wait for the chief, notice that one is lost.

With one process all of it is the identity. Every worker must make these calls in the same order.
"""

import contextlib
import pickle
from collections.abc import Callable, Iterator
from typing import TypeVar

import numpy as np
import tensorflow as tf

from models.replicas import replica_number
from training.distribution.devices import is_chief, share_of_this_process
from training.distribution.shares import Workers
from training.errors import Resumable

T = TypeVar("T")

LOST = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
)
"""What an exchange between workers ends with when one of them does not answer."""


def sum_over_workers(values: np.ndarray) -> np.ndarray:
    """The sum of an array of one shape over all workers, exact for integers; of the same type."""
    share = share_of_this_process()
    if share.processes == 1:
        return values
    values = np.asarray(values)

    def contribute(mine):
        counted = tf.cast(replica_number() % share.replicas == 0, mine.dtype)  # once per worker, not once per device
        return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, mine * counted)

    strategy = tf.distribute.get_strategy()
    exchanged = values.astype(np.float64 if values.dtype.kind == "f" else np.int64)
    total = strategy.run(tf.function(contribute, autograph=False), args=(tf.constant(exchanged),))
    return strategy.experimental_local_results(total)[0].numpy().astype(values.dtype)


def on_chief(work: Callable[[], T]) -> T:
    """Do `work` on the chief alone, which writes the run directory; every worker waits and gets what it returned."""
    share = share_of_this_process()
    if share.processes == 1:
        return work()
    said = pickle.dumps(work()) if share.process == 0 else b""
    size = int(sum_over_workers(np.array(len(said))))
    words = np.frombuffer(said.ljust(size + -size % 8, b"\0"), np.int64)  # zeros on all but the chief
    return pickle.loads(sum_over_workers(words).tobytes()[:size])


def workers_of(classes: int) -> Workers | None:
    """These functions for a label space of so many classes; None with one process."""
    return Workers(sum_over_workers, on_chief, classes) if share_of_this_process().processes > 1 else None


def chief_first(work: Callable[[], T]) -> T:
    """Do `work` on the chief, which may write what it reads, and then on every other worker."""
    done = [work()] if is_chief() else []
    on_chief(lambda: None)
    return done[0] if done else work()


@contextlib.contextmanager
def noticing_loss(run: str = "RUN") -> Iterator[None]:
    """Say in one sentence that another worker is gone, and how the run in the directory `run` goes on.

    Raises:
        Resumable: an exchange with another worker failed.
    """
    try:
        yield
    except LOST as error:
        if share_of_this_process().processes == 1:
            raise
        raise Resumable(
            "another worker of this run is gone (its own output tells why): start all workers again with "
            f"--resume {run}"
        ) from error
