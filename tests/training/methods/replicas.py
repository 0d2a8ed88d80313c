"""Trains every method on a tiny network under a `tf.distribute` strategy.

In a process of its own, for TensorFlow fixes the devices at its start:

    python tests/training/methods/replicas.py --devices cpu:0,1 --out FILE.npz

FILE.npz holds the weights of each method after STEPS steps, on one device and on the replicas, and what was logged.
With TF_CONFIG in the environment the replicas are those of all workers. With `--accumulate 2` each replica computes its
rows in two parts, and the one device all at once; the networks then have frozen batch-norm and no dropout.
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[3]))

import argparse

import numpy as np

from training.distribution.devices import parse_devices, share_of_this_process
from training.distribution.quiet import start_tensorflow

STEPS = 20


def batches(strong: bool = False, large: bool = False, steps: int = STEPS):
    """Global batches of both domains whose replicas differ much: hardly any label in the first half of the target.

    large: images of twice the size, without labels that fit.
    """
    import tensorflow as tf

    from tests.training.methods.tiny import batch

    for number in range(steps):
        source, target = batch(number), batch(1000 + number, 0.4)
        label = target["label"].numpy()
        label[:2, 1:] = 255
        label[3, 8:, 8:] = 254
        position = tf.range(4 * number, 4 * number + 4, dtype=tf.int64)
        source = {**source, "position": position}
        target = {**target, "label": tf.constant(label), "weak": target["image"], "position": position}
        if strong:
            target["image"] = 255.0 - 0.8 * target["image"]
        if large:
            for domain in (source, target):
                domain["image"] = tf.repeat(tf.repeat(domain["image"], 2, axis=1), 2, axis=2)
        position = {"position": tf.range(4, dtype=tf.int64) + 4 * number}
        yield {"source": {**source, **position}, "target": {**target, **position}}


def stream_of(share, **views):
    """This process' rows of the batches, as a training stream gives them."""
    import tensorflow as tf

    parts = []
    for batch in batches(**views):
        rows = share.rows(4).reshape(share.replicas, -1)
        parts += [tf.nest.map_structure(lambda x, mine=mine: tf.gather(x, mine), batch) for mine in rows]
    return tf.data.Dataset.from_tensor_slices(tf.nest.map_structure(lambda *values: tf.stack(values), *parts))


def methods(in_parts: bool = False) -> dict:
    """By name: `(make a compiled method, views of the batches)`; clipping that bites, an average, every term.

    Each is made with the number of parts of a step. in_parts: leave out what depends on it.
    """
    from models.batch_norm import set_batch_norm
    from models.discriminator import build_discriminator
    from models.translator import build_generator, build_patch_discriminator
    from tests.training.methods.tiny import CLASSES, optimizer_for, tiny_network
    from tests.training.methods.tiny_contrast import TINY_SPACE, contrast_method, some_prototype_contrast
    from training.methods.adversarial import AdversarialTraining
    from training.methods.block_mask import BlockMasker
    from training.methods.class_mix import ClassMixer
    from training.methods.cycle_gan import CycleGanTraining, TranslatorNetworks
    from training.methods.mean_teacher import MeanTeacherTraining, ramped, teacher_of
    from training.methods.mixture import mixture_head, mixture_terms
    from training.methods.online_labels import ImageWeights, ThresholdedLabels
    from training.methods.online_teacher import OnlineTeacher
    from training.methods.optimizers import Adam, build_optimizer
    from training.methods.self_training import SelfTraining, SoftLabeller
    from training.methods.source_training import SourceTraining
    from training.methods.term import TermContext
    from training.methods.terms import (
        ConfidentRegionKLDTerm,
        CrossEntropyTerm,
        IgnoredRegionEntropyTerm,
        MaskedTerm,
        MinimumEntropyTerm,
        SoftCrossEntropyTerm,
        TeacherConsistencyTerm,
        TeacherWeightTerm,
    )
    from training.settings.losses import Masked, Mixture, PixelContrast
    from training.settings.sampling import ClassMix
    from training.settings.schedule import Optimizer
    from training.settings.teacher import ImageConfidence, RunningThresholds
    from training.settings.translation import CycleGan

    def network(dropout=0.0):
        made = tiny_network(batch_norm=True, dropout=0.0 if in_parts else dropout)
        set_batch_norm(made, "frozen" if in_parts else "train")
        return made

    def source(accumulate):
        method = SourceTraining(network(dropout=0.2), [CrossEntropyTerm("source")], loss_stride=2)
        settings = Optimizer(learning_rate=0.02, clip_norm=0.1)
        optimizer = build_optimizer(settings, 1000, [], average_weights=0.8)
        optimizer.build(method.network.trainable_variables)
        method.compile(optimizer=optimizer, accumulate=accumulate)
        return method

    def compiled(method, accumulate, rate=0.02, **settings):
        optimizer = optimizer_for(method.network, rate, clip_norm=0.1, **settings)
        method.compile(optimizer=optimizer, accumulate=accumulate)
        return method

    def self_training(accumulate):
        soft = SoftLabeller(tiny_network(1, batch_norm=True), np.array([0.9, 0.5, 1.0], np.float32), 0.25)
        terms = [
            CrossEntropyTerm("source"),
            CrossEntropyTerm("target", 0.7),
            SoftCrossEntropyTerm(0.5),
            ConfidentRegionKLDTerm(0.1),
        ]
        return compiled(SelfTraining(network(), terms, soft_labeller=soft), accumulate, 0.2, name="sgd")

    def mean_teacher(accumulate):
        student = network()
        terms = [CrossEntropyTerm("target"), ConfidentRegionKLDTerm(0.1, per_class=True), IgnoredRegionEntropyTerm(1.0)]
        method = MeanTeacherTraining(student, teacher_of(student), [*terms, TeacherConsistencyTerm(0.5)], decay=0.9)
        # AdamW makes steps of roundings where a gradient is almost zero
        return compiled(method, accumulate, 0.2, name="sgd")

    def pasted(accumulate):
        student, masker = network(), BlockMasker(Masked(block=0.25), 0)
        terms = [
            CrossEntropyTerm("source"),
            CrossEntropyTerm("target"),
            TeacherConsistencyTerm(0.5),
            MaskedTerm(Masked()),
        ]
        drawn = {"mixer": ClassMixer(ClassMix(), 0), "masker": masker}
        labels = ImageWeights(ImageConfidence(threshold=0.5), CLASSES)
        method = MeanTeacherTraining(student, teacher_of(student), terms, decay=0.9, labels=labels, **drawn)
        return compiled(method, accumulate, 0.2, name="sgd")

    def online(labels, accumulate):
        student, masker = network(), BlockMasker(Masked(block=0.25), 0)
        terms = [CrossEntropyTerm(domain, over_all=True) for domain in ("source", "mixed")]
        terms += [TeacherWeightTerm(), MaskedTerm(Masked()), MinimumEntropyTerm(0.1)]
        mixer = ClassMixer(ClassMix(), 0)
        method = OnlineTeacher(student, teacher_of(student), terms, labels, mixer, ramped(0.9), masker=masker)
        return compiled(method, accumulate, 0.2, name="sgd")

    def thresholds(accumulate):
        return online(ThresholdedLabels(RunningThresholds(beta=0.5), CLASSES), accumulate)

    def pooled(accumulate):
        return online(ImageWeights(ImageConfidence(threshold=0.5, pooled="batch"), CLASSES), accumulate)

    def adversarial(accumulate):
        student, discriminator = network(), build_discriminator(CLASSES, channels=4)
        terms = [CrossEntropyTerm("source"), MinimumEntropyTerm(0.1)]
        method = AdversarialTraining(student, discriminator, terms, "self_information", "bce", 0.5)
        optimizer = optimizer_for(student, 0.02, clip_norm=0.1)
        method.compile(optimizer=optimizer, accumulate=accumulate, discriminator_optimizer=Adam(0.002))
        return method

    def contrast(settings):
        method = contrast_method(settings)
        return lambda accumulate: compiled(method(), accumulate, 0.2, name="sgd")

    def cycle_gan(accumulate):
        pairs = [(build_generator(2, 1, seed), build_patch_discriminator(2, seed)) for seed in (1, 2)]
        networks = TranslatorNetworks(*(pair[0] for pair in pairs), *(pair[1] for pair in pairs))
        settings = CycleGan(pool=3)
        method = CycleGanTraining(networks, settings, (32, 32), 0, tiny_network(batch_norm=True))
        # not Adam: the biases before a normalisation have no gradient but roundings
        plain = Optimizer("sgd", learning_rate=1e-3, momentum=0.0, weight_decay=0.0)
        optimizers = [build_optimizer(plain, 1000, []) for _ in range(2)]
        optimizers[0].build(method.trained_variables)
        method.compile(optimizer=optimizers[0], discriminator_optimizer=optimizers[1], accumulate=accumulate)
        return method

    def mixture(accumulate):
        student, settings = network(), Mixture(dimension=4, samples=20, consistency=0.5)
        modes = mixture_terms(settings, TermContext(student, TINY_SPACE, 3, STEPS))
        head = mixture_head(modes)
        head.start_with(np.asarray(head.modes))
        method = SelfTraining(student, [CrossEntropyTerm("source"), CrossEntropyTerm("target"), *modes])
        optimizer = build_optimizer(Optimizer("sgd", 0.2, clip_norm=0.1), 1000, [])
        optimizer.build(method.trained_variables)
        method.compile(optimizer=optimizer)
        return method

    whole = {
        "cycle_gan": (cycle_gan, {"large": True, "steps": 3}),  # in later steps roundings grow tenfold in each
        "mixture": (mixture, {}),
        "pixel_contrast": (contrast(PixelContrast(grid=4, pixels=100)), {}),
        "prototype_contrast": (contrast(some_prototype_contrast()), {}),
    }
    return {
        **({} if in_parts else whole),
        "source": (source, {}),
        "self_training": (self_training, {}),
        "mean_teacher": (mean_teacher, {"strong": True}),
        "adversarial": (adversarial, {}),
        "pasted": (pasted, {"strong": True}),
        "online_thresholds": (thresholds, {}),
        "online_pooled": (pooled, {}),
    }


def trained(make, views, share, accumulate: int = 1) -> dict[str, np.ndarray]:
    """Weights (of every replica of this process) and logs of a method after training under the strategy in scope."""
    import keras
    import tensorflow as tf

    from training.stages.fitting import train

    method, logs = make(accumulate), {}

    class Keep(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs_now=None):
            logs.update(logs_now)

    train(method, stream_of(share, **views), Keep())
    locally = tf.distribute.get_strategy().experimental_local_results
    networks = [method.network, getattr(method, "teacher", None), getattr(method, "discriminator", None)]
    weights = [weight for network in networks if network is not None for weight in network.weights]
    values = {f"weight_{i}": np.stack([x.numpy() for x in locally(w.value)]) for i, w in enumerate(weights)}
    state = {f"state_{i}": np.asarray(v)[None] for i, v in enumerate(method.resumable_variables)}
    return {**values, **state, **{f"log_{name}": np.stack(locally(value)) for name, value in logs.items()}}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--devices", default="cpu")
    parser.add_argument("--out", required=True)
    parser.add_argument("--accumulate", type=int, default=1)
    arguments = parser.parse_args()
    strategy = start_tensorflow(parse_devices(arguments.devices))
    results = {}
    for name, (make, views) in methods(in_parts=arguments.accumulate > 1).items():
        with strategy.scope():
            several = trained(make, views, share_of_this_process(), arguments.accumulate)
        alone = trained(make, views, share_of_this_process())
        results |= {f"{name}/several/{key}": value for key, value in several.items()}
        results |= {f"{name}/alone/{key}": value for key, value in alone.items()}
    np.savez(arguments.out, **results)


if __name__ == "__main__":
    main()
