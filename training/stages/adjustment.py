"""Logit adjustment (Menon et al., ICLR 2021): rare classes of the source are not less probable for being rare there.

A network that was trained with cross-entropy adds the logarithm of a class's share of the labelled pixels to its logit.
Where it is unsure, it says the frequent class: of small things it says building. Before adaptation the classifier's
bias loses `logit_adjustment` times these logarithms. Later stages add them to the logits in the cross-entropy of source
pixels, so that training on the source does not bring them back. Pseudo-labels come from the adjusted network.
"""

from dataclasses import dataclass

import numpy as np

from models.heads import classifier_bias
from training.progress import console
from training.run_directory.paths import ADJUSTMENT
from training.stages.stage import Run, Stage


@dataclass(frozen=True, kw_only=True)
class AdjustmentStage(Stage):
    """The classifier's bias loses the source's prior; nothing is trained."""

    name: str = ADJUSTMENT
    title: str = "Logit adjustment"
    phrase: str = "before adaptation, with adjusted logits"
    way: str = "by logit adjustment"
    reference: bool = True

    def skipped(self, run: Run) -> str | None:
        if run.adjusted_before == run.experiment.recipe.logit_adjustment:
            return "No logit adjustment: the model that this run starts from has it already"
        return None

    def run(self, run: Run) -> dict:
        # What the model that the run starts from went through is not repeated.
        prior = run.logit_prior * (1 - run.adjusted_before / run.experiment.recipe.logit_adjustment)
        bias = classifier_bias(run.network)
        bias.assign(bias - prior)
        names = run.domains.label_space.names
        order = np.argsort(prior)
        told = ", ".join(f"{names[number]} {-prior[number]:+.1f}" for number in (*order[:3], order[-1]))
        console.print(f"Logit adjustment by the source's class shares: {told}", style="bold")
        return {"logits": {name: -float(value) for name, value in zip(names, prior, strict=True)}}
