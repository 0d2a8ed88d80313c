"""One round of self-training: real labels on the source, pseudo-labels on the target (CBST, CRST).

1. Draw a source batch with labels and a target batch with this round's pseudo-labels (255 = not selected). With
   ClassMix, source pixels are pasted into the target images and their labels, see `class_mix.py`.
2. Predict each in a forward pass of its own: trained batch-norm normalises one domain at a time, and its moving
   statistics, which predictions use, follow the target's.
3. LRENT only: a copy of the network from before the round predicts the target crops, their colours unchanged, without
   gradient, at one scale or the mean of several. Its probabilities, divided by the round's thresholds, give the soft
   labels, which are never stored.
4. Sum the terms and descend.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

import keras
import tensorflow as tf
from keras import ops

from models.layers import scaled
from training.methods.class_mix import ClassMixer
from training.methods.method import Method
from training.methods.step import Step, on_grid_of, predict_domains


class SoftLabeller:
    """LRENT's soft labels (CRST, section 4.2): `y_k ~ (p_k / lambda_k) ** (1 / alpha)`.

    Args:
        network: a copy of the network that made the round's labels; never trained.
        thresholds: float `[classes]`, lambda of the round per class, 1 for a class without pixels.
        alpha: temperature; as it goes to 0 the soft label becomes CBST's hard one.
        scales: p is the mean of the predictions for the image at these scales, every second one of the mirrored image.
        larger: (height, width), how much larger `network` is to see the images than the student does.
    """

    def __init__(
        self,
        network: keras.Model,
        thresholds,
        alpha: float,
        scales: Sequence[float] = (1.0,),
        larger: tuple[float, float] = (1.0, 1.0),
    ):
        self.network, self.alpha, self.larger = network, alpha, larger
        self.views = [(scale, bool(number % 2)) for number, scale in enumerate(scales)]
        self.log_thresholds = tf.constant(thresholds, tf.float32)[None, None, None]
        self.log_thresholds = tf.math.log(self.log_thresholds)

    def added_to(self, step: Step, batch) -> Step:
        """`step` with the soft labels of its target, which the "weak" view of the batch's target is predicted for."""
        soft_label = self(batch["target"]["weak"], step.target.label, step.target.pasted)
        return replace(step, target=replace(step.target, soft_label=soft_label))

    def __call__(self, image, label, pasted=None):
        """The soft labels on the grid of `label`: float32 `[b, h, w, classes]`, no gradient.

        Args:
            image: float32 `[b, height, width, 3]`, colours unchanged.
            label: integer `[b, h, w]`.
            pasted: bool `[b, h, w]`, pixels of the source, whose soft label is their `label`; None = there are none.
        """
        views = tf.stack([self._log_probs(image, label, *view) for view in self.views])
        log_probs = tf.reduce_logsumexp(views, axis=0) - math.log(len(self.views))
        soft = tf.stop_gradient(ops.softmax((log_probs - self.log_thresholds) / self.alpha, axis=-1))
        if pasted is None:
            return soft
        return tf.where(pasted[..., None], tf.one_hot(tf.cast(label, tf.int32), soft.shape[-1]), soft)

    def _log_probs(self, image, label, scale: float, mirrored: bool):
        """Of one view, turned back, on the grid of `label`."""
        height, width = self.larger
        seen = scaled(image[:, :, ::-1] if mirrored else image, (scale * height, scale * width))
        logits = self.network(seen, training=False)["logits"]
        return ops.log_softmax(on_grid_of(label, logits[:, :, ::-1] if mirrored else logits), axis=-1)


class SelfTraining(Method):
    """Batches: `{"source": {"image", "label"}, "target": {"image", "label"}}`, all images of a batch of one size.

    "source" may be left out (IAST). LRENT's target has "weak" too, the view without changes of colour, from which the
    soft labels are made.

    Args:
        network, terms, loss_stride: as in `Method`.
        soft_labeller: of LRENT.
        mixer: pastes source pixels into the target; the batches then have "source", and its "position".
    """

    title = "self-training without a mean teacher"
    provides = Method.provides | frozenset({"target", "pseudo_labels", "soft_label"})

    def __init__(
        self,
        network: keras.Model,
        terms,
        loss_stride: int = 1,
        soft_labeller: SoftLabeller | None = None,
        mixer: ClassMixer | None = None,
    ):
        super().__init__(network, terms, loss_stride)
        self.soft_labeller, self.mixer = soft_labeller, mixer

    def prepared(self, batch) -> dict:
        return batch if self.mixer is None else self.mixer.pasted(batch)

    def forward(self, batch) -> Step:
        step = predict_domains(self.seen, batch, self.loss_stride, self.needs)
        return step if self.soft_labeller is None else self.soft_labeller.added_to(step, batch)
