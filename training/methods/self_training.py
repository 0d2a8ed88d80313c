"""One round of self-training: real labels on the source, pseudo-labels on the target (CBST, CRST).

1. Draw a source batch with labels and a target batch with this round's pseudo-labels (255 = not selected).
2. Predict both in one pass, so that batch-norm in training mode sees the mixture it will be tested with.
3. LRENT only: the network as it was when it labelled predicts the target crops once more, without gradient; its
   probabilities over the round's thresholds give the soft labels, which are never stored.
4. Sum the terms and descend.
"""

import keras
import tensorflow as tf
from keras import ops

from training.methods.step import Step, View, on_grid_of, thin_label
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
    """Batches: `{"source": {"image", "label"}, "target": {"image", "label"}}`, equal sizes within a batch."""

    def __init__(self, network, terms, loss_stride: int = 1, soft_labeller: SoftLabeller | None = None):
        super().__init__(network, terms, loss_stride)
        self.soft_labeller = soft_labeller

    def look(self, batch) -> Step:
        source, target = batch["source"], batch["target"]
        label = thin_label(tf.concat([source["label"], target["label"]], axis=0), self.loss_stride)
        logits = self.network(tf.concat([source["image"], target["image"]], axis=0), training=True)["logits"]
        logits = on_grid_of(label, logits)
        split = tf.shape(source["label"])[0]
        soft_label = self.soft_labeller(target["image"], label[split:]) if self.soft_labeller else None
        return Step(View(logits[:split], label[:split]), View(logits[split:], label[split:], soft_label))
