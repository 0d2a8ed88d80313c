"""Adversarial alignment in the output space: AdaptSegNet, AdvEnt, and the first stage of IAST and HIAST (section 3.1).

1. Draw a labelled source batch and a target batch; predict each in a forward pass of its own in training mode.
2. Turn the logits, on the loss grid, into maps: the soft-max, or AdvEnt's weighted self-information.
3. The discriminator scores both maps; the source's enters without gradient.
4. The segmenter descends cross-entropy on the source, `weight` times the discriminator's loss of the target's map with
   the source's domain label, and other terms (AdvEnt's MinEnt). The discriminator's variables do not change.
5. The discriminator descends `0.5 * [loss(source map, 0) + loss(target map, 1)]`. The segmenter's variables do not
   change.

Both gradients are taken before either network is updated, so both use the same forward passes. Where a batch is
computed in parts, both networks are updated after the last.
"""

from dataclasses import replace

import keras
import tensorflow as tf

from models.replicas import over_replicas
from training.losses import DOMAIN_LOSSES, discriminator_loss, self_information
from training.methods.mean_teacher import MeanTeacherTraining
from training.methods.method import Method
from training.methods.self_training import SelfTraining
from training.methods.step import Step, predict_together
from training.methods.terms import AdversarialTerm

DISCRIMINATOR_INPUTS = {"softmax": tf.nn.softmax, "self_information": self_information}
"""By name: logits `[b, h, w, classes]` -> the input of the discriminator, of the same shape."""


class AdversarialTraining(Method):
    """Batches: `{"source": {"image", "label"}, "target": {"image", "label"}}`.

    Of the target's label only the size is used, if no term asks for pseudo-labels.

    Args:
        discriminator: see `models.discriminator.build_discriminator`.
        terms: beside the adversarial one: `CrossEntropyTerm("source")`, for AdvEnt `MinimumEntropyTerm(weight)` too.
        discriminator_input: "softmax" or "self_information".
        loss: "lsgan" or "bce".
        weight: of the adversarial term.
        keep_optimizer: the segmenter's optimiser lasts too: for a training that is cut into stages.
        keep_discriminator_optimizer: the discriminator's does.
        others: of the method that a subclass adds the adversarial term to.

    Raises:
        ValueError: an unknown input or loss.
        UserError: a term needs what this method does not provide.
    """

    title = "alignment"
    provides = Method.provides | frozenset({"target", "scores"})

    def __init__(
        self,
        network: keras.Model,
        discriminator: keras.Model,
        terms,
        discriminator_input: str = "softmax",
        loss: str = "lsgan",
        weight: float = 0.05,
        loss_stride: int = 1,
        keep_optimizer: bool = False,
        keep_discriminator_optimizer: bool = True,
        **others,
    ):
        if discriminator_input not in DISCRIMINATOR_INPUTS:
            names = ", ".join(DISCRIMINATOR_INPUTS)
            raise ValueError(f"no discriminator input {discriminator_input!r}: choose from {names}")
        terms = [*terms, AdversarialTerm(weight, loss)]
        super().__init__(network=network, terms=terms, loss_stride=loss_stride, **others)
        self.discriminator, self.keep_optimizer = discriminator, keep_optimizer
        self.keep_discriminator_optimizer = keep_discriminator_optimizer
        self.as_map, self.domain_loss = DISCRIMINATOR_INPUTS[discriminator_input], DOMAIN_LOSSES[loss]
        self.trackers.append(keras.metrics.Mean("discriminator"))

    def compile(self, optimizer, discriminator_optimizer, **keywords):
        """Keras' `compile` with an optimiser for each network."""
        super().compile(optimizer=optimizer, **keywords)
        self.discriminator_optimizer = discriminator_optimizer
        discriminator_optimizer.build(self.discriminator.trainable_variables)

    @property
    def networks(self) -> list[keras.Model]:
        return [*super().networks, self.discriminator]

    @property
    def descended_variables(self) -> list:
        """The segmenter's, then the discriminator's."""
        return [*super().descended_variables, *self.discriminator.trainable_variables]

    @property
    def resumable_variables(self) -> list:
        return [*super().resumable_variables, *self.discriminator_optimizer.variables]

    @property
    def lasting_variables(self) -> dict[str, list]:
        """The discriminator, and the optimisers that are kept: further rounds continue with them."""
        other = self.discriminator_optimizer
        return {
            **super().lasting_variables,
            **({"optimizer": self.optimizer.variables} if self.keep_optimizer else {}),
            "discriminator": self.discriminator.weights,
            **({"discriminator_optimizer": other.variables} if self.keep_discriminator_optimizer else {}),
        }

    def views(self, batch) -> Step:
        """The forward pass that the discriminator's scores are added to."""
        return predict_together(self.seen, batch["source"], batch["target"], self.loss_stride, self.needs)

    def forward(self, batch) -> Step:
        step = self.views(batch)
        source_map = tf.stop_gradient(self.as_map(step.source.logits))
        return replace(
            step,
            source=replace(step.source, scores=self.discriminator(source_map)),
            target=replace(step.target, scores=self.discriminator(self.as_map(step.target.logits))),
        )

    def gradients_of(self, batch):
        # one forward pass and both losses
        with tf.GradientTape(persistent=True) as tape:
            step = self.forward(batch)
            values, loss = self.sum_of_terms(step)
            discriminator_value = discriminator_loss(self.domain_loss, step.source.scores, step.target.scores)
            discriminator_scaled = self.discriminator_optimizer.scale_loss(discriminator_value)
        # the gradients of each by its own network
        gradients = tape.gradient(loss, self.trained_variables)
        gradients += tape.gradient(discriminator_scaled, self.discriminator.trainable_variables)
        del tape  # a persistent tape keeps the activations of an eager step
        return [*values, discriminator_value], gradients

    def descend(self, gradients):
        """One step of both optimisers: the segmenter's, then the discriminator's."""
        count = len(self.trained_variables)
        super().descend(gradients[:count])
        self.discriminator_optimizer.apply(over_replicas(gradients[count:]), self.discriminator.trainable_variables)


class AdversarialSelfTraining(AdversarialTraining, SelfTraining):
    """A round of self-training that keeps the adversarial term (BDL, CVPR 2019; UPLR): the target has pseudo-labels.

    Batches and arguments of both. With ClassMix the discriminator scores the maps of the mixed images as the target's.
    """

    title = "self-training with the adversarial term"
    provides = AdversarialTraining.provides | SelfTraining.provides
    views = SelfTraining.forward


class AdversarialMeanTeacher(AdversarialTraining, MeanTeacherTraining):
    """A round with a mean teacher that keeps the adversarial term: the maps are the student's, of the strong view.

    Batches and arguments of both; "source" is not left out.
    """

    title = "self-training with a mean teacher and the adversarial term"
    provides = AdversarialTraining.provides | MeanTeacherTraining.provides
    views = MeanTeacherTraining.forward
