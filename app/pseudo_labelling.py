"""Pseudo-labels for a few target photos: thresholds over all of them at once, then what each photo keeps."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from app.limits import PROBABILITY_SIDE
from app.loaded_model import LoadedModel
from app.uploads import Photo, fitted
from export.enlarge import enlarge
from training.data.classes import IGNORE
from training.errors import UserError
from training.pseudo_labels import (
    PRIOR_SELECTORS,
    SELECTORS,
    Thresholds,
    lrent_select,
    resize_prior,
    select,
    thresholds_from_batches,
)

ALPHA = 0.25  # the published temperature of lrent
Report = Callable[[float, str], None]  # (share done, what is being done)


@dataclass(frozen=True)
class Selected:
    """labels: for each photo uint8 [h, w] at the size it was computed at, 255 = not selected. kept: int64 [c]."""

    photos: tuple[Photo, ...]
    labels: tuple[np.ndarray, ...]
    thresholds: Thresholds
    kept: np.ndarray

    @property
    def kept_share(self) -> float:
        return float(self.kept.sum() / max(1, self.thresholds.counts.sum()))


def usable_selectors(model: LoadedModel) -> tuple[str, ...]:
    """The selectors this model can serve: those that weight by a spatial prior need one in its metadata."""
    return tuple(name for name in SELECTORS if name not in PRIOR_SELECTORS or model.prior is not None)


def pseudo_label(
    model: LoadedModel, photos: Sequence[Photo], selector: str, portion: float, stride: int, report: Report
) -> Selected:
    """Thresholds over all photos, then one pseudo-label a photo.

    The model runs once a photo; what is kept is its coarse grid, some megabytes, enlarged anew for each pass.

    Raises:
        UserError: no photos, an unknown selector, one this model has no spatial prior for, or bad numbers.
    """
    if not photos:
        raise UserError("There are no photos to label: upload some, or take the example streets.")
    if selector in PRIOR_SELECTORS and model.prior is None:
        raise UserError(
            f"The selector {selector} weights by a spatial prior, and this model carries none: choose one of "
            f"{', '.join(usable_selectors(model))}."
        )
    passes = _Passes(model, photos, _common_size(model, selector), report)
    prior = _prior_at(model, passes.size) if selector in PRIOR_SELECTORS else None
    thresholds = thresholds_from_batches(passes, selector, portion, stride, prior)
    passes.title = "selecting"
    labels = tuple(_select_one(probs, thresholds, prior) for probs in passes())
    kept = sum(np.bincount(label.reshape(-1), minlength=IGNORE + 1)[: model.space.count] for label in labels)
    return Selected(tuple(photos), labels, thresholds, kept)


class _Passes:
    """Gives the probabilities of all photos, afresh at each call, and says how far it is."""

    def __init__(self, model: LoadedModel, photos: Sequence[Photo], size: tuple[int, int] | None, report: Report):
        self.model, self.photos, self.size, self.report = model, photos, size, report
        self.title = "finding thresholds"
        self._coarse: dict[int, np.ndarray] = {}

    def __call__(self) -> Iterator[np.ndarray]:
        for number, photo in enumerate(self.photos):
            self.report(number / len(self.photos), f"{self.title}, photo {number + 1} of {len(self.photos)}")
            if number not in self._coarse:
                self._coarse[number] = self.model.segmenter.probs(photo.image)
            yield enlarge(self._coarse[number], self.size or fitted(photo.image.shape[:2], PROBABILITY_SIDE))


def _common_size(model: LoadedModel, selector: str) -> tuple[int, int] | None:
    """A prior knows one picture shape, that of training; without it each photo keeps its own."""
    return model.metadata.training_size if selector in PRIOR_SELECTORS else None


def _prior_at(model: LoadedModel, size: tuple[int, int]) -> np.ndarray:
    return model.prior if model.prior.shape[:2] == size else resize_prior(model.prior, size)


def _select_one(probs: np.ndarray, thresholds: Thresholds, prior: np.ndarray | None) -> np.ndarray:
    if thresholds.selector == "lrent":
        return lrent_select(probs, thresholds, ALPHA)[0]
    return select(probs, thresholds, prior)
