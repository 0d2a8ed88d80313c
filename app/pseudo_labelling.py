"""Pseudo-labels for a few target photos: the selector is fitted to all of them, then each photo is labelled."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from app.limits import PROBABILITY_SIDE
from app.loaded_model import LoadedModel
from app.uploads import Photo, fitted, unique_stems
from training.errors import UserError
from training.prediction.label_images import LabelledImages, LabelsInMemory, Predictions, label_images
from training.probability_maps.enlarging import Enlarged
from training.pseudo_labels.registry import Choice, choice_called, choices
from training.pseudo_labels.selector import Selector
from training.pseudo_labels.spatial_prior import resize_prior

Report = Callable[[float, str], None]  # (share done, what is being done)


def usable_selectors(model: LoadedModel) -> tuple[str, ...]:
    """The selectors this model can serve: those that weight by a spatial prior need one in its metadata."""
    return tuple(name for name, choice in choices().items() if not choice.with_prior or model.prior is not None)


def pseudo_label(
    model: LoadedModel, photos: Sequence[Photo], selector: str, portion: float, stride: int, report: Report
) -> tuple[LabelledImages, LabelsInMemory]:
    """Fit the selector of this name to all photos, then label each, at the size it was computed at.

    portion: the parameter that says how much is kept, whatever the selector calls it. stride: where the selector has
    one. The model runs once per photo; what is kept is its coarse grid, some megabytes, enlarged anew for each pass.

    Raises:
        UserError: no photos, an unknown selector, one this model has no spatial prior for, or bad numbers.
    """
    choice = choice_called(selector)
    if not photos:
        raise UserError("There are no photos to label: upload some, or take the example streets.")
    if choice.with_prior and model.prior is None:
        raise UserError(
            f"The selector {selector} weights by a spatial prior, and this model carries none: choose one of "
            f"{', '.join(usable_selectors(model))}."
        )
    # A prior is for one picture shape, that of training; without it each photo keeps its own.
    size = model.metadata.training_size if choice.with_prior else None
    labels = LabelsInMemory()
    chosen = _selector(model, choice, portion, stride)
    return label_images(PhotoPredictions(model, photos, size, report), chosen, labels), labels


def _selector(model: LoadedModel, choice: Choice, portion: float, stride: int) -> Selector:
    """What is not asked for is as in the model's last round, where that was labelled by this selector, else as
    published."""
    given: dict[str, float] = dict.fromkeys(choice.selector.shown[:1], portion)
    given |= {"stride": stride} if "stride" in choice.selector.options() else {}
    prior = resize_prior(model.prior, model.metadata.training_size) if choice.with_prior else None
    selection = model.metadata.selection
    return choice.build(prior, like=selection and selection.fitted.selector, **given)


class PhotoPredictions(Predictions):
    """Gives the probabilities of all photos, afresh at each call, and says how far it is."""

    source = "uploaded photos"

    def __init__(self, model: LoadedModel, photos: Sequence[Photo], size: tuple[int, int] | None, report: Report):
        self.model, self.photos, self.size, self.report = model, photos, size, report
        self.names = unique_stems(f"{photo.name}.png" for photo in photos)
        self.mine, self.classes, self.class_names = range(len(photos)), model.space.count, model.space.names
        self._coarse: dict[int, np.ndarray] = {}

    def __call__(self) -> Iterator[Enlarged]:
        for number, photo in enumerate(self.photos):
            self.report(number / len(self.photos), f"labelling, photo {number + 1} of {len(self.photos)}")
            if number not in self._coarse:
                self._coarse[number] = self.model.segmenter.probs(photo.image)
            yield Enlarged(self._coarse[number], self.size or fitted(photo.image.shape[:2], PROBABILITY_SIDE))
