"""Which images and crops a batch is made of, how often each is drawn, and what is pasted between them."""

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Interval

from training.settings.bounds import AnyCount, Count, Fraction, Portion, Positive


@dataclass(frozen=True)
class SourceShare:
    """How much of the source a round sees: the paper's shares of the source list, cumulative (nested) or random.

    `seed`: of the drawing, beside the run's; published: 0 with cumulative (CBST), 3 with random (CRST).
    """

    share: Portion = 0.03
    step: Fraction = 0.0025
    maximum: Portion = 0.06
    policy: Literal["cumulative", "random"] = "cumulative"
    seed: AnyCount = 0


@dataclass(frozen=True)
class ImageSelection:
    """Keep only the target images with the best class-balanced score (the 505 of 2975 in the authors' lists)."""

    share: Portion = 0.17


@dataclass(frozen=True)
class RareClassMining:
    """CBST's patch mining: crops are centred on rare classes (ECCV 2018, section 4.1). CRST mines the target alone."""

    probability: Fraction = 0.8
    classes: Annotated[int, Interval(ge=0, le=254)] = 3  # the rarest classes of the target's predictions ...
    threshold: Fraction = 1e-3  # ... and every class below this share
    domains: Literal["both", "target"] = "both"


@dataclass(frozen=True)
class RareClassSampling:
    """DAFormer (CVPR 2022, section 3.3): draw a class, P(c) ~ exp((1 - f_c) / T), then an image that shows it.

    f_c is the class' share of the source's labelled pixels, counted once per run. `domains="both"`, in rounds: the
    target's images too, by the pseudo-labels of the round. The published shares are stated in pixels: more than 3000 of
    GTA5's 1914 x 1052, more than 1500 of a crop of 512 x 512.
    """

    temperature: Annotated[float, Interval(ge=1e-6, le=1e6)] = 0.01  # T; published for the 24,966 images of GTA5. With
    # few images a larger one, so that the few that show a rare class are not drawn again and again
    least_share: Annotated[float, Interval(ge=0, lt=1)] = 0.0015  # an image shows a class above this share of its
    # labelled pixels
    crop_draws: Annotated[int, Interval(ge=0, le=1000)] = 10  # how often a crop is drawn again that shows too little
    crop_share: Annotated[float, Interval(ge=0, lt=1)] = 0.0057  # a crop shows enough above this share of its pixels
    crop_most_share: Portion = 1.0  # a crop with a larger share of one class is drawn again too; 1: any will do, 0.75
    # as published, which the published pairs have
    domains: Literal["source", "both"] = "source"


@dataclass(frozen=True)
class SoftBalance:
    """UPLR (ICCV 2021): source images of rare classes, or of those that the target is least certain of, are drawn more.

    `training/data/soft_balance.py` has the formulas. The paper states only the map's constant 0.1; slope
    and shift are those of the loss that it took the map from (Distribution-Balanced Loss, ECCV 2020).
    """

    classes: Count | Literal["all", "half"] = "all"  # all (SR); or so many, or half of them, in each round those that
    # the target is least certain of (TGAA), in the first round all
    exponent: Fraction = 0.5  # of the classes' frequencies: 1 = images are drawn uniformly, 0 = classes are
    slope: Positive = 10.0
    shift: Fraction | Literal["median"] = 0.2  # median: that of the images' ratios, so that half of them are drawn more
    unit: Literal["pixel", "image"] = "pixel"  # what a class' frequency counts


@dataclass(frozen=True)
class CopyPaste:
    """HPLA (HIAST, section 3.3): pixels of the classes with the least confident labels are pasted between images.

    `hard_classes` is a share of the classes that were selected anywhere (published: 14 of 19). The paper says three
    donors; the released program, which the published figures come from, stops after the first.
    """

    hard_classes: Portion = 14 / 19
    donors: Annotated[int, Interval(ge=1, le=100)] = 1
    stop_share: Portion = 0.5  # no further donor once this share of the hard classes is covered


@dataclass(frozen=True)
class ClassMix:
    """ClassMix (WACV 2021; DACS, WACV 2021): pixels of half of a source image's classes are pasted into a target image.

    The colours of the mixed image are then changed: jitter with a probability (brightness, contrast, saturation as
    factors 1 +- `jitter`, hue turned by up to `jitter` of the circle), a Gaussian blur of 0.15 to 1.15 pixels with
    another.
    """

    share: Portion = 0.5  # of the classes that the source image shows, rounded up
    jitter: Fraction = 0.2
    jitter_probability: Fraction = 0.8
    blur_probability: Fraction = 0.5
