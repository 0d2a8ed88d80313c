"""Self-training with a mean teacher (HIAST, TPAMI 2025, section 4.4; IAST where no term asks the teacher).

1. Draw a target batch in two pixel-aligned views, weak (geometry only) and strong (colours changed too), which share
   this round's pseudo-labels; draw a labelled source batch too where the method uses one.
2. The student predicts the source and the strong view, each in a pass of its own in training mode.
3. The teacher predicts the weak view in inference mode, without gradient; skipped where no term needs it. Where
   batch-norm is trained it takes the statistics of the weak views themselves: the student's are of strong ones.
4. Sum the terms: hard labels on the confident pixels, entropy and the teacher's soft-max on the ignored ones.
5. Descend: the student's weights move, the teacher's do not.
6. Move the teacher: trained weights by `teacher = decay * teacher + (1 - decay) * student`, batch-norm statistics and
   frozen weights by copying.
7. The next round labels with the teacher and starts a new one from the student.
"""

from dataclasses import replace

import keras
import tensorflow as tf

from models.batch_norm import batch_norm_layers
from training.methods.self_training import SoftLabeller
from training.methods.step import Step, on_grid_of, predict_domains
from training.methods.term_training import TermTraining


class MeanTeacher(TermTraining):
    """Batches: `{"source": {"image", "label"}, "target": {"image", "weak", "label"}}`; "source" may be left out.

    `image` is the strong view, `weak` the weak one, both float32 `[b, h, w, 3]` in [0, 255]. Pixels beyond the
    frame belong to no region.

    Args:
        teacher: the same network, another object, see `teacher_of`; its weights move with the student's.
        terms: as in `TermTraining`; one that needs the teacher and has weight 0 is left out, with the teacher's pass.
        decay: of the teacher's moving average, a step.
        soft_labeller: LRENT's soft labels, recomputed on the weak view.

    Raises:
        ValueError: a teacher that is not a copy of the network.
    """

    def __init__(
        self,
        network: keras.Model,
        teacher: keras.Model,
        terms,
        decay: float = 0.999,
        loss_stride: int = 1,
        soft_labeller: SoftLabeller | None = None,
    ):
        _check_teacher(network, teacher)
        super().__init__(network, [term for term in terms if term.weight or not needs_teacher(term)], loss_stride)
        self.teacher, self.decay, self.soft_labeller = teacher, decay, soft_labeller
        self.teacher.trainable = False
        for layer in batch_norm_layers(teacher):
            layer.statistics = "batch" if layer.statistics == "train" else layer.statistics
        self.asks_teacher = any(needs_teacher(term) for term in self.terms)

    @property
    def resumable_variables(self) -> list:
        return [*super().resumable_variables, *self.teacher.weights]

    @property
    def lasting_variables(self) -> dict[str, list]:
        return {"student": self.network.weights}

    def result_weights(self) -> list:
        return self.teacher.get_weights()

    def look(self, batch) -> Step:
        step, weak = predict_domains(self.network, batch, self.loss_stride), batch["target"]["weak"]
        label = step.target.label
        soft_label = self.soft_labeller(weak, label) if self.soft_labeller else None
        teacher_probs = self.ask_teacher(weak, label) if self.asks_teacher else None
        return replace(step, target=replace(step.target, soft_label=soft_label, teacher_probs=teacher_probs))

    def ask_teacher(self, weak, label):
        """The teacher's soft-max on the grid of `label`: float32 `[batch, height, width, classes]`."""
        logits = on_grid_of(label, self.teacher(weak, training=False)["logits"])
        return tf.stop_gradient(tf.nn.softmax(logits))

    def train_step(self, batch):
        logs = super().train_step(batch)
        self.move_teacher()
        return logs

    def move_teacher(self) -> None:
        """One step of the moving average; what training does not move by gradient is copied."""
        trained = {id(variable) for variable in self.network.trainable_variables}
        for ours, student in zip(self.teacher.weights, self.network.weights, strict=True):
            averaged = self.decay * ours + (1.0 - self.decay) * student
            ours.assign(averaged if id(student) in trained else student)


def teacher_of(network: keras.Model) -> keras.Model:
    """A copy of a functional `network`, with its weights, that no optimiser will train."""
    teacher = keras.models.clone_model(network)
    teacher.set_weights(network.get_weights())
    teacher.trainable = False
    return teacher


def needs_teacher(term) -> bool:
    return getattr(term, "needs_teacher", False)


def _check_teacher(network: keras.Model, teacher: keras.Model) -> None:
    if teacher is network:
        raise ValueError("the teacher must be another object than the network: use teacher_of(network)")
    shapes, expected = ([tuple(weight.shape) for weight in model.weights] for model in (teacher, network))
    if shapes != expected:
        raise ValueError("the teacher's weights do not have the network's shapes: use teacher_of(network)")
