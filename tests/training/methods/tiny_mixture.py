"""What the tests of the second head share: a small one with all of its losses."""

import numpy as np

from tests.training.methods.tiny import tiny_network
from tests.training.methods.tiny_contrast import TINY_SPACE, TinyContext
from training.methods.mixture import mixture_head, mixture_terms
from training.settings.losses import Mixture

RAW = {"normalize": False, "variance": 0.5, "margin": 1.0, "beta": 1.0}  # published
SOME = Mixture(dimension=4, samples=20, label_reduction=1, consistency=0.1, **RAW)


def terms_with(settings=SOME, network=None, target_weight=1.0, adapts=True):
    """The terms of an active head."""
    context = TinyContext(network or tiny_network(), TINY_SPACE, 3, 20)
    terms = mixture_terms(settings, context, target_weight, adapts)
    head = mixture_head(terms)
    head.start_with(np.asarray(head.modes), np.zeros(head.modes.shape[:2]))
    return terms
