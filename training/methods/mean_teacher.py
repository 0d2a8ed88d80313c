"""Self-training with a mean teacher (HIAST, TPAMI 2025, section 4.4).

1. Draw a target batch in two pixel-aligned views, weak (geometry only) and strong (colours changed too), which share
   this round's pseudo-labels; draw a labelled source batch too where the method uses one. With ClassMix, source pixels
   are pasted into both views and the labels, see `class_mix.py`.
2. The teacher predicts the weak view in inference mode, without gradient; skipped if no term needs it. Where batch-norm
   is trained, it normalises with the statistics of the weak views: the student's moving ones are of strong views.
3. The student predicts the source and the strong view, each in a forward pass of its own in training mode; and the
   strong view with hidden blocks, where a term needs it (MIC, CVPR 2023).
4. Sum the terms: hard labels on the confident pixels, entropy and the teacher's soft-max on the ignored ones.
5. Descend: the optimiser moves the student's weights, not the teacher's.
6. Update the teacher: trained weights by `teacher = decay * teacher + (1 - decay) * student`, batch-norm statistics and
   frozen weights by copying.
7. The next round labels with the teacher, trains the student on and starts a new teacher from it.
"""

from collections.abc import Callable
from dataclasses import replace

import keras
import numpy as np
import tensorflow as tf

from models.batch_norm import batch_norm_layers, moving_statistics_kept
from models.layers import scaled
from models.levels import with_levels
from training.losses.regions import OUTSIDE
from training.methods.block_mask import BlockMasker
from training.methods.class_mix import ClassMixer
from training.methods.method import Method
from training.methods.online_labels import OnlineLabels
from training.methods.self_training import SoftLabeller
from training.methods.step import Step, View, on_grid_of, predict_domains, predict_view
from training.settings.teacher import MeanTeacher

Decay = float | Callable[[tf.Tensor], tf.Tensor]
"""Of a moving average: a constant, or a function of the step (int scalar, 0 = the first of the stage)."""


class MeanTeacherTraining(Method):
    """Batches: `{"source": {"image", "label"}, "target": {"image", "weak", "label"}}`; "source" may be left out.

    `image` is the strong view, `weak` the weak one, both float32 `[b, h, w, 3]` in [0, 255]. Pixels beyond the
    frame belong to no region. Where `mixer` or `masker` draw, the domains have "position" too, int64 `[b]`.

    Args:
        teacher: a copy of the network, see `teacher_of`; its weights follow the student's.
        terms: as in `Method`; one that needs the teacher and has weight 0 is left out, and so is the teacher's pass.
        decay: of the teacher's moving average, per step, see `decay_of`.
        soft_labeller: LRENT's soft labels, recomputed on the weak view.
        mixer: pastes source pixels into the target; the batches then have "source".
        scales: factors on the size of the images at which the teacher predicts; its prediction is their mean.
        masker, labels: hide blocks of the target and label them by the teacher's prediction of the weak view; both
            where a term needs "masked".

    Raises:
        ValueError: a teacher that is not a copy of the network.
        UserError: a term needs what this method does not provide.
    """

    title = "self-training with a mean teacher"
    provides = Method.provides | frozenset({"target", "pseudo_labels", "soft_label", "teacher_probs", "masked"})

    def __init__(
        self,
        network: keras.Model,
        teacher: keras.Model,
        terms,
        decay: Decay = 0.999,
        loss_stride: int = 1,
        soft_labeller: SoftLabeller | None = None,
        mixer: ClassMixer | None = None,
        masker: BlockMasker | None = None,
        labels: OnlineLabels | None = None,
        scales: tuple[float, ...] = (1.0,),
    ):
        _check_teacher(network, teacher)
        used = [term for term in terms if term.weight or not {"teacher_probs", "masked"} & set(term.needs)]
        super().__init__(network, used, loss_stride)
        self.teacher, self.decay, self.soft_labeller = teacher, decay, soft_labeller
        self.teaching = with_levels(teacher) if "teacher_levels" in self.needs else teacher
        self.mixer, self.masker, self.labels, self.scales = mixer, masker, labels, scales
        self.teacher.trainable = False
        for layer in batch_norm_layers(teacher):
            layer.statistics = "batch" if layer.statistics == "train" else layer.statistics

    @property
    def networks(self) -> list[keras.Model]:
        return [self.network, self.teacher]

    @property
    def lasting_variables(self) -> dict[str, list]:
        """The student, which the next round trains on; the teacher is the result."""
        return {**super().lasting_variables, "student": self.network.weights}

    def result_weights(self) -> list[np.ndarray]:
        return self.teacher.get_weights()

    def prepared(self, batch) -> dict:
        return batch if self.mixer is None else self.mixer.pasted(batch)

    def forward(self, batch) -> Step:
        step = predict_domains(self.seen, batch, self.loss_stride, self.needs)
        target, view = batch["target"], step.target
        soft_label = self.soft_labeller(target["weak"], view.label, view.pasted) if self.soft_labeller else None
        is_taught = {"teacher_probs", "masked"} & self.needs
        probs = self.predict_with_teacher(target["weak"], view.label) if is_taught else None
        masked = self.masked_view(self._masked(target, view, probs)) if "masked" in self.needs else None
        return replace(step, target=replace(view, soft_label=soft_label, teacher_probs=probs), masked=masked)

    def _masked(self, target, view: View, probs) -> dict:
        """The strong view with hidden blocks; labels and weights by the teacher, of pasted pixels their own."""
        label = tf.cast(view.label, tf.int32)
        pasted = tf.zeros_like(label, tf.bool) if view.pasted is None else view.pasted
        outside = label == OUTSIDE
        taught, weight = self.labels(probs, tf.cast(~outside & ~pasted, tf.float32))
        label, weight = tf.where(outside | pasted, label, taught), tf.where(pasted, 1.0, weight)
        return {**self.with_hidden_blocks(target["image"], target["position"], label, weight), "pasted": pasted}

    def with_hidden_blocks(self, image, position, label, weight) -> dict:
        """A domain of a batch, for `masked_view`; label int32 and weight float32 are on the grid of the loss."""
        hidden = self.masker.hidden(image, position)
        return {"image": hidden, "label": label, "weight": weight, "position": position}

    def masked_view(self, domain) -> View:
        """What the student sees of images with hidden blocks, a domain of `with_hidden_blocks`."""
        with moving_statistics_kept():
            return predict_view(self.seen, domain, 1)

    def predict_with_teacher(self, weak, label):
        """The teacher's soft-max on the grid of `label`: float32 `[batch, height, width, classes]`."""
        return self.taught(weak, label)["probs"]

    def taught(self, image, label) -> dict:
        """The teacher's soft-max on the grid of `label`, and its levels where a term needs them; no gradient."""
        outputs = self.teaching(image, training=False)
        views = [outputs if scale == 1 else self.teacher(scaled(image, scale), training=False) for scale in self.scales]
        probs = tf.add_n([tf.nn.softmax(on_grid_of(label, view["logits"])) for view in views]) / len(views)
        levels = {"levels": [tf.stop_gradient(level) for level in outputs["levels"]]} if "levels" in outputs else {}
        return {"probs": tf.stop_gradient(probs), **levels}

    def train_step(self, batch):
        logs = super().train_step(batch)
        self.move_teacher(tf.maximum(self.optimizer.iterations - 1, 0))
        return logs

    def move_teacher(self, step) -> None:
        """One step of the moving average; weights without a gradient are copied."""
        decay = self.decay(step) if callable(self.decay) else self.decay
        trained = {id(variable) for variable in self.network.trainable_variables}
        for ours, student in zip(self.teacher.weights, self.network.weights, strict=True):
            averaged = decay * ours + (1.0 - decay) * student
            ours.assign(averaged if id(student) in trained else student)


def teacher_of(network: keras.Model) -> keras.Model:
    """A copy of a functional `network`, with its weights, that no optimiser trains."""
    teacher = keras.models.clone_model(network)
    teacher.set_weights(network.get_weights())
    teacher.trainable = False
    return teacher


def decay_of(settings: MeanTeacher, steps: int) -> Decay:
    """The decay per step in a stage of `steps` steps: in shorter stages the teacher forgets proportionally faster."""
    constant = 1 - min(1.0, (1 - settings.decay) * settings.decay_steps / steps)
    return ramped(constant) if settings.ramp else constant


def ramped(decay: float) -> Decay:
    """`min(1 - 1 / (t + 1), decay)` at step t (DAFormer, CVPR 2022): at first the mean of all students so far."""
    return lambda step: tf.minimum(1.0 - 1.0 / (tf.cast(step, tf.float32) + 1.0), decay)


def _check_teacher(network: keras.Model, teacher: keras.Model) -> None:
    if teacher is network:
        raise ValueError("the teacher must be another object than the network: use teacher_of(network)")
    shapes, expected = ([tuple(weight.shape) for weight in model.weights] for model in (teacher, network))
    if shapes != expected:
        raise ValueError("the teacher's weights do not have the network's shapes: use teacher_of(network)")
