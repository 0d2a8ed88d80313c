"""A method with pixel contrast on the tiny network."""

import tensorflow as tf

from tests.training.methods.tiny import CLASSES, tiny_network
from training.data.classes import LabelSpace
from training.methods.contrast import PixelContrastTerm, PrototypeContrastTerm
from training.methods.method import Method
from training.methods.step import Step, View, on_grid_of
from training.methods.term import TermContext
from training.methods.terms import CrossEntropyTerm
from training.settings.losses import PrototypeContrast

ENTRIES = 50


TINY_SPACE = LabelSpace("tiny", ("a", "b", "c")[:CLASSES], ((0, 0, 0),) * CLASSES, (255,) * 19)


class TinyContext(TermContext):
    """Of the tiny network, whose features are its only level."""

    level_channels = (8,)


def some_prototype_contrast(**more) -> PrototypeContrast:
    """Few draws, queues that are full soon, and a teacher that need not be sure."""
    megabytes = 2e-6 * (ENTRIES + 0.5) * TinyContext.level_channels[0] * CLASSES
    few = {"grid": 4, "anchors": 15, "negatives": 10, "pushed": 20, "confidence": 0.0}
    return PrototypeContrast(**{"queue_megabytes": megabytes, **few, **more})


def built(settings, network=None, seed=3, steps=20):
    """The term of `settings`, ready to be computed."""
    kind = PrototypeContrastTerm if isinstance(settings, PrototypeContrast) else PixelContrastTerm
    term = kind(settings)
    term.build(TinyContext(network, TINY_SPACE, seed, steps))
    term.needs = tuple(need for need in term.needs if need != "levels")  # the method below takes the features for them
    return term


class ContrastMethod(Method):
    """Of source and target; the upper half of the target's images counts as pasted. Another network is the teacher."""

    provides = Method.provides | frozenset({"mixed", "teacher_probs", "teacher_levels"})

    def __init__(self, network, terms):
        super().__init__(network, terms)
        self.teacher = tiny_network(1)

    def forward(self, batch) -> Step:
        return Step(source=self.view(batch["source"]), mixed=self.view(batch["target"]))

    def view(self, domain) -> View:
        outputs, taught = self.network(domain["image"], training=True), self.teacher(domain["image"])
        label = domain["label"]
        return View(
            logits=on_grid_of(label, outputs["logits"]),
            label=label,
            levels=[outputs["features"]],
            positions=domain["position"],
            teacher_levels=[taught["features"]],
            teacher_probs=tf.nn.softmax(20.0 * on_grid_of(label, taught["logits"])),
            pasted=tf.broadcast_to((tf.range(16) < 8)[None, :, None], tf.shape(label)),
            target_frame=tf.cast(label != 254, tf.float32),
        )


def contrast_method(settings):
    """Makes the method with the contrast of `settings` and a source loss."""

    def make():
        network = tiny_network()
        return ContrastMethod(network, [CrossEntropyTerm("source"), built(settings, network)])

    return make
