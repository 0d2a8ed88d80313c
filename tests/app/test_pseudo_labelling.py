"""The page's pseudo-labels are those of `training.pseudo_labels` on the model's own probabilities."""

from dataclasses import replace

import numpy as np
import pytest

from app.pseudo_labelling import pseudo_label, usable_selectors
from app.uploads import Photo
from tests.app.tiny_model import painted, street
from training.errors import UserError
from training.prediction.model_metadata import RoundSelection
from training.pseudo_labels import InstanceAdaptiveSelector, LabelEntropySelector, resize_prior
from training.pseudo_labels.registry import choices


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
    found, kept = pseudo_label(model, photos, selector, 0.4, 1, silent)
    probs = [model.segmenter.probs(photo.image, photo.image.shape[:2]) for photo in photos]
    fitted = choices()[selector].build(None, portion=0.4, stride=1).fit(lambda: probs)
    assert np.array_equal(found.fitted.thresholds, fitted.thresholds)
    assert found.fitted.images == 3
    assert list(kept.labels) == ["street_0", "street_1", "street_2"]
    for label, each in zip(kept.labels.values(), probs, strict=True):
        assert np.array_equal(label, fitted.label(each))
    assert found.kept.sum() == sum((label != 255).sum() for label in kept.labels.values())
    assert found.kept_share == pytest.approx(0.4, abs=0.02)


def test_every_selector_answers(model, photos):
    assert usable_selectors(model) == tuple(choices())
    for selector in choices():
        found, kept = pseudo_label(model, photos, selector, 0.3, 2, silent)
        assert found.fitted.selector.name == kept.manifest["selector"] == selector
        assert len(kept.labels) == 3
        assert 0 < found.kept_share <= 1


def test_a_spatial_prior_brings_all_photos_to_the_size_of_training(model, photos):
    found, kept = pseudo_label(model, photos, "cbst_sp", 0.3, 2, silent)
    assert {label.shape for label in kept.labels.values()} == {(64, 128)}
    assert np.array_equal(found.fitted.selector.prior, resize_prior(model.prior, (64, 128)))
    probs = model.segmenter.probs(photos[1].image, (64, 128))
    assert np.array_equal(kept.labels["street_1"], found.fitted.label(probs))


def test_a_model_without_a_prior_offers_no_selector_that_needs_one(source, photos):
    assert usable_selectors(source) == tuple(name for name in choices() if not name.endswith("_sp"))
    with pytest.raises(UserError, match="carries none"):
        pseudo_label(source, photos, "cbst_sp", 0.3, 2, silent)


def test_ias_takes_the_photos_in_their_order_and_the_portion_as_its_alpha(model, photos):
    """Photos 1 and 2 have one size and make a batch; the others go alone."""
    photos = [photos[0], photos[1], photos[1], photos[2]]
    found, kept = pseudo_label(model, photos, "ias", 0.5, 4, silent)
    probs = [model.segmenter.probs(photo.image, photo.image.shape[:2]) for photo in photos]
    labelling = InstanceAdaptiveSelector(alpha=0.5).label_all(lambda: probs)
    expected = [label_of(each) for each, label_of in labelling]
    assert all(np.array_equal(label, each) for label, each in zip(kept.labels.values(), expected, strict=True))
    assert np.array_equal(found.fitted.thresholds, labelling.fitted.thresholds)
    assert found.kept.sum() == sum((label != 255).sum() for label in kept.labels.values()) > 0
    assert (kept.manifest["alpha"], kept.manifest["batch_size"]) == (0.5, 2)
    assert len(kept.manifest["threshold_trajectory"]) == 4
    _, backwards = pseudo_label(model, photos[::-1], "ias", 0.5, 1, silent)
    assert not np.array_equal(list(backwards.labels.values())[-1], kept.labels["street_0"])


@pytest.mark.parametrize(
    ("name", "selector", "shown"),
    [
        ("ias", InstanceAdaptiveSelector(alpha=0.2, beta=0.5, gamma=0.0, initial=0.3, batch_size=1), "alpha"),
        ("lrent", LabelEntropySelector(alpha=0.75), "portion"),
    ],
)
def test_a_selector_goes_on_as_in_the_models_last_round(model, photos, name, selector, shown):
    fitted = selector.fit(lambda: np.full((1, 4, 4, 5), 0.2, np.float32))
    known = replace(model, metadata=replace(model.metadata, selection=RoundSelection("round_1", fitted)))
    _, kept = pseudo_label(known, photos, name, 0.6, 4, silent)
    expected = {**selector.parameters, shown: 0.6}
    assert {key: kept.manifest[key] for key in expected} == expected


@pytest.mark.parametrize(
    ("selector", "portion", "stride"), [("best", 0.2, 4), ("cbst", 0, 4), ("cbst", 0.2, 0), ("ias", 0, 4)]
)
def test_bad_choices_are_told_so(model, photos, selector, portion, stride):
    with pytest.raises(UserError):
        pseudo_label(model, photos, selector, portion, stride, silent)


def test_no_photos_are_told_so(model):
    with pytest.raises(UserError, match="no photos"):
        pseudo_label(model, [], "cbst", 0.2, 4, silent)
