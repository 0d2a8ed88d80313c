"""The `train_step` that source training and self-training share: look, sum the terms, descend."""

import keras
import tensorflow as tf

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

    def train_step(self, batch):
        variables = self.network.trainable_variables
        with tf.GradientTape() as tape:
            step = self.look(batch)
            values = [term(step) for term in self.terms]
            loss = tf.add_n([term.weight * value for term, value in zip(self.terms, values, strict=True)])
            loss = self.optimizer.scale_loss(loss)
        self.optimizer.apply(tape.gradient(loss, variables), variables)
        for tracker, value in zip(self.trackers, values, strict=True):
            tracker.update_state(value)
        return {tracker.name: tracker.result() for tracker in self.trackers}
