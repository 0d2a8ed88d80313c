"""What a loss term is."""

from dataclasses import dataclass

import keras

from models.levels import encoder_levels
from training.methods.step import Step


@dataclass(frozen=True)
class TermContext:
    """What a term may know of the training that it takes part in.

    classes: how many the network tells apart. seed: of the stage, for what the term draws. steps: of the whole
    training, for what changes over time.
    """

    network: keras.Model
    classes: int
    seed: int
    steps: int

    @property
    def level_channels(self) -> int:
        """Channels of all levels of the encoder together."""
        return sum(level.shape[-1] for level in encoder_levels(self.network, self.network.name))


class Term:
    """One summand of a method's loss.

    name: of its metric.
    weight: in the sum.
    needs: fields of `View` that the method fills only on demand, domains other than the source, "pseudo_labels"
        (labels of the target); a method that does not provide one of them refuses the term.
    setting: the setting that asked for the term, for messages; empty if the stage always has it.
    variables: what it keeps from step to step and moves in `__call__` (prototypes, queues), equal on all replicas.
        They are made in `build`.
    splits: can it be computed on parts of a batch, one after the other?
    """

    name: str
    weight: float
    needs: tuple[str, ...] = ()
    setting: str = ""
    variables: tuple = ()
    splits: bool = True

    def build(self, context: TermContext) -> None:
        """Take over what it needs of its training; called once, before the first step. Most terms need nothing."""

    def __call__(self, step: Step):
        """The value, a float32 scalar; on several replicas this replica's part of it."""
        raise TypeError(f"{type(self).__name__} must define __call__(step)")
