"""Loss terms: small callables `term(step) -> scalar` with a `name` (their metric) and a `weight` (in the sum).

A new paper that adds a loss adds one pure function in `losses/`, one term here and one entry in `recipes.py`.
Terms know numbers and regions; they never see a configuration.
"""

from keras import ops

from models.replicas import over_replicas
from training.losses import (
    DOMAIN_LOSSES,
    cross_entropy,
    entropy,
    kld_to_uniform,
    labelled_region,
    minimum_entropy,
    region_of,
    soft_consistency,
    soft_cross_entropy,
)
from training.losses.adversarial import SOURCE
from training.losses.regions import REGIONS


def labelled_pixels(step):
    """Labelled pixels of all domains of the step, on all replicas, float32 scalar.

    The published codes take one mean over them: 15 % of the target's pixels then weigh 15 % of what the source weighs.
    """
    views = [view for view in (step.source, step.target) if view is not None]
    return over_replicas(sum(ops.sum(labelled_region(view.label)) for view in views))


class CrossEntropy:
    """Cross-entropy on the labelled pixels of one domain, "source" or "target".

    Args:
        own_mean: the mean over the domain's own labelled pixels (IAST, HIAST), not over those of both domains (CBST):
            beside terms that are means over the target alone, few pseudo-labels must not weigh less.
    """

    def __init__(self, domain: str, weight: float = 1.0, own_mean: bool = False):
        self.name, self.domain, self.weight = f"cross_entropy_{domain}", domain, weight
        self.own_mean = own_mean

    def __call__(self, step):
        view = getattr(step, self.domain)
        return cross_entropy(view.logits, view.label, None if self.own_mean else labelled_pixels(step))


class SoftCrossEntropy:
    """LRENT: cross-entropy with the recomputed soft label on the pixels whose hard pseudo-label was kept.

    own_mean: as in `CrossEntropy`.
    """

    name = "soft_cross_entropy_target"

    def __init__(self, weight: float = 1.0, own_mean: bool = False):
        self.weight, self.own_mean = weight, own_mean

    def __call__(self, step):
        view = step.target
        mask = labelled_region(view.label)
        return soft_cross_entropy(view.logits, view.soft_label, mask, None if self.own_mean else labelled_pixels(step))


class ConfidentRegionKLD:
    """Divergence of the prediction from the uniform distribution on the pseudo-labelled pixels of the target.

    Args:
        per_class: divide by the classes once more: False for CRST's MRKLD, True for R_c of IAST and HIAST.
    """

    def __init__(self, weight: float, per_class: bool = False):
        self.name = "kld_confident_target" if per_class else "mrkld_target"  # a round can have both
        self.weight, self.per_class = weight, per_class

    def __call__(self, step):
        view = step.target
        return kld_to_uniform(view.logits, labelled_region(view.label), self.per_class)


class IgnoredRegionEntropy:
    """R_i of IAST and HIAST: entropy of the prediction, a class, on the target's pixels without a pseudo-label."""

    name = "entropy_ignored_target"

    def __init__(self, weight: float):
        self.weight = weight

    def __call__(self, step):
        view = step.target
        return entropy(view.logits, region_of(view.label, "ignored"))


class TeacherConsistency:
    """R_cst of HIAST: cross-entropy, a class, with the mean teacher's soft-max on one region of the target.

    Args:
        region: "ignored" (HIAST), "confident" or "all".
    """

    needs_teacher = True

    def __init__(self, weight: float, region: str = "ignored"):
        if region not in REGIONS:
            raise ValueError(f"no region {region!r}: choose from {', '.join(REGIONS)}")
        self.name, self.weight, self.region = f"consistency_{region}_target", weight, region

    def __call__(self, step):
        view = step.target
        return soft_consistency(view.logits, view.teacher_probs, region_of(view.label, self.region))


class MinimumEntropy:
    """AdvEnt's MinEnt: normalised entropy of the prediction on all pixels of the target."""

    name = "minimum_entropy_target"

    def __init__(self, weight: float):
        self.weight = weight

    def __call__(self, step):
        return minimum_entropy(step.target.logits)


class Adversarial:
    """How far the target's output maps are from what the discriminator calls source; it pulls them there.

    Args:
        loss: "lsgan" (AdaptSegNet's form in IAST and HIAST) or "bce" (AdvEnt).
    """

    name = "adversarial"

    def __init__(self, weight: float, loss: str = "lsgan"):
        if loss not in DOMAIN_LOSSES:
            raise ValueError(f"no adversarial loss {loss!r}: choose from {', '.join(DOMAIN_LOSSES)}")
        self.weight, self.domain_loss = weight, DOMAIN_LOSSES[loss]

    def __call__(self, step):
        return self.domain_loss(step.target.scores, SOURCE)


def terms_of(losses) -> list:
    terms = []
    if losses.mrkld is not None:
        terms.append(ConfidentRegionKLD(losses.mrkld.weight))
    if losses.regions is not None:
        regions = losses.regions
        terms += [ConfidentRegionKLD(regions.divergence, per_class=True), IgnoredRegionEntropy(regions.entropy)]
    if losses.consistency is not None:
        terms.append(TeacherConsistency(losses.consistency.weight, losses.consistency.region))
    if losses.minimum_entropy is not None:
        terms.append(MinimumEntropy(losses.minimum_entropy.weight))
    return terms
