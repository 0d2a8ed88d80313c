"""A whole run: the recipe, the data, the model; and what the watch over it takes for a collapse."""

from dataclasses import dataclass, field
from typing import Literal

from training.settings.bounds import Count, Fraction, Portion, Seed, Weight
from training.settings.data import Data
from training.settings.schedule import Schedule
from training.settings.stages import Alignment, Online, Rounds, WarmUp
from training.settings.translation import CycleGan, Fda, TranslatedImages


@dataclass(frozen=True)
class Model:
    """The network to train."""

    network: str = "compact"
    weights: str = "none"  # "imagenet", "none" or a file
    output_stride: int | None = None  # None: the network's default
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = "float32"


@dataclass(frozen=True)
class Watch:
    """The label-free watch over adaptation; see `training/evaluation/watch.py` for what each number means."""

    stop: bool = True  # stop at a clear collapse and return to the best earlier round
    images: Count = 100  # target images it predicts
    every: Count | None = None  # steps between two verdicts on an online adaptation; None: a quarter of its steps
    patience: Count = 2  # collapses in a row that stop an online adaptation: early ones can pass; rounds stop at one
    collapse_drift: Weight = 0.10
    collapse_share_excess: Weight = 0.25
    collapse_source_loss: Weight = 0.5  # points of mIoU on the source, together with the share excess
    collapse_lost_share: Weight = 0.60


@dataclass(frozen=True)
class Recipe:
    """A method with the constants of its paper."""

    paper: str
    translation: Fda | CycleGan | TranslatedImages | None = None  # of the source, in every stage that trains on it
    warm_up: WarmUp = WarmUp()
    logit_adjustment: Weight = 0.0  # after the warm-up logits lose this times the logarithm of their class's share of
    # the source, and the cross-entropy of source pixels adds it (ICLR 2021); 0 = as published
    label_shift: Fraction = 0.0  # and gain this times the logarithm of how much larger the class's share of what the
    # source model says of the target is than its share of the source (Saerens et al. 2002); 0 = as published
    alignment: Alignment | None = None
    adaptation: Rounds | Online | None = None
    watch: Watch = Watch()
    published: str = ""  # figures to expect in the paper's setting
    measured: str = ""  # on the built-in streets (--data streetsim), two CPU cores, seed 0: minutes and mIoU

    @property
    def adapts(self) -> bool:
        """Is there anything after the first training with labels?"""
        parts = (self.alignment, self.adaptation)
        return any(part is not None for part in parts) or self.adjusts_logits or self.warms_up_again

    @property
    def adjusts_logits(self) -> bool:
        """Does the classifier's bias change after the warm-up?"""
        return self.logit_adjustment > 0 or self.label_shift > 0

    @property
    def translates_after_warm_up(self) -> bool:
        """Does the translation learn from the source model, so that it comes after the warm-up?"""
        return isinstance(self.translation, CycleGan) and self.translation.needs_segmenter

    @property
    def warms_up_again(self) -> bool:
        """Is the source model then trained anew, on the translated images?"""
        return self.translates_after_warm_up and self.translation.warm_up


@dataclass(frozen=True)
class Experiment:
    """Everything that decides a run's result."""

    recipe: Recipe
    data: Data
    model: Model
    labelled_share: Portion | None = None  # semi-supervised: this share of the target, with its labels, is the source
    names: dict[str, str] = field(default_factory=dict)  # what recipe, data and model were called on the command line
    seed: Seed = 0

    @property
    def trained_schedules(self) -> list[Schedule]:
        """The schedules that its stages train with."""
        recipe, schedules = self.recipe, self.data.schedules
        parts = (recipe.warm_up, recipe.alignment, recipe.adaptation)
        names = [part.kind for part in parts if part is not None]
        names += ["translation"] if isinstance(recipe.translation, CycleGan) else []
        return [schedules[name] for name in names if name in schedules]
