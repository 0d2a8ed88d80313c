"""The parts of a recipe that train the segmenter: warm-up, alignment, and adaptation in rounds or online."""

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Interval, MinLen

from training.settings.bounds import Portion, Positive, RoundCount, TeacherScale, Weight
from training.settings.losses import Losses, Mixture
from training.settings.sampling import (
    ClassMix,
    CopyPaste,
    ImageSelection,
    RareClassMining,
    RareClassSampling,
    SoftBalance,
    SourceShare,
)
from training.settings.selectors import ClassBalanced, Selector
from training.settings.teacher import ImageConfidence, MeanTeacher, PixelConfidence, RunningThresholds


@dataclass(frozen=True)
class WarmUp:
    """Supervised training, the start of every recipe. `domain="target"` makes it the oracle (needs target labels)."""

    kind: Literal["warm_up"] = "warm_up"
    domain: Literal["source", "target"] = "source"
    rare_class_sampling: RareClassSampling | None = None


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
    discriminator_schedule: Literal["constant", "poly"] = "constant"  # of its learning rate; poly: falls with the power
    # 0.9 over the steps or the horizon of the schedule (AdaptSeg, AdvEnt, which have it on their published pairs)
    first_kernel: Annotated[int, Interval(ge=1, le=16)] = 4  # of the discriminator: 3 in IAST, 4 in AdaptSeg and HIAST
    rounds: RoundCount = 1  # each is a stage of the schedule's steps; discriminator and optimisers go on from one to
    # the next, and the learning rates fall over all of them
    sampler: SoftBalance | None = None  # of the source's images; rounds of self-training keep the last one
    blend: Portion = 1.0  # the result of the last round lies this share of the way from the model before adaptation to
    # the trained one (WiSE-FT, CVPR 2022)
    losses: Losses = Losses()


@dataclass(frozen=True)
class KeptAdversary:
    """The adversarial term in rounds of self-training (BDL, CVPR 2019; UPLR's last step).

    Map, loss and discriminator are those of the recipe's alignment, whose discriminator goes on; without alignment
    AdaptSeg's. Its optimiser goes on too if its rate is constant; a rate that falls starts anew in each round (BDL).
    """

    weight: Weight | None = None  # None: that of the alignment


@dataclass(frozen=True)
class Rounds:
    """Rounds of labelling the target and training on it (CBST, CRST, IAST, HIAST)."""

    kind: Literal["rounds"] = "rounds"
    rounds: RoundCount = 3
    selector: Selector = ClassBalanced()
    label_scales: Annotated[tuple[TeacherScale, ...], MinLen(1)] = (1.0,)  # of the image, at which the network labels a
    # round, by the mean of its predictions (multi-scale testing)
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
    # the mean where each domain has its own (`domain_means`); pasted source pixels keep 1; 0 = control without labels
    learning_rate_decay: Positive = 1.0  # factor on the learning rate from one round to the next
    blend: Portion = 1.0  # the result of a round lies this share of the way from the model before adaptation to the
    # trained one (WiSE-FT, CVPR 2022); the next round goes on from the result, with a mean teacher from the student


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
    target_weight: Weight = 1.0  # of the teacher's labels, a factor: PGPC 0.8. With 0 contrast takes target pixels all
    # the same; the control (`--control`) is without contrast, its part on source pixels included
    blend: Portion = 1.0  # student and teacher, as they are judged, lie this share of the way from the model before
    # adaptation to the trained ones (WiSE-FT, CVPR 2022)
