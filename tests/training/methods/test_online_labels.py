"""Labels and weights from a teacher's soft-max: values by hand, bounds, thresholds that find their quantile."""

import numpy as np
import pytest
import tensorflow as tf

from training.methods.online_labels import BINS, ImageWeights, OnlineLabels, PixelWeights, ThresholdedLabels
from training.settings.teacher import ImageConfidence, PixelConfidence, RunningThresholds


def probs_of(*confidences, classes: int = 3, label: int = 1):
    """Soft-max [images, 1, pixels, classes] in which `label` has these probabilities."""
    confidence = np.array(confidences, np.float32)[:, None, :, None]
    rest = (1 - confidence) / (classes - 1)
    return tf.constant(np.where(np.arange(classes) == label, confidence, rest).astype(np.float32))


def everywhere(probs):
    return tf.ones(probs.shape[:3])


def random_probs(seed: int, shape=(4, 8, 8), classes: int = 4):
    return tf.nn.softmax(tf.constant(np.random.default_rng(seed).normal(0, 2, (*shape, classes)), tf.float32))


def test_three_of_four_pixels_are_confident():
    probs = probs_of([0.97, 0.99, 0.968, 0.9])
    label, weight = ImageWeights(ImageConfidence(), 3)(probs, everywhere(probs))
    np.testing.assert_array_equal(label, np.ones((1, 1, 4)))
    np.testing.assert_allclose(0.8 * weight, np.full((1, 1, 4), 0.6), atol=1e-6)


def test_the_weight_is_per_image_or_of_the_batch():
    probs = probs_of([0.99, 0.99, 0.99, 0.5], [0.99, 0.5, 0.5, 0.5])
    per_image = ImageWeights(ImageConfidence(), 3)(probs, everywhere(probs))[1]
    pooled = ImageWeights(ImageConfidence(pooled="batch"), 3)(probs, everywhere(probs))[1]
    np.testing.assert_allclose(per_image[:, 0, 0], [0.75, 0.25])
    np.testing.assert_allclose(pooled, np.full((2, 1, 4), 0.5))


@pytest.mark.parametrize("pooled", ["image", "batch"])
def test_pixels_that_are_left_out_have_no_weight_and_no_part_in_the_share(pooled):
    probs = probs_of([0.99, 0.99, 0.5, 0.5])
    region = tf.constant([[[1.0, 1.0, 1.0, 0.0]]])
    _, weight = ImageWeights(ImageConfidence(pooled=pooled), 3)(probs, region)
    np.testing.assert_allclose(weight[0, 0], [2 / 3, 2 / 3, 2 / 3, 0])
    nowhere = ImageWeights(ImageConfidence(pooled=pooled), 3)(probs, tf.zeros((1, 1, 4)))[1]
    np.testing.assert_array_equal(nowhere, np.zeros((1, 1, 4)))


def test_the_weight_of_a_pixel_is_a_power_of_its_confidence():
    probs = probs_of([0.9, 0.5])
    label, weight = PixelWeights(PixelConfidence(power=2.0), 3)(probs, tf.constant([[[1.0, 1.0]]]))
    np.testing.assert_allclose(weight[0, 0], [0.81, 0.25], atol=1e-6)
    np.testing.assert_array_equal(label, np.ones((1, 1, 2)))


@pytest.mark.parametrize(
    "labels",
    [
        ImageWeights(ImageConfidence(threshold=0.5), 4),
        ImageWeights(ImageConfidence(threshold=0.5, pooled="batch"), 4),
        PixelWeights(PixelConfidence(power=0.5), 4),
        ThresholdedLabels(RunningThresholds(), 4),
    ],
    ids=["image", "batch", "pixel", "thresholds"],
)
def test_weights_are_between_0_and_1_and_0_outside_the_region(labels):
    probs, region = random_probs(0), tf.cast(tf.random.stateless_uniform((4, 8, 8), (1, 2)) < 0.5, tf.float32)
    label, weight = labels(probs, region)
    assert label.dtype == tf.int32
    assert weight.dtype == tf.float32
    assert weight.shape == (4, 8, 8)
    assert 0 <= float(tf.reduce_min(weight)) <= float(tf.reduce_max(weight)) <= 1
    assert float(tf.reduce_max(weight)) > 0
    assert float(tf.reduce_max(weight * (1 - region))) == 0


def test_a_label_is_the_class_that_exceeds_its_threshold_most():
    labels = ThresholdedLabels(RunningThresholds(), 2)
    labels.thresholds.assign([0.9, 0.2])
    probs = tf.constant([[[[0.7, 0.3], [0.85, 0.15], [0.95, 0.05]]]])
    label, weight = labels(probs, tf.ones((1, 1, 3)))
    np.testing.assert_array_equal(label, [[[1, 255, 0]]])
    np.testing.assert_array_equal(weight, [[[1, 0, 1]]])


def test_without_relabelling_it_is_the_most_probable_class_above_its_threshold():
    labels = ThresholdedLabels(RunningThresholds(relabel=False), 2)
    labels.thresholds.assign([0.9, 0.2])
    probs = tf.constant([[[[0.7, 0.3], [0.4, 0.6], [0.95, 0.05]]]])
    label, weight = labels(probs, tf.ones((1, 1, 3)))
    np.testing.assert_array_equal(label, [[[255, 1, 0]]])
    np.testing.assert_array_equal(weight, [[[0, 1, 1]]])


def test_running_thresholds_come_to_the_quantile_of_each_class():
    labels = ThresholdedLabels(RunningThresholds(portion=0.2, beta=0.5), 4)
    probs = random_probs(3, (8, 64, 64))
    for _ in range(30):
        labels.follow(probs, everywhere(probs))
    confidence, label = probs.numpy().max(-1), probs.numpy().argmax(-1)
    for index in range(4):
        quantile = np.quantile(confidence[label == index], 0.8)
        assert labels.thresholds.numpy()[index] == pytest.approx(quantile, abs=1.5 / BINS)
    kept = labels(probs, everywhere(probs))[1].numpy()
    assert kept.mean() >= 0.19


def test_a_class_that_the_batch_does_not_show_keeps_its_threshold_and_left_out_pixels_do_not_count():
    labels = ThresholdedLabels(RunningThresholds(initial=0.9), 3)
    probs = probs_of([0.6, 0.99])
    labels.follow(probs, tf.constant([[[1.0, 0.0]]]))
    kept, reached = labels.thresholds.numpy()[[0, 2]], labels.thresholds.numpy()[1]
    np.testing.assert_allclose(kept, 0.9)
    assert reached == pytest.approx(0.99 * 0.9 + 0.01 * 0.6, abs=1 / BINS)


def test_gamma_keeps_less_of_an_unsure_class():
    """IAST's rule: the kept share is portion * threshold ** gamma."""
    labels = ThresholdedLabels(RunningThresholds(portion=0.5, gamma=8.0, beta=0.0, initial=0.9), 2)
    confidence = np.linspace(0.51, 0.99, 1000)
    probs = probs_of(confidence.tolist(), classes=2)
    labels.follow(probs, everywhere(probs))
    expected = np.quantile(confidence, 1 - 0.5 * 0.9**8)
    assert labels.thresholds.numpy()[1] == pytest.approx(expected, abs=1.5 / BINS)


def test_labels_that_define_no_rule_are_refused():
    with pytest.raises(TypeError, match="must define __call__"):
        OnlineLabels()(None, None)
