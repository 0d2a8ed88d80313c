"""What a loss term is."""

from dataclasses import dataclass

import keras
import numpy as np

from models.catalogue import NETWORKS
from models.levels import encoder_levels
from training.data.classes import LabelSpace
from training.methods.step import Step


@dataclass(frozen=True)
class TermContext:
    """What a term may know of the training that it takes part in.

    space: the classes that the network tells apart. seed: of the stage, for what the term draws. steps: of the whole
    training, for what changes over time. loss_stride: image pixels per pixel of the label, level_stride: per cell of
    the encoder's last level, along a side. prior: what logit adjustment has taken from the logits, float32 `[classes]`;
    None without it.
    """

    network: keras.Model
    space: LabelSpace
    seed: int
    steps: int
    loss_stride: int = 1
    level_stride: int = 8
    prior: np.ndarray | None = None

    @property
    def classes(self) -> int:
        """How many classes there are."""
        return self.space.count

    @property
    def level_channels(self) -> list[int]:
        """The channels of each level of the encoder."""
        levels = encoder_levels(self.network, NETWORKS[self.network.name].backbone)
        return [level.shape[-1] for level in levels]

    @property
    def classifier_channels(self) -> int:
        """The channels of the map that the classifier sees, the network's "features"."""
        return self.network.output["features"].shape[-1]

    @property
    def classifier_stride(self) -> int:
        """Image pixels per cell of that map, along a side."""
        side = 256
        return side // self.network.compute_output_shape((1, side, side, 3))["features"][1]


class Term:
    """One summand of a method's loss.

    name: of its metric.
    weight: in the sum.
    needs: fields of `View` that the method fills only on demand, domains other than the source, "pseudo_labels"
        (labels of the target); a method that does not provide one of them refuses the term.
    setting: the setting that asked for the term, for messages; empty if the stage always has it.
    variables: what it keeps from step to step, equal on all replicas: what it moves in `__call__` (prototypes, queues)
        and what the optimiser trains. They are made in `build`.
    trained: those of them that the optimiser trains.
    group: the name of the variables in checkpoints, if not that of the term: terms of one group have the same ones.
    splits: it is a sum over pixels, divided by a number that does not depend on predictions, so that its values for the
        parts of a batch add up to that of the whole. A term that does not split is refused with `accumulate` above 1.
    """

    name: str
    weight: float
    needs: tuple[str, ...] = ()
    setting: str = ""
    variables: tuple = ()
    trained: tuple = ()
    group: str = ""
    splits: bool = True

    def build(self, context: TermContext) -> None:
        """Take over what it needs of its training; called once, before the first step. Most terms need nothing."""

    def __call__(self, step: Step):
        """The value, a float32 scalar; of one share of the global batch (replica, part) what it adds to the value."""
        raise TypeError(f"{type(self).__name__} must define __call__(step)")

    def after_step(self, optimizer) -> None:
        """What is done in the graph after the step of the optimiser, for one term of a group; most do nothing."""
