"""How images of the source are given the style of the target."""

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Interval, MinLen

from training.settings.bounds import Weight

WindowShare = Annotated[float, Interval(ge=0, lt=0.5)]


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

    `semantic`: with BDL's term, for which a source model is trained first, on the originals; `off` without. `warm_up`:
    the source model that the recipe goes on with is trained on the translated images; False: on the originals (DRSL).
    `data.translator` and `data.schedules.translation` have the sizes.
    """

    kind: Literal["cycle_gan"] = "cycle_gan"
    cycle: Weight = 10.0
    identity: Weight = 0.5  # multiplied by the weight of the cycle
    semantic: SemanticConsistency | None = SemanticConsistency()
    pool: Annotated[int, Interval(ge=1, le=10_000)] = 50  # earlier translated images that a discriminator may be shown
    alongside: bool = False
    warm_up: bool = True

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
