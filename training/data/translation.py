"""Translation of the source: its images in the style of the target, with their labels as they are.

With `alongside` each global batch of the source's stream shows originals or translated images, with probability 1/2
each, drawn from seed and position: in expectation the source with a translated copy beside it (DRSL's ISA), at the same
length, order and cost of a stage. Batch-norm, where it is trained, would normalise a batch of both by the statistics of
the mixture. Without, the translated images take the place of the originals (UPLR).
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import numpy as np

from training.data.fourier import FourierTranslation
from training.data.input_pipeline import TrainingStream
from training.data.samples import Dataset
from training.data.translated_images import TranslatedFolder, own_samples
from training.settings.translation import CycleGan, Fda, TranslatedImages


class Translation(Protocol):
    """What a run makes of its source, in every stage that trains on it.

    titles: of the pictures of an example.
    """

    titles: tuple[str, ...]

    def applied_to(self, stream: TrainingStream) -> TrainingStream:
        """The stream of the source, translated."""

    def examples(self, stream: TrainingStream) -> Iterator[tuple[np.ndarray, ...]]:
        """What becomes of the first positions of a source's stream that are translated: pictures uint8 [h, w, 3].

        Raises:
            UserError: a damaged file.
        """


Settings = Fda | CycleGan | TranslatedImages
"""Of a translation."""


def words_of(settings: Settings | None) -> str | None:
    """A translation for people, as in "translated by ...", with what is trained on beside it; None where there is none.

    "FDA, beta 0.01, beside the originals, after a warm-up on the originals alone".
    """
    match settings:
        case Fda():
            kind = f"FDA, beta {' or '.join(f'{beta:g}' for beta in settings.beta)}"
        case CycleGan():
            kind = "CycleGAN"
        case TranslatedImages():
            kind = f"the images in {settings.root}"
        case _:
            return None
    beside = ", beside the originals" if settings.alongside else ""
    return kind + beside + ("" if settings.warm_up else ", after a warm-up on the originals alone")


def translation_of(
    settings: Settings | None,
    source: Dataset,
    target: Dataset,
    size: tuple[int, int],
    folder: Path | None = None,
) -> Translation | None:
    """The translation that the settings describe; None where there is none.

    Args:
        size: (height, width) that images are brought to.
        folder: where a trained translation has left its images.

    Raises:
        UserError: translated images are missing.
    """
    match settings:
        case Fda():
            return FourierTranslation.to(target, size, settings.beta, settings.alongside)
        case CycleGan():
            return TranslatedFolder(own_samples(source, folder), settings.alongside)
        case TranslatedImages():
            return TranslatedFolder.of(source, Path(settings.root), settings.alongside)
        case _:
            return None
