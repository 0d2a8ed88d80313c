"""How a stage trains: its length, optimiser and augmentation."""

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Interval

from training.settings.bounds import AnyCount, Count, Fraction, Images, Positive, Scale, Weight

BatchNorm = Literal["train", "frozen"]


@dataclass(frozen=True)
class Optimizer:
    """How weights move. `learning_rate` is that of the backbone; the head's is `head_multiple` times as large."""

    name: Literal["sgd", "adamw"] = "adamw"
    learning_rate: Positive = 1e-3
    weight_decay: Weight = (
        5e-4  # of adamw decoupled, of sgd in the gradient; not applied to biases and batch-norm parameters
    )
    momentum: Fraction = 0.9  # SGD only
    beta_1: Annotated[float, Interval(ge=0, lt=1)] = 0.9  # AdamW only
    schedule: Literal["constant", "poly", "cosine"] = "poly"  # cosine: half a period, to 1/1000 of the rate
    power: Weight = 0.9  # of the poly schedule: lr * (1 - step / steps) ** power
    horizon: AnyCount = 0  # the steps over which the learning rate falls, if they are more than those of the stage
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
    batch_norm: BatchNorm = "train"  # frozen: that of the backbone; a head's is trained always
    average_weights: Fraction | None = None  # decay of the weights' moving average, taken at the end of the stage
    checkpoint_every: Count = 100  # steps: what a killed run loses at most
    accumulate: Count = 1  # equal parts of a batch, computed one after the other: less memory, the same result
