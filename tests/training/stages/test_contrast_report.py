"""What the figures of pixel contrast follow from: all cells, each domain with its own statistics; what it keeps."""

from contextlib import contextmanager
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from tests.training.methods.tiny import CLASSES, batch, tiny_network
from tests.training.methods.tiny_contrast import TINY_SPACE
from training.evaluation.feature_map import ClassSums, PixelFeatures, class_cosines
from training.losses.contrast import contrast_features
from training.losses.grids import labels_on
from training.settings.losses import PixelContrast
from training.stages import contrast_report
from training.stages.contrast_report import ContrastReport

SIZE, CELLS = (16, 16), (4, 4)
STAGE = SimpleNamespace(name="online_2")


class Images:
    """A data set of 20 images of 16 x 16 pixels."""

    def __len__(self):
        return 20

    def evenly_spaced(self, most):
        return self

    def without_labels(self):
        return self

    def read_pair(self, index):
        image, label = (each[index % 4].numpy() for each in batch(index // 4, label_share=0.95).values())
        return image.round().clip(0, 255).astype(np.uint8), label


@pytest.fixture
def run(monkeypatch):
    """A run whose network has other weights within `source_statistics`."""
    network = tiny_network(batch_norm=True)

    with_levels = keras.Model(network.inputs[0], {**network.output, "levels": [network.output["features"]]})

    @contextmanager
    def source_statistics(stage):
        assert stage is STAGE
        before = network.get_weights()
        network.set_weights([2.0 * each + 1.0 for each in before])
        yield
        network.set_weights(before)

    domains = SimpleNamespace(source=Images(), target=Images(), label_space=TINY_SPACE)
    seen = {"network": network, "outputs_with_levels": with_levels}
    return SimpleNamespace(size=SIZE, domains=domains, source_statistics=source_statistics, **seen)


def all_cells(network, predicted: bool) -> PixelFeatures:
    """Of all images at once."""
    image, label = (np.stack(each) for each in zip(*map(Images().read_pair, range(20)), strict=True))
    outputs = network(image.astype(np.float32))
    if predicted:
        label = np.argmax(keras.ops.image.resize(outputs["logits"], SIZE), axis=-1)
    features, label = contrast_features([outputs["features"]], CELLS), labels_on(label, CELLS, CLASSES)
    return PixelFeatures(features.numpy().reshape(-1, features.shape[-1]), label.numpy().ravel()).labelled()


def test_each_domain_counts_in_full_with_its_own_statistics(run):
    found = ContrastReport(run, PixelContrast(grid=8), STAGE).before
    with run.source_statistics(STAGE):
        expected = {"source": all_cells(run.network, predicted=False)}
    expected["target"] = all_cells(run.network, predicted=True)
    for name, pixels in expected.items():
        wanted = ClassSums.of(pixels, CLASSES)
        np.testing.assert_array_equal(found[name].sums.counts, wanted.counts)
        np.testing.assert_allclose(found[name].sums.sums, wanted.sums, atol=1e-4)
        assert class_cosines(found[name].sums)["intra"] == pytest.approx(class_cosines(wanted)["intra"], abs=1e-5)


def test_no_more_cells_are_kept_than_the_map_can_show(run, monkeypatch):
    monkeypatch.setattr(contrast_report, "PIXELS", 60)
    for each in ContrastReport(run, PixelContrast(grid=8), STAGE).before.values():
        assert len(each.shown.label) == len(each.shown.features) == 60
        assert each.sums.counts.sum() > 200
