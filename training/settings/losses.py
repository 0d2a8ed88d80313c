"""Loss terms beside the cross-entropy, and DRSL's second head with its losses."""

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Interval

from training.settings.bounds import Count, Fraction, Portion, Positive, Weight

Grid = Literal["published"] | Annotated[int, Interval(ge=4, le=64)]  # 65 x 65 cells, or every n-th pixel


@dataclass(frozen=True)
class Mrkld:
    """CRST's model regulariser: divergence from the uniform distribution on pseudo-labelled pixels.

    The paper says 0.1; the authors' code multiplies it by itself, 0.01, and they report that this works better.
    """

    weight: Weight = 0.01


@dataclass(frozen=True)
class RegionRegularisation:
    """IAST, section 3.3: divergence from uniform where pixels are labelled, entropy where they are ignored.

    Weights as released: the terms are means over pixels *and* classes, so a pixel weighs 1/classes of what it says.
    """

    divergence: Weight = 0.1
    entropy: Weight = 1.0


@dataclass(frozen=True)
class Consistency:
    """HIAST, section 3.4: the student's prediction on the strong view follows the mean teacher's on the weak view."""

    weight: Weight = 0.5
    region: Literal["ignored", "confident", "all"] = "ignored"


@dataclass(frozen=True)
class MinimumEntropy:
    """MinEnt (AdvEnt, CVPR 2019): normalised entropy of the prediction on all target pixels."""

    weight: Weight = 0.001


@dataclass(frozen=True)
class FeatureDistance:
    """DAFormer, section 3.4: on things, the encoder's last map stays near that of the ImageNet encoder.

    A place of the map belongs to a class that fills at least `least_share` of it.
    """

    weight: Weight = 0.005
    least_share: Fraction = 0.75


@dataclass(frozen=True)
class Masked:
    """Masked image consistency (MIC, CVPR 2023): blocks of the target are hidden, the teacher's labels stay.

    `block`: side of a square block as a share of the width (published: 64 pixels of 1024). `ratio`: of hidden blocks.
    """

    weight: Weight = 1.0
    block: Portion = 1 / 16
    ratio: Fraction = 0.7


@dataclass(frozen=True)
class PrototypeContrast:
    """PGPC (Scientific Reports 14, 2024): pixel features are pulled to the prototype of their class, and pushed from
    negatives that wait in a queue per class. What the paper does not state is U2PL's (CVPR 2022), which it builds on.

    `reliable`, `unreliable`: shares of the target's pixels with the lowest and the highest entropy of the teacher; they
    go from the first to the last value in the course of the training (U2PL: both from 0.2 to 0).
    `queue_megabytes`: of all queues together, in float16; U2PL has 30,000 negatives per class.
    """

    kind: Literal["prototype_contrast"] = "prototype_contrast"
    weight: Weight = 0.1
    grid: Grid = 8
    temperature: Positive = 0.5
    anchors: Annotated[int, Interval(ge=1, le=65536)] = 256  # per class and step
    negatives: Annotated[int, Interval(ge=1, le=4096)] = 50  # per anchor
    confidence: Fraction = 0.3  # the teacher's in the class of an anchor, more than
    reliable: tuple[Fraction, Fraction] = (0.2, 0.2)
    unreliable: tuple[Fraction, Fraction] = (0.2, 0.0)
    prototype_decay: Fraction = 0.999
    pushed: Annotated[int, Interval(ge=1, le=65536)] = 256  # negatives per class and step that enter its queue, at most
    queue_megabytes: Annotated[float, Interval(ge=0.01, le=1e5)] = 64.0


@dataclass(frozen=True)
class PixelContrast:
    """The contrast of PGPC's released program (CLUDA's): pixels of one class attract, those of other classes repel.

    `pixels`: per domain and step that are contrasted, with each other; None: all of the grid, as released.
    """

    kind: Literal["pixel_contrast"] = "pixel_contrast"
    weight: Weight = 1.0
    grid: Grid = 8
    temperature: Positive = 1.0
    pixels: Count | None = 1024


@dataclass(frozen=True)
class Losses:
    """Loss terms beside the cross-entropy; a part that is None is not used. `training/methods/terms.py` builds them."""

    mrkld: Mrkld | None = None
    regions: RegionRegularisation | None = None
    consistency: Consistency | None = None  # needs a mean teacher
    minimum_entropy: MinimumEntropy | None = None
    feature_distance: FeatureDistance | None = None  # needs ImageNet weights
    masked: Masked | None = None  # needs a mean teacher; in rounds labels and weights are as by ImageConfidence
    contrast: PrototypeContrast | PixelContrast | None = None  # needs an adaptation of the kind Online


@dataclass(frozen=True)
class Mixture:
    """DRSL (Image and Vision Computing 2022): a second head, for training alone, models each class by several modes.

    `triplet`, `cross_entropy`, `consistency`: weights of its losses, see `training/losses/metric.py`; all 0 = no head.
    What the paper does not state: the triplets' margin (RepMet: 0.5), the form of the cross-entropy, whether embeddings
    are of length 1 (RepMet: they are; here too), and whether modes that no samples are near start anew. At length 1 no
    distance is above 2: with the published variance of 0.5 and margins of 1 the losses never come to rest and push all
    modes of a class to one place. With embeddings of any length the source model had 4 points less on the target. The
    published pairs of `drsl` have the published values and embeddings of any length (`training/suited.py`).
    """

    modes: Annotated[int, Interval(ge=1, le=64)] = 3  # per class
    level: Literal["last", "classifier"] = "last"  # what is embedded: the encoder's last map, or the one that the
    # segmentation head's classifier sees, which in DeepLab-v2 is the same
    dimension: Annotated[int, Interval(ge=2, le=4096)] | None = None  # of embeddings; None: 256, of `compact` 64
    samples: Annotated[int, Interval(ge=1, le=10**6)] = 300  # per class and image, at most
    label_reduction: Literal[1, 2, 4, 8] = 2  # every n-th pixel can be a sample; of no effect below data.loss_stride
    triplet: Weight = 0.25
    cross_entropy: Weight = 0.1
    consistency: Weight = 0.0  # 0.1 in DRSL+
    margin: Weight = 0.3  # of the triplets (published: 1)
    beta: Weight = 0.3  # margin of the consistency (published: 1)
    squared: bool = False  # triplets of squared distances (RepMet)
    form: Literal["normalised", "literal", "repmet", "mixture"] = "normalised"  # of the cross-entropy
    variance: Positive = 0.05  # of each mode (published: 0.5)
    normalize: bool = True  # embeddings and modes are of length 1
    # Part of the warm-up, or of an online training from ImageNet's weights, before the modes start, by k-means ...
    start: Annotated[float, Interval(ge=0, lt=1)] = 0.25
    start_embeddings: Count = 5000  # ... on so many embeddings per class
    restart_every: Count | None = 25  # steps: then modes that few samples are near start anew; None: never
