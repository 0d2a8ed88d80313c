"""The `train_step` that all methods share: look, sum the terms, descend."""

import keras
import tensorflow as tf

from models.replicas import over_replicas
from training.methods.step import Step


class TermTraining(keras.Model):
    """Minimises a sum of named terms over the views that `look(batch)` returns; each term is logged by its name.

    Args:
        network: functional model, image -> {"logits", "features"}; the only part whose weights move.
        terms: callables `term(step) -> scalar` with `.name` and `.weight` (`training/methods/terms.py`).
        loss_stride: the loss looks at every n-th pixel of each row and column of the label.
    """

    def __init__(self, network: keras.Model, terms, loss_stride: int = 1):
        super().__init__()
        self.network = network
        self.terms = tuple(terms)
        self.loss_stride = loss_stride
        self.trackers = [keras.metrics.Mean(term.name) for term in self.terms]
        self.built = True

    @property
    def metrics(self):
        return self.trackers

    def look(self, batch) -> Step:
        """Run the network on the batch and hand the terms what they need. Each method says how."""
        raise TypeError(f"{type(self).__name__} must define look(batch)")

    @property
    def resumable_variables(self) -> list:
        """Everything that a stage under way must find again after a restart; the optimiser must be built."""
        return [*self.network.weights, *self.optimizer.variables]

    @property
    def lasting_variables(self) -> dict[str, list]:
        return {}

    def result_weights(self) -> list:
        return self.network.get_weights()

    def train_step(self, batch):
        with tf.GradientTape() as tape:
            values, loss = self.sum_of_terms(self.look(batch))
        self.descend(tape, loss)
        return self.logged(values)

    def sum_of_terms(self, step: Step):
        """The value of each term, and their weighted sum as the optimiser wants it under mixed precision."""
        values = [term(step) for term in self.terms]
        loss = tf.add_n([term.weight * value for term, value in zip(self.terms, values, strict=True)])
        return values, self.optimizer.scale_loss(loss)

    def descend(self, tape: tf.GradientTape, loss) -> None:
        variables = self.network.trainable_variables
        self.optimizer.apply(over_replicas(tape.gradient(loss, variables)), variables)

    def logged(self, values) -> dict:
        """Update the metrics with the terms' values, in their order, and give all that is to be logged."""
        for tracker, value in zip(self.trackers, over_replicas(values), strict=True):
            tracker.update_state(value)
        return {tracker.name: tracker.result() for tracker in self.trackers}
