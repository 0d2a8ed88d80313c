"""What a run trains on: a pair of domains, with the sizes and schedules that suit it."""

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Interval

from training.settings.bounds import AnyCount, Count, Fraction, RoundCount, Seed, Side
from training.settings.schedule import Schedule


@dataclass(frozen=True)
class Translator:
    """Sizes of CycleGAN's networks, of the images that they translate and of the crops that they learn from.

    Published: 64 channels; BDL translates images that are 1024 wide, and crops 452 x 452 of them. `blocks`: of a
    generator; None = as published 6 for crops of up to 128 pixels, 9 for larger ones.
    """

    channels: Annotated[int, Interval(ge=1, le=1024)] = 64  # of the first convolution of generators and discriminators
    blocks: Annotated[int, Interval(ge=1, le=64)] | None = None
    crop: tuple[Side, Side] = (452, 452)  # height, width; at most the size of the images
    width: Side | None = (
        None  # that images are brought to, at their height to width; None: the data's width, which is the maximum
    )


@dataclass(frozen=True)
class Domain:
    """Where images come from: one split of one data set."""

    reader: Literal[
        "streetsim", "gta5", "synthia", "cityscapes", "bdd100k", "cross_city", "robotcar", "camvid", "folders", "images"
    ]
    split: str = "train"
    root: str | None = None
    style: str | None = None  # streetsim only
    count: Count | None = None  # images at most, evenly spaced, None = all; of streetsim the frames to render
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

    def rounds_of(self, asked: int) -> int:
        """How many rounds of adaptation there are where a recipe asks for so many."""
        return min(asked, self.most_rounds or asked)
