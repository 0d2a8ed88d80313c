"""The second head of DRSL (Image and Vision Computing 2022): each class is modelled by several modes.

One step:

1. Draw places of each class in each image: of the source by its labels, of the target by its pseudo-labels.
2. The embedding block maps the encoder's last level, or the classifier's map, to embeddings, of which those of the
   drawn places are taken. No map of embeddings is enlarged.
3. Triplet loss, mean over the samples of both domains: nearer to a mode of the own class than to any other.
4. Cross-entropy of the class' posterior, a mean for each domain.
5. Consistency (DRSL+): a target sample is nearer to a source sample of the same class and mode than to one of another
   class.

The gradient of all three goes into block, modes and network. Until its modes are started the head is inactive: all
three are 0. After every n-th step modes of no use start anew, see `mode_restarts.py`.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from models.heads import embedding_block
from models.replicas import gathered, over_replicas
from training.losses.metric import (
    drawn_places,
    mixture_cross_entropy,
    mode_consistency,
    nearest_mode,
    partners,
    sampled,
    squared_distances,
    total,
    triplet,
)
from training.losses.regions import IGNORE
from training.methods.kept import ClassQueues, kept
from training.methods.mode_restarts import CANDIDATES, restarted
from training.methods.step import Step, View, thin_label
from training.methods.term import Term, TermContext
from training.randomness import uniform_at
from training.settings.losses import Mixture

SOURCE_PLACES, TARGET_PLACES, PARTNERS, LAST, RESTARTS = 20, 21, 22, 23, 25  # numbers of the streams of random numbers
LAST_SAMPLES, PUSHED = 256, 16  # that are kept of each class for restarts; of each domain in a step, at most
DIMENSION, COMPACT_DIMENSION = 256, 64  # of embeddings, where the settings do not say it
GROUP = "mixture"  # of the variables in checkpoints


@dataclass(frozen=True)
class Samples:
    """Embeddings of one domain of a step: `[n]`, those of an image after one another, equally many of each.

    embeddings: float32 `[n, D]`. squared: float32 `[n, classes, M]`, distances to all modes. label: int32. weight:
    float32, 0 = does not count. positions: int64 `[images]`, see `View`. per_image: how many samples each image has.
    """

    embeddings: tf.Tensor
    squared: tf.Tensor
    label: tf.Tensor
    weight: tf.Tensor
    positions: tf.Tensor
    per_image: int


class MixtureHead:
    """Embedding block and modes, which the terms share.

    Args:
        target_weight: factor of the weights of the target's samples; with 0 they do not count.

    variables, made in `build`:
        block: the embedding block's weights, trained.
        modes: float32 `[classes, M, D]`, trained.
        active: float32 `[]`, 0 until the modes are started.
        start: float32 `[classes, M, D]`, the modes as they were started.
        start_shares: float32 `[classes, M]`, how they were used then; NaN of a class that had no sample.
        steps: int64 `[]`, since the start, or since the stage has begun.
        counts: int32 `[classes, M]`, samples nearest to each mode since its class was last looked at for restarts.
        restarts: int32 `[classes]`, how often a mode of the class started anew.
        last: the last samples of each class, float32 (`ClassQueues`).
    """

    def __init__(self, settings: Mixture, target_weight: float = 1.0):
        self.settings, self.target_weight = settings, target_weight
        self.trained, self.variables = (), ()
        self._thread = threading.local()  # of a replica: each computes its own step

    def build(self, context: TermContext) -> None:
        """Make the variables; where they are made already, nothing."""
        if self.variables:
            return
        settings, network = self.settings, context.network
        self.classes, self.seed = context.classes, context.seed
        self.loss_stride = context.loss_stride
        self.thinning = max(1, settings.label_reduction // context.loss_stride)
        dimension = settings.dimension or (COMPACT_DIMENSION if network.name == "compact" else DIMENSION)
        channels, stride, initial = context.level_channels[-1], context.level_stride, context.seed
        if settings.level == "classifier":
            channels, stride = context.classifier_channels, max(8, context.classifier_stride)  # in DeepLab-v2's cells
        self.block = embedding_block(channels, dimension, stride, initial)
        shape = (self.classes, settings.modes, dimension)
        random = np.random.default_rng(initial).normal(size=shape)
        self.modes = keras.Variable(random.astype(np.float32), name="modes", dtype="float32")
        self.active = kept("active", (), "float32")
        self.start, self.start_shares = kept("start", shape, "float32"), kept("start_shares", shape[:2], "float32")
        self.steps, self.counts = kept("steps", (), "int64"), kept("counts", shape[:2], "int32")
        self.restarts = kept("restarts", shape[:1], "int32")
        self.last = ClassQueues(self.classes, LAST_SAMPLES, dimension, "float32")
        self.trained = (*self.block.trainable_variables, self.modes)
        own = (self.active, self.start, self.start_shares, self.steps, self.counts, self.restarts)
        self.variables = (*self.trained, *own, *self.last.variables)

    def start_with(self, modes: np.ndarray, shares: np.ndarray) -> None:
        """Take these modes `[classes, M, D]`, used like `shares` `[classes, M]`, and count from now on."""
        for variable in (self.modes, self.start):
            variable.assign(modes)
        self.start_shares.assign(shares)
        self.active.assign(1.0)
        self.forget()

    def forget(self) -> None:
        """What was counted and kept for restarts; the embeddings are other ones now."""
        for variable in (self.steps, self.counts, self.last.pushed):
            variable.assign(np.zeros(variable.shape, variable.dtype))

    @property
    def need(self) -> str:
        """The field of `View` that is embedded."""
        return "levels" if self.settings.level == "last" else "features"

    def embedded(self, outputs, place, size):
        """The embeddings at places of the map that is enlarged to `size`, see `losses.metric.sampled`.

        Args:
            outputs: the field `need` of a view, or of a network with levels: of levels the last one is embedded.
            place: int32 `[b, n]`, numbers of `places_of(size)`.
        """
        features = outputs[-1] if self.settings.level == "last" else outputs
        place = tf.gather(places_of(size, self.thinning), place)
        return self.as_used(sampled(self.block(features), place, size))

    def as_used(self, points):
        """Embeddings or modes as distances are taken of them: of length 1 if the settings say so."""
        return tf.math.l2_normalize(points, axis=-1, epsilon=1e-12) if self.settings.normalize else points

    def thinned(self, values):
        """Of `[b, h, w]` on the grid of the loss those places that can be samples: the label reduction."""
        return thin_label(values, self.thinning)

    def samples(self, step: Step) -> dict[str, Samples]:
        """By domain, "source" and "target", those that the step has; computed once per step and replica."""
        last, found = getattr(self._thread, "last", (None, None))
        if last is not step:
            found = self._drawn(step)
            self._thread.last = (step, found)
            self._note(found)
        return found

    def _drawn(self, step: Step) -> dict[str, Samples]:
        found, target = {}, step.target if step.mixed is None else step.mixed
        if step.source is not None:
            found["source"] = self.of_view(step.source, SOURCE_PLACES)
        if target is not None:
            found["target"] = self.of_view(target, TARGET_PLACES, self.target_weight)
        return found

    def of_view(self, view: View, stream: int, factor: float = 1.0) -> Samples:
        """Draw samples of one view; what is pasted into it or has the weight 0 is not drawn."""
        # Labels and weights on the grid of the samples.
        label = tf.cast(self.thinned(view.label), tf.int32)
        weight = tf.ones_like(label, tf.float32)
        if view.weight is not None:
            weight = self.thinned(view.weight)
        weight *= factor
        if view.pasted is not None:
            label = tf.where(self.thinned(view.pasted), IGNORE, label)
        places = label.shape[1] * label.shape[2]
        label, weight = (tf.reshape(each, (-1, places)) for each in (label, weight))
        # Places, and what is there.
        label = tf.where(weight > 0, label, IGNORE)
        uniform = uniform_at(self.seed, stream, view.positions, places)
        place, valid = drawn_places(label, self.classes, self.settings.samples, uniform)
        embeddings = self.embedded(getattr(view, self.need), place, tuple(view.label.shape[1:3]))
        embeddings = tf.reshape(embeddings, (-1, embeddings.shape[-1]))
        label, weight = (tf.gather(each, place, axis=1, batch_dims=1) for each in (label, weight))
        weight = tf.where(valid, weight, 0.0)
        squared = squared_distances(embeddings, self.as_used(tf.convert_to_tensor(self.modes)))
        flat = (tf.reshape(label, [-1]), tf.reshape(weight, [-1]))
        return Samples(embeddings, squared, *flat, view.positions, place.shape[1])

    def _note(self, found: dict[str, Samples]) -> None:
        """Count the samples of each mode in the global batch, and keep some of each class."""
        if not self.settings.restart_every:
            return
        groups, counts = self.classes * self.settings.modes, tf.convert_to_tensor(self.counts)
        for number, each in enumerate(found.values()):
            valid = (each.weight > 0) & (tf.convert_to_tensor(self.active) > 0)
            group = each.label * self.settings.modes + nearest_mode(each.squared, each.label)
            group = tf.where(valid, group, groups)
            of_group = tf.math.bincount(group, minlength=groups + 1, maxlength=groups + 1)[:groups]
            counts += tf.reshape(over_replicas(of_group), counts.shape)
            label = gathered(tf.where(valid, each.label, IGNORE))
            uniform = uniform_at(self.seed, LAST + number, gathered(each.positions)[:1], self.classes)[0]
            mask = label[None] == tf.range(self.classes)[:, None]
            self.last.push([tf.stop_gradient(each.embeddings)], mask, PUSHED, uniform)
        self.counts.assign(counts)

    def restart_modes(self, optimizer) -> None:
        """After every n-th step move the modes of no use; every replica draws the same, by seed and step."""
        if not self.settings.restart_every:
            return
        modes, counts, steps = (tf.convert_to_tensor(each) for each in (self.modes, self.counts, self.steps))

        def moved():
            points = tf.reshape(tf.convert_to_tensor(self.last.rows), (self.classes, LAST_SAMPLES, -1))
            uniform = uniform_at(self.seed, RESTARTS, steps[None], self.classes * self.settings.modes * CANDIDATES)
            uniform = tf.reshape(uniform, (*counts.shape, CANDIDATES))
            found, anew, checked = restarted(self.as_used(modes), counts, points, self.last.filled(), uniform)
            return tf.where(anew[..., None], found, modes), anew, checked

        def as_before():
            return modes, tf.zeros_like(counts, tf.bool), tf.zeros_like(counts[:, 0], tf.bool)

        steps += tf.cast(tf.convert_to_tensor(self.active), tf.int64)
        due = (steps > 0) & (steps % self.settings.restart_every == 0)
        modes, anew, checked = tf.cond(due, moved, as_before)
        self.steps.assign(steps)
        self.modes.assign(modes)
        self.counts.assign(tf.where(checked[:, None], 0, counts))
        moved_now = tf.math.count_nonzero(anew, axis=1, dtype=tf.int32)
        self.restarts.assign(tf.convert_to_tensor(self.restarts) + moved_now)
        optimizer.restart(self.modes, anew[..., None])


def places_of(size, thinning: int):
    """The places, row by row on a grid of `size`, of those that are left when it is thinned: int32 `[n]`."""
    return tf.reshape(thin_label(tf.reshape(tf.range(size[0] * size[1]), (1, *size)), thinning), [-1])


class MixtureTerm(Term):
    """What the three terms have in common: the head, whose variables they keep."""

    group = GROUP
    setting = "adaptation.mixture"
    splits = False  # how many samples there are is known after they are drawn alone

    def __init__(self, head: MixtureHead, weight: float):
        self.head, self.weight = head, weight

    def build(self, context):
        self.head.build(context)

    @property
    def needs(self):
        return (self.head.need,)

    @property
    def variables(self):
        return self.head.variables

    @property
    def trained(self):
        return self.head.trained

    def __call__(self, step):
        return tf.convert_to_tensor(self.head.active) * self.value(self.head.samples(step))

    def after_step(self, optimizer):
        self.head.restart_modes(optimizer)

    def value(self, samples: dict[str, Samples]):
        """The loss of an active head; each kind of term defines it."""
        raise TypeError(f"{type(self).__name__} must define value(samples)")


class ModeTripletTerm(MixtureTerm):
    """Equation 7: one mean over the samples of both domains."""

    name = "mode_triplet"

    def value(self, samples):
        settings = self.head.settings
        return _mean([
            total(triplet(each.squared, each.label, settings.margin, settings.squared), each.weight)
            for each in samples.values()
        ])  # fmt: skip


class ModeCrossEntropyTerm(MixtureTerm):
    """Equation 5: a mean over the samples of each domain, summed."""

    name = "mode_cross_entropy"

    def value(self, samples):
        settings = self.head.settings
        form = (settings.form, settings.variance)
        means = [_mean([total(mixture_cross_entropy(e.squared, e.label, *form), e.weight)]) for e in samples.values()]
        return tf.add_n(means)


class ModeConsistencyTerm(MixtureTerm):
    """Equation 6: mean over the target's samples for which the global batch has a partner of each kind."""

    name = "mode_consistency"

    def value(self, samples):
        if len(samples) < 2:
            return tf.constant(0.0)
        head, source, target = self.head, samples["source"], samples["target"]
        # All source samples of the global batch, on every replica.
        embeddings, label = gathered(source.embeddings), gathered(source.label)
        mode = gathered(nearest_mode(source.squared, source.label))
        valid = gathered(source.weight) > 0
        # Two of them for each target sample.
        count = head.settings.modes
        uniform = uniform_at(head.seed, PARTNERS, target.positions, 2 * target.per_image)
        own = tf.where(target.weight > 0, target.label, 0), nearest_mode(target.squared, target.label)
        drawn = partners(label, mode, valid, *own, count, head.classes, tf.reshape(uniform, (-1, 2)))
        positive, negative = (tf.gather(embeddings, place) for place in drawn[:2])
        losses = mode_consistency(target.embeddings, positive, negative, head.settings.beta)
        return _mean([total(losses, tf.where(drawn[2], target.weight, 0.0))])


def _mean(totals):
    """One share of the mean over the samples of several parts, of which `totals` has the sums and numbers."""
    sums, counts = zip(*totals, strict=True)
    return tf.add_n(sums) / tf.maximum(over_replicas(tf.add_n(counts)), 1.0)


def mixture_terms(
    settings: Mixture | None, context: TermContext | None = None, target_weight: float = 1.0, adapts: bool = True
) -> list[MixtureTerm]:
    """The terms with a weight, which share a head; none with a weight, or no settings: none.

    Args:
        context: the terms are built with it; None: they can be checked, and not computed.
        target_weight: see `MixtureHead`. adapts: with the term that compares the domains.
    """
    if settings is None:
        return []
    head = MixtureHead(settings, target_weight)
    kinds: dict[Callable[[MixtureHead, float], MixtureTerm], float] = {
        ModeTripletTerm: settings.triplet,
        ModeCrossEntropyTerm: settings.cross_entropy,
        ModeConsistencyTerm: settings.consistency if adapts else 0.0,
    }
    terms = [kind(head, weight) for kind, weight in kinds.items() if weight]
    for term in terms:
        if context is not None:
            term.build(context)
    return terms


def mixture_head(terms) -> MixtureHead | None:
    """The head that the terms of a method share; None where they have none."""
    return next((term.head for term in terms if isinstance(term, MixtureTerm)), None)
