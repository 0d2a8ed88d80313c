"""Pseudo-labels for a few target photos: thresholds over all of them at once, then what each photo keeps.

The selector `ias` is another kind: its thresholds follow the photos in their order, a few at a time.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from app.limits import PROBABILITY_SIDE
from app.loaded_model import LoadedModel
from app.uploads import Photo, fitted
from training.data.classes import IGNORE
from training.errors import UserError
from training.probability_maps.enlarging import Enlarged
from training.pseudo_labels import (
    ORDERED_SELECTORS,
    PRIOR_SELECTORS,
    SELECTORS,
    InstanceAdaptiveSelector,
    Thresholds,
    in_batches,
    lrent_select,
    resize_prior,
    select,
    thresholds_from_batches,
)
from training.pseudo_labels.instance_adaptive import BATCH_SIZE

ALPHA = 0.25  # the published temperature of lrent
Report = Callable[[float, str], None]  # (share done, what is being done)


@dataclass(frozen=True)
class Selected:
    """labels: for each photo uint8 [h, w] at the size it was computed at, 255 = not selected. kept: int64 [c].

    entries: what the manifest tells of this selector beyond the usual.
    """

    photos: tuple[Photo, ...]
    labels: tuple[np.ndarray, ...]
    thresholds: Thresholds
    kept: np.ndarray
    entries: dict[str, Any] = field(default_factory=dict)

    @property
    def kept_share(self) -> float:
        return float(self.kept.sum() / max(1, self.thresholds.counts.sum()))


def usable_selectors(model: LoadedModel) -> tuple[str, ...]:
    """The selectors this model can serve: those that weight by a spatial prior need one in its metadata."""
    return tuple(name for name in SELECTORS if name not in PRIOR_SELECTORS or model.prior is not None)


def pseudo_label(
    model: LoadedModel, photos: Sequence[Photo], selector: str, portion: float, stride: int, report: Report
) -> Selected:
    """Thresholds over all photos, then one pseudo-label a photo; for `ias` the photos in their order, portion as alpha.

    stride: not used by `ias`. The model runs once a photo; what is kept is its coarse grid, some megabytes, enlarged
    anew for each pass.

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
    if selector in ORDERED_SELECTORS:
        return _in_order(passes, portion)
    prior = _prior_at(model, passes.size) if selector in PRIOR_SELECTORS else None
    thresholds = thresholds_from_batches(passes, selector, portion, stride, prior)
    passes.title = "selecting"
    labels = tuple(_select_one(probs, thresholds, prior) for probs in passes())
    kept = sum(np.bincount(label.reshape(-1), minlength=IGNORE + 1)[: model.space.count] for label in labels)
    entries = {"alpha": ALPHA} if selector == "lrent" else {}
    return Selected(tuple(photos), labels, thresholds, kept, entries)


class _Passes:
    """Gives the probabilities of all photos, afresh at each call, and says how far it is."""

    def __init__(self, model: LoadedModel, photos: Sequence[Photo], size: tuple[int, int] | None, report: Report):
        self.model, self.photos, self.size, self.report = model, photos, size, report
        self.title = "finding thresholds"
        self._coarse: dict[int, np.ndarray] = {}

    def __call__(self) -> Iterator[Enlarged]:
        for number, photo in enumerate(self.photos):
            self.report(number / len(self.photos), f"{self.title}, photo {number + 1} of {len(self.photos)}")
            if number not in self._coarse:
                self._coarse[number] = self.model.segmenter.probs(photo.image)
            yield Enlarged(self._coarse[number], self.size or fitted(photo.image.shape[:2], PROBABILITY_SIDE))


def _in_order(passes: _Passes, alpha: float) -> Selected:
    """One pass: each batch moves the thresholds, which label it at once; photos of different sizes go one by one.

    What is not asked for is as in the model's last round, where that was labelled by this selector, else as published.
    """
    selection = passes.model.metadata.selection
    known = dict((selection and selection.ordered) or {})
    batch_size = known.pop("batch_size", BATCH_SIZE)
    selector = InstanceAdaptiveSelector(passes.model.space.count, **{**known, "alpha": alpha})
    passes.title = "selecting"
    labels = tuple(label for batch in in_batches(passes(), batch_size) for label in selector.label_batch(batch))
    entries = {"batch_size": batch_size, **selector.manifest_entries()}
    return Selected(tuple(passes.photos), labels, selector.thresholds(), selector.kept, entries)


def _common_size(model: LoadedModel, selector: str) -> tuple[int, int] | None:
    """A prior knows one picture shape, that of training; without it each photo keeps its own."""
    return model.metadata.training_size if selector in PRIOR_SELECTORS else None


def _prior_at(model: LoadedModel, size: tuple[int, int]) -> np.ndarray:
    return model.prior if model.prior.shape[:2] == size else resize_prior(model.prior, size)


def _select_one(probs: Enlarged, thresholds: Thresholds, prior: np.ndarray | None) -> np.ndarray:
    if thresholds.selector == "lrent":
        return lrent_select(probs, thresholds, ALPHA)[0]
    return select(probs, thresholds, prior)
