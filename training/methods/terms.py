"""Loss terms: small callables `term(step) -> scalar` with a `name` (their metric) and a `weight` (in the sum).

A new paper that adds a loss adds one pure function in `losses/`, one term here and one entry in `recipes.py`.
Terms know numbers and regions; they never see a configuration.
"""

from keras import ops

from training.losses import cross_entropy, kld_to_uniform, labelled_region, soft_cross_entropy


def labelled_pixels(step):
    """Labelled pixels of all domains of the step, float32 scalar.

    The published codes take one mean over them: 15 % of the target's pixels then weigh 15 % of what the source weighs.
    """
    views = [view for view in (step.source, step.target) if view is not None]
    return sum(ops.sum(labelled_region(view.label)) for view in views)


class CrossEntropy:
    """Cross-entropy on the labelled pixels of one domain, "source" or "target", a labelled pixel of the whole batch."""

    def __init__(self, domain: str, weight: float = 1.0):
        self.name, self.domain, self.weight = f"cross_entropy_{domain}", domain, weight

    def __call__(self, step):
        view = getattr(step, self.domain)
        return cross_entropy(view.logits, view.label, labelled_pixels(step))


class SoftCrossEntropy:
    """LRENT: cross-entropy with the recomputed soft label on the pixels whose hard pseudo-label was kept."""

    name = "soft_cross_entropy_target"

    def __init__(self, weight: float = 1.0):
        self.weight = weight

    def __call__(self, step):
        view = step.target
        mask = labelled_region(view.label)
        return soft_cross_entropy(view.logits, view.soft_label, mask, labelled_pixels(step))


class ConfidentRegionKLD:
    """MRKLD: divergence of the prediction from the uniform distribution on the pseudo-labelled pixels."""

    name = "kld_confident_target"

    def __init__(self, weight: float):
        self.weight = weight

    def __call__(self, step):
        view = step.target
        return kld_to_uniform(view.logits, labelled_region(view.label))
