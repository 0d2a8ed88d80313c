"""What a stage with pixel contrast has to show: how alike features are before and after, its queues, a map."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial

import numpy as np
import tensorflow as tf

from training.data.input_pipeline import load_frame
from training.distribution.workers import on_chief
from training.evaluation.feature_map import PIXELS, ClassSums, PixelFeatures, class_cosines, write_feature_map
from training.losses.contrast import contrast_features, grid_size
from training.losses.grids import labels_on
from training.methods.contrast import PrototypeContrastTerm
from training.methods.step import on_grid_of
from training.settings.losses import PixelContrast, PrototypeContrast
from training.stages.stage import Run, Stage

IMAGES = 12  # of each domain


@dataclass(frozen=True)
class DomainFeatures:
    """Of some images of a domain: sums over all of their cells, and the cells that the map can show."""

    sums: ClassSums
    shown: PixelFeatures


class ContrastReport:
    """Made before a stage is trained, of the network as it is then."""

    def __init__(self, run: Run, settings: PrototypeContrast | PixelContrast, stage: Stage):
        self.run, self.settings, self.stage = run, settings, stage
        self.before = self.features()

    def features(self) -> dict[str, DomainFeatures]:
        """The network's features of a few fixed images of each domain, with labels.

        Of the source the labels are its own, of the target what the network predicts. Each domain is seen with its own
        batch-norm statistics, where they are trained.
        """
        run, found = self.run, {}
        for name, dataset in {"source": run.domains.source, "target": run.domains.target.without_labels()}.items():
            part = dataset.evenly_spaced(IMAGES)
            frame, predicted = partial(load_frame, part, size=run.size), name == "target"
            with nullcontext() if predicted else run.source_statistics(self.stage):
                found[name] = self._of(frame, len(part), predicted)
        return found

    def _of(self, frame: Callable[[int], np.ndarray], images: int, predicted: bool) -> DomainFeatures:
        """Of an image at a time: its sums are added up, and as many of its cells are kept as of every other.

        Args:
            frame: position -> uint8 `[h, w, 4]`, RGB and label at the run's size. images: how many positions there are.
            predicted: the labels are what the network predicts.
        """
        classes, sums, shown = self.run.domains.label_space.count, None, []
        for position in range(images):
            pixels = self._of_frame(frame(position)[None], classes, predicted)
            of_image = ClassSums.of(pixels, classes)
            sums = of_image if sums is None else sums + of_image
            shown.append(pixels.some(PIXELS // images))
        return DomainFeatures(sums, PixelFeatures.joined(shown))

    def _of_frame(self, frames: np.ndarray, classes: int, predicted: bool) -> PixelFeatures:
        """The labelled cells of images with labels, uint8 `[b, h, w, 4]`."""
        image, label = frames[..., :3], frames[..., 3]
        outputs = self.run.outputs_with_levels(tf.constant(image, tf.float32))
        size = grid_size(outputs["levels"], self.settings.grid)
        if predicted:
            label = np.argmax(on_grid_of(label, outputs["logits"]), axis=-1)
        features = contrast_features(outputs["levels"], size).numpy()
        label = labels_on(label, size, classes).numpy()
        return PixelFeatures(features.reshape(-1, features.shape[-1]), label.ravel()).labelled()

    def figures(self, method) -> dict:
        """Of the network as it is now, after the stage; writes the map.

        Returns:
            {"before", "after": {"source", "target": {"intra", "inter": mean cosine or None}}, "queue_fill": {class:
            share} or None}.
        """
        space, after = self.run.domains.label_space, self.features()
        terms = [term for term in method.terms if isinstance(term, PrototypeContrastTerm)]
        prototypes = {number: values for term in terms for number, values in _prototypes(term)}
        titles = (f"before {self.stage.name}", f"after {self.stage.name}")
        moments = {
            title: {name: each.shown for name, each in moment.items()}
            for title, moment in zip(titles, (self.before, after), strict=True)
        }
        picture = self.run.directory.contrast_picture(self.stage.name)
        on_chief(lambda: write_feature_map(picture, moments, space, prototypes))
        fill = [dict(zip(space.names, term.queue_fill().numpy().tolist(), strict=True)) for term in terms]
        cosines = [{name: class_cosines(each.sums) for name, each in moment.items()} for moment in (self.before, after)]
        return {"before": cosines[0], "after": cosines[1], "queue_fill": fill[0] if fill else None}


def _prototypes(term: PrototypeContrastTerm):
    """Class and features of the prototypes that there are."""
    seen, values = np.asarray(term.seen), np.asarray(term.prototypes)
    return [(int(number), values[number]) for number in np.flatnonzero(seen)]
