"""What a stage with pixel contrast has to show: how alike features are before and after, its queues, a map."""

import numpy as np

from models.levels import with_levels
from training.data.images import resize_image
from training.data.input_pipeline import load_frame
from training.distribution.workers import on_chief
from training.evaluation.feature_map import PixelFeatures, class_cosines, write_feature_map
from training.losses.contrast import contrast_features, grid_size
from training.losses.grids import labels_on
from training.methods.contrast import PrototypeContrastTerm
from training.methods.step import on_grid_of
from training.settings.losses import PixelContrast, PrototypeContrast
from training.stages.stage import Run

IMAGES = 12  # of each domain
BATCH = 4


class ContrastReport:
    """Made before a stage is trained, of the network as it is then."""

    def __init__(self, run: Run, settings: PrototypeContrast | PixelContrast, stage: str):
        self.run, self.settings, self.stage = run, settings, stage
        self.seeing = with_levels(run.network)
        self.before = self.features()

    def features(self) -> dict[str, PixelFeatures]:
        """The network's features of a few fixed images of each domain, with labels.

        Of the source the labels are its own, of the target what the network predicts.
        """
        domains, size = self.run.domains, self.run.size
        source, target = (part.evenly_spaced(IMAGES) for part in (domains.source, domains.target))
        frames = np.stack([load_frame(source, index, size) for index in range(len(source))])
        images = np.stack([resize_image(target.read_image(index), size) for index in range(len(target))])
        return {"source": self._of(frames[..., :3], frames[..., 3]), "target": self._of(images, None)}

    def _of(self, images: np.ndarray, label: np.ndarray | None) -> PixelFeatures:
        found, classes = [], self.run.domains.label_space.count
        for start in range(0, len(images), BATCH):
            part = images[start : start + BATCH]
            outputs = self.seeing(part.astype(np.float32), training=False)
            size = grid_size(outputs["levels"], self.settings.grid)
            if label is None:
                mine = np.argmax(on_grid_of(part[..., 0], outputs["logits"]), axis=-1)
            else:
                mine = label[start : start + BATCH]
            features = contrast_features(outputs["levels"], size).numpy()
            found.append((features.reshape(-1, features.shape[-1]), labels_on(mine, size, classes).numpy().ravel()))
        return PixelFeatures(*(np.concatenate(each) for each in zip(*found, strict=True))).labelled()

    def figures(self, method) -> dict:
        """Of the network as it is now, after the stage; writes the map.

        Returns:
            {"before", "after": {"source", "target": {"intra", "inter": mean cosine or None}}, "queue_fill": {class:
            share} or None}.
        """
        space, after = self.run.domains.label_space, self.features()
        terms = [term for term in method.terms if isinstance(term, PrototypeContrastTerm)]
        prototypes = {number: values for term in terms for number, values in _prototypes(term)}
        moments = {f"before {self.stage}": self.before, f"after {self.stage}": after}
        picture = self.run.directory.contrast_picture(self.stage)
        on_chief(lambda: write_feature_map(picture, moments, space, prototypes))
        fill = [dict(zip(space.names, term.queue_fill().numpy().tolist(), strict=True)) for term in terms]
        cosines = [{name: class_cosines(each) for name, each in moment.items()} for moment in (self.before, after)]
        return {"before": cosines[0], "after": cosines[1], "queue_fill": fill[0] if fill else None}


def _prototypes(term: PrototypeContrastTerm):
    """Class and features of the prototypes that there are."""
    seen, values = np.asarray(term.seen), np.asarray(term.prototypes)
    return [(int(number), values[number]) for number in np.flatnonzero(seen)]
