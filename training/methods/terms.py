"""Loss terms: callables `term(step) -> scalar` with a name and a weight; and the table settings -> terms.

A new loss touches three places: a pure function in `training/losses/`, a term here with its line in `TERMS`, and a
dataclass with its field of `Losses` in `training/settings/losses.py`.
"""

from collections.abc import Callable
from dataclasses import fields

from keras import ops

from models.replicas import shares
from training.losses import (
    DOMAIN_LOSSES,
    cross_entropy,
    entropy,
    feature_distance,
    kld_to_uniform,
    labelled_region,
    labels_on,
    minimum_entropy,
    region_of,
    soft_consistency,
    soft_cross_entropy,
)
from training.losses.adversarial import SOURCE
from training.losses.regions import REGIONS
from training.methods.contrast import PixelContrastTerm, PrototypeContrastTerm
from training.methods.step import Step, View
from training.methods.term import Term, TermContext
from training.settings.losses import (
    Consistency,
    FeatureDistance,
    Losses,
    Masked,
    MinimumEntropy,
    Mrkld,
    PixelContrast,
    PrototypeContrast,
    RegionRegularisation,
)


def labelled_pixels(step: Step):
    """Labelled pixels of all domains of the step, in the whole global batch, float32 scalar.

    The published codes take one mean over them: if 15 % of the target's pixels are labelled, the target's part of the
    loss weighs 15 % of the source's.
    """
    views = [view for view in (step.source, step.target, step.mixed) if view is not None]
    return sum(view.count("confident") for view in views)


def all_pixels(label):
    """Pixels of the global batch, of which `label` `[b, h, w]` is one share, labelled or not, float32 scalar."""
    return ops.cast(ops.size(label), "float32") * shares()


class CrossEntropyTerm(Term):
    """Cross-entropy on the labelled pixels of one domain: "source", "target" or "mixed".

    It is the sum of `weight * -log p(label)` over the labelled pixels, with the view's weight per pixel if it has one,
    divided by a number of pixels, never by the sum of the weights:

    Args:
        own_mean: False: by the labelled pixels of all domains (CBST). True: by those of this domain (IAST, HIAST),
            so that beside terms that are means over the target, few pseudo-labels do not weigh less.
        over_all: by all pixels of this domain, ignored ones too (DAFormer, PGPC).
        prior: float32 `[classes]`, added to the logits where the label is the source's (logit adjustment).
    """

    def __init__(self, domain: str, weight: float = 1.0, own_mean: bool = False, over_all: bool = False, prior=None):
        self.name, self.domain, self.weight = f"cross_entropy_{domain}", domain, weight
        self.own_mean, self.over_all, self.prior = own_mean, over_all, prior
        self.needs = {"source": (), "target": ("target", "pseudo_labels"), "mixed": ("mixed",)}[domain]

    def __call__(self, step):
        view = getattr(step, self.domain)
        logits = with_prior(view, self.prior, everywhere=self.domain == "source")
        return cross_entropy(logits, view.label, self.count(step), view.weight)

    def count(self, step: Step):
        """The divisor, float32 scalar."""
        view = getattr(step, self.domain)
        if self.over_all:
            return all_pixels(view.label)
        return view.count("confident") if self.own_mean else labelled_pixels(step)


def with_prior(view: View, prior, everywhere: bool = False):
    """The logits of a view, with the prior of logit adjustment (None: as they are) where the label is the source's: on
    pasted pixels, or everywhere."""
    if prior is None or (view.pasted is None and not everywhere):
        return view.logits
    of_source = 1.0 if everywhere else ops.cast(view.pasted, "float32")[..., None]
    return ops.cast(view.logits, "float32") + of_source * prior


class TeacherWeightTerm(Term):
    """How much the teacher's labels count, for the log alone: their weights, as a mean over all mixed pixels."""

    name = "teacher_weight"
    weight = 0.0
    needs = ("mixed",)

    def __call__(self, step):
        view = step.mixed
        return ops.sum(view.weight * (1.0 - ops.cast(view.pasted, "float32"))) / all_pixels(view.label)


class SoftCrossEntropyTerm(Term):
    """LRENT: cross-entropy with the recomputed soft label on the pixels whose hard pseudo-label was kept.

    own_mean, prior, and the view's weight per pixel: as in `CrossEntropyTerm`.
    """

    name = "soft_cross_entropy_target"
    needs = ("target", "pseudo_labels", "soft_label")

    def __init__(self, weight: float = 1.0, own_mean: bool = False, prior=None):
        self.weight, self.own_mean, self.prior = weight, own_mean, prior

    def __call__(self, step):
        view = step.target
        count = view.count("confident") if self.own_mean else labelled_pixels(step)
        logits = with_prior(view, self.prior)
        region = labelled_region(view.label)
        region = region if view.weight is None else region * view.weight
        return soft_cross_entropy(logits, view.soft_label, region, count)


class ConfidentRegionKLDTerm(Term):
    """Divergence of the prediction from the uniform distribution on the pseudo-labelled pixels of the target.

    Args:
        per_class: divide by the number of classes once more: False for CRST's MRKLD, True for R_c of IAST and HIAST.
    """

    needs = ("target", "pseudo_labels")

    def __init__(self, weight: float, per_class: bool = False):
        self.name = "kld_confident_target" if per_class else "mrkld_target"  # a round can have both
        self.weight, self.per_class = weight, per_class

    def __call__(self, step):
        view = step.target
        return kld_to_uniform(view.logits, labelled_region(view.label), self.per_class, view.count("confident"))


class IgnoredRegionEntropyTerm(Term):
    """R_i of IAST and HIAST: entropy of the prediction, per class, on the target's pixels without a pseudo-label."""

    name = "entropy_ignored_target"
    needs = ("target", "pseudo_labels")

    def __init__(self, weight: float):
        self.weight = weight

    def __call__(self, step):
        view = step.target
        return entropy(view.logits, region_of(view.label, "ignored"), count=view.count("ignored"))


class TeacherConsistencyTerm(Term):
    """R_cst of HIAST: cross-entropy, per class, with the mean teacher's soft-max on one region of the target.

    Args:
        region: "ignored" (HIAST), "confident" or "all".

    Raises:
        ValueError: another region.
    """

    needs = ("target", "pseudo_labels", "teacher_probs")

    def __init__(self, weight: float, region: str = "ignored"):
        if region not in REGIONS:
            raise ValueError(f"no region {region!r}: choose from {', '.join(REGIONS)}")
        self.name, self.weight, self.region = f"consistency_{region}_target", weight, region

    def __call__(self, step):
        view = step.target
        region, count = region_of(view.label, self.region), view.count(self.region)
        return soft_consistency(view.logits, view.teacher_probs, region, count=count)


class MinimumEntropyTerm(Term):
    """AdvEnt's MinEnt: normalised entropy of the prediction on all pixels of the target."""

    name = "minimum_entropy_target"
    needs = ("target",)

    def __init__(self, weight: float):
        self.weight = weight

    def __call__(self, step):
        return minimum_entropy(step.target.logits)


class FeatureDistanceTerm(Term):
    """DAFormer's feature distance on the things of the source, on the encoder's last map.

    least_share: see `losses.labels_on`.
    """

    name = "feature_distance"
    needs = ("levels", "frozen_levels")
    splits = False  # how many places show things is known after the forward pass alone
    things: tuple[int, ...] = ()

    def __init__(self, weight: float, least_share: float = 0.75):
        self.weight, self.least_share = weight, least_share

    def build(self, context):
        self.things = context.space.things

    def __call__(self, step):
        view = step.source
        features, frozen, classes = view.levels[-1], view.frozen_levels[-1], view.logits.shape[-1]
        label = labels_on(view.label, ops.shape(features)[1:3], classes, self.least_share)
        is_thing = sum(ops.cast(ops.equal(label, thing), "float32") for thing in self.things)
        return feature_distance(features, frozen, is_thing)


class MaskedTerm(Term):
    """MIC: cross-entropy on target images with hidden blocks, with the teacher's labels and weights."""

    name = "masked"
    needs = ("masked",)
    prior = None

    def __init__(self, settings: Masked):
        self.settings, self.weight = settings, settings.weight

    def build(self, context):
        self.prior = context.prior

    def __call__(self, step):
        view = step.masked
        return cross_entropy(with_prior(view, self.prior), view.label, all_pixels(view.label), view.weight)


class AdversarialTerm(Term):
    """The discriminator's loss of the target's output maps with the source's domain label.

    Args:
        loss: "lsgan" (AdaptSegNet's form in IAST and HIAST) or "bce" (AdvEnt).

    Raises:
        ValueError: another loss.
    """

    name = "adversarial"
    needs = ("target", "scores")

    def __init__(self, weight: float, loss: str = "lsgan"):
        if loss not in DOMAIN_LOSSES:
            raise ValueError(f"no adversarial loss {loss!r}: choose from {', '.join(DOMAIN_LOSSES)}")
        self.weight, self.domain_loss = weight, DOMAIN_LOSSES[loss]

    def __call__(self, step):
        return self.domain_loss(step.target.scores, SOURCE)


def _region_terms(settings: RegionRegularisation) -> list[Term]:
    divergence = ConfidentRegionKLDTerm(settings.divergence, per_class=True)
    return [divergence, IgnoredRegionEntropyTerm(settings.entropy)]


TERMS: dict[type, Callable[..., list[Term]]] = {
    Mrkld: lambda settings: [ConfidentRegionKLDTerm(settings.weight)],
    RegionRegularisation: _region_terms,
    Consistency: lambda settings: [TeacherConsistencyTerm(settings.weight, settings.region)],
    MinimumEntropy: lambda settings: [MinimumEntropyTerm(settings.weight)],
    FeatureDistance: lambda settings: [FeatureDistanceTerm(settings.weight, settings.least_share)],
    Masked: lambda settings: [MaskedTerm(settings)],
    PrototypeContrast: lambda settings: [PrototypeContrastTerm(settings)],
    PixelContrast: lambda settings: [PixelContrastTerm(settings)],
}
"""By the type of a part of `Losses`: its settings -> its terms."""


def terms_of(losses: Losses, context: TermContext | None = None) -> list[Term]:
    """The terms of `losses` in the order of its fields; a part that is None has none.

    Args:
        context: the terms are built with it; None: they can be checked, and not computed.
    """
    terms = []
    for field in fields(losses):
        settings = getattr(losses, field.name)
        if settings is not None:
            for term in TERMS[type(settings)](settings):
                term.setting = f"losses.{field.name}"
                if context is not None:
                    term.build(context)
                terms.append(term)
    return terms
