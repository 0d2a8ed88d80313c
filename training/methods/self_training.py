"""One round of self-training: real labels on the source, pseudo-labels on the target (CBST, CRST).

1. Draw a source batch with labels and a target batch with this round's pseudo-labels (255 = not selected).
2. Predict each in a pass of its own: trained batch-norm sees one domain at a time, and its moving statistics follow
   the target's, which predictions are made with.
3. LRENT only: the network as it was when it labelled predicts the target crops, their colours unchanged, once more
   without gradient; its probabilities over the round's thresholds give the soft labels, which are never stored.
4. Sum the terms and descend.
"""

from dataclasses import replace

import keras
import tensorflow as tf
from keras import ops

from training.methods.step import Step, on_grid_of, predict_domains
from training.methods.term_training import TermTraining


class SoftLabeller:
    """LRENT's soft labels (CRST, section 4.2): `y_k ~ (p_k / lambda_k) ** (1 / alpha)`.

    Args:
        network: a copy of the network that made the round's labels; never trained.
        thresholds: float `[classes]`, lambda of the round, 1 for a class without pixels.
        alpha: temperature; towards 0 the label becomes CBST's hard one.
    """

    def __init__(self, network: keras.Model, thresholds, alpha: float):
        self.network, self.alpha = network, alpha
        self.log_thresholds = tf.constant(thresholds, tf.float32)[None, None, None]
        self.log_thresholds = tf.math.log(self.log_thresholds)

    def __call__(self, image, label):
        logits = on_grid_of(label, self.network(image, training=False)["logits"])
        log_probs = ops.log_softmax(logits, axis=-1)
        return tf.stop_gradient(ops.softmax((log_probs - self.log_thresholds) / self.alpha, axis=-1))


class SelfTraining(TermTraining):
    """Batches: `{"source": {"image", "label"}, "target": {"image", "label"}}`, equal sizes within a batch.

    "source" may be left out (IAST). LRENT's target has "weak" too, the view without changes of colour, which the soft
    labels are made from.
    """

    def __init__(self, network, terms, loss_stride: int = 1, soft_labeller: SoftLabeller | None = None):
        super().__init__(network, terms, loss_stride)
        self.soft_labeller = soft_labeller

    def look(self, batch) -> Step:
        step = predict_domains(self.network, batch, self.loss_stride)
        if self.soft_labeller is None:
            return step
        soft_label = self.soft_labeller(batch["target"]["weak"], step.target.label)
        return replace(step, target=replace(step.target, soft_label=soft_label))
