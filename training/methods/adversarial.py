"""Adversarial warm-up in the output space: AdaptSegNet, AdvEnt, and the first stage of IAST and HIAST (section 3.1).

1. Draw a labelled source batch and a target batch; predict each in a pass of its own in training mode.
2. Turn the logits, on the loss grid, into maps: the soft-max, or AdvEnt's weighted self-information.
3. The discriminator scores both maps; the source's enters without gradient.
4. The segmenter descends cross-entropy on the source, `weight` times the loss of calling the target's map source, and
   other terms (AdvEnt's MinEnt). The discriminator's variables stay.
5. The discriminator descends `0.5 * [loss(source map, 0) + loss(target map, 1)]`. The segmenter's variables stay.

Both gradients are taken before either network moves, so the same passes serve both updates.
"""

from dataclasses import replace

import keras
import tensorflow as tf

from models.replicas import over_replicas
from training.losses import DOMAIN_LOSSES, discriminator_loss, self_information
from training.methods.step import Step, predict_together
from training.methods.term_training import TermTraining
from training.methods.terms import Adversarial

DISCRIMINATOR_INPUTS = {"softmax": tf.nn.softmax, "self_information": self_information}
"""By name: logits `[b, h, w, classes]` -> what the discriminator sees, of the same shape."""


class AdversarialTraining(TermTraining):
    """Batches: `{"source": {"image", "label"}, "target": {"image", "label"}}`; the target's label gives only the grid.

    Args:
        discriminator: see `models.discriminator.build_discriminator`.
        terms: beside the adversarial one, usually `CrossEntropy("source")` and for AdvEnt `MinimumEntropy(weight)`.
        discriminator_input: "softmax" or "self_information".
        loss: "lsgan" or "bce".
        weight: of the adversarial term.

    Raises:
        ValueError: an unknown input or loss.
    """

    def __init__(
        self,
        network: keras.Model,
        discriminator: keras.Model,
        terms,
        discriminator_input: str = "softmax",
        loss: str = "lsgan",
        weight: float = 0.05,
        loss_stride: int = 1,
    ):
        if discriminator_input not in DISCRIMINATOR_INPUTS:
            names = ", ".join(DISCRIMINATOR_INPUTS)
            raise ValueError(f"no discriminator input {discriminator_input!r}: choose from {names}")
        super().__init__(network, [*terms, Adversarial(weight, loss)], loss_stride)
        self.discriminator = discriminator
        self.as_map, self.domain_loss = DISCRIMINATOR_INPUTS[discriminator_input], DOMAIN_LOSSES[loss]
        self.trackers.append(keras.metrics.Mean("discriminator"))

    def compile(self, optimizer, discriminator_optimizer, **keywords):
        """Keras' `compile` with an optimiser for each network."""
        super().compile(optimizer=optimizer, **keywords)
        self.discriminator_optimizer = discriminator_optimizer
        discriminator_optimizer.build(self.discriminator.trainable_variables)

    @property
    def resumable_variables(self) -> list:
        rival = [*self.discriminator.weights, *self.discriminator_optimizer.variables]
        return [*super().resumable_variables, *rival]

    def look(self, batch) -> Step:
        step = predict_together(self.network, batch["source"], batch["target"], self.loss_stride)
        source_map = tf.stop_gradient(self.as_map(step.source.logits))
        return Step(
            source=replace(step.source, scores=self.discriminator(source_map)),
            target=replace(step.target, scores=self.discriminator(self.as_map(step.target.logits))),
        )

    def train_step(self, batch):
        with tf.GradientTape(persistent=True) as tape:
            step = self.look(batch)
            values, loss = self.sum_of_terms(step)
            rival_value = discriminator_loss(self.domain_loss, step.source.scores, step.target.scores)
            rival_loss = self.discriminator_optimizer.scale_loss(rival_value)
        rival_variables = self.discriminator.trainable_variables
        rival_gradients = over_replicas(tape.gradient(rival_loss, rival_variables))
        self.descend(tape, loss)
        self.discriminator_optimizer.apply(rival_gradients, rival_variables)
        del tape  # a persistent tape keeps the activations of an eager step
        return self.logged([*values, rival_value])
