"""Online self-training: a mean teacher labels every target batch (DACS, WACV 2021; DAFormer, CVPR 2022; PGPC, 2024).

One step, in the order of the released programs:

1. The teacher becomes `decay * teacher + (1 - decay) * student`; at the first step it is the student.
2. The teacher predicts the target images, their colours unchanged, in inference mode and without gradient. Its
   prediction gives labels and weights, see `online_labels.py`.
3. ClassMix pastes half of a source image's classes into a target image, with label and weight (1), and the mixed
   image's colours change.
4. The student predicts the source and the mixed images, each in a forward pass of its own in training mode.
5. Sum the terms: cross-entropy on the source and on the mixed images, both over all pixels, and what the recipe adds.
6. The optimiser moves the student's weights.
"""

from collections.abc import Mapping
from dataclasses import replace

import keras
import tensorflow as tf

from models.batch_norm import moving_statistics_kept
from models.generators import generator_states
from models.levels import with_levels
from training.losses.regions import OUTSIDE
from training.methods.block_mask import BlockMasker
from training.methods.class_mix import MASKED_COLOURS, ClassMixer
from training.methods.mean_teacher import Decay, MeanTeacherTraining
from training.methods.method import Method
from training.methods.online_labels import OnlineLabels
from training.methods.step import Step, View, predict_view, thin_label


class OnlineTeacher(MeanTeacherTraining):
    """Batches: `{"source": {"image", "label", "position"}, "target": {"image", "label", "position"}}`.

    Images float32 `[b, h, w, 3]` in [0, 255]. Of the target's label only the pixels beyond the frame are used.

    Args:
        network, teacher, decay, loss_stride, scales: as in `MeanTeacherTraining`.
        terms: with `CrossEntropyTerm("mixed", over_all=True)` among them.
        labels: from the teacher's soft-max to labels and weights, of mixed images and of those with hidden blocks.
        mixer: draws the classes that are pasted, and the colours.
        target_weight: factor of the weights of the teacher's labels; 0 = without them, as in the control.
        mixes: False: nothing is pasted; the colours change all the same.
        frozen: the network as ImageNet left it, where a term needs "frozen_levels".
        masker: hides blocks of the target, where a term needs "masked".

    Raises:
        ValueError: a teacher that is not a copy of the network.
        UserError: a term needs what this method does not provide.
    """

    title = "online self-training"
    provides = Method.provides | frozenset(
        {"mixed", "masked", "target", "teacher_probs", "teacher_levels", "frozen_levels"}
    )

    def __init__(
        self,
        network: keras.Model,
        teacher: keras.Model,
        terms,
        labels: OnlineLabels,
        mixer: ClassMixer,
        decay: Decay = 0.999,
        loss_stride: int = 1,
        target_weight: float = 1.0,
        mixes: bool = True,
        frozen: keras.Model | None = None,
        masker: BlockMasker | None = None,
        scales: tuple[float, ...] = (1.0,),
    ):
        super().__init__(
            network, teacher, terms, decay, loss_stride, mixer=mixer, masker=masker, labels=labels, scales=scales
        )
        self.target_weight, self.mixes = target_weight, mixes
        self.frozen = frozen and with_levels(frozen)

    @property
    def resumable_variables(self) -> list:
        return [*super().resumable_variables, *self.labels.variables]

    @property
    def lasting_variables(self) -> dict[str, list]:
        """Everything that moves: the next part of the training goes on as if there were no parts."""
        return {
            **super().lasting_variables,
            "teacher": self.teacher.weights,
            "generators": [state for network in self.networks for state in generator_states(network)],
            "optimizer": self.optimizer.variables,
            "labels": list(self.labels.variables),
        }

    def train_step(self, batch):
        self.move_teacher(self.optimizer.iterations)
        return Method.train_step(self, batch)

    def prepared(self, batch) -> dict:
        """What `mixed` gives, with "masked" where a term needs it; the labels' variables move."""
        prepared, position = self.mixed(batch), batch["target"]["position"]
        taught = prepared["teacher"]["target"]
        self.labels.follow(taught["probs"], taught["region"])
        if "masked" in self.needs:
            image = self.mixer.recoloured(batch["target"]["image"], position, MASKED_COLOURS)
            prepared["masked"] = self.with_hidden_blocks(image, position, taught["label"], taught["weight"])
        return prepared

    def mixed(self, batch) -> dict:
        """The batch with "mixed" and "teacher", what the teacher says; no variable moves.

        "mixed": {"image" float32 `[b, H, W, 3]`, "label" int32, "weight" float32, "pasted" bool, each `[b, h, w]` on
        the grid of the loss, "position"}. "teacher": {"target": {"probs", "levels", "label", "weight", "region"},
        "source": {"probs", "levels"} where a term needs the teacher's levels}.
        """
        source, target = batch["source"], batch["target"]
        # The teacher labels the target.
        target_label = thin_label(target["label"], self.loss_stride)
        taught = self.taught(target["image"], target_label)
        region = tf.cast(target_label != OUTSIDE, tf.float32)
        label, weight = self.labels(taught["probs"], region)
        label, weight = tf.where(region > 0, label, OUTSIDE), self.target_weight * weight
        # Image, label and weight are mixed by one mask.
        mask = self.mixer.mask(source["label"], source["position"]) & self.mixes
        thin_mask = thin_label(mask, self.loss_stride)
        source_label = tf.cast(thin_label(source["label"], self.loss_stride), tf.int32)
        image = tf.where(mask[..., None], source["image"], target["image"])
        mixed = {
            "image": self.mixer.recoloured(image, source["position"]),
            "label": tf.where(thin_mask, source_label, label),
            "weight": tf.where(thin_mask, 1.0, weight),
            "position": source["position"],
            "pasted": thin_mask,
        }
        teacher = {"target": {**taught, "label": label, "weight": weight, "region": region}}
        if "teacher_levels" in self.needs:
            teacher["source"] = self.taught(source["image"], source_label)
        return {**batch, "mixed": mixed, "teacher": teacher}

    def forward(self, batch) -> Step:
        """Of a prepared batch."""
        teacher, taught = batch["teacher"], _of_teacher(batch["teacher"]["target"])
        # The moving statistics follow the mixed images alone.
        with moving_statistics_kept():
            source = predict_view(self.seen, batch["source"], self.loss_stride, self.needs)
            target = self._target_view(batch, taught) if "target" in self.needs else None
        masked = self.masked_view(batch["masked"]) if "masked" in self.needs else None
        mixed = predict_view(self.seen, batch["mixed"], 1, self.needs)
        mixed = replace(mixed, target_frame=teacher["target"]["region"], **taught)
        source = replace(source, **_of_teacher(teacher.get("source")))
        if "frozen_levels" in self.needs:
            levels = self.frozen(batch["source"]["image"], training=False)["levels"]
            source = replace(source, frozen_levels=[tf.stop_gradient(level) for level in levels])
        return Step(source=source, target=target, mixed=mixed, masked=masked)

    def _target_view(self, batch, taught) -> View:
        """The target's images before mixing, with the teacher's labels."""
        view = predict_view(self.seen, batch["target"], self.loss_stride, self.needs)
        of_teacher = batch["teacher"]["target"]
        return replace(view, label=of_teacher["label"], weight=of_teacher["weight"], **taught)


def _of_teacher(taught: Mapping | None) -> dict:
    """The fields of a `View` that the teacher fills."""
    return {} if taught is None else {"teacher_probs": taught["probs"], "teacher_levels": taught.get("levels")}
