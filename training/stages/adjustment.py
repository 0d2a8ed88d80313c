"""The classifier's bias follows the class shares: logit adjustment (Menon et al., ICLR 2021) and label shift.

A network that was trained with cross-entropy adds the logarithm of a class's share of the source to its logit. Where it
is unsure, it says what is frequent there.

1. Logit adjustment: the bias loses `logit_adjustment` times these logarithms, so that small things are not called
   building for being rare.
2. Label shift (Saerens et al., Neural Computation 2002, one damped step): it gains `label_shift` times the logarithm of
   how much larger a class's share of what the source model says of the target is than its share of the source. So a
   class that is more frequent in the target than in the source does not lose to rare ones.

Later stages take the same from the logits of source pixels in the cross-entropy, so that training on the source does
not undo it. Pseudo-labels come from the adjusted network.
"""

from dataclasses import dataclass

import numpy as np

from models.heads import classifier_bias
from training.data.input_pipeline import evaluation_stream
from training.distribution.workers import on_chief
from training.prediction.predictor import images_at_once
from training.progress import console
from training.run_directory.paths import ADJUSTMENT
from training.stages.stage import Run, Stage

LEAST_SHARE = 1e-4  # of a class of the source: what is rarer counts as this rare
MOST_SHIFT = 4.0  # times as frequent, or as rare, in the target as in the source: what differs more counts as this


@dataclass(frozen=True, kw_only=True)
class AdjustmentStage(Stage):
    """The classifier's bias loses the source's prior and gains the label shift; nothing is trained."""

    name: str = ADJUSTMENT
    title: str = "Logit adjustment"
    phrase: str = "before adaptation, with adjusted logits"
    way: str = "by logit adjustment"
    reference: bool = True

    def skipped(self, run: Run) -> str | None:
        start, recipe = run.adjusted_start, run.experiment.recipe
        wanted = (recipe.logit_adjustment, recipe.label_shift)
        if start is None or (start.logit_adjustment, start.label_shift) != wanted:
            return None  # a label shift of adjusted logits is refused where the warm start is found
        return "No logit adjustment: the model that this run starts from has it already"

    def run(self, run: Run) -> dict:
        recipe, names = run.experiment.recipe, run.domains.label_space.names
        prior = log_shares(run.domains.source_shares, run.domains.all_source_labels_counted)
        gained = -recipe.logit_adjustment * prior
        if recipe.label_shift:
            gained = gained + recipe.label_shift * shift_from(prior, on_chief(lambda: predicted_shares(run)))
        gained = (gained - gained.mean()).astype(np.float32)
        # What the model that the run starts from has gained is not given twice.
        before = 0 if run.logit_prior is None else -run.logit_prior
        bias = classifier_bias(run.network)
        bias.assign(bias + gained - before)
        order = np.argsort(-gained)
        told = ", ".join(f"{names[number]} {gained[number]:+.1f}" for number in (*order[:3], order[-1]))
        by = "the class shares of source and target" if recipe.label_shift else "the source's class shares"
        console.print(f"Logit adjustment by {by}: {told}", style="bold")
        return {"logits": {name: float(value) for name, value in zip(names, gained, strict=True)}}


def log_shares(shares: np.ndarray, all_counted: bool) -> np.ndarray:
    """Logarithms of the classes' shares of the source `[classes]`.

    A class without a pixel has the largest of them, so that nothing raises what nothing has taught; where not all
    labels were counted, it may be in one of the others and has the mean of them, so that its logit stays.
    """
    seen = np.log(np.maximum(shares, LEAST_SHARE))
    unseen = np.log(shares.max()) if all_counted else seen[shares > 0].mean()
    return np.where(shares > 0, seen, unseen)


def shift_from(prior: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """By how much the logarithms of the target's shares `[classes]` are larger than the prior, within `MOST_SHIFT`."""
    shift = np.log(np.maximum(shares, 1e-9)) - prior
    return np.clip(shift, -np.log(MOST_SHIFT), np.log(MOST_SHIFT))


def predicted_shares(run: Run) -> np.ndarray:
    """The classes' shares `[classes]` of what the network says of the target: its mean probabilities on the images that
    the watch looks at."""
    images = run.domains.target.evenly_spaced(run.experiment.recipe.watch.images)
    sums = np.zeros(run.domains.label_space.count)
    for batch in evaluation_stream(images, run.size, images_at_once(run.size)).shown("class shares of the target"):
        probs = run.predictor.coarse_probs(batch["image"]).numpy()
        sums += probs.sum(axis=(0, 1, 2), dtype=np.float64)
    return sums / sums.sum()
