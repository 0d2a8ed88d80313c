"""`Method`: the `train_step` that all methods share, and which variables a stage must keep."""

from collections.abc import Iterable

import keras
import numpy as np
import tensorflow as tf

from models.batch_norm import batch_norm_layers
from models.generators import generator_states
from models.levels import with_levels
from models.replicas import over_replicas
from training.errors import UserError
from training.methods.parts import count_regions, sum_over_parts, with_counts
from training.methods.step import Step

NEEDS = {
    "pseudo_labels": "the pseudo-labels of adaptation",
    "teacher_probs": "adaptation.mean_teacher=on",
    "mixed": "an adaptation of the kind Online",
    "masked": "a mean teacher",
    "frozen_levels": "an adaptation of the kind Online",
    "teacher_levels": "an adaptation of the kind Online",
}
"""What a user has to ask for, by `Term.needs`; what no setting decides has its own name."""


class Method(keras.Model):
    """Minimises a weighted sum of terms over the views that `forward(batch)` returns; logs each term by its name.

    A subclass defines `forward` and states what it `provides`. If it moves more than the weights of `network`, it says
    so in `networks`, `trained_variables`, `resumable_variables`, `lasting_variables` and `result_weights`; if more than
    one loss is descended, in `descended_variables`, `gradients_of` and `descend` too.

    Args:
        network: functional model, image -> {"logits", "features"}.
        terms: instances of `training.methods.terms.Term`.
        loss_stride: the loss is taken on every n-th pixel of each row and column of the label.

    Raises:
        UserError: a term needs what this method does not provide.
    """

    title = "this method"
    provides: frozenset[str] = frozenset({"features", "levels"})
    """What terms may ask for in `Term.needs`."""
    accumulate = 1
    """Parts in which a step computes its batch, one after the other; `compile` sets it."""

    def __init__(self, network: keras.Model, terms, loss_stride: int = 1):
        super().__init__()
        self.network = network
        self.terms = tuple(terms)
        self.check_terms(self.terms)
        self.needs = frozenset(need for term in self.terms for need in term.needs)
        self.seen = with_levels(network) if "levels" in self.needs else network
        self.loss_stride = loss_stride
        self.trackers = [keras.metrics.Mean(term.name) for term in self.terms]
        self.built = True

    @classmethod
    def check_terms(cls, terms: Iterable, accumulate: int = 1) -> None:
        """Refuse terms that this method cannot compute; call it before anything is trained.

        Raises:
            UserError: a term needs what this method does not provide, or cannot be computed in `accumulate` parts.
        """
        for term in terms:
            asked = term.setting or term.name
            for need in term.needs:
                if need not in cls.provides:
                    raise UserError(f"{asked} needs {NEEDS.get(need, need)}: {cls.title} cannot compute it")
            if accumulate > 1 and not term.splits:
                raise UserError(
                    f"{asked} needs the whole batch at once, so that accumulate={accumulate} cannot divide it: set "
                    "accumulate=1 in the schedule of its stage, or leave the term out"
                )

    def compile(self, optimizer, accumulate: int = 1, **keywords):
        """Keras' `compile`; `accumulate`: parts of a step, see `training.methods.parts`.

        Raises:
            UserError: a term cannot be computed in parts.
        """
        self.check_terms(self.terms, accumulate)
        super().compile(optimizer=optimizer, **keywords)
        self.accumulate = accumulate

    @property
    def metrics(self):
        return self.trackers

    @property
    def splits(self) -> bool:
        """Can a step be computed in parts? By default if every term can, and no batch-norm is trained."""
        trains = any(layer.statistics == "train" for layer in batch_norm_layers(self.network))
        return not trains and all(term.splits for term in self.terms)

    # Variables

    @property
    def networks(self) -> list[keras.Model]:
        """The models whose variables move in a step; by default the network alone."""
        return [self.network]

    @property
    def trained_variables(self) -> list:
        """What the optimiser moves; by default the network's trainable variables, and those of the terms."""
        return [*self.network.trainable_variables, *self.trained_by_terms]

    @property
    def trained_by_terms(self) -> list:
        """What the terms have beside the network that is trained; like a head, it starts without ImageNet weights."""
        return [variable for term in self._groups.values() for variable in term.trained]

    @property
    def descended_variables(self) -> list:
        """What `gradients_of` takes gradients of; by default the trained variables."""
        return self.trained_variables

    @property
    def resumable_variables(self) -> list:
        """Everything that moves within a stage: a stage that finds it again continues bit-equal.

        By default the weights and the states of the random generators of all `networks`, the optimiser, which must be
        built, and what the terms keep. Keras' `weights` leaves the generators out.
        """
        states = [variable for network in self.networks for variable in (*network.weights, *generator_states(network))]
        kept = [variable for variables in self._kept_by_terms.values() for variable in variables]
        return [*states, *self.optimizer.variables, *kept]

    @property
    def lasting_variables(self) -> dict[str, list]:
        """Groups of variables, by name, that are kept from one stage to the next beside the result's weights.

        By default what the terms keep.
        """
        return self._kept_by_terms

    @property
    def _kept_by_terms(self) -> dict[str, list]:
        return {name: list(term.variables) for name, term in self._groups.items() if term.variables}

    @property
    def _groups(self) -> dict:
        """One term of each group of terms that have the same variables."""
        return {term.group or term.name: term for term in self.terms}

    def result_weights(self) -> list[np.ndarray]:
        """The weights that the network gets at the end of the stage, in the order of `network.set_weights`."""
        return self.network.get_weights()

    # One step

    def prepared(self, batch):
        """The batch with what the step needs beside it and no gradient flows through; by default nothing more."""
        return batch

    def forward(self, batch) -> Step:
        """The forward pass on a batch: the views that the terms are computed from. Each method defines it."""
        raise TypeError(f"{type(self).__name__} must define forward(batch)")

    def train_step(self, batch):
        """Gradients of the whole batch, at once or in parts; one step of the optimiser; all metrics by name."""
        values, gradients = self.gradients_of_all(batch)
        self.descend(gradients)
        optimizer = getattr(self.optimizer, "inner_optimizer", self.optimizer)  # of a loss-scaling one
        for term in self._groups.values():
            term.after_step(optimizer)
        return self.logged(values)

    def gradients_of_all(self, batch) -> tuple[list, list]:
        """`gradients_of` this replica's whole batch: the sums over its parts, where it is computed in several."""
        prepared = self.prepared(batch)
        if self.accumulate == 1:
            return self.gradients_of(prepared)
        # Of the domains that came in the batch: their labels, changed perhaps, are not on the grid of the loss yet.
        counts = count_regions({name: prepared[name] for name in batch}, self.loss_stride)
        of_part = lambda part: self.gradients_of(with_counts(part, counts))  # noqa: E731
        return sum_over_parts(of_part, prepared, self.accumulate, len(self.trackers), self.descended_variables)

    def gradients_of(self, batch) -> tuple[list, list]:
        """One forward and one backward pass on a prepared batch.

        Returns:
            values: one for each metric, float32 scalars.
            gradients: of the loss by `descended_variables`; of both, what these rows add to the global batch's.
        """
        with tf.GradientTape() as tape:
            values, loss = self.sum_of_terms(self.forward(batch))
        return values, tape.gradient(loss, self.trained_variables)

    def sum_of_terms(self, step: Step):
        """The value of each term, and their weighted sum, scaled as mixed precision requires."""
        values = [term(step) for term in self.terms]
        loss = tf.add_n([term.weight * value for term, value in zip(self.terms, values, strict=True)])
        return values, self.optimizer.scale_loss(loss)

    def descend(self, gradients: list) -> None:
        """One step of the optimiser, with gradients that are summed over the replicas."""
        self.optimizer.apply(over_replicas(gradients), self.trained_variables)

    def logged(self, values) -> dict:
        """Update the metrics with the values of the terms, in their order; all metrics by name."""
        for tracker, value in zip(self.trackers, over_replicas(values), strict=True):
            tracker.update_state(value)
        return {tracker.name: tracker.result() for tracker in self.trackers}
