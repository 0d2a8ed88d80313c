"""Supervised training on one labelled domain: the warm-up of every recipe, and the oracle.

1. Draw a batch of images with labels.
2. Predict, and bring the logits to the grid on which the loss is taken.
3. Sum the terms (cross-entropy) and descend.
"""

from training.methods.method import Method
from training.methods.step import Step, predict_view


class SourceTraining(Method):
    """Batches: `{"source": {"image": float32 [b, h, w, 3], "label": uint8 [b, h, w]}}`."""

    title = "supervised training"

    def forward(self, batch) -> Step:
        return Step(source=predict_view(self.seen, batch["source"], self.loss_stride, self.needs))
