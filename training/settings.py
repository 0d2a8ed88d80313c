"""What a run can be told: frozen dataclasses, composed, no inheritance. Values live in `recipes.py` and `presets.py`.

Three independent choices make an `Experiment`: the recipe (the method, in the paper's units), the data (domains,
sizes, schedule) and the model. A part that is `None` is not used, and the command line refuses overrides for it.
This module imports nothing heavy: `--help` and `--list` stay instant. The bounds in the types are checked where an
experiment comes from outside: overrides, and the recipe.json of a run (`run_directory.experiment_from_json`).
"""

from dataclasses import dataclass, field
from typing import Annotated, Literal

from annotated_types import Interval, MinLen

BatchNorm = Literal["train", "frozen"]
Count = Annotated[int, Interval(ge=1, le=10**9)]
AnyCount = Annotated[int, Interval(ge=0, le=10**9)]
Images = Annotated[int, Interval(ge=1, le=4096)]  # that are in memory together
Side = Annotated[int, Interval(ge=32, le=16384)]  # pixels
Seed = Annotated[int, Interval(ge=0, le=2**31 - 1)]
Fraction = Annotated[float, Interval(ge=0, le=1)]
Portion = Annotated[float, Interval(gt=0, le=1)]
Weight = Annotated[float, Interval(ge=0, le=1e6)]
Positive = Annotated[float, Interval(gt=0, le=1e6)]
Scale = Annotated[float, Interval(ge=0.05, le=20)]
WindowShare = Annotated[float, Interval(ge=0, lt=0.5)]
RoundCount = Annotated[int, Interval(ge=1, le=1000)]
Grid = Literal["published"] | Annotated[int, Interval(ge=4, le=64)]  # 65 x 65 cells, or every n-th pixel


@dataclass(frozen=True)
class Optimizer:
    """How weights move. `learning_rate` is that of the backbone; the head's is `head_multiple` times as large."""

    name: Literal["sgd", "adamw"] = "adamw"
    learning_rate: Positive = 1e-3
    weight_decay: Weight = 5e-4  # decoupled; not applied to biases and batch-norm parameters
    momentum: Fraction = 0.9  # SGD only
    beta_1: Annotated[float, Interval(ge=0, lt=1)] = 0.9  # AdamW only
    schedule: Literal["constant", "poly", "cosine"] = "poly"  # cosine: half a wave, to a thousandth
    power: Weight = 0.9  # of the poly schedule: lr * (1 - step / steps) ** power
    constant_share: Annotated[float, Interval(ge=0, lt=1)] = 0.0  # of the steps before the poly schedule begins to fall
    ramp_steps: AnyCount = 0  # linear warm-up of the learning rate
    head_multiple: Positive = 1.0
    clip_norm: Positive | None = None  # of the global gradient norm


@dataclass(frozen=True)
class Augmentation:
    """How a training image is varied. Geometry moves image and label together; photometry the image only."""

    scale: tuple[Scale, Scale] = (0.7, 1.3)
    flip: Fraction = 0.5
    jitter: Weight = 0.0  # strength of brightness, contrast, saturation, hue and gamma changes, 0 = off, 1 = strong
    grey: Fraction = 0.0  # probabilities
    blur: Fraction = 0.0
    noise: Fraction = 0.0


@dataclass(frozen=True)
class Schedule:
    """How long and with which optimiser and augmentation a stage trains."""

    steps: Count
    batch_size: Images  # images per step, of each domain that takes part
    optimizer: Optimizer
    augmentation: Augmentation = Augmentation()
    batch_norm: BatchNorm = "train"
    average_weights: Fraction | None = None  # decay of the weights' moving average, taken at the end of the stage
    checkpoint_every: Count = 100  # steps: what a killed run loses at most
    accumulate: Count = 1  # equal parts of a batch, computed one after the other: less memory, the same result


@dataclass(frozen=True)
class Translator:
    """How large the networks of CycleGAN are, what they translate and learn from: what suits the size of the data.

    Published: 64 channels, 6 blocks for images of 128 x 128, 9 for larger ones; BDL translates images that are 1024
    wide, and crops 452 x 452 of them.
    """

    channels: Annotated[int, Interval(ge=1, le=1024)] = 64  # of the first convolution of generators and discriminators
    blocks: Annotated[int, Interval(ge=1, le=64)] = 9
    crop: tuple[Side, Side] = (452, 452)  # height, width; at most the size of the images
    width: Side | None = None  # that images are brought to, at their height to width; None: the data's, the most it is


@dataclass(frozen=True)
class Domain:
    """Where images come from: one split of one data set."""

    reader: Literal[
        "streetsim", "gta5", "synthia", "cityscapes", "bdd100k", "cross_city", "robotcar", "camvid", "folders", "images"
    ]
    split: str = "train"
    root: str | None = None
    style: str | None = None  # streetsim only
    count: Count | None = None  # streetsim only: frames to render
    city: str | None = None  # cross_city only
    seed: Seed = 0  # streetsim only


@dataclass(frozen=True)
class Data:
    """A pair of domains with the sizes and the schedule that suit it."""

    title: str
    label_space: str
    source: Domain
    target: Domain
    size: tuple[Side, Side]  # height, width an image is brought to before random scale and crop, and at prediction
    crop: tuple[Side, Side]
    schedules: dict[str, Schedule]  # by what a stage asks for: "warm_up", "alignment", "rounds" (one round),
    # "online", "translation"
    evaluation: Domain | None = None  # labelled images of the target, used for figures only
    source_evaluation: Domain | None = None  # labelled images of the source: how large the gap is
    most_rounds: RoundCount | None = None  # of adaptation, whatever the recipe says: what a short job has time for
    label_margins: tuple[Fraction, Fraction, Fraction, Fraction] = (0, 0, 0, 0)  # top, bottom, left, right: shares of
    # the target's frames that an online teacher does not label (the car's own bonnet, rectification)
    loss_stride: Annotated[int, Interval(ge=1, le=64)] = 1  # of the grid of the loss: every n-th row and column
    mined_crops: bool = True  # crops are small beside the frame, so that a recipe's rare-class mining makes sense
    minimum_source_images: AnyCount = 0  # a round's source subset holds at least this many (small source sets)
    strong_blend: Fraction = 1.0  # how far strong views go from weak ones: 1 as published; 0: plain photometry instead
    translator: Translator = Translator()
    statistics_images: Count = 200  # target images, at most, that trained batch-norm takes its statistics from
    keep_source: bool = False  # the source takes part in every round, also where the recipe leaves it out: a small
    # network trained for minutes forgets the classes that its pseudo-labels do not show
    network: str = "compact"  # what `--model` means when it is not given
    weights: str = "none"  # what `--weights` means when it is not given
    output_stride: int | None = None
    note: str = ""


@dataclass(frozen=True)
class Model:
    """The network to train."""

    network: str = "compact"
    weights: str = "none"  # "imagenet", "none" or a file
    output_stride: int | None = None  # None: the network's default
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = "float32"


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
    domains: Literal["source", "both"] = "source"


@dataclass(frozen=True)
class WarmUp:
    """Supervised training, the start of every recipe. `domain="target"` makes it the oracle (needs target labels)."""

    kind: Literal["warm_up"] = "warm_up"
    domain: Literal["source", "target"] = "source"
    rare_class_sampling: RareClassSampling | None = None


@dataclass(frozen=True)
class Fda:
    """FDA (CVPR 2020): source images get the low-frequency amplitudes of a target image drawn at random.

    `beta`: half the side of the window of frequencies, as a share of the image's shorter side; of several, one is drawn
    for each image (published: 0.01, 0.05, 0.09). `alongside`: the originals are trained on too, see
    `training/data/translation.py`. `warm_up`: False: the warm-up trains on the originals (DRSL).
    """

    kind: Literal["fda"] = "fda"
    beta: Annotated[tuple[WindowShare, ...], MinLen(1)] = (0.01,)
    alongside: bool = False
    warm_up: bool = True


@dataclass(frozen=True)
class SemanticConsistency:
    """BDL (CVPR 2019): a frozen segmenter sees the same in an image and in what the translators make of it.

    `reconstruction` is multiplied by the weight of the cycle.
    """

    reconstruction: Weight = 1.0
    translation: Weight = 0.1


@dataclass(frozen=True)
class CycleGan:
    """CycleGAN (ICCV 2017), trained on source and target; it then translates the source once, into the run directory.

    `semantic`: with BDL's term, for which a source model is trained first, on the originals; `off` without.
    `data.translator` and `data.schedules.translation` have the sizes.
    """

    kind: Literal["cycle_gan"] = "cycle_gan"
    cycle: Weight = 10.0
    identity: Weight = 0.5  # multiplied by the weight of the cycle
    semantic: SemanticConsistency | None = SemanticConsistency()
    pool: Annotated[int, Interval(ge=1, le=10_000)] = 50  # earlier translated images that a discriminator may be shown
    alongside: bool = False

    @property
    def needs_segmenter(self) -> bool:
        """Does it learn from what a source model sees?"""
        return self.semantic is not None


@dataclass(frozen=True)
class TranslatedImages:
    """Source images that were translated by others: pictures in `root` with the names of the source's."""

    root: str
    kind: Literal["translated_images"] = "translated_images"
    alongside: bool = False
    warm_up: bool = True


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
    initial: Fraction = 0.9
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
class RegionRegularisation:
    """IAST, section 3.3: divergence from uniform where pixels are labelled, entropy where they are ignored.

    Weights as released: the terms are means over pixels *and* classes, so a pixel weighs 1/classes of what it says.
    """

    divergence: Weight = 0.1
    entropy: Weight = 1.0


@dataclass(frozen=True)
class MeanTeacher:
    """HIAST, section 3.4: an average of the student over time, which becomes the result of the round.

    `decay` is stated for rounds of `decay_steps` steps; in shorter rounds the teacher forgets proportionally faster.
    `ramp`: at step t the decay is at most 1 - 1 / (t + 1), so that the first steps count fully (DAFormer).
    """

    decay: Fraction = 0.999
    decay_steps: Count = 8000
    ramp: bool = False


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
class SourceShare:
    """How much of the source a round sees: the paper's shares of the source list, cumulative (nested) or random."""

    share: Fraction = 0.03
    step: Fraction = 0.0025
    maximum: Fraction = 0.06
    policy: Literal["cumulative", "random"] = "cumulative"


@dataclass(frozen=True)
class RareClassMining:
    """CBST's patch mining: crops are centred on rare classes (ECCV 2018, section 4.1)."""

    probability: Fraction = 0.8
    classes: Annotated[int, Interval(ge=0, le=254)] = 3  # the rarest classes of the target's predictions ...
    threshold: Fraction = 1e-3  # ... and every class below this share


@dataclass(frozen=True)
class ImageSelection:
    """Keep only the target images with the best class-balanced score (the 505 of 2975 in the authors' lists)."""

    share: Portion = 0.17


@dataclass(frozen=True)
class Mrkld:
    """CRST's model regulariser: divergence from the uniform distribution on pseudo-labelled pixels.

    The paper says 0.1; the authors' code multiplies it by itself, 0.01, and they report that this works better.
    """

    weight: Weight = 0.01


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


@dataclass(frozen=True)
class ImageConfidence:
    """DACS, DAFormer: every pixel counts; its weight is the share of confident pixels of its image.

    `pooled`: the share is taken per image (DAFormer's paper) or over the batch (the released programs).
    """

    kind: Literal["image_confidence"] = "image_confidence"
    threshold: Fraction = 0.968
    pooled: Literal["image", "batch"] = "image"


@dataclass(frozen=True)
class PixelConfidence:
    """Every pixel counts; its weight is the teacher's confidence in its label to the power of `power`."""

    kind: Literal["pixel_confidence"] = "pixel_confidence"
    power: Weight = 1.0


@dataclass(frozen=True)
class RunningThresholds:
    """Pixels above a threshold per class count; the thresholds follow the teacher's confidences from step to step.

    `relabel`: the label is the class with the largest ratio of probability and threshold (CBST, ECCV 2018, section
    3.2), which is more often a rare one; without it, the most probable class (IAST). Per class the share `portion *
    threshold ** gamma` of the pixels is kept: gamma 0 is CBST in every step, gamma 8 with `portion` as IAS' alpha is
    IAST's rule (ECCV 2020, section 3.2).
    """

    kind: Literal["running_thresholds"] = "running_thresholds"
    portion: Portion = 0.5
    gamma: Weight = 0.0
    beta: Fraction = 0.99  # of a threshold that remains in a step
    initial: Fraction = 0.9
    relabel: bool = True


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
    are of length 1 (RepMet: they are; here too, for distances above 2 make the losses steep).
    """

    modes: Annotated[int, Interval(ge=1, le=64)] = 3  # per class
    dimension: Annotated[int, Interval(ge=2, le=4096)] | None = None  # of embeddings; None: 256, of `compact` 64
    samples: Annotated[int, Interval(ge=1, le=10**6)] = 300  # per class and image, at most
    label_reduction: Literal[1, 2, 4, 8] = 2  # every n-th pixel can be a sample; data.loss_stride, if that is more
    triplet: Weight = 0.25
    cross_entropy: Weight = 0.1
    consistency: Weight = 0.0  # 0.1 in DRSL+
    margin: Weight = 1.0  # of the triplets
    beta: Weight = 1.0  # margin of the consistency
    squared: bool = False  # triplets of squared distances (RepMet)
    form: Literal["normalised", "literal", "repmet", "mixture"] = "normalised"  # of the cross-entropy
    variance: Positive = 0.5  # of each mode
    normalize: bool = True  # embeddings and modes are of length 1
    start: Annotated[float, Interval(ge=0, lt=1)] = 0.25  # part of the warm-up before the modes start, by k-means ...
    start_embeddings: Count = 5000  # ... on so many embeddings per class


@dataclass(frozen=True)
class SoftBalance:
    """UPLR (ICCV 2021): source images of rare classes, or of those that the target is least certain of, are drawn more.

    `training/data/soft_balance.py` has the formulas. Of the constants the paper prints the 0.1 of the map alone; slope
    and shift are those of the loss that it took the map from (Distribution-Balanced Loss, ECCV 2020).
    """

    classes: Count | Literal["all", "half"] = "all"  # all (SR); or so many, or half of them, in each round those that
    # the target is least certain of (TGAA), in the first round all
    exponent: Fraction = 0.5  # of the classes' frequencies: 1 = images are drawn alike, 0 = classes are
    slope: Positive = 10.0
    shift: Fraction = 0.2
    unit: Literal["pixel", "image"] = "pixel"  # what a class' frequency counts


@dataclass(frozen=True)
class Alignment:
    """A discriminator pulls the output maps of the target towards those of the source, after the warm-up.

    `map`: what the discriminator sees, soft-max (AdaptSeg, CVPR 2018) or weighted self-information (AdvEnt, CVPR 2019).
    """

    kind: Literal["alignment"] = "alignment"
    map: Literal["softmax", "self_information"] = "softmax"
    loss: Literal["lsgan", "bce"] = "lsgan"
    weight: Weight = 0.05
    discriminator_learning_rate: Positive = 1e-4  # Adam, beta 0.9 and ...
    discriminator_beta_2: Annotated[float, Interval(ge=0, lt=1)] = 0.99  # AdaptSeg, AdvEnt; IAST, HIAST: 0.999, which
    # their published pairs have
    first_kernel: Annotated[int, Interval(ge=1, le=16)] = 4  # of the discriminator: 3 in IAST, 4 in AdaptSeg and HIAST
    rounds: RoundCount = 1  # each is a stage of the schedule's steps; discriminator and optimisers go on from one to
    # the next, and the learning rate falls over all of them
    sampler: SoftBalance | None = None  # of the source's images; rounds of self-training keep the last one
    losses: Losses = Losses()


@dataclass(frozen=True)
class Watch:
    """The label-free watch over adaptation; see `training/evaluation/watch.py` for what each number means."""

    stop: bool = True  # stop at a clear collapse and return to the best earlier round
    images: Count = 100  # target images it predicts
    every: Count | None = None  # steps between two verdicts on an online adaptation; None: a quarter of its steps
    collapse_drift: Weight = 0.10
    collapse_share_excess: Weight = 0.25
    collapse_source_loss: Weight = 0.5  # points of mIoU on the source, together with the share excess
    collapse_lost_share: Weight = 0.60


@dataclass(frozen=True)
class KeptAdversary:
    """The adversarial term in rounds of self-training (BDL, CVPR 2019; UPLR's last step).

    Map, loss and discriminator are those of the recipe's alignment, whose discriminator goes on; without alignment
    AdaptSeg's.
    """

    weight: Weight | None = None  # None: that of the alignment


@dataclass(frozen=True)
class Rounds:
    """Rounds of labelling the target and training on it (CBST, CRST, IAST, HIAST)."""

    kind: Literal["rounds"] = "rounds"
    rounds: RoundCount = 3
    selector: Selector = ClassBalanced()
    source_share: SourceShare | None = SourceShare()  # None: the source takes no part
    mining: RareClassMining | None = None
    rare_class_sampling: RareClassSampling | None = None
    image_selection: ImageSelection | None = None
    copy_paste: CopyPaste | None = None
    class_mix: ClassMix | None = None  # source pixels are pasted into the target: the source must take part
    mean_teacher: MeanTeacher | None = None
    strong_views: bool = False  # the student sees the target through HIAST's strong augmentation
    adversarial_term: KeptAdversary | None = None
    domain_means: bool = False  # the cross-entropy is a mean over each domain's labelled pixels (BDL, UPLR), not over
    # those of both together (CBST); so in any case where source_share is off
    losses: Losses = Losses()
    mixture: Mixture | None = None  # of the warm-up too
    target_weight: Weight = 1.0  # of the pseudo-labels beside the source's labels, 1 as published: of a pixel, or of
    # the mean where each domain has its own (`domain_means`); 0 = the control without labels
    learning_rate_decay: Positive = 1.0  # factor on the learning rate from one round to the next
    blend: Portion = 1.0  # the result of a round lies this share of the way from the model before adaptation to the
    # trained one (WiSE-FT, CVPR 2022)


@dataclass(frozen=True)
class Online:
    """One stage in which a mean teacher labels every target batch (DACS, WACV 2021; DAFormer, CVPR 2022; PGPC 2024).

    `start`: from the warm-up's weights, or from those that the network had before it, such as ImageNet's (published).
    """

    kind: Literal["online"] = "online"
    start: Literal["warm_up", "imagenet"] = "warm_up"
    mean_teacher: MeanTeacher = MeanTeacher(decay=0.999, decay_steps=40_000, ramp=True)
    weighting: ImageConfidence | PixelConfidence | RunningThresholds = ImageConfidence()
    rare_class_sampling: RareClassSampling | None = None  # of the source; "both" is of rounds
    class_mix: ClassMix | None = ClassMix()  # None: the target's images alone, their colours changed
    losses: Losses = Losses()
    mixture: Mixture | None = None  # of the warm-up too
    target_weight: Weight = 1.0  # of the teacher's labels, a factor: PGPC 0.8; 0 = the control without labels
    blend: Portion = 1.0  # student and teacher, as they are judged, lie this share of the way from the model before
    # adaptation to the trained ones (WiSE-FT, CVPR 2022)


@dataclass(frozen=True)
class Recipe:
    """A method with the constants of its paper."""

    paper: str
    translation: Fda | CycleGan | TranslatedImages | None = None  # of the source, in every stage that trains on it
    warm_up: WarmUp = WarmUp()
    alignment: Alignment | None = None
    adaptation: Rounds | Online | None = None
    watch: Watch = Watch()
    published: str = ""  # figures to expect in the paper's setting
    measured: str = ""  # on the embedded streets (--data streetsim), two CPU cores, seed 0: minutes and mIoU

    @property
    def adapts(self) -> bool:
        """Is there anything after the first training with labels?"""
        return self.alignment is not None or self.adaptation is not None or self.translates_after_warm_up

    @property
    def translates_after_warm_up(self) -> bool:
        """Does the translation learn from the source model, which is then trained anew on the translated images?"""
        return isinstance(self.translation, CycleGan) and self.translation.needs_segmenter


@dataclass(frozen=True)
class Experiment:
    """Everything that decides a run's result."""

    recipe: Recipe
    data: Data
    model: Model
    labelled_share: Portion | None = None  # semi-supervised: this share of the target, with its labels, is the source
    names: dict[str, str] = field(default_factory=dict)  # what recipe, data and model were called on the command line
    seed: Seed = 0
