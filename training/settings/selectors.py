"""How a round chooses its pseudo-labels."""

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Interval

from training.settings.bounds import Count, Fraction, Images, Portion, Positive, Weight


@dataclass(frozen=True)
class SpatialPrior:
    """CBST-SP (ECCV 2018): how often the source shows each class at each place, smoothed with a Gaussian."""

    kernel: Annotated[int, Interval(ge=1, le=16384)] = 70  # pixels of an image 1024 high
    images: Count = 500  # source labels it is counted from, at most


@dataclass(frozen=True)
class GlobalThreshold:
    """ST (ECCV 2018): the most confident target pixels are trained on, by one confidence threshold for all.

    The kept portion grows by `portion_step` per round up to `portion_max` (self-paced learning, CBST section 3.2).
    """

    kind: Literal["global_threshold"] = "global_threshold"
    portion: Portion = 0.2
    portion_step: Fraction = 0.05
    portion_max: Portion = 0.5
    stride: Count = 4  # every n-th confidence of an image enters the threshold
    spatial_prior: SpatialPrior | None = None


@dataclass(frozen=True)
class ClassBalanced:
    """CBST (ECCV 2018): one confidence threshold per class, so that every class keeps the same portion of its pixels.

    The kept portion grows by `portion_step` per round up to `portion_max` (self-paced learning, CBST section 3.2).
    """

    kind: Literal["class_balanced"] = "class_balanced"
    portion: Portion = 0.2
    portion_step: Fraction = 0.05
    portion_max: Portion = 0.5
    stride: Count = 4  # every n-th confidence of a class in an image enters its threshold
    spatial_prior: SpatialPrior | None = None


@dataclass(frozen=True)
class LabelEntropy:
    """LRENT (CRST, ICCV 2019, section 4.2): CBST's thresholds, and soft pseudo-labels of temperature `alpha`."""

    kind: Literal["label_entropy"] = "label_entropy"
    portion: Portion = 0.2
    portion_step: Fraction = 0.05
    portion_max: Portion = 0.5
    stride: Count = 4
    alpha: Positive = 0.25


@dataclass(frozen=True)
class InstanceAdaptive:
    """IAS (IAST, ECCV 2020, section 3.2): thresholds that follow the images as they come, one per class.

    The share of a class' pixels that moves its threshold is `alpha * threshold ** gamma`; IAST uses alpha 0.2 to 0.3,
    HIAST 0.5. The result depends on the order of the images: name order, `batch_size` at a time.
    """

    kind: Literal["instance_adaptive"] = "instance_adaptive"
    alpha: Portion = 0.5
    alpha_step: Fraction = 0.0  # added from one round to the next
    beta: Fraction = 0.9
    gamma: Weight = 8.0
    initial: Annotated[float, Interval(ge=0, lt=1)] = 0.9
    batch_size: Images = 2


@dataclass(frozen=True)
class EntropyMixture:
    """UPLR (ICCV 2021): the pixels of the certain one of two modes of entropy, per class; no threshold to choose.

    Two Gaussians on the normalised entropies, of all target images or of each one, by expectation maximisation.
    """

    kind: Literal["entropy_mixture"] = "entropy_mixture"
    scope: Literal["domain", "image"] = "domain"
    iterations: Count = 200
    tolerance: Weight = 1e-5  # of the mean log-likelihood
    least_variance: Portion = 1e-6  # added to the variance of each mode
    initial_quantile: Annotated[float, Interval(gt=0, le=0.5)] = 0.2  # where the means start, and at 1 minus it
    least_pixels: Annotated[int, Interval(ge=2, le=10**9)] = 200  # a class with fewer, or with one mode, keeps its ...
    fallback_portion: Portion = 0.5  # ... more confident half, and what reaches a confidence of 0.9 (BDL, CVPR 2019)
    fallback_confidence: Fraction = 0.9


Selector = GlobalThreshold | ClassBalanced | LabelEntropy | InstanceAdaptive | EntropyMixture
"""How a round chooses its pseudo-labels."""
