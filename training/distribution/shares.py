"""The part of the work of this process: rows of the training batches, and images to predict.

The result of a run does not depend on how many processes and replicas share it. A training stream is a pure function of
seed and step, so each process computes its own rows of every global batch and no others; images to predict are dealt
out in whole batches, each made of the same images as on one device.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from training.errors import UserError


@dataclass(frozen=True)
class Share:
    """Process number `process` of `processes`, each with `replicas` replicas (devices that train)."""

    process: int = 0
    processes: int = 1
    replicas: int = 1

    def replica_batch(self, batch_size: int, accumulate: int = 1, setting: str = "data.schedules.STAGE") -> int:
        """Rows of a global batch for one replica, which computes them in `accumulate` equal parts.

        setting: where the batch's schedule stands in the settings, for the error.

        Raises:
            UserError: the batch cannot be divided evenly.
        """
        everywhere = self.processes * self.replicas
        if batch_size % (everywhere * accumulate):
            where, other = f"over {everywhere} devices", "other --devices"
            if accumulate > 1:
                where = f"into {accumulate} parts" if everywhere == 1 else f"{where} with {accumulate} parts on each"
                other = "another accumulate" if everywhere == 1 else f"another accumulate, or {other}"
            raise UserError(
                f"a batch of {batch_size} images cannot be divided evenly {where}: choose a "
                f"batch size that is a multiple of {everywhere * accumulate} "
                f"(--set {setting}.batch_size=N), or {other}"
            )
        return batch_size // everywhere

    def rows(self, batch_size: int) -> np.ndarray:
        """The rows of a global batch that this process computes, those of its first replica first: int64."""
        mine = self.replica_batch(batch_size) * self.replicas
        return np.arange(self.process * mine, (self.process + 1) * mine)

    def in_batches(self, count: int, batch_size: int) -> np.ndarray:
        """Of `count` images predicted `batch_size` at a time, those in every `processes`-th batch: int64 indices."""
        images = np.arange(count)
        return images[images // batch_size % self.processes == self.process]


ALONE = Share()


@dataclass(frozen=True)
class Workers:
    """The other processes that work on other images of the same set, as code without TensorFlow uses them.

    add_up: gives the sum of an array over all workers, who call it equally often and in the same order. on_chief: does
    a work on the chief alone, gives every worker its result. classes: of the label space, for a worker may have no
    image.
    """

    add_up: Callable[[np.ndarray], np.ndarray]
    on_chief: Callable[[Callable[[], Any]], Any]
    classes: int
