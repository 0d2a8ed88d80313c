"""The methods that `replicas.py` trains on a tiny network; clipping that bites, an average, every term."""

from functools import partial

import numpy as np
import pytest

from models.batch_norm import set_batch_norm
from models.discriminator import build_discriminator
from models.translator import build_generator, build_patch_discriminator
from tests.training.methods.tiny import CLASSES, give_levels, optimizer_for, tiny_network
from tests.training.methods.tiny_contrast import TINY_SPACE, contrast_method, some_prototype_contrast
from training.methods.adversarial import AdversarialMeanTeacher, AdversarialSelfTraining, AdversarialTraining
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


def methods(steps: int, in_parts: bool) -> dict:
    """By name: `(maker, views of the batches)`, for a training of so many steps.

    A maker takes the number of parts of a step and gives a compiled method. in_parts: only methods that compute a step
    in parts, without what depends on the parts: their networks have frozen batch-norm and no dropout.
    """
    whole = {
        "cycle_gan": (cycle_gan, {"large": True, "steps": 3}),  # in later steps roundings grow tenfold in each
        "mixture": (partial(mixture, steps), {}),
        "adversarial_mixture": (partial(mixture, steps, adversarial=True), {}),
        "pixel_contrast": (contrast(PixelContrast(grid=4, pixels=100)), {}),
        "prototype_contrast": (contrast(some_prototype_contrast()), {}),
    }
    others = {
        "source": (source, {}),
        "self_training": (self_training, {}),
        "mean_teacher": (mean_teacher, {"strong": True}),
        "adversarial": (adversarial, {}),
        "adversarial_pasted": (adversarial_pasted, {"strong": True}),
        "pasted": (pasted, {"strong": True}),
        "online_thresholds": (online_thresholds, {}),
        "online_pooled": (online_pooled, {}),
    }
    others = {name: (partial(maker, in_parts), views) for name, (maker, views) in others.items()}
    return others if in_parts else {**whole, **others}


def network(in_parts, dropout=0.0):
    made = tiny_network(batch_norm=True, dropout=0.0 if in_parts else dropout)
    set_batch_norm(made, "frozen" if in_parts else "train")
    return made


def compiled(method, accumulate):
    # not AdamW, which makes steps of roundings where a gradient is almost zero
    method.compile(optimizer=optimizer_for(method.network, 0.2, name="sgd", clip_norm=0.1), accumulate=accumulate)
    return method


def source(in_parts, accumulate):
    method = SourceTraining(network(in_parts, dropout=0.2), [CrossEntropyTerm("source")], loss_stride=2)
    settings = Optimizer(learning_rate=0.02, clip_norm=0.1)
    optimizer = build_optimizer(settings, 1000, [], average_weights=0.8)
    optimizer.build(method.network.trainable_variables)
    method.compile(optimizer=optimizer, accumulate=accumulate)
    return method


def self_training(in_parts, accumulate):
    soft = SoftLabeller(tiny_network(1, batch_norm=True), np.array([0.9, 0.5, 1.0], np.float32), 0.25)
    terms = [
        CrossEntropyTerm("source"),
        CrossEntropyTerm("target", 0.7),
        SoftCrossEntropyTerm(0.5),
        ConfidentRegionKLDTerm(0.1),
    ]
    return compiled(SelfTraining(network(in_parts), terms, soft_labeller=soft), accumulate)


def mean_teacher(in_parts, accumulate):
    student = network(in_parts)
    terms = [CrossEntropyTerm("target"), ConfidentRegionKLDTerm(0.1, per_class=True), IgnoredRegionEntropyTerm(1.0)]
    method = MeanTeacherTraining(student, teacher_of(student), [*terms, TeacherConsistencyTerm(0.5)], decay=0.9)
    return compiled(method, accumulate)


def pasted(in_parts, accumulate):
    student, masker = network(in_parts), BlockMasker(Masked(block=0.25), 0)
    terms = [
        CrossEntropyTerm("source"),
        CrossEntropyTerm("target"),
        TeacherConsistencyTerm(0.5),
        MaskedTerm(Masked()),
    ]
    drawn = {"mixer": ClassMixer(ClassMix(), 0), "masker": masker}
    labels = ImageWeights(ImageConfidence(threshold=0.5), CLASSES)
    method = MeanTeacherTraining(student, teacher_of(student), terms, decay=0.9, labels=labels, **drawn)
    return compiled(method, accumulate)


def online(labels, in_parts, accumulate):
    student, masker = network(in_parts), BlockMasker(Masked(block=0.25), 0)
    terms = [CrossEntropyTerm(domain, over_all=True) for domain in ("source", "mixed")]
    terms += [TeacherWeightTerm(), MaskedTerm(Masked()), MinimumEntropyTerm(0.1)]
    mixer = ClassMixer(ClassMix(), 0)
    method = OnlineTeacher(student, teacher_of(student), terms, labels, mixer, ramped(0.9), masker=masker)
    return compiled(method, accumulate)


def online_thresholds(in_parts, accumulate):
    return online(ThresholdedLabels(RunningThresholds(beta=0.5), CLASSES), in_parts, accumulate)


def online_pooled(in_parts, accumulate):
    return online(ImageWeights(ImageConfidence(threshold=0.5, pooled="batch"), CLASSES), in_parts, accumulate)


def adversarial(in_parts, accumulate):
    student, discriminator = network(in_parts), build_discriminator(CLASSES, channels=4)
    terms = [CrossEntropyTerm("source"), MinimumEntropyTerm(0.1)]
    method = AdversarialTraining(student, discriminator, terms, "self_information", "bce", 0.5)
    optimizer = optimizer_for(student, 0.02, clip_norm=0.1)
    method.compile(optimizer=optimizer, accumulate=accumulate, discriminator_optimizer=Adam(0.002))
    return method


def adversary() -> dict:
    return {"discriminator": build_discriminator(CLASSES, channels=4), "loss": "bce", "weight": 0.5}


def adversarial_pasted(in_parts, accumulate):
    student, terms = network(in_parts), [CrossEntropyTerm("source"), CrossEntropyTerm("target")]
    terms.append(TeacherConsistencyTerm(0.5))
    parts = {"teacher": teacher_of(student), "decay": 0.9, "mixer": ClassMixer(ClassMix(), 0), **adversary()}
    method = AdversarialMeanTeacher(student, terms=terms, **parts)
    optimizer = optimizer_for(student, 0.2, name="sgd", clip_norm=0.1)
    method.compile(optimizer=optimizer, accumulate=accumulate, discriminator_optimizer=Adam(0.002))
    return method


def contrast(settings):
    method = contrast_method(settings)
    return lambda accumulate: compiled(method(), accumulate)


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


def mixture(steps, accumulate, adversarial=False):
    student = network(in_parts=False)
    settings = Mixture(dimension=4, samples=20, consistency=0.5, restart_every=5)
    with pytest.MonkeyPatch.context() as patch:
        give_levels(patch)
        modes = mixture_terms(settings, TermContext(student, TINY_SPACE, 3, steps))
        terms = [CrossEntropyTerm("source"), CrossEntropyTerm("target"), *modes]
        method = SelfTraining(student, terms)
        if adversarial:
            method = AdversarialSelfTraining(student, terms=terms, **adversary())
    head = mixture_head(modes)
    head.start_with(10.0 * np.asarray(head.modes), np.zeros(head.modes.shape[:2]))  # most are far from all samples
    optimizer = build_optimizer(Optimizer("sgd", 0.2, clip_norm=0.1), 1000, [])
    optimizer.build(method.trained_variables)
    method.compile(optimizer=optimizer, **({"discriminator_optimizer": Adam(0.002)} if adversarial else {}))
    return method
