"""The labelled source images of a self-training round (CBST, section 5), drawn as the published programs draw them."""

import numpy as np

from training.errors import UserError

POLICIES = ("cumulative", "random")


def source_subset(images: int, share: float, round: int, policy: str = "cumulative", seed: int = 0) -> np.ndarray:
    """Indices int64 [int(images * share)] of the source images of `round` (0 = first), in drawing order.

    share: in (0, 1]; `portion_at` gives its schedule. policy "cumulative" draws with the same seed every round, so a
    larger share contains the smaller ones; "random" draws anew with seed + 1 + round (published: seed 0, random 3).
    The legacy NumPy generator is used on purpose: it reproduces the published subsets.
    """
    if policy not in POLICIES:
        raise UserError(f"There is no source policy {policy!r}: expected one of {', '.join(POLICIES)}.")
    if not 0.0 < share <= 1.0:
        raise UserError(f"The share of source images is {share}: expected above 0 and at most 1, such as 0.03.")
    state = np.random.RandomState((seed if policy == "cumulative" else seed + 1 + round) % 2**32)
    return state.choice(images, int(images * share), replace=False)
