"""The mean teacher, and how the labels that it gives to a batch are weighted."""

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import MinLen

from training.settings.bounds import Count, Fraction, Portion, TeacherScale, Weight


@dataclass(frozen=True)
class MeanTeacher:
    """HIAST, section 3.4: an average of the student over time, which becomes the result of the round.

    `decay` is stated for rounds of `decay_steps` steps; in shorter rounds the teacher forgets proportionally faster.
    `scales`: factors on the size of the images at which it predicts; its prediction is the mean (multi-scale testing).
    `ramp`: at step t the decay is at most 1 - 1 / (t + 1), so that the first steps count fully (DAFormer).
    """

    decay: Fraction = 0.999
    decay_steps: Count = 8000
    ramp: bool = False
    scales: Annotated[tuple[TeacherScale, ...], MinLen(1)] = (1.0,)


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
    initial: Portion = 0.9
    relabel: bool = True
