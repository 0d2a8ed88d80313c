"""Spatial priors: frequency, smoothing against SciPy's Gaussian, normalisation, other sizes."""

import numpy as np
import pytest
from scipy import ndimage

from training.errors import UserError
from training.pseudo_labels import resize_prior, spatial_prior
from training.pseudo_labels.spatial_prior import resize_label, smoothing_matrix


def test_frequency_by_hand():
    """Without smoothing: class 0 in 2, 1 of two maps; divided by its mean (3 / 4)."""
    labels = [np.array([[0, 1], [255, 1]]), np.array([[0, 0], [7, 1]])]
    prior = spatial_prior(labels, 3, (2, 2), kernel=0.1)
    np.testing.assert_allclose(prior[..., 0], np.array([[2, 1], [0, 0]]) / 0.75)
    np.testing.assert_allclose(prior[..., 1], np.array([[0, 1], [0, 2]]) / 0.75)
    assert prior.dtype == np.float32
    assert not prior[..., 2].any()  # absent: never selected


def test_each_class_has_mean_one_whatever_its_frequency():
    rng = np.random.default_rng(0)
    labels = [rng.choice(3, (40, 80), p=[0.9, 0.09, 0.01]) for _ in range(3)]
    np.testing.assert_allclose(spatial_prior(labels, 3, (32, 64)).mean(axis=(0, 1)), 1, rtol=1e-5)


def test_smoothing_is_the_published_gaussian_with_reflecting_border():
    """Support 70 at height 1024, here as sigma 70 / 6 on 128 pixels; SciPy cuts at the same place, but samples."""
    impulses = np.zeros((128, 1))
    impulses[[3, 64, 120]] = 1
    ours = smoothing_matrix(128, 70.0) @ impulses
    theirs = ndimage.gaussian_filter1d(impulses, 70 / 6, axis=0, mode="reflect", radius=35)
    np.testing.assert_allclose(ours, theirs, atol=2e-4)
    assert np.count_nonzero(smoothing_matrix(128, 70.0)[64]) == 71  # 70 wide: 69 whole pixels and two halves
    np.testing.assert_allclose(
        smoothing_matrix(9, 70.0).sum(axis=1), 1
    )  # wider than the image: reflected over and over


def test_the_kernel_is_given_at_height_1024_and_scales():
    label = np.zeros((64, 128), int)
    label[32:, 64:] = 1
    small = spatial_prior([label], 2, (64, 128))
    large = spatial_prior([np.kron(label, np.ones((4, 4), int))], 2, (256, 512))
    averaged = large.reshape(64, 4, 128, 4, 2).mean(axis=(1, 3))
    np.testing.assert_allclose(small, averaged, atol=0.1)
    unscaled = spatial_prior([label], 2, (64, 128), kernel=70 * 16)
    assert np.abs(unscaled - averaged).max() > 0.5


def test_resizing_keeps_the_picture_and_the_mean():
    label = np.zeros((32, 64), int)
    label[16:] = 1
    prior = spatial_prior([label], 3, (32, 64))
    for size in ((64, 128), (16, 32), (20, 70)):
        resized = resize_prior(prior, size)
        assert resized.shape == (*size, 3)
        np.testing.assert_allclose(resized.mean(axis=(0, 1)), [1, 1, 0], rtol=1e-5)
        assert resized[0, 0, 0] == pytest.approx(prior[0, 0, 0], rel=0.02)
    np.testing.assert_allclose(resize_prior(prior, (32, 64)), prior, rtol=1e-6)


def test_labels_of_any_size_are_brought_to_the_size_by_nearest_neighbour():
    label = np.arange(12).reshape(3, 4)
    np.testing.assert_array_equal(resize_label(label, (6, 8)), np.kron(label, np.ones((2, 2), int)))
    np.testing.assert_array_equal(resize_label(label, (1, 2)), [[5, 7]])


def test_no_labels_no_prior():
    with pytest.raises(UserError, match="no source labels"):
        spatial_prior([], 2, (4, 4))
