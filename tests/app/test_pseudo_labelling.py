"""The page's pseudo-labels are those of `training.pseudo_labels` on the model's own probabilities."""

from dataclasses import replace

import numpy as np
import pytest

from app.pseudo_labelling import pseudo_label, usable_selectors
from app.uploads import Photo
from tests.app.tiny_model import painted, street
from training.errors import UserError
from training.pseudo_labels import SELECTORS, InstanceAdaptiveSelector, resize_prior, select, thresholds_from_batches


def silent(share: float, what: str) -> None:
    assert 0 <= share <= 1
    assert what


@pytest.fixture
def photos() -> list[Photo]:
    """Three noisy streets of different sizes."""
    random = np.random.default_rng(0)
    sizes = ((64, 128), (96, 128), (64, 64))
    pictures = [painted(street(*size)).astype(int) + random.normal(0, 40, (*size, 3)) for size in sizes]
    return [
        Photo(f"street_{k}", picture.clip(0, 255).astype(np.uint8), picture.shape[:2])
        for k, picture in enumerate(pictures)
    ]


@pytest.mark.parametrize("selector", ["st", "cbst"])
def test_thresholds_run_over_all_photos_together(model, photos, selector):
    found = pseudo_label(model, photos, selector, 0.4, 1, silent)
    probs = [model.segmenter.probs(photo.image, photo.image.shape[:2]) for photo in photos]
    thresholds = thresholds_from_batches(lambda: probs, selector, 0.4, 1)
    assert np.array_equal(found.thresholds.values, thresholds.values)
    assert found.thresholds.images == 3
    for label, each in zip(found.labels, probs, strict=True):
        assert np.array_equal(label, select(each, thresholds))
    assert found.kept.sum() == sum((label != 255).sum() for label in found.labels)
    assert found.kept_share == pytest.approx(0.4, abs=0.02)


def test_every_selector_answers(model, photos):
    assert usable_selectors(model) == tuple(SELECTORS)
    for selector in SELECTORS:
        found = pseudo_label(model, photos, selector, 0.3, 2, silent)
        assert found.thresholds.selector == selector
        assert len(found.labels) == 3
        assert 0 < found.kept_share <= 1


def test_a_spatial_prior_brings_all_photos_to_the_size_of_training(model, photos):
    found = pseudo_label(model, photos, "cbst_sp", 0.3, 2, silent)
    assert {label.shape for label in found.labels} == {(64, 128)}
    prior = resize_prior(model.prior, (64, 128))
    probs = model.segmenter.probs(photos[1].image, (64, 128))
    assert np.array_equal(found.labels[1], select(probs, found.thresholds, prior))


def test_a_model_without_a_prior_offers_no_selector_that_needs_one(source, photos):
    assert usable_selectors(source) == tuple(name for name in SELECTORS if not name.endswith("_sp"))
    with pytest.raises(UserError, match="carries none"):
        pseudo_label(source, photos, "cbst_sp", 0.3, 2, silent)


def test_ias_takes_the_photos_in_their_order_and_the_portion_as_its_alpha(model, photos):
    """Photos 1 and 2 have one size and make a batch; the others go alone."""
    photos = [photos[0], photos[1], photos[1], photos[2]]
    found = pseudo_label(model, photos, "ias", 0.5, 4, silent)
    probs = [model.segmenter.probs(photo.image, photo.image.shape[:2]) for photo in photos]
    selector = InstanceAdaptiveSelector(5, alpha=0.5)
    expected = [label for batch in (probs[:1], probs[1:3], probs[3:]) for label in selector.label_batch(batch)]
    assert all(np.array_equal(label, each) for label, each in zip(found.labels, expected, strict=True))
    assert np.array_equal(found.thresholds.values, selector.theta.astype(np.float32))
    assert found.kept.sum() == sum((label != 255).sum() for label in found.labels) > 0
    assert (found.entries["alpha"], found.entries["batch_size"]) == (0.5, 2)
    assert len(found.entries["threshold_trajectory"]) == 4
    backwards = pseudo_label(model, photos[::-1], "ias", 0.5, 1, silent)
    assert not np.array_equal(backwards.labels[-1], found.labels[0])


def test_ias_goes_on_as_the_models_last_round(model, photos):
    ordered = {"alpha": 0.2, "beta": 0.5, "gamma": 0.0, "initial": 0.3, "batch_size": 1}
    selection = replace(model.metadata.selection, ordered=ordered)
    known = replace(model, metadata=replace(model.metadata, selection=selection))
    found = pseudo_label(known, photos, "ias", 0.6, 4, silent)
    assert {name: found.entries[name] for name in ordered} == {**ordered, "alpha": 0.6}


@pytest.mark.parametrize(
    ("selector", "portion", "stride"), [("best", 0.2, 4), ("cbst", 0, 4), ("cbst", 0.2, 0), ("ias", 0, 4)]
)
def test_bad_choices_are_told_so(model, photos, selector, portion, stride):
    with pytest.raises(UserError):
        pseudo_label(model, photos, selector, portion, stride, silent)


def test_no_photos_are_told_so(model):
    with pytest.raises(UserError, match="no photos"):
        pseudo_label(model, [], "cbst", 0.2, 4, silent)
